"""The figure of merges: what it shows, in which order, and that edge cases are drawn."""

from collections.abc import Iterator, Mapping
from itertools import combinations

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpy.typing import NDArray

from fer.figures import dendrogram_figure
from fer.figures.merges import MOST_NEURONS
from fer.figures.style import PAGE_WIDTH
from fer.neurons import PrunePlan, Removal

pytestmark = pytest.mark.drawn


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
    assert {"what merges", "fc: 9 neurons, 4 merge into 2\nremoved: 1 dead"} <= set(texts)
    assert ticks(axes) == ["5", "3", "2", "1", "0", "4"]
    bold = [tick.get_text() for tick in axes.get_xticklabels() if tick.get_fontweight() == "bold"]
    assert bold == ["5", "0"]
    assert joins(axes) == [(1, 0, 2.0), (2, 0, 9.0), (3, 0, 12.0), (5.5, 4.5, 3.0)]
    assert legend(figure) == [
        "survivor",
        "similar",
        "complementary",
        "to the nearest kept neuron",
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
    assert {"both of a pair removed", "fc: 9 neurons\n7 removed as complementary pairs"} <= set(
        texts_of(figure)
    )


def test_neurons_in_the_span_stand_alone():
    plan = PrunePlan(4, (Removal(3, "span", None, 9.0), Removal(0, "span", None, 4.0)))

    figure = dendrograms(plan)

    (axes,) = figure.axes
    assert joins(axes) == [(0, 0, 4.0), (1, 1, 9.0)]
    assert axes.get_ylabel() == "angle to the linear span"
    assert legend(figure) == ["linear span", "threshold"]
    assert "fc: 4 neurons\nremoved: 2 linear span" in texts_of(figure)


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


@pytest.mark.slow
def test_of_many_neurons_the_closest_are_shown():
    removals = tuple(Removal(100 + i, "similar", i, 14 - i / 10) for i in range(100))

    figure = dendrograms(PrunePlan(200, removals))

    (axes,) = figure.axes
    assert len(ticks(axes)) == MOST_NEURONS
    assert ticks(axes)[:4] == ["99", "199", "98", "198"]
    assert figure.get_figwidth() <= PAGE_WIDTH
    heading = f"fc: 200 neurons, 100 merge into 100\nthe closest {MOST_NEURONS // 2} of 100 shown"
    assert heading in texts_of(figure)
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


@pytest.mark.slow
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
