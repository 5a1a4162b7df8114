"""The network that ships with the package."""

from importlib import resources
from typing import Final

from fer.errors import InputError
from fer.predict.preprocessing import Preprocessing
from fer.predict.recognizer import Network

FOLDER: Final = "weights"
"""Folder of the package that the network is in."""


def load_default() -> tuple[Preprocessing, Network]:
    """Return the preprocessing and the network of the package's own model.

    Raises:
        InputError: This version of the package has none.
    """
    folder = resources.files("fer") / FOLDER
    facts, weights = folder / "default.json", folder / "default.safetensors"
    if not (facts.is_file() and weights.is_file()):
        msg = "this fer ships no network of its own: name yours with --ckpt_path CHECKPOINT|RUN|MODEL.onnx"
        raise InputError(msg)
    raise NotImplementedError
