"""Networks: plain PyTorch modules that map images or features to logits, one per file.

Each public file in this folder defines a network, which is registered under the file's name automatically.
Files that start with an underscore contain shared code. All settings are keyword-only and have defaults.
Every network takes ``num_classes``. Networks for images also take ``channels`` and ``image_size``, and raise
an error in the constructor if the images are too small. The names of the layers are part of the interface.
"""

import inspect
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from torch import nn

from fer.models.cbam import Cbam


def defined_network(module: ModuleType) -> type[nn.Module]:
    """Return the network that a Python module defines: its last ``nn.Module`` class.

    Raises:
        ImportError: The module defines none.
    """
    defined = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, nn.Module) and value.__module__ == module.__name__
    ]
    if not defined:
        msg = f"{module.__file__} defines no nn.Module: add one, or start the file's name with an underscore"
        raise ImportError(msg)
    return defined[-1]


NETWORKS: Final[dict[str, type[nn.Module]]] = {
    name: defined_network(import_module(f"{__name__}.{name}"))
    for _, name, _ in iter_modules(__path__)
    if not name.startswith("_")
}
"""Network classes by the name of their file, as used in configs, make targets and sweeps."""

globals().update({network.__name__: network for network in NETWORKS.values()})

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...


__all__ = ["NETWORKS", "Cbam", "defined_network"]
