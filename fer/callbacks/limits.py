"""What ``--trainer.limit_…_batches`` takes away from a protocol."""

from collections.abc import Mapping
from typing import Any, Final

LIMITS: Final = {
    "limit_train_batches": "trained on the first {}",
    "limit_val_batches": "validated on the first {}",
    "limit_test_batches": "first {} only",
}
"""By attribute of the trainer what it does to the results."""


def limit_protocol(protocol: str, trainer: Any) -> str:
    """Return a protocol's name with the limits that a trainer sets.

    Args:
        protocol: Name of the protocol.
        trainer: Has ``limit_train_batches``, ``limit_val_batches`` and ``limit_test_batches``: a number of
            batches, or a share of them, 1.0 for all.

    >>> from types import SimpleNamespace
    >>> limits = {"limit_train_batches": 0.5, "limit_val_batches": 1.0, "limit_test_batches": 15}
    >>> limit_protocol("official", SimpleNamespace(**limits))
    'official, trained on the first 50 % of the batches, first 15 batches only'
    """
    return ", ".join([protocol, *describe_limits({name: getattr(trainer, name) for name in LIMITS})])


def describe_limits(limits: Mapping[str, Any]) -> list[str]:
    """Return in words what limits of batches take away; empty without one.

    Args:
        limits: By name in :data:`LIMITS` a number of batches, or a share of them; None or 1.0: all.

    >>> describe_limits({"limit_train_batches": None, "limit_val_batches": 0.1, "limit_test_batches": 1})
    ['validated on the first 10 % of the batches', 'first batch only']
    """
    parts = []
    for name, text in LIMITS.items():
        limit = limits.get(name)
        if isinstance(limit, int):
            parts.append(text.format("batch" if limit == 1 else f"{limit} batches"))
        elif limit is not None and limit < 1:
            parts.append(text.format(f"{limit:.0%} of the batches".replace("%", " %")))
    return parts
