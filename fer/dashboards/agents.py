"""Sweeps on W&B's server, and their agents."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fer.errors import InputError

MAX_FAILURES: Final = 3
"""Consecutive failures that end an agent: a broken machine must not use up the sweep."""

SECONDS_TO_END: Final = 60
"""Seconds that a trial has after Ctrl-C for its last validation and checkpoint."""


def create_sweep(config: Mapping[str, Any], name: str) -> str:
    """Create a sweep on W&B's server; its client prints the address of the sweep's page.

    Args:
        config: Content of the sweep file.
        name: Name of the sweep.

    Returns:
        ``ENTITY/PROJECT/ID``, for agents.

    Raises:
        InputError: The server refuses it.
    """
    import wandb

    try:
        sweep = wandb.sweep(dict(config) | {"name": name})
    except (wandb.Error, ValueError, OSError) as e:
        msg = f"W&B refuses the sweep {name}: {e}"
        raise InputError(msg) from e
    # The client leaves the names that the server knows in the environment.
    return "/".join([os.environ["WANDB_ENTITY"], os.environ["WANDB_PROJECT"], sweep])


def run_agent(address: str, count: int | None = None) -> None:
    """Run trials of a sweep, one after another, until the server has no more.

    Args:
        address: ``ENTITY/PROJECT/ID`` of the sweep.
        count: Largest number of trials; None: no limit.
    """
    import wandb

    # A sweep's ${interpreter} is the bare word python: the one that runs this.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    wandb.agent(
        address,
        count=count,
        forward_signals=True,
        term_timeout=SECONDS_TO_END,
        max_consecutive_failed_runs=MAX_FAILURES,
    )
