"""Compare pruning methods at equal width: ours, the papers' rules, and Torch-Pruning's criteria.

``python tests/bench/pruning.py runs/NAME/checkpoints/best.ckpt``. Nothing is fine-tuned. Statistics, fits and
Taylor's gradients come from training images, accuracies from the validation split. Each criterion of
Torch-Pruning is evaluated twice: as that package leaves the network, and with our refit.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch_pruning as tp
import yaml
from lightning.pytorch import Trainer
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional as F

from fer.callbacks.training_samples import training_samples
from fer.data import DATA_MODULES
from fer.neurons import Measurement, PrunePlan, Removal, prune
from fer.pruning import METHODS, count_macs, evaluate
from fer.pruning.curves import measure_twice, measurement_for
from fer.pruning.once import prune_measured
from fer.tasks import load

CRITERIA = {
    "L1": lambda: tp.importance.MagnitudeImportance(p=1),
    "FPGM": tp.importance.FPGMImportance,
    "Taylor": tp.importance.TaylorImportance,
    "random": tp.importance.RandomImportance,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="runs/NAME/checkpoints/best.ckpt")
    parser.add_argument("--layers", nargs="*", help="layers that are pruned alone (all of them)")
    parser.add_argument("--shares", nargs="*", type=float, default=[0.25, 0.5, 0.75], help="of a layer")
    parser.add_argument(
        "--macs", type=float, default=0.5, help="share of the multiply-adds left by all layers"
    )
    parser.add_argument("--num_samples", type=int, default=4096)
    parser.add_argument("--seed", type=int, default=0, help="of the random criterion")
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
    val = list(data.val_dataloader())

    measurements = measure_twice(network, inputs)
    sizes = {group.name: group.num_neurons for group in measurements[False].groups}
    scores = importances(network, measurements[False], samples, settings.seed)
    places = {
        f"{layer}, {share:.0%}": {layer: round(share * sizes[layer])}
        for layer in settings.layers or sizes
        for share in settings.shares
    }
    if settings.macs:
        places[f"all, {settings.macs:.0%} of the multiply-adds"] = at_macs(
            network, measurements[False], inputs, settings.macs
        )
    before = evaluate(network, val).report
    table: dict[str, dict[str, float]] = {}
    for place, nums in track(places.items(), description="pruning", disable=not sys.stderr.isatty()):
        table[place] = {
            rule: 100 * (evaluate(small, val).report.accuracy - before.accuracy)
            for rule, small in ways(network, measurements, scores, nums, inputs)
        }
        line = "  ".join(f"{rule} {points:+.2f}" for rule, points in table[place].items())
        sys.stdout.write(f"{place}: {line}\n")
        sys.stdout.flush()
    sys.stdout.write(f"\nval, n = {before.n:,}: {100 * before.accuracy:.2f} % before; change in points\n")
    sys.stdout.write(markdown(table))
    if settings.out:
        settings.out.write_text(
            json.dumps({"n": before.n, "before": before.accuracy, "points": table}, indent=1)
        )


def importances(
    network: nn.Module, measurement: Measurement, batches: Sequence[Sequence[Tensor]], seed: int
) -> dict[str, dict[str, Tensor]]:
    """Return by Torch-Pruning's criterion and by group how important each neuron is."""
    torch.manual_seed(seed)
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


def at_macs(
    network: nn.Module, measurement: Measurement, inputs: Sequence[Tensor], share: float
) -> dict[str, int]:
    """Return how many neurons go from each group if all lose the same share and some multiply-adds stay."""
    sizes = {group.name: group.num_neurons for group in measurement.groups}
    low, high = 0.0, 1.0
    for _ in range(10):
        middle = (low + high) / 2
        nums = {name: min(int(middle * size), size - 1) for name, size in sizes.items()}
        plans = {
            name: PrunePlan(sizes[name], tuple(Removal(k, "criterion") for k in range(num)))
            for name, num in nums.items()
        }
        small = prune(network, inputs, plans=plans, merge="drop", measurement=measurement).network
        if count_macs(small, inputs[0]) > share * count_macs(network, inputs[0]):
            low = middle
        else:
            high, best = middle, nums
    return best


def ways(
    network: nn.Module,
    measurements: Mapping[bool, Measurement],
    scores: Mapping[str, Mapping[str, Tensor]],
    nums: Mapping[str, int],
    inputs: Sequence[Tensor],
) -> Iterator[tuple[str, nn.Module]]:
    """Yield what each rule and each criterion leaves of a network, if so many go from each group."""
    for name, settings in METHODS.items():
        measurement = measurement_for(settings, measurements)
        every = dict.fromkeys((group.name for group in measurement.groups), 0) | dict(nums)
        fixed = replace(settings, num_removed=every)
        yield name, prune_measured(network, inputs, measurement, fixed).network
    for name, importance in scores.items():
        plans = {
            layer: PrunePlan(
                len(importance[layer]),
                tuple(Removal(neuron, "criterion") for neuron in importance[layer].argsort()[:num].tolist()),
            )
            for layer, num in nums.items()
        }
        for merge in ("drop", "refit"):
            small = prune(network, inputs, plans=plans, merge=merge, measurement=measurements[False])
            yield f"{name}{', refit' if merge == 'refit' else ''}", small.network


def markdown(table: Mapping[str, Mapping[str, float]]) -> str:
    """Return a table with a row for each place."""
    rules = list(next(iter(table.values())))
    lines = [f"| removed | {' | '.join(rules)} |", "|---" * (len(rules) + 1) + "|"]
    lines += [
        f"| {place} | {' | '.join(f'{row[rule]:+.2f}' for rule in rules)} |" for place, row in table.items()
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
