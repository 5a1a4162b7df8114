"""The figures of hidden neurons: what they say, how they order and count, and that edge cases are drawn."""

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from numpy.typing import NDArray

from fer.figures import (
    fan_figure,
    feature_maps_figure,
    histogram_figure,
    matrix_figure,
    pairs_figure,
    speed_figure,
)
from fer.figures.angles import MAX_SHOWN, cluster_order, nearest_pairs
from fer.figures.bands import STAGE_LOOKS
from fer.neurons import Stage
from fer.neurons.stages import StageLabel

pytestmark = pytest.mark.drawn

NAN = float("nan")
INITIAL = StageLabel(Stage.INITIAL, "warm_up")
MOVING = StageLabel(Stage.INTERMEDIATE, "moving")
SETTLED = StageLabel(Stage.SOLUTION, "settled")
OVERFIT = StageLabel(Stage.PLATEAU, "overfit")
FROZEN = StageLabel(Stage.PLATEAU, "lr_frozen")


@pytest.fixture(autouse=True)
def _leaves_matplotlib_alone() -> Iterator[None]:
    from matplotlib import pyplot

    settings = dict(matplotlib.rcParams)
    yield
    assert pyplot.get_fignums() == []
    assert dict(matplotlib.rcParams) == settings


def draw(figure: Figure) -> list[str]:
    """Draw a figure to a PNG in memory and return every text that is seen on it."""
    figure.savefig(io.BytesIO(), format="png", dpi=50)
    return [text.get_text() for text in figure.findobj(Text) if text.get_visible() and text.get_text()]


def fan(num_epochs: int, every: int = 1) -> dict[str, list[float]]:
    epochs = list(range(1, num_epochs + 1, every))
    levels = {"min": 2, "q05": 60, "q25": 80, "median": 88, "q75": 97, "q95": 120, "max": 178}
    return {"epoch": epochs, **{name: [level + 0.1 * e for e in epochs] for name, level in levels.items()}}


def losses(num_epochs: int) -> dict[str, list[float]]:
    epochs = list(range(1, num_epochs + 1))
    return {"epoch": epochs, "train/loss": [2 / e for e in epochs], "val/loss": [2.0] * num_epochs}


def labels(*spans: tuple[StageLabel, int]) -> list[StageLabel]:
    return [label for label, num in spans for _ in range(num)]


def line(axes: Axes, label: str) -> tuple[list[float], list[float]]:
    (found,) = (line for line in axes.get_lines() if line.get_label() == label)
    return list(found.get_xdata()), list(found.get_ydata())


def ribbons(axes: Axes) -> list[Rectangle]:
    """The strips above a panel that name the stages."""
    return [each for each in axes.patches if isinstance(each, Rectangle) and each.get_y() == 1]


def symmetric(size: int, pairs: Mapping[tuple[int, int], float], rest: float = 90.0) -> NDArray[np.float64]:
    """Angles of neurons that are all at one angle, but for the given pairs."""
    degrees = np.full((size, size), rest)
    np.fill_diagonal(degrees, 0)
    for (i, j), angle in pairs.items():
        degrees[i, j] = degrees[j, i] = angle
    return degrees


def of_vectors(vectors: NDArray[np.float64], silent: Sequence[int] = ()) -> NDArray[np.float64]:
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    degrees = np.degrees(np.arccos(np.clip(units @ units.T, -1, 1)))
    np.fill_diagonal(degrees, 0)
    degrees[list(silent)] = NAN
    degrees[:, list(silent)] = NAN
    return degrees


# Angles over the epochs, with stages


@pytest.mark.slow
def test_a_fan_has_a_panel_a_layer_and_one_of_the_losses():
    stages = {
        "conv1": labels((INITIAL, 20), (MOVING, 40), (FROZEN, 40)),
        "network": labels((INITIAL, 20), (MOVING, 30), (SETTLED, 20), (OVERFIT, 30)),
    }

    figure = fan_figure({"conv1": fan(100), "layer3.0.conv1": fan(100, 5)}, losses(100), stages, "conv6")

    texts = draw(figure)
    assert len(figure.axes) == 3
    assert {"conv6", "conv1", "layer3.0.conv1", "network", "epochs trained", "loss", "train", "val"} <= set(
        texts
    )
    assert {"plateau: lr frozen", "plateau: overfit", "15°", "165°", "median"} <= set(texts)
    assert [(axes.get_ylabel(), axes.get_ylim()) for axes in figure.axes[:2]] == [("angle", (0, 180))] * 2
    ticks = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert ticks == ["0°", "45°", "90°", "135°", "180°"]
    assert [len(ribbons(axes)) for axes in figure.axes] == [3, 0, 4]
    assert {axes.get_xlim() for axes in figure.axes} == {(0, 100)}


def test_a_stage_begins_at_the_measurement_before_its_first_label():
    columns = {"epoch": [0.5, 1.0, 1.5, 3.0], "train/loss": [1.0] * 4}
    stages = {"network": labels((INITIAL, 1), (MOVING, 2), (OVERFIT, 1))}

    figure = fan_figure({"fc": fan(2)}, columns, stages)

    bands = [(each.get_x(), each.get_x() + each.get_width()) for each in ribbons(figure.axes[-1])]
    assert bands == [(0, 0.5), (0.5, 1.5), (1.5, 3.0)]
    assert figure.axes[-1].get_xlim() == (0, 3)


def borders(axes: Axes) -> dict[str, list[float]]:
    """Return where the boundaries of stages are drawn, solid and dashed."""
    found: dict[str, list[float]] = {"solid": [], "dashed": []}
    for lines in axes.findobj(LineCollection):
        ((_, dashes),) = lines.get_linestyle()
        found["dashed" if dashes else "solid"] += [path.vertices[0, 0] for path in lines.get_paths()]
    return found


@pytest.mark.parametrize("figure", [fan_figure, speed_figure])
@pytest.mark.slow
def test_boundaries_that_nothing_confirms_are_dashed_and_named_weak(figure: Any) -> None:
    columns = fan(100) | {"speed": [1.0] * 100}
    of_network = labels((INITIAL, 20), (MOVING, 40), (OVERFIT, 40))
    confirmed = {"network": {20: ("speed", "rank"), 60: ()}}

    drawn = figure({"fc": columns}, losses(100), {"network": of_network}, confirmed=confirmed)

    texts = set(draw(drawn))
    assert {"confirmed boundary", "weak boundary"} <= texts
    assert any(text.startswith("A boundary is confirmed if") for text in texts)
    assert borders(drawn.axes[-1]) == {"solid": [20], "dashed": [60]}

    unknown = figure({"fc": columns}, losses(100), {"network": of_network})

    assert not any("boundary" in text for text in draw(unknown))
    assert borders(unknown.axes[-1]) == {"solid": [20, 60], "dashed": []}


@pytest.mark.slow
def test_the_effective_rank_is_a_number_of_neurons_below_the_fan():
    ranks = [10.0, NAN, 20.0, 37.6]
    layers = {"conv1": fan(4) | {"effective": ranks}, "conv2": fan(4), "fc": fan(4) | {"effective": ranks}}

    figure = fan_figure(layers, losses(4), {}, widths={"conv1": 256, "conv2": 256})

    texts = draw(figure)
    strips = [axes for axes in figure.axes if axes.get_ylabel() == "rank"]
    assert len(strips) == 1  # neither without ranks nor without a width
    assert texts.count("38 of 256") == texts.count("effective rank") == 1
    assert line(strips[0], "effective rank") == ([1, 3, 4], [10, 20, 37.6])
    assert [tick.get_text() for tick in strips[0].get_yticklabels()] == ["0", "40"]
    assert strips[0].get_ylim() == (0, pytest.approx(1.08 * 40))  # up to 256, many a rank would look flat


@pytest.mark.parametrize(
    ("rank", "width", "end"),
    [
        pytest.param(113.2, 256, 150, id="round"),
        pytest.param(3.2, 256, 4, id="small"),
        pytest.param(15.9, 16, 16, id="no more than there are neurons"),
    ],
)
def test_the_axis_of_the_rank_ends_at_a_sensible_number(rank: float, width: int, end: int) -> None:
    layers = {"fc": fan(4) | {"effective": [rank / 2] * 3 + [rank]}}
    figure = fan_figure(layers, losses(4), {}, widths={"fc": width})
    (strip,) = [axes for axes in figure.axes if axes.get_ylabel() == "rank"]
    assert [label.get_text() for label in strip.get_yticklabels()] == ["0", f"{end}"]
    assert strip.get_ylim()[1] >= rank


@pytest.mark.parametrize(("last", "shown"), [(2, ["0.0", "0.5", "1.0"]), (40, ["0", "5", "10"])])
def test_ticks_stand_within_an_epoch_in_short_trainings_only(last: int, shown: list[str]) -> None:
    columns = {"epoch": [last / 2, last], "train/loss": [1.0, 0.5]}

    figure = fan_figure({"fc": fan(2)}, columns, {})

    figure.draw_without_rendering()
    ticks = [tick.get_text() for tick in figure.axes[-1].get_xticklabels()]
    assert ticks[:3] == shown


def test_epochs_without_angles_are_skipped():
    columns = fan(6)
    columns["q95"][2] = NAN
    columns["median"][5] = NAN

    figure = fan_figure({"fc": columns}, losses(6), {})

    epochs, medians = line(figure.axes[0], "median")
    assert epochs == [1, 2, 4, 5]
    assert medians == pytest.approx([88.1, 88.2, 88.4, 88.5])


def test_names_of_stages_stay_on_their_own_bands():
    spans = [(label, num) for num in (2, 5, 9, 14, 25) for label in (MOVING, SETTLED, OVERFIT, FROZEN)]
    stages = {"conv1": labels(*spans), "network": labels(*spans[::-1])}

    figure = fan_figure({"conv1": fan(220)}, losses(220), stages)

    figure.draw_without_rendering()
    for axes in figure.axes:
        words = [text.get_window_extent() for text in axes.texts]
        num_named = 0
        for ribbon in ribbons(axes):
            strip = ribbon.get_window_extent()
            own = [box for box in words if strip.contains((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2)]
            assert all(strip.x0 <= box.x0 < box.x1 <= strip.x1 for box in own)
            assert all(strip.y0 <= box.y0 < box.y1 <= strip.y1 for box in own)
            assert len(own) <= 1
            assert not (own and ribbon.get_hatch())  # a hatch is for what has no name
            num_named += len(own)
        assert 6 <= num_named < len(spans)


@pytest.mark.parametrize("figure", [fan_figure, speed_figure])
def test_stages_differ_without_colour(figure: Any) -> None:
    """The legend has the stages that are drawn and no other, hatched where one is too short for its name."""
    stages = {"network": labels((INITIAL, 1), (MOVING, 60), (OVERFIT, 39))}

    drawn = figure({"fc": fan(100) | {"speed": [1.0] * 100}}, losses(100), stages)

    legend = drawn.legends[0] if drawn.legends else drawn.axes[0].get_legend()
    hatches = {patch.get_label(): patch.get_hatch() for patch in legend.get_patches()}
    assert len({hatch for _, hatch in STAGE_LOOKS.values()}) == len(Stage)
    assert {name: hatch for name, hatch in hatches.items() if name in {*Stage}} == {
        "initial": STAGE_LOOKS[Stage.INITIAL][1],
        "intermediate": None,
        "plateau": None,
    }


def test_a_plateau_without_room_for_its_reason_is_still_named():
    texts = draw(fan_figure({"fc": fan(100)}, losses(100), {"network": labels((MOVING, 90), (OVERFIT, 10))}))

    assert "plateau: overfit" not in texts
    assert texts.count("plateau") == 2  # on its band and in the legend


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layers", "columns", "stages", "said"),
    [
        pytest.param({"fc": fan(1)}, losses(1), {"network": [FROZEN]}, "plateau: lr frozen", id="one epoch"),
        pytest.param(
            {"fc": {name: [NAN] * 3 if name != "epoch" else [0, 1, 2] for name in fan(1)}},
            {"epoch": [0, 1, 2], "val/loss": [NAN] * 3},
            {},
            "no angle was measured",
            id="all NaN",
        ),
        pytest.param({"fc": fan(3)}, {"epoch": [0, 1, 2]}, {}, "no loss was measured", id="no loss"),
        pytest.param({f"conv{i}": fan(40) for i in range(12)}, losses(40), {}, "conv11", id="12 layers"),
    ],
)
def test_edge_cases_of_a_fan_are_drawn(
    layers: dict[str, Any], columns: dict[str, Any], stages: dict[str, Any], said: str
) -> None:
    figure = fan_figure(layers, columns, stages)

    assert said in draw(figure)
    assert len(figure.axes) == len(layers) + 1


@pytest.mark.parametrize("figure", [fan_figure, speed_figure])
def test_stages_must_be_as_many_as_epochs(figure: Any) -> None:
    columns = fan(3) | {"speed": [1.0] * 3}
    with pytest.raises(ValueError, match="network has 2 stages for 3 measurements"):
        figure({"fc": columns}, losses(3), {"network": [MOVING] * 2})
    with pytest.raises(ValueError, match="no layer"):
        figure({}, losses(3), {})
    with pytest.raises(ValueError, match="no epoch"):
        figure({"fc": columns}, losses(0), {})


# Angular speed


def test_speeds_are_logarithmic_and_named_above_the_losses():
    speeds = {name: {"epoch": [0, 1, 2], "speed": [NAN, 4.0, 0.1]} for name in ("conv1", "fc")}

    figure = speed_figure(speeds, losses(3), {"network": labels((INITIAL, 2), (OVERFIT, 1))}, "conv6")

    assert {"conv6", "conv1", "fc", "initial", "plateau: overfit", "train"} <= set(draw(figure))
    above, below = figure.axes
    assert (above.get_yscale(), below.get_yscale()) == ("log", "linear")
    assert line(above, "fc") == ([1, 2], [4.0, 0.1])
    assert above.get_xlim() == below.get_xlim() == (0, 3)
    ticks = [tick.get_text() for tick in above.get_yticklabels(which="both") if tick.get_text()]
    assert "1" in ticks
    assert not any("10^" in text for text in ticks)


def test_twelve_layers_differ_without_colour_from_their_neighbours():
    speeds = {f"conv{i}": {"epoch": [0, 1], "speed": [1.0 + i, 2.0]} for i in range(12)}

    lines = [
        each for each in speed_figure(speeds, losses(2), {}).axes[0].get_lines() if each.get_label() in speeds
    ]

    assert len(lines) == 12
    assert all(a._dash_pattern != b._dash_pattern for a, b in pairwise(lines))


@pytest.mark.slow
def test_of_many_layers_the_median_stands_out():
    speeds = {f"conv{i}": {"epoch": [0, 1, 2], "speed": [NAN, 1.0 + i, 10.0 * i]} for i in range(13)}
    speeds["conv12"] = {"epoch": [1], "speed": [100.0]}

    figure = speed_figure(speeds, losses(3), {})

    texts = draw(figure)
    assert "each of 13 layers" in texts
    assert "conv3" not in texts
    assert line(figure.axes[0], "their median") == ([1, 2], [7.0, 55.0])


def test_a_speed_of_zero_is_a_triangle_at_the_bottom():
    figure = speed_figure({"fc": {"epoch": [0, 1, 2], "speed": [1.0, 0.0, 2.0]}}, losses(3), {})

    draw(figure)

    (zeros,) = (each for each in figure.axes[0].get_lines() if each.get_marker() == "v")
    assert list(zeros.get_xdata()) == [1]
    assert line(figure.axes[0], "fc") == ([0, 2], [1.0, 2.0])


@pytest.mark.parametrize("speed", [NAN, 0.0])
def test_no_speed_is_said(speed: float) -> None:
    texts = draw(speed_figure({"fc": {"epoch": [0], "speed": [speed]}}, losses(1), {"network": [INITIAL]}))

    assert "no angular speed above zero was measured" in texts


# Heat map


def test_twins_and_opposites_are_put_side_by_side():
    """Three directions, whose neurons come in turn: copies with a little noise, of both signs."""
    rng = np.random.default_rng(0)
    directions = np.tile(np.arange(3), 6)
    signs = np.repeat([1, 1, -1], 6)
    vectors = signs[:, None] * rng.normal(size=(3, 200))[directions] + 0.1 * rng.normal(size=(18, 200))

    order = cluster_order(of_vectors(vectors))

    assert sorted(order) == list(range(18))
    ordered = [(int(directions[i]), int(signs[i])) for i in order]
    # Each direction, and in it each sign, is one block.
    assert [(ordered[i][0], ordered[i + 5][0]) for i in (0, 6, 12)] == [(d, d) for d, _ in ordered[::6]]
    assert len({d for d, _ in ordered[::6]}) == 3
    assert sum(a != b for a, b in pairwise(ordered)) == 5


@pytest.mark.parametrize("angle", [0.5, 179.5], ids=["twins", "opposites"])
def test_one_pair_among_many_is_put_side_by_side(angle: float) -> None:
    order = list(cluster_order(symmetric(40, {(3, 31): angle})))

    assert abs(order.index(3) - order.index(31)) == 1


def test_a_heat_map_shows_the_angles_in_the_order_of_the_clusters():
    degrees = of_vectors(np.random.default_rng(1).normal(size=(9, 30)))

    figure = matrix_figure({"fc": degrees})

    (image,) = figure.axes[0].get_images()
    order = cluster_order(degrees)
    np.testing.assert_allclose(image.get_array(), degrees[np.ix_(order, order)], atol=1e-4)
    assert image.get_clim() == (0, 180)


def test_neurons_without_an_angle_are_left_out_and_counted():
    degrees = of_vectors(np.random.default_rng(1).normal(size=(10, 30)), silent=[2, 7, 8])

    figure = matrix_figure({"conv5": degrees, "fc": degrees[:2, :2]}, "epoch 3")

    texts = draw(figure)
    assert {"epoch 3", "conv5: 10 neurons\n3 dead or constant", "fc: 2 neurons"} <= set(texts)
    assert {"0°", "15°", "90°", "165°", "180°"} <= set(texts)
    shown = figure.axes[0].get_images()[0].get_array()
    assert shown.shape == (7, 7)
    assert not np.isnan(shown).any()
    assert len(figure.axes) == 3  # and the scale


@pytest.mark.parametrize(
    "degrees",
    [
        pytest.param(np.zeros((1, 1)), id="one neuron"),
        pytest.param(np.full((4, 4), NAN), id="all dead"),
        pytest.param(of_vectors(np.eye(3), silent=[0, 1]), id="all but one dead"),
    ],
)
def test_layers_with_fewer_than_two_angles_are_drawn(degrees: NDArray[np.float64]) -> None:
    assert "fewer than two neurons\nhave an angle" in draw(matrix_figure({"fc": degrees}))
    assert "no pair has an angle" in draw(histogram_figure({"fc": degrees}))
    assert "no pair has an angle" in draw(pairs_figure({"fc": degrees}))


def test_a_wide_layer_is_thinned_out_and_says_so():
    size = MAX_SHOWN + 300
    degrees = symmetric(size, {})
    degrees[:3] = degrees[:, :3] = NAN

    figure = matrix_figure({"fc6": degrees})

    assert f"fc6: {size:,} neurons\n3 dead or constant, 1 in 2 shown" in draw(figure)
    assert len(figure.axes[0].get_images()[0].get_array()) == math.ceil((size - 3) / 2)


@pytest.mark.parametrize("figure", [matrix_figure, histogram_figure, pairs_figure])
def test_angles_must_be_a_square_matrix_of_a_layer(figure: Any) -> None:
    with pytest.raises(ValueError, match=r"fc: angles of shape \(2, 3\)"):
        figure({"fc": np.zeros((2, 3))})
    with pytest.raises(ValueError, match="no layer"):
        figure({})


# Histogram


def test_a_histogram_says_the_share_beyond_each_line():
    """Of 10 pairs of five neurons 2 are below 15 degrees, 1 above 165; 15 and 165 themselves are not."""
    pairs = {(0, 1): 3.0, (1, 2): 14.9, (2, 3): 15.0, (0, 4): 165.0, (3, 4): 179.0}

    figure = histogram_figure({"conv5": symmetric(5, pairs)}, "epoch 3")

    texts = draw(figure)
    assert {"epoch 3", "conv5: 10 pairs", "share of pairs in each 3°"} <= set(texts)
    assert {"below 15°\n20.00 %\n2 pairs", "above 165°\n10.00 %\n1 pair"} <= set(texts)


def test_a_histogram_counts_each_pair_once():
    degrees = symmetric(4, {(0, 1): 0.0, (2, 3): 180.0})
    degrees[3, :2] = degrees[:2, 3] = NAN

    figure = histogram_figure({"fc": degrees})

    (stairs,) = (each for each in figure.axes[0].patches if hasattr(each, "get_data"))
    values, edges, _ = stairs.get_data()
    assert len(values) == 60
    assert {int(edge): value for value, edge in zip(values, edges, strict=False) if value} == {
        0: 25.0,
        90: 50.0,
        177: 25.0,
    }


def test_a_histogram_takes_other_lines():
    degrees = symmetric(3, {(0, 1): 25.0})

    texts = draw(histogram_figure({"fc": degrees}, similar_below=30, complementary_above=150.5))

    assert {"below 30°\n33.33 %\n1 pair", "above 150.5°\n0.00 %\n0 pairs"} <= set(texts)


# Nearest pairs


@pytest.mark.parametrize("edge", [0.0, 180.0])
def test_nearest_pairs_are_those_that_a_search_through_all_finds(edge: float) -> None:
    degrees = of_vectors(np.random.default_rng(2).normal(size=(30, 8)), silent=[0, 11])
    every = [(i, j, degrees[i, j]) for j in range(30) for i in range(j) if not np.isnan(degrees[i, j])]

    assert nearest_pairs(degrees, edge, 7) == sorted(every, key=lambda pair: abs(pair[2] - edge))[:7]


def test_of_equally_near_pairs_the_first_neurons_come_first():
    assert nearest_pairs(symmetric(6, {}), 0, 3) == [(0, 1, 90.0), (0, 2, 90.0), (0, 3, 90.0)]


@pytest.mark.parametrize(("size", "num"), [(1, 0), (2, 1), (3, 3)])
def test_few_neurons_have_few_pairs(size: int, num: int) -> None:
    assert len(nearest_pairs(symmetric(size, {}), 180, 5)) == num


def test_the_table_of_pairs_has_those_beyond_the_lines_in_bold():
    degrees = symmetric(40, {(3, 31): 4.25, (5, 6): 15.0, (7, 39): 165.01})

    figure = pairs_figure({"conv5": degrees, "fc": symmetric(2, {})}, "epoch 3", count=2)

    texts = draw(figure)
    assert {"epoch 3", "conv5: 40 neurons", "fc: 2 neurons", "nearest 0°", "nearest 180°"} <= set(texts)
    bold = {each.get_text() for each in figure.findobj(Text) if each.get_fontweight() == "bold"}
    assert bold == {"epoch 3", "conv5: 40 neurons", "fc: 2 neurons", "3", "31", "4.25°", "7", "39", "165.01°"}
    assert texts.count("15.00°") == 1
    assert "bold: below 15° or above 165°" in texts
    assert texts.count("90.00°") == 3  # the second nearest 180 degrees, and fc's only pair twice


@pytest.mark.parametrize(
    ("angle", "said"), [(90.0, "no pair is below 15° or above 165°"), (9, "bold: below 15°")]
)
def test_a_note_on_bold_pairs_says_only_what_is_there(angle: float, said: str) -> None:
    assert said in draw(pairs_figure({"fc": symmetric(3, {(0, 1): angle})}))


# Feature maps


def test_each_layer_has_a_row_of_the_image_and_its_maps():
    image = np.arange(64, dtype=np.uint8).reshape(8, 8)
    ramp = np.linspace(-3, 5, 12).reshape(3, 4)
    maps = {"conv1": np.stack([ramp, 1000 * ramp, -ramp]), "layer3.0.conv1": np.tile(ramp, (40, 1, 1))}

    figure = feature_maps_figure(image, maps, "epoch 3", max_maps=4)

    texts = draw(figure)
    each = "each a map of 3\N{MULTIPLICATION SIGN}4"
    assert {
        "epoch 3",
        "conv1",
        f"3 neurons, {each}: all are shown",
        "layer3.0.conv1",
        f"40 neurons, {each}: 4 are shown, evenly spaced from the first to the last",
    } <= set(texts)
    assert [text for text in texts if text.isdigit()] == ["0", "1", "2", "0", "13", "26", "39"]
    images = [np.asarray(each.get_array()) for each in figure.axes[0].get_images()]
    assert len(images) == 4 + 5
    np.testing.assert_array_equal(images[0], image)
    np.testing.assert_array_equal(images[4], image)
    scaled = np.round(np.linspace(0, 255, 12)).reshape(3, 4)
    np.testing.assert_array_equal(images[1], scaled)
    np.testing.assert_array_equal(images[2], images[1])  # each to its own range
    assert (images[3][0, 0], images[3][-1, -1]) == (255, 0)


def test_a_map_keeps_its_shape():
    figure = feature_maps_figure(
        np.zeros((6, 8, 3), np.uint8), {"c": np.random.default_rng(0).random((1, 3, 9))}
    )

    extents = [each.get_extent() for each in figure.axes[0].get_images()]
    shapes = [(bottom - top) / (right - left) for left, right, bottom, top in extents]
    assert shapes == pytest.approx([6 / 8, 3 / 9])


def test_maps_without_a_range_are_crossed_out():
    maps = np.stack([np.zeros((4, 4)), np.full((4, 4), NAN), np.eye(4)])
    maps[2, 0, 1] = np.inf

    figure = feature_maps_figure(np.zeros((4, 4), np.uint8), {"c": maps})

    draw(figure)
    assert len(figure.axes[0].get_images()) == 2
    assert len(figure.axes[0].get_lines()) == 4
    np.testing.assert_array_equal(figure.axes[0].get_images()[1].get_array(), 255 * np.eye(4))


def test_maps_of_one_position_share_their_layers_range():
    figure = feature_maps_figure(
        np.zeros((4, 4, 1), np.uint8), {"c": np.array([0.0, 5.0, 10.0])[:, None, None]}
    )

    shades = [int(np.squeeze(each.get_array())) for each in figure.axes[0].get_images()[1:]]
    assert shades == [0, 128, 255]


def test_feature_maps_refuse_other_shapes():
    image = np.zeros((4, 4), np.uint8)
    with pytest.raises(ValueError, match=r"fc: feature maps of shape \(5,\)"):
        feature_maps_figure(image, {"fc": np.zeros(5)})
    with pytest.raises(ValueError, match="expected one image or more, uint8"):
        feature_maps_figure(image.astype(float), {"c": np.zeros((1, 2, 2))})
    with pytest.raises(ValueError, match="no layer"):
        feature_maps_figure(image, {})
