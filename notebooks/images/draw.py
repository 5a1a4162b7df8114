"""Draw the README's figure from a demo run, light and dark, and take a screenshot of its report page."""

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image

from fer import angles, load, measure
from fer.data import SyntheticFacesDataModule
from fer.figures.angles import DIVERGING, cluster_order
from fer.figures.bands import STAGE_LOOKS
from fer.figures.curves import measured_times
from fer.figures.style import write_figure
from fer.neurons import Stage
from fer.runs import Run

HERE: Final = Path(__file__).parent
WIDTH: Final = 9.6
"""Width of the figure in inches; a README shows it about 830 pixels wide."""

SCREEN: Final = (1100, 1300)
"""Width and height of the screenshot, in pixels."""


class Theme(NamedTuple):
    """Colours of a figure: GitHub's page, its text, and the quantile bands."""

    page: str
    ink: str
    fan: str


THEMES: Final = {
    "light": Theme("#FFFFFF", "#1F2328", "#0072B2"),
    "dark": Theme("#0D1117", "#E6EDF3", "#56B4E9"),
}

QUANTILES: Final = ("min", "q05", "median", "q95", "max")


def main() -> None:
    """Draw the README's figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, nargs="?", default=Path("runs/latest"), help="a run of the demo")
    parser.add_argument("--layer", default="conv5", help="layer whose angles are drawn (conv5)")
    given = parser.parse_args()
    run = Run(given.run)
    maps = {
        "before": neuron_angles(run.best_checkpoint, given.layer),
        "after": neuron_angles(run.pruned_checkpoint, given.layer),
    }
    for name, theme in THEMES.items():
        file = HERE / f"angles-{name}.png"
        write_figure(draw(run, given.layer, maps, theme), file, dpi=170)
        few = (
            Image.open(file)
            .convert("RGB")
            .quantize(method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        )
        few.save(file, optimize=True)  # a third of the size
    photograph(run.folder / "report.html", HERE / "report.png")


def neuron_angles(checkpoint: Path, layer: str) -> tuple[int, np.ndarray]:
    """Return the width of a layer, and its angles on 1,024 training images, without those of dead neurons."""
    task = load(checkpoint)
    data = SyntheticFacesDataModule(image_size=48, channels=1)
    data.setup("fit")
    measured = measure(task.network, data.sample_dataloader("train", 1024))  # as the next layer takes them
    degrees = angles(measured[layer]).numpy()
    there = np.flatnonzero(~np.isnan(degrees.diagonal()))
    block = degrees[np.ix_(there, there)]
    order = cluster_order(block)
    return len(degrees), block[np.ix_(order, order)]


def draw(run: Run, layer: str, maps: dict[str, tuple[int, np.ndarray]], theme: Theme) -> Figure:
    """Draw the angle map before and after pruning, next to the quantiles of the angles over the training."""
    figure = Figure(figsize=(WIDTH, 3.1), facecolor=theme.page, layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(2.6, 2))
    panels = left.subplots(1, 2)
    for axes, (when, (width, degrees)) in zip(panels, maps.items(), strict=True):
        image = axes.imshow(degrees, cmap=DIVERGING, vmin=0, vmax=180, interpolation_stage="data")
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        axes.set_title(f"{width} neurons {when} pruning", fontsize=10, color=theme.ink)
    bar = left.colorbar(image, ax=panels, orientation="horizontal", aspect=40, pad=0.03, shrink=0.8)
    bar.set_ticks([0, 45, 90, 135, 180], labels=["0° same", "45°", "90° unrelated", "135°", "180° opposite"])
    bar.ax.tick_params(labelsize=9, colors=theme.ink, length=2)
    bar.outline.set_visible(False)
    draw_fan(right.subplots(), run, layer, theme)
    return figure


def draw_fan(axes: Axes, run: Run, layer: str, theme: Theme) -> None:
    """Draw the quantiles of a layer's angles over the epochs, with the network's stages above them."""
    columns = run.read_metrics()
    values = {name: np.array(columns[f"angles/{layer}/{name}"]) for name in QUANTILES}
    there = ~np.isnan(values["median"])
    times = measured_times(columns)[there]
    values = {name: each[there] for name, each in values.items()}
    look: dict[str, Any] = {"color": theme.fan, "linewidth": 0}
    axes.fill_between(times, values["min"], values["max"], alpha=0.18, **look)
    axes.fill_between(times, values["q05"], values["q95"], alpha=0.4, **look)
    axes.plot(times, values["median"], color=theme.ink, linewidth=1.4)
    for edge, text in (("median", "median"), ("q95", "90 % of the pairs"), ("max", "all pairs")):
        place = (times[-1], values[edge][-1])
        axes.annotate(
            text,
            place,
            (-3, -3),
            textcoords="offset points",
            ha="right",
            va="top",
            fontsize=9,
            color=theme.ink,
        )
    stages = run.read_stages()["network"]["final"]
    for each in stages:
        colour, _ = STAGE_LOOKS[Stage(each["stage"])]
        axes.axvspan(each["begin"], each["end"], ymin=0.94, color=colour, linewidth=0)
    shown = dict.fromkeys(Stage(each["stage"]) for each in stages)
    handles = [Patch(color=STAGE_LOOKS[stage][0], label=stage.value) for stage in shown]
    # Between the stages and the bands: below them, angles of single pairs come close to 0 degrees.
    place: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, 0.95), "ncols": 4}
    axes.legend(handles=handles, fontsize=9, frameon=False, labelcolor=theme.ink, **place)
    axes.set(xlim=(times[0], times[-1]), ylim=(0, 191), yticks=[0, 45, 90, 135, 180], facecolor=theme.page)
    axes.yaxis.set_major_formatter("{x:.0f}°")
    axes.tick_params(labelsize=9, colors=theme.ink, length=2)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(theme.ink)
    axes.set_xlabel("epochs trained", fontsize=9, color=theme.ink)
    axes.set_title(f"Angles between the neurons of {layer} while it learns", fontsize=10, color=theme.ink)


def photograph(page: Path, file: Path) -> None:
    """Take a screenshot of a report page with Chromium, if both exist."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None or not page.is_file():
        return
    with tempfile.TemporaryDirectory() as folder:
        words = [chromium, "--headless", "--no-sandbox", "--hide-scrollbars", f"--user-data-dir={folder}"]
        size = [f"--window-size={SCREEN[0]},{SCREEN[1]}", "--virtual-time-budget=5000"]
        subprocess.run(
            [*words, *size, f"--screenshot={file}", page.resolve().as_uri()], check=True, capture_output=True
        )
    Image.open(file).convert("RGB").quantize(64).save(file, optimize=True)


if __name__ == "__main__":
    main()
