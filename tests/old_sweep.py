"""The journal of sweeps before Optuna, which stays readable."""

import json
from dataclasses import asdict
from pathlib import Path

from fer.studies.trials import OLD_JOURNAL, Trial


def write_old(folder: Path, trial: Trial) -> None:
    """Append the state of a trial, as version 0.2 did."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / OLD_JOURNAL).open("a") as file:
        file.write(json.dumps(asdict(trial)) + "\n")
