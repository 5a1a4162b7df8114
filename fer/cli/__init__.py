"""The commands of ``fer``, each a function of the words that come after it."""

from collections.abc import Sequence
from importlib import import_module
from typing import Final

OWN: Final = {
    "agent": "agent",
    "audit": "data",
    "crop": "data",
    "crossval": "crossval",
    "dashboard": "dashboard",
    "download": "data",
    "export": "export",
    "prune": "prune",
    "report": "report",
    "sweep": "sweep",
}
"""By command, the module of this package whose function of the command's name runs it.

All other commands are on one run, and :mod:`fer.cli.experiment`'s.
"""


def run(command: str, arguments: Sequence[str]) -> None:
    """Run one command of the command line.

    Args:
        command: A name of :data:`fer.__main__.COMMANDS`.
        arguments: The words after it.

    Raises:
        InputError: Something that the user gave cannot be used.
    """
    # Imported here, so that a command waits for what it needs alone.
    if command in OWN:
        getattr(import_module(f"fer.cli.{OWN[command]}"), command)(arguments)
        return
    from fer.cli.choices import choose
    from fer.cli.experiment import run_experiment

    words, chosen = choose(arguments)
    run_experiment(command, words, chosen)
