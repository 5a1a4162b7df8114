"""Locate the folder of a data set."""

import os
from pathlib import Path

from fer.errors import InputError


def data_root(root: str | None, *, dataset: str, way_out: str) -> Path:
    """Return the folder or file of the data: ``root``, else the environment variable ``FER_DATA_DIR``.

    Args:
        root: The user's setting, ``data.root``.
        dataset: Name of the data set, for the error message.
        way_out: What the user can do, for the error message.

    Raises:
        InputError: Neither is set.
    """
    given = root or os.environ.get("FER_DATA_DIR")
    if not given:
        msg = f"no folder was given for {dataset}; {way_out}"
        raise InputError(msg)
    return Path(given).expanduser()
