"""Faces marked in an image: labels at their faces, inside the image, over no other label."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer.palette import class_colours, readable_on
from fer.predict.marks import MOST_LABELS, Mark, draw_marks, place_labels

LABEL = (40.0, 12.0)
IMAGE = (200.0, 100.0)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        pytest.param((50, 40, 80, 70), (50, 28, 90, 40), id="above"),
        pytest.param((50, 5, 80, 35), (50, 35, 90, 47), id="below, at the upper edge"),
        pytest.param((180, 40, 199, 70), (160, 28, 200, 40), id="moved in from the right"),
        pytest.param((-20, 40, 10, 70), (0, 28, 40, 40), id="moved in from the left"),
        pytest.param((50, 2, 110, 99), (50, 2, 90, 14), id="inside a face as high as the image"),
    ],
)
def test_a_label_is_at_its_face(box, expected):
    assert place_labels([box], [LABEL], IMAGE) == [expected]


def test_a_label_gives_way_to_another_face():
    above, below = (50, 10, 90, 38), (50, 40, 92, 70)
    assert place_labels([above, below], [LABEL, LABEL], IMAGE)[1] == (50, 70, 90, 82)


def test_a_label_that_does_not_fit_is_left_out():
    assert place_labels([(0, 0, 10, 10)], [(300, 12)], IMAGE) == [None]


@given(
    st.lists(
        st.tuples(*[st.floats(-30, 230)] * 2, *[st.floats(1, 90)] * 2).map(
            lambda each: (each[0], each[1], each[0] + each[2], each[1] + each[3])
        ),
        max_size=30,
    )
)
@settings(max_examples=60, deadline=None)
def test_labels_do_not_overlap_and_are_inside(boxes):
    spots = [spot for spot in place_labels(boxes, [LABEL] * len(boxes), IMAGE) if spot]
    for index, spot in enumerate(spots):
        assert spot.left >= 0
        assert spot.top >= 0
        assert spot.right <= IMAGE[0] + 1e-9
        assert spot.bottom <= IMAGE[1] + 1e-9
        assert not any(spot.meets(other) for other in spots[:index])


def test_of_very_many_faces_the_largest_have_labels():
    boxes = [(i % 200, i // 200, i % 200 + 0.5, i // 200 + 0.5) for i in range(10_000)]
    boxes[777] = (50, 40, 80, 70)
    spots = place_labels(boxes, [(0.4, 0.4)] * len(boxes), IMAGE)
    assert spots[777] is not None
    assert sum(spot is not None for spot in spots) <= MOST_LABELS


def test_boxes_and_labels_are_drawn_on_a_copy():
    image = np.full((100, 200, 3), 128, np.uint8)
    marked = draw_marks(
        image,
        [Mark((50, 40, 90, 80), "1 glücklich 81 %", "#0072B2"), Mark((-9, 60, 10, 300), "x", "#F0E442")],
    )
    assert (image == 128).all()
    assert tuple(marked[60, 50]) == (0, 0x72, 0xB2)  # the left side of the box
    assert tuple(marked[60, 70]) == (128, 128, 128)  # inside, the face is left as it is
    label = marked[25:39, 52:80].reshape(-1, 3)
    assert (label == (255, 255, 255)).all(axis=1).any()  # white letters on blue
    assert (draw_marks(image, []) == image).all()


@pytest.mark.parametrize("colour", class_colours(100))
def test_a_label_has_contrast(colour):
    def luminance(text):
        parts = [int(text[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        parts = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    low, high = sorted((luminance(colour), luminance(readable_on(colour))))
    assert (high + 0.05) / (low + 0.05) >= 4.5  # WCAG 2, level AA
