"""Networks that are called in other ways: several inputs, inputs by name, any batch, with a progress bar."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from fer.errors import InputError
from fer.neurons import find_hidden_layers, measure, measure_groups, prune
from fer.neurons.batches import InputBatches
from fer.neurons.inputs import Inputs, inputs_of, labels_of
from fer.neurons.measure import measure_gradients


class Two(nn.Module):
    """Takes an image, tokens and a mask, the last by name only; its layers are called by name as well."""

    def __init__(self):
        super().__init__()
        self.conv, self.embed = nn.Conv2d(1, 6, 3), nn.Embedding(9, 4)
        self.fc, self.out = nn.Linear(10, 8), nn.Linear(8, 3)

    def forward(self, image, ids, *, mask):
        words = (self.embed(ids) * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
        hidden = torch.cat([self.conv(input=image).relu().mean((2, 3)), words], 1)
        return self.out(input=self.fc(input=hidden).relu())


def make(num=60):
    """Return the network and what it is called with."""
    torch.manual_seed(0)
    named = {"image": torch.rand(num, 1, 6, 6), "ids": torch.randint(9, (num, 5)), "mask": torch.ones(num, 5)}
    return Two(), named | {"labels": torch.arange(num) % 3}


def split(named, size=20):
    num = len(named["ids"])
    return [
        {name: each[start : start + size] for name, each in named.items()} for start in range(0, num, size)
    ]


BATCHES = {
    "a mapping": (split, None),
    "a tuple": (
        lambda named: [tuple(batch.values()) for batch in split(named)],
        lambda batch: {"image": batch[0], "ids": batch[1], "mask": batch[2]},
    ),
    "inputs": (
        lambda named: [
            Inputs((batch["image"], batch["ids"]), {"mask": batch["mask"]}, batch) for batch in split(named)
        ],
        None,
    ),
    "a loader": (
        lambda named: DataLoader(TensorDataset(*named.values()), 20),
        lambda batch: {"image": batch[0], "ids": batch[1], "mask": batch[2]},
    ),
}


@pytest.mark.parametrize("kind", BATCHES)
@pytest.mark.parametrize("criterion", ["pairs", "taylor"])
def test_a_network_with_several_inputs_is_measured_and_pruned(kind, criterion):
    network, named = make()
    wrap, inputs = BATCHES[kind]
    pruned = prune(network, wrap(named), inputs=inputs, criterion=criterion, share_removed=0.5, layers=["fc"])
    expected = prune(
        network, split(named), criterion=criterion, num_removed={"fc": 4}, layers=["fc"], merge="refit"
    )
    assert pruned.plans == expected.plans
    assert pruned.network.fc.out_features == 4
    arguments = {name: each for name, each in named.items() if name != "labels"}
    torch.testing.assert_close(pruned.network(**arguments), expected.network(**arguments))
    statistics = measure(network, wrap(named), inputs=inputs)
    assert list(statistics) == ["fc"]
    hidden = network.fc(torch.zeros(1, 10)).shape[1]
    assert (statistics["fc"].num_neurons, statistics["fc"].count) == (hidden, 60)


def test_what_cannot_go_in_a_network_with_several_inputs_has_its_reason():
    network, named = make()
    prunable = measure_groups(network, split(named)).prunable
    assert [group.name for group in prunable.groups] == ["conv", "fc"]  # conv is joined with words
    assert prunable.refused.keys() == {"out", "embed"}
    assert find_hidden_layers(network, named).refused["conv"].startswith("the next layer, fc, takes them")


def test_a_layer_that_is_called_by_name_is_measured_at_its_input():
    network, named = make()
    statistics = measure(network, split(named), ["out:input"])["out:input"]
    caught = []
    network.out.register_forward_pre_hook(
        lambda _, args, kwargs: caught.append(kwargs["input"]), with_kwargs=True
    )
    network(named["image"], named["ids"], mask=named["mask"])
    torch.testing.assert_close(statistics.mean, caught[0].detach().double().mean(0))


def test_all_hidden_layers_are_measured_if_none_are_named():
    torch.manual_seed(0)
    network = nn.Sequential(
        *(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(36, 5), nn.ReLU(), nn.Linear(5, 2)),
    )
    images = torch.rand(70, 1, 8, 8)
    statistics = measure(network, [images], maps={"0": "mean"})
    assert list(statistics) == ["0", "4"]
    assert statistics["0"].count == statistics["4"].count == 70
    named = measure(network, [images], ["2", "5"])
    torch.testing.assert_close(statistics["4"].scatter, named["5"].scatter)
    assert named["2"].count == 70 * 9
    torch.testing.assert_close(measure(network, images)["4"].mean, named["5"].mean)  # one tensor is split


def test_a_network_without_hidden_layers_says_why():
    with pytest.raises(InputError, match=r"^Linear has no hidden layers to measure \(.*outputs\)$"):
        measure(nn.Linear(3, 2), [torch.rand(4, 3)])
    with pytest.raises(InputError, match="no layer has weights"):
        measure(nn.ReLU(), [torch.rand(4, 3)])


@pytest.mark.parametrize(
    ("batches", "reason"),
    [
        pytest.param({"x": torch.zeros(2, 3)}, "batches is a dict: give a list of batches", id="mapping"),
        pytest.param(None, "batches is a NoneType", id="none"),
        pytest.param([], "the analysis set is empty", id="empty"),
        pytest.param([torch.zeros(0, 3)], "the analysis set is empty", id="no samples"),
        pytest.param(iter([torch.zeros(2, 3)]), "the batches can be iterated over only once", id="once"),
        pytest.param(
            [torch.zeros(2, 3, dtype=torch.complex64)], "Sequential does not take complex64", id="type"
        ),
    ],
)
def test_batches_that_cannot_be_measured_are_refused(batches, reason):
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    with pytest.raises(InputError, match=reason):
        measure(network, batches)


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        pytest.param(
            lambda batch: batch["image"], "inputs= fails on a batch, a list: TypeError: ", id="fails"
        ),
        pytest.param(
            lambda batch: None, "inputs= returns NoneType for a batch, a list: return", id="nothing"
        ),
        pytest.param(lambda batch: tuple(batch), "Sequential does not take float32.*, int64", id="too many"),
    ],
)
def test_a_function_for_the_inputs_that_does_not_fit_is_named(inputs, reason):
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    with pytest.raises(InputError, match=reason):
        measure(network, [[torch.zeros(2, 3), torch.zeros(2, dtype=torch.long)]], inputs=inputs)


IMAGE, OTHER, LABELS = torch.zeros(2, 3), torch.ones(2, 4), torch.tensor([0, 1])


@pytest.mark.parametrize(
    "batch",
    [
        pytest.param((IMAGE, LABELS), id="pair"),
        pytest.param(((IMAGE, "a.png"), LABELS), id="nested"),
        pytest.param({"image": IMAGE, "label": LABELS}, id="by name"),
        pytest.param({"image": IMAGE, "mask": OTHER, "y": LABELS}, id="by name, behind another"),
        pytest.param({"image": IMAGE, "emotion": LABELS}, id="second"),
        pytest.param(Inputs((IMAGE, OTHER), batch=(IMAGE, OTHER, LABELS)), id="two inputs"),
        pytest.param(Inputs((IMAGE, OTHER), batch=(IMAGE, OTHER, LABELS)).take(1), id="two inputs, fewer"),
        pytest.param(Inputs((IMAGE.flatten(),), batch=(IMAGE, LABELS)), id="changed"),
    ],
)
def test_labels_are_what_is_called_so_or_the_first_behind_the_inputs(batch):
    assert labels_of(batch).tolist() == [0, 1][: len(labels_of(batch))]
    assert labels_of(batch).dtype == torch.long


@pytest.mark.parametrize(
    "batch", [IMAGE, [IMAGE], Inputs((IMAGE,)), Inputs((IMAGE, OTHER), batch=(IMAGE, OTHER))]
)
def test_a_batch_without_labels_is_refused(batch):
    with pytest.raises(InputError, match="the criterion needs labels, but a batch has none"):
        labels_of(batch)


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        pytest.param(
            nn.GRU(3, 2, batch_first=True), "GRU returns a tuple, but the criterion needs", id="tuple"
        ),
        pytest.param(
            nn.Linear(3, 1), r"labels of shape \(2,\) do not fit outputs of shape \(2, 1\)", id="shape"
        ),
    ],
)
def test_a_criterion_with_labels_needs_logits(network, reason):
    with pytest.raises(InputError, match=reason):
        measure_gradients(network, [], [(IMAGE, LABELS)])


@dataclass
class Batch:
    image: torch.Tensor
    label: torch.Tensor


def test_a_dataclass_is_a_batch():
    assert inputs_of(Batch(IMAGE, LABELS)).args == (IMAGE,)
    assert labels_of(Batch(IMAGE, LABELS)) is LABELS
    assert labels_of(inputs_of(Batch(IMAGE, LABELS)).take(1)).tolist() == [0]


def test_one_sample_is_repeated():
    inputs = Inputs((torch.tensor([[1.0], [2.0]]), 3), {"scale": torch.ones(5)}).repeat(3)
    assert inputs.args[0].tolist() == [[1.0]] * 3
    assert inputs.args[1] == 3
    assert inputs.kwargs["scale"].shape == (5,)


def test_a_bar_for_each_pass_is_gone_at_the_end(capsys):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Sequential(nn.Linear(3, 8), nn.ReLU()), nn.Linear(8, 2))
    batches = [(torch.rand(50, 3), torch.arange(50) % 2)]
    prune(network, batches, criterion="taylor", share_removed=0.5)
    measure(network, batches)
    assert capsys.readouterr().err == ""
    prune(network, batches, criterion="taylor", share_removed=0.5, progress=True)
    measure(network, batches, progress=True)
    shown = capsys.readouterr().err
    titles = ["measuring gradients: ", "measuring neurons: ", "measuring layers: "]
    assert [shown.index(title) for title in titles] == sorted(shown.index(title) for title in titles)
    assert shown.rstrip(" ").endswith("\r")


class Endless(IterableDataset):
    """A data set without a length."""

    def __iter__(self):
        yield from torch.rand(12, 3, generator=torch.Generator().manual_seed(0))


def test_a_loader_without_a_length_has_a_bar_too(capsys):
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    assert measure(network, DataLoader(Endless(), 5), progress=True)["0"].count == 12
    assert "measuring layers: " in capsys.readouterr().err


def test_an_input_batches_object_is_used_as_it_is():
    batches = InputBatches.of([IMAGE], nn.Linear(3, 2))
    assert InputBatches.of(batches, nn.ReLU()) is batches
