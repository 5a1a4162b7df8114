"""Write files atomically, remove the drafts of dead processes, and read text and JSON files."""

import errno
import hashlib
import json
import logging
import os
import re
import secrets
import socket
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from itertools import chain, count
from pathlib import Path
from typing import Any, BinaryIO, Final

from fer.errors import InputError

MOST_BYTES: Final = 32_000_000
"""Largest size of a text file that is read; metrics of thousands of epochs have some ten million bytes."""

FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers of a full disk, an exhausted quota, and the limit on the size of a file."""

DAY: Final = 24 * 60 * 60.0
"""Seconds after which a draft counts as abandoned if it is unknown whether its process is alive."""

_DRAFT: Final = re.compile(
    r"\..+\.(?:(?P<host>[0-9a-f]{8})-)?(?P<pid>\d+)-[0-9a-f]{8}\.tmp(?:\.\w+)?", re.ASCII
)

log = logging.getLogger("fer.files")


class DiskFullError(InputError, OSError):
    """A file cannot be written, because the disk is full.

    Attributes:
        problem: The message without what to do.
    """

    def __init__(self, path: Path, error: OSError) -> None:
        self.problem = f"{path} cannot be written ({error.strerror})"
        super().__init__(f"{self.problem}: free some space, and run the same command again")
        self.errno, self.strerror = error.errno, error.strerror

    def __str__(self) -> str:
        """Return the message without the error's number."""
        return str(self.args[0])


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that appears under its name only when it is complete.

    The content is written to a draft in the same folder, which replaces the file once it is on the disk.
    Readers never see a partial file, not even after a power failure. If there are two writers, the last one
    wins. Missing folders are made.

    Args:
        path: The file; an existing one is replaced.

    Yields:
        The open file, in binary.

    Raises:
        DiskFullError: The disk is full.
        OSError: The folder cannot be made or written to.
    """
    draft = draft_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        if not is_full(error) or isinstance(error, DiskFullError):
            raise
        raise DiskFullError(path, error) from error
    finally:
        with suppress(FileNotFoundError, NotADirectoryError):
            draft.unlink()


def free_name(path: Path, suffix: str, taken: set[str]) -> str:
    """Return a unique name for a file that is made from another.

    Args:
        path: Relative path of the other file.
        suffix: Suffix of the new file.
        taken: Names so far; the new one is added.

    >>> taken = set()
    >>> [free_name(Path(name), ".png", taken) for name in ("a/x.jpg", "a/x.tif", "b/x.jpg")]
    ['a/x.png', 'a/x.tif.png', 'b/x.png']
    """
    numbered = (path.with_name(f"{path.name}-{number}{suffix}") for number in count(2))
    candidates = chain((path.with_suffix(suffix), path.with_name(f"{path.name}{suffix}")), numbered)
    name = next(name for each in candidates if (name := each.as_posix()) not in taken)
    taken.add(name)
    return name


def is_full(error: OSError) -> bool:
    """Return whether an error means that there is no space left to write."""
    return error.errno in FULL


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to the disk, if the system supports it."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def draft_of(path: Path) -> Path:
    """Return an unused name in the same folder, to write to before the file is replaced.

    It contains the process that writes it: ``.NAME.HOST-PID-HEX.tmp``. With another suffix at the end, for a
    library that infers a format from it, the file is still recognised as a draft.
    """
    name = path.name.encode()[:150].decode(errors="ignore")  # a name has at most 255 bytes
    return path.with_name(f".{name}.{_host()}-{os.getpid()}-{secrets.token_hex(4)}.tmp")


def remove_drafts(folders: Iterable[Path]) -> None:
    """Remove the drafts that dead processes left in folders, and report them in one line.

    Args:
        folders: Folders to search, at any depth; they need not exist.
    """
    num, size = 0, 0
    for draft in {path for folder in folders for path in find_drafts(folder)}:
        with suppress(OSError):  # another process may have removed it first
            size_of_draft = draft.lstat().st_size
            draft.unlink()
            num, size = num + 1, size + size_of_draft
    if num:
        log.info("removed %d unfinished files of processes that have ended (%s)", num, describe_size(size))


def find_drafts(folder: Path) -> Iterator[Path]:
    """Yield the drafts below a folder that no process is writing any more."""
    for place, folders, names in os.walk(folder):
        if "wandb" in folders:  # W&B's folder has many files, but no drafts
            folders.remove("wandb")
        yield from (path for name in names if _is_abandoned(path := Path(place, name)))


def _is_abandoned(path: Path) -> bool:
    """Return whether a file is a draft of a dead process, or a day-old one of an unknown process."""
    match = _DRAFT.fullmatch(path.name)
    if match is None:
        return False
    if match["host"] == _host() and not _is_alive(int(match["pid"])):
        return True
    with suppress(OSError):
        return time.time() - path.lstat().st_mtime > DAY
    return False


def _is_alive(pid: int) -> bool:
    if sys.platform == "win32":
        return True  # on Windows, os.kill would end the process
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # a process of another user
        return True
    return True


@cache
def _host() -> str:
    """Return an id of the machine and the container, within which a PID is unique."""
    container = 0
    with suppress(OSError):
        container = os.stat("/proc/self/ns/pid").st_ino  # noqa: PTH116
    return hashlib.blake2b(f"{socket.gethostname()} {container}".encode(), digest_size=4).hexdigest()


@contextmanager
def in_use(folder: Path) -> Iterator[None]:
    """Mark a folder as used by this process, for :func:`is_in_use` in other processes."""
    with ExitStack() as at_end:
        with suppress(ImportError, OSError):  # Windows and some file systems do not support it
            import fcntl

            descriptor = os.open(folder, os.O_RDONLY)
            at_end.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield


def is_in_use(folder: Path) -> bool:
    """Return whether a process uses a folder; False if the system does not support locks."""
    with suppress(ImportError, OSError):
        import fcntl

        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
    return False


def describe_size(num_bytes: float) -> str:
    """Return a size in bytes as text, in kB, MB or GB.

    >>> describe_size(812), describe_size(31_400_000), describe_size(2.5e9)
    ('1 kB', '31 MB', '2.5 GB')
    """
    if num_bytes >= 1e9:
        return f"{num_bytes / 1e9:.1f} GB"
    return f"{num_bytes / 1e6:.0f} MB" if num_bytes >= 1e6 else f"{num_bytes / 1e3:.0f} kB"


def read_text(path: Path) -> str:
    """Return the text of a file, unless it is larger than any file that a run writes.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is larger than :data:`MOST_BYTES`, or not text.
    """
    if path.stat().st_size > MOST_BYTES:
        msg = f"it has {path.stat().st_size:,} bytes, more than {MOST_BYTES:,}"
        raise ValueError(msg)
    return path.read_text()


def read_json(path: Path, way_out: str) -> dict[str, Any]:
    """Return the object in a JSON file.

    Args:
        path: An existing file.
        way_out: What to do if the file is damaged, for the end of the error's message.

    Raises:
        InputError: The file cannot be read, is not JSON, or does not hold an object.
    """
    try:
        content = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as e:
        msg = f"{path} is damaged: {e}; {way_out}"
        raise InputError(msg) from e
    if not isinstance(content, dict):
        msg = f"{path} is damaged: it holds no JSON object; {way_out}"
        raise InputError(msg)
    return content


def find_problem(content: object, shape: Any, name: str = "") -> str:
    """Return what is wrong with data read from a file, empty if nothing is.

    Args:
        content: Plain data.
        shape: A type or a tuple of types; ``[shape]`` for a list of such values; a dict for a mapping with at
            least these keys: ``"name?"`` may be missing, ``"*"`` stands for all others.
        name: Name of the content, for the message.

    >>> find_problem({"n": 3, "confusion": [[1, "x"]]}, {"n": int, "confusion": [[int]]})
    'confusion.0.1 is str'
    >>> find_problem({"n": 3}, {"n": int, "confusion": [[int]]})
    'confusion is missing'
    """
    kind = list if isinstance(shape, list) else Mapping if isinstance(shape, dict) else shape
    if not isinstance(content, kind):
        return f"{name or 'the content'} is {type(content).__name__}"
    if isinstance(shape, list) and isinstance(content, list):
        parts = [(str(number), each, shape[0]) for number, each in enumerate(content)]
    elif isinstance(shape, dict) and isinstance(content, Mapping):
        if missing := [key for key in shape if not key.endswith(("*", "?")) and key not in content]:
            return f"{f'{name}.' if name else ''}{missing[0]} is missing"
        inner = {key: shape.get(key, shape.get(f"{key}?", shape.get("*"))) for key in content}
        parts = [(str(key), content[key], each) for key, each in inner.items() if each is not None]
    else:
        return ""
    problems = (find_problem(each, of_each, f"{name}.{key}" if name else key) for key, each, of_each in parts)
    return next(filter(None, problems), "")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write an object as JSON, atomically."""
    with atomic_write(path) as file:
        file.write(json.dumps(content, indent=1).encode() + b"\n")
