"""Annotated copies: of constant rate, a second of the source is a second of the copy."""

import numpy as np
import pytest

from fer.predict import webm
from fer.predict.videos import Video
from fer.predict.webm import WebmWriter


def write(path, times, rate, size=(48, 64)):
    with WebmWriter(path, rate) as writer:
        for number, time in enumerate(times):
            writer.write(time, np.full((*size, 3), 20 * number, np.uint8))
    with Video(path) as video:
        return [round(frame.image.mean() / 20) for frame in video]


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        pytest.param([0, 0.1, 0.2], [0, 1, 2], id="even"),
        pytest.param([0, 0.3, 0.4], [0, 0, 0, 1, 2], id="a slow one is repeated"),
        pytest.param([0, 0.02, 0.04, 0.1, 0.2], [2, 3, 4], id="fast ones are left out"),
        pytest.param([0], [0], id="one image"),
    ],
)
def test_times_are_kept(tmp_path, times, expected, capfd):
    assert write(tmp_path / "copy.webm", times, 10) == expected
    assert capfd.readouterr() == ("", "")
    assert [path.name for path in tmp_path.iterdir()] == ["copy.webm"]


def test_timestamps_that_leap_do_not_fill_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(webm, "MAX_HELD", 0.5)
    assert write(tmp_path / "copy.webm", [0, 1e9, 1e9 + 0.1], 10) == [0] * 5 + [1, 2]


def test_large_and_odd_sizes(tmp_path):
    with WebmWriter(tmp_path / "copy.webm", 10) as writer:
        writer.write(0, np.zeros((301, 1999, 3), np.uint8))
    with Video(tmp_path / "copy.webm") as video:
        assert [frame.image.shape for frame in video] == [(192, 1280, 3)]


def test_nothing_is_left_after_an_error(tmp_path):
    def fail():
        with WebmWriter(tmp_path / "copy.webm", 10) as writer:
            writer.write(0, np.zeros((48, 64, 3), np.uint8))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_without_an_image(tmp_path):
    with WebmWriter(tmp_path / "copy.webm", 10):
        pass
    assert list(tmp_path.iterdir()) == []
