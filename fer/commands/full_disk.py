"""Explain a full disk: what has been saved, and how to resume."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning.pytorch import Trainer

from fer.checkpoints import read_any_checkpoint
from fer.errors import InputError
from fer.files import DiskFullError, is_full
from fer.runs import Run


class FullDisk:
    """Context manager that explains that a training ran out of disk space.

    Use it around training and test, and :meth:`outlived` around the training alone: a training whose epochs
    are complete is tested before the error is raised.

    Args:
        folder: Folder of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.run = Run(folder)
        self.problem = ""
        """What could not be written at the end of a training."""

    def __enter__(self) -> "FullDisk":
        """Return itself."""
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """Explain the error.

        Raises:
            InputError: The disk is full.
        """
        if isinstance(error, OSError) and is_full(error):
            raise InputError(self._explain(_problem_of(error))) from error
        if self.problem and error is None:
            raise InputError(self._explain(self.problem))

    @contextmanager
    def outlived(self, trainer: Trainer) -> Iterator[None]:
        """Go on if the disk is full after the last epoch."""
        try:
            yield
        except OSError as error:
            is_complete = trainer.should_stop or trainer.current_epoch == trainer.max_epochs
            if not is_full(error) or not is_complete:
                raise
            self.problem = _problem_of(error)

    def _explain(self, problem: str) -> str:
        if not self.run.config_path.is_file():
            return f"{problem}: nothing was trained; free some space, and run the same command again"
        epochs = max(map(_epochs_in, (self.run.last_checkpoint, self.run.previous_checkpoint)))
        if self.problem:
            safe = "all epochs are trained"
        elif epochs:
            safe = f"the run is safe up to epoch {epochs}"
        else:
            safe = "no epoch is complete"
        return f"{problem}: {safe}; free some space, then fer fit --resume {self.run.folder}"


def _problem_of(error: OSError) -> str:
    if isinstance(error, DiskFullError):
        return error.problem
    return f"{error.filename or 'a file'} cannot be written ({error.strerror})"


def _epochs_in(checkpoint: Path) -> int:
    """Return the number of completed epochs in a checkpoint; 0 if it cannot be read."""
    try:
        return int(read_any_checkpoint(checkpoint)["epoch"])
    except (InputError, KeyError):
        return 0
