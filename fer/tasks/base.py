"""Training loop shared by all networks."""

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, ClassVar, Final, Literal, cast

import torch
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms.v2 import CutMix, MixUp, RandomChoice

from fer.checkpoints import calibration_in
from fer.errors import InputError
from fer.home import hide_home, show_home
from fer.labels import NUM_EXPRESSIONS, default_class_names
from fer.metrics import ClassificationMetrics, ClassificationReport, predicted_classes
from fer.metrics.keys import logged_on_val
from fer.neurons.declared import DeclaresNeurons
from fer.neurons.networks import class_path
from fer.neurons.surgery import resize
from fer.tasks.calibrator import Calibrator
from fer.tasks.evaluated import Batch, EvaluatedTask
from fer.tasks.frozen import FrozenPart, keep_features
from fer.tasks.going_on import check_data, check_schedules, describe_data
from fer.tasks.optim import (
    OptimizerName,
    OptimizerSettings,
    ScheduleName,
    ScheduleSettings,
    check_setting,
    is_fused,
    make_optimizer,
    make_schedule,
)
from fer.tasks.small_maps import SmallMaps
from fer.tasks.teachers import Teachers

LossName = Literal["cross_entropy", "mse"]

WITH_PATHS: Final = frozenset({"hyper_parameters", "datamodule_hyper_parameters", "callbacks"})
"""Parts of a checkpoint that contain paths."""


class ClassificationTask(EvaluatedTask):
    """A network that is trained as a classifier.

    It logs ``train/loss``, ``train/acc``, ``val/…`` and ``lr`` once per epoch, and the running best
    ``val/acc_best``, which sweeps optimise. Testing evaluates one checkpoint on every split: train and val
    are logged under ``final/``, test splits under ``test/``, each with n and the Wilson interval.

    Args:
        network: Network that maps inputs (N, C, H, W), or features (N, F), to logits (N, K).
        num_classes: Number of classes K, 2 or more.
        loss: Loss function: ``cross_entropy``, or ``mse`` between probabilities and one-hot labels.
        label_smoothing: Share of each label that is spread over all classes, 0 to 1 (cross-entropy only).
        class_weights: ``balanced`` weights each class by the inverse of its share of the training split. It
            cannot be combined with ``data.sampler: balanced``.
        mixup: Parameter alpha of mixup (Zhang et al., 2018); 0: no mixup.
        cutmix: Parameter alpha of CutMix (Yun et al., 2019); 0: no CutMix. With both, each batch is mixed by
            one of the two, drawn with equal probability.
        optimizer: Optimizer: ``sgd``, ``adam`` or ``adamw``.
        lr: Learning rate; the peak for ``onecycle``, the lower bound for ``cyclic``.
        weight_decay: Weight decay; not applied to biases and normalisation layers.
        momentum: Momentum of ``sgd``.
        nesterov: Use Nesterov momentum with ``sgd``.
        schedule: Learning rate schedule.
        milestones: Epochs after which ``multistep`` multiplies the learning rate by ``gamma``.
        gamma: Factor applied to the learning rate by ``multistep`` and ``plateau``.
        max_lr: Upper bound of the learning rate for ``cyclic`` (Smith, 2017).
        cycle_epochs: Length of a full cycle of ``cyclic``, in epochs.
        patience: Validations without a better accuracy before ``plateau`` applies ``gamma``; there is one
            per epoch unless ``trainer.check_val_every_n_epoch`` is set.
        min_lr: Lower bound of the learning rate for ``plateau`` and ``cosine``.
        warmup: Share of all steps during which ``onecycle`` and ``cosine`` increase the learning rate.
        compile: Compile the network with ``torch.compile``.
        channels_last: Use the channels-last memory format, which is faster for convolutions.
        train_features: Number of augmented versions of each training sample, for a network with a frozen
            part: its features of each version are computed once, and each epoch uses a random version.
            null: augment again in each epoch, and cache the features of samples that are not augmented.
            0: cache no features.
    """

    network_name: ClassVar[str] = "network"
    """Name of the attribute with the network, for the callbacks that measure and prune it."""

    network_class: ClassVar[type[nn.Module] | None] = None
    """Class of the network that the task builds; None: the network is passed to the task."""

    def __init__(
        self,
        network: nn.Module,
        *,
        num_classes: int = NUM_EXPRESSIONS,
        loss: LossName = "cross_entropy",
        label_smoothing: float = 0.0,
        class_weights: Literal["none", "balanced"] = "none",
        mixup: float = 0.0,
        cutmix: float = 0.0,
        optimizer: OptimizerName = "adam",
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        momentum: float = 0.9,
        nesterov: bool = False,
        schedule: ScheduleName = "none",
        milestones: Sequence[int] = (),
        gamma: float = 0.1,
        max_lr: float = 0.1,
        cycle_epochs: int = 40,
        patience: int = 2,
        min_lr: float = 1e-5,
        warmup: float = 0.3,
        compile: bool = False,
        channels_last: bool = True,
        train_features: int | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(ignore=["network"], logger=False)
        check_setting("label_smoothing", label_smoothing, is_right=0 <= label_smoothing <= 1, wanted="0 to 1")
        check_setting("mixup", mixup, is_right=mixup >= 0, wanted="0 or more")
        check_setting("cutmix", cutmix, is_right=cutmix >= 0, wanted="0 or more")
        check_setting("num_classes", num_classes, is_right=num_classes >= 2, wanted="2 or more")
        kept = train_features or 0
        check_setting("train_features", kept, is_right=kept >= 0, wanted="0 or more, or null")
        self.network = network
        self.num_classes = num_classes
        self.class_names = default_class_names(num_classes)
        self.trained_on: str | None = None
        """Data set and protocol of the training; None before training."""
        self.loss = loss
        self.label_smoothing = label_smoothing
        self.class_weights = class_weights
        self.mix = _mixer({MixUp: mixup, CutMix: cutmix}, num_classes)
        self.optimizer_settings = OptimizerSettings(optimizer, lr, weight_decay, momentum, nesterov)
        self.schedule_settings = ScheduleSettings(
            schedule, tuple(milestones), gamma, max_lr, cycle_epochs, patience, min_lr, warmup
        )
        self.register_buffer("weights", torch.ones(num_classes), persistent=False)
        self.val_metrics = ClassificationMetrics(num_classes)
        self.final_names: tuple[str, ...] = ()
        self.final_metrics = nn.ModuleList()
        self.reports: dict[str, ClassificationReport] = {}
        """Last evaluation of each split; callbacks draw it."""
        self.calibrator = Calibrator()
        self.best_val_acc = 0.0
        self.widths: dict[str, int] | None = None
        """Layer sizes of a pruned network, which differ from its settings; None if it is not pruned."""
        self.input_shape: tuple[int, ...] | None = None
        """Shape of one training sample, without the batch; None before training."""
        self.kept_part: FrozenPart | None = None
        """Frozen part of the network whose features are cached; None: there is none."""
        self.teachers: Teachers | None = None
        """Trained networks whose answers are learned instead of the labels; None: the labels are learned."""
        self.found_layers: dict[str, str] = {}
        """Hidden layers that were found in a network that does not declare them."""
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        if channels_last:
            self.network.to(memory_format=torch.channels_last)
        if compile:
            self.network.compile()

    @property
    def neuron_layers(self) -> dict[str, str]:
        """Hidden layers of the network, each with the name under which its outputs are recorded.

        The network declares them (see :class:`fer.neurons.declared.DeclaresNeurons`), or they were found in
        it. Empty if no hidden layer has neurons to measure.
        """
        if isinstance(self.network, DeclaresNeurons):
            return dict(self.network.neuron_layers)
        return self.found_layers

    @property
    def val_keys(self) -> tuple[str, ...]:
        """Keys under which metrics of the validation split are logged."""
        return ("val/loss", *(f"val/{name}" for name in logged_on_val(self.class_names)), "val/acc_best")

    def shrink(self, widths: dict[str, int]) -> None:
        """Resize the network's layers to those of a pruned network, so that its weights can be loaded.

        Args:
            widths: Layer sizes; see :func:`fer.neurons.resize`.

        Raises:
            InputError: The network has other layers, or smaller ones.
        """
        self.network, self.widths = resize(self.network, widths), widths
        self.calibrator.void()
        if self.hparams["compile"]:
            self.network.compile()

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (N, K) in float32 or wider, so that losses and probabilities are precise."""
        if inputs.ndim == 4:
            inputs = inputs.contiguous(memory_format=self.memory_format)
        with nullcontext() if self.hparams["compile"] else SmallMaps():
            logits: Tensor = self.network(inputs)
        is_half = isinstance(logits, Tensor) and logits.dtype in (torch.bfloat16, torch.float16)
        return logits.float() if is_half else logits

    def loss_of(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of a batch.

        Args:
            logits: Shape (N, K).
            targets: Labels (N,), or class probabilities (N, K) for mixed images and soft targets.
        """
        weights = self.get_buffer("weights").to(logits.dtype)
        if self.loss == "cross_entropy":
            return F.cross_entropy(logits, targets, weight=weights, label_smoothing=self.label_smoothing)
        if targets.ndim == 1:
            targets = F.one_hot(targets, self.num_classes).to(logits.dtype)
        error = (logits.softmax(dim=1) - targets).square().mean(dim=1)
        weight = targets @ weights.to(targets.dtype)
        return (error * weight).sum() / weight.sum()

    def plain_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy of a batch, without label smoothing and class weights."""
        return F.cross_entropy(logits, labels)

    def setup(self, stage: str) -> None:
        """Take class names and weights from the data module, and let it cache a frozen part's features.

        Raises:
            InputError: The data has another number of classes than the network, or both its sampler and
                the class weights are balanced.
        """
        data = getattr(self.trainer, "datamodule", None)
        keep_features(self, stage)
        if stage == "fit" and data is not None:
            names = getattr(data, "label_names", getattr(data, "class_names", self.class_names))
            self._name_classes(tuple(names))
            self.trained_on = describe_data(data)
        if stage == "fit" and self.class_weights == "balanced":
            if getattr(data, "sampler", "none") == "balanced":
                msg = (
                    "data.sampler=balanced and model.class_weights=balanced would correct for rare classes "
                    "twice: set one of them to none"
                )
                raise InputError(msg)
            if data is None or not hasattr(data, "class_counts"):
                msg = (
                    f"model.class_weights=balanced: {type(data).__name__} has no class_counts; set it to none"
                )
                raise InputError(msg)
            counts = torch.as_tensor(data.class_counts, dtype=torch.float32)
            self.get_buffer("weights").copy_(counts.sum() / (self.num_classes * counts.clamp(min=1)))

    def _name_classes(self, class_names: tuple[str, ...]) -> None:
        """Set the names of the classes, in the order of the logits."""
        if len(class_names) != self.num_classes:
            msg = (
                f"the data has {len(class_names)} classes ({', '.join(class_names)}), but the network has "
                f"{self.num_classes} outputs: set model.num_classes to {len(class_names)}"
            )
            raise InputError(msg)
        self.class_names = self.val_metrics.class_names = class_names

    def on_train_start(self) -> None:
        """Check that a resumed training has the same data, and a schedule with enough steps.

        Raises:
            InputError: The data is another, or the schedule ends too early.
        """
        check_data(self.trained_on, getattr(self.trainer, "datamodule", None))
        check_schedules(self.trainer, self.schedule_settings.name)
        if self.teachers is not None:
            self.teachers.to(self.device)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return and log the loss of a batch, after mixup or CutMix, and log the accuracy.

        With teachers, the loss is the cross-entropy to their answers; the accuracy is that on the labels.

        The loss is NaN if any logit is not finite, since an infinite logit can still give a finite loss.
        """
        del batch_idx
        self.calibrator.void()
        inputs, targets = batch
        kept = self.kept_part
        self.input_shape = tuple(inputs.shape[1:]) if kept is None else kept.shape_of_input(inputs)
        labels = targets if targets.ndim == 1 else targets.argmax(dim=1)  # soft targets are (N, K)
        mixed, targets = self.mix(inputs, targets) if self.mix is not None else (inputs, targets)
        logits = self(mixed)
        teachers = self.teachers
        loss = self.loss_of(logits, targets) if teachers is None else teachers.loss(logits, mixed)
        loss = _only_finite(loss, logits)
        right = (predicted_classes(logits.detach()) == labels).float().mean()
        for name, value in (("loss", loss.detach()), ("acc", right)):
            self.log(
                *(f"train/{name}", value),
                on_step=False,
                on_epoch=True,
                batch_size=len(labels),
                sync_dist=True,
            )
        return loss

    def on_train_epoch_start(self) -> None:
        """Log the learning rate at the start of the epoch, and check that a frozen part is unchanged."""
        if self.kept_part is not None:
            self.kept_part.check()
        self.log("lr", self.trainer.optimizers[0].param_groups[0]["lr"], sync_dist=True)

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return and log the loss of a batch, without smoothing and weights, and update the metrics."""
        inputs, labels = batch
        logits = self(inputs)
        counted = self.new_samples(logits, labels, loader=self.trainer.val_dataloaders, batch_idx=batch_idx)
        self.val_metrics.update(*counted)
        self.calibrator.val_logits.update(*counted)
        loss = _only_finite(self.plain_loss(logits, labels), logits)
        self.log("val/loss", loss, batch_size=len(labels), sync_dist=True)
        return loss

    def on_validation_epoch_end(self) -> None:
        """Log the metrics of the validation split and the running best."""
        report = self.val_metrics.compute()
        self.val_metrics.reset()
        self.calibrator.end_validation(is_trial=self.trainer.sanity_checking)
        if self.trainer.sanity_checking:
            return
        self.reports["val"] = report
        scalars = report.scalars()
        self.best_val_acc = max(self.best_val_acc, scalars["acc"])
        logged = logged_on_val(self.class_names)
        self.log_dict({f"val/{name}": scalars[name] for name in logged}, sync_dist=True)
        if self.trainer.state.fn == TrainerFn.FITTING:  # the best of a training, not of a network
            self.log("val/acc_best", self.best_val_acc, sync_dist=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build the optimizer and the learning rate schedule."""
        optimizer = make_optimizer(self.network, self.optimizer_settings, fused=is_fused(self.trainer))
        num_steps = self.trainer.estimated_stepping_batches
        num_epochs = self.trainer.max_epochs
        if self.schedule_settings.name == "none":
            return optimizer
        if not math.isfinite(num_steps):
            msg = (
                f"model.schedule={self.schedule_settings.name} needs the length of the training: "
                "set trainer.max_epochs"
            )
            raise InputError(msg)
        schedule = make_schedule(
            optimizer,
            self.schedule_settings,
            num_steps=int(num_steps),
            num_epochs=max(1, num_epochs or 1),
            validation_interval=self.trainer.check_val_every_n_epoch or 1,
        )
        if schedule is None:
            return optimizer
        return cast(OptimizerLRScheduler, {"optimizer": optimizer, "lr_scheduler": schedule})

    def restart_schedule(self, factor: float = 1.0) -> None:
        """Restart the learning rate schedule, with the remaining epochs as the length of the training.

        Args:
            factor: Factor applied to ``lr`` and ``max_lr``.
        """
        num_epochs = (self.trainer.max_epochs or 0) - self.trainer.current_epoch - 1
        num_steps = self.trainer.estimated_stepping_batches - self.trainer.global_step
        (optimizer,) = self.trainer.optimizers
        for group in optimizer.param_groups:
            group["lr"] = factor * self.optimizer_settings.lr
            group.pop("initial_lr", None)  # set by the old schedule
        if num_epochs < 1 or self.schedule_settings.name == "none":
            return
        settings = replace(self.schedule_settings, max_lr=factor * self.schedule_settings.max_lr)
        schedule = make_schedule(
            optimizer,
            settings,
            num_steps=int(num_steps),
            num_epochs=num_epochs,
            validation_interval=self.trainer.check_val_every_n_epoch or 1,
        )
        if schedule is not None:
            (running,) = self.trainer.lr_scheduler_configs
            running.scheduler = schedule["scheduler"]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save everything that :func:`fer.tasks.load` needs, the class names and the running best."""
        checkpoint["task"] = type(self).__name__
        checkpoint["network"] = class_path(type(self.network))
        if self.input_shape is not None:
            checkpoint["input_shape"] = self.input_shape
        checkpoint["class_names"] = list(self.class_names)
        if self.trained_on is not None:
            checkpoint["trained_on"] = self.trained_on
        checkpoint["best_val_acc"] = self.best_val_acc
        if (fitted := self.calibrator.fitted()) is not None:
            checkpoint["calibration"] = fitted
        if self.widths is not None:
            checkpoint["widths"] = self.widths
        for part in WITH_PATHS & checkpoint.keys():
            checkpoint[part] = hide_home(checkpoint[part])

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the running best, the class names, the sample shape and a pruned network's layer sizes."""
        for part in WITH_PATHS & checkpoint.keys():
            checkpoint[part] = show_home(checkpoint[part])
        shape = checkpoint.get("input_shape")
        self.input_shape = None if shape is None else tuple(shape)
        if "widths" in checkpoint:
            self.shrink(checkpoint["widths"])
        self.trained_on = checkpoint.get("trained_on")
        # Old checkpoints have no class names; their classes are the default ones.
        self._name_classes(tuple(checkpoint.get("class_names", self.class_names)))
        self.best_val_acc = checkpoint.get("best_val_acc", 0.0)
        self.calibrator.load(calibration_in(checkpoint))


def _mixer(alphas: Mapping[type[nn.Module], float], num_classes: int) -> nn.Module | None:
    """Return the module that mixes the images and labels of a batch; None if all ``alphas`` are 0."""
    mixers = [kind(alpha=alpha, num_classes=num_classes) for kind, alpha in alphas.items() if alpha > 0]
    return RandomChoice(mixers) if len(mixers) > 1 else next(iter(mixers), None)


def _only_finite(loss: Tensor, logits: Tensor) -> Tensor:
    """Return the loss, or NaN if any logit is not finite, without synchronising with the device."""
    return torch.where(logits.detach().isfinite().all(), loss, math.nan)
