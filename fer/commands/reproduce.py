"""The command ``reproduce``: replay the tables and figures of the papers, and check what they print."""

import argparse
import platform
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch

import fer
from fer.commands import load
from fer.commands.parsing import CONSOLE
from fer.data.features import FeatureSplit
from fer.data.sfew import SfewFeaturesDataModule
from fer.errors import InputError
from fer.figures.series import series_figure
from fer.figures.style import write_figure
from fer.provenance import package_commit
from fer.studies.papers.checks import CHECKS, describe, findings
from fer.studies.papers.facts import find_item, read_papers
from fer.studies.papers.protocols import PROTOCOLS, how
from fer.studies.papers.replaying import Replaying

HELP: Final = "replay a table or figure of the papers, or check the numbers that they print"
SECTION: Final = "evaluate"


def reproduce(words: Sequence[str]) -> None:
    """Replay a table or figure of the papers, list all, or check printed numbers.

    Raises:
        InputError: There is no such item, or it is not replayed.
    """
    parser = argparse.ArgumentParser(
        prog="fer reproduce",
        allow_abbrev=False,
        description="Replay a table or figure of the five papers: run its protocol, and show each number as "
        "printed, as recomputed from the paper's own numbers, and as measured here. Finished runs are "
        "reused; the same command resumes an interrupted replay.",
    )
    parser.add_argument(
        "item", nargs="?", metavar="ITEM", help="name of a table or figure, such as s0-table3"
    )
    parser.add_argument(
        "--list", action="store_true", help="list all tables and figures, and how each is replayed"
    )
    parser.add_argument("--checks", action="store_true", help="check the papers' numbers against each other")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="use fewer seeds, folds and trainings, of two epochs on a few batches, to check that a protocol "
        "runs",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="folder for a second copy of the results, ITEM.json"
    )
    parser.add_argument(
        "--runs_dir", type=Path, default=Path("runs"), help="folder of all runs (default: runs)"
    )
    parser.add_argument(
        "--data.root",
        dest="root",
        metavar="FOLDER",
        help="folder of FER2013 and SFEW (default: the environment's FER_DATA_DIR)",
    )
    given = parser.parse_args(list(words))
    if bool(given.item) + given.list + given.checks != 1:
        msg = "give one of ITEM, --list and --checks; fer reproduce --list shows the items"
        raise InputError(msg)
    if given.list:
        _list()
    elif given.checks:
        _check(given.root)
    else:
        _replay(given)


def _list() -> None:
    papers = read_papers()
    for key, paper in sorted(papers.items()):
        if paper.items:
            CONSOLE.print(f"\n{key}  {paper.authors}: {paper.title}", markup=False)
        for item in paper.items.values():
            CONSOLE.print(f"  {item.name:<17} {item.shows}: {how(item)}", markup=False)


def _check(root: str | None) -> None:
    papers = read_papers()
    pool, missing = _features(root)
    outcomes = []
    for check in CHECKS:
        CONSOLE.print(f"\n{check.code}  {check.title}", markup=False)
        for finding in findings(check, papers, pool):
            CONSOLE.print(describe(finding), markup=False)
            outcomes.append(finding.holds)
        if check.from_data is not None and pool is None:
            CONSOLE.print("  not checked   needs SFEW's features", markup=False)
    num_left = sum(check.from_data is not None for check in CHECKS) if pool is None else 0
    CONSOLE.print(f"\n{sum(outcomes)} of {len(outcomes)} findings are confirmed")
    if num_left:
        CONSOLE.print(f"{num_left} need data: {missing}", markup=False)


def _replay(given: argparse.Namespace) -> None:
    papers = read_papers()
    name: str = given.item
    item = find_item(papers, name)
    if item.why:
        msg = f"{name} is not replayed: {item.why}"
        raise InputError(msg)
    protocol = PROTOCOLS[name]
    replaying = Replaying(
        given.runs_dir / "reproduce",
        given.quick,
        given.root,
        run=lambda command, words: load(command)(words),
        made={
            "command": shlex.join(["fer", "reproduce", name, *(["--quick"] if given.quick else [])]),
            "commit": (package_commit() or "unknown")[:12],
            "fer": fer.__version__,
            "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        },
        out=given.out,
    )
    pool, missing = _features(given.root) if protocol.on_features is not None else (None, "")
    done = replaying.replay(papers, item, protocol, pool, missing)
    CONSOLE.print(f"\n{done.text}", markup=False)
    pictures = list(done.pictures)
    if done.panels:
        pictures.append(done.folder / f"{name}.png")
        write_figure(series_figure(done.panels, f"{name}: {item.shows}"), pictures[-1])
    for path in pictures:
        CONSOLE.print(f"figure       {path}", markup=False)
    CONSOLE.print(f"results      {done.folder / name}.json, .csv", markup=False)


def _features(root: str | None) -> tuple[FeatureSplit | None, str]:
    """Return SFEW's rows, or why they cannot be read."""
    try:
        return SfewFeaturesDataModule(root).load_pool(), ""
    except InputError as e:
        return None, str(e)
