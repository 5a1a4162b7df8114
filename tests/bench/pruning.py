"""Compare pruning methods at equal size: ours, the papers' rules, rivals, and Torch-Pruning's criteria.

``python tests/bench/pruning.py runs/*/checkpoints/best.ckpt --out table.json``. Nothing is fine-tuned.
Statistics, fits and Taylor's gradients come from training images without augmentation; accuracies from the
validation and the test split. Each network is evaluated as it is pruned, and with batch norm recalibrated on
the same images. Checkpoints are trainings with different seeds: the table has means and spreads over those of
each network. With ``--out`` each row is kept at once, and the same command goes on where it was stopped.
"""

import argparse
import json
import platform
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

import torch_pruning as tp
import yaml
from lightning.pytorch import Trainer
from torch import Tensor, nn
from torch.nn import functional as F

from fer.callbacks.training_samples import training_samples
from fer.data import DATA_MODULES
from fer.files import write_json
from fer.metrics import mcnemar
from fer.neurons import PrunePlan, Removal, prune
from fer.neurons.planning import removal_costs
from fer.neurons.recalibrate import recalibrated
from fer.neurons.rules import RIVALS, RULES
from fer.pruning import Evaluation, Limit, PruneSettings, count_macs, evaluate
from fer.pruning.curves import Measurements, measure_twice, measurement_for
from fer.pruning.limits import Meter
from fer.pruning.once import prune_measured
from fer.pruning.targets import counts_at_size, settings_at_size, share_at_size
from fer.tasks import load

BEFORE = "span, joint"
METHODS = {
    BEFORE: PruneSettings(criterion="span", refit="joint"),
    "span, sequential": PruneSettings(criterion="span"),
    **{name: PruneSettings(rule=name) for name in (*RIVALS, *RULES)},
}
CRITERIA = {
    "L1": lambda: tp.importance.MagnitudeImportance(p=1),
    "FPGM": tp.importance.FPGMImportance,
    "Taylor": tp.importance.TaylorImportance,
}


class Place(NamedTuple):
    """What is removed: a share of all maps, a share of one layer, or down to a share of the multiply-adds."""

    label: str
    share: float | None = None
    layer: str | None = None
    macs: float | None = None


class Subject(NamedTuple):
    """A trained network, and what it is measured and evaluated on."""

    name: str
    network: nn.Module
    inputs: Sequence[Tensor]
    measurements: Measurements
    scores: Mapping[str, Mapping[str, Tensor]]
    splits: Mapping[str, Sequence[Any]]


Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("checkpoints", nargs="+", type=Path, help="runs/NAME/checkpoints/best.ckpt")
    parser.add_argument("--shares", nargs="*", type=float, default=[0.5, 0.7], help="removed of all layers")
    parser.add_argument(
        "--macs", nargs="*", type=float, default=[0.5, 0.25], help="shares of multiply-adds left"
    )
    parser.add_argument("--layers", nargs="*", default=[], help="half of each of these layers alone; all")
    parser.add_argument("--methods", nargs="*", default=[*METHODS, *CRITERIA], help="the columns")
    parser.add_argument("--num_samples", type=int, default=4096)
    parser.add_argument("--out", type=Path, help="JSON file for the rows")
    settings = parser.parse_args()
    rows: list[Row] = []
    if settings.out and settings.out.exists():
        rows = json.loads(settings.out.read_text())["rows"]
    for checkpoint in settings.checkpoints:
        for row in rows_of(checkpoint, settings, rows):
            rows.append(row)
            say(line(row))
            if settings.out:
                write_json(settings.out, {"rows": rows})
    say("\n" + summary(rows))


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def rows_of(checkpoint: Path, settings: argparse.Namespace, done: Sequence[Row]) -> Iterator[Row]:
    """Yield the rows of a network that are not done yet."""
    subject = subject_of(checkpoint, settings)
    names = [group.name for group in subject.measurements[False].groups]
    layers = names if settings.layers == ["all"] else settings.layers
    places = [
        Place("whole"),
        *(Place(f"{share:.0%} of all maps removed", share=share) for share in settings.shares),
        *(Place(f"{share:.0%} of the multiply-adds left", macs=share) for share in settings.macs),
        *(Place(f"half of {layer} removed", share=0.5, layer=layer) for layer in layers if layer in names),
    ]
    finished = {(row["network"], row["place"], row["method"]) for row in done}
    for place in places:
        before: dict[str, Evaluation] = {}
        for method in settings.methods if place.label != "whole" else ["whole"]:
            if (subject.name, place.label, method) in finished:
                continue
            began = time.perf_counter()
            small = subject.network if method == "whole" else one_pruned(method, place, subject)
            seconds = time.perf_counter() - began
            row, found = evaluated(subject, small, before)
            before = found if method == BEFORE else before
            yield {
                "network": subject.name,
                "place": place.label,
                "method": method,
                "seconds": round(seconds, 1),
            } | row


def subject_of(checkpoint: Path, settings: argparse.Namespace) -> Subject:
    """Load a network and its data, and measure it."""
    config = yaml.safe_load((checkpoint.parent.parent / "config.yaml").read_text())
    data = DATA_MODULES[config["dataset"]](**config["data"])
    data.prepare_data()
    data.setup()
    task = load(checkpoint)
    network = task.network.eval()
    trainer = Trainer(accelerator="cpu", logger=False)
    found = training_samples(trainer, task, network, data=data, num_samples=settings.num_samples)
    samples = [each.batch for each in found.batches]
    loaders = zip(data.test_names, data.predict_dataloader(), strict=True)
    measurements = measure_twice(network, [batch[0] for batch in samples])
    return Subject(
        name=f"{config['network']} {checkpoint.parent.parent.name}",
        network=network,
        inputs=[batch[0] for batch in samples],
        measurements=measurements,
        scores=importances(network, measurements, samples) if {*CRITERIA} & {*settings.methods} else {},
        splits={"val": list(data.val_dataloader())} | {name: list(loader) for name, loader in loaders},
    )


def evaluated(
    subject: Subject, bare: nn.Module, before: Mapping[str, Evaluation]
) -> tuple[Row, dict[str, Evaluation]]:
    """Evaluate a network, as it is and recalibrated; return the columns, and the latter's evaluations."""
    other = recalibrated(bare, subject.inputs)
    row: Row = {"macs": count_macs(bare, subject.inputs[0][:1])}
    found = {}
    for split, batches in subject.splits.items():
        one = evaluate(bare, batches)
        found[split] = two = evaluate(other, batches) if other is not None else one
        row[split] = {"n": one.report.n, "bare": one.report.accuracy, "recalibrated": two.report.accuracy}
        if before:
            paired = mcnemar(before[split].right, two.right)
            row[split]["lost_won_against_joint"] = [paired.lost, paired.won]
    return row, found


def line(row: Row) -> str:
    """Return a row as text."""
    cells = [
        f"{split} {100 * cell['bare']:.2f} / {100 * cell['recalibrated']:.2f}"
        for split, cell in row.items()
        if isinstance(cell, dict)
    ]
    return f"{row['network']}: {row['place']}, {row['method']}: {', '.join(cells)} ({row['seconds']} s)"


def summary(rows: Sequence[Row]) -> str:
    """Return the table of means and spreads over the trainings of each network."""
    splits = [split for split, cell in rows[0].items() if isinstance(cell, dict)]
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True
    ).stdout.strip()
    cells: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for row in rows:
        cells[row["network"].split()[0], row["place"], row["method"]].append(row)
    lines = [
        "Accuracy in percent, bare / with batch norm recalibrated: mean ± standard deviation over trainings. "
        + ", ".join(f"{split}: n = {rows[0][split]['n']:,}" for split in splits)
        + f". {platform.machine()}, {commit}",
        "",
        f"| network | place | method | trainings | {' | '.join(splits)} | seconds |",
        "|---" * (5 + len(splits)) + "|",
    ]
    for (network, place, method), found in cells.items():
        values = [
            " / ".join(spread([each[split][kind] for each in found]) for kind in ("bare", "recalibrated"))
            for split in splits
        ]
        seconds = mean(each["seconds"] for each in found)
        lines.append(
            f"| {network} | {place} | {method} | {len(found)} | {' | '.join(values)} | {seconds:.0f} |"
        )
    return "\n".join(lines)


def spread(shares: Sequence[float]) -> str:
    """Return a mean in percent, with the standard deviation of several."""
    text = f"{100 * mean(shares):.2f}"
    return f"{text} ± {100 * stdev(shares):.2f}" if len(shares) > 1 else text


def one_pruned(method: str, place: Place, subject: Subject) -> nn.Module:
    """Return what a method leaves of a network, not recalibrated."""
    network, inputs = subject.network, subject.inputs
    measurement = subject.measurements[False]
    sizes = {group.name: group.num_neurons for group in measurement.groups}
    limit = None if place.macs is None else Limit("macs", place.macs, of=network)
    meter = limit and Meter(limit, network, inputs[0])
    if method in METHODS:
        settings = METHODS[method]
        measurement = measurement_for(settings, subject.measurements)
        if meter is not None and method == BEFORE:  # neurons priced by what their next layers lose
            costs = removal_costs(network, measurement)
            settings = replace(settings, num_removed=counts_at_size(network, measurement, costs, meter))
        elif meter is not None:
            settings = settings_at_size(settings, network, measurement, inputs, meter)
        elif place.layer is None:
            settings = replace(settings, share_removed=place.share)
        else:
            nums = dict.fromkeys(sizes, 0) | {place.layer: round(place.share * sizes[place.layer])}
            settings = replace(settings, num_removed=nums)
        return prune_measured(network, inputs, measurement, settings).network
    share = place.share
    if meter is not None:
        share = share_at_size(METHODS["grail"], network, measurement, meter)
    plans = {
        name: plan_of(subject.scores[method][name], int(share * size) if place.layer in (None, name) else 0)
        for name, size in sizes.items()
    }
    return prune(network, inputs, plans=plans, merge="drop", measurement=measurement).network


def plan_of(importance: Tensor, num: int) -> PrunePlan:
    """Return the plan that removes the least important neurons."""
    gone = importance.argsort()[:num].tolist()
    return PrunePlan(len(importance), tuple(Removal(neuron, "criterion") for neuron in gone))


def importances(
    network: nn.Module, measurements: Measurements, batches: Sequence[Sequence[Tensor]]
) -> dict[str, dict[str, Tensor]]:
    """Return by Torch-Pruning's criterion and by group how important each neuron is."""
    for inputs, labels in batches:  # Taylor's gradients: those of the loss of all samples together
        F.cross_entropy(network(inputs), labels, reduction="sum").backward()
    graph = tp.DependencyGraph().build_dependency(network, example_inputs=batches[0][0][:2])
    found: dict[str, dict[str, Tensor]] = {}
    for name, make in CRITERIA.items():
        criterion, found[name] = make(), {}
        for group in measurements[False].groups:
            layer = network.get_submodule(group.name)
            cut = tp.prune_linear_out_channels if isinstance(layer, nn.Linear) else tp.prune_conv_out_channels
            whole = graph.get_pruning_group(layer, cut, idxs=list(range(group.num_neurons)))
            whole.items[:] = [item for item in whole.items if fits(item.dep, item.idxs)]
            found[name][group.name] = criterion(whole).detach()
    network.zero_grad()
    return found


def fits(dependency: Any, columns: Sequence[int]) -> bool:
    """Return whether a layer has the neurons that Torch-Pruning says it has.

    The layers around a mean over the neurons, as in spatial attention, do not: it takes the one map that the
    mean is for all of them, and its criteria fail there.
    """
    weight = getattr(dependency.layer, "weight", None)
    if weight is None:
        return True
    is_input = dependency.handler in (tp.prune_conv_in_channels, tp.prune_linear_in_channels)
    num = weight.shape[1] * getattr(dependency.layer, "groups", 1) if is_input else len(weight)
    return max(columns) < num


if __name__ == "__main__":
    main()
