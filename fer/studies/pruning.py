"""Many prunings as one: curves over thresholds, a network of a given size, and pruning in rounds."""

import copy
import logging
import math
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from lightning.pytorch import Trainer
from torch import Tensor, nn

from fer.callbacks.prune import evaluate, macs_of
from fer.callbacks.stop import is_stopped
from fer.data.base import ExpressionDataModule
from fer.errors import InputError
from fer.neurons import (
    RULES,
    Measurement,
    PrunePlan,
    Removal,
    cut,
    eval_state,
    measure_groups,
    plan_groups,
    prune,
)
from fer.neurons.blocks import drop_idle_blocks
from fer.neurons.plan import count_removed
from fer.neurons.planning import removal_costs
from fer.neurons.prunable import neurons_within
from fer.tasks.base import ClassificationTask

WAYS: Final[Mapping[str, Mapping[str, Any]]] = {
    "pairs, refit": {"criterion": "pairs", "merge": "refit"},
    "pairs, affine": {"criterion": "pairs", "merge": "affine"},
    "span, refit": {"criterion": "span", "merge": "refit"},
    **{name: {"rule": name} for name in RULES},
}
"""Our ways to prune and the papers', as settings of :func:`fer.neurons.prune`."""

THRESHOLDS: Final = (5.0, 8.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0)
"""Of a curve, degrees from 0 and from 180: those of the papers, and wider ones."""

WIDEST: Final = 90.0
"""Degrees; at this threshold every two neurons are alike."""

BLOCK: Final = 16
"""Maps that processors with AVX-512 compute at a time: a width between is as slow as the next multiple."""

PRICE_STEPS: Final = 24
"""Halvings in the search for what a multiply-add may cost, over 16 decades."""

SEARCH_STEPS: Final = 12
"""Halvings of :data:`WIDEST` in the search for a threshold: to a fiftieth of a degree."""


log = logging.getLogger("fer.studies")


class Round(NamedTuple):
    """What a round of pruning came to.

    Attributes:
        threshold: Degrees below which neurons were similar, if thresholds decided.
        neurons: Hidden neurons left.
        macs: Multiplications and additions for one sample.
        pruned: Accuracy on val after pruning.
        recalibrated: After the statistics of batch norm were measured anew.
        tuned: After the fine-tuning.
        is_kept: Whether val fell by no more than the tolerance.
        layers: What went from each layer, and why; see :func:`fer.neurons.count_removed`.
        blocks: What went as a whole, and the share that each changed of what it was given.
    """

    threshold: float | None
    neurons: int
    macs: int
    pruned: float
    recalibrated: float
    tuned: float
    is_kept: bool
    layers: Mapping[str, Mapping[str, int]]
    blocks: Mapping[str, float]


def measure_ways(
    network: nn.Module, inputs: Sequence[Tensor], layers: Sequence[str] | None = None
) -> dict[bool, Measurement]:
    """Return what all :data:`WAYS` need to have seen of a network: samples as they are, and rescaled."""
    return {
        rescaled: measure_groups(network, inputs, layers=layers, pattern_minmax=rescaled)
        for rescaled in (False, True)
    }


def measurement_of(way: Mapping[str, Any], measurements: Mapping[bool, Measurement]) -> Measurement:
    """Return the measurement that a way to prune is for."""
    rule = way.get("rule")
    return measurements[rule is not None and RULES[rule].measure.get("pattern_minmax", False)]


def threshold_curves(
    task: ClassificationTask,
    data: ExpressionDataModule,
    inputs: Sequence[Tensor],
    *,
    layers: Sequence[str] | None = None,
    thresholds: Sequence[float] = THRESHOLDS,
    ways: Mapping[str, Mapping[str, Any]] = WAYS,
) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield what each way to prune costs at each threshold, on val, with nothing trained on.

    The network is measured once; it is left as it is.

    Args:
        task: Trained.
        data: Its data, set up.
        inputs: Training samples to measure on, as batches.
        layers: Names of layers whose neurons may go; None: all hidden ones.
        thresholds: Degrees from 0 and from 180.
        ways: By name, settings of :func:`fer.neurons.prune`.

    Yields:
        The name of the way and a row: ``threshold`` in degrees (0: the network as it is), ``acc`` with
        Wilson's interval ``acc_low`` and ``acc_high``, and the shares of ``neurons`` and of ``macs`` left.

    Source: after Narayan and Ge, "Emotion Detection through Static Images using Pruned Convolutional Neural
    Networks", figure 2.
    """
    val = list(data.val_dataloader())
    measurements = measure_ways(task.network, inputs, layers)
    whole = macs_of(task.network, inputs[0])

    def row(threshold: float, network: nn.Module, neurons: float) -> dict[str, float]:
        report = evaluate(network, val, task.device).report
        low, high = report.interval
        macs = macs_of(network, inputs[0]) / whole
        accuracy = {"acc": report.accuracy, "acc_low": low, "acc_high": high}
        return {"threshold": threshold, **accuracy, "neurons": neurons, "macs": macs}

    before = row(0.0, task.network, 1.0)
    for name, way in ways.items():
        yield name, before
        for threshold in thresholds:
            pruned = prune(
                task.network,
                inputs,
                similar_below=threshold,
                complementary_above=180 - threshold,
                measurement=measurement_of(way, measurements),
                **way,
            )
            yield name, row(threshold, pruned.network, _share_left(pruned.plans.values()))


def _share_left(plans: Collection[PrunePlan]) -> float:
    return sum(len(plan.kept) for plan in plans) / sum(plan.num_neurons for plan in plans)


def goal_of_macs(
    network: nn.Module, measurement: Measurement, example: Tensor, macs: float, **settings: Any
) -> dict[str, Any]:
    """Return what to tell :func:`fer.neurons.prune` for a network of some size.

    By span each layer gives what costs it least (:func:`nums_of_macs`). Pairs, and the papers' rules, know no
    costs: one threshold holds for all layers (:func:`threshold_of_macs`).

    Args:
        network: Untouched.
        measurement: Of it.
        example: What it takes, one sample or more.
        macs: Multiplications and additions for one sample, at the most.
        settings: ``criterion``, ``merge`` and ``rule`` of :func:`fer.neurons.prune`.

    Raises:
        InputError: So few cannot be reached.
    """
    if settings.get("criterion") == "span" and settings.get("rule") is None:
        return {"num_removed": nums_of_macs(network, measurement, example, macs)}
    degrees = threshold_of_macs(network, measurement, example, macs, **settings)
    return {"similar_below": degrees, "complementary_above": 180 - degrees}


def threshold_of_macs(
    network: nn.Module, measurement: Measurement, example: Tensor, macs: float, **settings: Any
) -> float:
    """Return the narrowest threshold at which a network needs no more than some multiply-adds.

    Only plans are made, and cut out without a compensation: what is compensated has the same size.

    Args:
        network: Untouched.
        measurement: Of it.
        example: What it takes, one sample or more.
        macs: Multiplications and additions for one sample, at the most.
        settings: Of :func:`fer.neurons.plan_groups`, but for the thresholds.

    Returns:
        Degrees from 0 and from 180.

    Raises:
        InputError: No threshold leaves so few.
    """

    def macs_at(threshold: float) -> int:
        plans = plan_groups(
            *(network, measurement),
            similar_below=threshold,
            complementary_above=180 - threshold,
            **settings,
        )
        return macs_of(cut(network, measurement.groups, plans), example)

    low, high = 0.0, WIDEST
    if (fewest := macs_at(high)) > macs:
        msg = (
            f"no threshold leaves as few as {macs:,.0f} multiply-adds; the widest leaves {fewest:,}: give a "
            "larger --target_macs, or more --prune.layers"
        )
        raise InputError(msg)
    for _ in range(SEARCH_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if macs_at(middle) <= macs else (middle, high)
    return high


def nums_of_macs(
    network: nn.Module, measurement: Measurement, example: Tensor, macs: float
) -> dict[str, int]:
    """Return how many neurons go from each group so that a network needs no more than some multiply-adds.

    Those go, by span, whose loss costs the consumers least for each multiply-add that is saved. Of a wide
    layer a multiple of :data:`BLOCK` is left.

    Args:
        network: Untouched.
        measurement: Of it, of samples that were not rescaled.
        example: What it takes, one sample or more.
        macs: Multiplications and additions for one sample, at the most.

    Raises:
        InputError: So few cannot be reached.
    """
    costs, whole = removal_costs(network, measurement), macs_of(network, example)
    sizes = {group.name: group.num_neurons for group in measurement.groups}
    blocks = {group.name: group.num_blocks for group in measurement.groups}

    def macs_without(nums: Mapping[str, int]) -> int:
        plans = {
            name: PrunePlan(
                sizes[name], tuple(Removal(k, "span") for k in _evenly(sizes[name], blocks[name], num))
            )
            for name, num in nums.items()
        }
        return macs_of(cut(network, measurement.groups, plans), example)

    saved = {
        name: (whole - macs_without({name: size // 2})) / (size // 2)
        for name, size in sizes.items()
        if size > 1
    }

    def nums_at(price: float) -> dict[str, int]:
        """Remove what costs no more than a price for the share of the multiply-adds that it saves."""
        nums = {}
        for name, share in saved.items():
            num = bisect_right(costs[name], price * share / whole)
            step = math.lcm(BLOCK if sizes[name] >= 2 * BLOCK else 1, blocks[name])
            kept = min(sizes[name], step * math.ceil((sizes[name] - num) / step))
            nums[name] = sizes[name] - kept
        return nums

    low, high = math.log(1e-8), math.log(1e8)
    if (fewest := macs_without(nums_at(math.exp(high)))) > macs:
        msg = (
            f"{macs:,.0f} multiply-adds cannot be reached, {fewest:,} are the fewest: give a larger "
            "--target_macs, or more --prune.layers"
        )
        raise InputError(msg)
    for _ in range(PRICE_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if macs_without(nums_at(math.exp(middle))) <= macs else (middle, high)
    return nums_at(math.exp(high))


def _evenly(size: int, num_blocks: int, num: int) -> Iterator[int]:
    """Yield as many neurons of each block."""
    for start in range(0, size, size // num_blocks):
        yield from range(start, start + num // num_blocks)


def prune_in_rounds(
    task: ClassificationTask,
    data: ExpressionDataModule,
    inputs: Sequence[Tensor],
    make_trainer: Callable[[int], Trainer],
    *,
    rounds: int,
    tune_epochs: int,
    tune_lr: float,
    tolerance: float,
    similar_below: float,
    complementary_above: float,
    macs: float | None = None,
    layers: Sequence[str] | None = None,
    idle_below: float = 0.0,
    **settings: Any,
) -> Iterator[Round]:
    """Prune a task's network a little more in each round, fine-tune it, and stop before it costs too much.

    The thresholds, or the multiply-adds, approach what is asked for in equal steps. The task is left with
    the last network whose accuracy on val is no more than the tolerance below that of the first; so, too,
    if a fine-tuning is asked to stop, or a later round finds nothing that can go.

    Args:
        task: Trained; its network is replaced.
        data: Its data, set up.
        inputs: Training samples to measure on, as batches.
        make_trainer: Returns a trainer for a number of epochs.
        rounds: How many, at the most.
        tune_epochs: Of training in each; 0: only batch norm is measured anew.
        tune_lr: Where its learning rate starts, or the top of a one-cycle schedule.
        tolerance: How much val may fall, 0 to 1.
        similar_below: Threshold of the last round, degrees.
        complementary_above: The same.
        macs: Share of the multiply-adds left after the last round, instead of the thresholds.
        layers: Names of layers whose neurons may go; None: all hidden ones.
        idle_below: See :func:`fer.neurons.drop_idle_blocks`.
        settings: Of :func:`fer.neurons.prune`: ``criterion``, ``merge`` or ``rule``.

    Yields:
        What each round came to.

    Source: progressive pruning: Gedeon, "Indicators of Hidden Neuron Functionality: the Weight Matrix versus
    Neuron Behaviour", 1995.
    """
    val, device = list(data.val_dataloader()), task.device
    before = evaluate(task.network, val, device).report.accuracy
    whole = macs_of(task.network, inputs[0])
    rule = settings.get("rule")
    measure = RULES[rule].measure if rule else {}
    task.optimizer_settings = replace(task.optimizer_settings, lr=tune_lr)
    left: dict[str, int] = {}  # a layer that has come down to one neuron is in no later plan
    for number in range(1, rounds + 1):
        best, sizes = copy.deepcopy(task.network), task.widths
        goal: dict[str, Any] = {
            "similar_below": similar_below * number / rounds,
            "complementary_above": 180 - (180 - complementary_above) * number / rounds,
        }
        try:
            network, blocks = drop_idle_blocks(task.network, inputs, idle_below)
            measurement = measure_groups(network, inputs, layers=layers, **measure)
            if macs is not None:
                aim = whole * (1 - (1 - macs) * number / rounds)
                goal = goal_of_macs(network, measurement, inputs[0], aim, **settings)
            pruned = prune(network, inputs, measurement=measurement, **goal, **settings)
        except InputError as error:
            if number == 1:
                raise
            log.warning("no round %d, the earlier ones are kept: %s", number, error)
            return
        went = count_removed(pruned.plans, neurons_within(task.network, inputs[0], blocks))
        left |= {name: layer["after"] for name, layer in went.items()}
        after_pruning = evaluate(pruned.network, val, device).report.accuracy
        task.network, task.widths = pruned.network, dict(pruned.widths)
        recalibrate_(task.network, inputs)
        recalibrated = evaluate(task.network, val, device).report.accuracy
        if tune_epochs:
            trainer = make_trainer(tune_epochs)
            trainer.fit(task, datamodule=data)
            task.float().eval().to(device)  # a trainer may have made it bfloat16
            if is_stopped(trainer):
                task.network, task.widths = best, sizes
                return
        tuned = evaluate(task.network, val, device).report.accuracy
        is_kept = tuned >= before - tolerance
        yield Round(
            threshold=goal.get("similar_below"),
            neurons=sum(left.values()),
            macs=macs_of(task.network, inputs[0]),
            pruned=after_pruning,
            recalibrated=recalibrated,
            tuned=tuned,
            is_kept=is_kept,
            layers=went,
            blocks=blocks,
        )
        if not is_kept:
            task.network, task.widths = best, sizes
            return


def recalibrate_(network: nn.Module, inputs: Sequence[Tensor]) -> None:
    """Measure the means and variances of batch norm anew, in place: those of all batches, equally.

    Other layers stay as in evaluation. A batch of one sample, which has no variance, is left out.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    norms = [norm for norm in norms if norm.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    if not norms or all(len(batch) < 2 for batch in inputs):
        return
    with eval_state(network):
        for norm in norms:
            norm.reset_running_stats()
            norm.train()
            norm.momentum = None  # a plain mean over the batches
        for batch in inputs:
            if len(batch) > 1:
                network(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
