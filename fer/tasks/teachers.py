"""Trained networks whose answers another network learns (knowledge distillation)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from fer.errors import InputError

if TYPE_CHECKING:
    from fer.tasks.base import ClassificationTask


class Teachers:
    """Trained classifiers, whose mean probabilities a network learns.

    They are no part of the network that learns: not of its parameters, checkpoints and parameter count.

    Args:
        networks: Trained networks of the same inputs and the same K classes, by the path of their checkpoint.
            They are set to eval mode, and get no gradients.

    Source: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015. The teachers see
    the same augmented inputs as the network that learns, as in Beyer et al., "Knowledge distillation: A good
    teacher is patient and consistent", 2022.
    """

    def __init__(self, networks: Mapping[str, "ClassificationTask"]) -> None:
        if not networks:
            msg = "distillation needs at least one teacher"
            raise InputError(msg)
        self.networks = dict(networks)
        for network in self.networks.values():
            network.eval().requires_grad_(requires_grad=False)

    def to(self, device: torch.device) -> None:
        """Move the networks to a device."""
        for network in self.networks.values():
            network.to(device)

    def probabilities(self, inputs: Tensor) -> Tensor:
        """Return the mean of the networks' class probabilities, shape (N, K), in float32 or wider."""
        with torch.no_grad():
            logits = torch.stack([network(inputs) for network in self.networks.values()])
        return logits.softmax(dim=-1).mean(dim=0)

    def loss(self, logits: Tensor, inputs: Tensor) -> Tensor:
        """Return the cross-entropy of a network's answers to the mean of the teachers'.

        Its gradients are those of the Kullback-Leibler divergence, and it can be compared with the
        cross-entropy to the labels.

        Args:
            logits: The network's logits for the inputs, shape (N, K).
            inputs: The inputs of the network, after augmentation.
        """
        return F.cross_entropy(logits, self.probabilities(inputs))
