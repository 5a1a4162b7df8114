"""Data modules: faces, or features of faces, in splits, as batches ``(inputs, labels)``."""

from typing import Final

from fer.data.base import ExpressionDataModule
from fer.data.fer2013 import Fer2013DataModule
from fer.data.folder import FaceFolderDataModule
from fer.data.images import ImageDataModule
from fer.data.pool import PooledDataModule
from fer.data.sfew import SfewDataModule, SfewFeaturesDataModule
from fer.data.synthetic import SyntheticFacesDataModule

DATA_MODULES: Final[dict[str, type[ExpressionDataModule]]] = {
    "fer2013": Fer2013DataModule,
    "folder": FaceFolderDataModule,
    "sfew": SfewDataModule,
    "sfew_features": SfewFeaturesDataModule,
    "synthetic": SyntheticFacesDataModule,
}
"""The data sets by the name that configs and the command line use."""

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
