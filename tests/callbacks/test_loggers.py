"""What the callbacks log arrives in every logger, and figures in the run's folder whatever the logger."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger, WandbLogger
from small_module import SmallModule, small_loader

from fer.callbacks import DistinctivenessCallback, EvaluationCallback, PruneCallback, StageCallback

pytestmark = [
    # 48 samples are few for 12 neurons, which the callbacks say in the log.
    pytest.mark.filterwarnings("ignore:The number of training batches"),
    # Of what tensorboard and Lightning's wrapper of it import.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

NUMBERS = {
    *("angles/mean", "angles/similar", "rank/effective_share", "stage/network"),
    *("train_loss", "val_acc", "prune/parameters_after", "prune/val_acc_after"),
}
OF_LAYERS = {"angles/net.0/mean", "angles/net.2/similar", "stage/net.0", "update_ratio/net.2"}
"""W&B is given them only if the callback is told so: they are many."""

FIGURES = {"angles", "angular-speed", "angle-matrix", "angle-histogram", "angle-pairs", "curves", "prune"}


def _to_csv(folder):
    return CSVLogger(folder / "to-csv")


def _to_tensorboard(folder):
    return TensorBoardLogger(folder / "to-tensorboard")


def _to_wandb(folder):
    return WandbLogger(save_dir=folder, offline=True)


MAKERS = {"csv": _to_csv, "tensorboard": _to_tensorboard, "wandb": _to_wandb}


@pytest.fixture
def fitted(tiny_trainer, tmp_path):
    """Fit and test a small module with loggers; return them by name, and the folder of the run."""

    def fit(*names, log="summary"):
        loggers = {name: MAKERS[name](tmp_path) for name in names}
        trainer = tiny_trainer(
            max_epochs=3,
            logger=list(loggers.values()),
            enable_checkpointing=True,
            callbacks=[
                DistinctivenessCallback(samples=small_loader().dataset.tensors[0], log=log),
                StageCallback(train_loss="train_loss", val_loss="val_loss"),
                PruneCallback(enabled=True, metric="val_acc", share_removed=0.5),
                EvaluationCallback(),
            ],
        )
        module = SmallModule()
        trainer.fit(module, small_loader(), small_loader(seed=1))
        trainer.test(module, small_loader(seed=2), verbose=False)
        (pruned,) = tmp_path.rglob("pruned.ckpt")
        return loggers, pruned.parent.parent

    yield fit
    if (wandb := sys.modules.get("wandb")) is not None and wandb.run is not None:
        wandb.finish()


def _of_csv(logger):
    """The keys in metrics.csv, and no images."""
    with Path(logger.log_dir, "metrics.csv").open() as file:
        return {key for row in csv.DictReader(file) for key, value in row.items() if value}, set()


def _of_tensorboard(logger):
    """The keys of the scalars and of the images in the event files."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(logger.log_dir).Reload()
    return set(events.Tags()["scalars"]), set(events.Tags()["images"])


def _of_wandb(logger):
    """The keys of the numbers and of the images in the record of a run."""
    folder = Path(logger.experiment.dir).parent
    logger.experiment.finish()
    (record,) = folder.glob("*.wandb")
    inspect = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(record)]
    lines = subprocess.run(inspect, capture_output=True, text=True, check=True).stdout.splitlines()
    keys = set()
    for each in map(json.loads, lines):
        if each["type"] == "history":
            keys |= each["history"]["item"].keys()
    images = {key.removesuffix(".filenames") for key in keys if key.endswith(".filenames")}
    return keys, images


READERS = {"csv": _of_csv, "tensorboard": _of_tensorboard, "wandb": _of_wandb}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "folder"),
    [
        pytest.param((), ".", id="no logger"),
        pytest.param(("csv",), "to-csv/lightning_logs/version_0", id="CSV"),
        pytest.param(("tensorboard",), "to-tensorboard/lightning_logs/version_0", id="TensorBoard"),
        pytest.param(("wandb",), None, id="W&B", marks=pytest.mark.slow),
        pytest.param(
            ("tensorboard", "csv", "wandb"),
            "to-tensorboard/lightning_logs/version_0",
            id="several",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_numbers_and_figures_arrive(names, folder, fitted, tmp_path):
    loggers, run = fitted(*names)

    assert {path.stem for path in (run / "figures").glob("*.png")} >= FIGURES
    assert {path.name for path in run.iterdir()} >= {"stages.json", "prune.json", "results.json", "angles"}
    if folder is not None:
        assert run == tmp_path / folder
    for name, logger in loggers.items():
        numbers, images = READERS[name](logger)
        assert NUMBERS - numbers == set(), name
        assert numbers & OF_LAYERS == (set() if name == "wandb" else OF_LAYERS), name
        if name != "csv":
            assert {f"figures/{each}" for each in FIGURES} - images == set(), name


@pytest.mark.slow
def test_wandb_is_given_the_numbers_of_each_layer_on_request(fitted):
    loggers, _ = fitted("wandb", log="all")

    numbers, _ = _of_wandb(loggers["wandb"])
    assert (NUMBERS | OF_LAYERS) - numbers == set()
