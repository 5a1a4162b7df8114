"""Ask whether the redundancy of a layer's neurons predicts how many of them can go.

``python tests/bench/redundancy.py runs/*/checkpoints/best.ckpt --out redundancy.json``. Each hidden layer of
each trained network is pruned by itself to several widths (linear span, sequential refit, batch norm
recalibrated; nothing is fine-tuned) and evaluated on val. The removable share of a layer is the largest at
which no more than ``--lost`` of the accuracy is lost, linear between the widths that are tried. Beside it
stands what the neurons' activations say: effective rank, similar, cloned and reproducible neurons. The table
has Spearman's rank correlations over the layers of a training: mean and standard deviation over the trainings
of each network. With ``--out`` each layer is kept at once, the same command goes on where it was stopped, and
a figure is drawn beside the file.
"""

import argparse
import json
import math
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import spearmanr

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.pruning import METHODS, Subject, subject_of
from measured import machine, say

from fer.figures.style import BLUE, GREEN, NORMAL, ORANGE, PURPLE, new_figure, percent, tidy, write_figure
from fer.files import write_json
from fer.neurons import ActivationStatistics, angles, classify
from fer.neurons.ranks import ranks
from fer.neurons.recalibrate import recalibrated
from fer.neurons.redundancy import cloned_share, redundant_share
from fer.pruning import evaluate
from fer.pruning.once import prune_measured

SHARES: Final = (0.25, 0.5, 0.75, 0.875)
"""Shares of a layer's neurons whose removal is tried."""

MEASURES: Final = ("effective rank", "similar", "cloned", "reproducible")
"""What the activations say of a layer's neurons, each from 0 to 1."""

SIMILAR_BELOW: Final = 30.0
"""Angle around the means below which two neurons are similar, degrees."""

Row = dict[str, Any]


def measures(statistics: ActivationStatistics) -> dict[str, float]:
    """Return the redundancy of a layer's neurons; the effective rank is a share of the layer's width."""
    degrees = angles(statistics, "centre")
    classes = classify(statistics, degrees, similar_below=SIMILAR_BELOW, complementary_above=150)
    values = (
        ranks(statistics).effective / statistics.num_neurons,
        classes.shares["similar"],
        cloned_share(statistics, degrees, similar_below=SIMILAR_BELOW),
        redundant_share(statistics, degrees, similar_below=SIMILAR_BELOW),
    )
    return dict(zip(MEASURES, values, strict=True))


def rows_of(subject: Subject, done: Sequence[Row]) -> Iterator[Row]:
    """Yield a row for each layer of a network that is not done yet."""
    network, inputs, measurement = subject.network, subject.inputs, subject.measurements[False]
    finished = {row["layer"] for row in done if row["network"] == subject.name}
    whole = evaluate(recalibrated(network, inputs) or network, subject.splits["val"]).report
    sizes = {group.name: group.num_neurons for group in measurement.groups}
    for group in measurement.groups:
        layer, size = group.name, group.num_neurons
        if layer in finished:
            continue
        lost = {}
        for share in SHARES:
            nums = dict.fromkeys(sizes, 0) | {layer: round(share * size)}
            settings = replace(METHODS["span, sequential"], num_removed=nums)
            small = prune_measured(network, inputs, measurement, settings).network
            found = evaluate(recalibrated(small, inputs) or small, subject.splits["val"]).report
            lost[str(share)] = whole.accuracy - found.accuracy
        yield {
            "network": subject.name,
            "layer": layer,
            "width": size,
            "n": whole.n,
            "lost": lost,
            "measures": measures(measurement.statistics_of(group)),
        }


def removable(lost: Mapping[str, float], most: float) -> float:
    """Return the largest share of a layer that can go before more than so much accuracy is lost.

    >>> removable({"0.25": 0.0, "0.5": 0.02}, most=0.01)
    0.375

    Args:
        lost: Accuracy lost by share removed, 0 to 1.
        most: Largest loss, 0 to 1.
    """
    shares = [0.0, *map(float, lost)]
    losses = np.maximum.accumulate([0.0, *lost.values()])
    if losses[-1] <= most:
        return shares[-1]
    over = int(np.argmax(losses > most))
    step = (most - losses[over - 1]) / (losses[over] - losses[over - 1])
    return float(shares[over - 1] + step * (shares[over] - shares[over - 1]))


def correlations(rows: Sequence[Row], most: float) -> dict[str, dict[str, list[float]]]:
    """Return by network and measure the rank correlations over the layers, one for each training."""
    trainings: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        trainings[row["network"]].append(row)
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for training, own in trainings.items():
        shares = [removable(row["lost"], most) for row in own]
        for measure in MEASURES:
            found[training.split()[0]][measure].append(correlation(values_of(own, measure), shares))
    return found


def values_of(rows: Sequence[Row], measure: str) -> list[float]:
    """Return the values of a measure."""
    return [row["measures"][measure] for row in rows]


def correlation(values: Sequence[float], shares: Sequence[float]) -> float:
    """Return Spearman's rank correlation; NaN where one side does not change or a value is unknown."""
    is_known = len(set(values)) > 1 and len(set(shares)) > 1 and not any(map(math.isnan, values))
    return float(spearmanr(values, shares).statistic) if is_known else math.nan


def summary(rows: Sequence[Row], most: float) -> str:
    """Return the table of rank correlations."""
    lines = [
        f"Spearman's rank correlation with the share of a layer that can go for {100 * most:g} points "
        f"(val, n = {rows[0]['n']:,}), over the layers of a training: mean ± standard deviation of them.",
        "",
        f"| network | trainings | layers | {' | '.join(MEASURES)} |",
        "|---" * (3 + len(MEASURES)) + "|",
    ]
    for network, found in correlations(rows, most).items():
        own = [row for row in rows if row["network"].split()[0] == network]
        num = len({row["network"] for row in own})
        cells = [spread(found[measure]) for measure in MEASURES]
        lines.append(f"| {network} | {num} | {len(own) // num} | {' | '.join(cells)} |")
    shares = [removable(row["lost"], most) for row in rows]
    cells = [f"{correlation(values_of(rows, measure), shares):+.2f}" for measure in MEASURES]
    lines.append(f"| all layers of all trainings | | {len(rows)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def spread(values: Sequence[float]) -> str:
    """Return a mean with the standard deviation of several; n where some trainings have no correlation."""
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return "\N{EN DASH}"
    text = f"{fmean(known):+.2f}" + (f" ± {stdev(known):.2f}" if len(known) > 1 else "")
    return text if len(known) == len(values) else f"{text} (n = {len(known)})"


def draw(rows: Sequence[Row], most: float) -> Figure:
    """Draw the removable share of each layer over each measure."""
    figure = new_figure(2.1 * len(MEASURES), 2.6)
    panels = figure.subplots(1, len(MEASURES), sharey=True)
    networks = list(dict.fromkeys(row["network"].split()[0] for row in rows))
    looks = zip(networks, "os^D", (BLUE, ORANGE, GREEN, PURPLE), strict=False)
    marks = {network: {"marker": marker, "color": colour} for network, marker, colour in looks}
    for axes, measure in zip(panels, MEASURES, strict=True):
        for network, look in marks.items():
            own = [row for row in rows if row["network"].split()[0] == network]
            shares = [removable(row["lost"], most) for row in own]
            axes.scatter(values_of(own, measure), shares, s=14, label=network, **look)
        axes.set_title(measure, fontsize=NORMAL)
        axes.xaxis.set_major_formatter(percent())
        axes.yaxis.set_major_formatter(percent())
        tidy(axes)
    panels[0].set_ylabel(f"share that can go, {100 * most:g} % of val lost")
    figure.supxlabel("of the layer", fontsize=NORMAL)
    panels[-1].legend(fontsize=NORMAL, frameon=False)
    return figure


def main(argv: Sequence[str] | None = None) -> list[Row]:
    """Print a line for each layer and the table, and write the rows and the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("checkpoints", nargs="+", type=Path, help="runs/NAME/checkpoints/best.ckpt")
    parser.add_argument("--lost", type=float, default=0.01, help="accuracy that may be lost, 0 to 1")
    parser.add_argument("--num_samples", type=int, default=2048, help="training images to measure on")
    parser.add_argument("--out", type=Path, help="JSON file for the rows; the figure is drawn beside it")
    parser.set_defaults(methods=[])  # of the pruning bench: no other method is compared
    given = parser.parse_args(argv)
    rows: list[Row] = []
    if given.out and given.out.exists():
        rows = json.loads(given.out.read_text())["rows"]
    for checkpoint in given.checkpoints:
        for row in rows_of(subject_of(checkpoint, given), rows):
            rows.append(row)
            parts = [f"{name} {value:.3f}" for name, value in row["measures"].items()]
            share = removable(row["lost"], given.lost)
            say(f"{row['network']} {row['layer']} ({row['width']}): {share:.3f} can go; {', '.join(parts)}")
            if given.out:
                write_json(given.out, {"machine": machine(), "rows": rows})
    say("\n" + summary(rows, given.lost))
    if given.out:
        write_figure(draw(rows, given.lost), given.out.with_suffix(".png"))
    return rows


if __name__ == "__main__":
    main()
