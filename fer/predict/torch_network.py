"""Load a checkpoint's network and its preprocessing."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from torch import nn

from fer.checkpoints import calibration_in, normalisation_in, read_checkpoint, temperature_of
from fer.data import DATA_MODULES, ImageDataModule
from fer.data.faces import CropSettings
from fer.errors import InputError
from fer.lookup import find_checkpoint
from fer.predict.preprocessing import Preprocessing
from fer.predict.torch_module import TorchNetwork
from fer.tasks import load
from fer.views import Tta


def load_checkpoint(path: Path, network: type[nn.Module] | None = None) -> tuple[Preprocessing, TorchNetwork]:
    """Return a checkpoint's preprocessing and network.

    Args:
        path: A checkpoint, or the folder of a run.
        network: Class of the checkpoint's network, if it is not one of the package's.

    Raises:
        InputError: It is not a checkpoint, or its network does not take images.
    """
    checkpoint = find_checkpoint(path)
    preprocessing = preprocessing_of(checkpoint)
    return preprocessing, TorchNetwork(load(checkpoint, network), preprocessing)


def preprocessing_of(
    checkpoint: Path, normalisation: Mapping[str, Sequence[float]] | None = None
) -> Preprocessing:
    """Return the preprocessing for a checkpoint's network.

    Args:
        checkpoint: The file.
        normalisation: Mean and std of the pixels, for a checkpoint that does not have them.

    Raises:
        InputError: The network takes features, or the checkpoint does not say how its images were
            normalised.
    """
    content = read_checkpoint(checkpoint)
    settings = content["hyper_parameters"]
    shape = tuple(content.get("input_shape") or _shape_in(settings))
    network = content.get("network", content["task"]).rpartition(".")[2]
    if len(shape) != 3:
        msg = (
            f"{checkpoint} holds {network}, a network for {shape[0] if shape else 'some'} features, not for "
            "images: give the checkpoint of another network with --ckpt_path"
        )
        raise InputError(msg)
    module, statistics = next(iter(normalisation_in(content).items()), ("", normalisation))
    if not statistics:
        msg = (
            f"{checkpoint} does not say how its images were normalised: it is from an older version, or from "
            "a data module of your own that does not save mean and std; train it again"
        )
        raise InputError(msg)
    settings_of_data = content.get("datamodule_hyper_parameters")
    crop = _photo_crop(module, settings_of_data if isinstance(settings_of_data, Mapping) else {}, shape[1])
    calibration = calibration_in(content)
    return Preprocessing(
        image_size=shape[1],
        channels=shape[0],
        mean=tuple(map(float, statistics["mean"])),
        std=tuple(map(float, statistics["std"])),
        class_names=tuple(content.get("class_names") or load(checkpoint).class_names),
        detector=crop.detector,
        margin=crop.margin,
        align=crop.align,
        temperature=temperature_of(calibration),
        view_temperatures={name: temperature_of(calibration, name) for name in get_args(Tta) if calibration},
        network=network,
        trained_on=content.get("trained_on", ""),
    )


def _shape_in(settings: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the shape of one sample for an old checkpoint, which does not store the shape."""
    if "image_size" in settings:
        return settings["channels"], settings["image_size"], settings["image_size"]
    return (settings["in_features"],) if "in_features" in settings else ()


def _photo_crop(module: str, settings: Mapping[str, Any], image_size: int) -> CropSettings:
    """Return how photos are cropped for a network that was trained with a data module.

    Args:
        module: Name of the data module's class; for one outside of fer, the defaults for images are used.
        settings: Settings of the data module in the checkpoint.
        image_size: Size of the network's input, in pixels.
    """
    known = {each.__name__: each for each in DATA_MODULES.values() if issubclass(each, ImageDataModule)}
    crop = known.get(module, ImageDataModule).photo_crop(settings)
    return replace(crop, size=image_size)
