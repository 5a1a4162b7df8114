"""Which samples are measured on, and that nobody notices that they were taken."""

import lightning as L
import pytest
import torch
from any_module import AnyModule, any_data, any_fit, any_loader
from lightning.pytorch.trainer.states import RunningStage
from torch.utils.data import DataLoader, RandomSampler

from fer.callbacks.samples import aside, collect_samples, first_loader, spaced


class Collect(L.Callback):
    """Collects samples when training starts."""

    def __init__(self, **settings):
        self.settings = {"num_samples": 20} | settings

    def on_train_start(self, trainer, pl_module):
        self.collected = collect_samples(trainer, pl_module, pl_module, **self.settings)


class Moves(AnyModule):
    """Changes its batches in every hook that Lightning has for it, and in training once more."""

    def on_before_batch_transfer(self, batch, dataloader_idx):
        return [batch[0] + 1, batch[1]]

    def on_after_batch_transfer(self, batch, dataloader_idx):
        return [batch[0] * (100 if self.trainer.training else 2), batch[1]]


class Offers(L.LightningDataModule):
    """A data module that offers samples: those of one label."""

    def train_dataloader(self):
        return any_loader()

    def val_dataloader(self):
        return any_loader()

    def sample_dataloader(self, name, num_samples):
        inputs, labels = any_data().tensors
        self.asked = name, num_samples
        return DataLoader([(row, label) for row, label in zip(inputs, labels, strict=True) if label == 1])


def test_batches_pass_the_hooks_of_lightning_as_in_validation(tiny_trainer):
    callback = Collect()
    any_fit(tiny_trainer, [callback], Moves())
    inputs = torch.cat([each.args[0] for each in callback.collected.batches])
    torch.testing.assert_close(inputs, (any_data().tensors[0][:20] + 1) * 2)


def test_a_tensor_is_taken_as_it_is(tiny_trainer):
    callback = Collect(given=any_data().tensors[0])
    any_fit(tiny_trainer, [callback], Moves())
    torch.testing.assert_close(callback.collected.batches[0].args[0], any_data().tensors[0])
    assert callback.collected.origin == "48 samples: those given (Tensor)"


def test_a_data_module_may_offer_samples(tiny_trainer):
    callback, data = Collect(split="val"), Offers()
    tiny_trainer(callbacks=[callback]).fit(AnyModule(), datamodule=data)
    assert data.asked == ("val", 20)
    assert set(torch.cat([each.batch[1] for each in callback.collected.batches]).tolist()) == {1}
    assert callback.collected.origin == "16 samples: of val, stratified, without augmentation"


def test_the_first_of_several_validation_loaders_is_taken(tiny_trainer):
    callback = Collect()
    other = DataLoader(torch.utils.data.TensorDataset(torch.zeros(9, 6), torch.zeros(9, dtype=torch.int64)))

    class TwoLoaders(AnyModule):
        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            return None

    any_fit(tiny_trainer, [callback], TwoLoaders(), val=[any_loader(), other])
    torch.testing.assert_close(callback.collected.batches[0].args[0], any_data().tensors[0][:16])
    assert first_loader({"a": [], "b": [other]}) is other
    assert first_loader([]) is None


@pytest.mark.parametrize("where", ["loader", "sampler"])
def test_a_loader_s_own_random_state_stays(where, tiny_trainer):
    generator = torch.Generator().manual_seed(5)
    data = any_data()
    loader = (
        DataLoader(data, shuffle=True, generator=generator)
        if where == "loader"
        else DataLoader(data, sampler=RandomSampler(data, generator=generator))
    )
    before = generator.get_state()
    callback = Collect(given=loader)
    any_fit(tiny_trainer, [callback])
    assert torch.equal(generator.get_state(), before)
    inputs = torch.cat([each.args[0] for each in callback.collected.batches])
    assert not torch.equal(inputs, data.tensors[0][:20])  # it was drawn from


def test_what_a_network_logs_beside_its_training_is_lost(tiny_trainer):
    class Logs(AnyModule):
        def forward(self, inputs):
            self.log("forward", 1.0)
            return super().forward(inputs)

    class Call(L.Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            pl_module.body[1].eval()
            with aside(trainer, pl_module):
                self.stage, self.modes = trainer.state.stage, {each.training for each in pl_module.modules()}
                pl_module.log("forward", 99.0)
                pl_module.log_dict({"others": 99.0})
                torch.rand(1)
            self.after = trainer.state.stage, pl_module.training, pl_module.body[1].training

    callback = Call()
    logged = any_fit(tiny_trainer, [callback], Logs()).callback_metrics
    assert (callback.stage, callback.modes) == (RunningStage.VALIDATING, {False})
    assert callback.after == (RunningStage.TRAINING, True, False)
    assert logged["forward"] == 1
    assert "others" not in logged


def test_spaced_samples_cover_a_loader():
    rows = torch.cat([inputs for inputs, _ in spaced(any_loader(shuffle=True), 4)])
    torch.testing.assert_close(rows, any_data().tensors[0][[0, 12, 24, 36]])
