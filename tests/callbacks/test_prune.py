"""Pruning after training: what it costs is said, and what is left is a checkpoint like any other."""

import json

import pytest
import torch
from command import call, done
from torch import nn

from fer.callbacks import PruneCallback
from fer.callbacks.prune import MIN_RUNS, NUM_WARM_UPS, evaluate, scalars, sizes_of, table
from fer.errors import InputError
from fer.neurons import PrunePlan, Removal
from fer.neurons.plan import count_removed
from fer.tasks import Conv6Task, load

CPU = torch.device("cpu")
WORDS = [
    *("--data.num_train", "70", "--data.num_val", "35", "--data.num_test", "35", "--data.batch_size", "16"),
    *("--trainer.max_epochs", "1", "--trainer.accelerator", "cpu", "--wandb.mode", "disabled"),
    *(
        "--gradients.every_n_epochs",
        "0",
        "--distinctiveness.every_n_epochs",
        "0",
        "--stages.enabled",
        "false",
    ),
]


@pytest.fixture(scope="module")
def pruned_run(tmp_path_factory, sandboxed):
    """A training that ends with pruning."""
    folder = tmp_path_factory.mktemp("pruned")
    wide = ["--prune.enabled", "true", "--prune.similar_below", "60", "--prune.complementary_above", "120"]
    with sandboxed(folder):
        trained = call("fit", *WORDS, "--run_name", "a", *wide)
    assert trained.status == 0
    assert "fewer than 10 a neuron" in trained.err  # of so few samples, and of nothing else
    assert all("fewer than 10 a neuron" in line for line in trained.err.splitlines())
    return folder / "runs" / "a", trained.out


def test_a_training_can_end_with_pruning(pruned_run):
    run, out = pruned_run
    results = json.loads((run / "prune.json").read_text())
    assert results["n"] == 35
    assert results["settings"]["similar_below"] == 60
    small = load(run / "checkpoints" / "pruned.ckpt")
    parameters = sum(parameter.numel() for parameter in small.network.parameters())
    assert results["after"]["parameters"] == parameters < results["before"]["parameters"]
    assert results["after"]["macs"] < results["before"]["macs"]
    left = {name: layer["after"] for name, layer in results["layers"].items()}
    assert left == {f"conv{k}": small.network.get_submodule(f"conv{k}").out_channels for k in range(1, 6)}
    assert "McNemar" in out
    assert f"pruned       {run.relative_to(run.parent.parent)}/checkpoints/pruned.ckpt" in out


def test_a_pruned_checkpoint_is_tested_and_trained_on(pruned_run, tmp_path):
    run, _ = pruned_run
    pruned = run / "checkpoints" / "pruned.ckpt"
    results = json.loads((run / "prune.json").read_text())
    done("test", "--ckpt_path", pruned, "--run_name", "tested")
    tested = json.loads((tmp_path / "runs" / "tested" / "results.json").read_text())
    assert tested["splits"]["val"]["acc"] == results["after"]["acc"]
    done("fit", *WORDS, "--start_from", pruned, "--run_name", "on", "--model.lr", "0", "--test", "false")
    last = load(tmp_path / "runs" / "on" / "checkpoints" / "last.ckpt")
    before = load(pruned)
    assert last.widths == before.widths is not None
    torch.testing.assert_close(last.network.conv3.weight, before.network.conv3.weight)


def test_a_checkpoint_is_pruned_by_a_command(pruned_run, tmp_path):
    run, _ = pruned_run
    words = ["--prune.layers", "[conv5]", "--prune.similar_below", "60", "--run_name", "b"]
    called = call("prune", run / "checkpoints" / "best.ckpt", *words)
    assert called.status == 0, called.err
    results = json.loads((tmp_path / "runs" / "b" / "prune.json").read_text())
    assert list(results["layers"]) == ["conv5"]
    assert "conv5" in called.out
    assert (tmp_path / "runs" / "b" / "figures" / "prune.png").stat().st_size > 10_000
    done("test", "--ckpt_path", tmp_path / "runs" / "b" / "checkpoints" / "pruned.ckpt", "--run_name", "c")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["gone.ckpt"], "gone.ckpt: there is no such checkpoint", id="no checkpoint"),
        pytest.param([], "needs --ckpt_path", id="none given"),
        pytest.param(["--prune.similar_below", "170"], "in this order", id="thresholds crossed"),
        pytest.param(["--prune.layers", "[conv9]"], "has no layer 'conv9' with neurons", id="unknown layer"),
        pytest.param(["--prune.layers", "[conv6]"], "conv6", id="output layer"),
        pytest.param(["--prune.layers", "[]"], "layers is empty", id="no layers"),
    ],
)
def test_what_is_refused(words, message, pruned_run, tmp_path):
    run, _ = pruned_run
    best = [] if words in (["gone.ckpt"], []) else [run / "checkpoints" / "best.ckpt"]
    called = call("prune", *best, *words)
    assert called.status == 2
    assert message in called.err
    assert not (tmp_path / "runs").exists()


def test_training_does_not_go_on_from_a_pruned_checkpoint(pruned_run):
    run, _ = pruned_run
    called = call("fit", *WORDS, "--ckpt_path", run / "checkpoints" / "pruned.ckpt")
    assert called.status == 2
    assert "--start_from begins a new one" in called.err


def test_a_network_that_was_compiled_is_so_again_when_it_is_smaller():
    task = Conv6Task(widths=(2, 2, 2, 2, 2), image_size=32, compile=True)
    task.shrink({"conv1.out_channels": 1, "bn1.num_features": 1, "conv2.in_channels": 1})
    assert task.network._compiled_call_impl is not None


def test_judging_by_hand():
    network = nn.Linear(7, 7, bias=False)
    nn.init.eye_(network.weight)
    inputs = 100 * torch.eye(7)[[0, 1, 2, 3]]
    evaluated = evaluate(
        network, [(inputs[:2], torch.tensor([0, 1])), (inputs[2:], torch.tensor([2, 6]))], CPU
    )
    assert evaluated.right.tolist() == [True, True, True, False]
    assert evaluated.report.accuracy == 0.75
    assert evaluated.loss == pytest.approx(25.0)
    assert network.training


def test_size_by_hand():
    network = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Flatten(), nn.Linear(2 * 16, 7))
    size = sizes_of({"whole": network}, torch.randn(3, 1, 4, 4))["whole"]
    assert size.parameters == 2 * 9 + 2 + 7 * 32 + 7
    assert size.macs == 16 * 2 * 9 + 7 * 32
    assert 4 * size.parameters < size.bytes < 4 * size.parameters + 4096
    assert set(size.milliseconds) == {1, 64}
    assert all(value > 0 for value in size.milliseconds.values())


def test_networks_are_timed_in_turn_each_as_often_and_left_as_they_are():
    calls = []
    networks = {name: nn.Sequential(nn.Conv2d(1, 2, 3), nn.Dropout()) for name in "ab"}
    for name, network in networks.items():
        network.register_forward_hook(lambda *_, name=name: calls.append(name))
    sizes_of(networks, torch.randn(1, 1, 4, 4))
    timed = calls[2 * NUM_WARM_UPS :][: 2 * MIN_RUNS]
    assert timed == ["a", "b"] * MIN_RUNS
    assert calls.count("a") == calls.count("b")
    assert all(network.training for network in networks.values())


def test_nothing_is_pruned_by_default(tiny_data, tiny_trainer, tmp_path):
    task = Conv6Task(widths=(2, 2, 2, 2, 2), image_size=32)
    tiny_trainer(callbacks=[PruneCallback()], enable_checkpointing=True).fit(
        task, datamodule=tiny_data(size=32)
    )
    assert not list(tmp_path.rglob("pruned.ckpt"))


def test_settings_are_checked():
    with pytest.raises(InputError, match="one sample has no angles"):
        PruneCallback(num_samples=1)


def test_the_table_names_causes_and_changes():
    plan = PrunePlan(4, (Removal(0, "dead"), Removal(2, "similar", 1, 3.0)))
    side = {"acc": 0.5, "loss": 1.0, "parameters": 100, "macs": 1000, "bytes": 400, "milliseconds": {1: 2.0}}
    results = {
        "n": 20,
        "before": side,
        "after": side | {"acc": 0.45, "parameters": 50},
        "mcnemar": {"lost": 2, "won": 1, "p": 1.0},
        "layers": count_removed({"conv1": plan}, {"layer1.0.conv1": 4}),
        "refused": {"conv2": "it shares weights"},
        "blocks": {"layer1.0": 0.005},
    }
    text = table(results)
    for words in (
        "50.00 %",
        "45.00 %",
        "2 lost, 1 won",
        "0.500 of it",
        "conv2: all stay: it shares weights",
        "layer1.0: gone as a whole",
    ):
        assert words in text
    flat = scalars(results)
    assert flat["prune/compression"] == 0.75
    assert flat["prune/acc_after"] == 0.45
