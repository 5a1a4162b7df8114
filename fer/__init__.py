"""Analyse the hidden neurons of a neural network, and prune those that it does not need.

The names below are imported when they are first used, so that ``import fer`` takes no time. All others are
imported from the subpackages, such as :mod:`fer.neurons` and :mod:`fer.callbacks`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fer.neurons import angles, distinctness, label_stages, measure, prune
    from fer.predict import Recognizer
    from fer.tasks import load

__version__ = "0.1.0"

__all__ = ["Recognizer", "__version__", "angles", "distinctness", "label_stages", "load", "measure", "prune"]

_ROOMS = {
    "Recognizer": "fer.predict",
    "angles": "fer.neurons",
    "distinctness": "fer.neurons",
    "label_stages": "fer.neurons",
    "load": "fer.tasks",
    "measure": "fer.neurons",
    "prune": "fer.neurons",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    if name not in _ROOMS:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value: object = getattr(import_module(_ROOMS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
