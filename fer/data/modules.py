"""Registry of the data sets."""

from typing import Final

from fer.data.base import ExpressionDataModule
from fer.data.fer2013 import Fer2013DataModule
from fer.data.folder import FaceFolderDataModule
from fer.data.sfew import SfewDataModule, SfewFeaturesDataModule
from fer.data.synthetic import SyntheticFacesDataModule

DATA_MODULES: Final[dict[str, type[ExpressionDataModule]]] = {
    "fer2013": Fer2013DataModule,
    "folder": FaceFolderDataModule,
    "sfew": SfewDataModule,
    "sfew_features": SfewFeaturesDataModule,
    "synthetic": SyntheticFacesDataModule,
}
"""Data modules by the name used in configs and on the command line."""
