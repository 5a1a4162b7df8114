"""``fer predict SOURCE…``: a network in an ONNX file, on images that the tests make."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command import call, done
from PIL import Image
from skimage import data
from tiny_onnx import SIZE, write_brightness


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write_brightness(tmp_path_factory.mktemp("model") / "brightness.onnx")


@pytest.fixture
def photos(tmp_path, monkeypatch) -> Path:
    """Two crops, bright and dark, the second in a folder and under a name of many letters."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    (folder / "日本 ü").mkdir(parents=True)
    Image.new("L", (20, 30), 255).save(folder / "bright.png")
    Image.new("L", (20, 30), 0).save(folder / "日本 ü" / "dark $x$.png")
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# Outputs


def test_a_folder_becomes_a_table_files_and_a_sheet(photos, model):
    out = done("predict", photos, "--whole", "--ckpt_path", model, "--out", "answers")
    assert "Brightness, trained on nothing" in out
    assert "2 faces in 2 images" in out
    answers = Path("answers")
    bright, dark = rows(answers / "predictions.csv")
    assert [(row["file"], row["label"]) for row in (bright, dark)] == [
        ("bright.png", "bright"), ("日本 ü/dark $x$.png", "dark"),
    ]  # fmt: skip
    # The mean of white pixels is (1 - 0.5) / 0.25 = 2, so that the logits are -2 and 2.
    assert float(bright["bright"]) == pytest.approx(1 / (1 + np.exp(-4)), abs=1e-5)
    assert float(bright["dark"]) + float(bright["bright"]) == pytest.approx(1, abs=1e-5)
    assert float(bright["entropy"]) == pytest.approx(0.0899, abs=1e-3)
    assert [bright[name] for name in ("frame", "time", "detected", "left_eye_x", "note")] == [""] * 5
    written = json.loads((answers / "predictions.json").read_text("utf-8"))
    assert written["class_names"] == ["dark", "bright"]
    assert [image["faces"][0]["label"] for image in written["images"]] == ["bright", "dark"]
    assert written["images"][0]["faces"][0]["box"] == [0, 0, 20, 30]
    for name in ("contact-sheet.jpg", "annotated/bright.jpg", "annotated/日本 ü/dark $x$.jpg"):
        with Image.open(answers / name) as image:
            image.load()


def test_what_an_earlier_run_wrote_below_the_folder_is_left_out(photos, model):
    words = ["predict", photos, "--whole", "--ckpt_path", model, "--out"]
    done(*words, photos / "answers")
    out = done(*words, photos / "more")
    assert "2 faces in 2 images" in out
    assert f"left out {photos / 'answers'}: fer predict wrote it" in out
    assert len(rows(photos / "more" / "predictions.csv")) == 2
    assert "2 faces in 2 images" in done("predict", photos / "answers" / "annotated", *words[2:5])


def test_without_out_nothing_is_written(photos, model):
    done("predict", photos / "bright.png", "--whole", "--ckpt_path", model)
    assert sorted(path.name for path in Path().iterdir()) == ["photos"]


@pytest.mark.slow
def test_faces_are_found_in_a_photo_and_in_one_that_exif_turns(tmp_path, model):
    photo = Image.fromarray(data.astronaut())
    photo.save(tmp_path / "upright.png")
    exif = Image.Exif()
    exif[0x112] = 6
    photo.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    Image.new("RGB", (90, 90)).save(tmp_path / "void.png")
    out = done("predict", f"{tmp_path}/*.png", "--ckpt_path", model, "--out", tmp_path / "answers")
    assert "2 faces in 3 images (1 without a face" in out
    assert "--whole" in out
    turned, upright, void = rows(tmp_path / "answers" / "predictions.csv")
    for name in ("left", "top", "right", "bottom", "label", "dark"):
        assert turned[name] == upright[name]
    assert 150 < float(upright["left"]) < float(upright["right"]) < 320
    assert (void["face"], void["label"], void["note"]) == ("", "", "no face (40 px or more)")


@pytest.mark.slow
def test_a_network_in_an_onnx_file_needs_no_torch(photos, model):
    """With Viola-Jones, and with images that are crops."""
    Image.fromarray(data.astronaut()).save(photos / "astronaut.png")
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from fer.__main__ import main; model, photo, crop = sys.argv[1:]\n"
        "sys.exit(main(['predict', photo, '--ckpt_path', model])"
        " or main(['predict', crop, '--whole', '--ckpt_path', model]))"
    )
    words = [sys.executable, "-c", code, model, photos / "astronaut.png", photos / "bright.png"]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.count("1 face in 1 image") == 2


# Input that cannot be used


def test_good_files_are_done_and_bad_ones_named(photos, model):
    (photos / "text.jpg").write_text("no image")
    (photos / "notes.txt").touch()
    (photos.parent / "empty").mkdir()
    words = [photos, "empty", "*.bmp", "gone.png", "--whole", "--ckpt_path", model, "--out", "answers"]
    called = call("predict", *words)
    assert called.status == 2
    assert "2 faces in 2 images" in called.out
    assert "skipped 1 file: 1 .txt" in called.out
    assert len(called.err.splitlines()) == 1
    for part in (
        "4 sources cannot be used", "empty: no image", "*.bmp: matches nothing",
        "gone.png: no such file or folder", "text.jpg: not an image of a known format", "2 images done",
    ):  # fmt: skip
        assert part in called.err
    assert len(rows(Path("answers/predictions.csv"))) == 2


def test_if_no_file_can_be_used_no_summary_and_no_empty_table_remain(photos, model):
    (photos.parent / "broken").mkdir()
    for name in ("one.jpg", "two.png"):
        (photos.parent / "broken" / name).write_text("no image")
    called = call("predict", "broken", "--ckpt_path", model, "--out", "answers")
    assert called.status == 2
    assert "2 sources cannot be used" in called.err
    assert "found" not in called.out
    assert not list(Path("answers").glob("*"))


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        pytest.param("", ["photo.jpg", "--ckpt_path runs/latest"], id="nothing"),
        pytest.param("gone.jpg", ["gone.jpg: no such file or folder"], id="no such photo"),
        pytest.param(
            "photos/*.gone", ["photos/*.gone: matches nothing"], id="a pattern that matches nothing"
        ),
        pytest.param("empty", ["empty: no image and no video in this folder"], id="an empty folder"),
        pytest.param(
            "best.ckpt", ["best.ckpt is a network", "--ckpt_path best.ckpt"], id="a checkpoint as photo"
        ),
        pytest.param("runs/one", ["the folder of a run", "--ckpt_path runs/one"], id="a run as photo"),
        pytest.param("photos --ckpt_path gone.onnx", ["gone.onnx: no such ONNX file"], id="no such model"),
        pytest.param(
            "photos --ckpt_path foreign.onnx", ["another program", "preprocessing.json"], id="foreign"
        ),
        pytest.param("photos --ckpt_path text.onnx", ["text.onnx is not a network"], id="not an ONNX file"),
        pytest.param("photos --ckpt_path other.onnx", ["does not describe", "3 channels"], id="does not fit"),
        pytest.param("photos --ckpt_path MODEL --out photos", ["photos is not empty"], id="a full folder"),
        pytest.param("photos --ckpt_path MODEL --tta 5", ["tta is 5", "ten_crop"], id="unknown views"),
        pytest.param("photos --smooth -1", ["--smooth is -1", "0 or more"], id="smoothing backwards"),
        pytest.param("photos --camera 0", ["--camera 0 and photos"], id="a camera and files"),
        pytest.param("--camera 93 --ckpt_path MODEL", ["93: there is no such camera"], id="no such camera"),
        pytest.param("photos --ckpt_path MODEL --outt x", ["did you mean --out?"], id="a typo"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(photos, model, words, parts):
    Path("empty").mkdir()
    Path("runs/one").mkdir(parents=True)
    for name in ("best.ckpt", "text.onnx", "runs/one/config.yaml"):
        Path(name).write_text("text")
    write_brightness(Path("foreign.onnx"), None)
    write_brightness(Path("other.onnx"), channels=3)
    called = call("predict", *words.replace("MODEL", str(model)).split())
    assert called.status == 2
    assert len(called.err.splitlines()) == 1
    for part in parts:
        assert part in called.err


def test_an_onnx_file_of_another_program_is_described_by_a_file_beside_it(photos, model):
    from tiny_onnx import DARK_OR_BRIGHT

    write_brightness(Path("foreign.onnx"), None)
    Path("preprocessing.json").write_text(DARK_OR_BRIGHT.to_json())
    out = done("predict", photos, "--whole", "--ckpt_path", "foreign.onnx")
    assert f"at {SIZE}x{SIZE}" in out
