"""Neuron statistics on the page besides the angles: ranks, shares of useless neurons, neural collapse."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fer.figures.curves import finite, measured_times
from fer.neurons.collapse import MEASURES

RANKS: Final = ("effective", "participation")
"""Ranks of each layer, as logged under ``rank/``."""

SHARES: Final = ("dormant", "cloned", "redundant")
"""Shares of each layer, as logged under ``neurons/``."""


def statistics_of(history: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Return the statistics of neurons for the page, without what was not measured.

    Args:
        history: Columns of ``metrics.csv``.

    Returns:
        ``ranks``: for each layer, the effective rank ``y`` at each time ``x``. ``layers``: for each layer,
        its ``name`` and the last known ``effective``, ``participation``, ``dormant``, ``cloned`` and
        ``redundant``, or None; ``has_few_samples``, whether the layer was measured on too few samples to tell
        ``redundant``. ``collapse``: for each measure, its values ``y`` at each time ``x``; left out
        if several networks were measured, since the page has room for one.
    """
    if "epoch" not in history:
        return {}
    times = measured_times(history)

    def curve(key: str) -> dict[str, list[float]] | None:
        if key not in history:
            return None
        there = finite(times, history[key])
        return {"x": there.epochs.tolist(), "y": there.values.tolist()} if len(there.values) else None

    def last(key: str) -> float | None:
        found = curve(key)
        return found["y"][-1] if found else None

    names = [match[1] for key in history if (match := re.fullmatch(r"rank/(.+)/effective", key))]
    rows = [
        {
            "name": name,
            **{each: last(f"rank/{name}/{each}") for each in RANKS},
            **{each: last(f"neurons/{name}/{each}") for each in SHARES},
        }
        for name in names
    ]
    for row in rows:  # cloned neurons are found in the same measurement, on any number of samples
        row["has_few_samples"] = row["cloned"] is not None and row["redundant"] is None
    networks = {match[1] or "" for key in history if (match := re.fullmatch(r"collapse/(.+/)?nc1", key))}
    network = networks.pop() if len(networks) == 1 else ""
    found = {
        "ranks": {name: there for name in names if (there := curve(f"rank/{name}/effective"))},
        "layers": [row for row in rows if any(row[each] is not None for each in (*RANKS, *SHARES))],
        "collapse": {name: there for name in MEASURES if (there := curve(f"collapse/{network}{name}"))},
    }
    return {name: value for name, value in found.items() if value}
