"""Which network of a LightningModule a callback works on, and what its layers are called in the logs."""

from typing import NamedTuple

from lightning.pytorch import LightningModule
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
