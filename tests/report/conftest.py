"""Folders as commands leave them, made up in a moment."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from matplotlib.image import imsave
from old_sweep import write_old

from fer.configs import config_path
from fer.runs import Run
from fer.studies.trials import Trial

CONFIG = {
    "seed_everything": 7,
    "network": "conv6",
    "dataset": "fer2013",
    "model": {"lr": 0.006, "widths": [16, 32]},
    "data": {"root": "~/data", "batch_size": 128},
    "runs_dir": "runs",
    "run_name": "made-up",
    "wandb": {"mode": "offline"},
    "ckpt_path": None,
}


def confusion(right=8, wrong=2):
    """Of each class some are right and the others are taken for the next class."""
    return (right * np.eye(7, dtype=int) + wrong * np.roll(np.eye(7, dtype=int), 1, axis=1)).tolist()


def write_json(path: Path, content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_results(path: Path, rights=None) -> None:
    rights = rights or {"train": 9, "val": 8, "test": 6, "clean": 7}
    splits = {name: {"confusion": confusion(right, 10 - right)} for name, right in rights.items()}
    facts = {"network": "Conv6Net", "parameters": 1234, "trainable_parameters": 1234, "protocol": "official"}
    write_json(path, facts | {"epochs": 12, "seed": 7, "fit_seconds": 61.0, "splits": splits})


def write_history(path: Path, num_epochs=12, layers=("conv1", "conv2")) -> None:
    rows = []
    for epoch in range(num_epochs):
        rows.append({"epoch": epoch, "val/loss": 2 / (epoch + 2), "val/acc": epoch / 20})
        row = {
            "epoch": epoch,
            "train/loss": 2 / (epoch + 1),
            "train/acc": epoch / 15,
            "lr": 0.01,
            "stage/network": 0.0,
        }
        for layer in layers:
            quantiles = dict(
                zip(("min", "q05", "q25", "median", "q75", "q95", "max"), range(30, 170, 20), strict=True)
            )
            row |= {f"angles/{layer}/{name}": value for name, value in quantiles.items()}
        rows.append(row)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0] | rows[1]))
        writer.writeheader()
        writer.writerows(rows)


def write_measurements(folder: Path, num_epochs=4, times_an_epoch=5, widths=(8, 16)) -> None:
    """Rows of measurements within the epochs, and the stages of the network, of which one begins weakly."""
    layers = dict(zip(("conv1", "conv2"), widths, strict=True))
    rows = []
    for number in range(1, num_epochs * times_an_epoch + 1):
        time = number / times_an_epoch
        row = {"epoch": time, "sample/train_loss": 2 / (1 + time), "sample/val_loss": 2 / (1 + time)}
        for layer, width in layers.items():
            row |= {f"angles/{layer}/{name}": 80 + time for name in ("min", "q05", "q25", "median")}
            row |= {f"angles/{layer}/{name}": 90 + time for name in ("q75", "q95", "max")}
            row |= {f"rank/{layer}/effective": width / 2, f"rank/{layer}/participation": width / 4}
            row |= {f"neurons/{layer}/dormant": 0.125, f"cka/{layer}": 0.9}
        if time == int(time):
            row |= {f"neurons/{layer}/{name}": 0.25 for layer in layers for name in ("cloned", "redundant")}
            row |= {"collapse/nc1": 5 / time, "collapse/nc2_spread": 20 - time, "collapse/nc4": time / 5}
        rows.append(row)
        if time == int(time):
            epoch = int(time) - 1
            rows.append(
                {"epoch": epoch, "train/loss": 2 / time, "val/loss": 2.1 / time, "val/acc": 0.1 * time}
            )
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=sorted({key for row in rows for key in row}))
        writer.writeheader()
        writer.writerows(rows)
    intervals = [
        {"stage": "initial", "reason": "warm_up", "begin": 0.0, "end": 0.8},
        {
            "stage": "intermediate",
            "reason": "moving",
            "begin": 0.8,
            "end": 2.6,
            "confirmed_by": ["speed", "rank"],
        },
        {"stage": "plateau", "reason": "overfit", "begin": 2.6, "end": 4.0, "confirmed_by": []},
    ]
    write_json(folder / "stages.json", {"network": {"final": intervals, "live": intervals[:1]}})


def write_pruning(folder: Path) -> None:
    sides = {
        when: {
            "acc": 0.8,
            "interval": [0.7, 0.9],
            "loss": 0.5,
            "confusion": confusion(),
            "parameters": size,
            "macs": 10 * size,
            "bytes": 4 * size,
            "milliseconds": {"1": 0.5},
        }
        for when, size in (("before", 1000), ("after", 600))
    }
    causes = {"dead": 1, "constant": 0, "similar": 5, "complementary": 0, "span": 0, "block": 0}
    write_json(
        folder / "prune.json",
        {
            "protocol": "official",
            "n": 70,
            **sides,
            "mcnemar": {"lost": 3, "won": 1, "p": 0.6},
            "layers": {"conv1": {"before": 16, "after": 10, **causes}},
            "refused": {"conv2": "the network puts them out"},
            "together": {"conv1": ["layer1.0.conv2"]},
            "blocks": {"layer1.0": 0.005},
            "settings": {"similar_below": 30, "rule": None},
        },
    )
    rule = {
        "threshold": [0, 15, 30],
        "acc": [0.8, 0.7, 0.5],
        "acc_low": [0.7, 0.6, 0.4],
        "acc_high": [0.9, 0.8, 0.6],
        "neurons": [48, 40, 20],
        "macs": [900, 700, 300],
    }
    write_json(
        folder / "curve.json", {"protocol": "official", "n": 70, "rules": {"pairs": rule, "span": rule}}
    )


def make_angles(num_neurons: int, seed: int):
    vectors = np.random.default_rng(seed).normal(size=(num_neurons, 20))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.degrees(np.arccos(np.clip(vectors @ vectors.T, -1, 1)))


@pytest.fixture
def run_dir(tmp_path):
    """The folder of a whole training of 12 epochs, pruned."""
    folder = tmp_path / "runs" / "made-up"
    write_results(folder / "results.json")
    write_history(folder / "metrics.csv")
    (folder / "config.yaml").write_text("# lightning.pytorch==2.6.6\n" + yaml.safe_dump(CONFIG))
    spans = [
        {"stage": "initial", "reason": "warm_up", "begin": 0.0, "end": 5.0},
        {"stage": "plateau", "reason": "lr_frozen", "begin": 5.0, "end": 12.0, "confirmed_by": ["rank"]},
    ]
    write_json(
        folder / "stages.json", {name: {"final": spans, "live": spans[:1]} for name in ("network", "conv1")}
    )
    for epoch in range(12):
        angles = {"conv1": make_angles(8, epoch), "conv2": make_angles(16, epoch)}
        angles["conv2"][3] = angles["conv2"][:, 3] = np.nan
        Run(folder).write_angles(epoch, angles)
    write_pruning(folder)
    (folder / "figures").mkdir()
    imsave(folder / "figures" / "predictions.png", np.zeros((8, 8)))
    return folder


@pytest.fixture
def measured_dir(run_dir):
    """The folder of a training of 4 epochs, with five measurements of neurons each."""
    write_measurements(run_dir)
    return run_dir


@pytest.fixture
def study_dir(tmp_path):
    """The folder of a cross-validation, of whose three folds two are done."""
    folder = tmp_path / "runs" / "study"
    words = ["--config", str(config_path("ann")), "--model.lr", "0.1"]
    chosen = {"network": "ann", "dataset": "sfew_features"}
    write_json(folder / "settings.json", {"folds": 3, **chosen, "words": words, "configs": [chosen]})
    for fold, right in enumerate((4, 6)):
        write_results(folder / f"fold-{fold}" / "results.json", {"val": 5, "test": right})
        write_history(folder / f"fold-{fold}" / "metrics.csv", layers=())
    return folder


@pytest.fixture
def repeat_dir(study_dir):
    """The folder of a repeat, of whose three seeds two are done, compared with another one."""
    folder = study_dir.with_name("repeat")
    study_dir.rename(folder)
    for seed, fold in ((3, 0), (7, 1)):
        (folder / f"fold-{fold}").rename(folder / f"seed-{seed}")
    settings = json.loads((folder / "settings.json").read_text())
    del settings["folds"]
    write_json(folder / "settings.json", {"seeds": [3, 7, 9], **settings})
    paired = {"before": 0.4, "after": 0.5, "mcnemar": {"lost": 3, "won": 10, "p": 0.09}}
    seeds = [{"seed": seed, "difference": 0.1, **paired} for seed in (3, 7)]
    of_all = {"name": "runs/other", "n": 70, "difference": 0.1, "of_seeds": None, "of_samples": [0.0, 0.2]}
    write_json(folder / "against.json", {**of_all, "seeds": seeds})
    return folder


SWEEP = """
method: random
metric: {name: val/acc_best, goal: maximize}
run_cap: 9
command: ["${env}", "${interpreter}", -m, fer, fit, --config, "${args_json_file}"]
parameters:
  model.lr: {distribution: log_uniform_values, min: 1.0e-4, max: 3.0e-2}
  model.optimizer: {values: [adamw, sgd]}
  trainer.max_epochs: {value: 6}
"""


@pytest.fixture
def sweep_dir(tmp_path):
    """The folder of a sweep, whose ten trials are better the larger the rate; the last one failed."""
    folder = tmp_path / "runs" / "sweep"
    write_json(folder / "study.json", {"key": "abc", "seed": 3, "method": "random"})
    (folder / "sweep.yaml").write_text(SWEEP)
    for number in range(1, 11):
        point = {"model.lr": 0.001 * number, "model.optimizer": "sgd", "trainer.max_epochs": 6}
        value = None if number == 10 else 0.05 * number
        trial = Trial(number, number, point, [0.5, 0.5], value=value, values=[0.1] * 6)
        trial.command = [
            *("/usr/bin/env", "/elsewhere/python", "-m", "fer", "fit"),
            *("--config", f"/elsewhere/{trial.name}/params.json"),
            *("--runs_dir", f"/elsewhere/{trial.name}", "--run_name", f"sweep-{trial.name}"),
        ]
        trial.state, trial.reason = ("failed", "no memory\nmore") if value is None else ("finished", "")
        write_old(folder, trial)
    return folder


@pytest.fixture
def settings_of():
    """What words of fit lead to: another learning rate, and a batch size of 128 with a config."""

    def settings(words, network, dataset):
        batch_size = 128 if "--config" in words else 64
        return {
            "seed_everything": 0,
            "network": network,
            "dataset": dataset,
            "model.lr": 0.001,
            "model.widths": [16, 32],
            "data.root": None,
            "data.batch_size": batch_size,
            "runs_dir": "runs",
            "run_name": None,
            "wandb.mode": "auto",
            "ckpt_path": None,
        }

    return settings
