"""Weights & Biases: a sweep on its server, and an agent of it."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fer.errors import InputError

MAX_FAILURES: Final = 3
"""Trials in a row that fail before an agent ends: a sick machine must not burn the whole sweep."""

SECONDS_TO_END: Final = 60
"""That a trial has, after Ctrl-C, for its last validation and checkpoint."""


def create_sweep(config: Mapping[str, Any], name: str) -> str:
    """Make a sweep on W&B's server, whose client prints where it is seen.

    Args:
        config: What the sweep file says.
        name: Shown for the sweep.

    Returns:
        What an agent takes: ``ENTITY/PROJECT/ID``.

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
    """Run a sweep's trials, one after the other, as long as the server has any.

    Args:
        address: ``ENTITY/PROJECT/ID`` of the sweep.
        count: Trials after which to end; None: no limit of its own.
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
