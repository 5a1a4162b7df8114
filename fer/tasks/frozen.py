"""The frozen part of a task's network: whether it computes once for each sample, and how it computes."""

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
"""Hooks between data and network, which would meet features in the place of inputs."""

LIMITS: Final = {"fit": "val", "validate": "val", "test": "test", "predict": "predict"}
"""By stage the batches whose number the trainer can limit."""


@runtime_checkable
class GivesFeatures(Protocol):
    """A data module whose loaders can give the features of a frozen part in the place of inputs."""

    @property
    def augments(self) -> bool:
        """Whether a training sample is drawn anew each time."""

    def give_features(self, part: Any) -> None:
        """Give features from now on."""


class FrozenPart:
    """The frozen part of a task's network, as a data module needs it.

    Attributes:
        name: Dotted name of the part in the network.
        versions: Versions of each training sample whose features are kept; 0: none.
        identity: A name that changes with all that the features depend on besides the inputs; known once the
            network is where it computes.
        input_shape: Shape of a sample, without the batch; None until one was computed.
        feature_shape: Shape of its features.
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
        """The part."""
        return self.task.network.get_submodule(self.name)

    @property
    def identity(self) -> str:
        """What the features depend on besides the inputs."""
        if not self._identity:
            self._identity, self._seen = self._identify(), self._changes()
        return self._identity

    def compute(self, inputs: Tensor) -> Tensor:
        """Return the features of a batch, on the CPU, as the network computes them in an evaluation.

        Raises:
            InputError: The network gives other logits for the features than for the inputs.
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
        """Return the shape of a sample that the network was given as it is, or as its features."""
        shape = tuple(given.shape[1:])
        return shape if self.input_shape is None or shape != self.feature_shape else self.input_shape

    def check(self) -> None:
        """Refuse to go on with features of other weights.

        Raises:
            InputError: The part has changed since its features were computed.
        """
        if not self._identity or self._changes() == self._seen:
            return
        if why_not_frozen(self.task.network, self.name) or self._identify() != self._identity:
            msg = (
                f"{self.name} changed in the training, although its features are computed once: set "
                "--model.train_features 0, with which they are computed for each batch"
            )
            raise InputError(msg)
        self._seen = self._changes()

    def _identify(self) -> str:
        settings = (self.task.trainer.precision, self.task.device.type, self.task.memory_format)
        return identify(self.module, map(str, settings))

    def _changes(self) -> list[tuple[int, int]]:
        """Return for each tensor of the part how often it was changed, and whether it requires a gradient."""
        tensors = (*self.module.parameters(), *self.module.buffers())
        return [(tensor._version, int(tensor.requires_grad)) for tensor in tensors]


def keep_features(task: "ClassificationTask", stage: str) -> None:
    """Let the trainer's data module compute the frozen part of the task's network once for each sample.

    Of a training it is said what is kept, or why nothing is.

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
    """Return why no features are kept; empty if they are."""
    if task.hparams["train_features"] == 0:
        return "model.train_features is 0"
    if stage in ("test", "predict") and task.calibrator.tta != "none":
        return "test-time augmentation changes the inputs"
    if not isinstance(data, GivesFeatures):
        return f"{type(data).__name__} is no fer.data.ExpressionDataModule"
    for hook in BATCH_HOOKS:
        for owner in (task, data):
            if is_overridden(hook, owner):
                return f"{type(owner).__name__} changes batches in {hook}"
    if _is_limited(task, LIMITS[stage]):
        return f"trainer.limit_{LIMITS[stage]}_batches is set"
    return why_not_frozen(task.network, name)


def _training_versions(task: "ClassificationTask", data: GivesFeatures) -> tuple[int, str]:
    """Return how many versions of each training sample are kept, and a remark on it."""
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
    """Return whether the trainer leaves out some batches; as a float, 1 means all of them."""
    limit: int | float = getattr(task.trainer, f"limit_{batches}_batches")
    return isinstance(limit, int) or limit < 1
