"""Angles, stages and gradients of LightningModules and data that are not ours."""

import logging
import math
import random
import re
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from any_module import FEATURES, AnyModule, any_data, any_fit, any_loader
from forked import run_python
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from fer.callbacks import DistinctivenessCallback, GradientCallback, StageCallback
from fer.errors import InputError
from fer.neurons import angles, measure
from fer.runs import Run

pytestmark = pytest.mark.filterwarnings("ignore:You defined a `validation_step`")

STAGES = {"train_loss": "train_loss", "val_loss": "val_loss"}


def _all_three():
    return [GradientCallback(), DistinctivenessCallback(), StageCallback(**STAGES)]


def test_what_is_measured_is_the_network_as_it_is(tiny_trainer, tmp_path, capsys):
    callback, module = DistinctivenessCallback(num_samples=40), AnyModule()
    val = any_loader(num=60)
    any_fit(tiny_trainer, [callback], module, val=val, max_epochs=2)
    inputs = val.dataset.tensors[0][:40]
    expected = measure(module, [inputs], ["body.2", "body.5"])
    found = Run(tmp_path).read_angles(1)
    assert list(found) == ["body.0", "body.4"]
    for layer, place in (("body.0", "body.2"), ("body.4", "body.5")):
        torch.testing.assert_close(callback.degrees[layer], angles(expected[place]), equal_nan=True)
    out = capsys.readouterr().out
    line = (
        "angles       40 samples: the first of the validation loader; layers body.0, body.4 (2 layers); "
        "2 measurements, a history of 1 kB\n"
    )
    assert out.count("angles  ") == out.count(line) == 1


def test_all_numbers_are_logged(tiny_trainer):
    logged = any_fit(tiny_trainer, _all_three(), max_epochs=2).callback_metrics
    for layer in ("body.0", "body.4"):
        for kind in ("angles/{}/mean", "angles/{}/speed", "stage/{}", "update_ratio/{}", "gradients/{}"):
            assert math.isfinite(logged[kind.format(layer)])
    assert "gradients/head" in logged
    assert "stage/network" in logged


class Gradients(L.Callback):
    """Leaves gradients at the end of an epoch, or notes those that there are."""

    def __init__(self, value=None):
        self.value, self.noted = value, []

    def on_train_epoch_end(self, trainer, pl_module):
        for parameter in pl_module.parameters():
            if self.value is None:
                self.noted.append(parameter.grad.unique().tolist())
            else:
                parameter.grad = torch.full_like(parameter, self.value)


@pytest.mark.slow
def test_training_does_not_notice(tiny_trainer):
    """Bit for bit, with dropout, batch norm, loaders that shuffle, and steps that draw from all states."""
    left = []
    for callbacks in ([], _all_three()):
        L.seed_everything(0, verbose=False)
        module, train, val = AnyModule(), any_loader(shuffle=True), any_loader()
        first, last = Gradients(3.0), Gradients()
        any_fit(tiny_trainer, [first, *callbacks, last], module, train=train, val=val, max_epochs=3)
        assert last.noted == [[3.0]] * 3 * 8
        assert all(each.training for each in module.modules())
        assert not any(each._forward_hooks or each._forward_pre_hooks for each in module.modules())
        assert "log" not in vars(module)
        states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
        generators = [loader.generator.get_state().tolist() for loader in (train, val)]
        weights = {name: value.tolist() for name, value in module.state_dict().items()}
        left.append((states, generators, weights))
    assert left[0] == left[1]


def test_a_network_and_layers_can_be_named(tiny_trainer, tmp_path):
    callback = DistinctivenessCallback(network="body", layers=["4"])
    stages = StageCallback(**STAGES, network="body")
    logged = any_fit(tiny_trainer, [callback, stages], max_epochs=2).callback_metrics
    assert callback.places == {"body.4": "4"}
    assert math.isfinite(logged["angles/body.4/mean"])
    assert {"stage/body", "stage/body.4", "update_ratio/body"} <= logged.keys()
    assert "stage/network" not in logged
    assert list(Run(tmp_path, "body").read_angles()) == ["body.4"]
    assert {path.name for path in tmp_path.iterdir()} == {"angles-body", "figures", "stages-body.json"}
    assert callback.state_key == "DistinctivenessCallback{'network': 'body'}"
    assert DistinctivenessCallback().state_key == "DistinctivenessCallback"


class Gan(L.LightningModule):
    """Two networks, two optimizers, stepped by hand; the generator only in every second batch."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False
        self.generator = nn.Sequential(nn.Linear(4, 7), nn.ReLU(), nn.Linear(7, FEATURES))
        self.discriminator = nn.Sequential(nn.Linear(FEATURES, 9), nn.Tanh(), nn.Linear(9, 1))

    def training_step(self, batch, batch_idx):
        to_generator, to_discriminator = self.optimizers()
        real, fake = batch[0], self.generator(torch.rand(len(batch[0]), 4))
        loss = self.discriminator(fake.detach()).mean() - self.discriminator(real).mean()
        to_discriminator.zero_grad()
        self.manual_backward(loss)
        to_discriminator.step()
        if batch_idx % 2:
            to_generator.zero_grad()
            self.manual_backward(-self.discriminator(fake).mean())
            to_generator.step()
        self.log("train_loss", loss)

    def configure_optimizers(self):
        return [
            torch.optim.SGD(each.parameters(), lr=0.1) for each in (self.generator, self.discriminator)
        ], []


@pytest.mark.slow
def test_two_networks_of_one_module_do_not_mix(tiny_trainer, tmp_path):
    size = {"loss": lambda outputs, batch: outputs.square().mean()}
    of_generator = DistinctivenessCallback(samples=torch.rand(20, 4), network="generator", **size)
    of_discriminator = DistinctivenessCallback(samples=any_data().tensors[0], network="discriminator", **size)
    stages, gradients = StageCallback(**STAGES), GradientCallback()
    callbacks = [stages, gradients, of_generator, of_discriminator, ModelCheckpoint(tmp_path / "checkpoints")]
    trainer = any_fit(
        tiny_trainer,
        callbacks,
        Gan(),
        val=None,
        max_epochs=2,
        enable_checkpointing=True,
        num_sanity_val_steps=0,
    )
    logged = trainer.callback_metrics
    for layer in ("generator.0", "discriminator.0"):
        assert logged[f"update_ratio/{layer}"] > 0
        assert logged[f"gradients/{layer}"] > 0
        assert math.isfinite(stages.speeds[layer][1])
    for callback in (of_generator, of_discriminator):
        loss = callback.losses["train/loss"][-1]
        assert float(logged[f"sample/{callback.network}/train_loss"]) == pytest.approx(loss)
    speeds = [stages.speeds[layer][1] for layer in ("generator.0", "discriminator.0")]
    assert stages.speeds["network"][1] == pytest.approx(sum(speeds) / 2)
    assert [len(values) for values in gradients.norms.values()] == [2] * 4
    assert len(Run(tmp_path, "generator").read_angles()["generator.0"]) == 7
    assert len(Run(tmp_path, "discriminator").read_angles()["discriminator.0"]) == 9
    assert not (tmp_path / "angles").exists()
    drawn = {path.name for path in (tmp_path / "figures").glob("angle-matrix*.png")}
    assert drawn == {"angle-matrix-generator.png", "angle-matrix-discriminator.png"}
    (checkpoint,) = (tmp_path / "checkpoints").iterdir()
    states = torch.load(checkpoint, weights_only=True)["callbacks"]
    for callback in (of_generator, of_discriminator):
        assert list(states[callback.state_key]["history"]) == list(callback.history)


class TwoArguments(AnyModule):
    def forward(self, inputs, scale):
        return super().forward(inputs * scale)

    def training_step(self, batch, batch_idx):
        return torch.nn.functional.cross_entropy(self(batch[0], 2.0), batch[1])

    def validation_step(self, batch, batch_idx):
        return None


class NoHidden(AnyModule):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Identity(), nn.Linear(FEATURES, 3)


class Recurrent(AnyModule):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(FEATURES, FEATURES)

    def forward(self, inputs):
        return super().forward(self.lstm(inputs)[0])


class Stream(IterableDataset):
    def __iter__(self):
        return iter(any_data())


def test_a_function_takes_the_inputs_out_of_a_batch(tiny_trainer):
    callback = DistinctivenessCallback(inputs=lambda batch: {"inputs": batch[0], "scale": torch.tensor(2.0)})
    any_fit(tiny_trainer, [callback], TwoArguments())
    assert list(callback.degrees) == ["body.0", "body.4"]


@pytest.mark.parametrize(
    ("module", "settings", "val", "message"),
    [
        pytest.param(
            TwoArguments,
            {},
            True,
            "no angles: TwoArguments does not take float32 (2, 6): TwoArguments.forward() missing 1 required "
            "positional argument: 'scale'; give inputs=, a function from a batch to what it takes, or "
            "samples=",
            id="other arguments",
        ),
        pytest.param(
            AnyModule,
            {"samples": torch.rand(9, 4)},
            True,
            "no angles: AnyModule does not take float32 (2, 4): mat1 and mat2 shapes cannot be multiplied "
            "(2x4 and 6x8); give samples= of the shape and type that it takes",
            id="another shape",
        ),
        pytest.param(
            AnyModule,
            {"samples": torch.ones(9, 6, dtype=torch.int64)},
            True,
            "no angles: AnyModule does not take int64 (2, 6): ",
            id="another type",
        ),
        pytest.param(
            AnyModule,
            {},
            None,
            "no angles: there is no validation loader to take samples from: give some with samples=",
            id="no validation",
        ),
        pytest.param(
            AnyModule,
            {"samples": DataLoader(TensorDataset(torch.rand(0, 6)))},
            True,
            "no angles: 0 samples: those given (DataLoader); give some with samples=",
            id="an empty loader",
        ),
        pytest.param(
            AnyModule,
            {"samples": 5},
            True,
            "no angles: samples= is a int: give a tensor, a list of batches or a DataLoader",
            id="no samples at all",
        ),
        pytest.param(
            NoHidden,
            {},
            True,
            "no angles: the hidden layers are none (head: these are the network's outputs); name others with "
            "layers=[…]",
            id="no hidden layer",
        ),
        pytest.param(
            AnyModule,
            {"samples": [torch.rand(9, 6), torch.rand(9, 7)]},
            True,
            "no angles from epoch 1 on: AnyModule does not take float32 (9, 7): ",
            id="another shape in a later batch",
        ),
    ],
)
def test_what_cannot_be_measured_is_one_line(module, settings, val, message, tiny_trainer, tmp_path, caplog):
    callback = DistinctivenessCallback(**settings)
    with caplog.at_level(logging.WARNING, "fer.callbacks"):
        trainer = any_fit(tiny_trainer, [callback], module(), val=val, max_epochs=2)
    (said,) = caplog.messages
    assert re.sub(r": (add)?mm: ", ": ", said).startswith(message)  # torch 2.15 names the operation
    assert "\n" not in said
    assert trainer.current_epoch == 2
    assert not callback.degrees
    assert not list(tmp_path.iterdir())


class Residual(AnyModule):
    """The projection is measured as a sum with the layer beside it."""

    def __init__(self):
        super().__init__()
        self.beside = nn.Linear(FEATURES, 8)

    def forward(self, inputs):
        return self.head(self.body[3:](self.body[:3](inputs) + self.beside(inputs)))


def test_a_layer_that_is_measured_with_another_is_not_worth_a_warning(tiny_trainer, caplog):
    callback = DistinctivenessCallback()
    with caplog.at_level(logging.WARNING, "fer.callbacks"):
        any_fit(tiny_trainer, [callback], Residual())
    assert caplog.messages == []
    assert len(callback.degrees) == 2


def test_layers_without_angles_are_named_in_one_warning(tiny_trainer, caplog):
    with caplog.at_level(logging.WARNING, "fer.callbacks"):
        any_fit(tiny_trainer, [DistinctivenessCallback()], Recurrent(), max_epochs=2)
    (said,) = caplog.messages
    assert said.startswith("layers without angles: lstm (")
    assert "LSTM is neither a linear layer" in said


def test_fewer_samples_than_neurons_are_told_once(tiny_trainer, caplog):
    callback = DistinctivenessCallback(samples=torch.rand(6, FEATURES))
    with caplog.at_level(logging.WARNING, "fer.callbacks"):
        any_fit(tiny_trainer, [callback], max_epochs=3)
    assert caplog.messages == [
        "fewer samples than neurons, so that angles are rough: body.0 (6 for 8 neurons); "
        "give more samples, or raise num_samples"
    ]
    assert callback.history["body.0"]["epoch"] == [1, 2, 3]


@pytest.mark.parametrize(
    "samples",
    [
        pytest.param(any_data().tensors[0].double(), id="another precision"),
        pytest.param(any_data().tensors[0].numpy(), id="numpy"),
        pytest.param(DataLoader(Stream(), batch_size=7), id="a stream without length"),
        pytest.param(list(any_loader()), id="batches"),
        pytest.param(any_data().tensors, id="a batch"),
        pytest.param({"image": any_data().tensors[0]}, id="a mapping"),
        pytest.param(any_data(), id="a data set"),
    ],
)
def test_samples_come_in_many_forms(samples, tiny_trainer):
    callback = DistinctivenessCallback(samples=samples)
    any_fit(tiny_trainer, [callback], val=None)
    expected = DistinctivenessCallback(samples=any_data().tensors[0])
    any_fit(tiny_trainer, [expected], val=None)
    assert len(callback.samples) == 48
    torch.testing.assert_close(callback.degrees, expected.degrees, equal_nan=True, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param({"layers": ["body.9"]}, "distinctiveness.layers: .* did you mean", id="a layer"),
        pytest.param({"network": "bodi"}, "network='bodi': .* did you mean 'body'", id="a network"),
    ],
)
def test_what_was_named_must_be_there(settings, message, tiny_trainer):
    with pytest.raises(InputError, match=message):
        any_fit(tiny_trainer, [DistinctivenessCallback(**settings)])


def test_fast_dev_run_measures_and_leaves_no_file(tiny_trainer, tmp_path):
    callbacks = _all_three()
    any_fit(tiny_trainer, callbacks, fast_dev_run=True)
    assert callbacks[1].history["body.0"]["epoch"] == [1]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_callback_can_be_used_again(tiny_trainer):
    callbacks = _all_three()
    for num_epochs in (3, 2):
        any_fit(tiny_trainer, callbacks, max_epochs=num_epochs)
    gradients, distinctiveness, stages = callbacks
    assert gradients.epochs == [0, 1]
    assert stages.losses["epoch"] == [1.0, 2.0]
    assert distinctiveness.history["body.0"]["epoch"] == [1, 2]
    assert math.isnan(distinctiveness.history["body.0"]["speed"][0])
    assert len(gradients.norms["head"]) == len(stages.speeds["body.0"]) == 2


@pytest.mark.slow
def test_a_compiled_part_keeps_its_names(tiny_trainer):
    module = AnyModule()
    module.body = torch.compile(module.body, backend="eager")
    callbacks = _all_three()
    logged = any_fit(tiny_trainer, callbacks, module, max_epochs=2).callback_metrics
    assert list(callbacks[1].degrees) == ["body.0", "body.4"]
    assert callbacks[2].ratios["body.0"] != callbacks[2].ratios["network"]
    assert "gradients/body.0" in logged


def test_the_old_name_of_num_samples_works_for_a_release(caplog):
    with caplog.at_level(logging.WARNING, "fer.callbacks"):
        assert DistinctivenessCallback(num_patterns=99).num_samples == 99
    assert caplog.messages == ["num_patterns is now called num_samples; the old name will go"]


@pytest.mark.parametrize(("channels", "is_drawn"), [(1, True), (3, True), (4, False)])
def test_feature_maps_are_drawn_of_images(channels, is_drawn, tiny_trainer, tmp_path):
    module = AnyModule()
    module.body = nn.Sequential(
        *(nn.Conv2d(channels, 6, 3), nn.ReLU(), nn.Conv2d(6, 5, 3), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    )
    loader = any_loader(shape=(channels, 8, 8))
    any_fit(tiny_trainer, [DistinctivenessCallback()], module, train=loader, val=loader)
    names = {path.stem for path in (tmp_path / "figures").iterdir()}
    assert ("feature-maps" in names) is is_drawn
    assert "angle-matrix" in names


TWO_PROCESSES = """
import sys
import lightning as L
import torch
from lightning.pytorch.callbacks import EarlyStopping
sys.path.insert(0, {tests!r})
from any_module import AnyModule, any_data, any_loader
from fer.callbacks import DistinctivenessCallback, GradientCallback, StageCallback


def train(kind, num):
    is_stopped = kind == "stopped"
    callback = DistinctivenessCallback(
        num_samples=32,
        samples=any_data().tensors[0] if kind == "one" else list(any_loader(batch_size=10)),
        **({{"every_n_epochs": 6}} if is_stopped else {{"every_n_steps": 2}}),
        loss=lambda outputs, batch: torch.nn.functional.cross_entropy(outputs, batch[1]),
    )
    L.seed_everything(3, verbose=False)
    module = AnyModule()
    stages = StageCallback(train_loss="train_loss", val_loss="val_loss")
    trainer = L.Trainer(
        callbacks=[stages, callback, GradientCallback(), EarlyStopping("val_loss", patience=1)],
        accelerator="cpu", devices=num, strategy="ddp", max_epochs=6 if is_stopped else 2,
        enable_progress_bar=False, enable_model_summary=False, logger=False,
    )
    module.body[1] = torch.nn.Identity()  # whose statistics would follow the batches of each process
    trainer.fit(module, any_loader(shuffle=True), any_loader())
    if trainer.is_global_zero:
        names = "effective", "cka", "dormant", "cloned", "redundant"
        last = {{name: callback.history["body.0"][name][-1] for name in names}}
        last |= {{name: values[-1] for name, values in callback.collapse.items()}}
        last["train/loss"] = callback.losses["train/loss"][-1]
        last |= {{"epoch": callback.history["body.0"]["epoch"][-1], "stages": stages.times[-1]}}
        torch.save((callback.degrees, callback.samples.is_part, stages.losses, last), f"{{kind}}-{{num}}.pt")


if __name__ == "__main__":
    AnyModule.configure_optimizers = lambda self: torch.optim.SGD(self.parameters(), lr=0.0)
    for kind in sys.argv[2:]:
        train(kind, int(sys.argv[1]))
"""

KINDS = {"batches": True, "one": False, "stopped": True}
"""Samples, or an end that comes early; and whether each of two processes measures a part of the samples."""


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """The folder of what one process and two processes measured; they start once for all kinds."""
    folder = tmp_path_factory.mktemp("processes")
    (folder / "train.py").write_text(TWO_PROCESSES.format(tests=str(Path(__file__).parents[1])))
    for num in (1, 2):
        ended = run_python("train.py", num, *KINDS, cwd=folder)
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.count("angles  ") == ended.stdout.count("stages  ") == len(KINDS)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_measure_what_one_does(kind, measured):
    found = [torch.load(measured / f"{kind}-{num}.pt", weights_only=True) for num in (1, 2)]
    (alone, was_part, stages, last), (together, is_part_now, _, last_together) = found
    assert (was_part, is_part_now) == (False, KINDS[kind])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=0, equal_nan=True)
    assert last_together == pytest.approx(last, abs=1e-5, nan_ok=True)
    if kind == "stopped":  # the end of the training has the first measurement
        assert len(stages["epoch"]) == 1
    else:
        assert last["cka"] == pytest.approx(1)  # its learning rate is 0
    assert last["epoch"] == last["stages"] == 2
    assert (kind == "one") == math.isnan(last["train/loss"])
    assert list(together) == ["body.0", "body.4"]
