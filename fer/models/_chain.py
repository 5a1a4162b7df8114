"""Base class of sequential networks with named layers."""

from collections.abc import Mapping

from torch import Tensor, nn


class Chain(nn.Module):
    """A sequential network with named layers.

    Unlike :class:`torch.nn.Sequential` it does not support slicing, which would call the
    constructor of a network with a list of layers.

    Args:
        layers: The layers by name, in order. A name is the layer's attribute, its prefix in the state
            dict, and its name in logs and settings.

    Example:
        >>> chain = Chain({"fc1": nn.Linear(2, 3), "fc1_relu": nn.ReLU()})
        >>> chain.fc1
        Linear(in_features=2, out_features=3, bias=True)
    """

    def __init__(self, layers: Mapping[str, nn.Module]) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)

    @property
    def neuron_layers(self) -> dict[str, str]:
        """Hidden layers, each with the layer whose output the next layer takes as its input.

        Maps each layer with weights to the last layer before the next one with weights: ``conv5`` maps to
        ``pool5``, whose output is the input of ``conv6``. The last layer's outputs are the logits, so it is
        left out.
        """
        places: dict[str, str] = {}
        neurons = ""
        for name, layer in self.named_children():
            if isinstance(layer, nn.Linear | nn.Conv2d):
                neurons = name
            # Flatten splits feature maps into single values; dropout does nothing in eval mode.
            if neurons and not isinstance(layer, nn.Flatten | nn.Dropout):
                places[neurons] = name
        places.pop(neurons, None)
        return places

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the last layer's output for a batch.

        Args:
            inputs: N samples, shape ``(N, ...)``.

        Returns:
            Logits, shape ``(N, num_classes)``.
        """
        for layer in self.children():
            inputs = layer(inputs)
        return inputs
