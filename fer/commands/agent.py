"""The command ``fer agent``: a sweep on W&B's server, shared by any number of machines."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import yaml

from fer.commands.parsing import CONSOLE
from fer.commands.sweep import sweep
from fer.commands.sweep_check import check_sweep
from fer.dashboards import is_logged_in
from fer.dashboards.agents import create_sweep, run_agent
from fer.errors import InputError
from fer.studies.sweepfile import read_sweep

HELP: Final = "run trials of a W&B sweep on this machine, from a file or by its address"
SECTION: Final = "train"
TAKES: Final = "sweep"


def agent(arguments: Sequence[str]) -> None:
    """Create a sweep from a file and run its trials, or join an existing sweep.

    Raises:
        InputError: The sweep cannot run, or the server refuses it.
    """
    parser = argparse.ArgumentParser(
        prog="fer agent",
        allow_abbrev=False,
        description="Create a W&B sweep from a file and run its trials, one after another. Start more "
        "agents, here or on other machines, with its address. Ctrl-C ends the current trial, with a "
        "checkpoint, and the agent. Without an account the sweep runs here, as with fer sweep.",
        epilog="Without an account, all options of fer sweep are accepted.",
    )
    parser.add_argument("sweep", help="sweep file, such as sweeps/conv6-bayes.yaml, or ENTITY/PROJECT/ID")
    parser.add_argument("--count", type=int, help="number of trials (default: until the sweep ends)")
    given, others = parser.parse_known_args(list(arguments))
    path = Path(given.sweep)
    is_address = given.sweep.count("/") == 2 and not path.is_file() and path.suffix == ""
    if os.environ.get("WANDB_MODE", "online") != "online" or not is_logged_in():
        if is_address:
            msg = f"{given.sweep} is on W&B's server: log in with `wandb login`"
            raise InputError(msg)
        CONSOLE.print("no account   the sweep runs on this machine; after `wandb login` it runs on W&B")
        count = [] if given.count is None else [f"--count={given.count}"]
        sweep([given.sweep, *count, *others])
        return
    if others:
        msg = f"{others[0]}: an agent takes only --count; use fer sweep to run the file here"
        raise InputError(msg)
    if is_address:
        run_agent(given.sweep, given.count)
        return
    check_sweep(read_sweep(path), given.count, is_on_wandb=True)
    address = create_sweep(yaml.safe_load(path.read_text()), path.stem)
    CONSOLE.print(f"sweep        {address}\nmore agents  fer agent {address}")
    run_agent(address, given.count)
