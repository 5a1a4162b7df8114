"""Preprocessing for a trained network: how faces are found, cropped and normalised, and its classes."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from fer.data.faces import CropSettings, Detector
from fer.data.pixels import to_channels
from fer.errors import InputError
from fer.files import find_problem
from fer.views import Tta

PREPROCESSING: Final = "preprocessing.json"
"""Name of the file that accompanies an ONNX file."""


@dataclass(frozen=True)
class Preprocessing:
    """How a photo is turned into a network's inputs, and what its outputs mean.

    Attributes:
        image_size: Height and width of the network's input, in pixels.
        channels: 1 for grey, 3 for RGB.
        mean: Mean of each channel, for pixels in 0..1.
        std: Standard deviation of each channel, for pixels in 0..1.
        class_names: Classes in the order of the network's logits.
        detector: Detector that finds the faces; see :data:`fer.data.faces.Detector`.
        margin: Margin on every side of a face, as a share of the longer side of its box.
        align: Whether a face is turned upright by its eyes.
        temperature: Divides the logits before the softmax; 1 if the network is not calibrated.
        view_temperatures: Temperatures for the mean of several views, by the views' name; see
            :mod:`fer.views`. Views without one use ``temperature``.
        network: Name of the network's class.
        trained_on: Data set and protocol; empty if they are not known.
    """

    image_size: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_names: tuple[str, ...]
    detector: Detector = "mtcnn"
    margin: float = 0.1
    align: bool = False
    temperature: float = 1.0
    view_temperatures: Mapping[str, float] = field(default_factory=dict)
    network: str = ""
    trained_on: str = ""

    @property
    def crop(self) -> CropSettings:
        """How a face is found and cropped."""
        return CropSettings(
            detector=self.detector, size=self.image_size, margin=self.margin, align=self.align
        )

    def temperature_for(self, tta: Tta) -> float:
        """Return the temperature for the mean of several views."""
        return self.view_temperatures.get(tta, self.temperature)

    def to_json(self) -> str:
        """Return the content of ``preprocessing.json``."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, *, source: str = "preprocessing.json") -> Self:
        """Parse the output of :meth:`to_json`.

        Args:
            text: Content of the file.
            source: Name of the file, for errors.

        Raises:
            InputError: The content is not valid.
        """
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as e:
            msg = f"{source} is not valid JSON ({e}): export the network again with fer export"
            raise InputError(msg) from e
        number = (int, float)
        shape: dict[str, Any] = {
            **{"image_size": int, "channels": int, "detector": str, "margin": number, "align": bool},
            **{"temperature": number, "view_temperatures": {"*": number}, "network": str, "trained_on": str},
            **{"mean": [number], "std": [number], "class_names": [str]},
        }
        if problem := find_problem(content, shape):
            msg = f"{source}: {problem}: export the network again with fer export"
            raise InputError(msg)
        known = {each.name: content[each.name] for each in fields(cls)}
        lists: dict[str, Any] = {key: tuple(known[key]) for key in ("mean", "std", "class_names")}
        return cls(**known | lists)

    def __post_init__(self) -> None:
        is_sound = (
            self.channels in (1, 3)
            and len(self.mean) in (1, self.channels)
            and len(self.std) == len(self.mean)
            and all(map(math.isfinite, self.mean))
            and all(0 < each < math.inf for each in (*self.std, self.temperature))
            and all(0 < each < math.inf for each in self.view_temperatures.values())
            and len(self.class_names) >= 2
        )
        if not is_sound:
            msg = (
                f"the preprocessing is inconsistent: channels {self.channels}, mean {self.mean}, "
                f"std {self.std}, temperature {self.temperature}, classes {self.class_names}"
            )
            raise InputError(msg)
        _ = self.crop  # raises

    def prepare(self, crops: NDArray[np.uint8] | Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Return crops as the network's inputs.

        Args:
            crops: RGB, uint8, shape ``(N, S, S, 3)``, S the network's ``image_size``.

        Returns:
            float32, shape ``(N, channels, S, S)``, normalised.
        """
        size = self.image_size
        values = np.empty((len(crops), size, size, self.channels), np.float32)
        for row, crop in enumerate(crops):
            values[row] = to_channels(crop, self.channels)
        values -= 255 * np.array(self.mean, np.float32)
        values /= 255 * np.array(self.std, np.float32)
        return np.ascontiguousarray(values.transpose(0, 3, 1, 2))
