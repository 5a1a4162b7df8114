"""What became of a sweep's trials: lines in one file, which several processes share."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal

from fer.errors import InputError

State = Literal["running", "finished", "stopped", "failed", "cut off"]

JOURNAL: Final = "journal.jsonl"
LOCK: Final = ".lock"

log = logging.getLogger("fer.studies")


@dataclass
class Trial:
    """One run of a sweep.

    Attributes:
        number: Of the run, from 1.
        point_number: Of the point, from 1; more than one run have it where one was cut off.
        point: The parameters' values.
        cube: The point's place in the unit cube; empty in a grid.
        command: What was run.
        state: ``stopped`` is by hyperband; ``cut off`` by the end of the process that ran it.
        value: The best value of the metric.
        values: All values of the metric, in order.
        reason: Why it ended as it did, where that needs saying.
        seconds: It took.
        agent: Which runs it: its place among those of its process, from 0.
    """

    number: int
    point_number: int
    point: Mapping[str, Any]
    cube: Sequence[float]
    command: Sequence[str] = ()
    state: State = "running"
    value: float | None = None
    values: Sequence[float] = ()
    reason: str = ""
    seconds: float = 0.0
    agent: int = 0

    @property
    def name(self) -> str:
        """The name of the trial's folder."""
        return f"trial-{self.number:04d}"


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say in words that something cannot be written.

    Raises:
        InputError: The disk is full, or the place is not ours.
    """
    try:
        yield
    except OSError as e:
        msg = f"{path} cannot be written ({e.strerror}): make room, or choose another folder"
        raise InputError(msg) from e


class Journal:
    """The journal in a sweep's folder.

    A line is a trial as it then was; the last line of a trial holds. Lines are only ever added, by whoever
    has the lock, so that processes on one machine or on a shared disk can work together, and so that one
    which is killed harms nothing.

    Args:
        folder: Of the sweep.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out."""
        import fcntl  # not above: Windows has none, and the other commands can do without

        with (self.folder / LOCK).open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def read(self) -> list[Trial]:
        """Return all trials, by number; empty where none has begun."""
        path = self.folder / JOURNAL
        if not path.is_file():
            return []
        trials: dict[int, Trial] = {}
        for line in path.read_bytes().splitlines():
            try:
                fields = json.loads(line)
            except ValueError:
                log.debug("%s: half a line, of a process that was killed", path)
                continue
            trials[fields["number"]] = Trial(**fields)
        return [trials[number] for number in sorted(trials)]

    def write(self, trial: Trial) -> None:
        """Add a trial's line.

        Raises:
            InputError: The disk is full, or the folder cannot be written to.
        """
        line = json.dumps(asdict(trial)).encode() + b"\n"
        path = self.folder / JOURNAL
        with writing(path), path.open("a+b") as file:
            if file.tell() and not _ends_line(file):
                line = b"\n" + line
            file.write(line)


def _ends_line(file: BinaryIO) -> bool:
    file.seek(-1, 2)
    return file.read(1) == b"\n"
