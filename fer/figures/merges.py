"""Dendrograms of the neurons that pruning merges."""

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from fer.figures.angles import DEGREE, DEGREES, check_layers
from fer.figures.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    PAGE_WIDTH,
    SMALL,
    TINY,
    VERMILLION,
    new_figure,
    reason_look,
    tidy,
    write_title,
)
from fer.neurons import REMOVAL_REASONS, PrunePlan, Removal

MOST_NEURONS: Final = 44
"""Largest number of neurons of a layer whose numbers are still readable side by side."""

PITCH: Final = 0.1
"""Inches between two neurons."""

NUM_COLUMNS: Final = 4
"""Columns of the legend."""

PANEL: Final = 1.15
"""Height of a dendrogram, inches."""

SIDE: Final = 0.6
"""Space for the axis left of a row of dendrograms, inches."""

BETWEEN: Final = 0.3
"""Space between two dendrograms in a row, inches."""

MERGE_LOOKS: Final[Mapping[str, Mapping[str, Any]]] = {
    "similar": {"color": BLUE, "linestyle": "solid", "linewidth": 1.1},
    "complementary": {"color": VERMILLION, "linestyle": (0, (3, 1)), "linewidth": 1.1},
    "span": {"color": GREEN, "linestyle": (0, (1, 1)), "linewidth": 1.4},
}
"""Lines of the removal reasons that have an angle; another reason's line has its colour."""

PAIRS: Final = ("similar", "complementary")
"""Removal reasons between two neurons."""

NEAREST: Final[Mapping[str, Any]] = {"color": "#B0B0B0", "linewidth": 0.6}
"""Line from a survivor to the nearest other neuron that is kept."""

SURVIVES: Final[Mapping[str, Any]] = {"marker": "o", "color": INK, "markersize": 3.5, "linestyle": "none"}
DROPPED: Final[Mapping[str, Any]] = {"marker": "x", "color": INK, "markersize": 3.5, "linestyle": "none"}


def dendrogram_figure(
    plans: Mapping[str, PrunePlan],
    degrees: Mapping[str, NDArray[np.floating]],
    title: str = "Merged neurons",
    *,
    similar_below: float,
    complementary_above: float,
) -> Figure:
    """Draw the merges of each layer as dendrograms.

    A removed neuron joins the stem of its survivor at the height of their angle to 0 or 180 degrees. A thin
    line continues the stem to the nearest other neuron that is kept. A neuron removed by its angle to the
    linear span has a stem of its own. Both neurons of a complementary pair that is removed are crossed.
    At most :data:`MOST_NEURONS` neurons of a layer are shown, the closest ones, as the panel's title says.

    Args:
        plans: Plan of each layer.
        degrees: Angles between the C neurons of each layer, degrees, shape ``(C, C)``; for the distances of
            the survivors, and for removals without an angle.
        title: Title of the figure.
        similar_below: Similarity threshold, degrees; drawn as a line.
        complementary_above: Complementarity threshold, degrees; drawn as a line.

    Returns:
        The figure with a panel for each layer that has merges; a note names the other layers.

    Raises:
        ValueError: There is no layer, or the angles do not fit a layer's plan.
    """
    check_layers(plans)
    trees = {}
    for layer, plan in plans.items():
        shape = degrees[layer].shape if layer in degrees else None
        if shape != (plan.num_neurons, plan.num_neurons):
            msg = f"{layer}: angles of shape {shape} for a plan of {plan.num_neurons} neurons"
            raise ValueError(msg)
        trees[layer] = _Tree.of(layer, plan, degrees[layer])
    drawn = [tree for tree in trees.values() if tree.stars]
    still = [layer for layer, tree in trees.items() if not tree.stars]
    note = textwrap.wrap(f"no neuron merges in {', '.join(still)}", 105, max_lines=4) if still else []
    rows = _pack(drawn)
    top, title_height, labels = (0.36 if title else 0.1), 0.3, 0.32
    thresholds = _thresholds(similar_below, 180 - complementary_above)
    handles = _merge_handles(drawn, thresholds)
    bottom = 0.14 + 0.12 * len(note) + 0.16 * math.ceil(len(handles) / NUM_COLUMNS)
    row_height = title_height + PANEL + labels
    total = top + len(rows) * row_height + bottom
    figure = new_figure(PAGE_WIDTH, total)
    figure.set_layout_engine("none")
    heights = [leaf.height for tree in drawn for star in tree.stars for leaf in star.leaves]
    highest = max([1e-6, *(each.degrees for each in thresholds), *heights])
    for number, row in enumerate(rows):
        left, y = SIDE, total - top - number * row_height - title_height - PANEL
        for tree in row:
            axes = figure.add_axes((left / PAGE_WIDTH, y / total, tree.inches / PAGE_WIDTH, PANEL / total))
            _draw_tree(axes, tree, thresholds=thresholds, is_first=tree is row[0])
            axes.set_ylim(0, 1.3 * highest)
            left += tree.room + BETWEEN
    figure.text(SIDE / PAGE_WIDTH, 0.06 / total, "\n".join(note), fontsize=TINY, color=GREY, va="bottom")
    if drawn:
        figure.legend(
            handles=handles,
            loc="lower center",
            bbox_to_anchor=(0.5, (0.08 + 0.12 * len(note)) / total),
            ncols=NUM_COLUMNS,
            borderpad=0,
            fontsize=SMALL,
            frameon=False,
            handlelength=2.2,
            columnspacing=1.4,
        )
    write_title(figure, title, y=1 - 0.08 / total, va="top")
    return figure


class _Threshold(NamedTuple):
    """A threshold, drawn as a horizontal line."""

    label: str
    degrees: float
    look: Mapping[str, Any]


class _Leaf(NamedTuple):
    """A removed neuron and its angle to 0 or 180 degrees."""

    neuron: int
    reason: str
    height: float


class _Star(NamedTuple):
    """Neurons that merge into one, or that are removed together.

    Attributes:
        survivor: The neuron that they merge into; None if there is none.
        leaves: The removed neurons, closest first.
        nearest: Angle to 0 or 180 degrees from the survivor to the nearest other neuron that is kept; NaN if
            there is none.
    """

    survivor: int | None
    leaves: Sequence[_Leaf]
    nearest: float = math.nan

    @property
    def neurons(self) -> list[int]:
        """The neurons from left to right."""
        return [*([] if self.survivor is None else [self.survivor]), *(leaf.neuron for leaf in self.leaves)]

    @property
    def gap(self) -> float:
        """Space on the right, in neurons; none beside a single neuron."""
        return 0.5 if len(self.neurons) > 1 else 0.0


class _Tree(NamedTuple):
    """The merges of a layer."""

    heading: str
    stars: Sequence[_Star]

    @classmethod
    def of(cls, layer: str, plan: PrunePlan, degrees: NDArray[np.floating]) -> "_Tree":
        """Return the closest of a plan's merges."""
        leaves = [(removal.into, leaf) for removal in plan.removals if (leaf := _leaf(removal, degrees))]
        leaves.sort(key=lambda each: each[1].height)
        shown: list[tuple[int | None, _Leaf]] = []
        neurons: set[int] = set()
        for into, leaf in leaves:
            more = neurons | {leaf.neuron} | ({into} if into is not None else set())
            if len(more) > MOST_NEURONS:
                break
            neurons = more
            shown.append((into, leaf))
        counts = plan.counts
        merged = sum(into is not None for into, _ in leaves)
        survivors = {into for into, _ in leaves if into is not None}
        dropped = sum(into is None and leaf.reason == "complementary" for into, leaf in leaves)
        notes = [f"{dropped:,} removed as complementary pairs"] if dropped else []
        others = [
            f"{counts[reason]:,} {label}"
            for reason, label in REMOVAL_REASONS.items()
            if reason not in PAIRS and counts[reason]
        ]
        if others:
            notes.append(f"removed: {', '.join(others)}")
        if len(shown) < len(leaves):
            notes.append(f"the closest {len(shown):,} of {len(leaves):,} shown")
        first = f"{layer}: {plan.num_neurons:,} neurons"
        if merged:
            first += f", {merged:,} merge into {len(survivors):,}"
        return cls("\n".join([first, ", ".join(notes)]), _stars(shown, plan, degrees))

    @property
    def units(self) -> float:
        """Neurons and gaps side by side, in neurons."""
        return sum(len(star.neurons) + star.gap for star in self.stars)

    @property
    def inches(self) -> float:
        """Width of its panel."""
        return max(PITCH * (self.units + 0.5), 0.4)

    @property
    def room(self) -> float:
        """Width of its panel, or of its heading where that is wider, in inches."""
        longest = max(map(len, self.heading.splitlines()))
        return max(self.inches, 0.55 * SMALL / 72 * longest)


def _leaf(removal: Removal, degrees: NDArray[np.floating]) -> _Leaf | None:
    """Return a removal as a leaf, or None if it has no angle."""
    angle = removal.degrees
    if angle is None and removal.into is not None:
        angle = float(degrees[removal.neuron, removal.into])
    if angle is None or math.isnan(angle):
        return None
    return _Leaf(removal.neuron, removal.reason, 180 - angle if removal.reason == "complementary" else angle)


def _stars(
    leaves: Iterable[tuple[int | None, _Leaf]], plan: PrunePlan, degrees: NDArray[np.floating]
) -> list[_Star]:
    """Return sorted leaves as stars, the star with the closest leaf first."""
    by_survivor: dict[int, list[_Leaf]] = {}
    alone: list[_Star] = []
    for into, leaf in leaves:
        if into is not None:
            by_survivor.setdefault(into, []).append(leaf)
        elif leaf.reason == "complementary" and alone and _lacks_half(alone[-1], leaf):
            alone[-1] = _Star(None, (*alone[-1].leaves, leaf))
        else:
            alone.append(_Star(None, (leaf,)))
    kept = np.array(plan.kept)
    stars = []
    for survivor, members in by_survivor.items():
        others = degrees[survivor, kept[kept != survivor]]
        distances = np.minimum(others, 180 - others)
        stars.append(_Star(survivor, members, float(np.fmin.reduce(distances, initial=np.nan))))
    return sorted([*stars, *alone], key=lambda star: star.leaves[0].height)


def _lacks_half(star: _Star, leaf: _Leaf) -> bool:
    """Return whether a leaf is the other half of a complementary pair: halves follow each other."""
    return len(star.leaves) == 1 and star.leaves[0][1:] == leaf[1:]


def _pack(trees: Iterable[_Tree]) -> list[list[_Tree]]:
    """Return the trees in rows, as many in each as fit."""
    rows: list[list[_Tree]] = []
    left = math.inf
    for tree in trees:
        if left + tree.room > PAGE_WIDTH - 0.3:
            rows.append([])
            left = SIDE
        rows[-1].append(tree)
        left += tree.room + BETWEEN
    return rows


def _draw_tree(axes: Axes, tree: _Tree, *, thresholds: Sequence[_Threshold], is_first: bool) -> None:
    """Draw the stars of a layer side by side.

    Args:
        axes: The layer's axes.
        tree: The layer's tree, with one star or more.
        thresholds: Lines through the panel.
        is_first: Whether the panel is the first of its row, which shows the axis.
    """
    x, places, names = 0.0, [], []
    for star in tree.stars:
        xs = [x + index for index in range(len(star.neurons))]
        stem = xs[0]
        if star.survivor is not None:
            nearest = [0, star.nearest]
            axes.plot([stem, stem], nearest, marker="_", markersize=5, markevery=[1], zorder=1, **NEAREST)
            axes.plot([stem, stem], [0, star.leaves[-1].height], color=INK, linewidth=1.1)
            axes.plot(stem, 0, clip_on=False, zorder=4, **SURVIVES)
        for place, leaf in zip(xs[-len(star.leaves) :], star.leaves, strict=True):
            axes.plot([place, place, stem], [0, leaf.height, leaf.height], **_merge_look(leaf.reason))
            if star.survivor is None and leaf.reason == "complementary":
                axes.plot(place, 0, clip_on=False, zorder=4, **DROPPED)
        places += xs
        names += star.neurons
        x = xs[-1] + 1 + star.gap
    for _, line, look in thresholds:
        axes.axhline(line, zorder=1, **look)
    axes.set_xlim(-0.75, x - 0.75)
    axes.set_xticks(places, [str(name) for name in names], rotation=90)
    axes.set_title(tree.heading, fontsize=SMALL, color=INK, pad=3, loc="left", linespacing=1.1)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(DEGREES)
    tidy(axes)
    axes.tick_params(axis="x", labelsize=TINY, length=0, pad=4)
    axes.tick_params(axis="y", labelsize=TINY, labelleft=is_first)
    survivors = {star.survivor for star in tree.stars}
    for name, label in zip(names, axes.get_xticklabels(), strict=True):
        if name in survivors:
            label.set_fontweight("bold")
    if is_first:
        is_span = all(leaf.reason == "span" for star in tree.stars for leaf in star.leaves)
        axes.set_ylabel("angle to the linear span" if is_span else f"angle to 0{DEGREE} or 180{DEGREE}")
        axes.yaxis.label.set_fontsize(SMALL)


def _merge_handles(trees: Iterable[_Tree], thresholds: Iterable[_Threshold]) -> list[Line2D]:
    """Return the legend of what is drawn."""
    stars = [star for tree in trees for star in tree.stars]
    reasons = {leaf.reason for star in stars for leaf in star.leaves}
    handles = [
        Line2D([], [], label=label, **_merge_look(reason))
        for reason, label in REMOVAL_REASONS.items()
        if reason in reasons
    ]
    if any(star.survivor is not None for star in stars):
        handles.insert(0, Line2D([], [], label="survivor", **SURVIVES))
        handles.append(Line2D([], [], label="to the nearest kept neuron", **NEAREST))
    if any(star.survivor is None and star.leaves[0].reason == "complementary" for star in stars):
        handles.append(Line2D([], [], label="both of a pair removed", **DROPPED))
    return handles + [Line2D([], [], label=label, **look) for label, _, look in thresholds]


def _merge_look(reason: str) -> Mapping[str, Any]:
    """Return the line of a removal reason."""
    return MERGE_LOOKS.get(reason, {"color": reason_look(reason).colour, "linewidth": 1.1})


def _thresholds(similar: float, complementary: float) -> list[_Threshold]:
    """Return the lines of the thresholds, degrees from 0 and from 180; one line if they are equal."""
    if similar == complementary:
        return [_Threshold("threshold", similar, {"color": INK, "linewidth": 0.7, "linestyle": (0, (6, 3))})]
    return [
        _Threshold(f"threshold, {reason}", line, {**MERGE_LOOKS[reason], "linewidth": 0.6})
        for reason, line in (("similar", similar), ("complementary", complementary))
    ]
