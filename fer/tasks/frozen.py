"""Cache the features of the frozen part of a task's network."""

import logging
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor, nn

from fer.errors import InputError
from fer.neurons.frozen import DeclaresFrozenPart, check_declared, identify, why_not_frozen
from fer.neurons.networks import eval_state

if TYPE_CHECKING:
    from fer.tasks.base import ClassificationTask

log = logging.getLogger("fer.tasks")

BATCH_HOOKS: Final = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")
"""Hooks between data and network, which would get features instead of inputs."""

LIMITS: Final = {"fit": "val", "validate": "val", "test": "test", "predict": "predict"}
"""Name of the trainer's batch limit (``limit_<name>_batches``) for each stage."""


@runtime_checkable
class GivesFeatures(Protocol):
    """A data module whose loaders can yield the features of a frozen part instead of inputs."""

    @property
    def augments(self) -> bool:
        """Whether training samples are augmented."""

    def give_features(self, part: Any) -> None:
        """Yield features of ``part`` from now on."""


class FrozenPart:
    """The frozen part of a task's network, which computes features for a data module.

    Attributes:
        name: Dotted name of the part in the network.
        versions: Number of versions of each training sample whose features are cached; 0: none.
        input_shape: Shape of a sample, without the batch; None before the first batch.
        feature_shape: Shape of a sample's features, without the batch; None before the first batch.
    """

    def __init__(self, task: "ClassificationTask", name: str, versions: int) -> None:
        self.task = task
        self.name = name
        self.versions = versions
        self.input_shape: tuple[int, ...] | None = None
        self.feature_shape: tuple[int, ...] | None = None
        self._identity = ""
        self._seen: list[tuple[int, int]] = []

    @property
    def module(self) -> nn.Module:
        """The frozen module."""
        return self.task.network.get_submodule(self.name)

    @property
    def identity(self) -> str:
        """A name that changes with everything besides the inputs that the features depend on.

        It is computed on first use, when the network is on its device.
        """
        if not self._identity:
            self._identity, self._seen = self._identify(), self._changes()
        return self._identity

    def compute(self, inputs: Tensor) -> Tensor:
        """Return the features of a batch, computed in eval mode, on the CPU.

        Raises:
            InputError: The network returns other logits for the features than for the inputs.
        """
        plugin, module = self.task.trainer.precision_plugin, self.module
        moved: Tensor = plugin.convert_input(inputs.to(self.task.device))
        if moved.ndim == 4:
            moved = moved.contiguous(memory_format=self.task.memory_format)
        with eval_state(module), plugin.forward_context():
            features: Tensor = module(moved)
            if self.feature_shape is None:
                check_declared(self.task.network, self.name, moved, features)
        self.input_shape, self.feature_shape = tuple(inputs.shape[1:]), tuple(features.shape[1:])
        return features.cpu()

    def shape_of_input(self, given: Tensor) -> tuple[int, ...]:
        """Return the shape of a sample, given a batch of samples or of their features."""
        shape = tuple(given.shape[1:])
        return shape if self.input_shape is None or shape != self.feature_shape else self.input_shape

    def check(self) -> None:
        """Check that the part has not changed since its features were computed.

        Raises:
            InputError: The part has changed.
        """
        if not self._identity or self._changes() == self._seen:
            return
        if why_not_frozen(self.task.network, self.name) or self._identify() != self._identity:
            msg = (
                f"{self.name} changed during training, so its cached features are wrong: set "
                "--model.train_features 0 to compute them for each batch"
            )
            raise InputError(msg)
        self._seen = self._changes()

    def _identify(self) -> str:
        settings = (self.task.trainer.precision, self.task.device.type, self.task.memory_format)
        return identify(self.module, map(str, settings))

    def _changes(self) -> list[tuple[int, int]]:
        """Return the version counter of each tensor of the part, and whether it requires a gradient."""
        tensors = (*self.module.parameters(), *self.module.buffers())
        return [(tensor._version, int(tensor.requires_grad)) for tensor in tensors]


def keep_features(task: "ClassificationTask", stage: str) -> None:
    """Let the trainer's data module cache the features of the frozen part of the task's network.

    For a training, a log line says which features are cached, or why none are.

    Args:
        task: The task that the trainer runs.
        stage: ``fit``, ``validate``, ``test`` or ``predict``.
    """
    task.kept_part = None
    data: Any = getattr(task.trainer, "datamodule", None)
    if not isinstance(task.network, DeclaresFrozenPart) or task.trainer.lightning_module is not task:
        return
    name, kind = task.network.frozen_part, type(task.network).__name__
    reason = f"no part of {kind} is frozen" if name is None else _why_not(task, name, data, stage)
    if name is None or reason:
        if stage == "fit":
            log.info("%s computes each sample in each epoch: %s", kind, reason)
        return
    versions, remark = _training_versions(task, data)
    task.kept_part = FrozenPart(task, name, versions)
    data.give_features(task.kept_part)
    if stage == "fit":
        log.info("the frozen %s computes each sample once%s", name, remark)


def _why_not(task: "ClassificationTask", name: str, data: Any, stage: str) -> str:
    """Return why features cannot be cached; empty if they can."""
    if task.hparams["train_features"] == 0:
        return "model.train_features is 0"
    if task.teachers is not None and stage == "fit":
        return "its teachers need the inputs"
    if stage in ("test", "predict") and task.calibrator.tta != "none":
        return "test-time augmentation changes the inputs"
    if not isinstance(data, GivesFeatures):
        return f"{type(data).__name__} is not a fer.data.ExpressionDataModule"
    for hook in BATCH_HOOKS:
        for owner in (task, data):
            if is_overridden(hook, owner):
                return f"{type(owner).__name__} changes batches in {hook}"
    if _is_limited(task, LIMITS[stage]):
        return f"trainer.limit_{LIMITS[stage]}_batches is set"
    return why_not_frozen(task.network, name)


def _training_versions(task: "ClassificationTask", data: GivesFeatures) -> tuple[int, str]:
    """Return the number of cached versions of each training sample, and a remark on it for the log."""
    wanted: int | None = task.hparams["train_features"]
    if task.mix is not None:
        mixers = " and ".join(f"model.{name}" for name in ("mixup", "cutmix") if task.hparams[name])
        return 0, f", but training samples in each epoch, since their pixels are mixed by {mixers}"
    if _is_limited(task, "train"):
        return 0, ", but training samples in each epoch, since trainer.limit_train_batches is set"
    if not data.augments:
        return 1, ""
    if wanted is None:
        return 0, (
            ", but training samples in each epoch, since they are augmented; --model.train_features 8 keeps "
            "8 versions of each"
        )
    return wanted, f", and {wanted} augmented versions of each training sample"


def _is_limited(task: "ClassificationTask", batches: str) -> bool:
    """Return whether the trainer limits the number of batches; only the float 1.0 means all of them."""
    limit: int | float = getattr(task.trainer, f"limit_{batches}_batches")
    return isinstance(limit, int) or limit < 1
