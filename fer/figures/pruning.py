"""What pruning did and why: before and after, and which neurons merged."""

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import EngFormatter, MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from fer.figures.angles import DEGREE, DEGREES, check_layers
from fer.figures.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    LARGE,
    NORMAL,
    ORANGE,
    PALE,
    PURPLE,
    SKY,
    SMALL,
    TINY,
    VERMILLION,
    new_figure,
    percent,
    tidy,
    write_title,
)
from fer.metrics import report
from fer.neurons import PrunePlan, Removal

FATES: Final = {
    "left": (BLUE, ""),
    "similar": (SKY, "////"),
    "complementary": (ORANGE, "\\\\\\\\"),
    "span": (GREEN, "...."),
    "constant": (PURPLE, "xxxx"),
    "dead": (GREY, "||||"),
    "block": (VERMILLION, "----"),
}
"""Colour and hatch of what became of a neuron: left, or why it went (:data:`fer.neurons.RemovalReason`).

Of block it went with all that is in its block.
"""

MOST_LAYERS: Final = 58
"""Bars on one page of A4 that still have a name each."""

MOST_NEURONS: Final = 60
"""Neurons of a layer whose numbers can still be read side by side."""

LEAST_NUMBERED: Final = 0.06
"""Share of a layer from which a part of its bar has room for a number, if bars are not too many."""

PITCH: Final = 0.1
"""Inches from a neuron of a dendrogram to the next one."""

CANVAS: Final = 8.4
"""Inches that a figure of dendrograms is wide."""

PANEL: Final = 1.15
"""Inches that a dendrogram is high."""

SIDE: Final = 0.6
"""Inches left of a row of dendrograms, for the axis."""

BETWEEN: Final = 0.3
"""Inches from a dendrogram to the next one in its row."""

MERGE_LOOKS: Final[Mapping[str, Mapping[str, Any]]] = {
    "similar": {"color": BLUE, "linestyle": "solid", "linewidth": 1.1},
    "complementary": {"color": VERMILLION, "linestyle": (0, (3, 1)), "linewidth": 1.1},
    "span": {"color": GREEN, "linestyle": (0, (1, 1)), "linewidth": 1.4},
}

NEAREST: Final[Mapping[str, Any]] = {"color": "#B0B0B0", "linewidth": 0.6}
"""Of the line from a survivor to the nearest other neuron that stays."""

SURVIVES: Final[Mapping[str, Any]] = {"marker": "o", "color": INK, "markersize": 3.5, "linestyle": "none"}
DROPPED: Final[Mapping[str, Any]] = {"marker": "x", "color": INK, "markersize": 3.5, "linestyle": "none"}

WHEN: Final[Mapping[str, Mapping[str, Any]]] = {
    "before": {"marker": "o", "color": GREY, "markerfacecolor": "white"},
    "after": {"marker": "s", "color": BLUE},
}


def prune_figure(results: Mapping[str, Any], title: str = "") -> Figure:
    """Draw on one page what pruning did to a network and why.

    Of more than :data:`MOST_LAYERS` layers those that lost the most neurons have a bar, in their order.

    Args:
        results: Plain numbers as of :func:`fer.callbacks.prune.compare`: ``protocol``; ``n``; ``before``
            and ``after``, each with ``acc``, ``interval``, ``loss``, ``confusion``, ``parameters``,
            ``macs`` and ``milliseconds``; ``mcnemar``; ``layers``; ``refused``; ``blocks``.
        title: Above the figure.

    Returns:
        The figure with four panels: a bar of each layer's neurons split by what became of them; accuracy
        with Wilson's 95 % intervals and McNemar's test; sizes and latency as shares of before; recall of
        each class.

    Raises:
        ValueError: There is no layer.
    """
    layers = results["layers"]
    check_layers(layers)
    num_bars = min(len(layers), MOST_LAYERS) + (len(layers) > 1)
    pitch = min(max(5.2 / num_bars, 0.1), 0.24)
    notes = _gone(results["blocks"]) + _refusals(results["refused"])
    above = 0.62 + pitch * num_bars + 0.13 * len(notes)
    figure = new_figure(7.6, above + 3.7 + (0.3 if title else 0))
    parts = figure.add_gridspec(2, 1, height_ratios=[above, 3.7])
    top, bottom = (figure.add_subfigure(parts[row]) for row in (0, 1))
    _draw_layers(top.subplots(), layers, min(SMALL, 0.8 * 72 * pitch))
    if notes:
        top.supxlabel("\n".join(notes), fontsize=TINY, color=GREY, x=0.01, ha="left")
    grid = bottom.add_gridspec(2, 2, height_ratios=[1, 1.6])
    _draw_accuracies(bottom.add_subplot(grid[0, 0]), results)
    _draw_costs(bottom.add_subplot(grid[1, 0]), results["before"], results["after"])
    _draw_recalls(bottom.add_subplot(grid[:, 1]), results["before"], results["after"])
    write_title(figure, title)
    return figure


def dendrogram_figure(
    plans: Mapping[str, PrunePlan],
    degrees: Mapping[str, NDArray[np.floating]],
    title: str = "",
    *,
    similar_below: float,
    complementary_above: float,
) -> Figure:
    """Draw which neurons of each layer merge, as dendrograms: a survivor's stem, and what joins it how high.

    A neuron joins the stem of its survivor at the angle, to 0 or 180 degrees, that decided. The stem of a
    survivor goes on, thin, to the nearest other neuron that stays. A neuron that others together stand for
    has a stem of its own, to their span; of a complementary pair that goes both are crossed. Of more than
    :data:`MOST_NEURONS` neurons of a layer those that are closest are shown, as its title says.

    Args:
        plans: By layer what goes.
        degrees: By layer the angles of its C neurons, shape ``(C, C)``; for the survivors' distances, and
            where a plan does not say an angle.
        title: Above the figure.
        similar_below: Degrees below which neurons are similar.
        complementary_above: Degrees above which they are complementary; lines, both.

    Returns:
        The figure, with a panel for each layer in which a neuron merges; the others are named below.

    Raises:
        ValueError: No layer, or no angle for each two of a layer's neurons.
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
    note = textwrap.wrap(f"no neuron merges in {', '.join(still)}", 130, max_lines=4) if still else []
    rows = _pack(drawn)
    top, title_height, labels = (0.36 if title else 0.1), 0.3, 0.32
    thresholds = _thresholds(similar_below, 180 - complementary_above)
    handles = _merge_handles(drawn, thresholds)
    bottom = 0.14 + 0.12 * len(note) + 0.16 * math.ceil(len(handles) / 5)
    row_height = title_height + PANEL + labels
    total = top + len(rows) * row_height + bottom
    figure = new_figure(CANVAS, total)
    figure.set_layout_engine("none")
    heights = [leaf.height for tree in drawn for star in tree.stars for leaf in star.leaves]
    highest = max([1e-6, *(each.degrees for each in thresholds), *heights])
    for number, row in enumerate(rows):
        left, y = SIDE, total - top - number * row_height - title_height - PANEL
        for tree in row:
            axes = figure.add_axes((left / CANVAS, y / total, tree.inches / CANVAS, PANEL / total))
            _draw_tree(axes, tree, thresholds=thresholds, is_first=tree is row[0])
            axes.set_ylim(0, 1.3 * highest)
            left += tree.room + BETWEEN
    figure.text(SIDE / CANVAS, 0.06 / total, "\n".join(note), fontsize=TINY, color=GREY, va="bottom")
    if drawn:
        figure.legend(
            handles=handles,
            loc="lower center",
            bbox_to_anchor=(0.5, (0.08 + 0.12 * len(note)) / total),
            ncols=5,
            borderpad=0,
            fontsize=SMALL,
            frameon=False,
            handlelength=2.2,
            columnspacing=1.4,
        )
    if title:
        look: dict[str, Any] = {"fontsize": LARGE, "fontweight": "bold", "color": INK}
        figure.suptitle(title, y=1 - 0.08 / total, va="top", **look)
    return figure


class _Threshold(NamedTuple):
    """A horizontal line."""

    label: str
    degrees: float
    look: Mapping[str, Any]


class _Leaf(NamedTuple):
    """A neuron that goes, and its angle to 0 or 180 degrees."""

    neuron: int
    reason: str
    height: float


class _Star(NamedTuple):
    """Neurons that merge into one, or that go together.

    Attributes:
        survivor: That stands for them; None where there is none.
        leaves: Those that go, the closest first.
        nearest: The angle to 0 or 180 degrees from the survivor to the nearest other neuron that stays; NaN
            where there is none.
    """

    survivor: int | None
    leaves: Sequence[_Leaf]
    nearest: float = math.nan

    @property
    def neurons(self) -> list[int]:
        """From left to right."""
        return [*([] if self.survivor is None else [self.survivor]), *(leaf.neuron for leaf in self.leaves)]

    @property
    def gap(self) -> float:
        """At its right, in neurons; what stands alone needs none."""
        return 0.5 if len(self.neurons) > 1 else 0.0


class _Tree(NamedTuple):
    """What merges in a layer."""

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
        notes = [
            f"{num:,} {text}"
            for num, text in (
                (dropped, "go as complementary pairs"),
                (counts["span"], "in the span of the others"),
                (counts["dead"], "dead"),
                (counts["constant"], "constant"),
            )
            if num
        ]
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
    """Return a removal as a leaf, or None if no angle belongs to it."""
    angle = removal.degrees
    if angle is None and removal.into is not None:
        angle = float(degrees[removal.neuron, removal.into])
    if removal.reason not in MERGE_LOOKS or angle is None or math.isnan(angle):
        return None
    return _Leaf(removal.neuron, removal.reason, 180 - angle if removal.reason == "complementary" else angle)


def _stars(
    leaves: Iterable[tuple[int | None, _Leaf]], plan: PrunePlan, degrees: NDArray[np.floating]
) -> list[_Star]:
    """Return leaves that are sorted as stars, that with the closest leaf first."""
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
    """Return whether a neuron is the other half of a complementary pair: they follow each other."""
    return len(star.leaves) == 1 and star.leaves[0][1:] == leaf[1:]


def _pack(trees: Iterable[_Tree]) -> list[list[_Tree]]:
    """Return trees in rows, as many in each as have room."""
    rows: list[list[_Tree]] = []
    left = math.inf
    for tree in trees:
        if left + tree.room > CANVAS - 0.3:
            rows.append([])
            left = SIDE
        rows[-1].append(tree)
        left += tree.room + BETWEEN
    return rows


def _draw_tree(axes: Axes, tree: _Tree, *, thresholds: Sequence[_Threshold], is_first: bool) -> None:
    """Draw the stars of a layer side by side.

    Args:
        axes: Of the layer.
        tree: With one star at least.
        thresholds: Lines through it.
        is_first: Whether it is the first of its row, which has the axis.
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
            axes.plot([place, place, stem], [0, leaf.height, leaf.height], **MERGE_LOOKS[leaf.reason])
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
        axes.set_ylabel("angle to the span" if is_span else f"angle to 0{DEGREE} or 180{DEGREE}")
        axes.yaxis.label.set_fontsize(SMALL)


def _merge_handles(trees: Iterable[_Tree], thresholds: Iterable[_Threshold]) -> list[Line2D]:
    """Return the legend of what is drawn, and of nothing else."""
    stars = [star for tree in trees for star in tree.stars]
    reasons = {leaf.reason for star in stars for leaf in star.leaves}
    names = {"similar": "similar", "complementary": "complementary", "span": "to the span of the others"}
    handles = [
        Line2D([], [], label=names[reason], **look)
        for reason, look in MERGE_LOOKS.items()
        if reason in reasons
    ]
    if any(star.survivor is not None for star in stars):
        handles.insert(0, Line2D([], [], label="survivor", **SURVIVES))
        handles.append(Line2D([], [], label="to the nearest that stays", **NEAREST))
    if any(star.survivor is None and star.leaves[0].reason == "complementary" for star in stars):
        handles.append(Line2D([], [], label="both of a pair go", **DROPPED))
    return handles + [Line2D([], [], label=label, **look) for label, _, look in thresholds]


def _thresholds(similar: float, complementary: float) -> list[_Threshold]:
    """Return the lines of two thresholds, in degrees from 0 and from 180; of equal ones one line."""
    if similar == complementary:
        return [_Threshold("threshold", similar, {"color": INK, "linewidth": 0.7, "linestyle": (0, (6, 3))})]
    return [
        _Threshold(f"threshold, {reason}", line, {**MERGE_LOOKS[reason], "linewidth": 0.6})
        for reason, line in (("similar", similar), ("complementary", complementary))
    ]


def _draw_layers(axes: Axes, layers: Mapping[str, Mapping[str, int]], size: float) -> None:
    """Draw a bar for each layer, and for all of them together if there is more than one.

    Args:
        axes: Of the bars.
        layers: By layer ``before``, ``after`` and how many went for each reason.
        size: Of the layers' names, in points.
    """
    most = sorted(layers, key=lambda name: layers[name]["after"] - layers[name]["before"])[:MOST_LAYERS]
    rows = {name: layer for name, layer in layers.items() if name in most}
    if len(layers) > 1:
        keys = ("before", "after", *(reason for reason in FATES if reason != "left"))
        rows["all"] = {key: sum(layer[key] for layer in layers.values()) for key in keys}
    for place, layer in enumerate(rows.values()):
        counts = {fate: layer["after" if fate == "left" else fate] for fate in FATES}
        begin = 0.0
        for fate, count in counts.items():
            if count == 0:
                continue
            colour, hatch = FATES[fate]
            share = count / layer["before"]
            axes.barh(place, share, 0.78, begin, color=colour, hatch=hatch, edgecolor="white", linewidth=0.4)
            if share >= LEAST_NUMBERED and size == SMALL:
                box = {"facecolor": colour, "linewidth": 0, "pad": 0.8}
                ink = "white" if fate in ("left", "dead") else INK
                look: dict[str, Any] = {"ha": "center", "va": "center_baseline", "fontsize": size - 1}
                axes.text(begin + share / 2, place, f"{count:,}", color=ink, bbox=box, **look)
            begin += share
        text = f"{layer['before']:,} \N{RIGHTWARDS ARROW} {layer['after']:,}"
        axes.text(1.01, place, text, ha="left", va="center", fontsize=size, color=INK)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylim(len(rows) - 0.45, -0.55)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(percent())
    tidy(axes)
    axes.tick_params(axis="y", labelsize=size, length=0)
    axes.grid(visible=False, axis="y")
    if len(layers) > 1:
        axes.get_yticklabels()[-1].set_fontweight("bold")
    heading = "neurons, by what became of them"
    if len(layers) > MOST_LAYERS:
        heading += f": the {MOST_LAYERS} of {len(layers)} layers that lost the most"
    axes.set_title(heading, fontsize=NORMAL, color=INK, pad=18, loc="left")
    present = [
        fate for fate in FATES if any(row["after" if fate == "left" else fate] for row in rows.values())
    ]
    handles = [
        Rectangle(
            (0, 0),
            1,
            1,
            facecolor=FATES[fate][0],
            hatch=FATES[fate][1],
            edgecolor="white",
            linewidth=0,
            label=fate,
        )
        for fate in present
    ]
    axes.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=len(FATES),
        fontsize=SMALL,
        frameon=False,
        borderaxespad=0.1,
        borderpad=0.2,
        columnspacing=1.4,
    )


def _refusals(refused: Mapping[str, str]) -> list[str]:
    """Return the layers that could not be pruned, by their reason, in four lines at most."""
    by_reason: dict[str, list[str]] = {}
    for layer, reason in refused.items():
        by_reason.setdefault(reason, []).append(layer)
    text = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in by_reason.items())
    return textwrap.wrap(f"all stay in {text}", 125, max_lines=4, placeholder=" …") if text else []


def _gone(blocks: Mapping[str, float]) -> list[str]:
    """Return the blocks that went as a whole, in two lines at most."""
    text = ", ".join(f"{name} ({share:.1%})" for name, share in blocks.items())
    words = f"gone as a whole, with the share they changed: {text}"
    return textwrap.wrap(words, 125, max_lines=2, placeholder=" …") if text else []


def _draw_accuracies(axes: Axes, results: Mapping[str, Any]) -> None:
    """Draw both accuracies with their intervals, and write whether they differ."""
    before, after, paired = results["before"], results["after"], results["mcnemar"]
    labels = []
    for place, (name, found) in enumerate((("before", before), ("after", after))):
        accuracy, (low, high) = found["acc"], found["interval"]
        errors = [[abs(accuracy - low)], [abs(high - accuracy)]]  # at 0 or 1 rounding may turn the sign
        look: dict[str, Any] = {"markersize": 5, "linewidth": 1.4, "capsize": 3, **WHEN[name]}
        axes.errorbar(accuracy, place, xerr=errors, linestyle="none", **look)
        labels.append(f"{name}: {100 * accuracy:.2f} %\n[{100 * low:.2f}, {100 * high:.2f}]")
    axes.set_yticks([0, 1], labels)
    axes.set_ylim(1.6, -0.6)
    axes.margins(x=0.1)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(PercentFormatter(xmax=1, symbol=" %"))
    p = "p < 0.001" if paired["p"] < 0.001 else f"p = {paired['p']:.3f}"
    change = _points(after["acc"] - before["acc"])
    axes.set_xlabel(
        f"{change} points: {paired['lost']:,} lost, {paired['won']:,} won, {p} (McNemar)\n"
        f"loss {before['loss']:.4f} \N{RIGHTWARDS ARROW} {after['loss']:.4f}"
    )
    _head(axes, f"accuracy on val, n = {results['n']:,}\n{results['protocol']}")
    axes.xaxis.label.set_fontsize(SMALL)


def _draw_costs(axes: Axes, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Draw what is left of a network's size and time as shares of before."""
    rows = {
        "parameters": (before["parameters"], after["parameters"]),
        "multiply-adds": (before["macs"], after["macs"]),
        "bytes of its file": (before["bytes"], after["bytes"]),
    }
    for batch_size, time in before["milliseconds"].items():
        rows[f"ms, batch of {batch_size}"] = (time, after["milliseconds"][batch_size])
    amount = EngFormatter(places=2)
    labels, most = [], 1.0
    for place, (name, (old, new)) in enumerate(rows.items()):
        share = new / old if old else 1.0
        most = max(most, share)
        axes.barh(place, 1, 0.62, color=PALE)
        axes.barh(place, share, 0.62, color=BLUE)
        look: dict[str, Any] = {"va": "center", "fontsize": SMALL, "color": INK}
        axes.text(1.02, place, f"{100 * share:.1f} %", transform=axes.get_yaxis_transform(), **look)
        amounts = [f"{value:.2f}" if name.startswith("ms") else amount(value) for value in (old, new)]
        labels.append(f"{name}\n{amounts[0]} \N{RIGHTWARDS ARROW} {amounts[1]}")
    axes.axvline(1, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set_yticks(range(len(rows)), labels)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0, 1.02 * most)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(percent())
    _head(axes, "what is left of size and time")


def _draw_recalls(axes: Axes, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Draw each class's recall before and after as a dumbbell, and that of all classes' mean."""
    reports = {
        name: report(torch.tensor(found["confusion"]))
        for name, found in (("before", before), ("after", after))
    }
    recalls = {name: [*each.recall.tolist(), each.macro_recall] for name, each in reports.items()}
    names, support = reports["before"].class_names, reports["before"].support.tolist()
    labels = [*(f"{name}\nn = {n:,}" for name, n in zip(names, support, strict=True)), "mean"]
    places = range(len(labels))
    for place, old, new in zip(places, recalls["before"], recalls["after"], strict=True):
        axes.plot([old, new], [place, place], color=GREY, linewidth=2, zorder=2)
        text = "\N{EN DASH}" if math.isnan(new - old) else _points(new - old)
        look: dict[str, Any] = {"va": "center", "fontsize": SMALL, "color": INK}
        axes.text(1.02, place, text, transform=axes.get_yaxis_transform(), **look)
    for name, values in recalls.items():
        axes.plot(values, places, linestyle="none", markersize=5.5, label=name, zorder=3, **WHEN[name])
    axes.set_yticks(places, labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.margins(x=0.08)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(percent())
    axes.set_xlabel("recall; at the right its change in points")
    _head(axes, "recall of each class")
    axes.xaxis.label.set_fontsize(SMALL)
    axes.get_yticklabels()[-1].set_fontweight("bold")
    axes.legend(loc="best", fontsize=SMALL, frameon=True, framealpha=0.85, edgecolor="none")


def _head(axes: Axes, text: str) -> None:
    """Give a panel of rows its heading and the common look."""
    axes.set_title(text, fontsize=NORMAL, color=INK, loc="left", linespacing=1.2)
    tidy(axes)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x", color=PALE, linewidth=0.6)


def _points(change: float) -> str:
    """Return a difference of two shares in points of a percent, with its sign.

    >>> _points(0.0123), _points(-0.00001)
    ('+1.2', '0.0')
    """
    text = f"{100 * change:+.1f}"
    if float(text) == 0:
        return "0.0"
    return text.replace("-", "\N{MINUS SIGN}")
