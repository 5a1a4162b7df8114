"""Evaluate networks on the same labelled batches, if they are classifiers."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Final

import torch
from torch import Tensor, nn

from fer.errors import InputError
from fer.neurons import eval_state
from fer.neurons.inputs import Inputs, call, inputs_of, labels_of
from fer.pruning.evaluate import Evaluation, evaluate

INTEGERS: Final = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
"""Integer types that labels may have."""


def classify_both(
    networks: Mapping[str, nn.Module], batches: Iterable[Any], class_names: Sequence[str] | None = None
) -> dict[str, Evaluation]:
    """Evaluate networks on the same batches, each of which is read once.

    Args:
        networks: Networks by name.
        batches: Batches with labels, on any device.
        class_names: K names, in the order of the labels. If None or not K names: ``class_0`` and so on.

    Returns:
        Evaluation by the name of the network. Empty if they are not classifiers: an output is not logits of
        shape ``(N, K)`` with K at least 2, or a batch has no labels ``(N,)``, integers from 0 to K - 1.
    """
    outputs: dict[str, list[Tensor]] = {name: [] for name in networks}
    truths: dict[str, list[Tensor]] = {name: [] for name in networks}
    with ExitStack() as stack:
        for network in networks.values():
            stack.enter_context(eval_state(network))
        for batch in batches:
            for name, network in networks.items():
                inputs = inputs_of(batch, network)
                logits = call(network, inputs)
                found = _labels(inputs, logits)
                if found is None:
                    return {}
                outputs[name].append(logits.float().cpu())
                truths[name].append(found.cpu())
    if not all(truths.values()):
        return {}
    num_classes = next(iter(outputs.values()))[0].shape[1]
    if class_names is None or len(class_names) != num_classes:
        class_names = [f"class_{k}" for k in range(num_classes)]
    logits_already = nn.Identity()
    return {
        name: evaluate(logits_already, [(torch.cat(each), torch.cat(truths[name]))], class_names)
        for name, each in outputs.items()
    }


def _labels(inputs: Inputs, logits: Any) -> Tensor | None:
    """Return the labels of a batch; None if the labels or the logits are not those of a classifier."""
    if not isinstance(logits, Tensor) or logits.ndim != 2 or logits.shape[1] < 2:
        return None
    try:
        labels = labels_of(inputs)
    except InputError:  # the batch has no labels
        return None
    if labels.shape != logits.shape[:1] or labels.dtype not in INTEGERS:
        return None
    return labels.long() if labels.min() >= 0 and labels.max() < logits.shape[1] else None
