"""What ``--trainer.limit_…_batches`` takes away from a protocol."""

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
    parts = [protocol]
    for name, text in LIMITS.items():
        limit = getattr(trainer, name)
        if isinstance(limit, int):
            parts.append(text.format("batch" if limit == 1 else f"{limit} batches"))
        elif limit < 1:
            parts.append(text.format(f"{limit:.0%} of the batches".replace("%", " %")))
    return ", ".join(parts)
