"""Checks before a run starts: pass one batch of the data through the network."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities.model_helpers import is_overridden
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn
from torch.utils.data import default_collate

from fer.data import ExpressionDataModule
from fer.errors import InputError
from fer.neurons import measure_groups
from fer.neurons.declared import hidden_layers
from fer.neurons.hidden import HiddenLayers
from fer.neurons.networks import FOREIGN_ERRORS, eval_state
from fer.tasks import ClassificationTask

Batch = tuple[Tensor, Tensor]

_SPLITS: Final = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",)}
"""Splits that each command reads."""


def protocol_of(data: LightningDataModule) -> str:
    """Return how a data module makes its splits, in words."""
    return str(getattr(data, "protocol_name", type(data).__name__))


def count_classes(data: LightningDataModule) -> int:
    """Return the number of a data module's classes: its ``num_classes``, or as many as ``class_names``.

    Raises:
        InputError: It has neither.
    """
    num_classes = getattr(data, "num_classes", None)
    if num_classes is None and hasattr(data, "class_names"):
        num_classes = len(data.class_names)
    if num_classes is None:
        msg = f"{type(data).__name__} has neither num_classes nor class_names: add one of them"
        raise InputError(msg)
    return int(num_classes)


def check_data(data: LightningDataModule, command: str) -> None:
    """Refuse a data module that lacks what a command needs.

    Raises:
        InputError: It lacks a split that the command reads, or is not one of fer's where that is needed.
    """
    name = type(data).__name__
    for split in _SPLITS.get(command, ()):
        if not is_overridden(f"{split}_dataloader", data):
            msg = f"{name} has no {split}_dataloader, which fer {command} needs: add it"
            raise InputError(msg)
    if command in ("predict", "prune") and not isinstance(data, ExpressionDataModule):
        msg = f"fer {command} needs a data module that is a fer.data.ExpressionDataModule; {name} is not"
        raise InputError(msg)


def check_inputs(
    task: ClassificationTask,
    data: LightningDataModule,
    *,
    command: str,
    network: str,
    pruned_layers: Sequence[str] | None = None,
) -> HiddenLayers:
    """Try the network on a batch of the data, and find its hidden layers.

    Args:
        task: The network with its training.
        data: The data module, set up.
        command: Name of the command.
        network: The user's name for the network, for the messages.
        pruned_layers: Layers that are to be pruned; None: any.

    Returns:
        The hidden layers; empty if the data may have only the split that the command reads.

    Raises:
        InputError: The network cannot take the data, or the layers to be pruned cannot be pruned.
    """
    check_data(data, command)
    if command != "fit" and not isinstance(data, ExpressionDataModule):
        return HiddenLayers({}, {})
    inputs, labels = first_batch(data)
    if inputs.ndim == 2 and "image_size" in task.hparams:
        msg = (
            f"--network {network} takes images; the data gives {inputs.shape[1]} features "
            "(--dataset sfew_features, or data.descriptors): choose --network ann, or data with images"
        )
        raise InputError(msg)
    hidden = check_network(task, (inputs, labels), network=network, training=command == "fit")
    for checkpoint, teacher in ({} if task.teachers is None else task.teachers.networks).items():
        check_network(teacher, (inputs, labels), network=checkpoint, training=False)
    if pruned_layers is not None:
        measure_groups(task.network, [inputs], layers=pruned_layers)
    return hidden


def first_batch(data: LightningDataModule) -> Batch:
    """Return samples to try a network on: two from a data module of fer, else the first training batch.

    Raises:
        InputError: The data does not give batches ``(inputs, labels)``.
    """
    if isinstance(data, ExpressionDataModule):
        train = data.dataset("train")
        batch: Any = default_collate([train[index] for index in range(min(data.batch_size, 2))])
    else:
        with isolate_rng():  # a loader that shuffles draws from it
            batch = next(iter(data.train_dataloader()))
    match batch:
        case [Tensor() as inputs, Tensor() as labels]:
            return inputs, labels
        case [*parts]:
            kinds = f"({', '.join(type(part).__name__ for part in parts)})"
        case _:
            kinds = type(batch).__name__
    msg = f"{type(data).__name__} gives batches {kinds}: fer takes pairs of tensors, (inputs, labels)"
    raise InputError(msg)


def check_network(task: ClassificationTask, batch: Batch, *, network: str, training: bool) -> HiddenLayers:
    """Run a batch through the network, in eval and in training mode, and find its hidden layers.

    Weights, running statistics and random states are not changed.

    Args:
        task: The network with its training.
        batch: Batch of the data; see :func:`first_batch`.
        network: The user's name for the network, for the messages.
        training: Whether the network will be trained; else training mode is not tried.

    Raises:
        InputError: The network cannot take the data, or its outputs are not one logit for each class.
    """
    inputs, labels = batch
    shape = f"inputs of shape {tuple(inputs.shape)}"
    try:
        with eval_state(task), torch.compiler.set_stance("force_eager"):
            logits = task(inputs)
    except FOREIGN_ERRORS as e:
        msg = f"--network {network} cannot take the data's {shape}: {_first_line(e)}"
        if inputs.ndim == 4:
            msg += "; --data.channels and --data.image_size set the shape of the images"
        raise InputError(msg) from e
    wanted, is_tensor = (len(inputs), task.num_classes), isinstance(logits, Tensor)
    if not is_tensor or logits.shape != wanted:
        got = f"shape {tuple(logits.shape)}" if is_tensor else f"type {type(logits).__name__}"
        msg = (
            f"--network {network} gives outputs of {got} for {shape}: it must give logits of shape {wanted}, "
            f"one for each of the data's {task.num_classes} classes"
        )
        raise InputError(msg)
    if training and labels.ndim == 1 and (wrong := {*labels.long().tolist()} - {*range(task.num_classes)}):
        msg = (
            f"the data has the label {min(wrong)}: number the {task.num_classes} classes "
            f"0 to {task.num_classes - 1}"
        )
        raise InputError(msg)
    if training:
        _check_training(task, inputs, network)
    return hidden_layers(task.network, inputs)


def _check_training(task: ClassificationTask, inputs: Tensor, network: str) -> None:
    """Refuse a batch that the network cannot be trained on, such as one sample with batch norm."""
    try:
        _train_on(task, inputs)
    except FOREIGN_ERRORS as e:
        problem = f"--network {network} cannot be trained on a batch of {len(inputs)}: {_first_line(e)}"
        if len(inputs) == 1:
            problem += "; set --data.batch_size to 2 or more"
        raise InputError(problem) from e


def _train_on(task: ClassificationTask, inputs: Tensor) -> None:
    """Call the network in training mode, then restore its state."""
    with _training_state(task), torch.compiler.set_stance("force_eager"):
        task(inputs)


@contextmanager
def _training_state(network: nn.Module) -> Iterator[None]:
    """Set training mode without gradients; restore modes, buffers and random states afterwards."""
    modes = [(module, module.training) for module in network.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
    with isolate_rng(), torch.no_grad():
        network.train()
        try:
            yield
        finally:
            for module, is_training in modes:
                module.training = is_training
            for buffer, before in buffers:
                buffer.copy_(before)


def _first_line(error: Exception) -> str:
    """Return the first line of an error's message, or its type."""
    return next(iter(str(error).splitlines()), type(error).__name__)
