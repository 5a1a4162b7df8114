"""Start from a checkpoint: evaluate its network, resume its training, or take its weights."""

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import Namespace
from lightning.pytorch import LightningDataModule
from torch import nn

from fer.checkpoints import normalisation_in, read_checkpoint
from fer.data import ExpressionDataModule
from fer.errors import InputError
from fer.lookup import find_checkpoint
from fer.neurons.networks import class_path
from fer.pruning.load import check_finite
from fer.tasks import ClassificationTask, load
from fer.tasks.teachers import Teachers


def resolve_checkpoints(config: Namespace, command: str) -> None:
    """Replace runs in a command's options by their checkpoints: ``runs/latest`` is another run later.

    Args:
        config: The command's settings, changed in place.
        command: Name of the command.

    Raises:
        InputError: There is no such file or folder, or the folder has no checkpoint.
    """
    if config.ckpt_path is not None:
        config.start_from = None
    for option in ("ckpt_path", "start_from"):
        if config[option] is not None:
            resume = command == "fit" and option == "ckpt_path"
            config[option] = str(find_checkpoint(Path(config[option]), resume=resume))
    if command == "fit" and config.teachers is not None:
        paths = [config.teachers] if isinstance(config.teachers, str) else config.teachers
        config.teachers = [str(find_checkpoint(Path(each))) for each in paths]


def load_network(
    command: str,
    task: ClassificationTask,
    data: LightningDataModule,
    *,
    weights: str | None,
    checkpoint: str | None,
    teachers: Sequence[str],
    network: type[nn.Module] | None,
) -> ClassificationTask:
    """Return the network that a command works on: the one to train, or that of a checkpoint.

    Args:
        command: Name of the command.
        task: The task that the settings describe; it gets the weights, or the widths, of a checkpoint.
        data: Data module; it gets the classes of the checkpoint, and in an evaluation its normalisation.
        weights: Path of the checkpoint whose weights training starts from.
        checkpoint: Path of the checkpoint that training resumes from, or that is evaluated.
        teachers: Paths of the checkpoints of the networks that training learns from.
        network: Class of the network, if it is the user's own.

    Raises:
        InputError: A checkpoint cannot be read, holds another network or other classes, or is missing; a
            network to prune has weights that are NaN.
    """
    if weights is not None:
        match_for_training(data, start_from(task, weights, network), weights)
    if command == "fit":
        if checkpoint is not None:
            match_for_training(data, prepare_to_resume(task, checkpoint, network), checkpoint)
        if teachers:
            task.teachers = load_teachers(data, teachers, network)
        return task
    if checkpoint is None:
        msg = f"fer {command} needs a checkpoint: fer {command} --ckpt_path runs/latest"
        raise InputError(msg)
    trained = load(checkpoint, network)
    if command == "prune":
        check_finite(trained, checkpoint)
    if isinstance(data, ExpressionDataModule):
        data.match_network(trained.class_names)
        for state in normalisation_in(read_checkpoint(checkpoint)).values():
            data.load_state_dict(state)
    return trained


def start_from(
    task: ClassificationTask, checkpoint: str, network: type[nn.Module] | None
) -> ClassificationTask:
    """Give a task the weights of a checkpoint, and its widths if the checkpoint is pruned.

    Args:
        task: A task of the same network; changed in place.
        checkpoint: Path of the checkpoint.
        network: Class of the network, if it is the user's own.

    Returns:
        The task of the checkpoint.

    Raises:
        InputError: The checkpoint cannot be read, or holds another network.
    """
    trained = _load_same(task, checkpoint, network, option="--start_from")
    task.load_state_dict(trained.state_dict())
    return trained


def prepare_to_resume(
    task: ClassificationTask, checkpoint: str, network: type[nn.Module] | None
) -> ClassificationTask:
    """Check that training can resume from a checkpoint; give the task its widths if it is pruned.

    Args:
        task: A task of the same network; changed in place.
        checkpoint: Path of the checkpoint.
        network: Class of the network, if it is the user's own.

    Returns:
        The task of the checkpoint.

    Raises:
        InputError: The checkpoint cannot be read, holds another network, or lacks the training state.
    """
    if "optimizer_states" not in read_checkpoint(checkpoint):
        msg = (
            f"--ckpt_path {checkpoint} holds a pruned network without training state: use --start_from "
            "instead, which starts a new training with its weights"
        )
        raise InputError(msg)
    trained = _load_same(task, checkpoint, network, option="--ckpt_path")
    for setting, settings in (("optimizer", "optimizer_settings"), ("schedule", "schedule_settings")):
        old, new = (getattr(each, settings).name for each in (trained, task))
        if new not in (old, "none"):
            others = f" (or {setting} none)" if setting == "schedule" else ""
            msg = (
                f"--model.{setting} {new}: a training that resumes from {checkpoint} keeps its {setting}, "
                f"{old}{others}; use --start_from instead, which starts a new training with its weights"
            )
            raise InputError(msg)
    return trained


def load_teachers(
    data: LightningDataModule, checkpoints: Sequence[str], network: type[nn.Module] | None
) -> Teachers:
    """Load the networks that a training learns from.

    The data gets their normalisation, so that they and the network that learns have the same inputs.

    Args:
        data: Data module of the training.
        checkpoints: Paths of their checkpoints.
        network: Class of the user's own network, if the training has one; teachers may be of it, too.

    Raises:
        InputError: A checkpoint cannot be read, was trained on other classes, or on inputs normalised
            otherwise than those of the first.
    """
    teachers: dict[str, ClassificationTask] = {}
    normalisation: dict[str, dict[str, list[float]]] = {}
    for checkpoint in checkpoints:
        content = read_checkpoint(checkpoint)
        is_own = network is not None and content.get("network") == class_path(network)
        teacher = load(checkpoint, network if is_own else None)
        check_finite(teacher, checkpoint)
        match_for_training(data, teacher, checkpoint)
        found = normalisation_in(content)
        if teachers and found != normalisation:
            msg = (
                f"--teachers: {next(iter(teachers))} and {checkpoint} were trained on inputs that are "
                "normalised differently: use teachers of the same data and data.normalise"
            )
            raise InputError(msg)
        teachers[checkpoint], normalisation = teacher, found
    if isinstance(data, ExpressionDataModule):
        for state in normalisation.values():
            data.load_state_dict(state)
    return Teachers(teachers)


def match_for_training(data: LightningDataModule, trained: ClassificationTask, checkpoint: str) -> None:
    """Give the data the labels of a checkpoint, so that the logits keep their meaning in training.

    Raises:
        InputError: The data has other classes.
    """
    if isinstance(data, ExpressionDataModule) and not data.match_network(trained.class_names).is_complete:
        msg = (
            f"{checkpoint} has other classes ({', '.join(trained.class_names)}) than the data "
            f"({', '.join(data.class_names)}): give data with the same classes"
        )
        raise InputError(msg)


def _load_same(
    task: ClassificationTask, checkpoint: str, network: type[nn.Module] | None, *, option: str
) -> ClassificationTask:
    """Load a checkpoint of the task's network, shrink the task to its widths, and compare both."""
    trained = load(Path(checkpoint), network)
    if trained.widths is not None:
        task.shrink(trained.widths)
    shapes = {name: tuple(value.shape) for name, value in task.state_dict().items()}
    kept = {name: tuple(value.shape) for name, value in trained.state_dict().items()}
    if differing := sorted(name for name in shapes | kept if shapes.get(name) != kept.get(name)):
        msg = (
            f"{option} {checkpoint} holds another network ({type(trained).__name__}) than the settings "
            f"describe ({type(task).__name__}): {differing[0]} differs; give the config of its run"
        )
        raise InputError(msg)
    return trained
