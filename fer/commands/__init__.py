"""The commands of ``fer``, each a function of the words that come after it."""

from collections.abc import Callable, Sequence
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

All other commands are on one run, and :mod:`fer.commands.experiment`'s.
"""


def load(command: str) -> Callable[[Sequence[str]], None]:
    """Import what a command needs, and return the function that runs it.

    Args:
        command: A name of :data:`fer.__main__.COMMANDS`.

    Returns:
        It takes the words after the command, and raises InputError where they, or what they name, cannot be
        used.
    """
    if command in OWN:
        function: Callable[[Sequence[str]], None] = getattr(
            import_module(f"fer.commands.{OWN[command]}"), command
        )
        return function
    from fer.commands.choices import choose
    from fer.commands.experiment import run_experiment

    def run(arguments: Sequence[str]) -> None:
        run_experiment(command, *choose(arguments))

    return run
