"""FER2013: 35,887 grey faces of 48x48 pixels, read from a CSV, image folders, or an archive of either.

Source: Goodfellow et al., "Challenges in Representation Learning: A Report on Three Machine
Learning Contests", 2013.
"""

from fer.data.fer2013.datamodule import Fer2013DataModule, Labels, Protocol
from fer.data.fer2013.ferplus import FERPLUS_CLASSES
from fer.data.fer2013.kaggle import download
from fer.data.fer2013.reading import read_fer2013
from fer.data.fer2013.rows import (
    NUM_PIXELS,
    OFFICIAL_COUNTS,
    PRIVATE,
    PUBLIC,
    REMAP,
    SIDE,
    TRAINING,
    USAGES,
    Fer2013Rows,
)
from fer.data.fer2013.table import CSV_NAMES

__all__ = [
    "CSV_NAMES",
    "FERPLUS_CLASSES",
    "NUM_PIXELS",
    "OFFICIAL_COUNTS",
    "PRIVATE",
    "PUBLIC",
    "REMAP",
    "SIDE",
    "TRAINING",
    "USAGES",
    "Fer2013DataModule",
    "Fer2013Rows",
    "Labels",
    "Protocol",
    "download",
    "read_fer2013",
]
