"""The command report: a folder of a run as one page."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from fer.commands.experiment import ExperimentCLI
from fer.commands.parsing import CONSOLE
from fer.configs import config_path, flatten
from fer.report import write_report

HELP: Final = "write one HTML page about a run, a cross-validation or a sweep"
SECTION: Final = "evaluate"


def report(arguments: Sequence[str]) -> None:
    """Write one HTML page of what a folder holds."""
    parser = argparse.ArgumentParser(
        prog="fer report",
        allow_abbrev=False,
        description="Write one HTML page of a run, a cross-validation or a sweep, finished or not: what was "
        "run and how to repeat it, results with n and 95 %% intervals, where the network errs, curves with "
        "the stages of training, the angles between hidden neurons through the epochs, and what pruning did. "
        "A part is left out where the folder has nothing of it. The page loads nothing from anywhere; it can "
        "be mailed, read on a phone, and printed. It holds the images of figures/predictions.png, which "
        "may be faces that are not yours to publish.",
    )
    parser.add_argument(
        "folder", type=Path, help="of a run, a cross-validation or a sweep: runs/NAME", metavar="runs/NAME"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="the page (report.html in the folder)")
    given = parser.parse_args(list(arguments))
    path = write_report(given.folder, given.out, settings_of)
    CONSOLE.print(f"report       {path} ({path.stat().st_size / 1e6:.1f} MB); open it in a browser")


def settings_of(words: Sequence[str], network: str, dataset: str) -> Mapping[str, Any]:
    """Return all settings that some words of ``fer fit`` lead to, under dotted keys.

    Args:
        words: A shipped config is named.
        network: Name of the network.
        dataset: Name of the data.

    Raises:
        InputError: The words say something that there is not.
    """
    paths = [
        str(config_path(word)) if before == "--config" else word
        for before, word in zip(["", *words], words, strict=False)
    ]
    cli = _Settings("fit", paths, network=network, dataset=dataset)
    settings: Mapping[str, Any] = yaml.safe_load(cli.parser.dump(cli.config, skip_none=False))
    return flatten(settings)


class _Settings(ExperimentCLI):
    """Reads settings, and makes nothing of them."""

    def _set_seed(self) -> None:
        """Leave the random numbers as they are."""

    def instantiate_classes(self) -> None:
        """Build nothing."""
