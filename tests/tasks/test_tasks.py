"""What every network's task promises: one table, checked on each."""

import inspect

import pytest
import torch
from jsonargparse import ArgumentParser
from torch import nn

import fer.tasks
from fer.errors import InputError
from fer.models import NETWORKS
from fer.tasks import TASKS, AnnTask, ClassificationTask, load, task_of

SMALL = {
    "ann": {"in_features": 64},
    "conv1": {"channels": 1, "image_size": 8},
    "conv2": {"channels": 1, "image_size": 8, "widths": (3, 4), "hidden": (5, 6)},
    "conv4": {"image_size": 16, "widths": (2, 3, 4, 5), "hidden": (6, 7)},
    "conv6": {"image_size": 32, "widths": (2, 3, 4, 5, 6)},
    "alexnet": {"image_size": 8, "widths": (2, 3, 4, 5, 6), "hidden": (7, 8)},
    "resnet": {"image_size": 32, "depth": 18},
    "cbam": {"image_size": 32, "depth": 18},
    "vgg": {"image_size": 16, "widths": (2, 3, 4, 5)},
    "transfer": {"image_size": 32, "channels": 1, "hidden": 5},
}
HEAVY = {"resnet", "cbam", "transfer"}
EACH = [pytest.param(name, marks=pytest.mark.slow if name in HEAVY else ()) for name in SMALL]


def _parameters(kind):
    own = inspect.signature(kind).parameters.values()
    return {p.name: p.default for p in own if p.kind is p.KEYWORD_ONLY}


def test_every_task_is_in_the_table():
    assert SMALL.keys() == TASKS.keys()


@pytest.mark.parametrize("name", TASKS)
def test_a_tasks_settings_are_its_networks_then_the_trainings(name):
    own, training = _parameters(NETWORKS[name]), _parameters(ClassificationTask)
    expected = own | {key: value for key, value in training.items() if key not in own}
    assert list(_parameters(TASKS[name]).items()) == list(expected.items())


@pytest.mark.parametrize("name", TASKS)
def test_the_help_explains_each_setting_of_a_task(name):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(TASKS[name], "model", fail_untyped=False)
    texts = {action.dest: action.help for action in parser._actions if action.dest.startswith("model.")}
    assert {key for key in texts if "." in key} == {f"model.{key}" for key in _parameters(TASKS[name])}
    assert [key for key, text in texts.items() if not text] == []


@pytest.mark.parametrize("name", TASKS)
def test_a_task_builds_with_its_defaults(name):
    smaller = {"image_size": 64} if "image_size" in _parameters(TASKS[name]) else {}
    task = TASKS[name](**smaller)
    assert task.hparams["lr"] == _parameters(ClassificationTask)["lr"]
    assert "network" not in task.hparams
    assert all(isinstance(m, nn.Module) for m in task.network.children())


@pytest.mark.parametrize("name", EACH)
def test_a_fit_reaches_every_weight_and_its_checkpoint_gives_back_the_same_network(
    name, tiny_data, tiny_trainer, tmp_path
):
    settings = SMALL[name] | {"lr": 0.01, "schedule": "onecycle"}
    task = TASKS[name](**settings)
    reached = set()
    task.on_before_optimizer_step = lambda optimizer: reached.update(
        key for key, p in task.named_parameters() if p.grad is not None and p.grad.isfinite().all()
    )
    trainer = tiny_trainer(limit_train_batches=1)
    trainer.fit(task, datamodule=tiny_data(size=SMALL[name].get("image_size", 8)))
    assert reached == {key for key, p in task.named_parameters() if p.requires_grad}

    trainer.save_checkpoint(tmp_path / "a.ckpt")
    loaded = load(tmp_path / "a.ckpt")
    assert type(loaded) is TASKS[name]
    assert not any(module.training for module in loaded.modules())
    inputs = torch.randn(2, 1, SMALL[name].get("image_size", 8), SMALL[name].get("image_size", 8))
    with torch.no_grad():
        torch.testing.assert_close(loaded(inputs), task.eval()(inputs), rtol=0, atol=0)
    assert {key: loaded.hparams[key] for key in settings} == settings


# What load refuses


@pytest.fixture
def checkpoint(tmp_path, tiny_data, tiny_trainer):
    trainer = tiny_trainer(limit_train_batches=1)
    trainer.fit(AnnTask(in_features=64), datamodule=tiny_data())
    trainer.save_checkpoint(tmp_path / "whole.ckpt")
    return tmp_path / "whole.ckpt"


def _cut(path, whole):
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])


def _changed(**changes):
    def write(path, whole):
        torch.save(torch.load(whole, weights_only=True) | changes, path)

    return write


def _without(key):
    def write(path, whole):
        content = torch.load(whole, weights_only=True)
        del content[key]
        torch.save(content, path)

    return write


def _flip(path, whole):
    """Flip bytes inside of the largest tensor."""
    content = torch.load(whole, weights_only=True)
    weight = max(content["state_dict"].values(), key=torch.numel)
    written = bytearray(whole.read_bytes())
    place = written.index(weight.numpy().tobytes())
    written[place : place + 40] = bytes(255 - byte for byte in written[place : place + 40])
    path.write_bytes(written)


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        pytest.param(lambda path, whole: None, "no such checkpoint", id="missing"),
        pytest.param(lambda path, whole: path.mkdir(), "no such checkpoint", id="a folder"),
        pytest.param(_cut, "it is truncated", id="cut off"),
        pytest.param(lambda path, whole: path.write_bytes(b""), "not a readable checkpoint", id="empty"),
        pytest.param(lambda path, whole: path.write_text("epoch,loss\n1,2\n"), "not a readable", id="text"),
        pytest.param(
            lambda path, whole: torch.save(nn.Linear(2, 2), path), "not a readable", id="a pickled module"
        ),
        pytest.param(lambda path, whole: torch.save([1, 2], path), "not hold a network of fer", id="a list"),
        pytest.param(
            lambda path, whole: torch.save(nn.Linear(2, 2).state_dict(), path),
            "this checkpoint was not trained by fer",
            id="another's weights",
        ),
        pytest.param(_changed(task="OtherTask", network=None), "damaged: 'network'", id="no class path"),
        pytest.param(_changed(task="OtherTask"), "none of fer's networks", id="another's task"),
        *(
            pytest.param(_changed(**{key: value}), f"damaged: {key!r}", id=f"{key} of another type")
            for key, value in {
                "task": 5,
                "hyper_parameters": [1, 2],
                "state_dict": {"network.fc1.weight": 3},
                "widths": {"fc1": "wide"},
                "class_names": "angry",
                "input_shape": ("a",),
                "best_val_acc": "high",
            }.items()
        ),
        *(
            pytest.param(_without(key), f"{key!r} is missing", id=f"without {key}")
            for key in ("hyper_parameters", "state_dict")
        ),
        pytest.param(
            _changed(hyper_parameters={"hidden": "many"}), "does not fit AnnTask", id="a text as size"
        ),
        pytest.param(_changed(hyper_parameters={"depth": 3}), "does not fit AnnTask", id="unknown setting"),
        pytest.param(_changed(hyper_parameters={"lr": None}), "does not fit AnnTask", id="no learning rate"),
        pytest.param(_changed(state_dict={}), "does not fit AnnTask", id="no weights"),
        pytest.param(_changed(widths={"fc9": 3}), "does not fit AnnTask", id="widths of another network"),
        pytest.param(_changed(class_names=["a"]), "does not fit AnnTask", id="too few class names"),
        pytest.param(lambda path, whole: _flip(path, whole), "checksum of .*/data/", id="flipped bytes"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_named(write, reason, checkpoint, tmp_path):
    path = tmp_path / "broken.ckpt"
    write(path, checkpoint)
    with pytest.raises(InputError, match=reason) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", TASKS)
def test_a_tasks_name_follows_from_its_networks(name):
    assert TASKS[name].__module__ == "fer.tasks"
    assert TASKS[name].__name__ == f"{name.capitalize()}Task"
    assert getattr(fer.tasks, TASKS[name].__name__) is TASKS[name] is task_of(NETWORKS[name])
