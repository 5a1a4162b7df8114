"""Videos and cameras by the command: rows, what is printed, and what cannot be used."""

import csv
import io
import json
import os
import signal

import cv2
import numpy as np
import pytest
from drawn_videos import FakeRecognizer, draw_change, make_face, write_video
from PIL import Image
from rich.console import Console

from fer.errors import InputError
from fer.predict.films import predict_camera
from fer.predict.photos import predict_files
from fer.predict.sources import find_sources
from fer.predict.videos import Video

ABOUT = {"network": "Fake"}
LEFT, RIGHT = (0.0, 0.0, 30.0, 50.0), (32.0, 0.0, 64.0, 50.0)


class TwoFaces(FakeRecognizer):
    """Sees a face on the left in every image, and on the right another one from the third image on."""

    def __init__(self):
        both = [make_face(RIGHT, sad=0.9), make_face(LEFT, happy=0.8)]
        super().__init__(lambda number: both if number >= 2 else both[1:])
        self.tta = "none"

    def smallest(self, _):
        return 20


def run(words, out=None, **settings):
    console = Console(file=io.StringIO(), width=120)
    try:
        predict_files(TwoFaces(), find_sources(list(map(str, words))), out, console, ABOUT, **settings)
    finally:
        run.printed = console.file.getvalue()
    return run.printed


def rows_of(out):
    with (out / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_folder_of_photos_and_videos(tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    (folder / "été").mkdir(parents=True)
    frames = draw_change(4)
    Image.fromarray(frames[0]).save(folder / "a.png")
    Image.fromarray(frames[0]).save(folder / "still.gif")
    write_video(folder / "été" / "clip.mp4", frames)
    write_video(folder / "moving.gif", frames)
    printed = run([folder], out)
    assert "2 images" in printed
    assert "video        moving.gif: 4 frames (0 without a face) in 0.4 s, 2 tracked faces" in printed
    assert "  face 2     0.0 to 0.3 s, happy in 100 % of 4 frames" in printed
    rows = rows_of(out)
    videos = [row for row in rows if row["frame"]]
    assert {row["file"] for row in videos} == {"moving.gif", "été/clip.mp4"}
    clip = [row for row in videos if row["file"] == "été/clip.mp4"]
    assert [(row["frame"], row["time"], row["face"], row["label"]) for row in clip[:3]] == [
        ("0", "0.000", "1", "sad"),
        ("0", "0.000", "2", "happy"),
        ("1", "0.100", "1", "sad"),
    ]
    images = json.loads((out / "predictions.json").read_text())["images"]
    assert len(images) == 2 + 4 + 4
    assert images[-1]["time"] == pytest.approx(0.3)
    assert {face["face"] for face in images[-1]["faces"]} == {1, 2}
    assert (out / "videos" / "été" / "clip.webm").is_file()
    assert (out / "videos" / "moving-timeline.html").is_file()


def test_without_a_folder_nothing_is_written(tmp_path):
    film = write_video(tmp_path / "clip.mp4", draw_change(4))
    printed = run([film], smooth=0.5)
    assert "clip.mp4: 4 frames" in printed
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_what_cannot_be_used_is_listed_and_the_rest_is_done(tmp_path):
    (tmp_path / "text.mp4").write_text("hello")
    (tmp_path / "empty.avi").touch()
    film = write_video(tmp_path / "clip.avi", draw_change(10))
    content = film.read_bytes()
    begin, end = content.find(b"movi"), content.find(b"idx1")
    film.write_bytes(content[: begin + (end - begin) * 6 // 10])
    with pytest.raises(
        InputError, match=r"2 sources cannot be used: .*empty.avi: an empty file; .*text.mp4: .*1 video done"
    ):
        run([tmp_path / "clip.avi", tmp_path / "empty.avi", tmp_path / "text.mp4"], tmp_path / "out")
    assert "truncated    clip.avi: it ends after" in run.printed
    assert sorted(path.name for path in (tmp_path / "out" / "videos").iterdir()) == [
        "clip-timeline.html",
        "clip-timeline.png",
        "clip.webm",
    ]


def test_frames_on_which_the_detector_fails_are_named_at_the_end(tmp_path, monkeypatch):
    def fail_on_one(self, images):
        if len(images) > 1 or not self.batches:
            self.batches += [0] * (len(images) == 1)
            raise InputError("the detector fails on it")
        return recognize(self, images)

    recognize = TwoFaces.recognize
    monkeypatch.setattr(TwoFaces, "recognize", fail_on_one)
    film = write_video(tmp_path / "clip.mp4", draw_change(4))
    with pytest.raises(InputError, match=r"clip.mp4: 1 of 4 frames failed: the detector fails.*1 video done"):
        run([film], tmp_path / "out")
    assert [row["note"] for row in rows_of(tmp_path / "out")][:2] == ["the detector fails on it", ""]
    assert (tmp_path / "out" / "videos" / "clip.webm").is_file()


class Plugged:
    """A camera that sees the same for ever."""

    def __init__(self, *_):
        self.image = cv2.cvtColor(draw_change(2)[0], cv2.COLOR_RGB2BGR)

    def isOpened(self):  # noqa: N802 OpenCV's name
        return True

    def get(self, _):
        return 10.0

    def set(self, *_):
        return True

    def read(self):
        return True, self.image

    def release(self):
        pass


class Unplugged(Plugged):
    def isOpened(self):  # noqa: N802 OpenCV's name
        return False


def test_a_camera_prints_a_line_a_second_and_ends_at_ctrl_c_with_everything_whole(tmp_path, monkeypatch):
    ticks = iter(np.arange(0, 100, 0.25))
    monkeypatch.setattr("time.monotonic", lambda: float(next(ticks)))
    real = cv2.VideoCapture
    monkeypatch.setattr(
        "cv2.VideoCapture", lambda source, *more: Plugged() if source == 0 else real(source, *more)
    )
    console = Console(file=io.StringIO(), width=120)
    recognizer = TwoFaces()
    faces_of = recognizer.faces_of

    def interrupt(number):
        if number == 10:
            os.kill(os.getpid(), signal.SIGINT)
        return faces_of(number)

    recognizer.faces_of = interrupt
    predict_camera(recognizer, 0, tmp_path / "out", console, ABOUT)
    lines = console.file.getvalue().splitlines()
    assert lines[1:4] == [
        "0.0 s        1 happy 80 %",
        "1.0 s        2 sad 90 %, 1 happy 80 %",
        "2.0 s        2 sad 90 %, 1 happy 80 %",
    ]
    assert lines[4] == "video        camera 0: 11 frames (0 without a face) in 2.6 s, 2 tracked faces"
    rows = rows_of(tmp_path / "out")
    assert [row["face"] for row in rows] == ["1", "1", *["2", "1"] * 9]  # the number tells who, not the order
    assert len(json.loads((tmp_path / "out" / "predictions.json").read_text())["images"]) == 11
    with Video(tmp_path / "out" / "videos" / "camera-0.webm") as copy:
        assert copy.num_frames == len(list(copy)) == 26
    assert list((tmp_path / "out").rglob(".*")) == []


def test_a_camera_that_is_not_there_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("cv2.VideoCapture", Unplugged)
    with pytest.raises(InputError, match="--camera 3: there is no such camera"):
        predict_camera(TwoFaces(), 3, tmp_path / "out", Console(file=io.StringIO()), ABOUT)
    assert not (tmp_path / "out").exists()
