"""Losses and accuracies of several runs in one figure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fer.figures.curves import ACCURACY, ACCURACY_NAME, LOSS, read_curves
from fer.figures.style import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    PURPLE,
    SKY,
    SMALL,
    VERMILLION,
    mark_chance,
    new_figure,
    percent,
    scale_epochs,
    tidy,
    write_title,
)

COLOURS: Final = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, INK)
"""Of the runs, in order; further runs begin anew with markers."""

MARKERS: Final = ("", "o", "s", "^", "D")
"""Of the first seven runs, the next seven, and so on."""

LOOKS: Final[Mapping[str, dict[str, Any]]] = {
    "train": {"linestyle": (0, (4, 1.5)), "linewidth": 1.0, "alpha": 0.75},
    "val": {"linestyle": "solid", "linewidth": 1.6},
}


def overlay_figure(
    histories: Mapping[str, Mapping[str, Sequence[float]]],
    title: str = "Training curves by run",
    *,
    chance: float | None = None,
) -> Figure:
    """Draw the loss and the accuracy of several runs over the epochs, a colour for each run.

    The legend is below the panels, where it hides no curve.

    Args:
        histories: By run the columns of its ``metrics.csv``, some with ``train/loss``, ``val/acc`` and so on.
        title: Above the figure.
        chance: Chance accuracy, 0 to 1, drawn as a dashed line; None: no line.

    Raises:
        ValueError: None of the runs has a loss or an accuracy.
    """
    curves = {
        run: found
        for run, history in histories.items()
        if (found := read_curves(history, (*LOSS, *ACCURACY)))
    }
    if not curves:
        msg = "no loss or accuracy has a value"
        raise ValueError(msg)
    panels = {
        name: keys
        for name, keys in (("loss", LOSS), (ACCURACY_NAME, ACCURACY))
        if any(key in found for found in curves.values() for key in keys)
    }
    names = {run: number for number, run in enumerate(curves)}
    num_rows = -(-len(names) // 3) + 1
    figure = new_figure(6.4, 2.3 * len(panels) + 0.5 + 0.18 * num_rows)
    grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    epochs: list[float] = []
    for axes, (name, keys) in zip(grid, panels.items(), strict=True):
        axes.set_ylabel(name)
        tidy(axes)
        for run, found in curves.items():
            for key in keys:
                if key in found:
                    curve, split = found[key], key.partition("/")[0]
                    is_point = len(curve.values) == 1
                    look = _look(names[run]) | LOOKS[split]
                    axes.plot(*curve, **look | ({"marker": "o"} if is_point else {}))
                    epochs += curve.epochs.tolist()
        if name == ACCURACY_NAME:
            axes.yaxis.set_major_formatter(percent())
            if chance is not None:
                mark_chance(axes, chance, side="right")
    grid[-1].set_xlabel("epoch")
    scale_epochs(grid[-1], epochs)
    handles = [Line2D([], [], **_look(number) | LOOKS["val"], label=run) for run, number in names.items()]
    handles += [Line2D([], [], color=INK, **look, label=split) for split, look in LOOKS.items()]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=min(3, len(handles)), fontsize=SMALL, frameon=False
    )
    write_title(figure, title)
    return figure


def _look(number: int) -> dict[str, Any]:
    """Return the colour and the marker of a run."""
    turn, place = divmod(number, len(COLOURS))
    return {
        "color": COLOURS[place],
        "marker": MARKERS[turn % len(MARKERS)],
        "markersize": 3,
        "markevery": 0.1,
    }
