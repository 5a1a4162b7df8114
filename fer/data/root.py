"""Where a data set is looked for."""

import os
from pathlib import Path

from fer.errors import InputError


def data_root(root: str | None, *, dataset: str, way_out: str) -> Path:
    """Return the folder or file of the data: what was given, else the environment's ``FER_DATA_DIR``.

    Args:
        root: What the user gave.
        dataset: Name of the data set, for the message.
        way_out: What the user can do, for the message.

    Raises:
        InputError: Neither is there.
    """
    given = root or os.environ.get("FER_DATA_DIR")
    if not given:
        msg = f"no folder was given for {dataset}; {way_out}"
        raise InputError(msg)
    return Path(given).expanduser()
