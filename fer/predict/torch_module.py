"""A torch network that takes crops."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fer.predict.preprocessing import Preprocessing


class TorchNetwork:
    """A :data:`fer.predict.recognizer.Network` that runs in torch, on the GPU if there is one.

    Args:
        network: Maps normalised images to logits.
        preprocessing: Prepares the images.
    """

    def __init__(self, network: nn.Module, preprocessing: Preprocessing) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.module = network.eval().to(self.device)
        self.preprocessing = preprocessing

    def __call__(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the logits of crops, shape ``(N, K)``."""
        inputs = torch.from_numpy(self.preprocessing.prepare(crops)).to(self.device)
        with torch.inference_mode():
            logits = self.module(inputs).float().cpu().numpy()
        return np.asarray(logits, np.float32)
