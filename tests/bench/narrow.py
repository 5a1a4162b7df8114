"""Compare pruning a wide network with training a narrow one of as many multiply-adds for as long.

``python tests/bench/narrow.py --epochs 30 --tune_epochs 10 --seeds 3 -- --data.root ~/data``. Words after
``--`` are settings of every training. For each network and seed: the wide network is trained; it is pruned
to each share of its multiply-adds and fine-tuned; and the same architecture, its widths scaled down to as
many multiply-adds, is trained from scratch for the epochs of both. All are tested once, each by its best
checkpoint. Runs that are finished are reused. Writes ``narrow.json`` and ``narrow.png``.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
import yaml
from matplotlib.figure import Figure as Drawing

sys.path.insert(0, str(Path(__file__).parents[1]))

from measured import machine, say

from fer.__main__ import main as fer
from fer.configs import config_path
from fer.figures.style import BLUE, NORMAL, VERMILLION, new_figure, percent, tidy, write_figure
from fer.models import NETWORKS
from fer.pruning import count_macs
from fer.runs import Run
from fer.tasks import constructor_parameters

CONFIGS: Final = ("conv6", "vgg", "best")
SHARES: Final = (0.5, 0.25)


class Result(NamedTuple):
    """What was found for a network, a seed and a share of the multiply-adds.

    Attributes:
        config: Name of the config.
        seed: Of the training.
        share: Of the wide network's multiply-adds that may be left; 1 for the wide network.
        macs: Multiply-adds of the pruned network and of the narrow one, for one sample.
        accuracies: On test, of both.
    """

    config: str
    seed: int
    share: float
    macs: tuple[int, int]
    accuracies: tuple[float, float]


def macs_of(name: str, settings: Mapping[str, Any]) -> int:
    """Return the multiply-adds of a network for one sample."""
    defaults = constructor_parameters(NETWORKS[name])
    channels, size = (settings.get(key, defaults[key].default) for key in ("channels", "image_size"))
    return count_macs(NETWORKS[name](**settings), torch.zeros(1, channels, size, size))


def narrowed(name: str, settings: Mapping[str, Any], most: float) -> dict[str, Any]:
    """Return the settings of the widest network of an architecture that has at most so many multiply-adds.

    All widths are scaled by one factor.

    Args:
        name: Of the network.
        settings: Of the wide one.
        most: Largest number of multiply-adds.
    """
    defaults = constructor_parameters(NETWORKS[name])
    key = "widths" if "widths" in defaults else "width"
    wide = settings.get(key, defaults[key].default)

    def scaled(factor: float) -> dict[str, Any]:
        each = [max(1, int(factor * width)) for width in (wide if key == "widths" else [wide])]
        return {**settings, key: tuple(each) if key == "widths" else each[0]}

    low, high = 0.0, 1.0
    for _ in range(10):
        middle = (low + high) / 2
        low, high = (middle, high) if macs_of(name, scaled(middle)) <= most else (low, middle)
    return scaled(low)


def run(folder: Path, command: str, *words: object) -> Run:
    """Run a command in a folder of its own unless it has finished there, and return its run."""
    found = Run(folder)
    end = found.prune_path if command == "prune" else found.results_path
    if not end.is_file():
        place = ["--runs_dir", folder.parent, "--run_name", folder.name]
        if command == "fit" and found.config_path.is_file():
            words, place = ("--resume", folder), []
        if status := fer([command, *map(str, (*words, *place))]):
            raise SystemExit(status)
    return found


def accuracy(found: Run) -> float:
    """Return the accuracy on test."""
    return float(found.read_results()["splits"]["test"]["acc"])


def compare(config: str, seed: int, given: argparse.Namespace) -> list[Result]:
    """Train, prune and train narrow for a network and a seed."""
    content = yaml.safe_load(config_path(config).read_text())
    network, shapes = content["network"], {"channels", "image_size"}
    kinds = constructor_parameters(NETWORKS[network])
    settings = {key: value for key, value in content["model"].items() if key in kinds}
    settings |= {key: value for key, value in content["data"].items() if key in shapes & kinds.keys()}
    settings |= given.settings.get(network, {})
    common = ("--config", config, "--seed_everything", seed, *given.words)
    name = f"{config}-{seed}"

    def fit(label: str, model: Mapping[str, Any], epochs: int) -> Run:
        sizes = [
            word
            for key, value in model.items()
            if key not in shapes
            for word in (f"--model.{key}", json.dumps(value))
        ]
        return run(given.runs_dir / f"{name}-{label}", "fit", *common, *sizes, "--trainer.max_epochs", epochs)

    wide = fit("wide", settings, given.epochs)
    whole = macs_of(network, settings)
    results = [Result(config, seed, 1.0, (whole, whole), (accuracy(wide), accuracy(wide)))]
    for share in given.shares:
        pruned = run(
            *(given.runs_dir / f"{name}-pruned-{share}", "prune", wide.folder, "--target_macs", share),
            *("--tune_epochs", given.tune_epochs, *given.words),
        )
        tested = run(given.runs_dir / f"{name}-pruned-{share}-test", "test", pruned.folder, *given.words)
        narrow = fit(
            *(f"narrow-{share}", narrowed(network, settings, share * whole)),
            given.epochs + given.tune_epochs,
        )
        sizes = (
            pruned.read_prune()["after"]["macs"],
            macs_of(network, narrowed(network, settings, share * whole)),
        )
        results.append(Result(config, seed, share, sizes, (accuracy(tested), accuracy(narrow))))
    return results


def draw(results: Sequence[Result]) -> Drawing:
    """Draw the accuracies of pruned and narrow networks."""
    configs = list(dict.fromkeys(each.config for each in results))
    figure = new_figure(2.5 * len(configs), 2.6)
    panels = figure.subplots(1, len(configs), squeeze=False)
    for axes, config in zip(panels[0], configs, strict=True):
        own = [each for each in results if each.config == config]
        for place, (label, colour) in enumerate((("pruned", BLUE), ("narrow", VERMILLION))):
            axes.plot(
                *([each.share for each in own], [each.accuracies[place] for each in own], "o"),
                **{"color": colour, "markersize": 3, "alpha": 0.6},
            )
            shares = sorted({each.share for each in own})
            means = [
                statistics.fmean(each.accuracies[place] for each in own if each.share == share)
                for share in shares
            ]
            axes.plot(shares, means, color=colour, label=label)
        axes.set_xlabel("multiply-adds left")
        axes.set_title(config, fontsize=NORMAL)
        axes.legend(fontsize=NORMAL, frameon=False)
        axes.xaxis.set_major_formatter(percent())
        axes.yaxis.set_major_formatter(percent())
        tidy(axes)
    panels[0, 0].set_ylabel("test accuracy")
    return figure


def main(argv: Sequence[str] | None = None) -> list[Result]:
    """Print a line for each pair, and write the results and the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--configs", nargs="+", default=list(CONFIGS), help="configs of the wide networks")
    parser.add_argument("--shares", nargs="+", type=float, default=list(SHARES), help="of multiply-adds left")
    parser.add_argument("--epochs", type=int, default=30, help="of the wide network")
    parser.add_argument("--tune_epochs", type=int, default=10, help="of fine-tuning")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--runs_dir", type=Path, default=Path("runs/narrow"), help="folder of all runs")
    parser.add_argument(
        "--settings", type=json.loads, default={}, help='of wide networks: {"vgg": {"widths": [8, 8, 8, 8]}}'
    )
    parser.add_argument("words", nargs="*", help="settings of every training, after --")
    given = parser.parse_args(argv)
    results: list[Result] = []
    for config in given.configs:
        for seed in range(given.seeds):
            for each in compare(config, seed, given):
                results.append(each)
                pruned, narrow = each.accuracies
                say(
                    f"{each.config:<8} seed {each.seed}  {100 * each.share:3.0f} %  "
                    f"pruned {100 * pruned:6.2f} % ({each.macs[0]:,})  "
                    f"narrow {100 * narrow:6.2f} % ({each.macs[1]:,})"
                )
            given.runs_dir.mkdir(parents=True, exist_ok=True)
            content = {"machine": machine(), "results": [each._asdict() for each in results]}
            (given.runs_dir / "narrow.json").write_text(json.dumps(content, indent=1))
    write_figure(draw(results), given.runs_dir / "narrow.png")
    return results


if __name__ == "__main__":
    main()
