"""The command ``compare``: show runs side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml
from lightning.pytorch import LightningDataModule
from torch import nn

from fer.commands.choices import find_data_module
from fer.commands.classpath import import_class
from fer.commands.parsing import CONSOLE, make_parser, parse, takes
from fer.compare import compare_runs, measure_costs, open_network, read_runs, write_comparison
from fer.errors import InputError

HELP: Final = "show runs side by side: settings, accuracy with McNemar's test, size, latency, neurons"
SECTION: Final = "evaluate"
TAKES: Final = "folder"


def compare(words: Sequence[str]) -> None:
    """Show runs side by side.

    Raises:
        InputError: An argument is invalid, or a folder is not that of a run.
    """
    parser = make_parser(
        "fer compare",
        "Show runs side by side: the settings that differ, accuracy with 95 % intervals, McNemar's test "
        "against the first run on the same test samples, parameters, multiply-adds, latency on this machine "
        "(the networks timed in turn), and neurons by class of redundancy. Predictions on the test split are "
        "read from predictions.csv in the folder, or computed from the best checkpoint. A run that is not "
        "finished or not tested is shown without test results.",
    )
    parser.usage = "fer compare RUN RUN… [--out DIR]"
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folder of a run, runs/NAME")
    parser.add_argument(
        "--out",
        type=Path | None,
        default=None,
        help="folder for comparison.csv, samples.csv, curves.png and comparison.html",
    )
    for option, kind in (("network", "network"), ("dataset", "data module")):
        parser.add_argument(
            f"--{option}",
            type=str | None,
            default=None,
            help=f"class path of a {kind} outside of fer that a run uses; it is imported only if you name it",
        )
    given = parse(parser, words)
    own = [
        import_class(path, option="--network", base=nn.Module) for path in [given.network] if path is not None
    ]
    own_networks = {f"{each.__module__}.{each.__qualname__}": each for each in own}
    runs = read_runs(given.runs)
    networks = {}
    for run in runs:
        with CONSOLE.status(f"{run.name}: opening its network and its data"):
            found = open_network(
                run, lambda settings: build_data(settings, named=given.dataset), own_networks
            )
        if found is not None:
            networks[run.name] = found
    with CONSOLE.status("timing the networks in turn"):
        costs = measure_costs(networks)
    comparison = compare_runs(runs, networks, costs)
    CONSOLE.print(comparison.text(), markup=False)
    if given.out is not None:
        paths = write_comparison(given.out, comparison, runs)
        CONSOLE.print("\n" + "\n".join(f"wrote        {path}" for path in paths), markup=False)


def build_data(settings: Mapping[str, Any], *, named: str | None = None) -> LightningDataModule:
    """Return the data module of a run.

    Args:
        settings: Settings of the run, by dotted name.
        named: The class path that may be imported; None: only fer's own data modules are built.

    Raises:
        InputError: The data module is unknown, may not be imported, or does not accept the settings.
    """
    if "dataset" not in settings:
        msg = "its folder has no config.yaml"
        raise InputError(msg)
    name = str(settings["dataset"])
    if "." in name and name != named:
        msg = f"{name} is a class outside of fer, which is imported only if you name it: add --dataset {name}"
        raise InputError(msg)
    parser = make_parser("fer compare", "")
    parser.add_argument("--config", action="config")
    parser.add_class_arguments(find_data_module(name), "data")
    values = {key: value for key, value in settings.items() if key.startswith("data.") and takes(parser, key)}
    data: LightningDataModule = parser.instantiate_classes(
        parse(parser, ["--config", yaml.safe_dump(values)])
    ).data
    return data
