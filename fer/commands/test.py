"""The command ``test``: evaluate a checkpoint on all splits."""

from collections.abc import Sequence
from typing import Final

from fer.commands.choices import choose
from fer.commands.experiment import run_experiment
from fer.commands.parsing import name_checkpoint

HELP: Final = "evaluate a checkpoint on train, val and test, with confidence intervals and figures"
SECTION: Final = "evaluate"
TAKES: Final = "checkpoint"


def test(words: Sequence[str]) -> None:
    """Evaluate a checkpoint; a positional argument is the checkpoint or the folder of its run."""
    run_experiment("test", *choose(name_checkpoint(words)))
