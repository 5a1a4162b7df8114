"""Resolve ``--trainer.precision auto``: bfloat16 where the device has matrix units for it, else float32."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import torch
from lightning.pytorch.accelerators import CUDAAccelerator, MPSAccelerator, XLAAccelerator

from fer.configs import flatten
from fer.runs import Run

AUTO: Final = "auto"

PRECISION: Final = "trainer.precision"
"""The setting that may be ``auto``."""

AMPERE: Final = (8, 0)
"""Compute capability of the first NVIDIA GPUs whose tensor cores multiply bfloat16."""


class Device(NamedTuple):
    """A device, with the properties that decide its precision.

    Attributes:
        kind: Lightning's name of the accelerator, such as ``cpu``, ``cuda`` or ``mps``.
        has_amx: Whether a CPU has AMX units that the system lets this process use.
        capability: Lowest compute capability among the NVIDIA GPUs that train.
    """

    kind: str
    has_amx: bool = False
    capability: tuple[int, int] | None = None


class Choice(NamedTuple):
    """A precision and the reason for it.

    Attributes:
        name: As Lightning spells it.
        reason: Why ``auto`` chose this precision; empty if the user has set it.
    """

    name: Any
    reason: str = ""

    @property
    def note(self) -> str:
        """Text that the header of a run adds to its precision."""
        return f" ({AUTO}: {self.reason})" if self.reason else ""


def choose_precision(device: Device) -> Choice:
    """Return the precision in which a device trains fastest without a loss of accuracy.

    That is ``bf16-mixed`` where bfloat16 matrix units exist. AVX512-BF16 has only vector units: with oneDNN
    limited to them (``ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16``, a Sapphire Rapids Xeon), bfloat16 has 0.6
    (alexnet) to 1.06 times (resnet) the speed of float32. Apple's GPUs and unknown devices train in float32.

    >>> choose_precision(Device("cpu", has_amx=True))
    Choice(name='bf16-mixed', reason='AMX')
    >>> choose_precision(Device("cuda", capability=(7, 5))).note
    ' (auto: compute capability 7.5)'
    """
    if device.kind == "cpu" and device.has_amx:
        return Choice("bf16-mixed", "AMX")
    if device.kind == "cuda" and device.capability is not None:
        major, minor = device.capability
        has_units = device.capability >= AMPERE
        return Choice("bf16-mixed" if has_units else "32-true", f"compute capability {major}.{minor}")
    return Choice("32-true", f"no bfloat16 matrix units known in {device.kind}")


def find_device(accelerator: Any, devices: Any) -> Device:
    """Return the device that Lightning will train on.

    Args:
        accelerator: Lightning's setting: ``auto``, ``cpu``, ``gpu``, another name, or an object.
        devices: Lightning's setting: ``auto``, the number of devices, or their indices.
    """
    kind = _find_kind(accelerator)
    if kind == "cpu":
        return Device(kind, has_amx=torch.cpu._is_amx_tile_supported() and torch.cpu._init_amx())
    if kind == "cuda" and CUDAAccelerator.is_available():
        count = CUDAAccelerator.auto_device_count() if devices == AUTO else devices
        indices = CUDAAccelerator.parse_devices(count) or []
        capabilities = [torch.cuda.get_device_capability(index) for index in indices]
        return Device(kind, capability=min(capabilities, default=None))
    return Device(kind)


def _find_kind(accelerator: Any) -> str:
    """Return the name of the accelerator that Lightning will choose."""
    if not isinstance(accelerator, str):
        return "an accelerator of your own"
    if accelerator == AUTO and XLAAccelerator.is_available():
        return "tpu"
    if accelerator in (AUTO, "gpu"):
        fallback = "cpu" if accelerator == AUTO else "cuda"
        if MPSAccelerator.is_available():
            return "mps"
        return "cuda" if CUDAAccelerator.is_available() else fallback
    return accelerator


def precision_of(trainer: Mapping[str, Any], resumed: Run | None) -> Choice:
    """Return the precision of a run: the one that is set, that of the resumed run, or the device's.

    Args:
        trainer: The run's trainer settings.
        resumed: The run that is resumed, which keeps its precision even on another machine; None: a new run.
    """
    if trainer["precision"] != AUTO:
        return Choice(trainer["precision"])
    before = {} if resumed is None else flatten(resumed.read_config())
    if before.get(PRECISION, AUTO) != AUTO:
        return Choice(before[PRECISION], "as the run began")
    return choose_precision(find_device(trainer["accelerator"], trainer["devices"]))
