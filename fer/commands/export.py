"""The command ``export``: write a checkpoint's network as an ONNX file, with its preprocessing."""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

import fer
from fer.checkpoints import normalisation_in, read_checkpoint
from fer.commands.choices import find_task, read_config
from fer.commands.parsing import CONSOLE
from fer.data import DATA_MODULES
from fer.errors import InputError
from fer.export import BATCH_SIZES, OPSETS, FromImages, export_onnx
from fer.files import atomic_write
from fer.lookup import find_checkpoint
from fer.predict.onnx_network import KEY
from fer.predict.preprocessing import PREPROCESSING
from fer.predict.torch_network import preprocessing_of
from fer.tasks import ClassificationTask, load

HELP: Final = "write a checkpoint's network as an ONNX file, checked against PyTorch"
SECTION: Final = "prune and export"
TAKES: Final = "checkpoint"


def export(arguments: Sequence[str]) -> None:
    """Write a checkpoint's network as ONNX, and print how to use it."""
    parser = argparse.ArgumentParser(
        prog="fer export",
        allow_abbrev=False,
        description="Write a checkpoint's network, pruned or not, as one ONNX file for batches of any size, "
        "with the names of its classes and the normalisation of its inputs. Its outputs are compared with "
        "PyTorch's.",
    )
    parser.add_argument(
        "checkpoint", type=Path, help="runs/NAME/checkpoints/best.ckpt, or the folder of a run: runs/NAME"
    )
    parser.add_argument(
        "--out", type=Path, help="file to write (default: beside the checkpoint, with the suffix .onnx)"
    )
    parser.add_argument(
        "--opset",
        type=int,
        help=f"version of ONNX's operators, {OPSETS.start} to {OPSETS.stop - 1} (default: torch's choice)",
    )
    parser.add_argument(
        "--uint8",
        action="store_true",
        help="include the preprocessing in the graph, which then takes RGB images of any size, as uint8 "
        "(N, H, W, 3)",
    )
    parser.add_argument("--network", help="class of your own network, package.module.Class")
    given = parser.parse_args(list(arguments))
    given.checkpoint = find_checkpoint(given.checkpoint)
    network = None if given.network is None else find_task(given.network).network_class
    task = load(given.checkpoint, network)
    shape = input_shape(task)
    normalisation, remark = find_normalisation(given.checkpoint) if len(shape) == 3 else ({}, "")
    metadata = {
        "network": type(task.network).__name__,
        "class_names": json.dumps(task.class_names),
        "input_shape": json.dumps(shape),
        **{key: json.dumps(value) for key, value in normalisation.items()},
        "fer_version": fer.__version__,
        "checkpoint": str(given.checkpoint),
    }
    path = given.out or given.checkpoint.with_suffix(".onnx")
    module, example, beside = task.network, torch.zeros(1, *shape), []
    if len(shape) == 3:
        metadata |= {"channels": json.dumps(shape[0]), "image_size": json.dumps(shape[1])}
        metadata["layout"] = "NCHW, pixels 0 to 1 (grey or RGB), minus the mean, divided by the std"
    if normalisation:
        preprocessing = preprocessing_of(given.checkpoint, normalisation)
        metadata[KEY] = preprocessing.to_json()
        beside = [path.with_name(PREPROCESSING)]
    if given.uint8:
        module, example = with_preprocessing(given.checkpoint, task, normalisation)
        metadata["layout"] = "NHWC, RGB, pixels 0 to 255"
        remark = ""
    written = export_onnx(module, example, path, opset=given.opset, metadata=metadata)
    for file in beside:
        with atomic_write(file) as content:
            content.write(metadata[KEY].encode())
    num_parameters = sum(parameter.numel() for parameter in task.network.parameters())
    batches = ", ".join(map(str, BATCH_SIZES))
    axes = "height, width, 3" if given.uint8 else ", ".join(map(str, shape))
    lines = [
        f"network      {metadata['network']}: {num_parameters:,} parameters",
        f"file         {written.path}, {written.num_bytes / 2**20:.1f} MiB, opset {written.opset}",
        f"checked      logits at most {written.difference:.1g} from torch's, batches of {batches}",
        f"inputs       {'uint8' if given.uint8 else 'float32'} (N, {axes}){remark}",
        *(f"beside it    {file}: size, normalisation, classes, crop, temperature" for file in beside),
        *(["use it", f"  fer predict photo.jpg --ckpt_path {written.path}"] if beside else ["use it"]),
        "  import onnxruntime",
        f"  session = onnxruntime.InferenceSession({str(written.path)!r})",
        '  logits = session.run(["logits"], {"inputs": inputs})[0]'
        "   # session.get_modelmeta().custom_metadata_map: classes, …",
    ]
    CONSOLE.print("\n".join(lines), markup=False)


def with_preprocessing(
    checkpoint: Path, task: ClassificationTask, normalisation: Mapping[str, Sequence[float]]
) -> tuple[nn.Module, torch.Tensor]:
    """Return a network that takes uint8 images, and an example of its input.

    Raises:
        InputError: The network does not take images, or their normalisation is not known.
    """
    shape = input_shape(task)
    if len(shape) != 3 or not normalisation:
        reason = "takes features" if len(shape) != 3 else "does not say how its images were normalised"
        msg = f"--uint8: {checkpoint} {reason}; leave the option out"
        raise InputError(msg)
    module = FromImages(
        task.network,
        image_size=shape[1],
        channels=shape[0],
        mean=normalisation["mean"],
        std=normalisation["std"],
    )
    # A size that the exporter cannot mistake for a constant of the network.
    return module, torch.zeros(1, shape[1] + 5, shape[1] + 11, 3, dtype=torch.uint8)


def input_shape(task: ClassificationTask) -> tuple[int, ...]:
    """Return the shape of one sample: (channels, height, width) of an image, or (features,)."""
    if task.input_shape is not None:
        return task.input_shape
    settings = task.hparams
    if "image_size" in settings:
        return (settings["channels"], settings["image_size"], settings["image_size"])
    return (settings["in_features"],)


def find_normalisation(checkpoint: Path) -> tuple[dict[str, list[float]], str]:
    """Return the normalisation that the network was trained with: mean and std of pixels from 0 to 1.

    They are read from the checkpoint. If it lacks them, as older ones do, they are computed again from the
    data that the run's config names.

    Returns:
        ``mean`` and ``std`` of each channel, and a remark that states them. If they are not known, an empty
        dict and a remark on the reason.
    """
    content = read_checkpoint(checkpoint)
    config = checkpoint.resolve().parent.parent / "config.yaml"
    kept = next(iter(normalisation_in(content).values()), None)
    try:
        found = kept or _normalisation_of(read_config(config))
    except InputError as e:
        return {}, f"; their normalisation is not known, and not in the file: {e}"
    mean, std = (", ".join(f"{value:.4f}" for value in found[key]) for key in ("mean", "std"))
    return found, f", pixels 0 to 1, minus mean {mean}, divided by std {std}"


def _normalisation_of(config: Mapping[str, Any]) -> dict[str, list[float]]:
    """Return the normalisation of the data that a config names."""
    if config["dataset"] not in DATA_MODULES:  # a class that only the config names is not imported
        msg = f"the checkpoint lacks it, and --dataset {config['dataset']} is a class outside of fer"
        raise InputError(msg)
    data = DATA_MODULES[config["dataset"]](**config["data"])
    data.prepare_data()
    data.setup()
    return {key: list(value) for key, value in data.state_dict().items()}
