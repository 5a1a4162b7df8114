"""The command ``validate``: evaluate a checkpoint on the validation split."""

from collections.abc import Sequence
from typing import Final

from fer.commands.choices import choose
from fer.commands.experiment import run_experiment
from fer.commands.parsing import name_checkpoint

HELP: Final = "evaluate a checkpoint on the validation split"
SECTION: Final = "evaluate"
TAKES: Final = "checkpoint"


def validate(words: Sequence[str]) -> None:
    """Evaluate a checkpoint; a positional argument is the checkpoint or the folder of its run."""
    run_experiment("validate", *choose(name_checkpoint(words)))
