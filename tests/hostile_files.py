"""Files that were made to do harm: bombs of some kilobytes, and pickles that run a command."""

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

MEGABYTE = 1 << 20
ROW = b"0," + b" ".join([b"1"] * 48 * 48) + b",Training\n"
LAUGHS = "a0: &a0 [ha, ha, ha, ha, ha, ha, ha, ha, ha, ha]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 10)
)
"""Ten billion values in a few lines of YAML."""


class Evil:
    """An object that makes a file where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def write_png(path: Path, width: int, height: int) -> Path:
    """Write a black image of one bit, row by row, as no library would: it is never in memory."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        framed = kind + content
        return struct.pack(">I", len(content)) + framed + struct.pack(">I", zlib.crc32(framed))

    row = bytes((width + 7) // 8 + 1)
    packer = zlib.compressobj()
    content = b"".join(packer.compress(row * 100) for _ in range(height // 100)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")
    )
    return path


def write_zip(path: Path, name: str, parts: Iterable[bytes]) -> Path:
    """Write a zip with one member, given in parts."""
    archive = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1)
    with archive, archive.open(name, "w", force_zip64=True) as file:
        for part in parts:
            file.write(part)
    return path


def bomb(path: Path, name: str, *, megabytes: int, start: bytes = b"", filling: bytes = b"1") -> Path:
    """Write a small zip whose member is large."""
    part = filling * (MEGABYTE // len(filling))
    return write_zip(path, name, (start if not number else part for number in range(megabytes + 1)))


def array_that_lies(shape: tuple[int, ...]) -> bytes:
    """Return an array of a few bytes whose header claims a shape."""
    stream = io.BytesIO()
    header = {"shape": shape, "fortran_order": False, "descr": "<f4"}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue() + b"1234"
