"""Fine-tune a pruned network on labels, or on the outputs of the unpruned network, which needs no labels."""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fer.errors import InputError
from fer.neurons import eval_state
from fer.neurons.batches import InputBatches
from fer.neurons.inputs import Batches, Inputs, InputsOf, call, labels_of
from fer.neurons.nested import tensors_in
from fer.neurons.networks import copy_network
from fer.neurons.recalibrate import batch_norms
from fer.pruning.classes import classify_both

TEMPERATURE: Final = 4.0
"""Divisor of the logits: of 1 to 20, Hinton et al. found 2.5 to 4 best for small networks."""

LR: Final = 5e-4
"""Peak learning rate of AdamW: at most a tenth of what trainings start with."""

Loss = Callable[[Any, Any], Tensor]
"""Function from a network's output and the batch to a loss."""

Match = Callable[[Any, Any], Tensor]
"""Function from the outputs of the pruned and the unpruned network to a loss."""


class Epoch(NamedTuple):
    """Losses and accuracy of one epoch; None where unknown.

    Attributes:
        loss: Mean training loss.
        val_loss: Loss on the validation split: cross-entropy for a classifier, otherwise the training loss.
        val_acc: Accuracy of a classifier on the validation split, 0 to 1.
    """

    loss: float | None = None
    val_loss: float | None = None
    val_acc: float | None = None

    @property
    def rank(self) -> tuple[float, float]:
        """Sort key: accuracy first, then loss; larger is better and NaN is worst."""
        acc, loss = (math.nan if each is None else each for each in (self.val_acc, self.val_loss))
        return (-1.0 if math.isnan(acc) else acc, -math.inf if math.isnan(loss) else -loss)


@dataclass(frozen=True, eq=False)
class Tuning:
    """Result of a fine-tuning.

    Attributes:
        network: The fine-tuned network.
        before: Pruned network before fine-tuning.
        epochs: Values of each epoch, starting with those before fine-tuning; empty if unknown.
        best: Epoch whose weights were kept; 0: none was better than ``before``.
        is_distilled: Whether the network learned from the outputs of the unpruned network.
    """

    network: nn.Module
    before: nn.Module
    epochs: Sequence[Epoch] = ()
    best: int | None = None
    is_distilled: bool = False

    @classmethod
    def of(cls, network: nn.Module, before: nn.Module, numbers: Mapping[str, Any]) -> Self:
        """Return a fine-tuning of these networks with the values of an earlier one."""
        return cls(network, before, **{**numbers, "epochs": [Epoch(**each) for each in numbers["epochs"]]})

    @property
    def numbers(self) -> dict[str, Any]:
        """Everything but the networks, as plain values; None where a value is not finite, for JSON."""
        return {
            "epochs": [
                {name: value if value is None or math.isfinite(value) else None for name, value in each}
                for each in (found._asdict().items() for found in self.epochs)
            ],
            "best": self.best,
            "is_distilled": self.is_distilled,
        }


class BestEpoch:
    """Keeps the weights of the best epoch so far; on a tie, those of the first.

    Args:
        network: Network before fine-tuning, which counts as epoch 0; it does not change.
        evaluate: Function that evaluates a network on the validation split.
        takes_last: Whether the last epoch counts as the best, for when there is no validation split.
    """

    def __init__(
        self, network: nn.Module, evaluate: Callable[[nn.Module], Epoch], *, takes_last: bool = False
    ) -> None:
        self.evaluate, self.takes_last = evaluate, takes_last
        self.epochs: list[Epoch] = []
        self.best = 0
        self.state: dict[str, Any] = {}
        self.add(network)

    def add(self, network: nn.Module, loss: float | None = None) -> Epoch:
        """Evaluate a network after an epoch with this mean loss, and keep its weights if it is the best."""
        found = self.evaluate(network)._replace(loss=loss)
        self.epochs.append(found)
        if len(self.epochs) == 1 or self.takes_last or found.rank > self.epochs[self.best].rank:
            self.best = len(self.epochs) - 1
            self.state = copy.deepcopy(network.state_dict())
        return found

    def restore_(self, network: nn.Module) -> None:
        """Load the weights of the best epoch into a network, in place."""
        network.load_state_dict(self.state)


def distillation_loss(output: Any, target: Any, temperature: float = TEMPERATURE) -> Tensor:
    """Return the distance of a network's output from that of the network it learns from.

    Args:
        output: Logits of K ≥ 2 classes, shape ``(N, K)``; or any other tensor, or nested tensors.
        target: Output of the other network for the same samples.
        temperature: Divisor of the logits.

    Returns:
        For logits, the Kullback-Leibler divergence of the softened classes, times the squared temperature so
        that gradients do not depend on it. Otherwise the mean squared error, summed over the tensors.

    Source: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015, section 2.

    >>> logits, images = torch.tensor([[2.0, 0.0]]), torch.zeros(1, 3, 2)
    >>> float(distillation_loss(logits, logits)), float(distillation_loss(images, images + 2))
    (0.0, 4.0)
    """
    if isinstance(output, Tensor) and output.ndim == 2 and output.shape[1] > 1:
        log_now, log_wanted = ((each.float() / temperature).log_softmax(1) for each in (output, target))
        divergence = F.kl_div(log_now, log_wanted, reduction="batchmean", log_target=True)
        return temperature**2 * divergence
    pairs = [
        (now, wanted)
        for now, wanted in zip(tensors_in(output), tensors_in(target), strict=True)
        if now.is_floating_point()
    ]
    if not pairs:
        msg = f"a {type(output).__name__} without floating-point tensors cannot be matched: give match="
        raise InputError(msg)
    return torch.stack([F.mse_loss(now.float(), wanted.float()) for now, wanted in pairs]).sum()


def cross_entropy(output: Any, batch: Any) -> Tensor:
    """Return the mean cross-entropy of logits ``(N, K)`` with the labels of a batch."""
    return F.cross_entropy(output, labels_of(batch).to(output.device))


def fine_tune(
    network: nn.Module,
    batches: Batches,
    *,
    whole: nn.Module | None = None,
    loss: Loss = cross_entropy,
    match: Match = distillation_loss,
    val: Batches | None = None,
    epochs: int = 1,
    lr: float = LR,
    inputs: InputsOf | None = None,
    report: Callable[[int, Epoch], None] | None = None,
) -> Tuning:
    """Fine-tune a pruned network by AdamW without weight decay and with a cosine learning rate schedule.

    Args:
        network: Pruned network; it does not change.
        batches: Training batches, such as a loader that shuffles and augments; see
            :func:`fer.neurons.inputs.inputs_of`. Without ``whole``, they must hold what ``loss`` needs.
        whole: Network before pruning, whose outputs are learned without labels. None: ``loss`` is minimised.
        loss: Loss of an output and its batch, if ``whole`` is None; default: cross-entropy with the labels.
        match: Loss of the outputs of both networks, if ``whole`` is given. Outputs of shape ``(N, K)`` that
            are not logits need another one, such as ``torch.nn.functional.mse_loss``.
        val: Batches of the validation split, on which the best epoch is selected: by accuracy if they have
            class labels, otherwise by the loss. None: the last epoch is kept.
        epochs: Number of epochs.
        lr: Peak learning rate.
        inputs: Function from a batch to the network's arguments; see :func:`fer.neurons.measure`.
        report: Called after each epoch with its number, from 1, and its values; before the first with 0.

    Returns:
        The fine-tuned network and the values of each epoch. The network is a copy with the modes and types of
        the given one; half precision is trained in float32. If no epoch is better on ``val``, it has the
        weights of the given one.

    Raises:
        InputError: There is no batch, nothing to train, a loss is not finite, or a setting is out of range.
    """
    if epochs < 1 or not lr > 0:
        msg = f"fine-tuning with epochs={epochs} and lr={lr}: set epochs to at least 1, and lr above 0"
        raise InputError(msg)
    batches = replace(InputBatches.of(batches, network, inputs), varies=True)
    teacher = None if whole is None else copy_network(whole).eval().requires_grad_(requires_grad=False)
    twin = _trainable_copy(network)
    optimizer = torch.optim.AdamW([p for p in twin.parameters() if p.requires_grad], lr, weight_decay=0.0)
    num_steps = epochs * _count(batches)

    def loss_of(taken: Inputs) -> Tensor:
        output = call(twin, taken)
        if teacher is None:
            return loss(output, taken.batch)
        with torch.no_grad():
            target = call(teacher, taken)
        return match(output, target)

    held_out = None if val is None else InputBatches.of(val, network, inputs)
    if held_out is not None:
        held_out.first()  # raises if the batches are empty or can be iterated over only once

    def evaluate(each: nn.Module) -> Epoch:
        return Epoch() if held_out is None else _evaluate(each, held_out, loss_of)

    best = BestEpoch(twin, evaluate, takes_last=val is None)
    if report is not None:
        report(0, best.epochs[0])
    step = 0
    for number in range(1, epochs + 1):
        total = num = 0.0
        for taken in batches:
            train_mode(twin, len(taken))
            for group in optimizer.param_groups:
                group["lr"] = lr * (1 + math.cos(math.pi * step / num_steps)) / 2
            value = loss_of(taken)
            if not value.isfinite():
                msg = (
                    f"fine-tuning: the loss of a batch of epoch {number} is not finite: lower lr, now {lr:g}"
                )
                raise InputError(msg)
            optimizer.zero_grad()
            torch.autograd.backward(value)
            optimizer.step()
            step += 1
            total, num = total + len(taken) * value.item(), num + len(taken)
        found = best.add(twin, total / num)
        if report is not None:
            report(number, found)
    small = copy_network(network)
    best.restore_(small)
    return Tuning(small, network, best.epochs, best.best, is_distilled=whole is not None)


def train_mode(network: nn.Module, num_samples: int) -> None:
    """Set train mode for a batch; frozen batch norm, or all batch norm for one sample, stays in eval mode."""
    network.train()
    for norm in batch_norms(network).values():
        is_frozen = norm.affine and not norm.weight.requires_grad
        if num_samples < 2 or is_frozen:
            norm.eval()


def _trainable_copy(network: nn.Module) -> nn.Module:
    """Return a trainable copy; half precision, which would lose small steps, becomes float32.

    Raises:
        InputError: No parameter is trainable.
    """
    twin = copy_network(network)
    parameters = [each for each in twin.parameters() if each.requires_grad]
    if not parameters:
        msg = f"{type(network).__name__} has no trainable parameter: set requires_grad on a part of it"
        raise InputError(msg)
    if any(each.dtype in (torch.float16, torch.bfloat16) for each in parameters):
        twin.float()
    return twin


def _count(batches: InputBatches) -> int:
    """Return the number of batches.

    Raises:
        InputError: There are no batches.
    """
    batches.first()  # raises if the batches are empty or can be iterated over only once
    num = batches.num_batches
    return sum(1 for _ in batches.batches) if num is None else num


def _evaluate(network: nn.Module, val: InputBatches, loss_of: Callable[[Inputs], Tensor]) -> Epoch:
    """Evaluate a network on the validation split."""
    found = classify_both({"": network}, val)
    if found:
        return Epoch(val_loss=found[""].loss, val_acc=found[""].report.accuracy)
    total = num = 0.0
    with eval_state(network):
        for taken in val:
            total, num = total + len(taken) * loss_of(taken).item(), num + len(taken)
    return Epoch(val_loss=total / num)
