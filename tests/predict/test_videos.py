"""Videos and cameras as frames, with their times, turned upright; what is no video says so in a line."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from drawn_videos import turn_by_metadata, write_video
from PIL import Image

from fer.errors import InputError
from fer.predict.videos import BadVideoError, Camera, Video

GREYS = [np.full((48, 64, 3), 20 * level, np.uint8) for level in range(10)]
RED_ON_TOP = np.zeros((48, 64, 3), np.uint8)
RED_ON_TOP[:24] = (255, 0, 0)


def read(path):
    with Video(path) as video:
        return video, list(video)


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mov", ".mkv", ".gif"])
def test_every_format_gives_its_frames_in_order(tmp_path, suffix):
    _, frames = read(write_video(tmp_path / f"ein Gesicht ✓{suffix}", GREYS))
    assert [frame.number for frame in frames] == list(range(10))
    assert [frame.time for frame in frames] == pytest.approx([0.1 * n for n in range(10)], abs=1e-3)
    assert [frame.image.mean() for frame in frames] == pytest.approx([20 * n for n in range(10)], abs=4)


def test_a_name_is_never_a_protocol_or_a_number(tmp_path, monkeypatch):
    write_video(tmp_path / "clip.mp4", GREYS).rename(tmp_path / "file:a %d.mp4")
    monkeypatch.chdir(tmp_path)
    _, frames = read(Path("file:a %d.mp4"))
    assert len(frames) == 10


def test_colours_are_rgb(tmp_path):
    _, frames = read(write_video(tmp_path / "red.mp4", [RED_ON_TOP] * 3))
    red, green, _ = frames[0].image[5, 5].astype(int)
    assert red > 200 > 60 > green


def test_times_are_those_of_the_file_where_the_rate_varies(tmp_path):
    path = tmp_path / "varying.gif"
    frames = [Image.fromarray(image) for image in GREYS[:5]]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=[100, 50, 500, 20, 1000])
    _, read_frames = read(path)
    assert [frame.time for frame in read_frames] == pytest.approx([0, 0.1, 0.15, 0.65, 0.67])


def test_times_of_a_matroska_of_variable_rate(tmp_path):
    source = cv2.VideoCapture(
        str(write_video(tmp_path / "even.mp4", GREYS)), cv2.CAP_FFMPEG, [cv2.CAP_PROP_FORMAT, -1]
    )
    code = cv2.VideoWriter.fourcc(*"mp4v")
    settings = [cv2.VIDEOWRITER_PROP_RAW_VIDEO, 1]
    path = tmp_path / "varying.mkv"
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, code, 10, (64, 48), settings)
    stamps = [0, 1, 2, 3, 4, 9, 14, 19, 24, 29]
    for stamp in stamps:
        writer.set(cv2.VIDEOWRITER_PROP_PTS, stamp)
        writer.write(source.read()[1])
    writer.release()
    _, frames = read(path)
    assert [frame.time for frame in frames] == pytest.approx([0.1 * stamp for stamp in stamps], abs=2e-3)


def test_rotation_by_metadata_is_done(tmp_path):
    path = write_video(tmp_path / "phone.mp4", [RED_ON_TOP] * 3)
    turn_by_metadata(path)
    _, frames = read(path)
    assert frames[0].image.shape == (64, 48, 3)
    assert frames[0].image[:, 40].mean(axis=0)[0] > 200  # what was on top is on the right
    assert frames[0].image[:, 8].mean(axis=0)[0] < 60


def test_a_truncated_file_gives_what_it_has_and_says_so(tmp_path):
    path = write_video(tmp_path / "cut.avi", GREYS)
    content = path.read_bytes()
    begin, end = content.find(b"movi"), content.find(b"idx1")
    path.write_bytes(content[: begin + (end - begin) * 6 // 10])
    video, frames = read(path)
    assert 3 < len(frames) < 10
    assert re.fullmatch(r"it ends after 0\.\d s of 1\.0 s: the file is truncated or damaged", video.shortfall)
    whole, _ = read(write_video(tmp_path / "whole.avi", GREYS))
    assert whole.shortfall == ""


def test_an_mp4_without_its_index_is_no_video(tmp_path, capfd):
    path = write_video(tmp_path / "cut.mp4", GREYS)
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(BadVideoError, match=r"cut\.mp4: not a complete video"):
        Video(path)
    assert capfd.readouterr() == ("", "")  # FFmpeg and OpenCV print nothing of their own


def test_a_video_without_frames(tmp_path):
    path = write_video(tmp_path / "none.avi", GREYS)
    content = path.read_bytes()
    path.write_bytes(content[: content.find(b"movi") + 4])
    with pytest.raises(BadVideoError, match=r"without readable frames|not a complete video"):
        read(path)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        pytest.param(lambda path: None, "there is no such file", id="missing"),
        pytest.param(lambda path: path.mkdir(), "a folder", id="folder"),
        pytest.param(lambda path: path.touch(), "an empty file", id="empty"),
        pytest.param(lambda path: path.write_text("hello"), "not a complete video", id="text"),
    ],
)
def test_what_is_no_video_says_so_in_a_line(tmp_path, make, reason, capfd):
    make(tmp_path / "a.mp4")
    with pytest.raises(BadVideoError, match=reason) as raised:
        Video(tmp_path / "a.mp4")
    assert "\n" not in str(raised.value)
    assert capfd.readouterr() == ("", "")


def test_a_camera_that_is_not_there_is_one_line(capfd):
    with pytest.raises(InputError, match="--camera 93: there is no such camera"):
        Camera(93)
    assert capfd.readouterr() == ("", "")


class SeesGreys:
    """A camera that is unplugged after some images."""

    def __init__(self, *_):
        self.images = iter(GREYS[:4])

    def isOpened(self):  # noqa: N802 OpenCV's name
        return True

    def get(self, _):
        return 0.0

    def set(self, *_):
        return True

    def read(self):
        image = next(self.images, None)
        return image is not None, image

    def release(self):
        self.images = None


def test_a_camera_gives_what_it_sees_by_the_clock(monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", SeesGreys)
    clock = iter([7.0, 7.1, 7.5, 7.6])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    with Camera(0) as camera:
        frames = list(camera)
    assert [(frame.number, round(frame.time, 3)) for frame in frames] == [
        (0, 0),
        (1, 0.1),
        (2, 0.5),
        (3, 0.6),
    ]
    assert camera._capture.images is None


def test_a_camera_without_an_image(monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", SeesGreys)
    monkeypatch.setattr(SeesGreys, "read", lambda self: (False, None))
    with Camera(0) as camera, pytest.raises(InputError, match="--camera 0 gives no image"):
        list(camera)
