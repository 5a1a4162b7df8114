"""Data modules: splits of face images, or of their features, as batches ``(inputs, labels)``.

The names below are imported lazily, on first use, so that modules that do not need torch, such as
:mod:`fer.data.faces`, can be imported without it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fer.data.base import ExpressionDataModule
    from fer.data.fer2013 import Fer2013DataModule
    from fer.data.folder import FaceFolderDataModule
    from fer.data.images import ImageDataModule
    from fer.data.modules import DATA_MODULES
    from fer.data.pool import PooledDataModule
    from fer.data.sfew import SfewDataModule, SfewFeaturesDataModule
    from fer.data.synthetic import SyntheticFacesDataModule

__all__ = [
    "DATA_MODULES",
    "ExpressionDataModule",
    "FaceFolderDataModule",
    "Fer2013DataModule",
    "ImageDataModule",
    "PooledDataModule",
    "SfewDataModule",
    "SfewFeaturesDataModule",
    "SyntheticFacesDataModule",
]

_FILES = {
    "DATA_MODULES": "modules",
    "ExpressionDataModule": "base",
    "FaceFolderDataModule": "folder",
    "Fer2013DataModule": "fer2013",
    "ImageDataModule": "images",
    "PooledDataModule": "pool",
    "SfewDataModule": "sfew",
    "SfewFeaturesDataModule": "sfew",
    "SyntheticFacesDataModule": "synthetic",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    if name not in _FILES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value: object = getattr(import_module(f"{__name__}.{_FILES[name]}"), name)
    globals()[name] = value
    return value
