"""The command ``models``: list the networks with their size, input, measured layers and papers."""

import argparse
import inspect
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import torch
from rich.table import Table
from torch import nn

from fer.commands.choices import find_task, read_config
from fer.commands.parsing import CONSOLE
from fer.configs import config_path
from fer.data import DATA_MODULES
from fer.errors import InputError
from fer.neurons.declared import hidden_layers
from fer.neurons.networks import FOREIGN_ERRORS, one_line
from fer.pruning.size import count_macs, count_parameters
from fer.tasks import TASKS, constructor_parameters

HELP: Final = "list the networks with parameters, multiply-adds, input, measured layers and paper"
SECTION: Final = "train"

START: Final = {"pretrained": False, "weights": None}
"""Settings that keep pretrained weights from being loaded: only sizes are counted."""

_TITLE: Final = re.compile(r', "[^"]*"')
_CITED: Final = re.compile(r'([A-Z][^".;:]*(?:et al\.)?), "([^"]+?),?"')


@dataclass(frozen=True)
class Listed:
    """A network with the settings of its config, or with its defaults where it has none.

    Attributes:
        name: As ``--network`` takes it.
        parameters: Number of parameters.
        macs: Multiply-adds of convolutions and linear layers, for one sample.
        input: Shape of one sample: channels, height and width, or features.
        layers: Hidden layers whose neurons are measured, in forward order.
        paper: Its source, as its docstring cites it; empty if it cites none.
    """

    name: str
    parameters: int
    macs: int
    input: tuple[int, ...]
    layers: tuple[str, ...]
    paper: str


def models(arguments: Sequence[str]) -> None:
    """Print a table of networks, or JSON."""
    parser = argparse.ArgumentParser(
        prog="fer models",
        allow_abbrev=False,
        description="List the networks, each with the settings of its shipped config: parameters, "
        "multiply-adds (MACs) for one sample, input, hidden layers whose neurons are measured, and the "
        "paper's authors (--json has its title).",
    )
    parser.add_argument(
        "networks",
        nargs="*",
        metavar="NETWORK",
        help="names, or classes of your own: package.module.Class (default: all shipped networks)",
    )
    parser.add_argument(
        "--input",
        metavar="SHAPE",
        help="shape of one sample of your own networks, such as 3,224,224 or 10 (default: from their "
        "parameters channels and image_size, or in_features; else 1,48,48)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    given = parser.parse_args(list(arguments))
    shape = None if given.input is None else parse_shape(given.input)
    found = [describe(name, shape) for name in given.networks or TASKS]
    if given.json:
        CONSOLE.print(json.dumps([asdict(each) for each in found], indent=1), markup=False)
    else:
        CONSOLE.print(table_of(found))


def parse_shape(text: str) -> tuple[int, ...]:
    """Parse the shape of a sample.

    Raises:
        InputError: The text is not a shape.

    >>> parse_shape("3,224,224")
    (3, 224, 224)
    """
    sizes = text.split(",")
    if len(sizes) not in (1, 3) or not all(size.strip().isdecimal() and int(size) for size in sizes):
        msg = f"--input {text}: give channels, height and width, such as 1,48,48, or a number of features"
        raise InputError(msg)
    return tuple(map(int, sizes))


def describe(name: str, shape: tuple[int, ...] | None = None) -> Listed:
    """Build a network and return its size, input, measured layers and paper.

    Args:
        name: As ``--network`` takes it.
        shape: Shape of one sample; None: from the network's settings.

    Raises:
        InputError: There is no such network, or it cannot be built with its settings or take such a sample.
    """
    kind = find_task(name).network_class or nn.Identity
    known = constructor_parameters(kind)
    settings = settings_of_config(name) if name in TASKS else {}
    if shape is not None:
        settings |= dict(zip(("channels", "image_size"), shape, strict=False)) if len(shape) == 3 else {}
        settings |= {"in_features": shape[0]} if len(shape) == 1 else {}
    settings = {key: value for key, value in (settings | START).items() if key in known}
    usual = {key: parameter.default for key, parameter in known.items()} | settings
    if shape is None:
        size = usual.get("image_size", 48)
        features = (usual["in_features"],) if "in_features" in usual else None
        shape = features or (usual.get("channels", 1), size, size)
    try:
        network, example = kind(**settings).eval(), torch.zeros(1, *shape)
        macs, hidden = count_macs(network, example), hidden_layers(network, example)
    except FOREIGN_ERRORS as e:
        hint = "" if name in TASKS else "; --input sets the shape"
        msg = f"{name} cannot be built with its defaults for inputs of shape {shape}: {one_line(e)}{hint}"
        raise InputError(msg) from e
    paper = papers_in(inspect.getdoc(kind) or "")
    return Listed(name, count_parameters(network), macs, shape, tuple(hidden.layers), paper)


def settings_of_config(name: str) -> dict[str, Any]:
    """Return the settings of a network in its shipped config, with the size and the channels of its data."""
    config = read_config(config_path(name))
    data = defaults_of_data(config["dataset"]) | dict(config.get("data", {}))
    size = {key: data[key] for key in ("image_size", "channels") if key in data}
    return {**size, **config.get("model", {})}


def defaults_of_data(name: str) -> dict[str, Any]:
    """Return the default settings of a data module and of its base classes."""
    defaults: dict[str, Any] = {}
    for base in reversed(DATA_MODULES[name].__mro__):
        if "__init__" in vars(base) and base is not object:
            parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
            defaults |= {each.name: each.default for each in parameters if each.default is not each.empty}
    return defaults


def papers_in(documentation: str) -> str:
    """Return the papers that the ``Source:`` of a docstring cites.

    >>> papers_in('A net. Source: He et al., "Deep Learning", 2016; Sutton, "Working", section 3.')
    'He et al., "Deep Learning"; Sutton, "Working"'
    """
    source = " ".join(documentation.partition("Source:")[2].split())
    return "; ".join(f'{author}, "{title}"' for author, title in _CITED.findall(source))


def table_of(found: Iterable[Listed]) -> Table:
    """Return the table for the terminal."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("network", "parameters", "MACs", "input", "measured layers", "paper"):
        table.add_column(name, justify="right" if name in ("parameters", "MACs") else "left", overflow="fold")
    for each in found:
        ends = " … ".join(dict.fromkeys([each.layers[0], each.layers[-1]])) if each.layers else "none"
        table.add_row(
            each.name,
            f"{each.parameters:,}",
            f"{each.macs:,}",
            " x ".join(map(str, each.input)) + (" features" if len(each.input) == 1 else ""),
            f"{len(each.layers)}: {ends}" if each.layers else ends,
            _TITLE.sub("", each.paper),  # the titles would fill the terminal
        )
    return table
