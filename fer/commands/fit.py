"""The command ``fit``: train a network."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from fer.commands.choices import choose
from fer.commands.experiment import run_experiment
from fer.commands.parsing import name_checkpoint, positional
from fer.commands.resume import take_resume
from fer.configs import config_names
from fer.errors import InputError

HELP: Final = "train a network, then evaluate its best checkpoint on the test split once"
SECTION: Final = "train"


def fit(words: Sequence[str]) -> None:
    """Train a network.

    Raises:
        InputError: There is a positional argument; the message suggests the option that was meant.
    """
    for place in positional(words):
        raise InputError(_suggest(words[place]))
    run, words = take_resume(words)
    run_experiment("fit", *choose(name_checkpoint(words, resume=True)), resumed=run)


def _suggest(word: str) -> str:
    """Return the message for a positional argument.

    >>> _suggest("conv6")
    "unexpected argument 'conv6': did you mean --config conv6?"
    """
    path = Path(word)
    if path.suffix == ".ckpt" or path.is_dir():
        meant = f"--ckpt_path {word} to resume training, or --start_from {word} to start from its weights?"
    elif word in config_names() or path.suffix in (".yaml", ".yml", ".json"):
        meant = f"--config {word}?"
    else:
        meant = "--config NAME, or --ckpt_path CHECKPOINT?"
    return f"unexpected argument {word!r}: did you mean {meant}"
