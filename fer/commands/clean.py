"""The command ``clean``: list and remove checkpoints of old runs, cached faces and unfinished files."""

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fer.commands.parsing import CONSOLE
from fer.data.cache import cache_dir
from fer.errors import InputError
from fer.files import DAY, describe_size, find_drafts, is_in_use
from fer.runs import LATEST, Run

HELP: Final = "list and remove checkpoints of old runs, cached data and unfinished files"
SECTION: Final = "data"

EXAMPLES: Final = """\
examples:
  fer clean                                          list what can be removed from runs/, then ask
  fer clean --dry_run                                list it only
  fer clean old_runs --older_than 30 --yes           remove without asking, from runs untouched for 30 days
  fer clean runs/SWEEP --unfinished                  also from trials that could still be resumed
"""

CACHED: Final = {
    "cropped faces": "crops/**/*",
    "parsed data": "fer2013-v*.npz",
    "features of frozen networks": "features/*.pt",
}
"""Contents of the cache, and the names of their files."""


@dataclass(frozen=True)
class Item:
    """Files that are removed together.

    Attributes:
        name: Folder that they are in.
        what: Kind of files.
        files: The files.
        used: When they or files beside them were last written, seconds since 1970.
    """

    name: str
    what: str
    files: tuple[Path, ...]
    used: float

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        return sum(path.lstat().st_size for path in self.files if path.exists())


def clean(arguments: Sequence[str]) -> None:
    """List what can be removed, ask, and remove it.

    Raises:
        InputError: There is no such folder, or no terminal to ask on.
    """
    given = _parser().parse_args(list(arguments))
    if not given.runs_dir.is_dir():
        msg = f"{given.runs_dir}: no such folder; give the folder of runs, such as runs"
        raise InputError(msg)
    before = time.time() - given.older_than * DAY
    items = [
        *old_checkpoints(given.runs_dir, before, best=given.best, unfinished=given.unfinished),
        *old_cache(before),
        *abandoned(given.runs_dir),
    ]
    if not items:
        CONSOLE.print(f"{given.runs_dir}: nothing to remove; see fer clean --help for what is kept")
        return
    CONSOLE.print("\n".join(_table(items)))
    if given.dry_run or not (given.yes or _agrees()):
        CONSOLE.print("nothing was removed")
        return
    freed = sum(item.size for item in items)
    for path in (path for item in items for path in item.files):
        path.unlink(missing_ok=True)
    CONSOLE.print(f"removed {describe_size(freed)}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fer clean",
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="""\
List what can be removed with its size, ask, and remove it:

  checkpoints   last.ckpt and previous.ckpt of runs that are complete. They are needed to train
                longer. best.ckpt and pruned.ckpt stay, and so do results, figures and angles.
  cache         cropped faces, parsed data and features of frozen networks; they are computed again
                when they are needed.
  drafts        files that a process was writing when it died.

Runs that are being trained, the run that "latest" links to, and files of other programs are not
touched. Sweeps, cross-validations and repeats are also searched.""",
        epilog=EXAMPLES,
    )
    parser.add_argument(
        "runs_dir",
        type=Path,
        nargs="?",
        default=Path("runs"),
        metavar="RUNS_DIR",
        help="folder of runs (default: runs)",
    )
    parser.add_argument(
        "--older_than",
        type=float,
        default=1.0,
        metavar="DAYS",
        help="keep runs and cached files that were written in the last DAYS days (default: 1)",
    )
    parser.add_argument(
        "--unfinished", action="store_true", help="also runs that fer fit --resume could still complete"
    )
    parser.add_argument("--best", action="store_true", help="also best.ckpt and pruned.ckpt of these runs")
    parser.add_argument("--dry_run", action="store_true", help="list only")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    return parser


def old_checkpoints(folder: Path, before: float, *, best: bool, unfinished: bool) -> Iterator[Item]:
    """Yield the checkpoints of old runs that can be removed.

    Args:
        folder: Folder of runs.
        before: Runs that were written to since then are kept; seconds since 1970.
        best: Whether best and pruned checkpoints are also removed.
        unfinished: Whether checkpoints of runs that can still be resumed are also removed.
    """
    for place, folders, _ in os.walk(folder):
        if "wandb" in folders:
            folders.remove("wandb")
        folders.sort()
        run = Run(Path(place))
        if not run.checkpoints_dir.is_dir() or run.checkpoints_dir.is_symlink() or not run.is_run:
            continue
        if _is_latest(run) or is_in_use(run.folder):
            continue
        used = max(
            path.lstat().st_mtime for each in (run.folder, run.checkpoints_dir) for path in each.iterdir()
        )
        if used >= before:
            continue
        is_done = _is_complete(run)
        candidates = []
        if (is_done or unfinished) and (run.best_checkpoint.is_file() or best):
            candidates += [run.last_checkpoint, run.previous_checkpoint]
        if best and (is_done or unfinished):
            candidates += [run.best_checkpoint, run.pruned_checkpoint]
        if files := tuple(path for path in candidates if path.is_file() and not path.is_symlink()):
            what = ", ".join(path.stem for path in files) + ("" if is_done else " (unfinished)")
            yield Item(str(run.folder), what, files, used)


def old_cache(before: float) -> Iterator[Item]:
    """Yield the files of the cache that were written before a time."""
    folder = cache_dir()
    for name, pattern in CACHED.items():
        times = {
            path: path.lstat().st_mtime
            for path in folder.glob(pattern)
            if path.suffix in (".npz", ".json", ".pt") and path.is_file()
        }
        if files := tuple(path for path, changed in times.items() if changed < before):
            yield Item(str(folder), f"{name}, {_count(files)}", files, max(times[path] for path in files))


def abandoned(runs_dir: Path) -> Iterator[Item]:
    """Yield the drafts of dead processes."""
    for folder in (runs_dir, cache_dir()):
        if files := tuple(find_drafts(folder)):
            used = max(path.lstat().st_mtime for path in files)
            yield Item(str(folder), f"drafts, {_count(files)}", files, used)


def _is_latest(run: Run) -> bool:
    """Return whether the link to the newest run points to this run, or to a folder around it."""
    folders = (run.folder, *run.folder.parents)
    links = (each.with_name(LATEST) for each in folders if each.name)
    return any(link.is_symlink() and run.folder.resolve().is_relative_to(link.resolve()) for link in links)


def _is_complete(run: Run) -> bool:
    """Return whether a run has results, or was trained for all its epochs and not tested."""
    from fer.figures.curves import read_curves  # not above: Matplotlib is slow to import

    if run.results_path.is_file():
        return True
    try:
        planned = run.read_config().get("trainer", {}).get("max_epochs")
        curves = read_curves(run.read_metrics(), ("train/loss", "val/acc"))
    except InputError:
        return False
    return isinstance(planned, int) and any(planned in curve.epochs for curve in curves.values())


def _table(items: Sequence[Item]) -> list[str]:
    """Return a table of what can be removed, and its total size."""
    now = time.time()
    rows = [("size", "last used", "what", "where")]
    for item in items:
        days = int((now - item.used) / DAY)
        ago = "today" if days < 1 else f"{days} day{'s' if days > 1 else ''} ago"
        rows.append((describe_size(item.size), ago, item.what, item.name))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    files = [path for item in items for path in item.files]
    total = describe_size(sum(item.size for item in items))
    return [*map(str.rstrip, lines), "", f"{_count(files)}, {total}"]


def _count(files: Sequence[Path]) -> str:
    return f"{len(files):,} file{'' if len(files) == 1 else 's'}"


def _agrees() -> bool:
    """Ask whether to remove the files.

    Raises:
        InputError: There is no terminal.
    """
    if not sys.stdin.isatty():
        msg = (
            "nothing was removed, since there is no terminal to ask on: add --yes, or --dry_run to list only"
        )
        raise InputError(msg)
    try:
        return CONSOLE.input("Remove them? [y/N] ").strip().casefold() in ("y", "yes")
    except EOFError:
        return False
