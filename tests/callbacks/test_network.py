"""Which network of a LightningModule is meant, and what its layers are called."""

from collections import OrderedDict

import pytest
import torch
from any_module import AnyModule, any_fit
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from torch import nn

from fer.callbacks import DistinctivenessCallback
from fer.callbacks.network import find_network
from fer.errors import InputError
from fer.tasks import ClassificationTask


def _task():
    return ClassificationTask(nn.Sequential(OrderedDict(flatten=nn.Flatten(), fc=nn.Linear(4, 7))))


@pytest.mark.parametrize(
    ("module", "name", "attribute", "layer"),
    [
        pytest.param(AnyModule(), None, "", "body.0", id="the module itself"),
        pytest.param(AnyModule(), "body", "body", "body.0", id="a part by name"),
        pytest.param(_task(), None, "network", "0", id="what the module says"),
        pytest.param(_task(), "network", "network", "network.0", id="the same by name"),
    ],
)
def test_the_network_and_the_names_of_its_layers(module, name, attribute, layer):
    found = find_network(module, name)
    assert found.attribute == attribute
    assert found.module is module.get_submodule(attribute)
    own_name = layer.removeprefix(found.prefix)
    assert found.layer_of(own_name) == layer
    assert found.full_name(layer) == (f"{attribute}.{own_name}" if attribute else own_name)


@pytest.mark.slow
def test_a_compiled_network_is_found_without_its_wrapper():
    module = AnyModule()
    body = module.body
    module.body = torch.compile(body, backend="eager")
    found = find_network(module, "body")
    assert found.module is body
    assert next(found.named_parameters())[0] == "body.0.weight"
    assert next(find_network(module).named_parameters())[0] == "body.0.weight"


def test_a_name_that_is_not_there_is_refused():
    with pytest.raises(
        InputError, match=r"network='boddy': AnyModule has .* did you mean 'body'\? its modules"
    ):
        find_network(AnyModule(), "boddy")


@pytest.mark.parametrize("strategy", [FSDPStrategy, DeepSpeedStrategy, ModelParallelStrategy])
def test_split_weights_are_not_measured(strategy, tiny_trainer, caplog):
    class Split(DistinctivenessCallback):
        """Sees another strategy while it looks for its network."""

        def on_train_start(self, trainer, pl_module):
            mine = trainer.strategy
            trainer._accelerator_connector.strategy = object.__new__(strategy)
            super().on_train_start(trainer, pl_module)
            trainer._accelerator_connector.strategy = mine

    callback = Split()
    trainer = any_fit(tiny_trainer, [callback])
    said = [record.getMessage() for record in caplog.records if record.name == "fer.callbacks"]
    assert said == [f"no angles: {strategy.__name__} shards the weights across processes; use DDP for them"]
    assert (trainer.current_epoch, callback.degrees) == (1, {})
