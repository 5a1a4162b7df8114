"""The command that crops: what it writes, says, and refuses."""

import csv
import logging
import os
import time
from pathlib import Path

import numpy as np
import pytest
from forked import Forked
from jsonargparse import ArgumentParser
from PIL import Image
from skimage import data

from fer.crop import NUM_SHEET, _choose, crop
from fer.data.crops import CropRecord
from fer.data.detectors import Face
from fer.errors import InputError


@pytest.fixture
def src(tmp_path: Path) -> Path:
    """Twenty-two images: an astronaut among grey ones, in two classes."""
    for name in ("happy days", "sad"):
        (tmp_path / "src" / name).mkdir(parents=True)
    for number in range(20):
        grey = Image.new("L", (64, 48), 10 * number)
        grey.save(tmp_path / "src" / "sad" / f"{number:02}.png")
    face = Image.fromarray(data.astronaut()[40:200, 140:310])
    face.save(tmp_path / "src" / "happy days" / "日本 $x$.jpg")
    face.save(tmp_path / "src" / "happy days" / "日本 $x$.bmp")
    return tmp_path / "src"


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.drawn
@pytest.mark.slow
def test_crops_table_and_sheet_are_written(src: Path, tmp_path: Path, capsys) -> None:
    crop(src, tmp_path / "dst", size=32, detector="viola_jones")
    greys = {f"sad/{number:02}.png" for number in range(20)}
    faces = {"happy days/日本 $x$.png", "happy days/日本 $x$.jpg.png"}
    assert files(tmp_path / "dst") == {"crops.csv", "contact-sheet.png", *greys, *faces}
    assert read(tmp_path / "dst" / "sad" / "07.png").tolist() == np.full((32, 32, 3), 70).tolist()
    with (tmp_path / "dst" / "crops.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    assert rows["happy days/日本 $x$.jpg"]["policy"] == "viola_jones"
    assert rows["happy days/日本 $x$.jpg"]["crop"] == "happy days/日本 $x$.jpg.png"
    assert rows["sad/07.png"]["policy"] == "centre"
    printed = capsys.readouterr().out
    lines = [line.split() for line in printed.splitlines()]
    assert ["happy", "days", "2", "0", "2"] in lines
    assert ["sad", "0", "20", "20"] in lines
    assert "no face      20 of 22 images" in printed
    assert str(tmp_path / "dst" / "contact-sheet.png") in printed


def test_a_second_run_makes_nothing_anew(src: Path, tmp_path: Path, monkeypatch) -> None:
    crop(src, tmp_path / "one", detector="none", size=16)

    def refuse(settings):
        pytest.fail("a detector was made")

    monkeypatch.setattr("fer.data.crops.FaceCropper", refuse)
    crop(src, tmp_path / "two", detector="none", size=16)
    for name in files(tmp_path / "one"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_a_crop_of_an_earlier_run_does_not_outlive_its_image(src: Path, tmp_path: Path) -> None:
    crop(src, tmp_path / "dst", detector="viola_jones", size=16)
    crop(src, tmp_path / "dst", detector="viola_jones", size=16, fallback="drop")
    assert not any(name.startswith("sad/") for name in files(tmp_path / "dst"))


def test_one_image_or_a_flat_folder_will_do(src: Path, tmp_path: Path, capsys) -> None:
    crop(src / "sad" / "03.png", tmp_path / "one", detector="none", size=8)
    assert files(tmp_path / "one") == {"03.png", "crops.csv", "contact-sheet.png"}
    crop(src / "sad", tmp_path / "flat", detector="none", size=8)
    assert len(files(tmp_path / "flat")) == 22
    assert "  sad " in capsys.readouterr().out


def test_bad_images_are_named_and_the_others_cropped(src: Path, tmp_path: Path, capsys) -> None:
    (src / "sad" / "05.png").write_bytes(b"")
    crop(src, tmp_path / "dst", detector="none", size=8)
    assert f"bad          {src / 'sad' / '05.png'}: an empty file" in capsys.readouterr().out
    assert "sad/05.png" not in files(tmp_path / "dst")
    with pytest.raises(InputError, match="more than 0%"):
        crop(src, tmp_path / "dst", detector="none", size=8, max_bad=0)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        pytest.param("src", "src", id="the same"),
        pytest.param("src", "src/crops", id="inside"),
        pytest.param("src", "elsewhere/../src/crops", id="inside, in a roundabout way"),
        pytest.param("src", "link", id="inside, by a link"),
        pytest.param("src/sad", "src", id="around"),
        pytest.param("src/sad/01.png", "src/sad", id="where the image is"),
    ],
)
def test_crops_are_not_written_among_the_images(src: Path, tmp_path: Path, source, target) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(src / "sad")
    before = files(tmp_path)
    with pytest.raises(InputError, match="name a separate folder"):
        crop(tmp_path / source, tmp_path / target, detector="none")
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        pytest.param("absent", "dst", "does not exist", id="no source"),
        pytest.param("empty", "dst", "holds no images", id="empty source"),
        pytest.param("src", "file", "is a file", id="target is a file"),
        pytest.param("src", "file/dst", "cannot be written to", id="target below a file"),
    ],
)
def test_folders_that_cannot_be_used_are_named(src, tmp_path: Path, source, target, message) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=message):
        crop(tmp_path / source, tmp_path / target, detector="none", size=8)


@pytest.mark.parametrize("setting", [{"max_bad": 2}, {"batch_size": 0}, {"size": 0}], ids=str)
def test_settings_out_of_range_are_named(src: Path, tmp_path: Path, setting) -> None:
    with pytest.raises(InputError, match=f"--{next(iter(setting))}"):
        crop(src, tmp_path / "dst", **setting)


def test_the_signature_is_a_command_line(src: Path, tmp_path: Path) -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_function_arguments(crop, as_positional=True)
    words = [str(src), str(tmp_path / "dst"), "--detector", "none", "--size=8", "--fallback", "keep"]
    crop(**parser.parse_args(words).as_dict())
    assert read(tmp_path / "dst" / "sad" / "01.png").shape == (8, 8, 3)


@pytest.mark.parametrize(
    ("num_faceless", "num_found", "expected"),
    [
        pytest.param(0, 100, (0, NUM_SHEET), id="all found"),
        pytest.param(3, 100, (3, NUM_SHEET - 3), id="few missed"),
        pytest.param(90, 90, (NUM_SHEET // 2, NUM_SHEET // 2), id="half and half"),
        pytest.param(90, 5, (NUM_SHEET - 5, 5), id="few found"),
        pytest.param(2, 3, (2, 3), id="few at all"),
    ],
)
def test_the_sheet_shows_those_without_a_face_and_some_with(num_faceless, num_found, expected) -> None:
    face = Face((0, 0, 1, 1))
    records = [CropRecord(Path("a"), "centre")] * num_faceless + [
        CropRecord(Path("b"), "mtcnn", face)
    ] * num_found
    chosen = _choose([*records, CropRecord(Path("c"), "bad")], NUM_SHEET)
    num_chosen = sum(index < num_faceless for index in chosen)
    assert (num_chosen, len(chosen) - num_chosen) == expected
    assert len(set(chosen)) == len(chosen)


def test_mtcnn_crops_the_astronaut_end_to_end(src: Path, tmp_path: Path, caplog) -> None:
    with caplog.at_level(logging.INFO, "fer.data"):
        crop(src / "happy days", tmp_path / "dst", size=48, align=True)
    assert "mtcnn 2" in caplog.text


# In processes of their own


NUM_MANY = 32


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Path:
    """Images in two classes, no two the same, with a face in every other one."""
    src = tmp_path_factory.mktemp("many")
    face = data.astronaut()[20:220, 120:320]
    for number in range(NUM_MANY):
        pixels = np.full((240, 320, 3), 4 * number, np.uint8)
        if number % 2:
            left = 3 * number
            pixels[20:220, left : left + 200] = face
        path = src / ("happy" if number % 3 else "sad") / f"{number:02}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(path)
    return src


@pytest.fixture(scope="module")
def undisturbed(many: Path, tmp_path_factory) -> Path:
    """What a run writes, ``dst``, and keeps, ``cache``, that is alone and comes to its end."""
    folder = tmp_path_factory.mktemp("undisturbed")
    finish(start(many, folder / "dst", folder / "cache"))
    assert len(contents(folder / "dst")) == NUM_MANY + 2
    return folder


def start(src: Path, dst: Path, cache: Path) -> Forked:
    words = ["crop", src, dst, "--detector", "viola_jones", "--size", "64", "--batch_size", "2"]
    # One thread of OpenCV, so that it is slow enough to be met in the middle.
    environment = os.environ | {"FER_CACHE_DIR": str(cache), "OPENCV_FOR_THREADS_NUM": "1"}
    return Forked(["-m", "fer", *words], env=environment)


def finish(*processes: Forked) -> None:
    for process in processes:
        said = process.communicate(timeout=300)[1]
        assert (process.returncode, "is replaced" in said) == (0, False), said


def kill_when_there_are(files: int, folder: Path, process: Forked) -> None:
    """Kill a process, as no handler can stop it, when a folder holds so many files."""
    limit = time.monotonic() + 300
    while sum(path.suffix in (".npz", ".png") for path in folder.rglob("*")) < files:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < limit
        time.sleep(0.001)
    process.kill()
    process.communicate()


def contents(folder: Path) -> dict[str, bytes]:
    """Return all that a folder holds but the drafts that a killed process leaves."""
    return {name: (folder / name).read_bytes() for name in files(folder) if not name.endswith(".tmp")}


@pytest.mark.slow
@pytest.mark.drawn
def test_a_run_that_is_killed_goes_on_and_ends_as_if_nothing_had_been(many, undisturbed, tmp_path) -> None:
    dst, cache = tmp_path / "dst", tmp_path / "cache"
    kept = cache / "crops"

    kill_when_there_are(6, kept, start(many, dst, cache))
    made = {path: path.stat().st_mtime_ns for path in kept.glob("*.npz")}
    assert 6 <= len(made) < NUM_MANY
    assert not dst.exists()
    kill_when_there_are(5, dst, start(many, dst, cache))
    assert len(list(kept.glob("*.npz"))) == NUM_MANY
    assert {path: path.stat().st_mtime_ns for path in made} == made  # none was made again
    assert not (dst / "contact-sheet.png").exists()
    finish(start(many, dst, cache))

    assert contents(dst) == contents(undisturbed / "dst")
    assert contents(cache) == contents(undisturbed / "cache")


@pytest.mark.slow
@pytest.mark.drawn
def test_two_processes_share_a_cache(many, undisturbed, tmp_path) -> None:
    finish(*[start(many, tmp_path / name, tmp_path / "cache") for name in ("one", "two")])
    for name in ("one", "two"):
        assert contents(tmp_path / name) == contents(undisturbed / "dst")
    assert files(tmp_path / "cache") == files(undisturbed / "cache")
    assert contents(tmp_path / "cache") == contents(undisturbed / "cache")
