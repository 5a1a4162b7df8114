"""Small files that would become large: refused in one line, before they take memory."""

import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hostile_files import LAUGHS, ROW, array_that_lies, bomb, write_png

from fer.arrays import read_arrays
from fer.checkpoints import read_any_checkpoint
from fer.commands.parsing import parse_config
from fer.data.fer2013 import read_fer2013, rows
from fer.data.reading import BadImageError, image_shape, read_image
from fer.data.sfew import read_features
from fer.errors import InputError
from fer.report import gather
from fer.runs import Run
from fer.studies.sweepfile import read_sweep
from fer.yamltext import MOST_LEVELS, parse_yaml

HEADER = b"emotion,pixels,Usage\n"


def settings_of(*_):
    return {}


@pytest.mark.slow
def test_a_png_of_billions_of_pixels_is_refused_by_its_header(tmp_path: Path) -> None:
    path = write_png(tmp_path / "bomb.png", 50_000, 50_000)
    assert path.stat().st_size < 1_000_000
    for read in (image_shape, read_image):
        with pytest.raises(BadImageError, match="too many pixels"):
            read(path)


@pytest.mark.parametrize(
    ("name", "start", "filling", "message"),
    [
        pytest.param("fer2013.csv", b"", b"1", "line 1: longer than", id="one line"),
        pytest.param("fer2013.csv", HEADER + b"0,", b"1 ", "line 2: longer than", id="one cell"),
        pytest.param("fer2013.csv", b"\xff\xfe", b"1\0", "line 1: longer than", id="one line in UTF-16"),
        pytest.param("fer2013.csv", HEADER, b"\n", "more than 150,000 lines", id="blank lines"),
        pytest.param("train/happy/Training_1.png", b"", b"1", "larger than", id="one image"),
    ],
)
def test_members_of_a_zip_are_not_unpacked_beyond_what_fer2013_has(
    tmp_path: Path, name, start, filling, message
) -> None:
    path = bomb(tmp_path / "data.zip", name, megabytes=20, start=start, filling=filling)
    with pytest.raises(InputError, match=message):
        read_fer2013(path)


def test_rows_are_counted_before_they_fill_the_memory(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("fer.data.fer2013.table.MOST_ROWS", 3)
    (tmp_path / "fer2013.csv").write_bytes(HEADER + 4 * ROW)
    with pytest.raises(InputError, match="more than 3 lines"):
        read_fer2013(tmp_path)
    monkeypatch.setattr("fer.data.fer2013.table.MOST_ROWS", 4)
    assert len(read_fer2013(tmp_path).labels) == 4


def test_images_are_counted_before_they_fill_the_memory(tmp_path: Path, monkeypatch) -> None:
    from PIL import Image

    (tmp_path / "train" / "happy").mkdir(parents=True)
    (tmp_path / "test").mkdir()
    for number in range(3):
        Image.new("L", (48, 48)).save(tmp_path / "train" / "happy" / f"Training_{number}.png")
    monkeypatch.setattr("fer.data.fer2013.folders.MOST_ROWS", 2)
    with pytest.raises(InputError, match="more than 2 images"):
        read_fer2013(tmp_path)


def test_a_tar_is_not_unpacked_for_hours(tmp_path: Path, monkeypatch) -> None:
    with tarfile.open(tmp_path / "data.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("zeros")
        member.size = 1 << 20
        archive.addfile(member, io.BytesIO(bytes(member.size)))
    monkeypatch.setattr("fer.data.fer2013.archives.MOST_BYTES", 1 << 19)
    with pytest.raises(InputError, match="once unpacked"):
        read_fer2013(tmp_path / "data.tar.gz")
    assert rows.MOST_BYTES > 10 * 300_000_000


@pytest.mark.parametrize("name", ["table.csv", "table.xlsx"])
def test_a_table_of_features_is_not_read_beyond_its_size(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith("csv"):
        path.write_bytes(b"Movie_000519240_00000005,1," + b"1" * 11_000_000)
    else:
        bomb(path, "xl/worksheets/sheet1.xml", megabytes=11, filling=b" ")
    with pytest.raises(InputError, match="bytes, while SFEW's table has") as raised:
        read_features(path)
    assert len(str(raised.value)) < 500


def test_an_error_shows_the_beginning_of_a_long_cell(tmp_path: Path) -> None:
    cells = ",".join(["x" * 900_000] * 10)
    (tmp_path / "table.csv").write_text(f"Movie_000519240_00000005,1,{cells}\n")
    with pytest.raises(InputError, match="LPQ1 is 'xxx") as raised:
        read_features(tmp_path / "table.csv")
    assert len(str(raised.value)) < 500


# YAML and JSON


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(LAUGHS, "too large with its aliases expanded", id="billion laughs"),
        pytest.param("a: &a {x: 1}\nb: &b [*a, *a]\nc: &c [*b]\nd: &d [*c, *d]\n", "itself", id="a circle"),
        pytest.param("a: &a\n  b: *a\n", "contains itself", id="a mapping in itself"),
        pytest.param("[" * 3000, "nested too deeply", id="nesting beyond the stack"),
        pytest.param("a: " + "[" * 200 + "]" * 200, f"{MOST_LEVELS} levels", id="nesting"),
        pytest.param("a: 2024-13-45", "month", id="a date that is none"),
        pytest.param("a: !!bool maybe", "contradicts its tag", id="no bool"),
        pytest.param("a: !!int ''", "contradicts its tag", id="no int"),
        pytest.param("a: !!timestamp x", "contradicts its tag", id="no time"),
        pytest.param("a: " + "9" * 5000, "digits", id="too many digits"),
        pytest.param("a: [", "expected", id="cut off"),
    ],
)
def test_yaml_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        parse_yaml(text)
    assert "\n" not in str(raised.value)


def test_yaml_with_aliases_of_a_sensible_size_is_read() -> None:
    assert parse_yaml("a: &a {x: [1, 2]}\nb: [*a, *a]\nc: {<<: *a, y: 3}\n") == {
        "a": {"x": [1, 2]},
        "b": [{"x": [1, 2]}, {"x": [1, 2]}],
        "c": {"x": [1, 2], "y": 3},
    }


def test_laughing_configs_and_sweeps_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"network: ann\ndataset: sfew\nmethod: grid\n{LAUGHS}")
    for read in (lambda: parse_config(str(path)), lambda: read_sweep(path), Run(tmp_path).read_config):
        with pytest.raises(InputError, match=r"config\.yaml.*too large"):
            read()


@pytest.mark.parametrize("depth", [900, 100_000])
def test_a_report_refuses_json_that_is_nested_too_deeply(tmp_path: Path, depth: int) -> None:
    (tmp_path / "curve.json").write_text('{"rules": {}, "x": ' + "[" * depth + "]" * depth + "}")
    with pytest.raises(InputError, match=r"nested too deeply|damaged"):
        gather(tmp_path, settings_of)


def sparse(path: Path, size: int) -> Path:
    """Write a file of zeros that takes no room on the disk."""
    with path.open("wb") as file:
        file.truncate(size)
    return path


@pytest.mark.parametrize("name", ["results.json", "metrics.csv", "stages.json", "prune.json"])
def test_a_report_reads_no_file_that_is_larger_than_runs_write(tmp_path: Path, name: str) -> None:
    (tmp_path / "metrics.csv").write_text("epoch,val/acc\n0,0.5\n")
    sparse(tmp_path / name, 100_000_000_000)
    with pytest.raises(InputError, match="100,000,000,000 bytes, more than"):
        gather(tmp_path, settings_of)


def test_large_configs_and_sweeps_are_refused_unread(tmp_path: Path) -> None:
    path = sparse(tmp_path / "config.yaml", 100_000_000_000)
    for read in (lambda: parse_config(str(path)), lambda: read_sweep(path), Run(tmp_path).read_config):
        with pytest.raises(InputError, match=r"config\.yaml.*100,000,000,000 bytes"):
            read()


def test_yaml_that_would_be_read_for_minutes_is_refused() -> None:
    with pytest.raises(ValueError, match="characters; the limit is 500,000"):
        parse_yaml("a: [" + "1, " * 200_000 + "]")


# Arrays and checkpoints


def test_arrays_are_not_unpacked_beyond_their_limit(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("fer.arrays.MOST_BYTES", 1 << 20)
    bomb(tmp_path / "a.npz", "a.npy", megabytes=2)
    with pytest.raises(ValueError, match="bytes once unpacked, more than"):
        read_arrays(tmp_path / "a.npz")


@pytest.mark.parametrize("shape", [(10**9, 10**9), (10**30,), (2,), (0,)], ids=str)
def test_an_array_that_is_not_as_long_as_its_header_says_is_refused(tmp_path: Path, shape) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", array_that_lies(shape))
    with pytest.raises(ValueError, match="according to its header"):
        read_arrays(tmp_path / "a.npz")


def test_arrays_are_read_as_numpy_reads_them(tmp_path: Path) -> None:
    arrays = {"a": np.arange(6.0).reshape(2, 3).T, "b": np.array("text"), "c": np.empty((0, 3), np.uint8)}
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    found = read_arrays(tmp_path / "a.npz")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_a_checkpoint_that_is_compressed_is_refused_unread(tmp_path: Path) -> None:
    bomb(tmp_path / "best.ckpt", "archive/data.pkl", megabytes=2)
    with pytest.raises(InputError, match="compressed"):
        read_any_checkpoint(tmp_path / "best.ckpt")


# Memory, in a process of its own: what is measured is its peak


SCRIPT = """
import json, resource, sys
from pathlib import Path
import cv2, pandas, torch
from fer.arrays import read_arrays
from fer.commands.parsing import parse_config
from fer.data.fer2013 import read_fer2013
from fer.data.reading import read_image
from fer.data.sfew import read_features
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
readers = {".png": read_image, ".zip": read_fer2013, ".xlsx": read_features, ".npz": read_arrays,
           ".yaml": lambda path: parse_config(str(path))}
before, refused = peak(), []
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        readers[path.suffix](path)
    except ValueError:
        refused.append(path.name)
print(json.dumps({"refused": refused, "kilobytes": peak() - before}))
"""


@pytest.mark.slow
def test_bombs_take_no_memory(tmp_path: Path) -> None:
    folder = tmp_path / "bombs"
    folder.mkdir()
    write_png(folder / "picture.png", 50_000, 50_000)
    bomb(folder / "line.zip", "fer2013.csv", megabytes=400)
    bomb(folder / "member.zip", "train/happy/Training_1.png", megabytes=400)
    bomb(folder / "sheet.xlsx", "xl/worksheets/sheet1.xml", megabytes=400, filling=b" ")
    bomb(folder / "angles.npz", "fc1.npy", megabytes=400)
    (folder / "laughs.yaml").write_text(LAUGHS)
    environment = os.environ | {"FER_CACHE_DIR": str(tmp_path / "cache")}
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT, folder], env=environment, capture_output=True, check=True, timeout=300
    )
    found = json.loads(process.stdout.splitlines()[-1])
    assert found["refused"] == sorted(path.name for path in folder.iterdir())
    assert found["kilobytes"] < 250_000, f"{found['kilobytes']:,} kB above normal"
