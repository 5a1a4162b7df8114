"""Markou's and Jain's networks on SFEW's ten features: one hidden layer, trained with full batches.

They are trained without Lightning: the arithmetic of a training takes so little time that a protocol with
many seeds then runs in seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fer.metrics import predicted_classes
from fer.neurons import ActivationStatistics, angles, measure, prune
from fer.neurons.angles import Origin, summarise

NUM_CLASSES: Final = 7
ACTIVATION: Final = "1"
"""Name of the hidden layer's activation in the network."""


@dataclass(frozen=True)
class Settings:
    """How a network is built and trained.

    Attributes:
        hidden: Number of hidden neurons.
        activation: Activation function of the hidden layer.
        optimizer: ``sgd`` has momentum 0.9.
        lr: Learning rate.
        epochs: Number of epochs, which are steps on the full batch.
        step: The learning rate is multiplied by ``gamma`` every so many epochs; 0: never.
        gamma: Factor of the learning rate.
    """

    hidden: int
    activation: Literal["sigmoid", "relu"]
    optimizer: Literal["sgd", "adam"]
    lr: float
    epochs: int
    step: int = 0
    gamma: float = 1.0


MARKOU: Final = Settings(50, "sigmoid", "sgd", 0.001, 2000, step=400, gamma=0.1)
JAIN: Final = Settings(20, "relu", "adam", 0.04, 500)


@dataclass(frozen=True, eq=False)
class Moment:
    """Measurements after an epoch.

    Attributes:
        epoch: From 0, before the first step.
        train_loss: Cross-entropy of the training rows.
        test_loss: Cross-entropy of the test rows.
        test_accuracy: 0 to 1.
        degrees: Angles between the hidden neurons over the training rows, shape ``(C, C)``.
    """

    epoch: int
    train_loss: float
    test_loss: float
    test_accuracy: float
    degrees: Tensor

    @property
    def summary(self) -> Mapping[str, float]:
        """Mean, extremes and quantiles of the angles."""
        return summarise(self.degrees)


@dataclass(frozen=True, eq=False)
class Rows:
    """Training and test rows, scaled.

    Attributes:
        train: Inputs, shape ``(N, F)``.
        train_labels: Shape ``(N,)``.
        test: Inputs, shape ``(M, F)``.
        test_labels: Shape ``(M,)``.
    """

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor


def train(rows: Rows, settings: Settings, seed: int, *, every: int = 0) -> tuple[nn.Sequential, list[Moment]]:
    """Train a network on the full batch.

    Args:
        rows: Training and test rows.
        settings: See :class:`Settings`.
        seed: Seed of the initial weights; the global RNG state is restored.
        every: Epochs between two measurements, from before the first step to after the last one; 0: none.

    Returns:
        The network after the last epoch, and the measurements.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Linear(rows.train.shape[1], settings.hidden),
            nn.Sigmoid() if settings.activation == "sigmoid" else nn.ReLU(),
            nn.Linear(settings.hidden, NUM_CLASSES),
        )
    if settings.optimizer == "sgd":
        optimizer: torch.optim.Optimizer = torch.optim.SGD(network.parameters(), settings.lr, momentum=0.9)
    else:
        optimizer = torch.optim.Adam(network.parameters(), settings.lr)
    moments = [_moment(network, rows, 0)] if every else []
    for epoch in range(1, settings.epochs + 1):
        optimizer.zero_grad()
        F.cross_entropy(network(rows.train), rows.train_labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if settings.step and epoch % settings.step == 0:
            for group in optimizer.param_groups:
                group["lr"] *= settings.gamma
        if every and (epoch % every == 0 or epoch == settings.epochs):
            moments.append(_moment(network, rows, epoch))
    return network.eval(), moments


def predict(network: nn.Module, inputs: Tensor) -> Tensor:
    """Return the predicted classes, shape ``(N,)``."""
    with torch.no_grad():
        return predicted_classes(network(inputs))


def accuracy(network: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """Return the accuracy, 0 to 1."""
    return float((predict(network, inputs) == labels).double().mean())


def hidden_statistics(
    network: nn.Module, inputs: Tensor, *, pattern_minmax: bool = False
) -> ActivationStatistics:
    """Return the statistics of the hidden neurons over rows."""
    return measure(network, [inputs], ACTIVATION, pattern_minmax=pattern_minmax)[ACTIVATION]


def hidden_angles(network: nn.Module, inputs: Tensor, origin: Origin = "none") -> Tensor:
    """Return the angles between the hidden neurons; by default by Markou's equation 5."""
    return angles(hidden_statistics(network, inputs), origin)


def prune_as_jain(network: nn.Module, inputs: Tensor) -> tuple[nn.Module, int]:
    """Return the network pruned by Jain's rule on rows, and how many hidden neurons are left."""
    pruned = prune(network, [inputs], rule="jain")
    (counts,) = pruned.report["groups"].values()
    return pruned.network, int(counts["after"])


def _moment(network: nn.Module, rows: Rows, epoch: int) -> Moment:
    with torch.no_grad():
        on_train = float(F.cross_entropy(network(rows.train), rows.train_labels))
        on_test = float(F.cross_entropy(network(rows.test), rows.test_labels))
        degrees = hidden_angles(network, rows.train)
    return Moment(epoch, on_train, on_test, accuracy(network, rows.test, rows.test_labels), degrees)


def dead_neurons(network: nn.Module, inputs: Tensor) -> int:
    """Return how many hidden neurons are zero for every row."""
    return int(hidden_statistics(network, inputs).dead.sum())
