"""The command ``fer``: finds the subcommand, and says what went wrong in one line."""

import argparse
import logging
import sys
from collections.abc import Sequence
from typing import Final

from fer import __version__
from fer.errors import InputError

COMMANDS: Final = {
    "fit": "train a network, then test its best checkpoint once",
    "validate": "evaluate a checkpoint on the validation split",
    "test": "evaluate a checkpoint on train, val and test, with intervals and figures",
    "prune": "make a network smaller, without the neurons that others can stand for; --timm NAME: anyone's",
    "export": "write a checkpoint's network, pruned or not, as an ONNX file that is checked",
    "predict": "write a checkpoint's class probabilities for the test split as CSV",
    "audit": "what stands twice, under two labels or on both sides of a split",
    "crop": "find and crop the faces of images, with a contact sheet and a table",
    "crossval": "train and test every fold of a cross-validation, then their mean and spread",
    "sweep": "search settings as a W&B sweep does, on this machine, without an account",
    "agent": "make a W&B sweep of a file and run its trials, or join one; without an account: sweep",
    "dashboard": "make the W&B workspace and report of all runs, or write them as JSON",
    "report": "one HTML page of a run, a cross-validation or a sweep, that opens anywhere",
    "download": "fetch FER2013 from Kaggle",
}

EPILOG: Final = """\
examples:
  fer fit                                       conv6 on faces drawn by code: no data needed
  fer fit --config resnet --data.root ~/data    ResNet-34 on FER2013
  fer fit --config conv6 --model.lr 0.003       any setting, from the command line
  fer fit --config conv6 --help                 all settings of a network and its data
  fer test --ckpt_path runs/…/checkpoints/best.ckpt

A config is a file, or the name of one that is shipped: {configs}.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Words after ``fer``; None: those the process was started with.

    Returns:
        The exit status: 0, or 2 where the user has something to mend.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    arguments = [word for word in arguments if word != "--debug"]
    command = _parser().parse_args(arguments[:1]).command
    try:
        # Imported here, since torch and Lightning take seconds that `fer --help` need not wait for.
        from fer.commands import load

        run = load(command)
        _set_up_logging(debug=debug)  # not before: Lightning sets its own levels when it is imported
        run(arguments[1:])
    except InputError as e:
        if debug:
            raise
        sys.stderr.write(f"fer {command}: error: {e}\n")
        return 2
    return 0


def _set_up_logging(*, debug: bool) -> None:
    """Show the package's own news, and of the libraries' what is a warning."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("fer: %(message)s"))
    handler.addFilter(_Once())
    logger = logging.getLogger("fer")
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(logging.DEBUG if debug else logging.INFO)
    for library in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(library).setLevel(logging.INFO if debug else logging.WARNING)


class _Once(logging.Filter):
    """Lets each message pass once: every fold has the same data, and every threshold the same samples."""

    def __init__(self) -> None:
        super().__init__()
        self.said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether it is new."""
        message = record.getMessage()
        is_new = message not in self.said
        self.said.add(message)
        return is_new


def _parser() -> argparse.ArgumentParser:
    from fer.configs import config_names

    parser = argparse.ArgumentParser(
        prog="fer",
        description="What are the hidden neurons of a facial emotion recognition network doing, "
        "and which does it need?",
        epilog=EPILOG.format(configs=", ".join(config_names())),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"fer {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    for name, description in COMMANDS.items():
        # Each command has a parser of its own in fer.commands, which prints its help.
        commands.add_parser(name, help=description, add_help=False)
    return parser


if __name__ == "__main__":
    sys.exit(main())
