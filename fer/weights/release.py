"""Write the network that ships with the package: weights, preprocessing and model card, in this folder.

Without a run it trains the recipe, and goes on where it was stopped. Of several runs it takes the one
that is best on val. The network is evaluated anew in float32, as it is shipped.
"""

import argparse
import json
import math
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from safetensors.torch import save

from fer import angles, distinctness, measure
from fer.__main__ import main as run_fer
from fer.callbacks import EvaluationCallback
from fer.callbacks.model_card import model_card
from fer.checkpoints import normalisation_in, read_checkpoint, temperature_of
from fer.commands.report import settings_of
from fer.data import DATA_MODULES, ExpressionDataModule
from fer.files import atomic_write
from fer.predict.torch_network import preprocessing_of
from fer.report.gather import gather
from fer.runs import Run
from fer.tasks import ClassificationTask, constructor_parameters, load

RECIPE = "conv6"
"""The recipe of the best small network at hand."""

WEIGHTS = Path(__file__).parent
NUM_SAMPLES = 1000
"""Training images on which it is measured how distinct the neurons are."""

MOST_BYTES = 2_000_000
"""Of the weights, which everybody downloads with the package."""


def main() -> int:
    """Choose or train a run, and write its network."""
    parser = argparse.ArgumentParser(prog="make release-model", description=__doc__)
    parser.add_argument(
        "runs", nargs="*", type=Path, help=f"trained runs (none: the recipe {RECIPE} is trained)"
    )
    parser.add_argument("--commit", help="commit that the runs were trained at (the one that is checked out)")
    given = parser.parse_args()
    runs = [Run(folder) for folder in given.runs] or [train(Path("runs") / f"release-{RECIPE}")]
    run = max(runs, key=lambda each: each.read_results()["best_val_acc"])
    head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], check=True, capture_output=True, text=True)
    release(run, given.commit or head.stdout.strip(), num_runs=len(runs))
    return 0


def train(folder: Path) -> Run:
    """Train the recipe in a folder, or go on with the training in it; one with results is done."""
    run = Run(folder)
    if not run.results_path.is_file():
        is_begun = run.last_checkpoint.is_file()
        begin = ["--config", RECIPE, "--runs_dir", str(folder.parent), "--run_name", folder.name]
        if status := run_fer(["fit", *(["--resume", str(folder)] if is_begun else begin)]):
            raise SystemExit(status)
    return run


def release(run: Run, commit: str, *, num_runs: int) -> None:
    """Evaluate the best checkpoint of a run and write the three files."""
    trained = run.read_results()
    task, results = evaluate(run)
    results |= {key: trained[key] for key in ("epochs", "seed", "best", "trained_on")}
    command = gather(run.folder, settings_of)["repeat"]["command"]
    known = task.calibration or {}
    weights = {
        name: value.detach().clone(
            memory_format=torch.contiguous_format
        )  # a copy: file and network share nothing
        for name, value in task.network.cpu().state_dict().items()
    }
    content = save(weights, metadata={"network": results["network"]})
    if len(content) > MOST_BYTES:
        raise SystemExit(f"the weights have {len(content):,} bytes, more than {MOST_BYTES:,}")
    preprocessing = json.loads(preprocessing_of(run.best_checkpoint).to_json())
    settings = {key: value for key, value in task.hparams.items() if key in network_settings(task)}
    test = results["splits"]["test"]
    facts = preprocessing | {
        "temperature": temperature_of(known),
        "view_temperatures": {tta: each["temperature"] for tta, each in known.get("views", {}).items()},
        "settings": settings,
        "calibration": known,
        "distinctness": measure_distinctness(task.network, data_of(run)),
        "dtype": "float32",
        "command": command,
        "commit": commit,
        "seed": results["seed"],
        "test": {key: test[key] for key in ("n", "acc", "interval")},
    }
    origin = [
        f"Command: `{command}`",
        f"Commit: {commit}",
        f"Selected: the best on val of {num_runs} runs" if num_runs > 1 else "Selected: the only run",
        f"Weights: {len(content):,} bytes, float32 (training computed in "
        f"{run.read_config()['trainer']['precision']}); evaluated here in float32",
    ]
    card = model_card(results, data_of(run).cards(results["trained_on"]), name="default", origin=origin)
    for name, written in (
        ("default.safetensors", content),
        ("default.json", (json.dumps(facts, indent=2) + "\n").encode()),
        ("default.md", card.encode()),
    ):
        with atomic_write(WEIGHTS / name) as file:
            file.write(written)


def evaluate(run: Run) -> tuple[ClassificationTask, dict[str, Any]]:
    """Return a run's network, calibrated anew on val, and its results on all splits."""
    task, data = load(run.best_checkpoint), data_of(run)
    data.match_network(task.class_names)
    for state in normalisation_in(read_checkpoint(run.best_checkpoint)).values():
        data.load_state_dict(state)
    task.calibrator.choose_views("flip", "ten_crop")
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            callbacks=[EvaluationCallback()],
            default_root_dir=folder,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
        )
        trainer.validate(task, datamodule=data, verbose=False)
        trainer.test(task, datamodule=data, verbose=False)
        return task, Run(Path(folder)).read_results()


def measure_distinctness(network: Any, data: ExpressionDataModule) -> dict[str, list[float | None]]:
    """Return by hidden layer how distinct each neuron is on training images, for ``fer explain``."""
    data.setup("fit")
    batches = [batch[0] for batch in data.sample_dataloader("train", NUM_SAMPLES)]
    layers = network.neuron_layers
    statistics = measure(network, batches, layers.values())
    degrees = {layer: distinctness(angles(statistics[place])) for layer, place in layers.items()}
    return {
        layer: [None if math.isnan(value) else round(value, 1) for value in values.tolist()]
        for layer, values in degrees.items()
    }


def data_of(run: Run) -> Any:
    """Return the data module of a run."""
    config = run.read_config()
    return DATA_MODULES[config["dataset"]](**config["data"])


def network_settings(task: ClassificationTask) -> set[str]:
    """Return the names of the settings that the network's constructor takes."""
    return set(constructor_parameters(type(task.network)))


if __name__ == "__main__":
    raise SystemExit(main())
