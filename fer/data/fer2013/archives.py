"""Read FER2013 from a zip or a tar as a stream, without unpacking it to disk."""

import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Final

from fer.data.fer2013.folders import ImageRows, is_hidden, is_image
from fer.data.fer2013.rows import AGAIN, MOST_BYTES, WAY_OUT, Fer2013Rows, Tick
from fer.data.fer2013.table import CSV_NAMES, TRAIN_CSV, read_csv
from fer.errors import InputError

TAR_SUFFIXES: Final = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")
ARCHIVE_SUFFIXES: Final = (".zip", *TAR_SUFFIXES)


@contextmanager
def readable(where: Path) -> Iterator[None]:
    """Convert exceptions of reading a file or an archive to an InputError that names it."""
    try:
        yield
    except InputError:
        raise
    except PermissionError as e:
        msg = f"{where} cannot be read: {e.strerror}; change its permissions, or {WAY_OUT}"
        raise InputError(msg) from e
    # RuntimeError is what zipfile raises for a password or an unknown compression.
    except (
        OSError,
        EOFError,
        RuntimeError,
        zlib.error,
        lzma.LZMAError,
        zipfile.BadZipFile,
        tarfile.TarError,
    ) as e:
        reason = str(e).partition("\n")[0].rstrip(":")
        msg = f"{where} cannot be read and may be truncated or damaged ({reason}); {AGAIN}"
        raise InputError(msg) from e


def read_zip(source: Path, tick: Tick) -> Fer2013Rows | None:
    """Read the first of these in a zip: a CSV, images, a tar, ``train.csv``; None if there is none.

    Raises:
        InputError: The zip, or the member that is read, is damaged or does not contain FER2013.
    """
    with zipfile.ZipFile(source) as archive:
        members = {PurePosixPath(info.filename): info for info in archive.infolist() if not info.is_dir()}
        members = {inside: info for inside, info in members.items() if not is_hidden(inside)}

        def read_named(name: str) -> Fer2013Rows | None:
            for inside, info in members.items():
                if inside.name.lower() == name:
                    with archive.open(info) as stream:
                        return read_csv(stream, source / inside, tick)
            return None

        for name in CSV_NAMES:
            if (rows := read_named(name)) is not None:
                return rows
        images = ImageRows(source, tick)
        for inside, info in members.items():
            if is_image(inside):
                with archive.open(info) as stream:
                    images.add(inside, stream)
        if (rows := images.rows()) is not None:
            return rows
        for inside, info in members.items():
            if inside.name.lower().endswith(TAR_SUFFIXES):
                with readable(source / inside), archive.open(info) as stream:
                    rows = read_tar(stream, source / inside, tick)
                if rows is not None:
                    return rows
        return read_named(TRAIN_CSV)


def read_tar(stream: IO[bytes], where: Path, tick: Tick) -> Fer2013Rows | None:
    """Read the first CSV of a tar, else its images, in one pass; None if there are neither.

    Raises:
        InputError: A member that is read does not contain FER2013.
        OSError, EOFError, zlib.error, lzma.LZMAError, tarfile.TarError: The tar is damaged.
    """
    rows = None
    images = ImageRows(where, tick)
    # "r:*" rather than "r|*", which does not verify gzip's checksum and stops after bzip2's first stream.
    with tarfile.open(fileobj=stream, mode="r:*") as archive:
        for member in archive:
            # Forget the headers of earlier members, which would take half as much memory as the images.
            archive.members.clear()  # type: ignore[attr-defined]
            _check_end(member.offset_data + member.size, where)
            inside = PurePosixPath(member.name)
            content = archive.extractfile(member) if member.isfile() and not is_hidden(inside) else None
            if content is None:
                continue
            if inside.name.lower() in CSV_NAMES:
                rows = read_csv(content, where / inside, tick)
                break
            if is_image(inside):
                images.add(inside, content)
        # Read to the end, where the checksum of a compressed tar is.
        while archive.fileobj is not None and archive.fileobj.read(1 << 20):
            _check_end(archive.fileobj.tell(), where)
    return images.rows() if rows is None else rows


def _check_end(end: int, where: Path) -> None:
    """Refuse a tar that is far larger than FER2013 once unpacked; reading it would take hours."""
    if end > MOST_BYTES:
        msg = f"{where} has more than {MOST_BYTES:,} bytes once unpacked, while FER2013 has 300 MB; {WAY_OUT}"
        raise InputError(msg)
