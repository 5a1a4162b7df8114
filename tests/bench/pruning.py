"""Compare pruning methods at equal size: ours, rivals, and Torch-Pruning's criteria.

``python tests/bench/pruning.py runs/NAME/checkpoints/best.ckpt``. Nothing is fine-tuned. Statistics, fits and
Taylor's gradients come from training images without augmentation; accuracies from the validation and the test
split. Each network is evaluated as it is pruned, and with batch norm recalibrated on the same images.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch_pruning as tp
import yaml
from lightning.pytorch import Trainer
from torch import Tensor, nn
from torch.nn import functional as F

from fer.callbacks.training_samples import training_samples
from fer.data import DATA_MODULES
from fer.metrics import mcnemar
from fer.neurons import Measurement, PrunePlan, Removal, measure_groups, prune
from fer.neurons.recalibrate import recalibrated
from fer.neurons.rules import RIVALS
from fer.pruning import Evaluation, Limit, PruneSettings, evaluate
from fer.pruning.limits import Meter
from fer.pruning.once import prune_measured
from fer.pruning.targets import settings_at_size, share_at_size
from fer.tasks import load

OURS = {
    "span, joint": PruneSettings(criterion="span", refit="joint"),
    "span, sequential": PruneSettings(criterion="span"),
}
METHODS = OURS | {name: PruneSettings(rule=name) for name in RIVALS}
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="runs/NAME/checkpoints/best.ckpt")
    parser.add_argument("--shares", nargs="*", type=float, default=[0.5, 0.7], help="removed of all layers")
    parser.add_argument("--macs", nargs="*", type=float, default=[0.5], help="shares of multiply-adds left")
    parser.add_argument("--layers", nargs="*", default=[], help="half of each of these layers alone; all")
    parser.add_argument("--methods", nargs="*", default=[*METHODS, *CRITERIA], help="the columns")
    parser.add_argument("--num_samples", type=int, default=4096)
    parser.add_argument("--out", type=Path, help="JSON file for the table")
    settings = parser.parse_args()
    config = yaml.safe_load((settings.checkpoint.parent.parent / "config.yaml").read_text())
    data = DATA_MODULES[config["dataset"]](**config["data"])
    data.prepare_data()
    data.setup()
    task = load(settings.checkpoint)
    network = task.network.eval()
    trainer = Trainer(accelerator="cpu", logger=False)
    found = training_samples(trainer, task, network, data=data, num_samples=settings.num_samples)
    samples = [each.batch for each in found.batches]
    inputs = [batch[0] for batch in samples]
    loaders = zip(data.test_names, data.predict_dataloader(), strict=True)
    splits = {"val": list(data.val_dataloader())} | {name: list(loader) for name, loader in loaders}
    measurement = measure_groups(network, inputs)
    scores = importances(network, measurement, samples) if {*CRITERIA} & {*settings.methods} else {}
    names = [group.name for group in measurement.groups]
    layers = names if settings.layers == ["all"] else settings.layers
    places = [
        *(Place(f"{share:.0%} of all maps removed", share=share) for share in settings.shares),
        *(Place(f"{share:.0%} of the multiply-adds left", macs=share) for share in settings.macs),
        *(Place(f"half of {layer} removed", share=0.5, layer=layer) for layer in layers),
    ]
    rows: list[dict[str, Any]] = []
    report(rows, "whole", "", network, recalibrated(network, inputs), splits, 0.0, {})
    for place in places:
        joint: dict[str, Evaluation] = {}
        for method in settings.methods:
            began = time.perf_counter()
            small = one_pruned(method, place, network, measurement, scores, inputs)
            seconds = time.perf_counter() - began
            now = report(
                rows, place.label, method, small, recalibrated(small, inputs), splits, seconds, joint
            )
            joint = now if method == "span, joint" else joint
    if settings.out:
        settings.out.write_text(json.dumps(rows, indent=1))


def report(
    rows: list[dict[str, Any]],
    place: str,
    method: str,
    bare: nn.Module,
    recalibrated: nn.Module | None,
    splits: Mapping[str, Sequence[Any]],
    seconds: float,
    against: Mapping[str, Evaluation],
) -> dict[str, Evaluation]:
    """Evaluate a network and print its row; return the evaluations of the recalibrated one."""
    row: dict[str, Any] = {"place": place, "method": method, "seconds": round(seconds, 1)}
    found = {}
    for split, batches in splits.items():
        one = evaluate(bare, batches)
        other = evaluate(recalibrated, batches) if recalibrated is not None else one
        found[split] = other
        row[split] = {"n": one.report.n, "bare": one.report.accuracy, "recalibrated": other.report.accuracy}
        if against:
            paired = mcnemar(against[split].right, other.right)
            row[split]["lost_won_against_joint"] = [paired.lost, paired.won]
    if not rows:
        numbers = ", ".join(f"{split} n = {row[split]['n']:,}" for split in splits)
        sys.stdout.write(f"accuracy bare / with batch norm recalibrated; {numbers}\n\n")
        sys.stdout.write(f"| place | method | {' | '.join(splits)} | lost, won against joint | seconds |\n")
        sys.stdout.write("|---" * (4 + len(splits)) + "|\n")
    rows.append(row)
    cells = [f"{100 * row[each]['bare']:.2f} / {100 * row[each]['recalibrated']:.2f}" for each in splits]
    pairs = (
        "; ".join("{}, {}".format(*row[each]["lost_won_against_joint"]) for each in splits) if against else ""
    )
    sys.stdout.write(f"| {place} | {method} | {' | '.join(cells)} | {pairs} | {seconds:.1f} |\n")
    sys.stdout.flush()
    return found


def one_pruned(
    method: str,
    place: Place,
    network: nn.Module,
    measurement: Measurement,
    scores: Mapping[str, Mapping[str, Tensor]],
    inputs: Sequence[Tensor],
) -> nn.Module:
    """Return what a method leaves of a network, not recalibrated."""
    sizes = {group.name: group.num_neurons for group in measurement.groups}
    limit = None if place.macs is None else Limit("macs", place.macs, of=network)
    meter = limit and Meter(limit, network, inputs[0])
    if method in METHODS:
        settings = METHODS[method]
        if meter is not None:
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
        name: plan_of(scores[method][name], int(share * size) if place.layer in (None, name) else 0)
        for name, size in sizes.items()
    }
    return prune(network, inputs, plans=plans, merge="drop", measurement=measurement).network


def plan_of(importance: Tensor, num: int) -> PrunePlan:
    """Return the plan that removes the least important neurons."""
    gone = importance.argsort()[:num].tolist()
    return PrunePlan(len(importance), tuple(Removal(neuron, "criterion") for neuron in gone))


def importances(
    network: nn.Module, measurement: Measurement, batches: Sequence[Sequence[Tensor]]
) -> dict[str, dict[str, Tensor]]:
    """Return by Torch-Pruning's criterion and by group how important each neuron is."""
    for inputs, labels in batches:  # Taylor's gradients: those of the loss of all samples together
        F.cross_entropy(network(inputs), labels, reduction="sum").backward()
    graph = tp.DependencyGraph().build_dependency(network, example_inputs=batches[0][0][:2])
    found: dict[str, dict[str, Tensor]] = {}
    for name, make in CRITERIA.items():
        criterion, found[name] = make(), {}
        for group in measurement.groups:
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
