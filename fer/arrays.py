"""Read NumPy archives that may be damaged or hostile: with checks, without pickles, up to a size limit."""

import io
import struct
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

MOST_BYTES: Final = 400_000_000
"""Largest total size of a file's arrays, in bytes."""

_DAMAGED: Final = (
    *(ArithmeticError, EOFError, LookupError, MemoryError, OSError, RuntimeError, SyntaxError),
    *(TypeError, ValueError, struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)
"""Exceptions of ``zipfile`` and NumPy on a damaged file; an array's header is parsed as a Python literal."""


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of an ``.npz`` file by name. Checksums are verified; pickled objects are refused.

    Raises:
        FileNotFoundError, NotADirectoryError: There is no such file.
        ValueError: It is damaged, or its arrays take more than :data:`MOST_BYTES`. The message is one line.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
            if size > MOST_BYTES:
                msg = f"{size:,} bytes once unpacked, more than {MOST_BYTES:,}"
                raise ValueError(msg)
            return {name.removesuffix(".npy"): _read_array(archive.read(name)) for name in archive.namelist()}
    except (FileNotFoundError, NotADirectoryError):
        raise
    except _DAMAGED as e:
        raise ValueError(" ".join(str(e).split()) or type(e).__name__) from e


def _read_array(content: bytes) -> NDArray[Any]:
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read_header is None:
        msg = f"unknown NumPy format {version}"
        raise ValueError(msg)
    shape, _, dtype = read_header(stream)
    # NumPy would allocate the size in the header before it notices that the file is shorter.
    wanted, there = int(np.prod(shape, dtype=object)) * dtype.itemsize, len(content) - stream.tell()
    if not dtype.hasobject and wanted != there:
        msg = f"an array has {wanted:,} bytes according to its header, but {there:,} in the file"
        raise ValueError(msg)
    stream.seek(0)
    array: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
    return array
