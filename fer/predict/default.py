"""The network that ships with the package."""

from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError
from safetensors.torch import load_file

import fer
from fer.errors import InputError
from fer.files import read_json
from fer.models import NETWORKS
from fer.neurons.surgery import resize
from fer.predict.preprocessing import Preprocessing
from fer.predict.torch_module import TorchNetwork

FOLDER: Final = Path(fer.__file__).parent / "weights"
"""Folder of the package with ``default.safetensors`` and ``default.json``. The JSON holds the preprocessing,
the settings of the network's class, the ``widths`` of its layers if it was pruned, and for each layer how
distinct its neurons are."""

WAY_OUT: Final = "install fer again, or name a network with --ckpt_path CHECKPOINT|RUN|MODEL.onnx"


def read_default_facts(folder: Path = FOLDER) -> dict[str, Any]:
    """Return the content of ``default.json``, which describes the package's own model.

    Raises:
        InputError: This version of the package has no such model, or the file is damaged.
    """
    if not all((folder / f"default.{suffix}").is_file() for suffix in ("json", "safetensors")):
        msg = "this fer comes without a network: name yours with --ckpt_path CHECKPOINT|RUN|MODEL.onnx"
        raise InputError(msg)
    return read_json(folder / "default.json", WAY_OUT)


def load_default(folder: Path = FOLDER) -> tuple[Preprocessing, TorchNetwork]:
    """Return the preprocessing and the network of the package's own model.

    The network is built without Lightning, whose import would take as long as everything else.

    Raises:
        InputError: This version of the package has none, or its files are damaged.
    """
    facts = read_default_facts(folder)
    facts_path, weights_path = folder / "default.json", folder / "default.safetensors"
    try:
        preprocessing = Preprocessing.from_json(facts_path.read_text("utf-8"), source=str(facts_path))
        by_class = {each.__name__: each for each in NETWORKS.values()}
        network = by_class[preprocessing.network](**facts["settings"])
        if "widths" in facts:
            network = resize(network, facts["widths"])
        network.load_state_dict(load_file(weights_path))
    except (LookupError, TypeError, ValueError, RuntimeError, OSError, SafetensorError) as e:
        msg = f"{folder} is damaged ({' '.join(str(e).split())}): {WAY_OUT}"
        raise InputError(msg) from e
    return preprocessing, TorchNetwork(network, preprocessing)
