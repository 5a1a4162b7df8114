"""Write the network that ships with the package: weights, preprocessing and model card, in this folder.

Without a run it trains the recipe, and goes on where it was stopped. Of several runs it takes the one
that is best on val; with --pruned, a pruned network of that run. The weights are rounded to bfloat16, which
halves what everybody downloads, and the rounded network is evaluated anew, computed in float32.
"""

import argparse
import json
import math
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from safetensors.torch import save
from torch import Tensor

from fer import angles, distinctness, measure
from fer.__main__ import main as run_fer
from fer.callbacks import EvaluationCallback
from fer.callbacks.model_card import model_card
from fer.checkpoints import normalisation_in, read_checkpoint, temperature_of
from fer.commands.report import settings_of
from fer.data import DATA_MODULES, ExpressionDataModule
from fer.files import atomic_write
from fer.neurons.surgery import widths
from fer.predict.torch_network import preprocessing_of
from fer.report.gather import gather, options_of
from fer.runs import Run
from fer.tasks import ClassificationTask, constructor_parameters, load

RECIPE = "conv6"
"""The best recipe whose network is small enough to be shipped without pruning."""

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
    parser.add_argument(
        "--pruned", type=Path, help="run of fer prune on the best of the runs, to be shipped in its place"
    )
    given = parser.parse_args()
    runs = [Run(folder) for folder in given.runs] or [train(Path("runs") / f"release-{RECIPE}")]
    run = max(runs, key=lambda each: each.read_results()["best_val_acc"])
    head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], check=True, capture_output=True, text=True)
    pruned = None if given.pruned is None else Run(given.pruned)
    release(run, pruned, given.commit or head.stdout.strip(), num_runs=len(runs))
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


def release(run: Run, pruned: Run | None, commit: str, *, num_runs: int) -> None:
    """Evaluate a network and write the three files.

    Args:
        run: The training.
        pruned: A pruning of its best checkpoint; None: the best checkpoint is shipped as it is.
        commit: The commit that it was trained at.
        num_runs: Number of runs that it was selected from.
    """
    trained = run.read_results()
    checkpoint = pruned.pruned_checkpoint if pruned else run.best_checkpoint
    task = load(checkpoint)
    weights = {name: rounded(value) for name, value in task.network.cpu().state_dict().items()}
    task.network.load_state_dict(weights)
    data = data_of(run, checkpoint)
    results = evaluate(task, data)
    results |= {key: trained[key] for key in ("epochs", "seed", "best", "trained_on")}
    content = save(weights, metadata={"network": results["network"]})
    if len(content) > MOST_BYTES:
        raise SystemExit(f"the weights have {len(content):,} bytes, more than {MOST_BYTES:,}")
    command = gather(run.folder, settings_of)["repeat"]["command"]
    pruning = {"pruning": command_of_pruning(pruned), "widths": widths(task.network)} if pruned else {}
    known = task.calibration or {}
    preprocessing = json.loads(preprocessing_of(checkpoint).to_json())
    settings = {key: value for key, value in task.hparams.items() if key in network_settings(task)}
    test = results["splits"]["test"]
    facts = preprocessing | {
        "temperature": temperature_of(known),
        "view_temperatures": {tta: each["temperature"] for tta, each in known.get("views", {}).items()},
        "settings": settings,
        "calibration": known,
        "distinctness": measure_distinctness(task.network, data),
        "dtype": "bfloat16",
        "command": command,
        "commit": commit,
        "seed": results["seed"],
        "test": {key: test[key] for key in ("n", "acc", "interval")},
        **pruning,
    }
    origin = [
        f"Command: `{command}`",
        f"Commit: {commit}",
        f"Selected: the best on val of {num_runs} runs" if num_runs > 1 else "Selected: the only run",
        f"Weights: {len(content):,} bytes, bfloat16 (training computed in "
        f"{run.read_config()['trainer']['precision']}); evaluated here in float32, after the rounding",
    ]
    if pruning:
        origin.append(
            f"Pruned from {trained['parameters']:,} parameters, not trained again: `{pruning['pruning']}`"
        )
    card = model_card(results, data.cards(results["trained_on"]), name="default", origin=origin)
    for name, written in (
        ("default.safetensors", content),
        ("default.json", (json.dumps(facts, indent=2) + "\n").encode()),
        ("default.md", card.encode()),
    ):
        with atomic_write(WEIGHTS / name) as file:
            file.write(written)


def rounded(value: Tensor) -> Tensor:
    """Return a copy that shares nothing with the network, real numbers rounded to bfloat16."""
    copy = value.detach().clone(memory_format=torch.contiguous_format)
    return copy.bfloat16() if copy.is_floating_point() else copy


def command_of_pruning(pruned: Run) -> str:
    """Return the command that pruned a network; the folder of the training, which differs, is ``RUN``."""
    settings = gather(pruned.folder, settings_of)["repeat"]["differs"]
    given = [(each["name"], each["value"]) for each in settings if each["name"].startswith("prune.")]
    words = [word for name, value in given for word in (f"--{name}", value)]
    return shlex.join(["fer", "prune", "RUN", *options_of(pruned.read_prune()), *words])


def evaluate(task: ClassificationTask, data: ExpressionDataModule) -> dict[str, Any]:
    """Calibrate a network anew on val, and return its results on all splits."""
    data.match_network(task.class_names)
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
        return Run(Path(folder)).read_results()


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


def data_of(run: Run, checkpoint: Path) -> Any:
    """Return the data module of a run, normalised as for a checkpoint."""
    config = run.read_config()
    data = DATA_MODULES[config["dataset"]](**config["data"])
    for state in normalisation_in(read_checkpoint(checkpoint)).values():
        data.load_state_dict(state)
    return data


def network_settings(task: ClassificationTask) -> set[str]:
    """Return the names of the settings that the network's constructor takes."""
    return set(constructor_parameters(type(task.network)))


if __name__ == "__main__":
    raise SystemExit(main())
