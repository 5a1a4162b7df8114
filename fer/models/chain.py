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

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the last layer's output for a batch.

        Args:
            inputs: What the first layer takes, N patterns, shape ``(N, ...)``.

        Returns:
            Logits, shape ``(N, num_classes)``.
        """
        for layer in self.children():
            inputs = layer(inputs)
        return inputs
