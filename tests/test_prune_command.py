"""``fer prune``: curves, networks of a given size, rounds, run folders; what it refuses."""

import json
import signal
from contextlib import contextmanager

import pytest
import torch
from command import call, done
from forked import run_python

from fer.checkpoints import read_any_checkpoint, write_checkpoint
from fer.commands.prune import PruneCLI
from fer.errors import InputError
from fer.neurons import REMOVAL_REASONS
from fer.pruning import PruneResults
from fer.pruning.kept import KeptRounds, find_cut_off
from fer.pruning.size import count_parameters
from fer.tasks import load

WORDS = [
    *("--data.num_train", "140", "--data.num_val", "35", "--data.num_test", "35", "--data.batch_size", "20"),
    *("--trainer.max_epochs", "1", "--trainer.accelerator", "cpu", "--wandb.mode", "disabled"),
    *("--gradients.every_n_epochs", "0", "--distinctiveness.every_n_epochs", "0"),
    *("--stages.enabled", "false", "--test", "false"),
]


KILLED = """
import os, signal, sys
from fer.__main__ import main
from fer.commands.prune import PruneCLI

fine_tune = PruneCLI._fine_tune

def tune_and_be_killed(cli, *args):
    fine_tune(cli, *args)
    os.kill(os.getpid(), signal.SIGKILL)

PruneCLI._fine_tune = tune_and_be_killed
main(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, sandboxed):
    """Of a network that has hardly learnt anything."""
    folder = tmp_path_factory.mktemp("trained")
    with sandboxed(folder):
        done("fit", *WORDS, "--run_name", "a", "--model.widths", "[4, 6, 6, 8, 8]")
    return folder / "runs" / "a" / "checkpoints" / "best.ckpt"


def prune(*words):
    """Prune, and return what was said; too few samples are warned of, and nothing else."""
    called = call("prune", *words)
    assert called.status == 0, called.err
    assert all(
        "fewer than 10 per neuron" in line or "of the others" in line for line in called.err.splitlines()
    )
    return called.out


@pytest.mark.slow
def test_a_weight_that_is_not_a_number_is_named(checkpoint, tmp_path):
    content = read_any_checkpoint(checkpoint)
    name = next(name for name, value in content["state_dict"].items() if value.ndim == 4)
    content["state_dict"][name][0, 0, 0, 0] = float("nan")
    broken = checkpoint.with_name("broken.ckpt")
    write_checkpoint(broken, content)
    called = call("prune", broken, "--run_name", "b")
    assert called.status == 2
    num = content["state_dict"][name].numel()
    assert f"broken.ckpt: 1 of {num} values of {name} are NaN or infinite; give an earlier" in called.err
    assert not (tmp_path / "runs" / "b").exists()


@pytest.mark.drawn
@pytest.mark.slow
def test_a_curve_is_drawn_for_each_rule(checkpoint, tmp_path):
    out = prune("--curve", "true", checkpoint, "--run_name", "b")
    curve = json.loads((tmp_path / "runs" / "b" / "curve.json").read_text())
    assert curve["n"] == 35
    assert {"pairs, refit", "span, refit", "gedeon_harris", "narayan", "jain"} <= {*curve["rules"]}
    assert {len(column) for rule in curve["rules"].values() for column in rule.values()} == {10}
    assert (tmp_path / "runs" / "b" / "figures" / "prune-curve.png").stat().st_size > 10_000
    assert "accuracy on val (neurons left)" in out
    assert not list((tmp_path / "runs" / "b").rglob("pruned.ckpt"))


@pytest.mark.slow
def test_a_share_of_the_multiply_adds_is_left(checkpoint, tmp_path):
    prune(checkpoint, "--target-macs", "0.7", "--prune.criterion", "span", "--run_name", "b")
    results = json.loads((tmp_path / "runs" / "b" / "prune.json").read_text())
    assert results["after"]["macs"] <= 0.7 * results["before"]["macs"]
    assert results["settings"]["similar_below"] > 0
    small = load(tmp_path / "runs" / "b" / "checkpoints" / "pruned.ckpt")
    assert small.widths is not None


@pytest.mark.parametrize("kind", ["params", "latency"])
@pytest.mark.slow
def test_a_share_of_another_size_is_left(kind, checkpoint, tmp_path, monkeypatch):
    """A nanosecond a weight, so that the load of the machine does not count."""

    def time_in_turn(networks, examples, batch_size):
        return {name: [1e-9 * count_parameters(network)] * 5 for name, network in networks.items()}

    monkeypatch.setattr("fer.pruning.limits.time_in_turn", time_in_turn)
    out = prune(checkpoint, f"--target_{kind}", "0.7", "--prune.criterion", "span", "--run_name", "b")
    results = PruneResults.read(tmp_path / "runs" / "b")
    target = results.target
    assert target.kind == kind
    assert target.most == 0.7 * target.before.value
    assert target.after.value <= target.most
    assert target.after.num_repeats == (5 if kind == "latency" else 1)
    assert f"target               {target}" in out
    assert results.after.parameters <= 0.7 * results.before.parameters


@pytest.mark.slow
def test_a_criterion_that_needs_labels_gets_them(checkpoint, tmp_path):
    prune(checkpoint, "--target_macs", "0.7", "--prune.criterion", "fisher", "--run_name", "b")
    results = PruneResults.read(tmp_path / "runs" / "b")
    assert results.after.macs <= 0.7 * results.before.macs
    assert sum(layer["criterion"] for layer in results.layers.values()) > 0


@pytest.mark.slow
def test_rounds_are_said_kept_and_tested(checkpoint, tmp_path):
    out = prune(
        *(checkpoint, "--rounds", "2", "--tolerance", "1", "--trainer.precision", "bf16-true"),
        *("--run_name", "b"),
        *("--prune.similar_below", "60", "--prune.complementary_above", "120"),
    )
    assert "fine-tuned" in out
    results = json.loads((tmp_path / "runs" / "b" / "prune.json").read_text())
    assert [found["threshold"] for found in results["rounds"]] == [30, 60]
    assert results["after"]["macs"] == results["rounds"][-1]["macs"]
    last = results["rounds"][-1]["layers"]
    assert {name: layer["after"] for name, layer in last.items()} == {
        name: results["layers"][name]["after"] for name in last
    }
    gone = sum(layer["before"] - layer["after"] for layer in results["layers"].values())
    assert gone == sum(layer[reason] for layer in results["layers"].values() for reason in REMOVAL_REASONS)
    # A config that a pruned network's other commands take.
    path = tmp_path / "runs" / "b" / "checkpoints" / "pruned.ckpt"
    done("test", "--ckpt_path", path, "--run_name", "c", "--trainer.precision", "32-true")
    tested = json.loads((tmp_path / "runs" / "c" / "results.json").read_text())
    assert tested["splits"]["val"]["acc"] == results["after"]["acc"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["--target_macs", "1.5"], "above 0 and below 1", id="share"),
        pytest.param(["--target_macs", "0.0001"], "the smallest network has", id="out of reach"),
        pytest.param(["--target_latency", "0"], "above 0 and below 1", id="no time"),
        pytest.param(["--target_params", "0.001"], "parameters cannot be reached", id="too few parameters"),
        pytest.param(
            ["--target_macs", "0.5", "--target_params", "0.5"], "--target_params exclude", id="two targets"
        ),
        pytest.param(["--rounds", "-1"], "neither can be below 0", id="rounds"),
        pytest.param(["--tolerance", "3"], "a drop in validation accuracy", id="tolerance"),
        pytest.param(["--tune_epochs", "-1"], "neither can be below 0", id="epochs"),
        pytest.param(
            ["--tune_epochs", "1", "--trainer.limit_train_batches", "0"],
            "would train on nothing",
            id="batches",
        ),
        pytest.param(["--distil", "true"], "set --tune_epochs to 1 or more", id="nothing to distil"),
        pytest.param(["--tune_epochs", "1", "--tune_lr", "0"], "must be above 0", id="rate"),
        pytest.param(["--curve", "true", "--target_macs", "0.5"], "leave out --target_", id="curve"),
        pytest.param(["--curve", "true", "--tune_epochs", "1"], "trains nothing", id="trained curve"),
        pytest.param(["--curves", "true"], "did you mean --curve", id="unknown option"),
        pytest.param(
            ["--prune.num_removed", "{conv1: 1}", "--rounds", "2"],
            "sets the size of the pruned",
            id="two sizes",
        ),
    ],
)
@pytest.mark.slow
def test_what_is_refused(words, message, checkpoint):
    called = call("prune", checkpoint, *words)
    assert called.status == 2
    assert message in called.err
    assert [run.name for run in checkpoint.parent.parent.parent.iterdir() if not run.is_symlink()] == ["a"]


@pytest.mark.slow
def test_a_run_is_pruned_beside_itself(checkpoint):
    run = checkpoint.parent.parent

    out = prune(run)
    prune(run, "--prune.layers", "[conv5]")

    first, second = (PruneResults.read(run.parent / name) for name in ("a-prune", "a-prune-2"))
    assert first.settings["layers"] is None
    assert second.settings["layers"] == ["conv5"]
    pruned = run.parent / "a-prune" / "checkpoints" / "pruned.ckpt"
    assert f"pruned       {pruned}" in out
    done("test", "--ckpt_path", pruned, "--run_name", "c")


@pytest.mark.slow
def test_a_run_is_pruned_where_the_user_says(checkpoint, tmp_path):
    prune(checkpoint.parent.parent, "--runs_dir", "others", "--prune.num_removed", "{conv1: 2}")

    results = json.loads((tmp_path / "others" / "a-prune" / "prune.json").read_text())
    assert results["layers"]["conv1"]["after"] == 2
    assert results["settings"]["num_removed"] == {"conv1": 2}


def test_a_folder_without_a_checkpoint_is_refused(tmp_path):
    called = call("prune", tmp_path)

    assert called.status == 2
    assert "no checkpoint in checkpoints/; give the folder of a run" in called.err


def test_a_run_that_has_just_begun_has_no_checkpoint_yet(tmp_path):
    (tmp_path / "config.yaml").write_text("network: conv6\ndataset: synthetic\n")

    assert "its training has finished no epoch yet" in call("prune", tmp_path).err


@contextmanager
def configured(run, setting):
    """Yield a run whose config has a setting in place of null."""
    config = run / "config.yaml"
    before = config.read_text()
    config.write_text(before.replace(f"{setting.partition(':')[0]}: null", setting))
    try:
        yield run
    finally:
        config.write_text(before)


@pytest.mark.slow
def test_a_target_replaces_the_size_in_the_config_of_the_run(checkpoint, tmp_path):
    with configured(checkpoint.parent.parent, "share_removed: 0.3") as run:
        said = prune(run, "--target_macs", "0.6", "--runs_dir", tmp_path, "--run_name", "smaller")
    assert "left out     prune.share_removed 0.3 of the config" in said
    results = json.loads((tmp_path / "smaller" / "prune.json").read_text())
    assert results["after"]["macs"] <= 0.6 * results["before"]["macs"]


@pytest.mark.slow
def test_a_target_of_the_training_is_that_of_the_command(checkpoint, tmp_path):
    with configured(checkpoint.parent.parent, "target_macs: 0.6") as run:
        prune(run, "--runs_dir", tmp_path, "--run_name", "same")
        said = prune(run, "--target_params", "0.7", "--runs_dir", tmp_path, "--run_name", "other")
    same, other = (json.loads((tmp_path / name / "prune.json").read_text()) for name in ("same", "other"))
    assert same["after"]["macs"] <= 0.6 * same["before"]["macs"]
    assert "left out     prune.target_macs 0.6 of the config" in said
    assert other["target"]["kind"] == "params"


@pytest.mark.slow
def test_a_target_and_a_size_on_the_command_line_exclude_each_other(checkpoint):
    called = call("prune", checkpoint, "--target_macs", "0.6", "--prune.share_removed", "0.3")

    assert "--prune.share_removed sets the size of the pruned network: leave out" in called.err


ROUNDS = [
    *("--rounds", "3", "--tolerance", "1", "--prune.similar_below", "60"),
    *("--prune.complementary_above", "120", "--run_name"),
]


def without_times(path):
    """Return the results of a pruning without what is timed."""
    results = json.loads((path / "prune.json").read_text())
    for when in ("before", "after"):
        del results[when]["milliseconds"]
        results[when].pop("milliseconds_quartiles", None)
    return results


@pytest.fixture(scope="module")
def whole(checkpoint, tmp_path_factory, sandboxed):
    """Pruned in rounds that nothing cut off."""
    folder = tmp_path_factory.mktemp("whole")
    with sandboxed(folder):
        prune(checkpoint, *ROUNDS, "whole")
    return folder / "runs" / "whole"


@pytest.mark.parametrize("cut_off", ["after a round", "within a round", "before the results"])
@pytest.mark.slow
def test_rounds_that_were_cut_off_are_completed(cut_off, checkpoint, whole, tmp_path, monkeypatch):
    trained = []
    fine_tune = PruneCLI._fine_tune

    def count(cli, *args):
        trained.append(len(cli.rounds) + 1)
        if cut_off == "within a round" and len(trained) == 2:
            raise KeyboardInterrupt
        return fine_tune(cli, *args)

    def write(kept, number, each, write=KeptRounds.write):
        write(kept, number, each)
        if cut_off == "after a round" and number == 2:
            raise KeyboardInterrupt

    def cut(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(PruneCLI, "_fine_tune", count)
    with monkeypatch.context() as patch:
        patch.setattr(KeptRounds, "write", write)
        if cut_off == "before the results":
            patch.setattr("fer.commands.prune.compare", cut)
        with pytest.raises(KeyboardInterrupt):
            call("prune", checkpoint, *ROUNDS, "cut")
    again = len(trained) > 1 and cut_off == "within a round"
    refused = call("prune", checkpoint, *ROUNDS, "cut", "--tolerance", "0.5")
    assert refused.status == 2
    assert "--tolerance 0.5: " in refused.err
    assert "an interrupted pruning with 1.0; give the same value" in refused.err
    out = prune(checkpoint, *ROUNDS, "cut")
    assert "finished before" in out
    assert trained == [1, 2, *([2] if again else []), 3]
    cut = tmp_path / "runs" / "cut"
    assert without_times(whole) == without_times(cut)
    states = [torch.load(each / "checkpoints" / "pruned.ckpt")["state_dict"] for each in (whole, cut)]
    assert all(value.equal(states[1][name]) for name, value in states[0].items())
    assert states[0].keys() == states[1].keys()
    assert {path.relative_to(whole) for path in whole.rglob("*")} == {
        path.relative_to(cut) for path in cut.rglob("*")
    }
    assert "runs/cut holds a run: choose another" in call("prune", checkpoint, *ROUNDS, "cut").err


def test_a_name_is_found_again_and_a_process_at_work_is_left_alone(tmp_path):
    for name in ("a", "a-2", "a-3"):
        (tmp_path / name).mkdir()
    for name in ("a-2", "a-3"):
        KeptRounds.of(tmp_path / name).begin({})
    folder = tmp_path / "a"
    assert find_cut_off(folder, is_named=True) is None
    assert find_cut_off(folder, is_named=False) == KeptRounds.of(tmp_path / "a-2")
    with KeptRounds.of(tmp_path / "a-2").alone():
        assert find_cut_off(folder, is_named=False) == KeptRounds.of(tmp_path / "a-3")
        with pytest.raises(InputError, match="another process is pruning into it"):
            find_cut_off(tmp_path / "a-2", is_named=True)


@pytest.mark.slow
def test_fine_tuning_that_was_killed_begins_again(checkpoint, tmp_path):
    words = [
        *(checkpoint, "--target_macs", "0.5", "--prune.criterion", "span", "--tune_epochs", "2"),
        *("--distil", "true", "--tune_lr", "0.01", "--run_name"),
    ]
    out = prune(*words, "whole")
    killed = run_python("-c", KILLED, "prune", *words, "cut")
    assert killed.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL), killed.stderr
    refused = call("prune", *words, "cut", "--tune_lr", "0.1")
    assert "an interrupted pruning with 0.01; give the same value to complete" in refused.err
    prune(*words, "cut")

    whole, again = tmp_path / "runs" / "whole", tmp_path / "runs" / "cut"
    assert without_times(whole) == without_times(again)
    assert not (again / "rounds").exists()
    results = PruneResults.read(whole)
    assert [len(results.tuning.epochs), results.tuning.is_distilled, results.rounds] == [3, True, ()]
    lines = [line for line in out.splitlines() if line.startswith(("before fine-tuning", "fine-tuning"))]
    for line, found in zip(lines, results.tuning.epochs, strict=True):
        assert f"val loss {found['val_loss']:.4f} acc {100 * found['val_acc']:.2f} %" in line
    assert results.after.acc == results.tuning.epochs[results.tuning.best]["val_acc"]
    done("test", "--ckpt_path", whole / "checkpoints" / "pruned.ckpt", "--run_name", "c")
    tested = json.loads((tmp_path / "runs" / "c" / "results.json").read_text())
    assert tested["splits"]["val"]["acc"] == results.after.acc
