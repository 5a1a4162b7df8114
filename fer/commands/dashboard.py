"""The command ``dashboard``: make the W&B workspace and report of a project."""

import argparse
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from fer.commands.parsing import CONSOLE
from fer.dashboards import is_logged_in
from fer.errors import InputError
from fer.files import atomic_write

HELP: Final = "make the W&B workspace and report of all runs, or write them as JSON"
SECTION: Final = "evaluate"


def dashboard(arguments: Sequence[str]) -> None:
    """Make the dashboard on W&B's server, or write it as JSON.

    Raises:
        InputError: There is no account, the server refuses, or a package is missing.
    """
    parser = argparse.ArgumentParser(
        prog="fer dashboard",
        allow_abbrev=False,
        description="Make a W&B workspace and report of a project: learning curves, test results, confusion, "
        "angles and stages, pruning, sweeps, gradients, system. Each call makes new ones and keeps the old.",
    )
    parser.add_argument("--project", default="fer", help="W&B project (default: fer)")
    parser.add_argument("--entity", help="W&B user or team (default: the account's)")
    parser.add_argument(
        "--parameters",
        help="settings on the axes of the sweep's parallel coordinates, such as model.lr,model.dropout",
    )
    parser.add_argument(
        "--json",
        type=Path,
        help="write workspace and report as JSON to this file instead of sending them; needs no account",
    )
    settings = parser.parse_args(list(arguments))
    if find_spec("wandb_workspaces") is None:
        msg = 'the dashboard needs wandb-workspaces: pip install -e ".[dashboard]", or make dashboard'
        raise InputError(msg)
    from fer.dashboards.workspace import PARAMETERS, as_json, save

    parameters = settings.parameters.split(",") if settings.parameters else PARAMETERS
    if settings.json is not None:
        with atomic_write(settings.json) as file:
            file.write(as_json(settings.project, settings.entity or "", parameters).encode() + b"\n")
        CONSOLE.print(f"dashboard    {settings.json}")
        return
    if not is_logged_in():
        msg = "a dashboard needs a W&B account: run `wandb login`, or write it as JSON with --json FILE"
        raise InputError(msg)
    workspace, report = save(settings.project, settings.entity, parameters)
    CONSOLE.print(f"workspace    {workspace}\nreport       {report}")
