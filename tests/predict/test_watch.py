"""A video from its first frame to its last: what is answered, what is written, how it ends."""

import os
import signal

import numpy as np
import pytest
from drawn_videos import FakeRecognizer, draw_change, make_face, write_video

from fer.errors import InputError
from fer.predict import watch as module
from fer.predict.tracks import FaceTracker
from fer.predict.videos import Video, VideoFrame
from fer.predict.watch import Outputs, recognize_frames, until_interrupted, watch

LEFT, RIGHT = (0.0, 0.0, 30.0, 50.0), (32.0, 0.0, 64.0, 50.0)


def changing(number):
    """Return one face that becomes happy over 20 frames; from the tenth on a second one beside it."""
    first = make_face(LEFT, happy=number / 20, neutral=1 - number / 20)
    return [first, make_face(RIGHT, sad=0.9)] if number >= 10 else [first]


@pytest.fixture
def film(tmp_path):
    return write_video(tmp_path / "film.mp4", draw_change(20))


@pytest.fixture
def outputs(tmp_path):
    return Outputs.named(tmp_path / "out" / "film.webm")


def watch_film(film, recognizer, answer, **settings):
    with Video(film) as video:
        return watch(video, video.rate, recognizer, answer, name=film.name, **settings)


def test_a_video_is_answered_and_written(film, outputs):
    answers = []
    recognizer = FakeRecognizer(changing)
    timeline = watch_film(film, recognizer, answers.append, outputs=outputs)
    assert str(timeline) == "20 frames (0 without a face) in 2.0 s, 2 tracked faces"
    assert recognizer.batches == [16, 4]
    assert [frame.number for frame, _, _ in answers] == list(range(20))
    assert [[track for track, _ in faces] for _, faces, _ in answers] == [[1]] * 10 + [[1, 2]] * 10
    assert [faces[0].face.label for _, faces, _ in answers] == ["neutral"] * 10 + ["happy"] * 10
    with Video(outputs.copy) as copy:
        frames = list(copy)
    assert len(frames) == 20
    assert copy.rate == 10
    assert np.abs(frames[15].image[:, 0].astype(int) - draw_change(20)[15][:, 0]).mean() > 20  # the box
    assert sorted(path.name for path in outputs.copy.parent.iterdir()) == [
        "film-timeline.html",
        "film-timeline.png",
        "film.webm",
    ]


def test_smoothing_delays_a_label(film, outputs):
    answers = []
    recognizer = FakeRecognizer(lambda number: [make_face(LEFT, **{"happy" if number >= 10 else "sad": 1.0})])
    watch_film(film, recognizer, answers.append, outputs=outputs, smooth=0.5)
    labels = [faces[0].face.label for _, faces, _ in answers]
    # Half of a step is reached after 0.5 s ln 2 = 0.35 s, and the step begins with its first frame.
    assert labels == ["sad"] * 13 + ["happy"] * 7
    assert "time constant of 0.5 s" in outputs.page.read_text()


def test_a_frame_on_which_the_detector_fails_is_counted_and_the_others_go_on(film, outputs):
    class FailsOnce(FakeRecognizer):
        def recognize(self, images):
            if any(np.array_equal(image, broken) for image in images):
                raise InputError("the detector fails on it")
            return super().recognize(images)

    with Video(film) as video:
        broken = list(video)[4].image
    answers = []
    timeline = watch_film(
        film, FailsOnce(lambda _: [make_face(LEFT, sad=0.9)]), answers.append, outputs=outputs
    )
    assert str(timeline) == "20 frames (0 without a face, 1 failed) in 2.0 s, 1 tracked face"
    assert timeline.failed == "1 of 20 frames failed: the detector fails on it"
    assert [frame.number for frame, _, _ in answers] == list(range(20))
    failures = {frame.number: failure for frame, faces, failure in answers if not faces}
    assert failures == {4: "the detector fails on it"}
    assert outputs.copy.is_file()


def test_large_frames_are_recognised_in_smaller_batches(monkeypatch):
    monkeypatch.setattr(module, "BATCH_PIXELS", 3 * 48 * 64)
    recognizer = FakeRecognizer(lambda _: [])
    frames = [VideoFrame(number, number / 10, np.zeros((48, 64, 3), np.uint8)) for number in range(7)]
    assert len(list(recognize_frames(frames, recognizer, FaceTracker()))) == 7
    assert recognizer.batches == [3, 3, 1]


def test_nothing_is_left_of_a_video_that_fails(film, outputs):
    def fail(*_):
        raise InputError("the disk is full")

    with pytest.raises(InputError, match="the disk is full"):
        watch_film(film, FakeRecognizer(changing), fail, outputs=outputs)
    assert list(outputs.copy.parent.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_frames_after_the_one_at_hand(number):
    before = signal.getsignal(number)
    seen = []
    with until_interrupted(iter(range(9))) as frames:
        for frame in frames:
            seen.append(frame)
            if frame == 2:
                os.kill(os.getpid(), number)
    assert seen == [0, 1, 2]
    assert signal.getsignal(number) is before
