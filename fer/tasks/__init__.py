"""LightningModules made from network classes, with a shared training loop."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from torch import nn

from fer.checkpoints import read_checkpoint
from fer.errors import InputError
from fer.models import NETWORKS
from fer.neurons.networks import class_path
from fer.tasks.base import ClassificationTask
from fer.tasks.factory import constructor_parameters, task_of

TASKS: Final[dict[str, type[ClassificationTask]]] = {
    name: task_of(network) for name, network in NETWORKS.items()
}
"""Tasks of the package's networks, by the name used in configs, make targets and sweeps.

They can also be imported by class name: ``from fer.tasks import Conv6Task``.
"""

globals().update({task.__name__: task for task in TASKS.values()})

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...


_MISFITS: Final = (
    *(ArithmeticError, AssertionError, AttributeError, LookupError, NotImplementedError, RuntimeError),
    *(TypeError, ValueError),
)
"""What a network raises when it is built with wrong settings or loaded with wrong weights."""


def load(checkpoint: str | Path, network: type[nn.Module] | None = None) -> ClassificationTask:
    """Rebuild a trained network from its checkpoint.

    No code named in the checkpoint is imported: pass the class of a network that is not part of the package.

    Args:
        checkpoint: A file written by training or pruning, such as ``runs/…/checkpoints/best.ckpt``.
        network: Class of the network; None: the package's network that the checkpoint names.

    Returns:
        The task in eval mode, on the CPU.

    Raises:
        InputError: The file is missing or damaged, names a network that is not part of the package, or does
            not fit the class.
    """
    content = read_checkpoint(checkpoint)
    task_class = _find_task(content, checkpoint) if network is None else task_of(network)
    settings = {key: value for key, value in content["hyper_parameters"].items() if key != "_instantiator"}
    # The checkpoint has all weights, so the pretrained weights that training started from are not needed.
    start: dict[str, Any] = {"weights": None, "pretrained": False}
    settings |= {key: value for key, value in start.items() if key in settings}
    try:
        task = task_class(**settings)
        task.on_load_checkpoint(content)
        task.load_state_dict(content["state_dict"])
    except _MISFITS as e:
        origin = f" of {content['network']}" if "network" in content else ""
        reason = " ".join(str(e).split())
        msg = f"{checkpoint}: this checkpoint{origin} does not fit {task_class.__name__}: {reason}"
        raise InputError(msg) from e
    return task.eval()


def _find_task(content: dict[str, Any], checkpoint: str | Path) -> type[ClassificationTask]:
    """Return the package's task that a checkpoint names.

    Raises:
        InputError: It names a network that is not part of the package, or none.
    """
    path = content.get("network")
    is_ours = path is None or path in {class_path(network) for network in NETWORKS.values()}
    by_class = {task.__name__: task for task in TASKS.values()}
    if is_ours and content["task"] in by_class:
        return by_class[content["task"]]
    if path is not None and not is_ours:
        msg = (
            f"{checkpoint} contains a {path}, a class outside of fer, which is imported only if you name it: "
            f"add --network {path}, or in Python load(…, network={path.rpartition('.')[2]})"
        )
        raise InputError(msg)
    msg = f"{checkpoint}: this checkpoint contains none of fer's networks ({', '.join(TASKS)})"
    raise InputError(msg)


__all__ = ["TASKS", "ClassificationTask", "constructor_parameters", "load", "task_of"]
