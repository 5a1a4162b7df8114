"""Evaluate a network on labelled batches."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fer.metrics import ClassificationReport, report
from fer.neurons import eval_state
from fer.neurons.networks import device_of


class Evaluation(NamedTuple):
    """The quality of a network on N labelled samples.

    Attributes:
        loss: Mean cross-entropy.
        right: Whether each sample is classified correctly, bool, shape ``(N,)``.
        report: The classification report.
    """

    loss: float
    right: Tensor
    report: ClassificationReport


def evaluate(
    network: nn.Module, batches: Iterable[Sequence[Tensor]], class_names: Sequence[str] | None = None
) -> Evaluation:
    """Evaluate a network in eval mode, without gradients.

    Args:
        network: Maps inputs to logits of shape ``(N, K)``.
        batches: Pairs ``(inputs, labels)``; inputs are moved to the network's device.
        class_names: K names, in the order of the labels; None: the default names for K classes.
    """
    device = device_of(network)
    outputs, truths = [], []
    with eval_state(network):
        for inputs, labels in batches:
            outputs.append(network(inputs.to(device)).float().cpu())
            truths.append(labels.cpu())
    logits, labels = torch.cat(outputs), torch.cat(truths)
    num_classes, predicted = logits.shape[1], logits.argmax(dim=1)
    counts = torch.bincount(labels * num_classes + predicted, minlength=num_classes**2)
    return Evaluation(
        loss=float(F.cross_entropy(logits, labels)),
        right=predicted == labels,
        report=report(counts.view(num_classes, num_classes), class_names),
    )
