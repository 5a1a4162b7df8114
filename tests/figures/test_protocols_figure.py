"""What networks score under one protocol and another, side by side."""

import io

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text

from fer.figures import protocols_figure
from fer.metrics import report, wilson_interval

pytestmark = pytest.mark.drawn


def folds(*rights: int, n: int = 10):
    """Reports of folds in each of which ``right`` of ``n`` samples are right."""
    return [report(torch.tensor([[right, n - right], [0, 0]])) for right in rights]


def draw(figure: Figure) -> list[str]:
    """Draw a figure and return every text that is seen on it."""
    figure.savefig(io.BytesIO(), format="png", dpi=50)
    return [text.get_text() for text in figure.findobj(Text) if text.get_visible() and text.get_text()]


def markers(figure: Figure, size: float) -> list[list[tuple[float, float]]]:
    """Return the places of the markers of a size, a list for each row, in drawing order."""
    lines = [line for line in figure.axes[0].lines if line.get_marker() in "osD^"]
    return [
        list(zip(line.get_xdata(), line.get_ydata(), strict=True))
        for line in lines
        if line.get_markersize() == size
    ]


TWO = {
    "ann": {"random folds": folds(4, 6, 8), "by film": folds(2, 3, 1)},
    "conv6": {"random folds": folds(9, 9), "by film": folds(5, 8)},
}


def test_networks_head_their_protocols_from_the_top_down() -> None:
    figure = protocols_figure(TWO, title="SFEW")
    assert "SFEW" in draw(figure)
    axes = figure.axes[0]
    labels = {label.get_text(): label.get_fontweight() for label in axes.get_yticklabels()}
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        *("ann", "random folds", "by film", "conv6", "random folds", "by film")
    ]
    assert labels == {"ann": "bold", "conv6": "bold", "random folds": "normal", "by film": "normal"}
    bottom, top = axes.get_ylim()
    assert bottom > top


def test_the_large_dot_is_of_all_patterns_and_the_small_ones_of_the_folds() -> None:
    uneven = {"ann": {"random folds": [*folds(10, n=10), *folds(0, n=30)]}}
    figure = protocols_figure(uneven)
    ((pooled,),) = markers(figure, 6.5)
    (single,) = markers(figure, 3.5)
    assert pooled == pytest.approx((0.25, 1))  # by samples: the mean of the folds is 0.5
    assert [x for x, _ in single] == [1, 0]
    low, high = wilson_interval(10, 40)
    assert f"25.0 % [{100 * low:.1f}, {100 * high:.1f}], n = 40" in draw(figure)
    (bar,) = figure.axes[0].collections
    assert np.ravel(bar.get_segments()[0]).tolist() == pytest.approx([low, 1, high, 1])


@pytest.mark.parametrize(
    ("second", "written"),
    [
        pytest.param(2, "\N{MINUS SIGN}40.0 points", id="a drop"),
        pytest.param(9, "+30.0 points", id="a gain"),
        pytest.param(6, "+0.0 points", id="none"),
    ],
)
def test_the_difference_is_written_on_the_line_that_joins_the_two(second: int, written: str) -> None:
    figure = protocols_figure({"ann": {"random folds": folds(6), "by film": folds(second)}})
    assert written in draw(figure)
    joins = [list(line.get_xdata()) for line in figure.axes[0].lines if line.get_marker() == "None"]
    assert [0.6, second / 10] in joins


def test_a_protocol_has_one_look_wherever_it_stands() -> None:
    summaries = {"ann": {"by film": folds(2)}, "conv6": {"random folds": folds(5), "by film": folds(4)}}
    figure = protocols_figure(summaries)
    large = [line for line in figure.axes[0].lines if line.get_markersize() == 6.5]
    looks = [(line.get_color(), line.get_marker()) for line in large]
    assert looks[0] == looks[2] != looks[1]
    assert looks[0][1] != looks[1][1]  # not by colour alone
    assert sum("points" in text for text in draw(figure)) == 1  # there is nothing to compare ann with


@pytest.mark.slow
def test_chance_is_a_line_of_its_own() -> None:
    assert "chance 50.0 %" in draw(protocols_figure(TWO))  # of two classes
    figure = protocols_figure(TWO, chance=0.25)
    assert "chance 25.0 %" in draw(figure)
    assert [0.25, 0.25] in [list(line.get_xdata()) for line in figure.axes[0].lines]


@pytest.mark.parametrize(
    "summaries",
    [
        pytest.param({}, id="no network"),
        pytest.param({"ann": {}}, id="no protocol"),
        pytest.param({"ann": {"random folds": []}}, id="no fold"),
        pytest.param({"ann": {str(number): folds(5) for number in range(5)}}, id="five protocols"),
    ],
)
def test_what_cannot_be_drawn_is_refused(summaries) -> None:
    with pytest.raises(ValueError, match="expected networks, each with folds"):
        protocols_figure(summaries)
