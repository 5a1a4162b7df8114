"""The command line: what a run leaves, how it is taken up again, and what is said when something is wrong."""

import csv
import json
import logging
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import pandas as pd
import pytest
import torch
import wandb
import yaml
from command import assert_warns_of_few_at_most, call, done, done_on_few
from forked import Forked, run_python

import fer.commands.experiment
import fer.commands.own_callbacks
import fer.commands.resume
from fer.__main__ import _set_up_logging, main
from fer.commands import find_commands
from fer.errors import InputError
from fer.labels import EXPRESSIONS
from fer.tasks import TASKS, load

DATA = ["--data.num_train", "70", "--data.num_val", "35", "--data.num_test", "35", "--data.batch_size", "16"]
CPU = ["--trainer.max_epochs", "1", "--trainer.accelerator", "cpu"]
TINY = [*DATA, *CPU]
NARROW = ["--model.widths", "[4, 6, 6, 8, 8]"]
UNWATCHED = [
    *("--gradients.every_n_epochs", "0", "--distinctiveness.every_n_epochs", "0", "--stages.enabled", "false")
]
ANN = ["--network", "ann", "--data.image_size", "8", "--wandb.mode", "disabled", *UNWATCHED]
# Resumed in another folder, Lightning says that a checkpoint's own list of the best is not taken over.


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def epochs(run: Path) -> list[int]:
    return sorted({int(row["epoch"]) for row in rows(run) if row["val/acc"]})


def results(run: Path) -> dict:
    return json.loads((run / "results.json").read_text())


class Trained(NamedTuple):
    run: Path
    out: str
    wandb_config: dict


@pytest.fixture(scope="module")
def trained(tmp_path_factory, sandboxed):
    """One run of the demo's network, with all that a run has."""
    folder = tmp_path_factory.mktemp("trained")
    seen = {}

    def finish(**_):
        seen.update(wandb.run.config)
        wandb.finish()

    with sandboxed(folder), patch.object(fer.commands.experiment, "finish", finish):
        out = done_on_few("fit", *TINY, *NARROW, "--run_name", "first", "--model.lr", "0.01")
    return Trained(folder / "runs" / "first", out, seen)


# What a run leaves


@pytest.mark.slow
def test_a_runs_folder(trained):
    files = {path.relative_to(trained.run).as_posix() for path in trained.run.rglob("*") if path.is_file()}
    figures = {f"confusion-{name}" for name in ("train", "val", "test")}
    figures |= {
        "curves",
        "predictions",
        "reliability-val",
        "reliability-test",
        "gradient-norms",
        "gradient-histograms",
    }
    of_neurons = {"angles", "angular-speed", "angle-matrix", "angle-histogram", "angle-pairs", "feature-maps"}
    of_neurons |= {"collapse"}
    expected = {
        *("artifacts.json", "config.yaml", "metrics.csv", "model-card.md", "results.json", "stages.json"),
        "angles/epoch-0000.npz",
        *("checkpoints/best.ckpt", "checkpoints/last.ckpt"),
        *(f"figures/{name}.png" for name in figures | of_neurons),
        *(f"figures/{name}.svg" for name in of_neurons),
    }
    assert {name for name in files if not name.startswith("wandb/")} == expected
    (offline,) = trained.run.glob("wandb/offline-run-*/*.wandb")
    assert offline.stat().st_size > 0


@pytest.mark.slow
def test_a_runs_config_has_every_setting(trained):
    config = yaml.safe_load((trained.run / "config.yaml").read_text())
    assert (config["network"], config["dataset"], config["seed_everything"]) == ("conv6", "synthetic", 0)
    assert config["model"]["lr"] == 0.01
    assert config["model"]["optimizer"] == "adamw"  # of the demo's config
    assert config["model"]["warmup"] == 0.3  # a default
    assert config["data"]["num_train"] == 70


def test_wandb_has_the_config_under_a_sweeps_names(trained):
    config = trained.wandb_config
    assert (config["model.lr"], config["network"], config["data.batch_size"]) == (0.01, "conv6", 16)
    assert not [key for key, value in config.items() if isinstance(value, dict) and value]
    assert "network" in config
    assert "lr" not in config


def test_a_runs_numbers_belong_together(trained):
    (val,) = (row for row in rows(trained.run) if row["val/acc"])
    (final,) = (row for row in rows(trained.run) if row["test/acc"])
    found = results(trained.run)
    assert found["network"] == "Conv6Net"
    assert found["best_val_acc"] == pytest.approx(float(val["val/acc_best"]))
    for name, prefix in (("train", "final/train"), ("val", "final/val"), ("test", "test")):
        assert found["splits"][name]["acc"] == pytest.approx(float(final[f"{prefix}/acc"]))
        assert found["splits"][name]["n"] == {"train": 70, "val": 35, "test": 35}[name]
    assert found["splits"]["val"]["acc"] == pytest.approx(found["best_val_acc"])
    assert load(trained.run / "checkpoints" / "best.ckpt").hparams["lr"] == 0.01


def test_a_run_says_what_it_does_and_where_it_is(trained):
    for words in ("conv6: ", "synthetic faces", "device       cpu", "val loss", "n = 35", "macro mean"):
        assert words in trained.out
    assert "checkpoint   runs/first/checkpoints/best.ckpt" in trained.out
    assert "wandb sync runs/first/wandb/offline-run-" in trained.out


# A run is taken up again


@pytest.mark.slow
def test_a_runs_config_repeats_it_to_the_last_digit(trained):
    done_on_few("fit", "--config", trained.run / "config.yaml", "--wandb.mode", "disabled")
    again = Path("runs") / "first"
    assert rows(again) == rows(trained.run)
    assert results(again) | {"fit_seconds": 0} == results(trained.run) | {"fit_seconds": 0}


@pytest.mark.parametrize("command", ["test", "validate", "predict"])
@pytest.mark.slow
def test_a_checkpoint_alone_says_which_network_and_data(command, trained):
    best = trained.run / "checkpoints" / "best.ckpt"
    out = done(command, "--ckpt_path", best, "--wandb.mode", "disabled", "--run_name", "again")
    run = Path("runs") / "again"
    assert "conv6" in out
    if command == "test":
        assert results(run)["splits"] == results(trained.run)["splits"]
    if command == "validate":
        (row,) = rows(run)
        assert float(row["val/acc"]) == pytest.approx(results(trained.run)["best_val_acc"])
    if command == "predict":
        assert "runs/again/predictions.csv" in out
        table = pd.read_csv(run / "predictions.csv")
        assert len(table) == 35
        accuracy = (table["label"] == table["predicted"]).mean()
        assert accuracy == pytest.approx(results(trained.run)["splits"]["test"]["acc"])
        assert (table[list(EXPRESSIONS)].sum(axis=1) - 1).abs().max() < 1e-5


@pytest.mark.parametrize("command", ["test", "validate", "predict"])
@pytest.mark.slow
def test_evaluating_a_checkpoint_leaves_its_run_as_it_was(command, trained, monkeypatch):
    monkeypatch.chdir(trained.run.parent.parent)
    names = ("config.yaml", "metrics.csv", "results.json")
    before = [(trained.run / name).read_text() for name in names]
    done(command, "--ckpt_path", "runs/first/checkpoints/best.ckpt", "--wandb.mode", "disabled")
    assert [(trained.run / name).read_text() for name in names] == before


@pytest.mark.slow
def test_a_fit_goes_on_from_a_checkpoint(trained):
    last = trained.run / "checkpoints" / "last.ckpt"
    words = ["--trainer.max_epochs", 3, "--model.schedule", "none", "--wandb.mode", "disabled"]
    done("fit", "--ckpt_path", last, *words, *UNWATCHED, "--run_name", "more")
    run = Path("runs") / "more"
    assert epochs(run) == [1, 2]
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] == 3  # the next one


@pytest.mark.slow
def test_runs_without_a_name_have_folders_of_their_own(monkeypatch):
    times = iter(["20260101-000000", "20260101-000001"])
    monkeypatch.setattr("fer.commands.resume.time.strftime", lambda form: next(times))
    for _ in range(2):
        done("fit", *ANN, *TINY, "--test", "false")
    assert sorted(path.name for path in Path("runs").iterdir() if not path.is_symlink()) == [
        "ann-synthetic-20260101-000000", "ann-synthetic-20260101-000001",
    ]  # fmt: skip


@pytest.mark.slow
def test_the_last_checkpoint_is_the_last_also_where_none_is_better():
    words = ["--trainer.max_epochs", "3", "--model.lr", "0", "--test", "false", "--run_name", "a"]
    done("fit", *ANN, *TINY, *words)
    saved = {
        name: torch.load(f"runs/a/checkpoints/{name}.ckpt", weights_only=True)["epoch"]
        for name in ("best", "last")
    }
    assert saved == {"best": 0, "last": 3}  # last: the next one


# Options


@pytest.mark.slow
def test_without_a_test_the_test_split_is_left_alone():
    done("fit", *ANN, *TINY, "--test", "false", "--run_name", "a")
    keys = rows(Path("runs/a"))[0].keys()
    assert "val/acc_best" in keys
    assert not [key for key in keys if key.startswith(("test", "final"))]
    assert not Path("runs/a/results.json").exists()
    assert not list(Path("runs/a/figures").glob("confusion*"))


@pytest.mark.slow
def test_a_dry_run_leaves_nothing_and_names_no_commands():
    words = ["--trainer.fast_dev_run", "true", "--run_name", "dry", "--wandb.mode", "offline"]
    called = call("fit", *ANN, *TINY, *words)
    assert called.status == 0, called.err
    assert "fast_dev_run: the code ran on a few batches" in called.err
    assert "next" not in called.out.splitlines()
    assert list(Path("runs").iterdir()) == []


@pytest.mark.slow
def test_early_stopping_ends_a_training_that_gets_no_better():
    words = [
        "--early_stopping",
        "2",
        "--trainer.max_epochs",
        "20",
        "--model.lr",
        "0",
        "--test",
        "false",
        "--run_name",
        "a",
    ]
    done("fit", *ANN, *TINY, *words)
    assert epochs(Path("runs/a")) == [0, 1, 2]


@pytest.mark.slow
def test_a_moving_average_trains():
    done("fit", *ANN, *TINY, "--ema", "true", "--trainer.max_epochs", 4, "--run_name", "a")
    found = results(Path("runs/a"))
    assert found["epochs"] == 4
    assert found["splits"]["val"]["acc"] == pytest.approx(found["best_val_acc"])


@pytest.mark.slow
def test_averaged_weights_are_what_is_kept(monkeypatch):
    def on_fit_end(self, trainer, pl_module):  # by then the average has taken the network's place
        averaged.update({name: value.clone() for name, value in pl_module.state_dict().items()})

    averaged = {}
    monkeypatch.setattr(fer.commands.own_callbacks.EvaluationCallback, "on_fit_end", on_fit_end)
    words = ["--ema", "true", "--trainer.max_epochs", 4, "--model.lr", "0.03", "--test", "false"]
    done("fit", *ANN, *TINY, *words, "--run_name", "a")
    kept = load("runs/a/checkpoints/last.ckpt").state_dict()
    assert all(torch.equal(kept[name], averaged[name]) for name in kept)


@pytest.mark.slow
def test_no_wandb_and_no_gradients_where_they_are_not_wanted():
    out = done("fit", *ANN, *TINY, "--test", "false", "--run_name", "a")
    assert "wandb" not in out
    assert not Path("runs/a/wandb").exists()
    assert not [key for key in rows(Path("runs/a"))[0] if key.startswith("gradients")]


def test_a_sweeps_json_has_flat_keys_and_nulls(tmp_path):
    path = tmp_path / "args.json"
    path.write_text(
        json.dumps(
            {"model.lr": 0.02, "model.hidden": 9, "early_stopping": None, "wandb.group": None, "test": False}
        )
    )
    config = yaml.safe_load(done_printing("fit", "--config", "ann", "--config", path))
    assert (config["model"]["lr"], config["model"]["hidden"]) == (0.02, 9)
    assert (config["early_stopping"], config["wandb"]["group"], config["test"]) == (None, None, False)
    assert (config["network"], config["data"]["batch_size"]) == ("ann", 32)  # of the first config


def done_printing(*words: object) -> str:
    """Return the config that a command would run with."""
    return done(*words, "--print_config")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param([], ("conv6", "synthetic", 3e-3), id="the demo"),
        pytest.param(["--config", "conv6"], ("conv6", "fer2013", 6e-3), id="a shipped config"),
        pytest.param(["--network", "ann"], ("ann", "synthetic", 1e-3), id="a network without a config"),
        pytest.param(["--config=conv6", "--model.lr=0.5"], ("conv6", "fer2013", 0.5), id="words with ="),
        pytest.param(
            ["--model.lr", "0.5", "-c", "conv6"], ("conv6", "fer2013", 0.5), id="a word before a config"
        ),
    ],
)
def test_which_network_data_and_settings_are_meant(words, expected):
    config = yaml.safe_load(done_printing("fit", *words))
    assert (config["network"], config["dataset"], config["model"]["lr"]) == expected


@pytest.mark.slow
@pytest.mark.parametrize("image_size", [8, 12])
def test_the_network_takes_its_input_from_the_data(image_size):
    done("fit", *ANN, *TINY, "--data.image_size", image_size, "--data.channels", 3, "--test", "false",
         "--run_name", "a")  # fmt: skip
    assert load("runs/a/checkpoints/best.ckpt").hparams["in_features"] == 3 * image_size**2


# Help


def test_help_lists_commands_and_configs():
    out = done("--help")
    for name in (*(each.name for each in find_commands()), "resnet", "--debug"):
        assert name in out


@pytest.mark.parametrize(
    ("words", "taught"),
    [
        pytest.param([], ["--model.lr", "--model.widths", "--data.num_train", "--early_stopping"], id="demo"),
        pytest.param(["--config", "resnet"], ["--model.depth {18,34,50}", "--data.protocol"], id="resnet"),
        pytest.param(["--network", "transfer"], ["--model.backbone", "--model.unfreeze"], id="transfer"),
    ],
)
def test_a_commands_help_teaches_the_settings_of_its_network(words, taught):
    out = done("fit", *words, "--help")
    for name in [
        *taught,
        "--trainer.max_epochs",
        "--gradients.every_n_epochs",
        "--wandb.mode",
        "--ema",
    ]:
        assert name in out
    from_docstring = "Weight decay; not applied to biases and normalisation layers."
    assert from_docstring in " ".join(out.split())
    assert "--model.image_size" not in out  # the data says it


# What is wrong is said in one message


@pytest.fixture
def files(tmp_path, trained):
    (tmp_path / "broken.yaml").write_text("model: {lr: [")
    (tmp_path / "list.yaml").write_text("- 1\n- 2\n")
    (tmp_path / "empty.yaml").write_text("")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x01")
    (tmp_path / "odd.yaml").write_text("model:\n  lrr: 1\n")
    cut = tmp_path / "run" / "checkpoints" / "cut.ckpt"
    cut.parent.mkdir(parents=True)
    whole = (trained.run / "checkpoints" / "best.ckpt").read_bytes()
    (tmp_path / "orphan.ckpt").write_bytes(whole)
    cut.write_bytes(whole[: len(whole) // 2])
    (tmp_path / "run" / "config.yaml").write_text((trained.run / "config.yaml").read_text())


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("words", "named"),
    [
        pytest.param("", ["command"], id="no command"),
        pytest.param("fitt", ["fitt", "validate"], id="unknown command"),
        pytest.param("fit --network resnett", ["resnett", "did you mean 'resnet'?"], id="unknown network"),
        pytest.param("fit --dataset sfwe", ["--dataset sfwe", "fer2013"], id="unknown data set"),
        pytest.param(
            "fit --config resnett", ["--config resnett", "did you mean 'resnet'?"], id="unknown config"
        ),
        pytest.param("fit --config broken.yaml", ["broken.yaml", "YAML"], id="no YAML"),
        pytest.param("fit --config list.yaml", ["list.yaml", "no settings"], id="a list"),
        pytest.param("fit --config empty.yaml", ["empty.yaml", "no settings"], id="empty config"),
        pytest.param("fit --config binary.yaml", ["binary.yaml", "cannot be read"], id="binary config"),
        pytest.param("fit --config odd.yaml", ["lrr"], id="unknown option in a config"),
        pytest.param("fit --model.lrr 1", ["model.lrr"], id="unknown option"),
        pytest.param("fit --model.lr high", ["model.lr", "high"], id="not a number"),
        pytest.param("fit --model.optimizer lion", ["model.optimizer", "lion", "adamw"], id="not a choice"),
        pytest.param("fit --ema perhaps", ["ema", "perhaps"], id="neither true nor false"),
        pytest.param("fit --model.lr -1", ["model.lr is -1", "0 or more"], id="negative learning rate"),
        pytest.param("fit --model.warmup 2", ["model.warmup is 2"], id="more than all"),
        pytest.param("fit --model.label_smoothing 2", ["model.label_smoothing is 2"], id="too smooth"),
        pytest.param("fit --model.mixup -1", ["model.mixup is -1"], id="negative mixup"),
        pytest.param("fit --model.cutmix -1", ["model.cutmix is -1"], id="negative CutMix"),
        pytest.param(
            "fit --model.optimizer sgd --model.nesterov true --model.momentum 0",
            ["model.nesterov needs momentum"],
            id="Nesterov without momentum",
        ),
        pytest.param("fit --data.augment_strength 20", ["data.augment_strength is 20"], id="too strong"),
        pytest.param("fit --data.batch_size 0", ["data.batch_size is 0"], id="out of range"),
        pytest.param(
            "fit --data.num_train 14", ["data.batch_size is 64", "14 samples"], id="too large a batch"
        ),
        pytest.param("fit --data.image_size 8", ["image_size=8", "32"], id="too small an image"),
        pytest.param(
            "fit --gradients.every_n_epochs -1", ["gradients.every_n_epochs is -1"], id="of a callback"
        ),
        pytest.param("fit --config conv6 --data.root absent", ["absent"], id="no data"),
        pytest.param("test", ["fer test", "--ckpt_path"], id="test without a checkpoint"),
        pytest.param(
            "predict --ckpt_path absent.ckpt", ["absent.ckpt", "no such checkpoint"], id="no checkpoint"
        ),
        pytest.param("test --ckpt_path orphan.ckpt", ["orphan.ckpt", "--config"], id="no config beside it"),
        pytest.param("test --ckpt_path run/checkpoints/cut.ckpt", ["cut.ckpt", "truncated"], id="cut off"),
        pytest.param("fit --config demo --ckpt_path orphan.ckpt", ["orphan.ckpt"], id="not to go on from"),
        pytest.param("download", ["root"], id="download to nowhere"),
    ],
)
def test_a_mistake_is_named_in_one_message(words, named):
    called = call(*words.split(), *(CPU if " " in words else []))
    assert called.status == 2
    for name in named:
        assert name in called.err
    assert called.err.count("error:") == 1
    assert "Traceback" not in called.err
    assert called.out == ""
    assert not Path("runs").exists()


def test_another_networks_checkpoint_is_not_gone_on_from(trained):
    last = trained.run / "checkpoints" / "last.ckpt"
    called = call("fit", *ANN, *TINY, "--config", "demo", "--ckpt_path", last)
    assert called.status == 2
    assert "holds another network (Conv6Task)" in called.err


@pytest.mark.slow
def test_a_run_does_not_write_over_another():
    done("fit", *ANN, *TINY, "--test", "false", "--run_name", "a")
    before = Path("runs/a/metrics.csv").read_text()
    called = call("fit", *ANN, *TINY, "--run_name", "a")
    assert called.status == 2
    assert "holds a run" in called.err
    assert "--run_name" in called.err
    assert Path("runs/a/metrics.csv").read_text() == before


@pytest.mark.slow
def test_runs_of_the_same_second_have_folders_of_their_own(monkeypatch):
    monkeypatch.setattr(fer.commands.resume.time, "strftime", lambda _: "20260101-000000")
    for _ in range(2):
        done("fit", *ANN, *TINY, "--test", "false")
    assert len([path for path in Path("runs").iterdir() if not path.is_symlink()]) == 2


def test_debug_shows_where_a_mistake_was_found():
    with pytest.raises(InputError, match="resnett"):
        main(["fit", "--network", "resnett", "--debug"])


@pytest.mark.slow
def test_every_network_has_settings_of_its_own():
    for name in TASKS:
        assert yaml.safe_load(done_printing("fit", "--network", name))["network"] == name


@pytest.mark.slow
def test_the_installed_command_is_quiet_but_for_its_news(tmp_path):
    """Lightning sets its loggers' levels when it is imported, which is after the command line began."""
    words = [*ANN, *TINY, "--test", "false", "--run_name", "a"]
    ended = subprocess.run(
        [sys.executable, "-m", "fer", "fit", *words], capture_output=True, text=True, cwd=tmp_path
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "val loss" in ended.stdout
    for words in ("Seed set", "GPU available"):
        assert words not in ended.stdout


@pytest.mark.slow
def test_two_processes_count_each_image_once(tmp_path):
    """Their sampler repeats images until each process has as many; n and the metrics know nothing of it."""
    sizes = {"train": 71, "val": 35, "test": 37}
    words = [word for name, size in sizes.items() for word in (f"--data.num_{name}", str(size))]
    words += ["--data.batch_size", "8", "--trainer.max_epochs", "1"]
    two = ["--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.strategy", "ddp"]
    ended = run_python("-m", "fer", "fit", *ANN, *words, *two, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert_warns_of_few_at_most(ended.stderr)
    run = (tmp_path / "runs" / "latest").resolve()
    assert (
        len(list((tmp_path / "runs").iterdir())) == 2
    )  # though each process named the folder by its own clock
    found = results(run)["splits"]
    assert {name: found[name]["n"] for name in found} == sizes
    assert len(rows(run)) > 0


@pytest.mark.slow
def test_two_processes_measure_the_angles_of_one(tmp_path):
    words = ["--network", "conv1", "--data.num_train", "71", "--data.num_val", "35", "--data.num_test", "35"]
    words += ["--data.batch_size", "8", "--model.lr", "0", "--trainer.max_epochs", "1", "--test", "false"]
    words += ["--trainer.accelerator", "cpu", "--distinctiveness.num_samples", "53"]
    histories = []
    for num in (1, 2):
        processes = ["--trainer.devices", str(num), "--trainer.strategy", "ddp", "--run_name", str(num)]
        ended = run_python("-m", "fer", "fit", *words, *processes, cwd=tmp_path)
        assert ended.returncode == 0, ended.stderr
        assert_warns_of_few_at_most(ended.stderr)
        last = torch.load(tmp_path / "runs" / str(num) / "checkpoints" / "last.ckpt", weights_only=True)
        histories.append(last["callbacks"]["DistinctivenessCallback"]["history"]["conv1"])
    alone, together = histories
    # Degrees, of single pairs; what a file keeps of them in float32 would be too coarse.
    for name in ("min", "q05", "median", "q95", "max", "mean"):
        assert together[name] == pytest.approx(alone[name], abs=1e-6)
    assert alone["median"] != alone["min"]


@pytest.mark.slow
def test_two_processes_end_after_the_same_batch_when_one_is_asked_to(tmp_path):
    words = [*TINY, "--network", "conv1", "--test", "false", "--trainer.max_epochs", "100000", *UNWATCHED]
    words += ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--run_name", "two"]
    run = tmp_path / "runs" / "two"
    process = Forked(["-m", "fer", "fit", *words], cwd=tmp_path)
    until = time.monotonic() + 240
    while not (run / "metrics.csv").is_file() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.2)
    process.terminate()
    _, err = process.communicate(timeout=240)
    assert process.returncode == 0
    assert err == "fer: SIGTERM: stopping after this batch; press Ctrl-C to stop at once\n"
    assert (run / "checkpoints" / "last.ckpt").is_file()
    assert 0 < len(rows(run)) < 100000


def test_what_is_said_again_is_shown_once(capsys):
    handler_of_now = logging.getLogger("fer").handlers
    try:
        _set_up_logging(debug=False)
        for num in (5, 5, 6):
            logging.getLogger("fer.data").warning("%d values are missing", num)
    finally:
        logging.getLogger("fer").handlers = handler_of_now
    assert capsys.readouterr().err == "fer: 5 values are missing\nfer: 6 values are missing\n"


# Commands on images


def test_images_are_cropped(tmp_path, make_images):
    source = make_images(tmp_path / "in put", num=2, class_names=("happy", "sad"))
    called = call("crop", source, tmp_path / "out", "--detector", "none", "--size", 10)
    assert called.status == 0
    assert (tmp_path / "out" / "happy" / "001.png").is_file()
    assert (tmp_path / "out" / "contact-sheet.png").is_file()
    assert len(pd.read_csv(tmp_path / "out" / "crops.csv")) == 4


@pytest.mark.drawn
def test_data_is_audited(tmp_path, make_images):
    root = make_images(tmp_path / "data", num=10)
    (root / "sad" / "again.png").write_bytes((root / "happy" / "000.png").read_bytes())
    words = ["audit", "--data", "folder", "--data.root", root, "--data.val_share", "0.2"]
    found = json.loads(done(*words, "--json"))
    assert found["protocol"] == "80/10/10, random"
    (group,) = found["identical"]
    assert {member["name"] for member in group} == {"happy/000.png", "sad/again.png"}
    table = done(*words, "--page", tmp_path / "page.png")
    assert "identical" in table
    assert (tmp_path / "page.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("words", "named"),
    [
        pytest.param(["crop", "gone", "out"], "gone does not exist", id="no images"),
        pytest.param(["crop", "gone"], "dst", id="nowhere to put them"),
        pytest.param(["crop", "a", "b", "--detector", "dlib"], "detector", id="detector"),
        pytest.param(["crop", "a", "b", "--sise", "3"], "did you mean --size", id="misspelt"),
        pytest.param(["audit", "--data", "fer2012"], "did you mean 'fer2013'?", id="data set"),
        pytest.param(["audit", "--data", "sfew"], "no folder was given for SFEW", id="no data"),
        pytest.param(
            ["audit", "--data", "folder", "--data.rot", "x"], "did you mean --data.root", id="setting"
        ),
    ],
)
def test_a_mistake_with_images_is_named(words, named):
    called = call(*words)
    assert called.status == 2
    assert named in called.err
    assert "Traceback" not in called.err


def test_a_network_of_images_is_not_given_features():
    called = call("fit", *TINY, "--network", "conv6", "--data.descriptors", "true", "--data.image_size", "48")
    assert called.status == 2
    assert "--network conv6 takes images; the data gives 10 features" in called.err
    assert not Path("runs").exists()


@pytest.mark.parametrize("command", ["crop", "audit"])
def test_a_command_on_images_teaches(command):
    called = call(command, "--help")
    assert called.status == 0
    assert {"crop": "--fallback", "audit": "--page"}[command] in called.out


# A start from other weights


@pytest.mark.slow
def test_training_starts_from_the_weights_of_a_checkpoint(trained, tmp_path):
    start = trained.run / "checkpoints" / "best.ckpt"
    words = ["fit", *TINY, "--wandb.mode", "disabled", *UNWATCHED, "--test", "false"]
    done(*words, *NARROW, "--start_from", start, "--model.lr", "1e-12", "--run_name", "second")
    before, after = (
        load(run / "checkpoints" / "best.ckpt").network.state_dict()
        for run in (trained.run, tmp_path / "runs/second")
    )
    for name, parameter in before.items():
        if name.endswith("weight"):
            torch.testing.assert_close(after[name], parameter, atol=1e-6, rtol=0)
    second = tmp_path / "runs" / "second" / "checkpoints" / "best.ckpt"
    config = second.parent.parent / "config.yaml"
    config.write_text(config.read_text().replace(str(start), "gone.ckpt"))
    done("validate", "--ckpt_path", second)  # what it started from is not needed any more
    called = call(*words, "--network", "ann", "--start_from", start)
    assert called.status == 2
    assert f"--start_from {start} holds another network" in called.err
