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
from numpy.typing import NDArray

from fer.figures import curve_figure, dendrogram_figure, prune_figure
from fer.figures.pruning import FATES, MOST_LAYERS, MOST_NEURONS
from fer.labels import EXPRESSIONS
from fer.neurons import PrunePlan, Removal

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
    reasons = {"dead": 0, "constant": 0, "similar": 0, "complementary": 0, "span": 0, "block": 0} | gone
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
        "protocol": "drawn by code",
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


def symmetric(size: int, pairs: Mapping[tuple[int, int], float]) -> NDArray[np.float64]:
    """Angles of neurons that are all at right angles, but for the given pairs."""
    degrees = np.full((size, size), 90.0)
    np.fill_diagonal(degrees, 0)
    for (i, j), angle in pairs.items():
        degrees[i, j] = degrees[j, i] = angle
    return degrees


def dendrograms(
    plan: PrunePlan, degrees: NDArray[np.float64] | None = None, *, above: float = 165, **layers: PrunePlan
) -> Figure:
    """The figure of a layer ``fc``, and of others whose neurons are at right angles."""
    plans = {"fc": plan, **layers}
    matrices = {name: symmetric(each.num_neurons, {}) for name, each in plans.items()}
    if degrees is not None:
        matrices["fc"] = degrees
    return dendrogram_figure(plans, matrices, "what merges", similar_below=15, complementary_above=above)


def ticks(axes: Axes) -> list[str]:
    return [tick.get_text() for tick in axes.get_xticklabels()]


def joins(axes: Axes) -> list[tuple[float, ...]]:
    """Where a neuron stands, where its stem is, and how high they join; a single stem is its own."""
    return [
        (xs[0], xs[2], ys[1])
        for each in axes.get_lines()
        if len(xs := list(each.get_xdata())) == 3 and (ys := list(each.get_ydata()))
    ]


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


# Before and after on a page


def test_a_page_says_what_pruning_did_and_what_it_cost():
    layers = {"conv1": layer(32, similar=8, dead=4), "fc": layer(100, span=30, constant=20)}

    texts = draw(prune_figure(results(layers), "conv6"))

    assert {"conv6", "conv1", "32 → 20", "fc", "100 → 50", "all", "132 → 70"} <= set(texts)
    assert "accuracy on val, n = 70\ndrawn by code" in texts
    assert {"before: 80.00 %\n[67.50, 86.25]", "after: 70.00 %\n[57.50, 76.25]"} <= set(texts)
    assert f"{MINUS}10.0 points: 9 lost, 3 won, p = 0.146 (McNemar)\nloss 1.2500 → 1.2500" in texts
    assert {"parameters\n4.00 M → 1.00 M", "multiply-adds\n100.00 k → 25.00 k"} <= set(texts)
    assert "bytes of its file\n16.00 M → 4.00 M" in texts
    assert {"ms, batch of 1\n2.00 → 2.00", "ms, batch of 64\n40.00 → 10.00"} <= set(texts)
    assert (texts.count("25.0 %"), texts.count("100.0 %")) == (4, 1)
    assert {f"{name}\nn = 10" for name in EXPRESSIONS} <= set(texts)


def test_a_bar_is_split_by_what_became_of_its_neurons():
    gone = {"dead": 1, "constant": 2, "span": 3, "complementary": 4, "similar": 10}

    bars = prune_figure(results({"a": layer(40, **gone), "b": layer(10)})).axes[0]

    assert widths(bars, row(bars, "a")) == pytest.approx([20 / 40, 10 / 40, 4 / 40, 3 / 40, 2 / 40, 1 / 40])
    assert widths(bars, row(bars, "b")) == [1]
    assert widths(bars, row(bars, "all")) == pytest.approx([0.6, 0.2, 0.08, 0.06, 0.04, 0.02])
    assert row(bars, "a") == 0
    assert bars.get_ylim()[0] > bars.get_ylim()[1]  # the first layer is on top


def test_what_became_of_neurons_differs_without_colour_and_is_explained_where_it_occurs():
    bars = prune_figure(results({"fc": layer(10, similar=2, dead=1)})).axes[0]

    found = bars.get_legend()
    assert [text.get_text() for text in found.get_texts()] == ["left", "similar", "dead"]
    assert [patch.get_hatch() or "" for patch in found.get_patches()] == ["", "////", "||||"]
    assert len({hatch for _, hatch in FATES.values()}) == len(FATES)


def test_intervals_are_those_of_the_comparison():
    accuracies = prune_figure(results({"fc": layer(10, similar=2)})).axes[1]

    ends = [bars.get_segments()[0][:, 0].tolist() for bars in accuracies.collections]
    np.testing.assert_allclose(ends, [[0.675, 0.8625], [0.575, 0.7625]])


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


def test_of_many_layers_those_that_lost_most_keep_their_order():
    layers = {f"conv{i}": layer(64, similar=i % 2 * 3 + 1) for i in range(2 * MOST_LAYERS)}

    figure = prune_figure(results(layers))

    names = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert names == [*(f"conv{i}" for i in range(1, 2 * MOST_LAYERS, 2)), "all"]
    texts = texts_of(figure)
    assert any(f"the 58 of {2 * MOST_LAYERS} layers that lost the most" in text for text in texts)
    assert f"{128 * MOST_LAYERS:,} → {123 * MOST_LAYERS:,}" in texts  # of all layers, not of those shown
    assert figure.get_figheight() <= 11.7  # A4


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        pytest.param({"mcnemar": {"lost": 90, "won": 1, "p": 1e-24}}, "p < 0.001 (McNemar)", id="tiny p"),
        pytest.param({"blocks": {"layer3.5": 0.119}}, "layer3.5 (11.9%)", id="blocks"),
        pytest.param(
            {"refused": {"a": "shared weights", "c": "heads", "b": "shared weights"}},
            "all stay in a, b: shared weights; c: heads",
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


def test_a_class_that_does_not_occur_and_a_slower_network_are_drawn():
    found = json.loads(json.dumps(results({"fc": layer(10, similar=2)})))  # as prune.json has it
    for when in ("before", "after"):
        found[when]["confusion"][1] = [0] * 7
    found["after"]["milliseconds"]["1"] = 3.0

    figure = prune_figure(found)

    texts = draw(figure)
    assert {"disgust\nn = 0", "\N{EN DASH}", "150.0 %"} <= set(texts)
    assert figure.axes[2].get_xlim()[1] > 1.5


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


# Which neurons merge


def test_a_star_is_a_stem_that_its_neurons_join_where_they_were_decided():
    removals = (
        Removal(1, "similar", 5, 12.0),
        Removal(2, "complementary", 5, 171.0),
        Removal(4, "similar", 0, 3.0),
        Removal(3, "similar", 5, 2.0),
        Removal(6, "dead"),
    )
    figure = dendrograms(PrunePlan(9, removals), symmetric(9, {(5, 0): 17, (0, 8): 170}))

    (axes,) = figure.axes
    texts = draw(figure)
    assert {"what merges", "fc: 9 neurons, 4 merge into 2\n1 dead"} <= set(texts)
    assert ticks(axes) == ["5", "3", "2", "1", "0", "4"]
    bold = [tick.get_text() for tick in axes.get_xticklabels() if tick.get_fontweight() == "bold"]
    assert bold == ["5", "0"]
    assert joins(axes) == [(1, 0, 2.0), (2, 0, 9.0), (3, 0, 12.0), (5.5, 4.5, 3.0)]
    assert legend(figure) == [
        "survivor",
        "similar",
        "complementary",
        "to the nearest that stays",
        "threshold",
    ]
    nearest = [max(each.get_ydata()) for each in axes.get_lines() if each.get_marker() == "_"]
    assert nearest == [17, 10]  # from 5 to 0; from 0 to 8, 10 degrees off 180
    assert axes.get_ylim()[0] == 0
    assert axes.get_ylim()[1] > 15


def test_similar_and_complementary_differ_without_colour():
    removals = (Removal(1, "similar", 0, 5.0), Removal(2, "complementary", 0, 170.0))
    axes = dendrograms(PrunePlan(4, removals)).axes[0]

    dashes = {str(each._dash_pattern) for each in axes.get_lines() if len(each.get_xdata()) == 3}

    assert len(dashes) == 2


def test_an_angle_that_the_plan_does_not_say_is_the_layers():
    plan = PrunePlan(4, (Removal(1, "similar", 0), Removal(2, "complementary", 0), Removal(3, "span")))

    (axes,) = dendrograms(plan, symmetric(4, {(0, 1): 8, (0, 2): 176})).axes

    assert ticks(axes) == ["0", "2", "1"]  # the span of another criterion has no angle
    assert [height for *_, height in joins(axes)] == [4, 8]


def test_complementary_pairs_that_both_go_are_crossed():
    gone = [(1, 170.0), (2, 170.0), (3, 170.0), (4, 170.0), (5, 175.0), (0, 175.0), (6, 179.0)]
    plan = PrunePlan(9, tuple(Removal(neuron, "complementary", None, angle) for neuron, angle in gone))

    figure = dendrograms(plan)

    (axes,) = figure.axes
    assert ticks(axes) == ["6", "5", "0", "1", "2", "3", "4"]
    assert [join[1] for join in joins(axes)] == [0, 1, 1, 3.5, 3.5, 6, 6]  # the first is a half
    assert sum(each.get_marker() == "x" for each in axes.get_lines()) == 7
    assert "survivor" not in legend(figure)
    assert {"both of a pair go", "fc: 9 neurons\n7 go as complementary pairs"} <= set(texts_of(figure))


def test_neurons_in_the_span_stand_alone():
    plan = PrunePlan(4, (Removal(3, "span", None, 9.0), Removal(0, "span", None, 4.0)))

    figure = dendrograms(plan)

    (axes,) = figure.axes
    assert joins(axes) == [(0, 0, 4.0), (1, 1, 9.0)]
    assert axes.get_ylabel() == "angle to the span"
    assert legend(figure) == ["to the span of the others", "threshold"]
    assert "fc: 4 neurons\n2 in the span of the others" in texts_of(figure)


@pytest.mark.parametrize(
    ("above", "names", "heights"),
    [
        pytest.param(165, ["threshold"], [15], id="equal"),
        pytest.param(172, ["threshold, similar", "threshold, complementary"], [15, 8], id="two"),
    ],
)
def test_thresholds_are_lines(above: float, names: list[str], heights: list[float]) -> None:
    figure = dendrograms(PrunePlan(3, (Removal(1, "similar", 0, 5.0),)), above=above)

    assert legend(figure)[-len(names) :] == names
    spans = [each for each in figure.axes[0].get_lines() if list(each.get_xdata()) == [0, 1]]
    assert [each.get_ydata()[0] for each in spans if each.get_zorder() == 1] == heights


def test_of_many_neurons_the_closest_are_shown():
    removals = tuple(Removal(100 + i, "similar", i, 14 - i / 10) for i in range(100))

    figure = dendrograms(PrunePlan(200, removals))

    (axes,) = figure.axes
    assert len(ticks(axes)) == MOST_NEURONS
    assert ticks(axes)[:4] == ["99", "199", "98", "198"]
    assert "fc: 200 neurons, 100 merge into 100\nthe closest 30 of 100 shown" in texts_of(figure)
    assert axes.get_position().x1 < 1


def test_as_many_as_can_be_read_are_shown_and_fit_the_page():
    plan = PrunePlan(200, tuple(Removal(i, "span", None, 14 - i / 10) for i in range(100)))

    (axes,) = dendrograms(plan).axes

    assert ticks(axes) == [str(i) for i in range(99, 99 - MOST_NEURONS, -1)]
    assert axes.get_position().x1 < 1


def test_layers_where_nothing_merges_are_named_and_not_drawn():
    star = PrunePlan(3, (Removal(1, "similar", 0, 5.0),))

    figure = dendrograms(star, still=PrunePlan(5), conv1=star, dead=PrunePlan(2, (Removal(0, "dead"),)))

    assert len(figure.axes) == 2
    assert "no neuron merges in still, dead" in texts_of(figure)
    assert "no neuron merges in fc" in texts_of(dendrograms(PrunePlan(5)))


def test_panels_and_headings_do_not_overlap():
    wide = PrunePlan(99, tuple(Removal(i, "similar", 50 + i, 5.0) for i in range(12)))
    narrow = PrunePlan(1099, (Removal(1, "similar", 0, 5.0), *(Removal(i, "dead") for i in range(2, 1002))))

    figure = dendrograms(wide, **{f"layer{i}.0.conv1": (narrow, wide)[i % 2] for i in range(6)})

    figure.draw_without_rendering()
    boxes = [axes.get_tightbbox() for axes in figure.axes]
    assert len(boxes) == 7
    assert all(one.x1 <= figure.bbox.x1 and one.y0 >= 0 for one in boxes)
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))


def test_dendrograms_refuse_angles_of_another_layer():
    plan = PrunePlan(3)
    with pytest.raises(ValueError, match=r"fc: angles of shape \(2, 2\) for a plan of 3 neurons"):
        dendrograms(plan, np.zeros((2, 2)))
    with pytest.raises(ValueError, match="fc: angles of shape None"):
        dendrogram_figure({"fc": plan}, {}, similar_below=15, complementary_above=165)
    with pytest.raises(ValueError, match="no layer"):
        dendrogram_figure({}, {}, similar_below=15, complementary_above=165)
