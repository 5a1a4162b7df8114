"""``fer prune``: curves, networks of a given size, rounds, run folders; what it refuses."""

import json

import pytest
from command import call, done

from fer.neurons import REMOVAL_REASONS
from fer.pruning import PruneResults
from fer.tasks import load

WORDS = [
    *("--data.num_train", "140", "--data.num_val", "35", "--data.num_test", "35", "--data.batch_size", "20"),
    *("--trainer.max_epochs", "1", "--trainer.accelerator", "cpu", "--wandb.mode", "disabled"),
    *("--gradients.every_n_epochs", "0", "--distinctiveness.every_n_epochs", "0"),
    *("--stages.enabled", "false", "--test", "false"),
]


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
        "fewer than 10 a neuron" in line or "of the others" in line for line in called.err.splitlines()
    )
    return called.out


def test_a_curve_is_drawn_for_each_rule(checkpoint, tmp_path):
    out = prune("--curve", "true", checkpoint, "--run_name", "b")
    curve = json.loads((tmp_path / "runs" / "b" / "curve.json").read_text())
    assert curve["n"] == 35
    assert {"pairs, refit", "span, refit", "gedeon_harris", "narayan", "jain"} <= {*curve["rules"]}
    assert {len(column) for rule in curve["rules"].values() for column in rule.values()} == {10}
    assert (tmp_path / "runs" / "b" / "figures" / "prune-curve.png").stat().st_size > 10_000
    assert "accuracy on val (neurons left)" in out
    assert not list((tmp_path / "runs" / "b").rglob("pruned.ckpt"))


def test_a_share_of_the_multiply_adds_is_left(checkpoint, tmp_path):
    prune(checkpoint, "--target-macs", "0.7", "--prune.criterion", "span", "--run_name", "b")
    results = json.loads((tmp_path / "runs" / "b" / "prune.json").read_text())
    assert results["after"]["macs"] <= 0.7 * results["before"]["macs"]
    assert results["settings"]["similar_below"] > 0
    small = load(tmp_path / "runs" / "b" / "checkpoints" / "pruned.ckpt")
    assert small.widths is not None


def test_a_criterion_that_needs_labels_gets_them(checkpoint, tmp_path):
    prune(checkpoint, "--target_macs", "0.7", "--prune.criterion", "fisher", "--run_name", "b")
    results = PruneResults.read(tmp_path / "runs" / "b")
    assert results.after.macs <= 0.7 * results.before.macs
    assert sum(layer["criterion"] for layer in results.layers.values()) > 0


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
    done("test", "--ckpt_path", tmp_path / "runs" / "b" / "checkpoints" / "pruned.ckpt", "--run_name", "c")
    tested = json.loads((tmp_path / "runs" / "c" / "results.json").read_text())
    assert tested["splits"]["val"]["acc"] == results["after"]["acc"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["--target_macs", "1.5"], "above 0 and below 1", id="share"),
        pytest.param(["--target_macs", "0.0001"], "are the fewest", id="out of reach"),
        pytest.param(["--rounds", "-1"], "neither can be below 0", id="rounds"),
        pytest.param(["--tolerance", "3"], "a share of val", id="tolerance"),
        pytest.param(["--curves", "true"], "did you mean curve", id="unknown option"),
        pytest.param(
            ["--prune.num_removed", "{conv1: 1}", "--rounds", "2"], "set the size: leave out", id="two sizes"
        ),
    ],
)
def test_what_is_refused(words, message, checkpoint):
    called = call("prune", checkpoint, *words)
    assert called.status == 2
    assert message in called.err
    assert [run.name for run in checkpoint.parent.parent.parent.iterdir() if not run.is_symlink()] == ["a"]


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


def test_a_run_is_pruned_where_the_user_says(checkpoint, tmp_path):
    prune(checkpoint.parent.parent, "--runs_dir", "others", "--prune.num_removed", "{conv1: 2}")

    results = json.loads((tmp_path / "others" / "a-prune" / "prune.json").read_text())
    assert results["layers"]["conv1"]["after"] == 2
    assert results["settings"]["num_removed"] == {"conv1": 2}


def test_a_folder_without_a_checkpoint_is_refused(tmp_path):
    called = call("prune", tmp_path)

    assert called.status == 2
    assert "no checkpoint in checkpoints/" in called.err
