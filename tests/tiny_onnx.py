"""A network in an ONNX file that is made without torch: the brightness of a face decides its class."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fer.predict import Preprocessing
from fer.predict.onnx_network import KEY

SIZE = 8
DARK_OR_BRIGHT = Preprocessing(
    image_size=SIZE,
    channels=1,
    mean=(0.5,),
    std=(0.25,),
    class_names=("dark", "bright"),
    detector="viola_jones",
    network="Brightness",
    trained_on="nothing",
)


def write_brightness(path: Path, preprocessing: Preprocessing | None = DARK_OR_BRIGHT, **changes) -> Path:
    """Write the network: logits are minus and plus the mean of the normalised pixels."""
    weights = np.stack([-np.ones(SIZE * SIZE), np.ones(SIZE * SIZE)], axis=1) / SIZE**2
    nodes = [
        helper.make_node("Flatten", ["inputs"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info("inputs", TensorProto.FLOAT, ["batch", 1, SIZE, SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(weights.astype(np.float32), "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    if preprocessing is not None:
        helper.set_model_props(model, {KEY: replace(preprocessing, **changes).to_json()})
    onnx.save(model, path)
    return path
