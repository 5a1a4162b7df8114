"""The figure of neural collapse: the ideal angle, and what cannot be drawn."""

import io
import math

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from fer.figures import collapse_figure

pytestmark = pytest.mark.drawn

COLUMNS = {"epoch": [1.0, 2.0, 3.0], "nc1": [20.0, 2.0, 0.1], "nc2_spread": [30, 12, 2], "nc4": [0.3, 0.6, 1]}


def draw(figure: Figure) -> list[str]:
    """Draw a figure and return every text that is seen on it."""
    figure.savefig(io.BytesIO(), format="png", dpi=50)
    return [text.get_text() for text in figure.findobj(Text) if text.get_visible() and text.get_text()]


@pytest.mark.slow
@pytest.mark.parametrize(("num_classes", "ideal"), [(2, "180.00"), (7, "99.59"), (100, "90.58")])
def test_the_spread_of_the_angles_goes_to_zero(num_classes: int, ideal: str) -> None:
    figure = collapse_figure(COLUMNS, num_classes, "conv6")

    texts = draw(figure)
    assert {"conv6", "epochs trained"} <= set(texts)
    assert sum(f"(collapsed: 0°, {ideal}° for all)" in text for text in texts) == 1
    spread, angle, nearest = figure.axes
    assert (spread.get_yscale(), angle.get_yscale()) == ("log", "linear")
    (curve,) = angle.get_lines()
    assert list(curve.get_ydata()) == [30, 12, 2]
    assert angle.get_ylim() == (0, pytest.approx(33))
    assert nearest.get_xlim() == (0, 3)


@pytest.mark.parametrize(
    ("nc1", "shown"),
    [
        pytest.param([math.nan, 2.0, math.inf], [2.0], id="not finite"),
        pytest.param([0.0, 2.0, 1.0], [2.0, 1.0], id="zero"),
        pytest.param([math.nan] * 3, [], id="unknown"),
    ],
)
def test_what_a_logarithmic_axis_cannot_show_is_left_out(nc1: list[float], shown: list[float]) -> None:
    figure = collapse_figure(COLUMNS | {"nc1": nc1}, 7)

    assert ("not known" in draw(figure)) == (not shown)
    assert list(figure.axes[0].get_lines()[0].get_ydata()) == shown


def test_rounding_errors_are_no_spread() -> None:
    angle = collapse_figure(COLUMNS | {"nc2_spread": [1e-6, 1e-7, 0]}, 2).axes[1]
    assert angle.get_ylim()[1] > 1


@pytest.mark.slow
def test_a_single_measurement_is_a_point() -> None:
    figure = collapse_figure({name: values[:1] for name, values in COLUMNS.items()}, 7)

    draw(figure)
    assert [axes.get_lines()[0].get_marker() for axes in figure.axes] == ["o"] * 3


def test_nothing_to_draw_is_an_error() -> None:
    with pytest.raises(ValueError, match="0 measurements"):
        collapse_figure({name: [] for name in COLUMNS}, 7)
    with pytest.raises(ValueError, match="1 classes"):
        collapse_figure(COLUMNS, 1)
