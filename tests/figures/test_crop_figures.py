"""The contact sheet of crops."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from fer.figures.crops import ROW_HEIGHT, CropPanel, crops_figure
from fer.figures.style import GREEN, VERMILLION

pytestmark = pytest.mark.drawn

IMAGE = np.zeros((100, 120, 3), np.uint8)
CROP = np.full((20, 20, 3), 99, np.uint8)
FOUND = CropPanel(
    IMAGE, CROP, "mtcnn 0.99", "happy/1.png", (10, 20, 60, 70), [(x, x) for x in (20, 30, 40, 50, 60)]
)
FACELESS = CropPanel(IMAGE, CROP, "no face: centre", "sad/2.png")
DROPPED = CropPanel(IMAGE, None, "no face: drop", "sad/3 $x$.png")


def texts(figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def frames(figure) -> list[Rectangle]:
    return [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]


def test_those_without_a_face_come_first_and_stand_out() -> None:
    figure = crops_figure([FOUND, FACELESS, DROPPED], title="three")
    named = [text for text in texts(figure) if "." in text and "/" in text]
    assert named == ["sad/2.png", "sad/3 $x$.png", "happy/1.png"]
    colours = [to_hex(frame.get_edgecolor()).upper() for frame in frames(figure)]
    assert colours == [VERMILLION, VERMILLION, GREEN]


def test_box_and_landmarks_are_where_the_face_is() -> None:
    figure = crops_figure([FOUND])
    axes, inches = figure.axes[0], ROW_HEIGHT / 100
    left, right, bottom, top = axes.images[0].get_extent()
    assert (right - left, bottom - top) == pytest.approx((120 * inches, 100 * inches))
    (frame,) = frames(figure)
    assert frame.get_xy() == pytest.approx((left + 10 * inches, top + 20 * inches))
    assert (frame.get_width(), frame.get_height()) == pytest.approx((50 * inches, 50 * inches))
    points = [(line.get_xdata()[0], line.get_ydata()[0]) for line in axes.lines]
    expected = [(left + x * inches, top + x * inches) for x in (20, 30, 40, 50, 60)]
    np.testing.assert_allclose(points, expected)


def test_a_box_is_drawn_within_its_image() -> None:
    (frame,) = frames(crops_figure([CropPanel(IMAGE, CROP, "mtcnn", box=(-50, -50, 500, 60))]))
    assert (frame.get_width(), frame.get_height()) == pytest.approx((1.2 * ROW_HEIGHT, 0.6 * ROW_HEIGHT))


def test_a_image_without_a_crop_says_so() -> None:
    figure = crops_figure([DROPPED, FOUND])
    assert len(figure.axes[0].images) == 3
    assert "no crop" in texts(figure)


@pytest.mark.parametrize("shape", [(1, 1, 3), (10, 1000, 3), (1000, 10, 3)])
def test_a_image_of_any_shape_stays_in_its_cell(shape) -> None:
    figure = crops_figure([CropPanel(np.zeros(shape, np.uint8), CROP, "no face: keep", "n" * 200)])
    image, crop = figure.axes[0].images
    assert image.get_extent()[1] <= crop.get_extent()[0]
    figure.canvas.draw()


def test_a_sheet_of_nothing_raises() -> None:
    with pytest.raises(ValueError, match="one image or more"):
        crops_figure([])
