"""Tasks made from network classes: signature, types, documentation, hyperparameters, pickling."""

import copy
import inspect
import pickle
from typing import Any, Literal

import pytest
import torch
from torch import nn

from fer.errors import InputError
from fer.models import NETWORKS, Conv6Net
from fer.neurons.declared import DeclaresNeurons
from fer.tasks import ClassificationTask, Conv6Task, load, task_of


class Parent(nn.Module):
    def __init__(self, hidden: int = 5, activation: Literal["relu", "tanh"] = "relu") -> None:
        super().__init__()
        self.fc = nn.Linear(4, hidden)


class Child(Parent):
    """A child.

    Args:
        extra: An extra.
    """

    def __init__(self, extra, size=2, share=0.5, flag=True, name="a", norm=nn.BatchNorm1d, **kwargs):
        super().__init__(**kwargs)


class ByPosition(nn.Module):
    def __init__(self, hidden, /):
        super().__init__()


def _own(network):
    training = inspect.signature(ClassificationTask).parameters
    return {
        name: (parameter.annotation, parameter.default)
        for name, parameter in inspect.signature(task_of(network)).parameters.items()
        if name not in training
    }


def test_types_come_from_annotations_or_else_from_defaults_and_kwargs_are_the_parents():
    required = inspect.Parameter.empty
    assert _own(Child) == {
        "extra": (Any, required),
        "size": (int | float, 2),
        "share": (float, 0.5),
        "flag": (bool, True),
        "name": (str, "a"),
        "norm": (Any, nn.BatchNorm1d),
        "hidden": (int, 5),
        "activation": (Literal["relu", "tanh"], "relu"),
    }


def test_hyperparameters_are_plain_values():
    task = task_of(Child)(extra=3, hidden=7, lr=0.5)
    assert task.network.fc.out_features == 7
    assert (task.hparams["extra"], task.hparams["hidden"], task.hparams["lr"]) == (3, 7, 0.5)
    assert "norm" not in task.hparams
    with pytest.raises(InputError, match=r"norm=<class .*LayerNorm'> cannot be saved in a checkpoint"):
        task_of(Child)(extra=3, norm=nn.LayerNorm)


def test_what_is_required_is_required():
    with pytest.raises(TypeError, match="extra"):
        task_of(Child)()


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        pytest.param(ByPosition, "'hidden' is positional-only", id="positional only"),
        pytest.param(nn.functional.relu, "is not a network", id="a function"),
        pytest.param(dict, "is not a network", id="another class"),
    ],
)
def test_a_class_that_cannot_be_trained_is_refused(network, reason):
    with pytest.raises(InputError, match=reason):
        task_of(network)


def test_one_network_class_has_one_task_class():
    assert task_of(Child) is task_of(Child)
    assert (task_of(Child).__name__, task_of(Child).__module__) == ("ChildTask", __name__)
    assert (task_of(Conv6Net), Conv6Task.__name__, Conv6Task.__module__) == (
        Conv6Task,
        "Conv6Task",
        "fer.tasks",
    )


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda task: pickle.loads(pickle.dumps(task))])
def test_a_task_is_copied_and_pickled_as_a_process_that_is_spawned_wants_it(copied):
    task = Conv6Task(widths=(2, 3, 4, 5, 6))
    other = copied(task)
    assert type(other) is Conv6Task
    torch.testing.assert_close(other.state_dict(), task.state_dict())
    assert pickle.loads(pickle.dumps(Conv6Task)) is Conv6Task


def test_lightning_loads_a_checkpoint_without_pickled_code(tiny_data, tiny_trainer, tmp_path):
    task = Conv6Task(widths=(2, 3, 4, 5, 6), image_size=32)
    trainer = tiny_trainer(limit_train_batches=1)
    trainer.fit(task, datamodule=tiny_data(size=32))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    loaded = Conv6Task.load_from_checkpoint(tmp_path / "a.ckpt", weights_only=True)
    assert loaded.hparams["widths"] == (2, 3, 4, 5, 6)
    content = torch.load(tmp_path / "a.ckpt", weights_only=True)
    assert (content["task"], content["network"]) == ("Conv6Task", "fer.models.conv6.Conv6Net")
    assert "_instantiator" not in content["hyper_parameters"]


def test_a_checkpoint_from_before_networks_were_named_loads(tiny_data, tiny_trainer, tmp_path):
    trainer = tiny_trainer(limit_train_batches=1)
    trainer.fit(Conv6Task(widths=(2, 3, 4, 5, 6), image_size=32), datamodule=tiny_data(size=32))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    content = torch.load(tmp_path / "a.ckpt", weights_only=True)
    for key in ("network", "class_names", "input_shape"):
        del content[key]
    del content["hyper_parameters"]["num_classes"]
    content["hyper_parameters"]["_instantiator"] = "lightning.pytorch.cli.instantiate_module"
    torch.save(content, tmp_path / "old.ckpt")
    assert type(load(tmp_path / "old.ckpt")) is Conv6Task


def test_networks_with_hidden_layers_declare_them_by_the_protocol():
    assert all(isinstance(NETWORKS[name](), DeclaresNeurons) for name in ("ann", "conv6", "resnet"))
    assert not isinstance(nn.Linear(2, 3), DeclaresNeurons)
