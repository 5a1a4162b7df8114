"""What the tests of FER2013 share: a folder for it, a cache of their own, and its rows."""

from pathlib import Path

import pytest
from fer2013_forms import tiny_rows

from fer.data.fer2013 import Fer2013Rows


@pytest.fixture(autouse=True)
def _own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FER_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("FER_DATA_DIR", raising=False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture(scope="session")
def rows() -> Fer2013Rows:
    return tiny_rows()
