"""Data modules: pictures of faces, split, normalised and augmented, as batches ``(inputs, labels)``."""

from typing import Final

from fer.data.base import PictureDataModule
from fer.data.fer2013 import Fer2013DataModule
from fer.data.synthetic import SyntheticFacesDataModule

DATA_MODULES: Final[dict[str, type[PictureDataModule]]] = {
    "fer2013": Fer2013DataModule,
    "synthetic": SyntheticFacesDataModule,
}
"""The data sets by the name that configs and the command line use."""

__all__ = ["DATA_MODULES", "Fer2013DataModule", "PictureDataModule", "SyntheticFacesDataModule"]
