"""Storage of a sweep's Optuna study: a journal in its folder, a database, or Optuna's gRPC proxy."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import urlsplit

from optuna.exceptions import ExperimentalWarning, OptunaError
from optuna.storages import BaseStorage, GrpcStorageProxy, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from sqlalchemy.exc import SQLAlchemyError

from fer.errors import InputError

PATIENCE: Final = 20.0
"""Seconds to wait for a database that another process has locked, or for a server."""

FORMS: Final = (
    "sqlite:////shared/sweeps.db, postgresql://USER@HOST/NAME, mysql://USER@HOST/NAME, grpc://HOST:PORT"
)


def open_storage(place: str | Path) -> BaseStorage:
    """Return the storage at the path of a journal or at a URL; call this inside :func:`guarded`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # about the proxy
        if isinstance(place, Path):
            return JournalStorage(JournalFileBackend(str(place), FileLock(str(place))))
        parts = urlsplit(place)
        if parts.scheme == "grpc":
            proxy = GrpcStorageProxy(host=parts.hostname or "localhost", port=parts.port or 13000)
            proxy.wait_server_ready(timeout=PATIENCE)
            return proxy
        if "://" not in place:
            msg = f"--storage {place}: not a URL; give {FORMS}"
            raise InputError(msg)
        wait = {"timeout": PATIENCE} if parts.scheme.startswith("sqlite") else {}
        return RDBStorage(place, engine_kwargs={"connect_args": wait, "pool_pre_ping": True})


class FileLock(JournalFileOpenLock):
    """Lock of an Optuna journal that the operating system releases when the process that holds it ends.

    Optuna's own locks are files: that of a killed process blocks the others for 30 seconds. Acquiring this
    lock also removes an incomplete last line of the journal, which a full disk leaves and Optuna cannot read.

    Args:
        path: The journal.
    """

    def __init__(self, path: str) -> None:
        self._journal = Path(path)
        self._held: BinaryIO | None = None

    def acquire(self) -> bool:
        """Wait for the lock."""
        import fcntl  # here, since Windows lacks it and other commands do not need it

        self._held = self._journal.open("r+b")
        fcntl.flock(self._held, fcntl.LOCK_EX)
        size = self._held.seek(0, os.SEEK_END)
        while size and self._held.seek(size - 1) is not None and self._held.read(1) != b"\n":
            size -= 1
        self._held.truncate(size)
        return True

    def release(self) -> None:
        """Release the lock."""
        if self._held is not None:
            self._held.close()
            self._held = None


def take_lock(path: Path) -> BinaryIO | None:
    """Lock a file, which is created if needed; return None if another process holds the lock."""
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError while writing into an InputError.

    Raises:
        InputError: The disk is full, or the folder is not writable.
    """
    try:
        yield
    except OSError as e:
        msg = f"{path} cannot be written ({e.strerror}): free some space, or choose another folder"
        raise InputError(msg) from e


@contextmanager
def guarded(place: str) -> Iterator[None]:
    """Turn the exceptions of a storage into errors of one line.

    Args:
        place: Path of the journal, or URL.

    Raises:
        InputError: The storage cannot be reached, read or written.
    """
    try:
        yield
    except InputError:
        raise
    except (OSError, SQLAlchemyError, OptunaError, ImportError, ValueError, KeyError) as e:
        raise InputError(_message(place, e)) from e
    except RuntimeError as e:
        if not type(e).__module__.startswith("grpc"):
            raise
        raise InputError(_message(place, e)) from e


def without_password(url: str) -> str:
    """Return a URL without its password.

    >>> without_password("postgresql://me:secret@host/sweeps")
    'postgresql://me@host/sweeps'
    """
    password = urlsplit(url).password
    return url if password is None else url.replace(f":{password}@", "@", 1)


def _message(place: str, error: Exception) -> str:
    if "://" not in place:
        if isinstance(error, OSError) and error.strerror:
            return f"{place} cannot be written ({error.strerror}): free some space, or choose another folder"
        return f"{place} is damaged ({_line(error)}): restore it, or choose another --run_name"
    shown = without_password(place)
    if isinstance(error, ImportError):
        return f"--storage {shown}: a package is missing ({_line(error)}); install it with pip"
    reason = _line(error).replace(place, shown)
    return f"--storage {shown} cannot be used ({reason}): start the server or correct the URL; forms: {FORMS}"


def _line(error: BaseException) -> str:
    """Return the first line of the root cause of an error."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = getattr(error, "details", lambda: None)() or str(error) or type(error).__name__
    return str(text).strip().splitlines()[0]
