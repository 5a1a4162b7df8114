"""What all figures have in common: a title, and a line at chance where they show accuracies."""

import inspect

import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text

import fer.figures
from fer.figures import curve_figure, curves_figure, intervals_figure, members_figure
from fer.figures.style import percent
from fer.metrics import report

REPORT = report(torch.tensor([[3, 1], [2, 4]]), ("no", "yes"))
CURVE = {"threshold": [0, 9], "acc": [0.7, 0.6], "neurons": [1, 0.5], "macs": [1, 0.4]}
CURVE |= {"acc_low": [0.6, 0.5], "acc_high": [0.8, 0.7]}
HISTORY = {"epoch": [0, 1, 2, 3], "val/acc": [0.2, 0.5, 0.4, 0.5]}


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_visible()]


@pytest.mark.parametrize(
    ("ticks", "labels"),
    [
        ([0.9, 0.925], ["90.0 %", "92.5 %"]),
        ([0.0, 0.2, 1.0], ["0 %", "20 %", "100 %"]),
        ([0.001, 0.00125], ["0.100 %", "0.125 %"]),
    ],
)
def test_ticks_in_per_cent_have_the_decimals_that_the_finest_one_needs(ticks, labels) -> None:
    axes = Figure().subplots()
    axes.xaxis.set_major_formatter(percent())
    axes.set_xticks(ticks)
    assert [label.get_text() for label in axes.get_xticklabels()] == labels


@pytest.mark.parametrize("name", fer.figures.__all__)
def test_every_figure_has_a_title_unless_it_is_told_otherwise(name: str) -> None:
    title = inspect.signature(getattr(fer.figures, name)).parameters["title"]

    assert isinstance(title.default, str)
    assert title.default


@pytest.mark.parametrize(
    "figure",
    [
        pytest.param(lambda: curves_figure(HISTORY, chance=0.5), id="curves"),
        pytest.param(lambda: members_figure({0: REPORT}, [HISTORY]), id="members"),
        pytest.param(lambda: curve_figure({"refit": CURVE}, chance=0.5), id="pruning curve"),
        pytest.param(lambda: intervals_figure({"ann": (0.7, 0.6, 0.8)}, chance=0.5), id="intervals"),
    ],
)
def test_accuracies_are_drawn_with_chance(figure) -> None:
    assert "chance 50.0 %" in texts(figure())


def test_epochs_that_are_equally_good_are_marked_alike() -> None:
    figure = curves_figure(HISTORY)

    [stars] = [line for line in figure.axes[0].get_lines() if line.get_marker() == "*"]
    assert stars.get_xdata().tolist() == [2, 4]
    assert "best 50.00 % at epochs 2, 4" in texts(figure)


def test_intervals_are_named_and_numbered() -> None:
    assert {"ann", "70.00 % [60.00, 80.00]"} <= set(texts(intervals_figure({"ann": (0.7, 0.6, 0.8)})))


@pytest.mark.parametrize(
    "rows", [{}, {"ann": (0.5, 0.6, 0.8)}, {"ann": (0.7,)}], ids=["none", "outside", "no ends"]
)
def test_what_is_no_accuracy_with_its_interval_is_refused(rows) -> None:
    with pytest.raises(ValueError, match="an accuracy and the two ends of its interval"):
        intervals_figure(rows)
