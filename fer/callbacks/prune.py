"""A trained network made smaller: pruned by distinctiveness, evaluated on val, and kept as a checkpoint."""

import copy
import io
import json
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final, Literal, NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only
from matplotlib.figure import Figure
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Subset
from torch.utils.flop_counter import FlopCounterMode

from fer.callbacks.stop import is_stopped
from fer.data.base import ExpressionDataModule
from fer.errors import InputError
from fer.figures import dendrogram_figure, prune_figure
from fer.files import atomic_write
from fer.labels import NUM_EXPRESSIONS
from fer.metrics import ClassificationReport, mcnemar, report
from fer.neurons import RULES, angles, eval_state, measure_groups, prune
from fer.neurons.angles import COMPLEMENTARY_ABOVE, SIMILAR_BELOW, Origin
from fer.neurons.blocks import IDLE_BELOW, drop_idle_blocks
from fer.neurons.criteria import CriterionName, Pairs
from fer.neurons.merge import MergeRule
from fer.neurons.plan import count_removed
from fer.neurons.prunable import neurons_within
from fer.tasks.base import ClassificationTask

RuleName = Literal["gedeon_harris", "narayan", "jain"]

NUM_SAMPLES: Final = 4096
"""Training samples that neurons are measured on: some ten for each of a wide layer's."""

BATCH_SIZES: Final = (1, 64)
"""Samples at a time whose latency is measured."""

LATENCY_SECONDS: Final = 0.5
"""For which a network is run, at the least, to time it."""

MIN_RUNS: Final = 5
"""Runs that a median is taken of, at the least."""

NUM_WARM_UPS: Final = 2
"""Runs that do not count: the first ones are slower."""

log = logging.getLogger("fer.callbacks")


class Evaluation(NamedTuple):
    """How good a network is on a split.

    Attributes:
        loss: Mean cross-entropy.
        right: Which samples it gets right, bool, shape ``(N,)``.
        report: All that its confusion matrix says.
    """

    loss: float
    right: Tensor
    report: ClassificationReport


@dataclass(frozen=True)
class Size:
    """How large a network is.

    Attributes:
        parameters: Number of them.
        macs: Multiplications and additions for one sample, of convolutions and linear layers.
        bytes: Of a file with its state dict.
        milliseconds: By batch size, the median time of a batch, on the device where the network is. Code that
            was compiled is not used.
    """

    parameters: int
    macs: int
    bytes: int
    milliseconds: dict[int, float]


class PruneCallback(Callback):
    """Prune the best checkpoint when training ends, and say what it costs.

    ``checkpoints/pruned.ckpt`` holds the smaller network, which ``fer test`` takes and ``fer fit
    --start_from`` trains on; ``prune.json`` what went, why, and what it cost on val. It logs ``prune/…``:
    ``acc_before``, ``acc_after``, ``loss_…``, ``parameters_…``, ``macs_…``, ``bytes_…``, ``neurons_…``.

    Args:
        enabled: Whether the best checkpoint is pruned after training.
        similar_below: Two neurons with a smaller angle become one; degrees.
        complementary_above: Two neurons with a larger angle become one; degrees.
        by: What a neuron is compared with: each other neuron (pairs), or all others together (span).
        merge: What the next layer is given for the neurons that go; see :data:`fer.neurons.MergeRule`.
        rule: A paper's rule instead of ``by`` and ``merge``; see :data:`fer.neurons.RULES`.
        layers: Names of layers whose neurons may go; null: all hidden ones.
        num_samples: Training samples that neurons are measured on.
        idle_below: Whole blocks go that change what they are given by a smaller share, 0 to 1; with a rule or
            layers they stay.

    Source: Gedeon and Harris, "Network Reduction Techniques", 1991; merges: :mod:`fer.neurons.merge`.
    """

    def __init__(
        self,
        enabled: bool = False,
        similar_below: float = SIMILAR_BELOW,
        complementary_above: float = COMPLEMENTARY_ABOVE,
        by: CriterionName = "pairs",
        merge: MergeRule = "refit",
        rule: RuleName | None = None,
        layers: list[str] | None = None,
        num_samples: int = NUM_SAMPLES,
        idle_below: float = IDLE_BELOW,
    ) -> None:
        if num_samples < 2:
            msg = f"prune.num_samples is {num_samples}: one sample has no angles; give 2 or more"
            raise InputError(msg)
        if not 0 <= similar_below <= complementary_above <= 180:
            msg = (
                f"prune.similar_below is {similar_below} and complementary_above {complementary_above}: "
                "they must be 0 to 180 degrees in this order"
            )
            raise InputError(msg)
        if not 0 <= idle_below <= 1:
            msg = f"prune.idle_below is {idle_below}: it is a share of what a block is given, 0 to 1"
            raise InputError(msg)
        self.enabled = enabled
        self.idle_below = 0.0 if rule or layers else idle_below
        self.settings: dict[str, Any] = {
            "similar_below": similar_below,
            "complementary_above": complementary_above,
            "criterion": by,
            "merge": merge,
            "rule": rule,
            "layers": layers,
        }
        self.num_samples = num_samples
        self.console = Console(highlight=False, soft_wrap=True)

    @rank_zero_only
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prune the best checkpoint, if it is asked for."""
        best = getattr(trainer.checkpoint_callback, "best_model_path", "")
        data = getattr(trainer, "datamodule", None)
        if not self.enabled or not isinstance(pl_module, ClassificationTask) or not best:
            return
        if is_stopped(trainer):
            return
        if isinstance(data, ExpressionDataModule):
            task = copy.deepcopy(pl_module).float()  # least squares need more digits than bfloat16 has
            task.load_state_dict(torch.load(best, map_location=task.device, weights_only=True)["state_dict"])
            results = self.prune(task, data, Path(best), Path(trainer.default_root_dir))
            for logger in trainer.loggers:
                logger.log_metrics(scalars(results), step=trainer.global_step)

    def prune(
        self, task: ClassificationTask, data: ExpressionDataModule, checkpoint: Path, run_dir: Path
    ) -> dict[str, Any]:
        """Prune a trained task, write the smaller one and what it costs, say it, and return it.

        Args:
            task: Trained; its network is left as it is.
            data: Its data, set up.
            checkpoint: That the task was loaded from.
            run_dir: Gets ``checkpoints/pruned.ckpt`` and ``prune.json``.
        """
        inputs = inputs_of(task, data, self.num_samples)
        rule = self.settings["rule"]
        measure = RULES[rule].measure if rule else {}
        network, idle = drop_idle_blocks(task.network, inputs, self.idle_below)
        measurement = measure_groups(network, inputs, layers=self.settings["layers"], **measure)
        pruned = prune(network, inputs, measurement=measurement, **self.settings)
        results = compare(task, pruned.network, data) | {
            "layers": count_removed(pruned.plans, neurons_within(task.network, inputs[0], idle)),
            "blocks": idle,
            "refused": dict(pruned.report["refused"]),
            "settings": {**self.settings, "idle_below": self.idle_below},
        }
        self.keep(results, pruned.network, dict(pruned.widths), checkpoint, run_dir)
        if self.settings["criterion"] == "pairs" and not measurement.pattern_minmax:
            criterion = RULES[rule].criterion if rule else Pairs()
            normalise: Origin = criterion.normalise if isinstance(criterion, Pairs) else "auto"
            degrees = {
                group.name: angles(measurement.statistics_of(group), normalise).cpu().numpy()
                for group in measurement.groups
            }
            figure = dendrogram_figure(
                *(pruned.plans, degrees, f"{type(task.network).__name__}: what merges"),
                similar_below=self.settings["similar_below"],
                complementary_above=self.settings["complementary_above"],
            )
            write_figure(figure, run_dir / "figures" / "prune-merges.png")
        return results

    def keep(
        self,
        results: dict[str, Any],
        network: nn.Module,
        widths: dict[str, int],
        checkpoint: Path,
        run_dir: Path,
    ) -> None:
        """Write a smaller network and what it costs into a run's folder, and say it.

        Args:
            results: Of :func:`compare`, with ``layers``, ``refused`` and ``settings``.
            network: The smaller one.
            widths: Of it.
            checkpoint: That the full network was loaded from.
            run_dir: Gets ``checkpoints/pruned.ckpt``, ``prune.json`` and ``figures/prune.png``.
        """
        path = run_dir / "checkpoints" / "pruned.ckpt"
        write_checkpoint(path, checkpoint, network, widths)
        with atomic_write(run_dir / "prune.json") as file:
            file.write(json.dumps(results, indent=1).encode() + b"\n")
        how = self.settings["rule"] or f"{self.settings['criterion']}, {self.settings['merge']}"
        thresholds = f"{self.settings['similar_below']:.4g}° / {self.settings['complementary_above']:.4g}°"
        num_rounds = len(results.get("rounds", ()))
        what = f"{num_rounds} round{'s' * (num_rounds > 1)}" if num_rounds else thresholds
        if "num_removed" in self.settings:
            what = f"{results['after']['macs'] / results['before']['macs']:.0%} of the multiply-adds"
        title = f"{type(network).__name__}: {what}, {how}"
        write_figure(prune_figure(results, title), run_dir / "figures" / "prune.png")
        self.console.print(f"{table(results)}\n\npruned       {path}")


def write_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG."""
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=150)


def inputs_of(task: ClassificationTask, data: ExpressionDataModule, num_samples: int) -> list[Tensor]:
    """Return a stratified sample of train, not augmented, as batches on the task's device."""
    rows = data.sample("train", num_samples)
    loader = DataLoader(Subset(data.dataset("train"), rows.tolist()), batch_size=data.batch_size)
    return [inputs.to(task.device) for inputs, _ in loader]


def evaluate(network: nn.Module, batches: Iterable[Sequence[Tensor]], device: torch.device) -> Evaluation:
    """Return how good a network is on batches ``(inputs, labels)``."""
    outputs, truths = [], []
    with eval_state(network):
        for inputs, labels in batches:
            outputs.append(network(inputs.to(device)).float().cpu())
            truths.append(labels)
    logits, labels = torch.cat(outputs), torch.cat(truths)
    predicted = logits.argmax(dim=1)
    counts = torch.bincount(labels * NUM_EXPRESSIONS + predicted, minlength=NUM_EXPRESSIONS**2)
    confusion = counts.view(NUM_EXPRESSIONS, NUM_EXPRESSIONS)
    return Evaluation(float(F.cross_entropy(logits, labels)), predicted == labels, report(confusion))


def sizes_of(networks: Mapping[str, nn.Module], example: Tensor) -> dict[str, Size]:
    """Return how large networks are and how long they take.

    They are timed in turn, so that whatever else the machine does is the same to all.

    Args:
        networks: By name, on one device.
        example: What they take, one sample or more.
    """
    milliseconds: dict[str, dict[int, float]] = {name: {} for name in networks}
    for batch_size in BATCH_SIZES:
        batch = torch.cat([example[:1]] * batch_size)
        for name, seconds in _seconds(networks, batch).items():
            milliseconds[name][batch_size] = 1000 * median(seconds)
    return {
        name: Size(
            parameters=sum(parameter.numel() for parameter in network.parameters()),
            macs=macs_of(network, example),
            bytes=_file_size(network),
            milliseconds=milliseconds[name],
        )
        for name, network in networks.items()
    }


def macs_of(network: nn.Module, example: Tensor) -> int:
    """Return the multiplications and additions for one sample, of convolutions and linear layers."""
    with eval_state(network), FlopCounterMode(display=False) as counter:
        network(example[:1])
    return int(counter.get_total_flops()) // 2


def _file_size(network: nn.Module) -> int:
    file = io.BytesIO()
    torch.save(network.state_dict(), file)
    return file.tell()


def _seconds(networks: Mapping[str, nn.Module], batch: Tensor) -> dict[str, list[float]]:
    """Return what each run of each network took; all run as often as fits in :data:`LATENCY_SECONDS` each."""
    seconds: dict[str, list[float]] = {name: [] for name in networks}
    total = 0.0
    with ExitStack() as stack:
        # A copy, which the smaller network is, has lost what was compiled.
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        for network in networks.values():
            stack.enter_context(eval_state(network))
            for _ in range(NUM_WARM_UPS):
                network(batch)
        while min(map(len, seconds.values())) < MIN_RUNS or total < LATENCY_SECONDS * len(networks):
            for name, network in networks.items():
                _wait(batch)
                started = time.perf_counter()
                network(batch)
                _wait(batch)
                seconds[name].append(time.perf_counter() - started)
            total = sum(map(sum, seconds.values()))
    return seconds


def _wait(batch: Tensor) -> None:
    """Wait until a GPU has done what it was given."""
    if batch.is_cuda:
        torch.cuda.synchronize(batch.device)


def compare(task: ClassificationTask, network: nn.Module, data: ExpressionDataModule) -> dict[str, Any]:
    """Return plain numbers: a task's network and a smaller one on val, and their sizes."""
    networks = {
        "before": task.network,
        "after": network.to(memory_format=task.memory_format),
    }
    evaluated = {
        when: evaluate(network, data.val_dataloader(), task.device) for when, network in networks.items()
    }
    example = next(iter(data.val_dataloader()))[0].to(task.device)
    if example.ndim == 4:
        example = example.contiguous(memory_format=task.memory_format)
    sizes = {when: asdict(size) for when, size in sizes_of(networks, example).items()}
    return {
        "protocol": data.protocol_name,
        "n": evaluated["before"].report.n,
        **{
            when: {
                "acc": found.report.accuracy,
                "interval": list(found.report.interval),
                "loss": found.loss,
                "confusion": found.report.confusion.tolist(),
                **sizes[when],
            }
            for when, found in evaluated.items()
        },
        "mcnemar": mcnemar(evaluated["before"].right, evaluated["after"].right)._asdict(),
    }


def write_checkpoint(path: Path, checkpoint: Path, network: nn.Module, widths: dict[str, int]) -> None:
    """Write the smaller network as a checkpoint, with its widths, which its settings do not say.

    Args:
        path: Where to.
        checkpoint: Of the network as it was; its settings are taken over, its training's state is not.
        network: The smaller network.
        widths: Of it; see :func:`fer.neurons.widths`.
    """
    content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    kept = {key: content[key] for key in ("hyper_parameters", "pytorch-lightning_version", "task")}
    state = {f"network.{name}": value.cpu() for name, value in network.state_dict().items()}
    with atomic_write(path) as file:
        torch.save({**kept, "state_dict": state, "widths": widths}, file)


def scalars(results: dict[str, Any]) -> dict[str, float]:
    """Return what is logged of a comparison, under ``prune/…``."""
    layers = results["layers"].values()
    flat = {f"prune/neurons_{when}": sum(layer[when] for layer in layers) for when in ("before", "after")}
    for when in ("before", "after"):
        for name in ("acc", "loss", "parameters", "macs", "bytes"):
            flat[f"prune/{name}_{when}"] = results[when][name]
    flat["prune/compression"] = 1 - flat["prune/neurons_after"] / max(flat["prune/neurons_before"], 1)
    return flat


def gone_blocks(blocks: Mapping[str, float]) -> list[str]:
    """Return a line of text for each block that went as a whole."""
    return [
        f"{name}: gone as a whole: it changed {share:.2%} of what it was given"
        for name, share in blocks.items()
    ]


def table(results: dict[str, Any]) -> str:
    """Return a comparison as text: a line for each layer, then both networks side by side."""
    before, after, paired = results["before"], results["after"], results["mcnemar"]
    width = max([len("layer"), *map(len, results["layers"])])
    lines = [f"{'layer':<{width}}  neurons    left    dead  constant  similar  complementary  span  block"]
    for name, layer in results["layers"].items():
        lines.append(
            f"{name:<{width}}  {layer['before']:7,} {layer['after']:7,} {layer['dead']:7,} "
            f"{layer['constant']:9,} {layer['similar']:8,} {layer['complementary']:14,} {layer['span']:5,}  "
            f"{layer['block']:5,}"
        )
    lines += [f"{name}: all stay: {reason}" for name, reason in results["refused"].items()]
    lines += gone_blocks(results["blocks"])

    def row(name: str, text: str, values: tuple[float, float]) -> str:
        old, new = values
        return (
            f"{name:<22} {text.format(old):>14} {text.format(new):>14}   {new / old if old else 1:.3f} of it"
        )

    lines += ["", f"{'val, n = ' + format(results['n'], ','):<22} {'before':>14} {'after':>14}"]
    lines.append(
        f"{'accuracy':<22} {100 * before['acc']:12.2f} % {100 * after['acc']:12.2f} %   "
        f"{paired['lost']} lost, {paired['won']} won, p = {paired['p']:.3g} (McNemar)"
    )
    lines.append(f"{'loss':<22} {before['loss']:14.4f} {after['loss']:14.4f}")
    lines.append(row("parameters", "{:,}", (before["parameters"], after["parameters"])))
    lines.append(row("multiply-adds", "{:,}", (before["macs"], after["macs"])))
    lines.append(row("weights' file, bytes", "{:,}", (before["bytes"], after["bytes"])))
    for batch_size in before["milliseconds"]:
        times = before["milliseconds"][batch_size], after["milliseconds"][batch_size]
        lines.append(row(f"ms, batch of {batch_size}", "{:.2f}", times))
    return "\n".join(lines)
