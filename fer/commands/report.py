"""The command ``report``: write one HTML page about a run, a study of several runs or a sweep."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from fer.commands.experiment import ExperimentCLI
from fer.commands.parsing import CONSOLE
from fer.configs import config_path, flatten
from fer.lookup import without_link
from fer.report import write_report

HELP: Final = "write one HTML page about a run, a cross-validation, a repeat or a sweep"
SECTION: Final = "evaluate"
TAKES: Final = "folder"


def report(arguments: Sequence[str]) -> None:
    """Write one HTML page about the contents of a folder."""
    parser = argparse.ArgumentParser(
        prog="fer report",
        allow_abbrev=False,
        description="Write one HTML page about a run, a cross-validation, a repeat or a sweep, finished or "
        "not: its settings and how to repeat it, results with n and 95 % intervals, confusion between "
        "classes, curves with the stages of training, angles between hidden neurons over the epochs, and "
        "pruning. Sections without data are left out. The page is one file that loads nothing from the "
        "network. It contains the images of figures/predictions.png: check that you may publish these faces.",
    )
    parser.add_argument(
        "folder",
        type=Path,
        help="folder of a run, a cross-validation, a repeat or a sweep, such as runs/latest",
        metavar="runs/NAME",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="file to write (default: report.html in the folder)"
    )
    given = parser.parse_args(list(arguments))
    path = write_report(without_link(given.folder), given.out, settings_of)
    CONSOLE.print(f"report       {path} ({path.stat().st_size / 1e6:.1f} MB); open it in a browser")


def settings_of(words: Sequence[str], network: str, dataset: str) -> Mapping[str, Any]:
    """Return all settings that arguments of ``fer fit`` result in, by dotted name.

    Args:
        words: Arguments after ``fer fit``; shipped configs by name.
        network: Name of the network.
        dataset: Name of the data set.

    Raises:
        InputError: An argument is invalid.
    """
    paths = [
        str(config_path(word)) if before == "--config" else word
        for before, word in zip(["", *words], words, strict=False)
    ]
    cli = _Settings("fit", paths, network=network, dataset=dataset)
    settings: Mapping[str, Any] = yaml.safe_load(cli.parser.dump(cli.config, skip_none=False))
    return flatten(settings)


class _Settings(ExperimentCLI):
    """CLI that parses settings and builds nothing."""

    def _set_seed(self) -> None:
        """Set no seed."""

    def instantiate_classes(self) -> None:
        """Build nothing."""
