"""A network in an ONNX file, run by onnxruntime without torch."""

import json
import os
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fer.errors import InputError
from fer.predict.preprocessing import PREPROCESSING, Preprocessing

KEY: Final = "preprocessing"
"""Key in an ONNX file's metadata for the content of ``preprocessing.json``."""


class OnnxNetwork:
    """A :data:`fer.predict.recognizer.Network` that runs in onnxruntime.

    Args:
        session: Session of onnxruntime, from normalised images or uint8 crops to logits.
        preprocessing: Prepares the images.
    """

    def __init__(self, session: Any, preprocessing: Preprocessing) -> None:
        self.session = session
        self.input_name = session.get_inputs()[0].name
        self.output_name = session.get_outputs()[0].name
        self.prepares = session.get_inputs()[0].type == "tensor(uint8)"
        self.preprocessing = preprocessing

    def __call__(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the logits of crops, shape ``(N, K)``."""
        inputs = crops if self.prepares else self.preprocessing.prepare(crops)
        (logits,) = self.session.run([self.output_name], {self.input_name: inputs})
        return np.asarray(logits, np.float32)


def load_onnx(path: Path) -> tuple[Preprocessing, OnnxNetwork]:
    """Return the preprocessing and the network of an ONNX file.

    The preprocessing is in the file, or, for a file from another program, in ``preprocessing.json`` in the
    same folder.

    Raises:
        InputError: There is no such file, onnxruntime cannot run it, or its preprocessing is not known.
    """
    if not path.is_file():
        msg = f"{path}: no such ONNX file; fer export CHECKPOINT writes one"
        raise InputError(msg)
    runtime = _runtime()
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # only errors
    if threads := os.environ.get("OMP_NUM_THREADS"):
        options.intra_op_num_threads = int(threads)
    try:
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except _errors() as e:
        reason = str(e).splitlines()[0]
        msg = f"{path} is not a network that onnxruntime can run ({reason}); export it again with fer export"
        raise InputError(msg) from e
    preprocessing = _preprocessing(path, session.get_modelmeta().custom_metadata_map)
    _check_shapes(path, session, preprocessing)
    return preprocessing, OnnxNetwork(session, preprocessing)


def _runtime() -> Any:
    try:
        return import_module("onnxruntime")
    except ImportError as e:
        msg = f'an ONNX file needs onnxruntime ({e.name} is missing): pip install "fer-neurons[export]"'
        raise InputError(msg) from e


def _errors() -> tuple[type[Exception], ...]:
    """Return the exceptions that onnxruntime raises for a file that it cannot run."""
    state = import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    names = (
        "Fail",
        "InvalidArgument",
        "InvalidGraph",
        "InvalidProtobuf",
        "NotImplemented",
        "RuntimeException",
    )
    return tuple(getattr(state, name) for name in names)


def _preprocessing(path: Path, metadata: Mapping[str, str]) -> Preprocessing:
    if KEY in metadata:
        return Preprocessing.from_json(metadata[KEY], source=f"{path} ({KEY})")
    beside = path.with_name(PREPROCESSING)
    if beside.is_file():
        return Preprocessing.from_json(beside.read_text("utf-8"), source=str(beside))
    writer = "an older version of fer" if "fer_version" in metadata else "another program"
    msg = (
        f"{path} was written by {writer} and does not say how its images have to be prepared: export it with "
        f"fer export CHECKPOINT, or put a {PREPROCESSING} into its folder"
    )
    raise InputError(msg)


def _check_shapes(path: Path, session: Any, preprocessing: Preprocessing) -> None:
    """Check that a network's input and output match its preprocessing.

    Raises:
        InputError: They do not match.
    """
    inputs, outputs = session.get_inputs(), session.get_outputs()
    side, channels, num_classes = (
        preprocessing.image_size, preprocessing.channels, len(preprocessing.class_names)
    )  # fmt: skip
    wanted = {"tensor(float)": [channels, side, side], "tensor(uint8)": [side, side, 3]}
    free = dict.fromkeys(("height", "width"), side)  # of images that the graph resizes
    found = [free.get(axis, axis) for axis in inputs[0].shape[1:]] if len(inputs) == 1 else []
    if len(outputs) != 1 or found != wanted.get(inputs[0].type) or outputs[0].shape[1:] != [num_classes]:
        listed = [f"{each.type} {json.dumps(each.shape)}" for each in (*inputs, *outputs)]
        msg = (
            f"{path} has inputs and outputs {', '.join(listed)}, which its preprocessing does not describe "
            f"({channels} channels of {side}x{side}, {num_classes} classes); export it again with fer export"
        )
        raise InputError(msg)
