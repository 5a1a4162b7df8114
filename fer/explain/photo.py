"""Explain a network's prediction for each face in a photo."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from fer.checkpoints import read_checkpoint
from fer.data.detectors import Face as FoundFace
from fer.data.faces import crop_face
from fer.data.pixels import resize, to_channels
from fer.errors import InputError
from fer.explain.answering import AnsweringNeuron, Distinctness, answering_neurons
from fer.explain.maps import find_map_layer, occlusion_map, relevance_map
from fer.lookup import find_checkpoint
from fer.neurons import distinctness
from fer.predict import Face, Recognizer
from fer.predict.default import read_default_facts
from fer.predict.torch_module import TorchNetwork
from fer.runs import run_of

MOST_FACES: Final = 8
"""Most faces of a photo that are explained: the detector's first ones, which MTCNN sorts by size."""


@dataclass(frozen=True, eq=False)
class ExplainedFace:
    """The prediction for a face, explained.

    Attributes:
        face: The face with its probabilities.
        crop: The network's input before normalisation, RGB, uint8, shape ``(S, S, 3)``.
        relevance: Grad-CAM, 0 to 1, shape ``(S, S)``.
        occlusion: Drop in the probability of the predicted class, -1 to 1, shape ``(S, S)``.
        neurons: The distinct neurons that respond most strongly, by layer.
    """

    face: Face
    crop: NDArray[np.uint8]
    relevance: NDArray[np.float32]
    occlusion: NDArray[np.float32]
    neurons: Mapping[str, list[AnsweringNeuron]]


@dataclass(frozen=True, eq=False)
class Explanation:
    """The faces of a photo, explained.

    Attributes:
        image: RGB, uint8, shape ``(H, W, 3)``.
        faces: The explained faces.
        layer: The layer for Grad-CAM.
        notes: Sentences about what is left out, and why.
    """

    image: NDArray[np.uint8]
    faces: list[ExplainedFace]
    layer: str
    notes: list[str] = field(default_factory=list)


def explain_photo(recognizer: Recognizer, image: NDArray[np.uint8], distinct: Distinctness) -> Explanation:
    """Explain each face of a photo.

    Args:
        recognizer: Finds the faces; its network must be a torch network.
        image: RGB, uint8, shape ``(H, W, 3)``.
        distinct: Measured distinctness of the network's neurons, by layer.

    Raises:
        InputError: No face is found, or the network has no gradients or no feature maps.
    """
    network = recognizer.network
    if not isinstance(network, TorchNetwork):
        msg = (
            "fer explain needs the layers and the gradients of a network, which an ONNX file does not have: "
            "give the checkpoint that it was exported from"
        )
        raise InputError(msg)
    faces = recognizer(image)
    if not faces:
        least = recognizer.smallest(image.shape)
        msg = f"no face of {least:.0f} pixels or more: add --whole if it is the crop of a face"
        raise InputError(msg)
    settings, module = recognizer.preprocessing, network.module
    inner = getattr(module, "network", module)  # of a LightningModule
    layer, explained = "", []
    without: list[str] = []
    for face in faces[:MOST_FACES]:
        found = FoundFace(face.box, face.detected, face.landmarks)
        is_whole = settings.detector == "none"
        crop = resize(image, settings.image_size) if is_whole else crop_face(image, found, settings.crop)
        inputs = torch.from_numpy(settings.prepare(crop[np.newaxis])).to(network.device)
        layer = layer or find_map_layer(inner, inputs)
        target = settings.class_names.index(face.label)
        neurons, without = answering_neurons(inner, inputs, distinct)
        relevance = relevance_map(inner, inputs, target, layer)
        occlusion = occlusion_map(inner, inputs, target)
        seen = to_channels(to_channels(crop, settings.channels), 3)
        explained.append(ExplainedFace(face, seen, relevance, occlusion, neurons))
    notes = []
    if len(faces) > MOST_FACES:
        notes.append(f"{len(faces)} faces were found; the first {MOST_FACES} are explained.")
    if without:
        notes.append(
            f"No angles were measured for {', '.join(without)}: the most active neurons are shown, whether "
            "distinct or not (fer fit writes angles into the run's folder)."
        )
    return Explanation(image, explained, layer, notes)


def distinctness_of(path: Path | None) -> Distinctness:
    """Return the distinctness of a checkpoint's neurons; empty if its training measured no angles.

    The angles are from the checkpoint's own epoch if it was measured, else from the last measurement.

    Args:
        path: A checkpoint, or the folder of a run; None: the package's own network.
    """
    if path is None:
        known = read_default_facts().get("distinctness", {})
        return {layer: np.array(values, np.float64) for layer, values in known.items()}
    checkpoint = find_checkpoint(path)
    run = run_of(checkpoint)
    measured = run.measured_epochs()
    epoch = read_checkpoint(checkpoint).get("epoch")
    angles = run.read_angles(epoch if epoch in measured else None) if measured else {}
    return {layer: distinctness(torch.from_numpy(degrees)).numpy() for layer, degrees in angles.items()}
