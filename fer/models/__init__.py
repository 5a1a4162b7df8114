"""The networks: plain PyTorch modules from images or features to logits, one a file.

A public file of this folder is a network, registered under the file's name by being there; files that start
with an underscore hold what networks share. All settings are keyword-only and have defaults. Every network
takes ``num_classes``; those for images take ``channels`` and ``image_size`` too, and refuse a size that they
cannot take when they are built. The names of the layers are part of the interface.
"""

import inspect
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from torch import nn

from fer.models.cbam import Cbam


def defined_network(module: ModuleType) -> type[nn.Module]:
    """Return the network that a module defines: its last ``nn.Module`` class; its parts come before it.

    Raises:
        ImportError: It defines none.
    """
    defined = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, nn.Module) and value.__module__ == module.__name__
    ]
    if not defined:
        msg = f"{module.__file__} defines no nn.Module: start the file's name with an underscore"
        raise ImportError(msg)
    return defined[-1]


NETWORKS: Final[dict[str, type[nn.Module]]] = {
    name: defined_network(import_module(f"{__name__}.{name}"))
    for _, name, _ in iter_modules(__path__)
    if not name.startswith("_")
}
"""The networks by their file's name, which configs, make targets and sweeps share."""

globals().update({network.__name__: network for network in NETWORKS.values()})

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...


__all__ = ["NETWORKS", "Cbam", "defined_network"]
