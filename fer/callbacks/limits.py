"""What ``--trainer.limit_…_batches`` takes away from a protocol."""

from typing import Any

from fer.provenance import LIMITS, describe_limits


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
