"""Which of the processes that train together this is."""

from lightning.pytorch.utilities import rank_zero_only


def process_rank() -> int:
    """Return the number of this process, from 0; the first one writes files."""
    return int(getattr(rank_zero_only, "rank", 0) or 0)
