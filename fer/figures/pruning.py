"""One page on a pruning: removed neurons, accuracy, size and recall, before and after."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import EngFormatter, MaxNLocator

from fer.figures.angles import check_layers
from fer.figures.style import (
    BLUE,
    GREY,
    INK,
    NORMAL,
    PAGE_WIDTH,
    PALE,
    SMALL,
    TINY,
    ReasonLook,
    new_figure,
    percent,
    reason_look,
    tidy,
    write_title,
)
from fer.metrics import report
from fer.metrics.latency import latency_changes
from fer.neurons import REMOVAL_REASONS

LEFT: Final = ReasonLook(BLUE, "")
"""Look of the neurons that are left."""

DARK: Final = (BLUE, GREY, INK)
"""Colours that white text is readable on."""

MOST_LAYERS: Final = 58
"""Largest number of bars on a page of A4 with a readable name each."""

MOST_CLASSES: Final = 16
"""Largest number of classes whose recall is drawn."""

WRAPPED: Final = 108
"""Largest number of letters of a line below the bars."""

MOST_METRICS: Final = 12
"""Largest number of metrics that are written."""

LEAST_NUMBERED: Final = 0.06
"""Smallest share of a layer whose part of the bar has room for a number."""

WHEN: Final[Mapping[str, Mapping[str, Any]]] = {
    "before": {"marker": "o", "color": GREY, "markerfacecolor": "white"},
    "after": {"marker": "s", "color": BLUE},
}


def prune_figure(results: Mapping[str, Any], title: str = "Before and after pruning") -> Figure:
    """Draw a pruning on one page: removed neurons, accuracy, size and recall.

    At most :data:`MOST_LAYERS` layers have a bar, those that lost the most neurons, and at most
    :data:`MOST_CLASSES` classes are shown, those whose recall changed most; both keep their order.

    Args:
        results: The content of ``prune.json``: ``protocol``; ``n``; ``before`` and ``after``, each with
            ``parameters``, ``macs``, ``bytes`` and ``milliseconds``; ``layers``; ``refused``; ``blocks``; of
            classifiers ``acc``, ``interval``, ``loss`` and ``confusion`` of both, ``n``, ``mcnemar`` and
            perhaps ``class_names``, ``recalibration`` and ``tuning``; of other networks perhaps ``metrics``
            of both, and ``metric``.
        title: Title of the figure.

    Returns:
        The figure with four panels: a bar for each layer's neurons, split by removal reason; accuracy with
        Wilson's 95 % intervals and McNemar's test; sizes and latency as shares of before; recall of each
        class. Of a network that is no classifier, the metrics of its validation instead of accuracy and
        recall.

    Raises:
        ValueError: There is no layer.
    """
    layers = results["layers"]
    check_layers(layers)
    num_bars = min(len(layers), MOST_LAYERS) + (len(layers) > 1)
    pitch = min(max(5.2 / num_bars, 0.1), 0.24)
    notes = _removed_blocks(results["blocks"]) + _refusals(results["refused"])
    above = 0.62 + pitch * num_bars + 0.13 * len(notes)
    more = 0.32 * max(0, len(compared_networks(results)) - 2)
    figure = new_figure(PAGE_WIDTH, above + 3.7 + more + (0.3 if title else 0))
    parts = figure.add_gridspec(2, 1, height_ratios=[above, 3.7 + more])
    top, bottom = (figure.add_subfigure(parts[row]) for row in (0, 1))
    _draw_layers(top.subplots(), layers, min(SMALL, 0.8 * 72 * pitch))
    if notes:
        top.supxlabel("\n".join(notes), fontsize=TINY, color=GREY, x=0.01, ha="left")
    grid = bottom.add_gridspec(2, 2, height_ratios=[1 + more, 1.6])
    if "confusion" in results["before"]:
        _draw_accuracies(bottom.add_subplot(grid[0, 0]), results)
        _draw_costs(bottom.add_subplot(grid[1, 0]), results["before"], results["after"])
        _draw_recalls(bottom.add_subplot(grid[:, 1]), results)
    else:
        _draw_costs(bottom.add_subplot(grid[:, 0]), results["before"], results["after"])
        _draw_metrics(bottom.add_subplot(grid[:, 1]), results)
    write_title(figure, title)
    return figure


def _draw_layers(axes: Axes, layers: Mapping[str, Mapping[str, int]], size: float) -> None:
    """Draw a bar for each layer, and for all of them together if there is more than one.

    Args:
        axes: The axes of the bars.
        layers: Neurons ``before`` and ``after`` and the number removed for each reason, by layer.
        size: Font size of the layers' names, in points.
    """
    looks = {"after": LEFT, **{reason: reason_look(reason) for reason in REMOVAL_REASONS}}
    labels = {"after": "left", **REMOVAL_REASONS}
    most = sorted(layers, key=lambda name: layers[name]["after"] - layers[name]["before"])[:MOST_LAYERS]
    rows = {name: layer for name, layer in layers.items() if name in most}
    if len(layers) > 1:
        keys = ("before", *looks)
        rows["all"] = {key: sum(layer.get(key, 0) for layer in layers.values()) for key in keys}
    for place, layer in enumerate(rows.values()):
        begin = 0.0
        for key, (colour, hatch) in looks.items():
            count = layer.get(key, 0)
            if count == 0:
                continue
            share = count / layer["before"]
            axes.barh(place, share, 0.78, begin, color=colour, hatch=hatch, edgecolor="white", linewidth=0.4)
            if share >= LEAST_NUMBERED and size == SMALL:
                box = {"facecolor": "white" if hatch else colour, "linewidth": 0, "pad": 0.8}
                ink = "white" if colour in DARK and not hatch else INK
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
    heading = "neurons left, and removed by reason"
    if len(layers) > MOST_LAYERS:
        heading += f": the {MOST_LAYERS} of {len(layers)} layers that lost the most"
    axes.set_title(heading, fontsize=NORMAL, color=INK, pad=18, loc="left")
    style: dict[str, Any] = {"edgecolor": "white", "linewidth": 0}
    handles = [
        Rectangle((0, 0), 1, 1, facecolor=colour, hatch=hatch, label=labels[key], **style)
        for key, (colour, hatch) in looks.items()
        if any(row.get(key, 0) for row in rows.values())
    ]
    _legend_below_heading(axes, handles)


def _refusals(refused: Mapping[str, str]) -> list[str]:
    """Return the layers that cannot be pruned, by reason, in at most four lines."""
    by_reason: dict[str, list[str]] = {}
    for layer, reason in refused.items():
        by_reason.setdefault(reason, []).append(layer)
    text = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in by_reason.items())
    return textwrap.wrap(f"not pruned: {text}", WRAPPED, max_lines=4, placeholder=" …") if text else []


def _removed_blocks(blocks: Mapping[str, float]) -> list[str]:
    """Return the blocks that were removed as a whole, in at most two lines."""
    text = ", ".join(f"{name} ({share:.1%})" for name, share in blocks.items())
    note = f"blocks removed as a whole, with the share by which they changed their input: {text}"
    return textwrap.wrap(note, WRAPPED, max_lines=2, placeholder=" …") if text else []


def _draw_accuracies(axes: Axes, results: Mapping[str, Any]) -> None:
    """Draw the accuracies with their intervals, and write the test of the difference by pruning.

    Those of networks with other batch norm, or that are not fine-tuned, are pale.
    """
    before, after, paired = results["before"], results["after"], results["mcnemar"]
    labels = []
    shown = compared_networks(results)
    for place, (name, found) in enumerate(shown.items()):
        accuracy, (low, high) = found["acc"], found["interval"]
        errors = [[abs(accuracy - low)], [abs(high - accuracy)]]  # at 0 or 1 rounding may turn the sign
        look: dict[str, Any] = {"markersize": 5, "linewidth": 1.4, "capsize": 3, **WHEN[name.split(",")[0]]}
        look["alpha"] = 1.0 if name in WHEN else 0.5
        axes.errorbar(accuracy, place, xerr=errors, linestyle="none", **look)
        labels.append(f"{name}: {100 * accuracy:.2f} %\n[{100 * low:.2f}, {100 * high:.2f}]")
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.margins(x=0.1)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(percent())
    p = "p < 0.001" if paired["p"] < 0.001 else f"p = {paired['p']:.3f}"
    change = _points(after["acc"] - before["acc"])
    axes.set_xlabel(
        f"{change} percentage points: {paired['lost']:,} now wrong, {paired['won']:,} now right\n"
        f"{p} (McNemar); loss {before['loss']:.4f} \N{RIGHTWARDS ARROW} {after['loss']:.4f}"
    )
    _head(axes, f"accuracy on {results['n']:,} samples of val\n{results['protocol']}")
    axes.xaxis.label.set_fontsize(SMALL)


def compared_networks(results: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the qualities of the networks that a pruning is compared by, with what tells them apart.

    >>> other = {"before": {"acc": 0.7}, "after": {"acc": 0.5}}
    >>> list(compared_networks({"before": {"acc": 0.7}, "after": {"acc": 0.6}, "recalibration": other}))
    ['before', 'before, recalibrated', 'after, not recalibrated', 'after']
    """
    other, tuning = results.get("recalibration") or {}, results.get("tuning") or {}
    networks = {
        "before": results["before"],
        "before, recalibrated": other.get("before"),
        "after, not recalibrated": other.get("after"),
        "after, not fine-tuned": tuning.get("before"),
        "after": results["after"],
    }
    return {name: found for name, found in networks.items() if found is not None and "acc" in found}


def _draw_costs(axes: Axes, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Draw the size and latency after pruning as shares of before."""
    rows = {"parameters": ("parameters", ""), "multiply-adds": ("macs", ""), "file size": ("bytes", "B")}
    changes: list[tuple[str, str, str, float, bool | None]] = []
    for name, (key, unit) in rows.items():
        amount, old, new = EngFormatter(unit, places=2), before[key], after[key]
        changes.append((name, amount(old), amount(new), new / old if old else 1.0, True))
    changes += [
        (f"ms, batch of {each.batch_size}", each.before, each.after, each.ratio, each.differs)
        for each in latency_changes(before, after)
    ]
    labels, most = [], 1.0
    for place, (name, old, new, share, differs) in enumerate(changes):
        most = max(most, share)
        is_unclear = differs is False
        axes.barh(place, 1, 0.62, color=PALE)
        axes.barh(place, share, 0.62, color=GREY if is_unclear else BLUE)
        look: dict[str, Any] = {"va": "center", "fontsize": SMALL, "color": INK}
        left = "no clear\ndifference" if is_unclear else f"{100 * share:.1f} %"
        axes.text(1.02, place, left, transform=axes.get_yaxis_transform(), **look)
        labels.append(f"{name}\n{old} \N{RIGHTWARDS ARROW} {new}")
    axes.axvline(1, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set_yticks(range(len(changes)), labels)
    axes.set_ylim(len(changes) - 0.5, -0.5)
    axes.set_xlim(0, 1.02 * most)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(percent())
    _head(axes, "size and latency left")


def _draw_recalls(axes: Axes, results: Mapping[str, Any]) -> None:
    """Draw each class's recall before and after as a dumbbell, and the mean over the classes."""
    reports = {
        when: report(torch.tensor(results[when]["confusion"]), results.get("class_names"))
        for when in ("before", "after")
    }
    first = reports["before"]
    changes = (reports["after"].recall - first.recall).abs().nan_to_num()
    shown = sorted(changes.argsort(descending=True, stable=True)[:MOST_CLASSES].tolist())
    recalls = {when: [*each.recall[shown].tolist(), each.macro_recall] for when, each in reports.items()}
    labels = [*(f"{first.class_names[k]}\nn = {first.support[k]:,}" for k in shown), "mean"]
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
    axes.set_xlabel("recall; right: change in percentage points")
    of_many = f"the {MOST_CLASSES} of {len(changes)} classes that changed most"
    _head(axes, f"recall of {'each class' if len(changes) <= MOST_CLASSES else of_many}", pad=18)
    axes.xaxis.label.set_fontsize(SMALL)
    axes.get_yticklabels()[-1].set_fontweight("bold")
    _legend_below_heading(axes, axes.get_legend_handles_labels()[0])


def _draw_metrics(axes: Axes, results: Mapping[str, Any]) -> None:
    """Write at most :data:`MOST_METRICS` metrics before and after pruning, the chosen one first."""
    before, after = (results[when].get("metrics", {}) for when in ("before", "after"))
    chosen = results.get("metric")
    names = sorted((name for name in before if name in after), key=lambda name: name != chosen)
    for place, name in enumerate(names[:MOST_METRICS]):
        text = f"{before[name]:.4g} \N{RIGHTWARDS ARROW} {after[name]:.4g}"
        look: dict[str, Any] = {"va": "center", "fontsize": SMALL, "color": INK}
        axes.text(0.55, place, name if len(name) <= 40 else f"{name[:39]}…", ha="right", **look)
        axes.text(0.6, place, text, fontweight="bold" if name == chosen else "normal", **look)
    axes.set_ylim(MOST_METRICS - 0.5, -0.5)
    axes.set_axis_off()
    axes.set_title(
        "metrics of validation" if names else "not validated", fontsize=NORMAL, color=INK, loc="left"
    )


def _legend_below_heading(axes: Axes, handles: Sequence[Any]) -> None:
    """Draw a legend in the room that the heading of a panel leaves with ``pad=18``."""
    axes.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=min(len(handles), 4),
        fontsize=SMALL,
        frameon=False,
        borderaxespad=0.1,
        borderpad=0.2,
        columnspacing=1.4,
    )


def _head(axes: Axes, text: str, pad: float | None = None) -> None:
    """Write a panel's heading and apply the common style."""
    axes.set_title(text, fontsize=NORMAL, color=INK, loc="left", linespacing=1.2, pad=pad)
    tidy(axes)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x", color=PALE, linewidth=0.6)


def _points(change: float) -> str:
    """Return a difference of two shares in percentage points, with its sign.

    >>> _points(0.0123), _points(-0.00001)
    ('+1.2', '0.0')
    """
    text = f"{100 * change:+.1f}"
    if float(text) == 0:
        return "0.0"
    return text.replace("-", "\N{MINUS SIGN}")
