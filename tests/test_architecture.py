"""The rooms of the house: which may know of which, and what keeps their names in step."""

import ast
import sys
from collections.abc import Iterator, Set
from pathlib import Path
from typing import NamedTuple

import pytest

import fer

ROOT = Path(fer.__file__).parent
FILES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))
MAX_LINES = 450
"""A file that grows beyond it has two subjects."""


class Room(NamedTuple):
    """What the files of a room may import, beside Python's own, their own room and :data:`EVERYWHERE`."""

    fer: Set[str] = frozenset()
    others: Set[str] = frozenset()


EVERYWHERE = {
    *("fer", "fer.arrays", "fer.cells", "fer.checkpoints", "fer.errors", "fer.labels", "fer.files"),
    *("fer.home", "fer.palette", "fer.processes", "fer.provenance", "fer.views", "fer.yamltext"),
}
"""The ground that all stand on: it imports nothing of fer but itself."""

# A name means the module and all below it: "fer.data" allows fer.data.base, "fer.data.base" only that.
ROOMS = {
    "errors": Room(),
    "labels": Room(),
    "files": Room(),
    "home": Room(),
    "palette": Room(),
    "processes": Room(others={"lightning"}),
    "provenance": Room(),
    "checkpoints": Room(others={"torch"}),
    "arrays": Room(others={"numpy"}),
    "cells": Room(),
    "views": Room(),
    "yamltext": Room(others={"yaml"}),
    # OpenCV finds the edges of PHOG.
    "features": Room(others={"cv2", "numpy", "torch"}),
    # Torch-Pruning traces which rows and columns belong to a neuron. tqdm shows the progress of a pass, on a
    # terminal and in a notebook: unlike rich, it is what users of plain PyTorch know, and it is in Lightning.
    # NumPy sorts the short rows of a history ten times as fast as torch.
    "neurons": Room(others={"numpy", "torch", "torch_pruning", "tqdm"}),
    "models": Room(others={"torch", "torchvision", "timm", "safetensors"}),
    "metrics": Room(others={"scipy", "torch", "torchmetrics"}),
    # PIL decodes images; scikit-learn splits and finds principal components; rich shows progress.
    "data": Room(
        {"fer.features"},
        {
            *("albumentations", "cv2", "facenet_pytorch", "imagehash", "kagglehub", "lightning", "numpy"),
            *("pandas", "PIL", "rich", "scipy", "sklearn", "torch"),
        },
    ),
    # torchvision mixes up. No figures, no callbacks.
    "tasks": Room(
        {
            *("fer.models", "fer.metrics", "fer.neurons.declared", "fer.neurons.frozen"),
            *("fer.neurons.networks", "fer.neurons.surgery"),
        },
        {"torch", "torchvision", "lightning"},
    ),
    # confusion_figure writes the accuracy of its matrix, which metrics computes; SciPy clusters.
    "figures": Room({"fer.metrics", "fer.neurons"}, {"matplotlib", "numpy", "scipy", "torch"}),
    # For any LightningModule and any data: it knows no task and no data module.
    "callbacks": Room(
        {"fer.figures", "fer.metrics", "fer.neurons", "fer.pruning", "fer.runs"},
        {"torch", "lightning", "numpy", "matplotlib", "rich"},
    ),
    "dashboards": Room({"fer.runs"}, {"wandb", "wandb_workspaces", "lightning"}),
    # Angles are stored by numpy.
    "runs": Room(others={"numpy"}),
    "lookup": Room({"fer.runs"}),
    # Of sweeps: Optuna searches and keeps the trials (databases by SQLAlchemy); a forest tells what mattered.
    # Of the papers: SFEW's rows, scaled as elsewhere; they are data, and no network.
    "studies": Room(
        {
            *("fer.callbacks.stop", "fer.data.base", "fer.data.features", "fer.data.sfew"),
            *("fer.metrics", "fer.neurons"),
            *("fer.runs", "fer.tasks.base"),
        },
        {"lightning", "numpy", "optuna", "scipy", "sklearn", "sqlalchemy", "torch", "yaml"},
    ),
    # The commands on images.
    "crop": Room({"fer.data", "fer.figures"}, {"cv2", "numpy", "PIL", "rich"}),
    "audit": Room({"fer.data", "fer.figures"}, {"numpy", "rich"}),
    # Pruning for any network: it knows no Lightning, no data module and no task.
    "pruning": Room({"fer.figures", "fer.metrics", "fer.neurons", "fer.runs"}, {"matplotlib", "torch"}),
    # It finds and crops faces as the data modules do.
    "predict": Room(
        {
            *("fer.data", "fer.figures", "fer.lookup", "fer.metrics", "fer.models", "fer.runs", "fer.tasks"),
            "fer.neurons.surgery",  # the package's own network may be a pruned one
        },
        # Matplotlib brings the font of labels.
        {"cv2", "matplotlib", "numpy", "pandas", "PIL", "rich", "safetensors", "torch"},
    ),
    # What an answer rests on; captum has Grad-CAM and occlusion.
    "explain": Room(
        {
            *("fer.data.detectors", "fer.data.faces", "fer.data.pixels", "fer.figures.style", "fer.neurons"),
            *("fer.lookup", "fer.predict", "fer.report.still", "fer.runs"),
        },
        {"captum", "matplotlib", "numpy", "PIL", "torch"},
    ),
    # One page of what a folder holds, with the colours of the figures.
    "report": Room(
        {"fer.configs", "fer.figures", "fer.lookup", "fer.metrics", "fer.neurons", "fer.runs", "fer.studies"},
        {"matplotlib", "numpy", "torch", "yaml"},
    ),
    # Runs side by side: their files, and the networks and data that checkpoints and configs rebuild.
    "compare": Room(
        {
            *(
                "fer.configs",
                "fer.data.base",
                "fer.figures",
                "fer.lookup",
                "fer.metrics",
                "fer.neurons",
                "fer.pruning.size",
            ),
            *("fer.report", "fer.runs", "fer.studies", "fer.tasks"),
        },
        {"lightning", "numpy", "torch"},
    ),
    # Any network as ONNX: it knows none of ours.
    "export": Room(others={"torch"}),
    "configs": Room(),
    "commands": Room(
        {
            "fer.audit",
            "fer.callbacks",
            "fer.compare",
            "fer.configs",
            "fer.crop",
            "fer.dashboards",
            "fer.data",
            "fer.explain",
            "fer.export",
            "fer.figures",
            "fer.lookup",
            "fer.models.transfer",
            "fer.neurons",
            "fer.predict",
            "fer.pruning",
            "fer.report",
            "fer.runs",
            "fer.studies",
            "fer.tasks",
        },
        # fer prune --timm builds a network of timm, and reads images as that package does.
        {"jsonargparse", "lightning", "matplotlib", "PIL", "rich", "timm", "torch", "yaml"},
    ),
    # Its release trains, evaluates and describes the package's own network as a user would.
    "weights": Room(
        {
            *("fer.__main__", "fer.callbacks", "fer.commands.report", "fer.data", "fer.neurons.surgery"),
            *("fer.predict", "fer.report", "fer.runs", "fer.tasks"),
        },
        {"lightning", "safetensors", "torch"},
    ),
    "__main__": Room({"fer.commands", "fer.configs"}),
    # The names that are public in the package itself, imported when they are first used.
    "__init__": Room({"fer.neurons", "fer.predict", "fer.tasks"}),
}


def _tree(name: str) -> ast.Module:
    return ast.parse((ROOT / name).read_text())


def _room(name: str) -> str:
    return name.split("/")[0].removesuffix(".py")


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(level=0, module=str(module)):
                yield module
            case ast.ImportFrom(module=module):
                yield f"a relative import of {module}"


def _is_below(module: str, allowed: Set[str]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in allowed)


def _is_allowed(module: str, room: str) -> bool:
    if module.split(".")[0] in sys.stdlib_module_names:
        return True
    if module in EVERYWHERE:
        return True
    return _is_below(module, {f"fer.{room}", *ROOMS[room].fer, *ROOMS[room].others})


def test_every_room_is_in_the_table():
    assert {_room(name) for name in FILES} == set(ROOMS)


@pytest.mark.parametrize("name", FILES)
def test_a_file_imports_only_what_its_room_may(name: str) -> None:
    assert [module for module in _imports(_tree(name)) if not _is_allowed(module, _room(name))] == []


@pytest.mark.parametrize(
    ("module", "room", "allowed"),
    [
        pytest.param("math", "models", True, id="Python's own"),
        pytest.param("fer.errors", "models", True, id="the ground"),
        pytest.param("fer.models._chain", "models", True, id="its own room"),
        pytest.param("lightning.pytorch", "models", False, id="models are pure"),
        pytest.param("fer.metrics.keys", "callbacks", True, id="a part of another room"),
        pytest.param("fer.tasks.base", "callbacks", False, id="callbacks without our tasks"),
        pytest.param("fer.data.base", "callbacks", False, id="callbacks without our data"),
        pytest.param("fer.tasks.base", "studies", True, id="a base class"),
        pytest.param("fer.tasks", "studies", False, id="concrete tasks"),
        pytest.param("fer.figures", "tasks", False, id="a task draws nothing"),
        pytest.param("lightning.pytorch", "pruning", False, id="pruning without Lightning"),
        pytest.param("wandb", "callbacks", False, id="W&B outside of dashboards"),
        pytest.param("fer.commands", "tasks", False, id="nothing imports commands"),
    ],
)
def test_the_table_says_no_where_it_should(module: str, room: str, allowed: bool) -> None:
    assert _is_allowed(module, room) == allowed


def test_arrows_point_one_way():
    """Leave out, again and again, the rooms that need none of those left: no circle remains."""
    needs = {room: {name.split(".")[1] for name in ROOMS[room].fer} - {room} for room in ROOMS}
    while free := {room for room, others in needs.items() if not others & needs.keys()}:
        needs = {room: others for room, others in needs.items() if room not in free}
    assert needs == {}


@pytest.mark.parametrize("name", FILES)
def test_package_code_does_not_print_assert_or_catch_everything(name: str) -> None:
    found = []
    for node in ast.walk(_tree(name)):
        match node:
            case ast.Call(func=ast.Name(id="print")):
                found.append((node.lineno, "print"))
            case ast.Assert():
                found.append((node.lineno, "assert"))
            case (
                ast.ExceptHandler(type=None)
                | ast.ExceptHandler(type=ast.Name(id="Exception" | "BaseException"))
            ):
                found.append((node.lineno, "except everything"))
    assert found == []


@pytest.mark.parametrize("name", FILES)
def test_a_file_has_one_subject(name: str) -> None:
    assert len((ROOT / name).read_text().splitlines()) <= MAX_LINES


def test_type_hints_are_shipped():
    assert (ROOT / "py.typed").is_file()  # mypy and editors read hints only of packages that have it


def test_a_network_has_one_name_everywhere():
    from fer.configs import config_names
    from fer.models import NETWORKS
    from fer.tasks import TASKS

    files = {path.stem for path in (ROOT / "models").glob("[!_]*.py")}
    assert files == set(NETWORKS) == set(TASKS) <= set(config_names())
    for name, network in NETWORKS.items():
        assert network.__module__ == f"fer.models.{name}"


def test_every_config_names_its_own_network_and_says_what_it_is():
    import yaml

    from fer.configs import config_names
    from fer.models import NETWORKS

    for name in config_names():  # of networks, and of recipes, which have names of their own
        text = (ROOT / "configs" / f"{name}.yaml").read_text()
        assert text.startswith("# "), name  # `make help` shows the line
        network = yaml.safe_load(text)["network"]
        assert network == name if name in NETWORKS else network in NETWORKS, name
