"""A trained network as an ONNX file, which is checked against torch before it is there."""

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
"""Samples at a time that both networks are given."""

TOLERANCE: Final = 1e-4
"""Largest difference of logits; where the largest logit is above 1, this share of it."""

MAX_BYTES: Final = 2**31 - 2**20
"""Of all weights in one file: what protobuf, in which ONNX is written, can hold, less room for the graph."""

OPSETS: Final = range(18, 24)
"""Versions of ONNX's operators that torch's exporter and the runtime were tried with."""


GREY: Final = (9798, 19235, 3735)
"""Shares of red, green and blue in a grey pixel, in 32,768ths: OpenCV's whole numbers for ITU-R BT.601."""


class FromImages(nn.Module):
    """A network together with what prepares its images: resize, grey, normalisation.

    It takes RGB, uint8, shape ``(N, H, W, 3)``, of any size, which is squeezed into the network's square.

    Args:
        network: From normalised images ``(N, channels, image_size, image_size)`` to logits.
        image_size: Height and width of its input.
        channels: 1 for grey, 3 for RGB.
        mean: Of each channel, or one for all, of pixels in 0..1.
        std: Of each channel, or one for all.
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
    """What was written.

    Attributes:
        path: The file, which needs no other beside it.
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
        network: Any network of one input and one output; left as it is.
        example: What it takes, shape ``(N, …)``; all but N is fixed in the file. Of images in uint8, shape
            ``(N, H, W, 3)``, for :class:`FromImages`, height and width are free, too.
        path: Where the file shall stand; what stands there is replaced.
        opset: Version of ONNX's operators; None: torch's choice.
        metadata: What the file says of itself, by name.

    Raises:
        InputError: The packages of the extra ``export`` are missing; the opset is none of :data:`OPSETS`;
            the network cannot be written as ONNX, or the runtime finds other logits.
    """
    onnx, runtime = _packages()
    if opset is not None and opset not in OPSETS:
        msg = f"opset is {opset}: ONNX can be written with {OPSETS.start} to {OPSETS.stop - 1}"
        raise InputError(msg)
    size = sum(tensor.nbytes for tensor in network.state_dict().values())
    if size > MAX_BYTES:
        msg = f"{type(network).__name__} has {size:,} bytes of weights: one ONNX file holds {MAX_BYTES:,}"
        raise InputError(msg)
    # A copy is not compiled, which the exporter would not see through.
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
    """Return the network as torch's exporter writes it."""
    # Two samples: of one, the exporter would take the batch's size for fixed.
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
            # Of the size that is not resized: else a pixel between two values may be rounded to either.
            shape = (num, network.image_size, network.image_size, 3)
            inputs = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
        else:
            inputs = torch.randn(num, *example.shape[1:], generator=generator)
        with torch.no_grad():
            logits = network(inputs)
        if not bool(logits.isfinite().all()):
            msg = f"{type(network).__name__} gives logits that are not finite, in torch already"
            raise InputError(msg)
        (values,) = session.run(["logits"], {"inputs": inputs.numpy()})
        found = float((torch.from_numpy(values) - logits).abs().max())
        largest = max(1.0, float(logits.abs().max()))
        if not found <= TOLERANCE * largest:  # nor if it is NaN
            msg = (
                f"{type(network).__name__} as ONNX has other logits than in torch: {found:.3g} apart on a "
                f"batch of {num}, where {TOLERANCE * largest:.3g} is allowed; nothing was written: try "
                "another opset"
            )
            raise InputError(msg)
        difference = max(difference, found)
    return difference
