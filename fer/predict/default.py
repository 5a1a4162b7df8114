"""The network that ships with the package."""

from pathlib import Path
from typing import Final

from safetensors import SafetensorError
from safetensors.torch import load_file

import fer
from fer.errors import InputError
from fer.files import read_json
from fer.models import NETWORKS
from fer.predict.preprocessing import Preprocessing
from fer.predict.torch_module import TorchNetwork

FOLDER: Final = Path(fer.__file__).parent / "weights"
"""Folder of the package that holds ``default.safetensors``, and ``default.json`` with its preprocessing and
the settings of its class."""

WAY_OUT: Final = "install fer again, or name a network with --ckpt_path CHECKPOINT|RUN|MODEL.onnx"


def load_default(folder: Path = FOLDER) -> tuple[Preprocessing, TorchNetwork]:
    """Return the preprocessing and the network of the package's own model.

    Its class is built without Lightning, whose import would take as long as all the rest.

    Raises:
        InputError: This version of the package has none, or its files are damaged.
    """
    facts_path, weights_path = folder / "default.json", folder / "default.safetensors"
    if not (facts_path.is_file() and weights_path.is_file()):
        msg = "this fer ships no network of its own: name yours with --ckpt_path CHECKPOINT|RUN|MODEL.onnx"
        raise InputError(msg)
    facts = read_json(facts_path, WAY_OUT)
    try:
        preprocessing = Preprocessing.from_json(facts_path.read_text("utf-8"), source=str(facts_path))
        by_class = {each.__name__: each for each in NETWORKS.values()}
        network = by_class[preprocessing.network](**facts["settings"])
        network.load_state_dict(load_file(weights_path))
    except (LookupError, TypeError, ValueError, RuntimeError, OSError, SafetensorError) as e:
        msg = f"{folder} is damaged ({' '.join(str(e).split())}): {WAY_OUT}"
        raise InputError(msg) from e
    return preprocessing, TorchNetwork(network, preprocessing)
