"""How Lightning writes and reads checkpoint files."""

from pathlib import Path
from typing import Any

from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import Trainer

from fer.checkpoints import check_format, check_whole, write_checkpoint


class WholeCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints that are complete or absent, and verifies the checksums of those it loads.

    The draft is beside the file: Lightning's own is in ``/tmp``, and is copied over from there if that is
    another disk, so that what is cut off leaves half a file.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint.

        Raises:
            TypeError: There are storage options.
            OSError: The file cannot be written.
        """
        if storage_options is not None:
            msg = f"{type(self).__name__} has no storage options"
            raise TypeError(msg)
        write_checkpoint(Path(path), checkpoint)

    def load_checkpoint(self, path: str | Path, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the content of a checkpoint.

        Raises:
            InputError: The file is missing or damaged, or of a newer version of fer.
        """
        check_whole(Path(path))
        content: dict[str, Any] = super().load_checkpoint(path, *args, **kwargs)
        check_format(Path(path), content)
        return content


def write_whole_checkpoints(trainer: Trainer) -> None:
    """Let a trainer write its checkpoints with :class:`WholeCheckpointIO`, unless it has a way of its own.

    Its own may be a plugin of the user's, or that of a strategy that writes a folder instead of a file.
    """
    if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:  # and nothing derived from it
        trainer.strategy.checkpoint_io = WholeCheckpointIO()
