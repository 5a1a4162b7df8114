"""Optimisers and schedules: learning rates by hand."""

import copy
import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from fer.errors import InputError
from fer.tasks import Conv6Task
from fer.tasks.optim import OptimizerSettings, ScheduleSettings, is_fused, make_optimizer, make_schedule


def _optimizer(name="sgd", *, lr=0.1, weight_decay=0.05, network=None, nesterov=False, fused=False):
    network = network or nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 7))
    return make_optimizer(network, OptimizerSettings(name, lr, weight_decay, 0.9, nesterov), fused=fused)


def _settings(name, **changes):
    defaults = {
        "milestones": (), "gamma": 0.1, "max_lr": 0.1, "cycle_epochs": 40, "patience": 2, "min_lr": 0.0,
        "warmup": 0.3,
    }  # fmt: skip
    return ScheduleSettings(name, **defaults | changes)


def _rates(settings, *, lr, num_steps, num_epochs, metrics=None):
    """Return the learning rate of each step, or of each epoch where the schedule moves once an epoch."""
    optimizer = _optimizer(lr=lr)
    schedule = make_schedule(optimizer, settings, num_steps=num_steps, num_epochs=num_epochs)
    rates = []
    for i in range(num_steps if schedule["interval"] == "step" else num_epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule["scheduler"].step(*() if metrics is None else (metrics[i],))
    assert all(group["lr"] == optimizer.param_groups[0]["lr"] for group in optimizer.param_groups)
    return rates


# Optimisers


@pytest.mark.parametrize(
    ("name", "kind"), [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)]
)
def test_weights_decay_and_vectors_do_not(name, kind):
    optimizer = _optimizer(name)
    assert type(optimizer) is kind
    decay = {g["weight_decay"]: [tuple(p.shape) for p in g["params"]] for g in optimizer.param_groups}
    assert decay == {0.0: [(2,), (2,), (2,), (7,)], 0.05: [(2, 1, 3, 3), (7, 2)]}


def test_sgd_takes_its_momentum():
    for group in _optimizer(nesterov=True).param_groups:
        assert (group["momentum"], group["nesterov"]) == (0.9, True)


def test_only_what_is_trainable_is_optimised():
    network = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 7))
    network[0].requires_grad_(requires_grad=False)
    shapes = {tuple(p.shape) for g in _optimizer(network=network).param_groups for p in g["params"]}
    assert shapes == {(7, 3), (7,)}
    network.requires_grad_(requires_grad=False)
    with pytest.raises(InputError, match="no trainable parameter"):
        _optimizer(network=network)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_one_pass_over_the_weights_computes_the_same(name):
    torch.manual_seed(0)
    # Without a bias before batch norm, whose gradient is nothing but rounding.
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 7)
    )
    networks = [network, copy.deepcopy(network)]
    settings = OptimizerSettings(name, 0.01, 0.05, 0.9, nesterov=False)
    optimizers = [make_optimizer(each, settings, fused=each is network) for each in networks]
    assert [optimizer.defaults["fused"] for optimizer in optimizers] == [True, None]
    for _ in range(5):
        inputs, labels = torch.randn(14, 1, 8, 8), torch.arange(14) % 7
        for each, optimizer in zip(networks, optimizers, strict=True):
            optimizer.zero_grad()
            nn.functional.cross_entropy(each(inputs), labels).backward()
            optimizer.step()
    for one, other in zip(network.parameters(), networks[1].parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("fused", [True, False])
def test_a_state_of_another_memory_format_goes_on_the_same(fused, name):
    weight, gradients = torch.randn(4, 3, 3, 3), torch.randn(2, 4, 3, 3, 3)
    found = []
    for later in (torch.contiguous_format, torch.channels_last):
        network = nn.Conv2d(3, 4, 3, bias=False)
        network.weight.data = weight.clone()
        optimizer = _optimizer(name, network=network, fused=fused)
        network.weight.grad = gradients[0].clone()
        optimizer.step()
        network.to(memory_format=later)
        resumed = _optimizer(name, network=network, fused=fused)
        resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        network.weight.grad = gradients[1].to(memory_format=later)
        resumed.step()
        found.append(network.weight.detach())
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize(
    ("precision", "clip", "device", "expected"),
    [
        pytest.param("32-true", None, "cpu", True, id="float32"),
        pytest.param("32-true", 1.0, "cpu", True, id="float32, clipped"),
        pytest.param("bf16-mixed", None, "cpu", True, id="bf16-mixed"),
        pytest.param("bf16-mixed", 0.0, "cuda", True, id="bf16-mixed, a GPU"),
        pytest.param("bf16-mixed", 1.0, "cuda", False, id="bf16-mixed, clipped"),
        pytest.param("bf16-true", 1.0, "cuda", True, id="bf16-true, clipped"),
        pytest.param("16-mixed", None, "cuda", False, id="a gradient scaler"),
        pytest.param("32-true", None, "xla", False, id="a device without the kernels"),
    ],
)
def test_weights_are_updated_in_one_pass_where_lightning_and_the_device_can(
    precision, clip, device, expected
):
    strategy = SimpleNamespace(root_device=torch.device(device))
    trainer = SimpleNamespace(precision=precision, gradient_clip_val=clip, strategy=strategy)
    assert is_fused(trainer) == expected


@pytest.mark.parametrize("clip", [None, 1.0])
def test_a_training_in_bfloat16_is_clipped_as_before(clip, tiny_trainer, tiny_data):
    trainer = tiny_trainer(limit_train_batches=1, precision="bf16-mixed", gradient_clip_val=clip)
    trainer.fit(Conv6Task(), datamodule=tiny_data(size=32))
    (optimizer,) = trainer.optimizers
    assert optimizer.defaults["fused"] == (True if clip is None else None)


# Schedules


def test_none_is_constant():
    assert make_schedule(_optimizer(), _settings("none"), num_steps=9, num_epochs=3) is None


COSINE_OF_4 = [0.5 * (1 + math.cos(math.pi * t / 4)) for t in range(4)]


@pytest.mark.parametrize(
    ("settings", "lr", "num_steps", "num_epochs", "expected"),
    [
        pytest.param(
            _settings("multistep", milestones=(2, 4)),
            1.0,
            60,
            6,
            [1, 1, 0.1, 0.1, 0.01, 0.01],
            id="multistep",
        ),
        pytest.param(
            # Two steps an epoch: a cycle of four epochs is eight steps.
            _settings("cyclic", max_lr=0.5, cycle_epochs=4),
            0.1,
            16,
            8,
            [0.1, 0.2, 0.3, 0.4, 0.5, 0.4, 0.3, 0.2] * 2,
            id="cyclic goes up, down, and up again",
        ),
        pytest.param(
            _settings("cosine", warmup=0.0),
            1.0,
            4,
            2,
            COSINE_OF_4,
            id="cosine without a warm-up starts at lr",
        ),
        pytest.param(
            _settings("cosine", warmup=1 / 3),
            1.0,
            6,
            2,
            [0.01, 0.505, *COSINE_OF_4],
            id="cosine, warm-up first",
        ),
        pytest.param(
            _settings("cosine", warmup=0.0, min_lr=0.5),
            1.0,
            4,
            2,
            [0.5 + 0.5 * value for value in COSINE_OF_4],
            id="cosine falls to min_lr",
        ),
    ],
)
def test_learning_rates(settings, lr, num_steps, num_epochs, expected):
    rates = _rates(settings, lr=lr, num_steps=num_steps, num_epochs=num_epochs)
    assert rates == pytest.approx(expected)


@pytest.mark.parametrize(
    ("gamma", "min_lr", "expected"),
    [
        pytest.param(
            0.1, 0.0, [1, 1, 1, 1, 1, 1, 1, 0.1, 0.1, 0.1], id="after patience epochs without a better one"
        ),
        pytest.param(0.1, 0.5, [1, 1, 1, 1, 1, 1, 1, 0.5, 0.5, 0.5], id="not below min_lr"),
    ],
)
def test_plateau(gamma, min_lr, expected):
    accuracies = [
        0.3,
        0.4,
        0.4,
        0.4001,
        0.4,
        0.4001,
        0.3,
        0.2,
        0.1,
        0.0,
    ]  # the third after the best lowers it
    settings = _settings("plateau", gamma=gamma, min_lr=min_lr)
    assert _rates(settings, lr=1.0, num_steps=10, num_epochs=10, metrics=accuracies) == pytest.approx(
        expected
    )


@pytest.mark.parametrize(
    ("warmup", "num_steps", "peak"),
    [
        pytest.param(0.3, 10, 2, id="usual"),
        pytest.param(0.2, 100, 19, id="longer"),
        pytest.param(0.0, 10, 0, id="no warm-up"),
        pytest.param(0.2, 5, 0, id="a warm-up of one step"),
        pytest.param(0.3, 1, 0, id="one step in all"),
    ],
)
def test_onecycle_peaks_at_lr_once_and_ends_near_zero(warmup, num_steps, peak):
    rates = _rates(_settings("onecycle", warmup=warmup), lr=0.5, num_steps=num_steps, num_epochs=1)
    assert rates.index(max(rates)) == peak
    assert rates == [*sorted(rates[: peak + 1]), *sorted(rates[peak + 1 :], reverse=True)]
    assert max(rates) == pytest.approx(0.5) if peak else max(rates) <= 0.5
    assert rates[-1] < 1e-5


@pytest.mark.parametrize("num_steps", [1, 2, 3, 7])
@pytest.mark.parametrize("name", ["multistep", "cyclic", "onecycle", "cosine"])
def test_every_schedule_lasts_for_the_shortest_training(name, num_steps):
    rates = _rates(_settings(name), lr=0.01, num_steps=num_steps, num_epochs=1)
    assert all(math.isfinite(rate) and rate >= 0 for rate in rates)
