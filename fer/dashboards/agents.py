"""Sweeps on W&B's server, and their agents."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fer.errors import InputError

MAX_FAILURES: Final = 3
"""Consecutive failures after which an agent ends, so that a broken machine does not use up the sweep."""

SECONDS_TO_END: Final = 60
"""Seconds that a trial has for its last validation and checkpoint after Ctrl-C."""


def create_sweep(config: Mapping[str, Any], name: str) -> str:
    """Create a sweep on W&B's server; W&B's client prints the address of its page.

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
    # The client stores the entity and the project of the sweep in the environment.
    return "/".join([os.environ["WANDB_ENTITY"], os.environ["WANDB_PROJECT"], sweep])


def run_agent(address: str, count: int | None = None) -> None:
    """Run trials of a sweep, one after another, until the server has no more.

    Args:
        address: ``ENTITY/PROJECT/ID`` of the sweep.
        count: Largest number of trials; None: no limit.
    """
    import wandb

    # A sweep's ${interpreter} is plain "python": make that the interpreter of this process.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    wandb.agent(
        address,
        count=count,
        forward_signals=True,
        term_timeout=SECONDS_TO_END,
        max_consecutive_failed_runs=MAX_FAILURES,
    )
