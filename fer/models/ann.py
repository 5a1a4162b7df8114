"""Feed-forward network for SFEW's ten descriptor features."""

from typing import Final, Literal

from torch import nn

from fer.models._chain import Chain
from fer.models._checks import check_choice, check_counts

Activation = Literal["sigmoid", "relu", "tanh"]

_ACTIVATIONS: Final[dict[str, type[nn.Module]]] = {"sigmoid": nn.Sigmoid, "relu": nn.ReLU, "tanh": nn.Tanh}


class AnnNet(Chain):
    """One hidden layer: linear, activation, linear.

    Layers: ``flatten``, ``fc1``, ``activation``, ``fc2``. Inputs ``(N, in_features)``, or images
    ``(N, C, H, W)`` with ``in_features`` values each; logits ``(N, num_classes)``. By default 907 parameters.

    Args:
        in_features: Number of features, by default 5 of LPQ and 5 of PHOG.
        hidden: Number of hidden neurons.
        activation: Activation function of the hidden layer.
        num_classes: Number of classes.

    Raises:
        InputError: A number is below 1, or the activation is unknown.

    Source: Markou, "Insights of the Hidden Neuron Functionality using Deep Learning Techniques
    for Facial Emotion Recognition", section 2.2 (50 neurons, sigmoid: the default). Jain,
    "Network Reduction Technique Based on Neuron Distinctiveness for Classifying Faces-Emotion
    via Transfer Learning", uses 20 neurons and ReLU (367 parameters).
    """

    def __init__(
        self,
        *,
        in_features: int = 10,
        hidden: int = 50,
        activation: Activation = "sigmoid",
        num_classes: int = 7,
    ) -> None:
        check_counts("AnnNet", in_features=in_features, hidden=hidden, num_classes=num_classes)
        check_choice("AnnNet", "activation", activation, choices=tuple(_ACTIVATIONS))
        super().__init__(
            {
                "flatten": nn.Flatten(),
                "fc1": nn.Linear(in_features, hidden),
                "activation": _ACTIVATIONS[activation](),
                "fc2": nn.Linear(hidden, num_classes),
            }
        )
