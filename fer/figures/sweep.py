"""Figures of sweeps: best value over the trials, parameters of each trial, importance of parameters."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from fer.figures.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PALE,
    PURPLE,
    SHADES,
    SMALL,
    TINY,
    VERMILLION,
    new_figure,
    tidy,
    write_title,
)

Points = Sequence[Mapping[str, Any]]

METHOD_COLORS: Final = {"grid": ORANGE, "random": BLUE, "bayes": VERMILLION}
DARKENING: Final = LinearSegmentedColormap.from_list("darkening", SHADES(np.linspace(0.28, 1.0, 64)))
"""The shades without the palest, which are too pale for thin lines and dots."""

MOST_TICKS: Final = 8
MOST_LETTERS: Final = 22


def importances_figure(
    importances: Mapping[str, tuple[float, float]], num_trials: int, title: str = ""
) -> Figure:
    """Draw the importance of each parameter for the metric, and the sign of its correlation.

    Args:
        importances: By parameter its share of a random forest's gain, and its rank correlation with the
            metric, NaN for values without an order; the most important first.
        num_trials: Number of trials that the forest was fitted to.
        title: Title of the figure.

    Raises:
        ValueError: There is no parameter.
    """
    if not importances:
        msg = "no importances: at least one parameter is needed"
        raise ValueError(msg)
    figure = new_figure(6.4, 1.1 + 0.3 * len(importances))
    axes = figure.subplots(1, 2, sharey=True)
    rows = np.arange(len(importances))
    shares = [share for share, _ in importances.values()]
    correlations = [correlation for _, correlation in importances.values()]
    axes[0].barh(rows, shares, height=0.6, color=BLUE)
    axes[0].set_yticks(rows, [_short(name) for name in importances])
    axes[0].invert_yaxis()
    axes[0].set_xlim(0, 1)
    axes[0].set_xlabel(f"importance (forest, {num_trials} trials)")
    colors = [GREEN if correlation >= 0 else VERMILLION for correlation in correlations]
    axes[1].barh(rows, np.nan_to_num(correlations), height=0.6, color=colors)
    for row, correlation in zip(rows, correlations, strict=True):
        if math.isnan(correlation):
            axes[1].text(0.03, row, "no order", va="center", fontsize=TINY, color=GREY)
    axes[1].axvline(0, color=GREY, linewidth=0.8)
    axes[1].set_xlim(-1, 1)
    axes[1].set_xticks([-1, -0.5, 0, 0.5, 1])
    axes[1].set_xlabel("rank correlation with the metric")
    for panel in axes:
        tidy(panel)
        panel.grid(visible=False, axis="y")
        panel.grid(visible=True, axis="x", color=PALE, linewidth=0.6)
    write_title(figure, title)
    return figure


def parallel_figure(
    points: Points,
    values: Sequence[float],
    metric: str,
    *,
    best: int,
    maximize: bool,
    log_scaled: Sequence[str] = (),
    title: str = "",
) -> Figure:
    """Draw a line for each trial through its parameters to its metric; the darker, the better.

    Args:
        points: Parameters of N trials, with the same names.
        values: N values of the metric.
        metric: Name of the metric.
        best: Index of the best trial.
        maximize: Whether a larger metric is better.
        log_scaled: Parameters on a logarithmic scale; so are those whose values span two decades.
        title: Title of the figure.

    Raises:
        ValueError: There is no trial, or not one value for each.
    """
    _check(points, values)
    scales = [
        _Scale(name, [point[name] for point in points], is_log=name in log_scaled) for name in points[0]
    ]
    scales.append(_Scale(metric, values))
    figure = new_figure(max(5.0, 1.6 + 1.35 * len(scales)), 3.6)
    axes = figure.subplots()
    shades = DARKENING if maximize else DARKENING.reversed()
    mappable = ScalarMappable(Normalize(min(values), max(values)), shades)
    heights = np.array([scale.heights for scale in scales])
    order = np.argsort(np.asarray(values) * (1 if maximize else -1), kind="stable")
    for trial in (*order[order != best], best):  # the best above all others
        is_best = trial == best
        axes.plot(
            range(len(scales)),
            heights[:, trial],
            color=VERMILLION if is_best else mappable.to_rgba(values[trial]),
            linewidth=2.0 if is_best else 1.0,
            alpha=1.0 if is_best else 0.8,
            label="best" if is_best else None,
            solid_capstyle="round",
        )
    for place, scale in enumerate(scales):
        axes.axvline(place, color=GREY, linewidth=0.8, zorder=0)
        for height, text in scale.ticks:
            axes.text(
                place + 0.03,
                height,
                text,
                fontsize=TINY,
                color=INK,
                va="center",
                bbox={"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 0.6},
            )
    axes.set_xticks(range(len(scales)), [_broken(scale.name) for scale in scales])
    axes.tick_params(labelsize=SMALL, length=0, pad=5)
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.set_xlim(-0.15, len(scales) - 1 + 0.5)
    axes.set_ylim(-0.06, 1.06)
    axes.legend(
        fontsize=SMALL, frameon=False, loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.0
    )
    bar = figure.colorbar(mappable, ax=axes, fraction=0.02, pad=0.01)
    bar.ax.tick_params(labelsize=TINY)
    bar.outline.set_visible(False)
    write_title(figure, title)
    return figure


def slices_figure(
    points: Points,
    values: Sequence[float],
    metric: str,
    *,
    best: int,
    log_scaled: Sequence[str] = (),
    title: str = "",
) -> Figure:
    """Draw the metric over each parameter, with a dot for each trial; later trials are darker.

    Args:
        points: Parameters of N trials, with the same names, in the order of their start.
        values: N values of the metric.
        metric: Name of the metric.
        best: Index of the best trial, which has a ring.
        log_scaled: Parameters on a logarithmic scale.
        title: Title of the figure.

    Raises:
        ValueError: There is no trial, or not one value for each.
    """
    _check(points, values)
    names = list(points[0])
    num_columns = min(4, len(names))
    num_rows = math.ceil(len(names) / num_columns)
    figure = new_figure(1.2 + 2.1 * num_columns, 0.5 + 2.1 * num_rows)
    grid = figure.subplots(num_rows, num_columns, sharey=True, squeeze=False).ravel()
    numbers = np.arange(1, len(points) + 1)
    mappable = ScalarMappable(Normalize(1, max(len(points), 2)), DARKENING)
    for axes, name in zip(grid, names, strict=False):
        scale = _Scale(name, [point[name] for point in points])
        places = scale.places
        axes.scatter(places, values, c=numbers, cmap=DARKENING, norm=mappable.norm, s=14)
        axes.scatter(
            places[best], values[best], s=60, facecolors="none", edgecolors=VERMILLION, linewidths=1.4
        )
        tidy(axes)
        if name in log_scaled and scale.is_number and places.min() > 0:
            axes.set_xscale("log")
        elif scale.is_number:
            axes.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=scale.is_whole))
        else:
            axes.set_xlim(-0.5, len(scale.names) - 0.5)
            is_long = sum(map(len, scale.names)) > MOST_LETTERS
            axes.set_xticks(
                range(len(scale.names)),
                [_short(each) for each in scale.names],
                rotation=30 if is_long else 0,
                ha="right" if is_long else "center",
            )
        axes.set_xlabel(_short(name))
    for axes in grid[len(names) :]:
        axes.set_visible(False)
    for axes in grid[::num_columns]:
        axes.set_ylabel(metric)
    bar = figure.colorbar(mappable, ax=list(grid), fraction=0.02, pad=0.01)
    bar.outline.set_visible(False)
    bar.set_label("trial", fontsize=SMALL)
    bar.ax.tick_params(labelsize=TINY)
    bar.ax.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    write_title(figure, title)
    return figure


def best_so_far(values: Sequence[float], *, maximize: bool) -> NDArray[np.float64]:
    """Return the best of the first one, two, … values; NaN, of a failed trial, is ignored.

    >>> best_so_far([1.0, float("nan"), 3.0, 2.0], maximize=True).tolist()
    [1.0, 1.0, 3.0, 3.0]
    """
    accumulate = np.fmax if maximize else np.fmin
    return np.asarray(accumulate.accumulate(np.asarray(values, dtype=float)), dtype=float)


def search_figure(
    searches: Mapping[str, Sequence[Sequence[float]]], metric: str, *, maximize: bool, title: str = ""
) -> Figure:
    """Draw the best value so far over the trials of one search or several.

    A search with several seeds is drawn as their median with a band from the worst to the best seed, up to
    the last trial that all have, and a thin line for each seed.

    Args:
        searches: By name of the search, for each seed the values of its trials in order, NaN for a failed
            trial.
        metric: Name of the metric.
        maximize: Whether a larger metric is better.
        title: Title of the figure.

    Raises:
        ValueError: There is no search, or one without a trial.
    """
    if not searches or not all(runs and all(len(run) for run in runs) for runs in searches.values()):
        msg = "no values: each search needs at least one trial for every seed"
        raise ValueError(msg)
    figure = new_figure(5.2, 3.2)
    axes = figure.subplots()
    others = iter([GREEN, PURPLE, GREY, INK] * len(searches))
    longest = 1
    for name, runs in searches.items():
        color = METHOD_COLORS.get(name) or next(others)
        curves = [best_so_far(run, maximize=maximize) for run in runs]
        longest = max(longest, *(len(curve) for curve in curves))
        _draw_search(axes, name, runs, curves, color)
    axes.set_xlabel("trials")
    axes.set_ylabel(f"best {metric} so far")
    axes.set_xlim(0.5, longest + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True))
    tidy(axes)
    axes.legend(fontsize=SMALL, frameon=False, loc="best")
    write_title(figure, title)
    return figure


def _draw_search(
    axes: Axes,
    name: str,
    runs: Sequence[Sequence[float]],
    curves: Sequence[NDArray[np.float64]],
    color: str,
) -> None:
    """Draw one search: its trials as dots where there is one seed, else median, band and each seed."""
    shortest = min(len(curve) for curve in curves)
    stacked = np.array([curve[:shortest] for curve in curves])
    trials = np.arange(1, shortest + 1)
    if len(curves) == 1:
        axes.plot(trials, runs[0], "o", color=color, markersize=2.5, alpha=0.4)
        axes.step(trials, stacked[0], where="post", color=color, linewidth=1.6, label=name)
        return
    for curve in curves:
        axes.step(np.arange(1, len(curve) + 1), curve, where="post", color=color, linewidth=0.6, alpha=0.4)
    low, high = stacked.min(axis=0), stacked.max(axis=0)
    axes.fill_between(trials, low, high, step="post", color=color, alpha=0.15, linewidth=0)
    axes.step(
        trials,
        np.median(stacked, axis=0),
        where="post",
        color=color,
        linewidth=1.8,
        label=f"{name} (median of {len(curves)} seeds)",
    )


class _Scale:
    """Positions of the values of one parameter on an axis.

    Attributes:
        name: Name of the parameter.
        is_number: Whether all values are numbers; else they are categories.
        is_whole: Whether all values are whole numbers.
        names: The categories, in order.
        places: N positions: the numbers, or the indices of the categories.
        heights: N positions from 0 to 1, on a logarithmic scale if asked for, or if the numbers span two
            decades.
        ticks: Heights and texts of the ticks.
    """

    def __init__(self, name: str, values: Sequence[Any], *, is_log: bool = False) -> None:
        self.name = name
        self.is_number = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
        self.is_whole = self.is_number and all(isinstance(value, int) for value in values)
        self.names: list[str] = []
        if not self.is_number:
            texts = [str(value) for value in values]
            self.names = sorted(set(texts), key=_by_number)
            self.places = np.array([self.names.index(text) for text in texts], dtype=float)
            shown = list(enumerate(self.names))
        else:
            self.places = np.asarray(values, dtype=float)
            shown = []
        is_log = (
            self.is_number
            and self.places.min() > 0
            and (is_log or self.places.max() / self.places.min() >= 100)
        )
        scaled = np.log10(self.places) if is_log else self.places
        low, high = float(scaled.min()), float(scaled.max())
        span = high - low

        def height(value: NDArray[np.float64]) -> NDArray[np.float64]:
            return (value - low) / span if span else np.full_like(value, 0.5)

        self.heights = height(scaled)
        if self.is_number:
            different = np.unique(scaled)
            at = different if len(different) <= MOST_TICKS else np.linspace(low, high, 5)
            texts = [f"{10**each if is_log else each:.3g}" for each in at]
        else:
            at, texts = np.array([float(place) for place, _ in shown]), [_short(text) for _, text in shown]
        self.ticks = list(zip(height(at).tolist(), texts, strict=True))


def _by_number(text: str) -> tuple[float, str]:
    """Return a sort key: numbers by value, then other texts."""
    try:
        return float(text), text
    except ValueError:
        return math.inf, text


def _short(text: str) -> str:
    return text if len(text) <= MOST_LETTERS else f"{text[: MOST_LETTERS - 1]}…"


def _broken(name: str) -> str:
    """Return a name in two lines, broken after its first dot or slash."""
    for sign in (".", "/"):
        if sign in name:
            first, rest = name.split(sign, 1)
            return f"{first}{sign}\n{_short(rest)}"
    return _short(name)


def _check(points: Points, values: Sequence[float]) -> None:
    if not points or len(points) != len(values):
        msg = f"{len(points)} points and {len(values)} values: one of each is needed for every trial"
        raise ValueError(msg)
