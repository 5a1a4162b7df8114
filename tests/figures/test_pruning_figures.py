"""The figures of pruning: what they say, count and order, and that edge cases are drawn."""

import json
from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from fer.figures import curve_figure, prune_figure
from fer.figures.pruning import MOST_CLASSES, MOST_LAYERS
from fer.figures.style import OTHER_REASON, PAGE_WIDTH, REASON_LOOKS, reason_looks
from fer.labels import EXPRESSIONS
from fer.neurons import REMOVAL_REASONS

pytestmark = pytest.mark.drawn

NAN = float("nan")
MINUS = "\N{MINUS SIGN}"


@pytest.fixture(autouse=True)
def _leaves_matplotlib_alone() -> Iterator[None]:
    from matplotlib import pyplot

    settings = dict(matplotlib.rcParams)
    yield
    assert pyplot.get_fignums() == []
    assert dict(matplotlib.rcParams) == settings


def draw(figure: Figure) -> list[str]:
    """Lay a figure out and return every text that is seen on it."""
    figure.draw_without_rendering()
    return texts_of(figure)


def texts_of(figure: Figure) -> list[str]:
    """Return every text of a figure but the ticks', which come with its layout."""
    return [text.get_text() for text in figure.findobj(Text) if text.get_visible() and text.get_text()]


def layer(before: int, **gone: int) -> dict[str, int]:
    reasons = dict.fromkeys(REMOVAL_REASONS, 0) | gone
    return {"before": before, "after": before - sum(gone.values()), **reasons}


def results(layers: Mapping[str, dict[str, int]], **changed: Any) -> dict[str, Any]:
    """A comparison of two networks on 70 samples, ten of each class: right are 8 of each, then 7."""

    def evaluated(right: int, scale: int) -> dict[str, Any]:
        confusion = right * np.eye(7, dtype=int) + (10 - right) * np.roll(np.eye(7, dtype=int), 1, axis=1)
        return {
            "acc": right / 10,
            "interval": [right / 10 - 0.125, right / 10 + 0.0625],
            "loss": 1.25,
            "confusion": confusion.tolist(),
            "parameters": 1_000_000 * scale,
            "macs": 25_000 * scale,
            "bytes": 4_000_000 * scale,
            "milliseconds": {1: 2.0, 64: 10.0 * scale},
        }

    return {
        "protocol": "synthetic faces",
        "n": 70,
        "before": evaluated(8, 4),
        "after": evaluated(7, 1),
        "mcnemar": {"lost": 9, "won": 3, "p": 0.14599609375},
        "layers": layers,
        "refused": {},
        "blocks": {},
    } | changed


def row(axes: Axes, name: str) -> int:
    return [tick.get_text() for tick in axes.get_yticklabels()].index(name)


def widths(axes: Axes, place: int) -> list[float]:
    """Of the bars of one row that are not empty, from left to right."""
    bars = sorted((bar for bar in axes.patches if bar.get_width() > 0), key=lambda bar: bar.get_x())
    return [bar.get_width() for bar in bars if abs(bar.get_y() + bar.get_height() / 2 - place) < 0.1]


def curve(*rows: tuple[float, ...]) -> dict[str, list[float]]:
    names = ("threshold", "acc", "acc_low", "acc_high", "neurons", "macs")
    return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))


def line(axes: Axes, label: str) -> tuple[list[float], list[float]]:
    (found,) = (line for line in axes.get_lines() if line.get_label() == label)
    return list(found.get_xdata()), list(found.get_ydata())


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


# Before and after on a page


@pytest.mark.slow
def test_a_page_says_what_pruning_did_and_what_it_cost():
    layers = {"conv1": layer(32, similar=8, dead=4), "fc": layer(100, span=30, constant=20)}

    texts = draw(prune_figure(results(layers), "conv6"))

    assert {"conv6", "conv1", "32 → 20", "fc", "100 → 50", "all", "132 → 70"} <= set(texts)
    assert "accuracy on 70 samples of val\nsynthetic faces" in texts
    assert {"before: 80.00 %\n[67.50, 86.25]", "after: 70.00 %\n[57.50, 76.25]"} <= set(texts)
    assert (
        f"{MINUS}10.0 percentage points: 9 now wrong, 3 now right\np = 0.146 (McNemar); loss 1.2500 → 1.2500"
        in texts
    )
    assert {"parameters\n4.00 M → 1.00 M", "multiply-adds\n100.00 k → 25.00 k"} <= set(texts)
    assert "file size\n16.00 MB → 4.00 MB" in texts
    assert {"ms, batch of 1\n2.00 → 2.00", "ms, batch of 64\n40.0 → 10.0"} <= set(texts)
    assert (texts.count("25.0 %"), texts.count("100.0 %")) == (4, 1)
    assert {f"{name}\nn = 10" for name in EXPRESSIONS} <= set(texts)


def test_a_bar_is_split_by_what_became_of_its_neurons():
    gone = {"dead": 1, "constant": 2, "span": 3, "complementary": 4, "similar": 10}

    bars = prune_figure(results({"a": layer(40, **gone), "b": layer(10)})).axes[0]

    assert widths(bars, row(bars, "a")) == pytest.approx([20 / 40, 1 / 40, 2 / 40, 10 / 40, 4 / 40, 3 / 40])
    assert widths(bars, row(bars, "b")) == [1]
    assert widths(bars, row(bars, "all")) == pytest.approx([0.6, 0.02, 0.04, 0.2, 0.08, 0.06])
    assert row(bars, "a") == 0
    assert bars.get_ylim()[0] > bars.get_ylim()[1]  # the first layer is on top


def test_what_became_of_neurons_differs_without_colour_and_is_explained_where_it_occurs():
    bars = prune_figure(results({"fc": layer(10, similar=2, dead=1)})).axes[0]

    found = bars.get_legend()
    assert [text.get_text() for text in found.get_texts()] == ["left", "dead", "similar"]
    assert [patch.get_hatch() or "" for patch in found.get_patches()] == ["", "||||", "////"]


def test_every_removal_reason_has_a_look_of_its_own():
    assert set(REASON_LOOKS) == set(REMOVAL_REASONS)
    looks = [*REASON_LOOKS.values(), OTHER_REASON]
    assert len({hatch for _, hatch in looks}) == len({colour for colour, _ in looks}) == len(looks)
    assert [(look["name"], look["label"]) for look in reason_looks()] == list(REMOVAL_REASONS.items())


def test_intervals_are_those_of_the_comparison():
    accuracies = prune_figure(results({"fc": layer(10, similar=2)})).axes[1]

    ends = [bars.get_segments()[0][:, 0].tolist() for bars in accuracies.collections]
    np.testing.assert_allclose(ends, [[0.675, 0.8625], [0.575, 0.7625]])


def test_networks_with_other_batch_norm_and_before_fine_tuning_are_told_apart():
    found = results({"fc": layer(10, similar=2)})
    sides = {
        name: {"acc": acc, "interval": [0.5, 0.9]} for name, acc in (("a", 0.75), ("b", 0.625), ("c", 0.65))
    }
    other = {"recalibration": {"before": sides["a"], "after": sides["b"]}, "tuning": {"before": sides["c"]}}

    accuracies = prune_figure(found | other).axes[1]

    labels = [tick.get_text().split(":")[0] for tick in accuracies.get_yticklabels()]
    assert labels == [
        *("before", "before, recalibrated"),
        *("after, not recalibrated", "after, not fine-tuned", "after"),
    ]
    assert row(accuracies, "after, not fine-tuned: 65.00 %\n[50.00, 90.00]") == 3
    middles = [container.lines[0].get_xdata()[0] for container in accuracies.containers]
    assert middles == [0.8, 0.75, 0.625, 0.65, 0.7]


def test_recalls_are_dumbbells_with_their_mean_and_their_change():
    found = results({"fc": layer(10, similar=2)})
    found["after"]["confusion"][3] = [0, 0, 0, 10, 0, 0, 0]

    recalls = prune_figure(found).axes[3]

    assert line(recalls, "before") == ([pytest.approx(0.8)] * 8, list(range(8)))
    assert line(recalls, "after")[0] == pytest.approx([0.7, 0.7, 0.7, 1, 0.7, 0.7, 0.7, 5.2 / 7])
    changes = [*[f"{MINUS}10.0"] * 3, "+20.0", *[f"{MINUS}10.0"] * 3, f"{MINUS}5.7"]
    assert [text.get_text() for text in recalls.texts] == changes
    assert row(recalls, "mean") == 7
    markers = {each.get_label(): each.get_marker() for each in recalls.get_lines()}
    assert markers["before"] != markers["after"]


def test_an_interval_that_rounding_put_beside_its_accuracy_is_drawn():
    found = results({"fc": layer(10, similar=2)})
    found["after"] |= {"acc": 1.0, "interval": [0.9, 1 - 2**-53]}

    accuracies = prune_figure(found).axes[1]

    assert row(accuracies, "after: 100.00 %\n[90.00, 100.00]") == 1


@pytest.mark.slow
def test_of_many_layers_those_that_lost_most_keep_their_order():
    layers = {f"conv{i}": layer(64, similar=i % 2 * 3 + 1) for i in range(2 * MOST_LAYERS)}

    figure = prune_figure(results(layers))

    names = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert names == [*(f"conv{i}" for i in range(1, 2 * MOST_LAYERS, 2)), "all"]
    texts = texts_of(figure)
    assert any(f"the 58 of {2 * MOST_LAYERS} layers that lost the most" in text for text in texts)
    assert f"{128 * MOST_LAYERS:,} → {123 * MOST_LAYERS:,}" in texts  # of all layers, not of those shown
    assert figure.get_figheight() <= 11.7  # A4
    assert figure.get_figwidth() <= PAGE_WIDTH


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        pytest.param({"mcnemar": {"lost": 90, "won": 1, "p": 1e-24}}, "p < 0.001 (McNemar)", id="tiny p"),
        pytest.param({"blocks": {"layer3.5": 0.119}}, "layer3.5 (11.9%)", id="blocks"),
        pytest.param(
            {"refused": {"a": "shared weights", "c": "heads", "b": "shared weights"}},
            "not pruned: a, b: shared weights; c: heads",
            id="refused",
        ),
        pytest.param(
            {"refused": {f"blocks.{i}.attention": "heads" for i in range(99)}}, " …", id="many refused"
        ),
    ],
)
def test_edge_cases_of_a_page_are_said(changed: dict[str, Any], said: str) -> None:
    texts = texts_of(prune_figure(results({"fc": layer(10, similar=2)}, **changed)))

    assert any(said in text for text in texts)


def test_of_one_layer_there_is_no_sum():
    bars = prune_figure(results({"fc": layer(10, similar=2)})).axes[0]

    assert [tick.get_text() for tick in bars.get_yticklabels()] == ["fc"]


@pytest.mark.slow
def test_a_class_that_does_not_occur_and_a_slower_network_are_drawn():
    found = json.loads(json.dumps(results({"fc": layer(10, similar=2)})))  # as prune.json has it
    for when in ("before", "after"):
        found[when]["confusion"][1] = [0] * 7
    found["after"]["milliseconds"]["1"] = 3.0

    figure = prune_figure(found)

    texts = draw(figure)
    assert {"disgust\nn = 0", "\N{EN DASH}", "150.0 %"} <= set(texts)
    assert figure.axes[2].get_xlim()[1] > 1.5


def test_classes_have_the_names_of_the_results():
    found = results({"fc": layer(10, similar=2)})
    for when, right in (("before", 8), ("after", 7)):
        found[when]["confusion"] = [[right, 10 - right, 0], [0, 10, 0], [0, 0, 10]]

    recalls = prune_figure(found | {"class_names": ["cat", "dog", "owl"]}).axes[3]

    names = [tick.get_text() for tick in recalls.get_yticklabels()]
    assert names == ["cat\nn = 10", "dog\nn = 10", "owl\nn = 10", "mean"]


def test_of_many_classes_those_that_changed_most_are_shown():
    found = results({"fc": layer(10, similar=2)})
    for when in ("before", "after"):
        found[when]["confusion"] = (10 * np.eye(40, dtype=int)).tolist()
    found["after"]["confusion"][33] = [10, *[0] * 39]

    recalls = prune_figure(found).axes[3]

    names = [tick.get_text() for tick in recalls.get_yticklabels()]
    assert len(names) == MOST_CLASSES + 1
    assert "class_33\nn = 10" in names
    assert any(
        f"the {MOST_CLASSES} of 40 classes that changed most" in text for text in texts_of(recalls.figure)
    )


def test_a_page_needs_a_layer():
    with pytest.raises(ValueError, match="no layer"):
        prune_figure(results({}))


# Accuracy over thresholds


def test_a_curve_goes_by_its_threshold_and_pruning_to_the_right():
    rows = [(20, 0.5, 0.4, 0.6, 0.25, 0.125), (0, 0.7, 0.6, 0.8, 1, 1), (10, 0.6, 0.5, 0.7, 0.5, 0.25)]

    figure = curve_figure({"refit": curve(*rows), "jain": curve(*rows[:1])}, "conv6")

    found = [line(axes, "refit") for axes in figure.axes]
    assert [ys for _, ys in found] == [[0.7, 0.6, 0.5]] * 3
    assert [xs for xs, _ in found] == [[0, 10, 20], [1, 0.5, 0.25], [1, 0.25, 0.125]]
    assert [axes.xaxis_inverted() for axes in figure.axes] == [False, True, True]
    assert {"conv6", "neurons left", "multiply-adds left", "20°", "before: 70.00 %"} <= set(draw(figure))
    assert legend(figure) == ["before: 70.00 %", "refit", "jain"]
    assert {tuple(line(axes, "before: 70.00 %")[1]) for axes in figure.axes} == {(0.7, 0.7)}


@pytest.mark.slow
def test_multiply_adds_of_a_layer_that_has_next_to_none_are_told_apart():
    figure = curve_figure({"refit": curve((0, 0.7, 0.6, 0.8, 1, 1), (20, 0.5, 0.4, 0.6, 0.1, 0.9994))})

    draw(figure)

    labels = [label.get_text() for label in figure.axes[2].get_xticklabels()]
    assert len(labels) == len(set(labels)) > 2


def test_accuracies_of_a_layer_that_costs_little_are_told_apart():
    figure = curve_figure(
        {"refit": curve((0, 0.651, 0.636, 0.667, 1, 1), (20, 0.648, 0.632, 0.664, 0.5, 0.9))}
    )

    draw(figure)

    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert len(labels) == len(set(labels)) > 2


def test_without_a_whole_network_there_is_no_line_of_before():
    figure = curve_figure({"refit": curve((10, 0.6, 0.5, 0.7, 0.5, 0.25))})

    assert legend(figure) == ["refit"]


def test_bands_are_the_intervals():
    rows = [(0, 0.7, 0.61, 0.82, 1, 1), (10, 0.6, 0.53, 0.74, 0.5, 0.25)]

    (band,) = curve_figure({"refit": curve(*rows)}).axes[1].collections

    corners = {tuple(corner) for corner in band.get_paths()[0].vertices.tolist()}
    assert corners == {(1, 0.61), (1, 0.82), (0.5, 0.53), (0.5, 0.74)}


def test_rules_differ_without_colour():
    rules = [f"rule {i}" for i in range(28)]
    curves = {rule: curve((0, 0.7, 0.6, 0.8, 1, 1), (9, 0.6, 0.5, 0.7, 0.5, 0.3)) for rule in rules}

    lines = [each for each in curve_figure(curves).axes[0].get_lines() if each.get_label() in rules]

    looks = [(each.get_marker(), str(each._dash_pattern)) for each in lines]
    assert len(lines) == 28
    assert all(one != other for one, other in combinations(looks, 2))


def test_rows_with_nan_are_skipped():
    rows = [(0, 0.7, 0.6, 0.8, 1, 1), (5, NAN, NAN, NAN, 0.7, 0.5), (10, 0.6, 0.5, 0.7, 0.5, 0.25)]

    figure = curve_figure({"refit": curve(*rows), "none": curve(rows[1])})

    assert line(figure.axes[0], "refit")[0] == [0, 10]
    assert line(figure.axes[0], "none")[0] == []


def test_curves_refuse_what_has_not_all_columns():
    whole = curve((0, 0.7, 0.6, 0.8, 1, 1))
    with pytest.raises(ValueError, match=r"jain: rows of its columns are .*'macs': 2"):
        curve_figure({"refit": whole, "jain": whole | {"macs": [1, 1]}})
    with pytest.raises(ValueError, match=r"jain: .* and not as many of each of threshold, acc"):
        curve_figure({"jain": {"threshold": [0.0]}})
    with pytest.raises(ValueError, match="no rule"):
        curve_figure({})
