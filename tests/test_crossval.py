"""The command ``fer crossval``: a run for every fold, their summary, and how it is taken up again."""

import json
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

import pytest
import wandb
from command import call, done

import fer.commands.experiment
import fer.commands.members

WORDS = ["--network", "ann", "--dataset", "folder", "--folds", "3", "--run_name", "study"]
SETTINGS = [
    *("--data.image_size", "4", "--data.batch_size", "8", "--data.val_share", "0.3"),
    *("--trainer.max_epochs", "1", "--trainer.accelerator", "cpu", "--gradients.every_n_epochs", "0"),
    *("--distinctiveness.every_n_epochs", "0", "--stages.enabled", "false"),
]


@pytest.fixture
def root(tmp_path, make_images):
    return ["--data.root", make_images(tmp_path / "images", num=10)]


@pytest.mark.drawn
@pytest.mark.slow
def test_every_fold_is_a_run_and_then_there_is_a_summary(root, tmp_path, monkeypatch):
    # As a sweep's agent has it: the folds are runs of their own, the summary is the agent's run.
    monkeypatch.setenv("WANDB_RUN_ID", "trial0")
    runs = []

    def finish(**_):
        run = wandb.run
        if run is not None:
            runs.append((run.id, run.name, run.group, run.config.get("data.fold"), dict(run.summary)))
            wandb.finish()

    modules = fer.commands.members, fer.commands.experiment  # of the summary, and of the folds
    with ExitStack() as stack:
        for module in modules:
            stack.enter_context(patch.object(module, "finish", finish))
        out = done("crossval", *WORDS, *SETTINGS, *root)
    study = tmp_path / "runs" / "study"
    summary = json.loads((study / "crossval.json").read_text())
    folds = [json.loads((study / f"fold-{fold}" / "results.json").read_text()) for fold in range(3)]
    tested = [fold["splits"]["test"] for fold in folds]
    assert sum(fold["n"] for fold in tested) == summary["test/n"] * 3 == 70
    assert summary["test/acc"] == pytest.approx(sum(fold["acc"] for fold in tested) / 3)
    assert summary["test/pooled_acc"] == pytest.approx(sum(f["acc"] * f["n"] for f in tested) / 70)
    for name in ("folds", "confusion-pooled"):
        assert (study / "figures" / f"{name}.png").stat().st_size > 10_000
    assert f"mean  {100 * summary['val/acc']:10.2f} %" in out

    *of_folds, of_study = runs
    assert [(name, group, fold) for _, name, group, fold, _ in of_folds] == [
        (f"study-fold-{fold}", "study", fold) for fold in range(3)
    ]
    assert of_study[:3] == ("trial0", "study", "study")
    assert of_study[4]["val/acc"] == pytest.approx(summary["val/acc"])
    assert len({run[0] for run in runs}) == 4


@pytest.mark.slow
def test_folds_that_are_done_are_not_run_again(root, tmp_path, monkeypatch):
    words = ["crossval", *WORDS, *SETTINGS, *root, "--wandb.mode", "disabled"]
    done(*words)
    study = tmp_path / "runs" / "study"
    kept = (study / "fold-0" / "results.json").stat().st_mtime_ns
    (study / "fold-2" / "results.json").unlink()
    before = json.loads((study / "crossval.json").read_text())
    done(*words)
    assert (study / "fold-0" / "results.json").stat().st_mtime_ns == kept
    assert json.loads((study / "crossval.json").read_text()) == before
    monkeypatch.setattr(fer.commands.members, "wandb_logger", lambda *_: pytest.fail("it is logged twice"))
    assert "mean" in done(*words)


def test_folds_of_another_network_or_other_data_are_not_gone_on_with(root, tmp_path, monkeypatch):
    def fold(command, words, chosen, resumed):
        place = dict(word.split("=", 1) for word in words if word.startswith("--run"))
        path = Path(place["--runs_dir"]) / place["--run_name"] / "results.json"
        path.parent.mkdir()
        path.write_text("{}")

    monkeypatch.setattr(fer.commands.members, "run_experiment", fold)
    monkeypatch.setattr(fer.commands.members, "_conclude", lambda *_: None)
    done("crossval", *WORDS, *root)
    done("crossval", *WORDS, *root)
    for words in (["--network", "conv2"], ["--dataset", "sfew_features"]):
        called = call("crossval", *WORDS, *root, *words)
        assert called.status == 2
        assert f"with another value of {words[0][2:]}" in called.err


@pytest.mark.parametrize(
    ("words", "named"),
    [
        pytest.param(["--dataset", "synthetic"], "sfew_features can", id="data that comes with its splits"),
        pytest.param(["--data.fold", "2"], "--data.fold cannot be given", id="a fold's own setting"),
        pytest.param(["--ckpt_path=x.ckpt"], "--ckpt_path=x.ckpt cannot be given", id="a checkpoint"),
        pytest.param(["--folds", "1"], "data.protocol is '1-fold'", id="one fold"),
        pytest.param(["--folds", "many"], "invalid int value: 'many'", id="no number"),
        pytest.param(["--model.hiden", "3"], "did you mean --model.hidden", id="a misspelt setting"),
    ],
)
def test_a_mistake_is_named(words, named, root):
    called = call("crossval", *WORDS, *SETTINGS, *root, *words)
    assert called.status == 2
    assert named in called.err


def test_help_teaches():
    called = call("crossval", "--help")
    assert called.status == 0
    assert "--folds" in called.out
    assert "with the same --run_name to resume it" in " ".join(called.out.split())
