"""The program ``fer``: find the command, run it, and report errors in one line."""

import logging
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import fer
from fer.commands import Command, find_commands, load
from fer.commands.foreign import describe_foreign, foreign_errors
from fer.commands.suggest import suggest_command
from fer.configs import config_names, describe_config
from fer.errors import InputError
from fer.files import is_full

HELP: Final = """\
usage: fer [--version] [--debug] COMMAND …

Show what the hidden neurons of a facial emotion recognition network do, and prune those it does not need.

{commands}

options:
  -h, --help     show this help; fer COMMAND --help shows a command's options
  --version      show the version
  --debug        show the traceback of an error

examples:
  fer fit                                               conv6 on synthetic faces: nothing to download
  fer fit --config resnet --data.root ~/data/fer2013    ResNet-34 on FER2013
  fer fit --config conv6 --model.lr 0.003               any setting can be changed on the command line
  fer fit --config conv6 --help                         all settings of a network and its data
  fer test runs/latest                                  evaluate the best checkpoint of the newest run
  fer prune runs/latest --target_macs 0.5               prune it to half of its multiply-adds

configs (--config takes a file, or one of these names):
{configs}
"""


MIXED: Final = (
    "PyPI's package fer, another project, is installed in the same folder, and both are imported as fer: "
    "install fer-neurons into an environment of its own, or uninstall both and reinstall fer-neurons"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Arguments after ``fer``; None: those of the process.

    Returns:
        The exit status: 0, or 2 if the input is invalid.
    """
    if is_mixed(Path(__file__).parent):
        sys.stderr.write(f"fer: error: {MIXED}\n")
        return 2
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    command, *words = words or [""]
    # Commands are listed without importing them: torch and Lightning take seconds.
    commands = find_commands()
    if command in ("-h", "--help", "help"):
        sys.stdout.write(_help(commands))
        return 0
    if command == "--version":
        sys.stdout.write(f"fer {fer.__version__}\n")
        return 0
    known = {each.name: each for each in commands}
    if command not in known:
        sys.stderr.write(f"fer: error: {_unknown(command, [*known])}\n")
        return 2
    try:
        from fer.commands.early import check_paths  # not above: fer --help needs no jsonargparse

        check_paths(words, known[command].takes)
        run = load(command)
        _set_up_logging(debug=debug)  # not before: Lightning sets its own levels when it is imported
        run(words)
    except InputError as e:
        return _report(command, e, debug=debug)
    except foreign_errors() as e:
        return _report(command, e, debug=debug)
    except OSError as e:
        if not is_full(e):
            raise
        return _report(command, e, debug=debug)
    return 0


def is_mixed(package: Path) -> bool:
    """Return whether PyPI's package ``fer`` is installed in the folder of this package."""
    return (package / "fer.py").exists() or any(package.parent.glob("fer-[0-9]*.dist-info"))


def _report(command: str, error: Exception, *, debug: bool) -> int:
    """Print an error in one line and return the exit status; with ``--debug``, raise it instead."""
    if debug:
        raise error
    message = str(error) if isinstance(error, InputError) else describe_foreign(error)
    sys.stderr.write(f"fer {command}: error: {message}\n")
    return 2


def _help(commands: Sequence[Command]) -> str:
    """Return the help of ``fer`` with its commands by section."""
    lines = []
    for section, of_section in groupby(commands, key=lambda each: each.section):
        lines += ["", f"{section}:", *(f"  {each.name:<14} {each.help}" for each in of_section)]
    configs = [f"  {name:<14} {describe_config(name)}" for name in config_names()]
    return HELP.format(commands="\n".join(lines[1:]), configs="\n".join(configs))


def _unknown(word: str, names: Sequence[str]) -> str:
    """Return the message for an unknown command.

    >>> _unknown("trian", ["fit", "test"])
    "no command 'trian'; did you mean 'fit'? Commands: fit, test; fer --help explains them"
    """
    meant = suggest_command(word, names)
    problem = f"no command {word!r}" if word else "a command is missing"
    hint = f"did you mean {meant!r}? " if word and meant else ""
    return f"{problem}; {hint}Commands: {', '.join(names)}; fer --help explains them"


def _set_up_logging(*, debug: bool) -> None:
    """Show the package's messages, and of Lightning only its warnings."""
    handler = _ToStderr()
    handler.setFormatter(logging.Formatter("fer: %(message)s"))
    handler.addFilter(_Once())
    logger = logging.getLogger("fer")
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(logging.DEBUG if debug else logging.INFO)
    for library in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(library).setLevel(logging.INFO if debug else logging.WARNING)


class _ToStderr(logging.StreamHandler[Any]):
    """Write to the current ``sys.stderr``, which a progress bar replaces to print messages above itself."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a message."""
        self.setStream(sys.stderr)
        super().emit(record)


class _Once(logging.Filter):
    """Filter that passes each message once: every fold would repeat those about the data, for example."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the message is new."""
        message = record.getMessage()
        is_new = message not in self.shown
        self.shown.add(message)
        return is_new


if __name__ == "__main__":
    sys.exit(main())
