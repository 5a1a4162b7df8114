"""Layers one after another, each an attribute of the network under a plain name."""

from collections.abc import Mapping

from torch import Tensor, nn


class Chain(nn.Module):
    """A network whose layers are called in the order in which they were named.

    Unlike :class:`torch.nn.Sequential` it promises no slicing, which would call the
    constructor of a network with a list of layers.

    Args:
        layers: The layers by name. A name is the layer's attribute, its prefix in the state
            dict, and what logs and settings call it.

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
        """Where the neurons of each hidden layer are seen by the layer that reads them.

        By the name of the layer whose weights make the neurons, the name of the last layer before the next
        one with weights: what ``pool5`` puts out is what ``conv6`` sees of ``conv5``. The last layer's are
        the logits, which are not hidden.
        """
        places: dict[str, str] = {}
        neurons = ""
        for name, layer in self.named_children():
            if isinstance(layer, nn.Linear | nn.Conv2d):
                neurons = name
            # Flattening takes a feature map apart; dropout does nothing in evaluation.
            if neurons and not isinstance(layer, nn.Flatten | nn.Dropout):
                places[neurons] = name
        places.pop(neurons, None)
        return places

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the last layer's output for a batch.

        Args:
            inputs: What the first layer takes, N samples, shape ``(N, ...)``.

        Returns:
            Logits, shape ``(N, num_classes)``.
        """
        for layer in self.children():
            inputs = layer(inputs)
        return inputs
