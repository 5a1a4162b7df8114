"""A file is written whole or not at all."""

import errno
import logging
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from fer.errors import InputError
from fer.files import DiskFullError, atomic_write, draft_of, remove_drafts


def test_atomic_write_makes_folders_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file.bin"
    for content in (b"old", b"new"):
        with atomic_write(path) as file:
            file.write(content)
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


def test_failed_atomic_write_keeps_the_old_file_and_leaves_no_other(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")

    def fail() -> None:
        with atomic_write(path) as file:
            file.write(b"ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_of_one_file_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    with atomic_write(path) as first:
        first.write(b"fir")
        with atomic_write(path) as second:
            second.write(b"second")
        assert path.read_bytes() == b"second"
        first.write(b"st")
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


class Refusing:
    """A system call that fails for want of space."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str, number: int = errno.ENOSPC) -> None:
        self.number = number
        monkeypatch.setattr(os, name, self)

    def __call__(self, *_: object) -> None:
        raise OSError(self.number, os.strerror(self.number))


def test_what_is_written_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, synced, sync = tmp_path / "file.bin", [], os.fsync

    def watch(descriptor: int) -> None:
        synced.append((Path(f"/proc/self/fd/{descriptor}").readlink().name, path.exists()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", watch)
    with atomic_write(path) as file:
        file.write(b"new")
    (draft, was_there), (folder, is_there) = synced
    assert draft.startswith(".file.bin.")
    assert (was_there, folder, is_there) == (False, tmp_path.name, True)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_told_in_one_line_and_keeps_the_old_file(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")
    Refusing(monkeypatch, "fsync", number)
    with pytest.raises(DiskFullError) as caught, atomic_write(path) as file:
        file.write(b"new")
    assert str(caught.value) == (
        f"{path} cannot be written ({os.strerror(number)}): free some space, and run the same command again"
    )
    assert isinstance(caught.value, InputError)
    assert caught.value.strerror == os.strerror(number)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_outgrows_the_largest_size_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(DiskFullError), atomic_write(path) as file:
            file.write(bytes(2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_a_long_name_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("ü" * 127)
    with atomic_write(path) as file:
        file.write(b"new")
    assert list(tmp_path.iterdir()) == [path]


def _dead_draft(path: Path) -> Path:
    """Leave a draft as a process that is killed does."""
    code = (
        "import os; from pathlib import Path; from fer.files import draft_of; import sys; "
        "draft = draft_of(Path(sys.argv[1])); draft.write_bytes(bytes(5000)); print(draft.name, flush=True); "
        "os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=False)
    assert done.returncode == -9
    return path.with_name(done.stdout.strip())


def test_drafts_of_dead_processes_are_removed_and_reported_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "runs" / "a" / "checkpoints"
    folder.mkdir(parents=True)
    dead = _dead_draft(folder / "last.ckpt")
    own, unknown = draft_of(folder / "best.ckpt"), folder / ".notes.tmp"
    other = folder / f".last.ckpt.0a1b2c3d-{dead.name.split('-')[1]}-00000000.tmp"
    old = folder / ".last.ckpt.0a1b2c3d-1-00000000.tmp"
    older = folder / ".last.ckpt.1234-00000000.tmp"  # named as before, without a host
    whole = folder / "last.ckpt"
    for path in (own, unknown, other, old, older, whole):
        path.write_bytes(b"")
    for path in (old, older, unknown, whole):
        os.utime(path, (1e9, 1e9))
    with caplog.at_level(logging.INFO, "fer.files"):
        remove_drafts([tmp_path / "runs", folder, tmp_path / "none"])
    assert {*folder.iterdir()} == {own, unknown, other, whole}
    assert caplog.messages == ["removed 3 unfinished files of processes that have ended (5 kB)"]
    caplog.clear()
    remove_drafts([tmp_path])
    assert caplog.messages == []
