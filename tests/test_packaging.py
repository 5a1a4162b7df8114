"""The package as it is installed: a wheel, an sdist, and an environment that also holds PyPI's ``fer``."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest
import yaml

import fer
from fer.__main__ import is_mixed

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def run_python(*words: str | Path, path: Path) -> subprocess.CompletedProcess[str]:
    """Run Python outside the project, with a folder to import from."""
    environment = os.environ | {"PYTHONPATH": str(path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *map(str, words)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with the sdist, and the wheel that is built from it, without a network."""
    folder = tmp_path_factory.mktemp("dist")
    words = ["-m", "build", "--no-isolation", "--outdir", folder, ROOT]
    called = run_python(*words, path=folder)
    assert called.returncode == 0, called.stderr
    return folder


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory) -> Path:
    """A folder with the installed wheel alone; what it depends on comes from this environment."""
    folder = tmp_path_factory.mktemp("site")
    [wheel] = built.glob("fer_neurons-*.whl")
    words = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", folder, wheel]
    called = run_python(*words, path=folder)
    assert called.returncode == 0, called.stderr
    return folder


@pytest.mark.slow
def test_the_wheel_brings_command_configs_and_network(installed, tmp_path):
    from PIL import Image

    assert (installed / "bin" / "fer").is_file()
    shown = run_python(installed / "bin" / "fer", "--help", path=installed)
    assert shown.returncode == 0, shown.stderr
    assert "conv6" in shown.stdout
    Image.new("L", (64, 64), 128).save(tmp_path / "face.png")
    words = ["predict", tmp_path / "face.png", "--whole"]
    predicted = run_python(installed / "bin" / "fer", *words, path=installed)
    assert predicted.returncode == 0, predicted.stderr
    assert "face.png" in predicted.stdout
    files = {path.relative_to(ROOT / "fer") for path in (ROOT / "fer").rglob("*") if path.is_file()}
    lost = [
        path for path in files if path.suffix not in (".pyc",) and not (installed / "fer" / path).is_file()
    ]
    assert lost == []


@pytest.mark.slow
def test_the_sdist_holds_what_the_wheel_is_built_from(built):
    [file] = built.glob("fer_neurons-*.tar.gz")
    with tarfile.open(file) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    assert {
        "README.md",
        "LICENSE",
        "CITATION.cff",
        "pyproject.toml",
        "fer/weights/default.safetensors",
    } <= names
    assert not [name for name in names if name.startswith(("runs/", "data/", ".venv"))]


@pytest.mark.parametrize("theirs", ["fer/fer.py", "fer-25.10.3.dist-info/METADATA"])
def test_an_environment_that_also_holds_the_other_fer_is_refused_in_one_line(theirs, tmp_path):
    ignored = shutil.ignore_patterns("__pycache__", "*.safetensors")
    shutil.copytree(ROOT / "fer", tmp_path / "fer", ignore=ignored)
    assert not is_mixed(tmp_path / "fer")
    (tmp_path / theirs).parent.mkdir(exist_ok=True)
    (tmp_path / theirs).touch()
    (tmp_path / "fer" / "__init__.py").write_text("class FER: ...\n")  # theirs, if it was installed last

    called = run_python("-m", "fer", "--help", path=tmp_path)

    assert (called.returncode, called.stdout) == (2, "")
    assert re.fullmatch(r"fer: error: PyPI's package fer, .* environment of its own, .*\n", called.stderr)


def test_one_version_is_named_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == fer.__version__
    assert f"version = {{{fer.__version__}}}" in (ROOT / "README.md").read_text()
    assert f"## [{fer.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_declared_pythons_begin_with_the_oldest_that_is_required():
    declared = [each.rpartition(" ")[2] for each in PROJECT["classifiers"] if "Python :: 3." in each]
    assert PROJECT["requires-python"] == f">={declared[0]}"
