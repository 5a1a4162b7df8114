"""Evaluate a network on labelled batches."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fer.errors import InputError
from fer.metrics import ClassificationMetrics, ClassificationReport, predicted_classes, report
from fer.neurons import eval_state
from fer.neurons.inputs import Batches, call, labels_of


class Evaluation(NamedTuple):
    """Quality of a network on N labelled samples.

    Attributes:
        loss: Mean cross-entropy.
        right: Whether each sample is classified correctly, bool, shape ``(N,)``; False if its logits are not
            finite.
        report: Classification report.
    """

    loss: float
    right: Tensor
    report: ClassificationReport


def evaluate(network: nn.Module, batches: Batches, class_names: Sequence[str] | None = None) -> Evaluation:
    """Evaluate a network in eval mode, without gradients.

    Args:
        network: Maps inputs to logits of shape ``(N, K)``.
        batches: Batches with labels, such as pairs ``(inputs, labels)``; see
            :func:`fer.neurons.inputs.labels_of`. They are moved to the network's device.
        class_names: K names, in the order of the labels; None: the default names for K classes.

    Raises:
        InputError: The outputs are not logits, a batch has no labels, or there are no batches.
    """
    outputs, truths = [], []
    with eval_state(network):
        for batch in batches:
            outputs.append(logits_of(network, call(network, batch)).float().cpu())
            truths.append(labels_of(batch).cpu())
    if not outputs:
        msg = "there are no samples to evaluate the network on: the loader is empty"
        raise InputError(msg)
    logits, labels = torch.cat(outputs), torch.cat(truths)
    metrics = ClassificationMetrics(logits.shape[1], class_names)
    metrics.update(logits, labels)
    return Evaluation(
        loss=float(F.cross_entropy(logits, labels)),
        right=predicted_classes(logits) == labels,
        # compute() would wait for other processes, but this one has all samples.
        report=report(metrics.confusion, metrics.class_names, metrics.non_finite),
    )


def logits_of(network: nn.Module, output: object) -> Tensor:
    """Check that the output of a network is logits of shape ``(N, K)``, and return it.

    Raises:
        InputError: The output is something else.
    """
    if isinstance(output, Tensor) and output.ndim == 2:
        return output
    what = tuple(output.shape) if isinstance(output, Tensor) else f"a {type(output).__name__}"
    msg = f"{type(network).__name__} returns {what}, not logits of shape (N, classes)"
    raise InputError(msg)
