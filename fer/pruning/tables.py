"""Tables of pruning results for the terminal."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from fer.metrics import Comparison
from fer.metrics.latency import latency_changes
from fer.neurons import REMOVAL_REASONS
from fer.neurons.text import listed
from fer.neurons.trace import OUTPUTS
from fer.pruning.limits import Target
from fer.pruning.size import Size
from fer.pruning.size_request import SizeRequest

FAIR: Final = "* compared with the unpruned network, its batch norm recalibrated, too: the fair comparison"
"""Footnote of the lines that credit no gain of recalibration to pruning."""


def layer_table(
    layers: Mapping[str, Mapping[str, int]],
    blocks: Mapping[str, float],
    refused: Mapping[str, str],
    together: Mapping[str, Sequence[str]],
    size_request: SizeRequest | None = None,
) -> list[str]:
    """Return lines with the number of neurons that each layer lost, by reason.

    There is a column for each of :data:`fer.neurons.REMOVAL_REASONS` that occurs.

    Args:
        layers: Removed neurons by layer and reason; see :func:`fer.neurons.plan.count_removed`.
        blocks: Removed blocks, with the relative change of their input.
        refused: Layers that cannot be pruned, with the reason.
        together: Other layers that compute the neurons of a layer, by layer.
        size_request: Size that was asked for; None if the thresholds decided.
    """
    labels = {
        reason: label
        for reason, label in REMOVAL_REASONS.items()
        if any(layer.get(reason, 0) for layer in layers.values())
    }
    width = max([len("layer"), *map(len, layers)])
    lines = [f"{'layer':<{width}}  neurons     left" + "".join(f"  {label:>7}" for label in labels.values())]
    for name, layer in layers.items():
        counts = "".join(
            f"  {layer.get(reason, 0):>{max(7, len(label))},}" for reason, label in labels.items()
        )
        lines.append(f"{name:<{width}}  {layer['before']:>7,}  {layer['after']:>7,}{counts}")
    smallest = [name for name, layer in layers.items() if layer["before"] > layer["after"] == 1]
    if smallest:
        lines.append(f"one neuron is left, the fewest that a layer can have: {listed(smallest)}")
    lines += [
        f"{name}: added up with {listed(others)}, which lost the same neurons"
        for name, others in together.items()
    ]
    lines += [f"{name}: not pruned: {reason}" for name, reason in refused.items() if reason != OUTPUTS]
    lines += [
        f"{name}: block removed with its layers; it changed its input by {100 * share:.2f} %"
        for name, share in blocks.items()
    ]
    return [*lines, *([] if size_request is None else [str(size_request)])]


def heading(title: str) -> str:
    """Return the first line of a table of two networks."""
    return _line(title, "before", "after", "difference")


def accuracy_line(name: str, before: Any, after: Any, paired: Comparison | None = None) -> str:
    """Return a line on the accuracies of two networks, with their intervals.

    Args:
        name: Title of the line.
        before: Has ``acc`` and ``interval``; see :class:`fer.pruning.compared.Quality`.
        after: The same of the other network.
        paired: McNemar's test of the two; None: none.
    """
    old, new = (_accuracy(each.acc, each.interval) for each in (before, after))
    change = "" if None in (before.acc, after.acc) else f"{100 * (after.acc - before.acc):+.2f} points"
    if paired is not None:
        change += f", {paired.lost} now wrong, {paired.won} now right, p = {paired.p:.3g} (McNemar)"
    return _line(name, old, new, change)


def metric_line(name: str, before: float, after: float) -> str:
    """Return a line on a metric of two networks."""
    return _line(name, f"{before:.4f}", f"{after:.4f}", f"{after - before:+.4f}")


def size_table(before: Size, after: Size, layers: Mapping[str, Mapping[str, int]]) -> Iterable[str]:
    """Yield a line for each measure of size and speed, with the change in per cent.

    Args:
        before: The unpruned network.
        after: The pruned network.
        layers: Neurons ``before`` and ``after``, by layer.
    """
    num_before, num_after = (sum(each[when] for each in layers.values()) for when in ("before", "after"))
    rows = {
        "parameters": (before.parameters, after.parameters),
        "multiply-adds": (before.macs, after.macs),
        "neurons": (num_before, num_after),
    }
    for name, (old, new) in rows.items():
        yield _line(name, f"{old:,}", f"{new:,}", _change(old, new))
    changes = {True: "{:+.1f} %", False: "no clear difference: the quartiles overlap", None: ""}
    for each in latency_changes(vars(before), vars(after)):
        change = changes[each.differs].format(100 * (each.ratio - 1))
        yield _line(f"ms, batch of {each.batch_size}", each.before, each.after, change)


def _accuracy(share: float | None, interval: Sequence[float] | None) -> str:
    if share is None:
        return "\N{EN DASH}"
    ends = "" if interval is None else f" [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"
    return f"{100 * share:.2f} %{ends}"


def _change(old: float, new: float) -> str:
    """Return a change in per cent, with one decimal as in the figure and on the page."""
    return f"{100 * (new / old - 1):+.1f} %" if old else ""


def _line(name: str, before: str, after: str, change: str) -> str:
    return f"{name:<20} {before:>20} {after:>20}   {change}".rstrip()


def target_table(target: Target | None) -> Iterable[str]:
    """Yield a line on the size limit, if there is one."""
    if target is not None:
        yield f"{'target':<20} {target}"
