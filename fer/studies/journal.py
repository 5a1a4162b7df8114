"""Journal of a sweep's trials: lines in one file that several processes share."""

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
        number: Number of the trial, from 1.
        point_number: Number of the point, from 1; trials that repeat an interrupted one share it.
        point: Values of the parameters.
        cube: Position of the point in the unit cube; empty for a grid.
        command: The command that was run.
        state: ``stopped`` by hyperband; ``cut off`` by the end of the process that ran it.
        value: Best value of the metric.
        values: All values of the metric, in order.
        reason: Why it ended, if that is not clear from the state.
        seconds: Duration.
        agent: Index of the agent, within its process, that runs it.
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
    """Turn an OSError while writing into an InputError.

    Raises:
        InputError: The disk is full, or the folder is not writable.
    """
    try:
        yield
    except OSError as e:
        msg = f"{path} cannot be written ({e.strerror}): free some space, or choose another folder"
        raise InputError(msg) from e


class Journal:
    """The journal in a sweep's folder.

    Each line is the state of a trial at one time; the last line of a trial counts. Lines are only appended,
    under a lock, so that processes on one machine or on a shared disk can share the journal, and a killed
    process leaves at most half a line, which is ignored.

    Args:
        folder: Folder of the sweep.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the journal against other processes."""
        import fcntl  # not above: Windows has none, and the other commands can do without

        with (self.folder / LOCK).open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def read(self) -> list[Trial]:
        """Return all trials by number; empty if none has begun.

        Raises:
            InputError: A line is JSON, but not of a trial.
        """
        path = self.folder / JOURNAL
        if not path.is_file():
            return []
        trials: dict[int, Trial] = {}
        for number, line in enumerate(path.read_bytes().splitlines(), start=1):
            try:
                fields = json.loads(line)
            except ValueError:
                log.debug("%s, line %d: cut off with its process", path, number)
                continue
            try:
                trials[fields["number"]] = Trial(**fields)
            except (TypeError, KeyError) as e:
                msg = f"{path} is damaged: line {number} is not of a trial; delete the line to continue"
                raise InputError(msg) from e
        return [trials[number] for number in sorted(trials)]

    def write(self, trial: Trial) -> None:
        """Append the state of a trial.

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
