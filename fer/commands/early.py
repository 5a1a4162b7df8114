"""Check the paths of a command line before torch and Lightning are imported, which takes seconds."""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

from fer.commands.parsing import positional
from fer.configs import config_path
from fer.lookup import check_archive, check_folder, find_checkpoint

CHECKPOINT: Final = "checkpoint"
"""Value of ``TAKES`` in the file of a command whose positional argument is a checkpoint."""

STUDY: Final = "study"
"""Value of ``TAKES`` of a command that trains several times, and refuses a checkpoint by itself."""

SWEEP: Final = "sweep"
"""Value of ``TAKES`` of a command whose positional argument is a sweep file."""

FOLDER: Final = "folder"
"""Value of ``TAKES`` of a command whose positional arguments are folders of runs."""

CHECKPOINTS: Final = ("--ckpt_path", "--start_from")
"""Options that take a checkpoint."""

OTHERS: Final = re.compile(r"null|None|.*\.onnx", re.IGNORECASE)
"""Values of ``--ckpt_path`` that are no checkpoint; fer predict takes ONNX files."""


def check_paths(words: Sequence[str], takes: str = "") -> None:
    """Check configs, checkpoints, folders of runs and sweep files. They are read later, when a command runs.

    Args:
        words: The arguments after the command.
        takes: ``TAKES`` of the command, see :mod:`fer.commands`.

    Raises:
        InputError: There is no such config, checkpoint, folder or file, or a sweep file cannot be used.
    """
    for flag, value in _values(words):
        if flag in ("--config", "-c"):
            config_path(value)
        elif flag in CHECKPOINTS and takes != STUDY and not re.fullmatch(OTHERS, value):
            check_archive(find_checkpoint(Path(value)))
    for place in positional(words):
        if takes == CHECKPOINT:
            check_archive(find_checkpoint(Path(words[place])))
        elif takes == FOLDER:
            check_folder(Path(words[place]))
        elif takes == SWEEP and words[place].endswith((".yaml", ".yml")):
            from fer.studies.sweepfile import read_sweep  # not above: SciPy takes half a second

            method = dict(_values(words)).get("--method")
            read_sweep(Path(words[place]), method=method, to_run=False)


def _values(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the options that have a value, with it.

    >>> [*_values(["--config", "conv6", "--test=false", "--whole", "--ema"])]
    [('--config', 'conv6'), ('--test', 'false')]
    """
    for word, after in pairwise([*words, "--"]):
        flag, equals, value = word.partition("=")
        if flag.startswith("-") and (equals or not after.startswith("-")):
            yield flag, value if equals else after
