"""Rank of this process in distributed training."""

from lightning.pytorch.utilities import rank_zero_only


def process_rank() -> int:
    """Return the rank of this process, from 0; only rank 0 writes files."""
    return int(getattr(rank_zero_only, "rank", 0) or 0)
