"""Figures of searches: what stands in them, whatever the settings are."""

import matplotlib.colors
import numpy as np
import pytest

from fer.figures.style import VERMILLION
from fer.figures.sweep import (
    best_so_far,
    importances_figure,
    parallel_figure,
    search_figure,
    slices_figure,
)

pytestmark = pytest.mark.drawn

POINTS = [
    {"lr": 10.0**-i, "depth": i, "optimizer": name, "widths": [i, 2 * i], "on": i % 2 == 0, "drop": None}
    for i, name in enumerate(["sgd", "adamw", "sgd", "adam"], start=1)
]
VALUES = [0.2, 0.5, 0.3, 0.1]


def drawn(figure):
    figure.canvas.draw()
    return figure


def test_the_best_so_far_passes_over_what_failed():
    nan = float("nan")
    np.testing.assert_equal(best_so_far([nan, 3, nan, 1, 2], maximize=False), [nan, 3, 3, 1, 1])
    np.testing.assert_equal(best_so_far([1, 3, 2], maximize=True), [1, 3, 3])


@pytest.mark.parametrize(("maximize", "best"), [(True, 1), (False, 3)])
def test_the_line_of_the_best_trial_is_marked(maximize, best):
    axes = drawn(parallel_figure(POINTS, VALUES, "val/acc", best=best, maximize=maximize)).axes[0]
    (marked,) = [line for line in axes.lines if line.get_label() == "best"]
    assert marked.get_color() == VERMILLION
    assert marked.get_ydata()[-1] == (1 if maximize else 0)  # where the metric is
    names = [label.get_text().replace("\n", "") for label in axes.get_xticklabels()]
    assert names == [*POINTS[0], "val/acc"]


def test_of_equal_trials_the_one_that_is_called_best_is_marked_in_every_figure():
    points, values = [{"depth": 1}, {"depth": 2}, {"depth": 3}], [0.1, 0.7, 0.7]
    (line,) = [
        line
        for line in parallel_figure(points, values, "m", best=1, maximize=True).axes[0].lines
        if line.get_label() == "best"
    ]
    ring = slices_figure(points, values, "m", best=1).axes[0].collections[1]
    assert line.get_ydata()[0] == 0.5  # the second of three depths
    assert ring.get_offsets().tolist() == [[2, 0.7]]


def test_settings_that_span_decades_stand_on_a_logarithmic_scale():
    axes = drawn(parallel_figure(POINTS, VALUES, "m", best=0, maximize=True)).axes[0]
    heights = sorted(line.get_ydata()[0] for line in axes.lines if len(line.get_ydata()) == 7)
    assert heights == pytest.approx([0, 1 / 3, 2 / 3, 1])


def test_there_is_a_panel_for_each_setting_and_the_best_is_ringed():
    figure = drawn(slices_figure(POINTS, VALUES, "m", best=1, log_scaled=["lr", "depth"]))
    panels = [axes for axes in figure.axes if axes.get_visible() and axes.get_xlabel() in POINTS[0]]
    assert [axes.get_xlabel() for axes in panels] == list(POINTS[0])
    assert [axes.get_xscale() for axes in panels][:3] == ["log", "log", "linear"]
    ring = panels[0].collections[1]
    assert ring.get_offsets().tolist() == [[0.01, 0.5]]
    assert [label.get_text() for label in panels[2].get_xticklabels()] == ["adam", "adamw", "sgd"]


def test_one_search_shows_its_trials_and_many_seeds_their_median():
    one = drawn(search_figure({"random": [[0.1, 0.3, 0.2]]}, "m", maximize=True)).axes[0]
    assert [line.get_ydata().tolist() for line in one.lines] == [[0.1, 0.3, 0.2], [0.1, 0.3, 0.3]]
    searches = {"random": [[0.1, 0.3, 0.2], [0.2, 0.1]], "bayes": [[0.1, 0.5], [0.2, 0.3], [0.4, 0.4]]}
    axes = drawn(search_figure(searches, "m", maximize=True, title="Search compared")).axes[0]
    medians = {
        line.get_label(): line.get_ydata().tolist() for line in axes.lines if "median" in line.get_label()
    }
    assert medians["random (median of 2 seeds)"] == pytest.approx([0.15, 0.25])  # as far as both go
    assert medians["bayes (median of 3 seeds)"] == pytest.approx([0.2, 0.4])
    assert len(axes.collections) == 2  # a band each


def test_importances_stand_in_their_order():
    found = {"model.lr": (0.7, -0.4), "model.optimizer": (0.3, float("nan"))}
    left, right = drawn(importances_figure(found, 9, "title")).axes
    assert [bar.get_width() for bar in left.patches] == [0.7, 0.3]
    assert [bar.get_width() for bar in right.patches] == [-0.4, 0]
    assert matplotlib.colors.to_hex(right.patches[0].get_facecolor()).upper() == VERMILLION
    assert [text.get_text() for text in right.texts] == ["no order"]


@pytest.mark.slow
def test_one_trial_can_be_drawn():
    drawn(parallel_figure(POINTS[:1], VALUES[:1], "m", best=0, maximize=True))
    drawn(slices_figure(POINTS[:1], VALUES[:1], "m", best=0))
    drawn(search_figure({"grid": [[0.5]]}, "m", maximize=True))


@pytest.mark.parametrize(
    "draw",
    [
        pytest.param(lambda: parallel_figure([], [], "m", best=0, maximize=True), id="parallel"),
        pytest.param(lambda: slices_figure(POINTS, VALUES[:2], "m", best=0), id="slices"),
        pytest.param(lambda: search_figure({"grid": [[]]}, "m", maximize=True), id="search"),
        pytest.param(lambda: search_figure({}, "m", maximize=True), id="no search"),
        pytest.param(lambda: importances_figure({}, 3), id="importances"),
    ],
)
def test_without_trials_there_is_no_figure(draw):
    with pytest.raises(ValueError, match=r"needed|at least one"):
        draw()
