"""FER2013 from Kaggle."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from fer2013_forms import assert_same, write_folder

from fer.data.fer2013 import Fer2013Rows, download, kaggle, read_fer2013
from fer.errors import InputError


class RefusalError(Exception):
    """Stands for Kaggle's own exceptions."""


def fake_kagglehub(monkeypatch: pytest.MonkeyPatch, fetch: Callable[[str], str]) -> None:
    names = ("Backend", "Credential", "DataCorruption", "KaggleEnvironment", "NotFound", "Unauthenticated")
    hub = ModuleType("kagglehub")
    hub.dataset_download = fetch  # type: ignore[attr-defined]
    hub.exceptions = SimpleNamespace(**{f"{name}Error": RefusalError for name in names})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "kagglehub", hub)


def test_download_copies_the_folders_once(
    root: Path, rows: Fer2013Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path / "hub", rows)
    asked: list[str] = []

    def fetch(handle: str) -> str:
        asked.append(handle)
        return str(tmp_path / "hub")

    fake_kagglehub(monkeypatch, fetch)
    assert download(root) == root / "fer2013"
    assert sorted(path.name for path in (root / "fer2013").iterdir()) == ["test", "train"]
    assert_same(read_fer2013(root), rows)
    download(root)
    assert asked == ["msambare/fer2013"]
    shutil.rmtree(root / "fer2013" / "test")
    download(root)
    assert_same(read_fer2013(root), rows)


def test_a_copy_that_fails_leaves_no_half(
    root: Path, rows: Fer2013Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path / "hub", rows)
    fake_kagglehub(monkeypatch, lambda handle: str(tmp_path / "hub"))

    def fill(source: Path, target: Path) -> None:
        target.mkdir()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kaggle.shutil, "copytree", fill)
    with pytest.raises(InputError, match=r"cannot be copied to .*No space left"):
        download(root)
    assert list((root / "fer2013").iterdir()) == []


@pytest.mark.parametrize("failure", [ConnectionError("no route to host"), RefusalError("sign in first")])
def test_a_failed_download_says_where_to_get_it_by_hand(
    failure: Exception, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(handle: str) -> str:
        raise failure

    fake_kagglehub(monkeypatch, fetch)
    with pytest.raises(InputError, match=rf"{failure}.*manually from .*kaggle.*--data\.root"):
        download(root)
    assert list(root.iterdir()) == []


def test_a_download_of_something_else_is_told(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_kagglehub(monkeypatch, lambda handle: str(tmp_path))
    with pytest.raises(InputError, match="has no folders train and test"):
        download(root)


def test_download_without_kagglehub_names_the_extra(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(InputError, match=r"pip install 'fer-neurons\[kaggle\]'"):
        download(root)
