"""Write a trained network as an ONNX file, after checking its outputs against torch."""

import copy
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from fer.errors import InputError
from fer.files import atomic_write

BATCH_SIZES: Final = (1, 3, 8)
"""Batch sizes with which both networks are compared."""

TOLERANCE: Final = 1e-4
"""Largest allowed difference of logits, as a share of the largest logit if that is above 1."""

MAX_BYTES: Final = 2**31 - 2**20
"""Largest size of all weights in one file: the limit of protobuf, ONNX's format, less room for the graph."""

OPSETS: Final = range(18, 24)
"""Versions of ONNX's operators that were tested with torch's exporter and the runtime."""


GREY: Final = (9798, 19235, 3735)
"""Shares of red, green and blue in a grey pixel, in 32,768ths: OpenCV's whole numbers for ITU-R BT.601."""


class FromImages(nn.Module):
    """A network with the preprocessing of its images: resizing, conversion to grey, normalisation.

    It takes RGB images of any size, as uint8 of shape ``(N, H, W, 3)``, and resizes them to the network's
    square input without keeping their aspect ratio.

    Args:
        network: From normalised images ``(N, channels, image_size, image_size)`` to logits.
        image_size: Height and width of its input.
        channels: 1 for grey, 3 for RGB.
        mean: Mean of each channel, or one for all, for pixels from 0 to 1.
        std: Standard deviation of each channel, or one for all.
    """

    weights: Tensor
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        *,
        image_size: int,
        channels: int,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__()
        self.network = network
        self.image_size = image_size
        self.channels = channels
        constants: dict[str, Sequence[float]] = {"weights": GREY, "mean": mean, "std": std}
        for name, values in constants.items():
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32)[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of images, shape ``(N, K)``."""
        size = (self.image_size, self.image_size)
        pixels = functional.interpolate(
            images.permute(0, 3, 1, 2).float(), size, mode="bilinear", antialias=True
        )
        pixels = pixels.round()
        if self.channels == 1:
            grey = (pixels * self.weights).sum(dim=1, keepdim=True) + sum(GREY) / 2
            pixels = (grey / sum(GREY)).floor()
        logits: Tensor = self.network((pixels / 255 - self.mean) / self.std)
        return logits


class Exported(NamedTuple):
    """An ONNX file that was written.

    Attributes:
        path: The file, which needs no other files.
        num_bytes: Its size.
        opset: Version of ONNX's operators.
        difference: Largest absolute difference between its logits and torch's.
    """

    path: Path
    num_bytes: int
    opset: int
    difference: float


def export_onnx(
    network: nn.Module,
    example: Tensor,
    path: Path,
    *,
    opset: int | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Exported:
    """Write a network as ONNX: one file, from ``inputs`` to ``logits``, for batches of any size.

    Its logits are compared with torch's, on standard normal inputs, or on random images for
    :class:`FromImages`, in batches of :data:`BATCH_SIZES`, before the file appears.

    Args:
        network: Any network of one input and one output; it is not changed.
        example: Example of its input, shape ``(N, …)``; all sizes but N are fixed in the file. For uint8
            images, shape ``(N, H, W, 3)``, and :class:`FromImages`, height and width are free, too.
        path: File to write; an existing one is replaced.
        opset: Version of ONNX's operators; None: torch's choice.
        metadata: Metadata that the file stores, by name.

    Raises:
        InputError: The packages of the extra ``export`` are missing; the opset is not in :data:`OPSETS`;
            the network cannot be written as ONNX; or the runtime computes other logits.
    """
    onnx, runtime = _packages()
    if opset is not None and opset not in OPSETS:
        msg = f"opset is {opset}: it must be {OPSETS.start} to {OPSETS.stop - 1}"
        raise InputError(msg)
    size = sum(tensor.nbytes for tensor in network.state_dict().values())
    if size > MAX_BYTES:
        msg = (
            f"{type(network).__name__} has {size:,} bytes of weights: an ONNX file holds up to {MAX_BYTES:,}"
        )
        raise InputError(msg)
    # A copy, since it is not compiled: the exporter cannot trace a compiled network.
    plain = copy.deepcopy(network).eval().cpu().float().to(memory_format=torch.contiguous_format)
    example = example[:1].cpu() if example.dtype == torch.uint8 else example[:1].cpu().float()
    program = _translate(plain, example, opset)
    model = program.model_proto
    onnx.helper.set_model_props(model, dict(metadata or {}))
    content = model.SerializeToString()
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    difference = _difference(plain, session, example)
    with atomic_write(path) as file:
        file.write(content)
    version = next(one.version for one in model.opset_import if one.domain == "")
    return Exported(path, len(content), version, difference)


def _packages() -> tuple[Any, Any]:
    """Return onnx and its runtime."""
    try:
        onnx, _, runtime = (import_module(name) for name in ("onnx", "onnxscript", "onnxruntime"))
    except ImportError as e:
        msg = f'ONNX needs packages that are not installed ({e.name}): pip install "fer-neurons[export]"'
        raise InputError(msg) from e
    return onnx, runtime


def _translate(network: nn.Module, example: Tensor, opset: int | None) -> Any:
    """Return the network as exported by torch."""
    # Two samples: with one, the exporter would take the batch size for a constant.
    inputs = torch.cat([example, example])
    free = ("batch", "height", "width") if example.dtype == torch.uint8 else ("batch",)
    axes = {axis: torch.export.Dim(name) for axis, name in enumerate(free)}
    try:
        with torch.no_grad():
            return torch.onnx.export(
                network,
                (inputs,),
                dynamo=True,
                opset_version=opset,
                input_names=["inputs"],
                output_names=["logits"],
                dynamic_shapes=(axes,),
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as e:
        reason = str(e.__cause__ or e).strip().splitlines()[0]
        msg = f"{type(network).__name__} cannot be written as ONNX: {reason}"
        raise InputError(msg) from e


def _difference(network: nn.Module, session: Any, example: Tensor) -> float:
    """Return the largest difference between both networks' logits.

    Raises:
        InputError: It is too large.
    """
    generator = torch.Generator().manual_seed(0)
    difference = 0.0
    for num in BATCH_SIZES:
        if isinstance(network, FromImages):
            # Of the network's own size, so that nothing is resized and no pixel is rounded either way.
            shape = (num, network.image_size, network.image_size, 3)
            inputs = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
        else:
            inputs = torch.randn(num, *example.shape[1:], generator=generator)
        with torch.no_grad():
            logits = network(inputs)
        if not bool(logits.isfinite().all()):
            msg = f"{type(network).__name__} gives logits that are not finite in torch, before the export"
            raise InputError(msg)
        (values,) = session.run(["logits"], {"inputs": inputs.numpy()})
        found = float((torch.from_numpy(values) - logits).abs().max())
        largest = max(1.0, float(logits.abs().max()))
        if not found <= TOLERANCE * largest:  # also true for NaN
            msg = (
                f"{type(network).__name__} as ONNX has other logits than in torch: they differ by "
                f"{found:.3g} on a batch of {num}, and {TOLERANCE * largest:.3g} is allowed; nothing was "
                "written: try another opset"
            )
            raise InputError(msg)
        difference = max(difference, found)
    return difference
