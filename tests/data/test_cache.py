"""Fingerprints tell changed sources apart."""

import os
from pathlib import Path

import pytest

from fer.data.cache import EDGE, cache_dir, fingerprint


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        pytest.param({"FER_CACHE_DIR": "/own", "XDG_CACHE_HOME": "/xdg"}, "/own", id="own variable first"),
        pytest.param({"XDG_CACHE_HOME": "/xdg"}, "/xdg/fer", id="then the desktop's"),
        pytest.param({"FER_CACHE_DIR": "", "XDG_CACHE_HOME": ""}, "/home/someone/.cache/fer", id="then home"),
    ],
)
def test_cache_dir(environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FER_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/someone")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cache_dir() == Path(expected)


def test_fingerprint_is_the_same_for_the_same_file_by_any_path(tmp_path: Path) -> None:
    file = tmp_path / "data.csv"
    file.write_text("1,2")
    link = tmp_path / "link.csv"
    link.symlink_to(file)
    assert fingerprint([file]) == fingerprint([link])


@pytest.mark.parametrize("place", [0, 3 * EDGE - 1], ids=["first byte", "last byte"])
def test_fingerprint_sees_an_edge_change_that_keeps_size_and_time(tmp_path: Path, place: int) -> None:
    file = tmp_path / "data.bin"
    content = bytearray(3 * EDGE)
    file.write_bytes(content)
    os.utime(file, ns=(0, 0))
    before = fingerprint([file])
    content[place] = 1
    file.write_bytes(content)
    os.utime(file, ns=(0, 0))
    assert fingerprint([file]) != before


def test_fingerprint_sees_time_and_size(tmp_path: Path) -> None:
    file = tmp_path / "data.bin"
    file.write_bytes(bytes(3 * EDGE))
    os.utime(file, ns=(0, 0))
    before = fingerprint([file])
    os.utime(file, ns=(0, 1))
    later = fingerprint([file])
    file.write_bytes(bytes(4 * EDGE))
    os.utime(file, ns=(0, 0))
    assert len({before, later, fingerprint([file])}) == 3


def test_fingerprint_of_a_folder_sees_every_file_below(tmp_path: Path) -> None:
    folder = tmp_path / "train" / "happy"
    folder.mkdir(parents=True)
    seen = [fingerprint([tmp_path])]
    (folder / "1.png").write_bytes(b"1")
    seen.append(fingerprint([tmp_path]))
    (folder / "1.png").write_bytes(b"12")
    seen.append(fingerprint([tmp_path]))
    (folder / "1.png").rename(folder / "2.png")
    seen.append(fingerprint([tmp_path]))
    assert len(set(seen)) == 4


def test_fingerprint_of_nothing_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        fingerprint([tmp_path / "absent"])
