"""Names under which results are logged, and classes are found again."""

from collections.abc import Sequence

from torch import nn

LOGGED_ON_VAL = ("acc", "balanced_acc", "ovr_acc", "precision", "recall", "specificity", "f1")
"""Metrics logged on the validation split each epoch, beside the recall of each class."""


def logged_on_val(class_names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the metrics that are logged on the validation split, without ``val/``."""
    return (*LOGGED_ON_VAL, *(f"recall/{name}" for name in class_names))


def class_path(network_class: type[nn.Module]) -> str:
    """Return the path under which a class is imported.

    >>> class_path(nn.Linear)
    'torch.nn.modules.linear.Linear'
    """
    return f"{network_class.__module__}.{network_class.__qualname__}"
