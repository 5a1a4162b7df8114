"""Bad input: one line that says what is wrong and what to do, and the training goes on where it can."""

import math
import re

import pytest
import torch
from foreign.digits import DigitsDataModule, LitDigits
from foreign.images import CornersDataModule, LitTransfer
from foreign.others import GAN, LSTMClassifier, PairsDataModule, SentencesDataModule, TwoInputs
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from fer.callbacks import DistinctivenessCallback, EvaluationCallback, PruneCallback, StageCallback
from fer.errors import InputError


def assert_one_line(texts, *patterns):
    """Each warning is one line, and they are those expected, in any order."""
    assert len(texts) == len(patterns), texts
    for text in texts:
        assert "\n" not in text
    for pattern in patterns:
        assert any(re.search(pattern, text) for text in texts), (pattern, texts)


NO_BAKBONE = (
    "network='bakbone': LitDigits has no such module; its modules are layer_1, bn, layer_2, dropout, "
    "layer_3, accuracy"
)


NO_LOADER = "no angles: there is no validation loader to take samples from: give some with samples="


def stages():
    return StageCallback(train_loss="train_loss", val_loss="val_loss")


class NaNLoss(LitDigits):
    """Diverges at once."""

    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) * math.nan


class Stream(IterableDataset):
    """Digits without a length."""

    def __init__(self, num):
        self.num = num

    def __iter__(self):
        generator = torch.Generator().manual_seed(0)
        for number in range(self.num):
            yield torch.rand(1, 8, 8, generator=generator), number % 10


class Linear(LitDigits):
    """Has no hidden layer."""

    def __init__(self):
        super().__init__()
        del self.layer_1, self.layer_2, self.bn
        self.layer_3 = nn.Linear(64, 10)

    def forward(self, x):
        return self.layer_3(x.flatten(1))


# What the user asked for by name, and cannot be: an error before the first step.
@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(
            lambda: DistinctivenessCallback(layers=["layer_9"]),
            "distinctiveness.layers: LitDigits has no layer 'layer_9': did you mean 'layer_3'? its layers "
            "are layer_1, bn, layer_2, dropout, layer_3, accuracy",
            id="unknown layer",
        ),
        pytest.param(
            lambda: DistinctivenessCallback(network="bakbone"),
            NO_BAKBONE,
            id="unknown network",
        ),
        pytest.param(
            lambda: StageCallback(network="bakbone"),
            NO_BAKBONE,
            id="unknown network of stages",
        ),
        pytest.param(
            lambda: PruneCallback(enabled=True, network="bakbone", metric="val_acc"),
            NO_BAKBONE,
            id="unknown network of pruning",
        ),
        pytest.param(
            lambda: PruneCallback(enabled=True, layers=["layer_9"], metric="val_acc"),
            "prune.layers: LitDigits has no layer 'layer_9': did you mean 'layer_3'?",
            id="unknown layer of pruning",
        ),
    ],
)
def test_what_is_asked_for_by_name_is_an_error_before_training(make, message, fit):
    net = LitDigits()
    with pytest.raises(InputError) as caught:
        fit(net, DigitsDataModule(), [make()])
    assert str(caught.value).rstrip() == message
    assert net.trainer.global_step == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(
            lambda: DistinctivenessCallback(samples=torch.rand(20, 63)),
            r"LitDigits does not take float32 \(2, 63\): (addmm: )?mat1 and mat2 shapes cannot .*samples=",
            id="samples of another shape",
        ),
        pytest.param(
            lambda: DistinctivenessCallback(samples=torch.zeros(20, 64, dtype=torch.long)),
            r"LitDigits does not take int64 \(2, 64\): (addmm: )?mat1 and mat2 must have the same .*samples=",
            id="samples of another type",
        ),
        pytest.param(
            lambda: DistinctivenessCallback(samples=[]),
            r"0 samples: those given \(list\); give some with samples=$",
            id="no samples",
        ),
        pytest.param(
            lambda: DistinctivenessCallback(samples=[{"name": "a"}]),
            "a batch is a dict without tensors: give tensors, sequences or mappings of them, or inputs=, a "
            "function from a batch to the network's arguments$",
            id="samples without tensors",
        ),
        pytest.param(
            lambda: DistinctivenessCallback(inputs=lambda batch: batch[5]),
            "inputs=",
            id="inputs= fails",
        ),
    ],
)
def test_samples_that_cannot_be_measured_are_one_warning(make, message, fit, warned):
    distinct = make()
    trainer = fit(LitDigits, DigitsDataModule(), [distinct])
    assert trainer.current_epoch == 2
    assert distinct.degrees == {}
    assert_one_line(warned(), f"^no angles: .*{message}")


@pytest.mark.slow
def test_a_metric_that_is_never_logged_is_named_once_with_those_that_are(fit, warned):
    callbacks = [StageCallback(train_loss="loss", val_loss="val_los"), DistinctivenessCallback()]
    trainer = fit(LitDigits, DigitsDataModule(), callbacks, max_epochs=3)
    assert trainer.current_epoch == 3
    texts = [text for text in warned() if "los" in text]
    assert 1 <= len(texts) <= 2, texts
    assert any("train_loss" in text and "val_loss" in text for text in texts)


@pytest.mark.slow
def test_an_unknown_metric_of_pruning_is_named_with_those_that_are_logged(fit, warned):
    pruning = PruneCallback(enabled=True, metric="val_accuracy", share_removed=0.5)
    trainer = fit(LitDigits, DigitsDataModule(), [pruning])
    assert trainer.current_epoch == 2
    assert warned() == [
        "prune.metric: the validation logs no 'val_accuracy'; did you mean 'val_acc'? it logs "
        "val_loss, val_acc"
    ]


@pytest.mark.slow
def test_a_loss_that_is_nan_is_no_stage_and_no_error(fit, warned):
    distinct = DistinctivenessCallback()
    pruning = PruneCallback(enabled=True, metric="val_acc", share_removed=0.5)
    trainer = fit(NaNLoss, DigitsDataModule(), [distinct, stages(), pruning, EvaluationCallback()])
    assert trainer.current_epoch == 2
    assert pruning.pruned is None
    texts = warned()
    assert len(texts) == len(set(texts))
    assert any("NaN" in text for text in texts)
    assert all("\n" not in text for text in texts)


def test_without_a_validation_loop_there_is_one_warning(fit, warned):
    distinct = DistinctivenessCallback()
    data = DataLoader(TensorDataset(torch.rand(64, 64), torch.arange(64) % 10), batch_size=16)
    trainer = fit(LitDigits, data, [distinct])
    assert trainer.current_epoch == 2
    assert distinct.degrees == {}
    assert warned() == [NO_LOADER]


@pytest.mark.slow
def test_all_callbacks_without_a_validation_loop_say_what_they_lack(fit, warned):
    data = DataLoader(TensorDataset(torch.rand(64, 64), torch.arange(64) % 10), batch_size=16)
    pruning = PruneCallback(enabled=True, metric="val_acc", share_removed=0.5)
    trainer = fit(LitDigits, data, [DistinctivenessCallback(), stages(), pruning, EvaluationCallback()])
    assert trainer.current_epoch == 2
    texts = warned()
    assert len(texts) == len(set(texts)) <= 4
    assert all("\n" not in text for text in texts)


def test_given_samples_need_no_validation_loop(fit, warned):
    distinct = DistinctivenessCallback(samples=torch.rand(200, 64))
    data = DataLoader(TensorDataset(torch.rand(64, 64), torch.arange(64) % 10), batch_size=16)
    fit(LitDigits, data, [distinct])
    assert list(distinct.degrees) == ["layer_1", "layer_2"]
    assert warned() == []


@pytest.mark.slow
def test_a_dataset_without_length_is_measured(fit, warned):
    distinct = DistinctivenessCallback(num_samples=100)
    pruning = PruneCallback(enabled=True, metric="val_acc", share_removed=0.5)
    loaders = (DataLoader(Stream(256), batch_size=64), DataLoader(Stream(128), batch_size=64))
    trainer = fit(LitDigits, loaders[0], [distinct, stages(), pruning], val=loaders[1])
    assert trainer.current_epoch == 2
    assert list(distinct.degrees) == ["layer_1", "layer_2"]
    assert pruning.pruned.layer_1.out_features == 24
    assert [text for text in warned() if "fewer than 10" not in text] == []


@pytest.mark.slow
def test_fewer_samples_than_neurons_are_one_warning(fit, warned):
    distinct = DistinctivenessCallback(samples=torch.rand(9, 64))
    trainer = fit(LitDigits, DigitsDataModule(), [distinct], max_epochs=3)
    assert trainer.current_epoch == 3
    assert list(distinct.degrees) == ["layer_1", "layer_2"]
    assert_one_line(warned(), r"^fewer samples than neurons.*layer_1 \(9 for 48 neurons\), layer_2")


def test_a_network_without_hidden_layers_is_one_warning_of_each(fit, warned):
    pruning = PruneCallback(enabled=True, metric="val_acc", share_removed=0.5)
    trainer = fit(Linear, DigitsDataModule(), [DistinctivenessCallback(), stages(), pruning])
    assert trainer.current_epoch == 2
    assert pruning.pruned is None
    assert warned() == [
        "no angles: the hidden layers are none (layer_3: these are the network's outputs); name others with "
        "layers=[…]",
        "prune: nothing is pruned: Linear has no hidden neurons that can be removed (layer_3: these are the "
        "network's outputs)",
    ]


def test_a_module_that_takes_other_arguments_trains_on(fit, warned):
    pruning = PruneCallback(enabled=True, metric="val_acc", share_removed=0.5)
    distinct = DistinctivenessCallback()
    trainer = fit(TwoInputs, PairsDataModule(), [distinct, stages(), pruning])
    assert trainer.current_epoch == 2
    assert distinct.degrees == {}
    texts = warned()
    assert_one_line(texts, "TwoInputs does not take.*'right'.*inputs=", "prun.*'right'.*inputs=")


def test_a_gan_without_a_network_named_trains_on(fit, warned):
    """It has no validation step, so that its validation loader is not read."""
    distinct = DistinctivenessCallback()
    trainer = fit(
        GAN(), DigitsDataModule(), [distinct, StageCallback(train_loss="g_loss", val_loss="d_loss")]
    )
    assert trainer.current_epoch == 2
    assert warned() == [NO_LOADER]


def test_refused_layers_are_named_once(fit, caplog):
    caplog.set_level("INFO", "fer")
    distinct = DistinctivenessCallback()
    fit(LSTMClassifier, SentencesDataModule(), [distinct])
    assert list(distinct.degrees) == ["dense", "dense2"]
    assert sum("lstm" in record.getMessage() for record in caplog.records) == 1


def test_a_recurrent_layer_asked_for_by_name_is_an_error(fit):
    message = r"^distinctiveness\.layers: layer 'lstm' \(LSTM\) returns a tuple, not a tensor: name a layer"
    with pytest.raises(InputError, match=message):
        fit(LSTMClassifier, SentencesDataModule(), [DistinctivenessCallback(layers=["lstm"])])


def test_pruning_of_a_recurrent_layer_asked_for_by_name_is_an_error(fit):
    pruning = PruneCallback(enabled=True, metric="val_acc", layers=["lstm"])
    message = r"layer 'lstm' cannot be removed: it is of type LSTM, which cannot lose neurons$"
    with pytest.raises(InputError, match=message):
        fit(LSTMClassifier, SentencesDataModule(), [pruning])


def test_a_callback_that_is_off_costs_and_says_nothing(fit, warned, tmp_path):
    callbacks = [
        DistinctivenessCallback(every_n_epochs=0, network="bakbone"),
        StageCallback(enabled=False),
        PruneCallback(enabled=False),
    ]
    fit(LitTransfer, CornersDataModule(), callbacks, enable_checkpointing=False)
    assert warned() == []
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
