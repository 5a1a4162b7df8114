"""Tables of pruning results for the terminal."""

from collections.abc import Iterable, Mapping

from fer.neurons import REMOVAL_REASONS
from fer.neurons.trace import OUTPUTS
from fer.pruning.limits import Target
from fer.pruning.size import Size


def layer_table(
    layers: Mapping[str, Mapping[str, int]], blocks: Mapping[str, float], refused: Mapping[str, str]
) -> list[str]:
    """Return lines with the number of neurons that each layer lost, by reason.

    There is a column for each of :data:`fer.neurons.REMOVAL_REASONS` that occurs.

    Args:
        layers: Removed neurons by layer and reason; see :func:`fer.neurons.plan.count_removed`.
        blocks: Removed blocks, with the relative change of their input.
        refused: Layers that cannot be pruned, with the reason.
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
    lines += [f"{name}: not pruned: {reason}" for name, reason in refused.items() if reason != OUTPUTS]
    lines += [
        f"{name}: removed as a whole; it changed its input by {share:.2%}" for name, share in blocks.items()
    ]
    return lines


def metric_table(metrics: Mapping[str, tuple[float, float]]) -> Iterable[str]:
    """Yield a line for each metric, before and after pruning."""
    for name, (before, after) in metrics.items():
        yield f"{name:<22} {before:14.4f} {after:14.4f}"


def size_table(before: Size, after: Size) -> Iterable[str]:
    """Yield a line for each measure of size and speed, before and after pruning, with the ratio."""
    rows = [
        ("parameters", ",", before.parameters, after.parameters),
        ("multiply-adds", ",", before.macs, after.macs),
        ("weights' file, bytes", ",", before.bytes, after.bytes),
        *(
            (f"ms, batch of {size}", ".2f", time, after.milliseconds[size])
            for size, time in before.milliseconds.items()
        ),
    ]
    for name, form, old, new in rows:
        ratio = new / old if old else 1.0
        yield f"{name:<22} {old:>14{form}} {new:>14{form}}   {ratio:.3f} of before"


def target_table(target: Target | None) -> Iterable[str]:
    """Yield a line on the size limit, if there is one."""
    if target is not None:
        yield f"{'target':<22} {target}"
