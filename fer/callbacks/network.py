"""Which network of a LightningModule a callback works on, and what its layers are called in the logs."""

from collections.abc import Iterator
from typing import NamedTuple

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from torch import nn

from fer.errors import InputError, did_you_mean


class FoundNetwork(NamedTuple):
    """A network in a LightningModule.

    Attributes:
        module: The network; not compiled.
        attribute: Its dotted name in the LightningModule; empty: the LightningModule itself.
        prefix: What the names of its layers begin with in logs and files: the dotted name and a dot where
            the user gave one, else empty.
    """

    module: nn.Module
    attribute: str
    prefix: str

    def layer_of(self, name: str) -> str:
        """Return what a layer, or a parameter, is called in logs and files, given its name in the network."""
        return self.prefix + plain_name(name)

    def full_name(self, layer: str) -> str:
        """Return the dotted name in the LightningModule of a layer, given its name in logs and files."""
        return ".".join(filter(None, (self.attribute, layer.removeprefix(self.prefix))))

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield the network's parameters with their dotted names in the LightningModule."""
        for name, parameter in self.module.named_parameters():
            yield plain_name(self.full_name(name)), parameter


def plain_name(name: str) -> str:
    """Return the name of a layer or a parameter as it is without ``torch.compile``.

    >>> plain_name("net._orig_mod.fc1.weight")
    'net.fc1.weight'
    """
    return name.replace("_orig_mod.", "")


def find_network(pl_module: LightningModule, name: str | None = None) -> FoundNetwork:
    """Return the network that a callback works on.

    Args:
        pl_module: Any LightningModule.
        name: Dotted name of a module in it; None: the one that its attribute ``network_name`` names, if it
            has such an attribute, else the LightningModule itself.

    Raises:
        InputError: It has no module of this name.

    >>> from lightning.pytorch.demos.boring_classes import BoringModel
    >>> find_network(BoringModel(), "layer")
    FoundNetwork(module=Linear(in_features=32, out_features=2, bias=True), attribute='layer', prefix='layer.')
    """
    attribute = getattr(pl_module, "network_name", "") if name is None else name
    try:
        module = pl_module.get_submodule(attribute)
    except AttributeError as e:
        names = [each for each, _ in pl_module.named_modules() if each]
        msg = (
            f"network={attribute!r}: {type(pl_module).__name__} has no such module; "
            f"{did_you_mean(attribute, names)}its modules are "
            f"{', '.join(dict(pl_module.named_children())) or 'none'}"
        )
        raise InputError(msg) from e
    module = getattr(module, "_orig_mod", module)  # compiled
    return FoundNetwork(module, attribute, "" if name is None else f"{name}.")


def is_sharded(trainer: Trainer) -> bool:
    """Return whether each process holds a part of the weights only, which callbacks cannot read."""
    return isinstance(trainer.strategy, FSDPStrategy | DeepSpeedStrategy | ModelParallelStrategy)
