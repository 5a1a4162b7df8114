"""Read, check and write checkpoint files, including those of pruned networks."""

import hashlib
import io
import math
import pickle
import struct
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from fer import __version__
from fer.errors import InputError, suggest_path, unreadable_checkpoint
from fer.files import atomic_write, find_problem
from fer.home import hide_home
from fer.views import Tta

KEPT: Final[tuple[str, ...]] = (
    *(
        "task",
        "network",
        "hyper_parameters",
        "class_names",
        "trained_on",
        "input_shape",
        "datamodule_hyper_parameters",
        "pytorch-lightning_version",
    ),
)
"""Keys that a pruned checkpoint copies from the unpruned one: all but weights and training state."""

FORMAT: Final = 1
"""Format version of the checkpoints that this version of fer writes."""

WRITER: Final = "fer"
"""Key under which a checkpoint stores ``format`` and the ``version`` of fer; older checkpoints lack it."""

_LENGTH: Final = struct.pack("<H", len("sha256:") + 64)
"""The last field of an archive before its comment: the length of the comment."""

_FITTED: Final = {"temperature": float, "n": int, "split": str, "ece_before": float, "ece_after": float}
_CALIBRATION: Final = {**_FITTED, "views?": {"*": _FITTED}}
"""Shape of a calibration, for :func:`fer.files.find_problem`."""

_UNREADABLE: Final = (
    *(OSError, EOFError, ArithmeticError, AssertionError, AttributeError, LookupError, ImportError),
    *(RuntimeError, TypeError, ValueError, pickle.UnpicklingError, struct.error),
    *(zipfile.BadZipFile, zlib.error),
)
"""Exceptions of ``zipfile`` and ``torch.load`` on a damaged file."""


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Return the content of a checkpoint of this package, on the CPU.

    The checksums of the file are verified, which ``torch.load`` does not do, and the keys that rebuild a
    network are checked for their types.

    Args:
        path: A file that training or pruning wrote, such as ``runs/…/checkpoints/best.ckpt``.

    Returns:
        ``task`` (the LightningModule's class name), ``hyper_parameters``, ``state_dict``, and if known
        ``network`` (the network's class path), ``class_names``, ``input_shape``, ``widths`` (of a pruned
        network); the rest is Lightning's.

    Raises:
        InputError: The file is missing or damaged, or is not a checkpoint of this package.
    """
    content = read_any_checkpoint(path)
    if "task" not in content and "pruned_network" in content:
        msg = (
            f"{path}: PruneCallback wrote this checkpoint outside fer fit: load it into your own module by "
            f"fer.pruning.load_pruned(MyModule(), {str(path)!r})"
        )
        raise InputError(msg)
    if "task" not in content:
        msg = (
            f"{path}: this checkpoint was not trained by fer. To prune its network, add "
            "fer.callbacks.PruneCallback to your training, or run "
            f"fer prune --network package.module.Class --weights {path} --images FOLDER"
        )
        raise InputError(msg)
    _check(content, Path(path))
    return content


def read_any_checkpoint(path: str | Path) -> dict[str, Any]:
    """Return the content of a checkpoint of any LightningModule, on the CPU, with its checksums verified.

    Raises:
        InputError: The file is missing or damaged, holds no dict, or was written by a newer version of fer.
    """
    path = Path(path)
    check_whole(path)
    try:
        with path.open("rb") as file:  # by its path, torch would read x.safetensors in another format
            content = torch.load(file, map_location="cpu", weights_only=True)
    except _UNREADABLE as e:
        raise _unreadable(path, e) from e
    if not isinstance(content, dict):
        msg = f"{path}: this {type(content).__name__} is not a checkpoint and does not hold a network of fer"
        raise InputError(msg)
    check_format(path, content)
    return content


def check_whole(path: Path) -> None:
    """Verify the checksum of a checkpoint.

    A file that :func:`write_checkpoint` did not write only has checksums of its parts, which do not cover
    where a part begins and how long it is.

    Raises:
        InputError: The file is missing or damaged.
    """
    if not path.is_file():
        near = suggest_path(path, lambda each: each.suffix == ".ckpt")
        msg = f"{path}: there is no such checkpoint; {near}give the path of its file"
        raise InputError(msg)
    damaged = None
    try:
        with zipfile.ZipFile(path) as archive:
            # torch.save compresses nothing, and a compressed part could unpack to any size.
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                msg = "a part of it is compressed"
                raise ValueError(msg)
            if not archive.comment:
                damaged = archive.testzip()
            elif archive.comment != _checksum(path, leave_out=len(archive.comment)):
                damaged = "the whole file"
    except _UNREADABLE as e:
        raise _unreadable(path, e) from e
    if damaged is not None:
        msg = f"{path} is damaged: the checksum of {damaged} does not match; copy it again or train it again"
        raise InputError(msg)


def check_format(path: Path, content: Mapping[str, Any]) -> None:
    """Refuse a checkpoint in a newer format than this version of fer knows.

    Raises:
        InputError: The message names the version that wrote it.
    """
    writer = content.get(WRITER)
    if not isinstance(writer, Mapping) or not isinstance(number := writer.get("format"), int):
        return
    if number > FORMAT:
        msg = (
            f"{path} was written by fer {writer.get('version')} in format {number}; this is fer "
            f"{__version__}, which reads formats up to {FORMAT}: install the newer fer"
        )
        raise InputError(msg)


def _unreadable(path: Path, error: Exception) -> InputError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return unreadable_checkpoint(path, reason)


def _checksum(path: Path, *, leave_out: int) -> bytes:
    """Return the checksum of a file without its last ``leave_out`` bytes."""
    digest, left = hashlib.sha256(), path.stat().st_size - leave_out
    with path.open("rb") as file:
        while left > 0 and (chunk := file.read(min(left, 1 << 20))):
            digest.update(chunk)
            left -= len(chunk)
    return f"sha256:{digest.hexdigest()}".encode()


def write_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint with a checksum and the version of its format.

    An existing file is replaced once the new one is complete. The checksum is the comment of the archive that
    ``torch.save`` makes, at the end of the file.

    Raises:
        DiskFullError: The disk is full.
        OSError: The file cannot be written.
    """
    saved = io.BytesIO()  # not the file itself: torch hides why it cannot be written
    torch.save({**content, WRITER: {"format": FORMAT, "version": __version__}}, saved)
    body = saved.getbuffer()[: -len(_LENGTH)]
    digest = hashlib.sha256(body)
    digest.update(_LENGTH)
    with atomic_write(path) as file:
        file.write(body)
        file.write(_LENGTH)
        file.write(f"sha256:{digest.hexdigest()}".encode())


def _check(content: Mapping[str, Any], path: Path) -> None:
    """Refuse a checkpoint without a key that rebuilds its network, or with one of another type."""

    def is_map(value: Any, of: type[Any]) -> bool:
        return isinstance(value, Mapping) and all(
            isinstance(key, str) and isinstance(each, of) for key, each in value.items()
        )

    def is_list(value: Any, of: type[Any]) -> bool:
        return isinstance(value, list | tuple) and all(isinstance(each, of) for each in value)

    required = ("task", "hyper_parameters", "state_dict")
    if missing := [key for key in required if key not in content]:
        msg = f"{path} is damaged: {missing[0]!r} is missing; copy it again or train it again"
        raise InputError(msg)
    are_right = {
        "task": isinstance(content["task"], str),
        "hyper_parameters": is_map(content["hyper_parameters"], object),
        "state_dict": is_map(content["state_dict"], Tensor),
        "network": isinstance(content.get("network", ""), str),
        "class_names": is_list(content.get("class_names", ()), str),
        "trained_on": isinstance(content.get("trained_on", ""), str),
        "input_shape": is_list(content.get("input_shape", ()), int),
        "widths": is_map(content.get("widths", {}), int),
        "best_val_acc": isinstance(content.get("best_val_acc", 0.0), int | float),
        "calibration": "calibration" not in content or _is_calibration(content["calibration"]),
    }
    if wrong := [key for key, is_right in are_right.items() if not is_right]:
        kind = type(content[wrong[0]]).__name__
        msg = f"{path} is damaged: {wrong[0]!r} cannot be this {kind}; copy it again or train it again"
        raise InputError(msg)


def _is_calibration(found: Any) -> bool:
    """Return whether a value is a calibration whose temperatures can divide logits."""
    if find_problem(found, _CALIBRATION):
        return False
    return all(0 < each["temperature"] < math.inf for each in (found, *found.get("views", {}).values()))


def normalisation_in(content: Mapping[str, Any]) -> dict[str, dict[str, list[float]]]:
    """Return the normalisation of the data that is stored in a checkpoint.

    Args:
        content: Content of the checkpoint; see :func:`read_checkpoint`.

    Returns:
        ``mean`` and ``std`` of each channel, for pixels from 0 to 1, by the name of the data module; empty if
        the checkpoint has none.
    """
    states = {key: value for key, value in content.items() if isinstance(value, dict)}
    return {key: dict(value) for key, value in states.items() if {"mean", "std"} <= value.keys()}


def calibration_in(content: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the calibration that is stored in a checkpoint; None if its network is not calibrated.

    Args:
        content: Content of the checkpoint; see :func:`read_checkpoint`.

    Returns:
        ``temperature``, by which logits are divided; ``split`` and ``n``, on which it was fitted; the
        expected calibration error there, ``ece_before`` and ``ece_after``; and under ``views`` the same for
        the mean over the views of each test-time augmentation, by its name in :mod:`fer.views`.
    """
    found: dict[str, Any] | None = content.get("calibration")
    return found


def temperature_of(found: Mapping[str, Any] | None, tta: Tta = "none") -> float:
    """Return the temperature of a checkpoint's calibration for some views.

    Args:
        found: The calibration; see :func:`calibration_in`.
        tta: The views; if they have no temperature of their own, that of the plain image is returned.

    >>> found = {"temperature": 2.0, "views": {"flip": {"temperature": 1.5}}}
    >>> temperature_of(None), temperature_of(found, "flip"), temperature_of(found, "ten_crop")
    (1.0, 1.5, 2.0)
    """
    if found is None:
        return 1.0
    return float(found.get("views", {}).get(tta, found)["temperature"])


def write_pruned(
    path: Path,
    state: Mapping[str, Tensor],
    widths: Mapping[str, int],
    *,
    attribute: str = "",
    unpruned: Mapping[str, Any],
) -> None:
    """Write a pruned module as a checkpoint without pickled code, for ``torch.load(…, weights_only=True)``.

    Args:
        path: The file to write.
        state: State dict of the whole module.
        widths: Sizes of the pruned network's layers, which the module's settings do not contain; see
            :func:`fer.neurons.surgery.widths`.
        attribute: Dotted name of the pruned network in the module; empty: the module itself.
        unpruned: Content of the unpruned checkpoint; the keys :data:`KEPT` are copied from it if they hold
            plain data.
    """
    kept = {key: hide_home(unpruned[key]) for key in KEPT if key in unpruned} | normalisation_in(unpruned)
    content = {
        **{key: value for key, value in kept.items() if is_plain(value)},
        "state_dict": {
            name: value.cpu() if isinstance(value, Tensor) else value for name, value in state.items()
        },
        "widths": dict(widths),
        "pruned_network": attribute,
    }
    write_checkpoint(path, content)


def is_plain(value: object) -> bool:
    """Return whether a value holds only tensors, numbers, text, lists and dicts.

    >>> is_plain({"widths": (3, 4), "norm": None}), is_plain({"norm": torch.relu})
    (True, False)
    """
    if isinstance(value, dict) and type(value) in (dict, OrderedDict):
        return all(is_plain(each) for pair in value.items() for each in pair)
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        return all(map(is_plain, value))
    return value is None or type(value) in (bool, int, float, complex, str, bytes, Tensor)
