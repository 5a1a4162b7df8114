"""Faces tracked by overlap, probabilities smoothed over time."""

import math
from itertools import count

import pytest
from drawn_videos import make_face

from fer.errors import InputError
from fer.predict.tracks import MAX_GAP, FaceTracker, assign, entropy, overlap, smooth

LEFT, RIGHT = (0.0, 0.0, 10.0, 10.0), (50.0, 0.0, 60.0, 10.0)


def moved(box, across):
    return (box[0] + across, box[1], box[2] + across, box[3])


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        pytest.param(LEFT, LEFT, 1, id="the same"),
        pytest.param(LEFT, RIGHT, 0, id="apart"),
        pytest.param(LEFT, moved(LEFT, 10), 0, id="side by side"),
        pytest.param(LEFT, moved(LEFT, 5), 1 / 3, id="half"),
        pytest.param(LEFT, (2.0, 2.0, 4.0, 7.0), 0.1, id="inside"),
        pytest.param((1.0, 1.0, 1.0, 1.0), (1.0, 1.0, 1.0, 1.0), 0, id="empty"),
    ],
)
def test_overlap(first, second, expected):
    assert overlap(first, second) == overlap(second, first) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("boxes", "known", "expected"),
    [
        pytest.param([LEFT, RIGHT], {}, [3, 4], id="all new"),
        pytest.param([RIGHT, LEFT], {1: LEFT, 2: RIGHT}, [2, 1], id="in another order"),
        pytest.param([moved(LEFT, 3)], {1: LEFT, 2: RIGHT}, [1], id="one has gone"),
        pytest.param([moved(LEFT, 8)], {1: LEFT}, [3], id="too little overlap"),
        pytest.param([moved(LEFT, 2), LEFT], {1: LEFT}, [3, 1], id="the closer one keeps the number"),
        pytest.param([], {1: LEFT}, [], id="nobody"),
    ],
)
def test_a_box_has_the_number_of_the_one_it_overlaps_most(boxes, known, expected):
    assert assign(boxes, known, count(3)) == expected


@pytest.mark.parametrize(
    ("elapsed", "expected"),
    [
        pytest.param(0.0, 0.0, id="at once nothing"),
        pytest.param(2.0, 1 - 1 / math.e, id="63 % after the time constant"),
        pytest.param(200.0, 1.0, id="all after a long time"),
    ],
)
def test_a_step_is_smoothed(elapsed, expected):
    smoothed = smooth({"happy": 0.0, "sad": 1.0}, {"happy": 1.0, "sad": 0.0}, elapsed, 2.0)
    assert smoothed["happy"] == pytest.approx(expected)
    assert sum(smoothed.values()) == pytest.approx(1)


def test_two_short_steps_smooth_as_one_long_one():
    once = smooth({"happy": 0.2}, {"happy": 0.9}, 0.5, 1.0)
    twice = smooth(smooth({"happy": 0.2}, {"happy": 0.9}, 0.2, 1.0), {"happy": 0.9}, 0.3, 1.0)
    assert twice == pytest.approx(once)


def test_a_face_is_followed_and_smoothed():
    tracker = FaceTracker(1.0)
    ((track, first),) = tracker.follow(0.0, [make_face(LEFT, happy=1.0)])
    assert (track, first.label, first.probabilities["happy"]) == (1, "happy", 1.0)
    ((track, second),) = tracker.follow(math.log(2), [make_face(moved(LEFT, 2), sad=1.0)])
    assert track == 1
    assert second.box == moved(LEFT, 2)
    assert (second.probabilities["happy"], second.probabilities["sad"]) == (pytest.approx(0.5),) * 2
    assert second.entropy == pytest.approx(math.log(2))
    ((_, third),) = tracker.follow(math.log(4), [make_face(moved(LEFT, 4), sad=1.0)])
    assert third.label == "sad"
    assert third.probabilities["happy"] == pytest.approx(0.25)


def test_faces_are_not_smoothed_unless_asked():
    tracker = FaceTracker()
    tracker.follow(0.0, [make_face(LEFT, happy=1.0)])
    face = make_face(LEFT, sad=1.0)
    assert tracker.follow(0.1, [face]) == [(1, face)]


def test_a_face_that_is_away_for_long_is_another_and_its_number_is_not_used_again():
    tracker = FaceTracker(1.0)
    tracker.follow(0.0, [make_face(LEFT), make_face(RIGHT)])
    assert [track for track, _ in tracker.follow(MAX_GAP, [make_face(LEFT, happy=1.0)])] == [1]
    ((track, face),) = tracker.follow(MAX_GAP + 0.1, [make_face(RIGHT, sad=1.0)])
    assert (track, face.probabilities["sad"]) == (3, 1.0)  # nothing of the other is left in it


@pytest.mark.parametrize("seconds", [-0.1, math.nan, math.inf])
def test_a_time_constant_that_is_none(seconds):
    with pytest.raises(InputError, match="--smooth is"):
        FaceTracker(seconds)


def test_entropy_of_even_probabilities_is_the_logarithm_of_their_number():
    assert entropy(dict.fromkeys("abcdefg", 1 / 7)) == pytest.approx(math.log(7))
