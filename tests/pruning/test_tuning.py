"""Fine-tuning: labels or the unpruned network's outputs, and the best epoch on val."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset

from fer.errors import InputError
from fer.metrics import mcnemar
from fer.pruning import (
    PruneResults,
    PruneSettings,
    compare,
    distillation_loss,
    evaluate,
    fine_tune,
    prune_in_rounds,
    prune_once,
)
from fer.pruning.kept import KeptRounds
from fer.pruning.rounds import join_rounds
from fer.pruning.tuning import BestEpoch, Epoch

HALF = PruneSettings(criterion="span", share_removed=0.5)


@pytest.fixture
def pruned(network, train):
    return prune_once(network, train, HALF)


def unlabelled(batches):
    return [inputs for inputs, _ in batches]


def distance(network, other, batches):
    with torch.no_grad():
        return sum(float(distillation_loss(network(each), other(each))) for each in unlabelled(batches))


@pytest.mark.slow
def test_distillation_needs_no_labels_and_approaches_the_whole_network(network, pruned, train):
    before = copy.deepcopy(pruned.network.state_dict())

    tuning = fine_tune(pruned.network, unlabelled(train), whole=network, epochs=20, lr=3e-3)

    assert distance(network, tuning.network, train) < 0.8 * distance(network, pruned.network, train)
    assert (tuning.best, len(tuning.epochs), tuning.is_distilled) == (20, 21, True)
    assert tuning.epochs[20].loss < tuning.epochs[1].loss
    assert all(tensor.equal(before[name]) for name, tensor in pruned.network.state_dict().items())


@pytest.mark.slow
def test_labels_are_learnt_without_distillation(pruned, train):
    tuning = fine_tune(pruned.network, train, val=train, epochs=4, lr=1e-2)

    found, before = evaluate(tuning.network, train), evaluate(pruned.network, train)
    assert found.report.accuracy > before.report.accuracy
    best = tuning.epochs[tuning.best]
    assert best.val_acc == found.report.accuracy == max(each.val_acc for each in tuning.epochs)
    assert tuning.epochs[0] == Epoch(None, before.loss, before.report.accuracy)


@pytest.mark.slow
def test_the_best_epoch_is_selected_on_val_and_nothing_is_worse_than_before(pruned, train):
    """Wrong labels leave the network as it was."""
    wrong = [(inputs, (labels + 1) % 7) for inputs, labels in train]
    before = fine_tune(pruned.network, train, epochs=5, lr=1e-2).network

    tuning = fine_tune(before, wrong, val=train, epochs=2, lr=1e-2)

    assert tuning.epochs[0].val_acc > max(each.val_acc for each in tuning.epochs[1:])
    assert tuning.best == 0
    pruned = replace(pruned, network=before)
    state = pruned.network.state_dict()
    assert all(tensor.equal(state[name]) for name, tensor in tuning.network.state_dict().items())


@pytest.mark.parametrize(
    ("epochs", "best"),
    [
        pytest.param([(0.5, 1.0), (0.6, 2.0), (0.6, 1.5)], 2, id="accuracy, then loss"),
        pytest.param([(0.5, 1.0), (0.5, 1.0)], 0, id="the first of equal ones"),
        pytest.param([(None, 1.0), (None, 0.5), (None, 0.7)], 1, id="loss without classes"),
        pytest.param([(None, 1.0), (None, float("nan"))], 0, id="NaN is worst"),
    ],
)
def test_what_is_best(epochs, best):
    found = iter(epochs)
    network = nn.Linear(1, 1)

    def evaluate_next(_):
        acc, loss = next(found)
        return Epoch(val_loss=loss, val_acc=acc)

    kept, states = BestEpoch(network, evaluate_next), [copy.deepcopy(network.state_dict())]
    for _ in epochs[1:]:
        with torch.no_grad():
            network.weight += 1
        kept.add(network, 0.0)
        states.append(copy.deepcopy(network.state_dict()))
    kept.restore_(network)

    assert kept.best == best
    assert network.weight.equal(states[best]["weight"])


class TwoHeads(nn.Module):
    """A network that returns no logits."""

    def __init__(self):
        super().__init__()
        self.hidden, self.head = nn.Linear(4, 16), nn.Linear(16, 6)

    def forward(self, values):
        both = self.head(self.hidden(values).relu())
        return {"box": both[:, None, :4], "score": both[:, 4]}


def test_outputs_that_are_no_logits_are_matched_by_their_squares():
    torch.manual_seed(0)
    network, batches = TwoHeads(), [torch.randn(20, 4) for _ in range(5)]
    small = prune_once(network, batches, HALF).network

    tuning = fine_tune(small, batches, whole=network, val=batches, epochs=3, lr=1e-2)

    target, output = network(batches[0]), small(batches[0])
    wanted = F.mse_loss(output["box"], target["box"]) + F.mse_loss(output["score"], target["score"])
    assert distillation_loss(output, target).item() == pytest.approx(wanted.item())
    assert tuning.best > 0
    assert tuning.epochs[tuning.best].val_loss < tuning.epochs[0].val_loss
    assert tuning.epochs[0].val_acc is None


def test_the_divergence_is_that_of_softened_classes():
    one, two = torch.randn(9, 5), torch.randn(9, 5)

    found = distillation_loss(one, two, temperature=3.0)

    p, q = ((each / 3).softmax(1) for each in (two, one))
    assert found.item() == pytest.approx(float(9 * (p * (p / q).log()).sum(1).mean()), rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_types_and_modes_are_kept(network, train, dtype):
    network.to(dtype).train()
    network.bn1.eval()

    tuning = fine_tune(network, train, whole=network, lr=1e-3)

    assert {each.dtype for each in tuning.network.parameters()} == {dtype}
    modes = {name: module.training for name, module in network.named_modules()}
    assert {name: module.training for name, module in tuning.network.named_modules()} == modes
    assert (modes[""], modes["bn1"]) == (True, False)


def test_statistics_of_frozen_batch_norm_do_not_drift():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Linear(8, 8), nn.BatchNorm1d(8))
    network[:2].requires_grad_(requires_grad=False)

    tuning = fine_tune(network, [torch.randn(9, 3) + 1], whole=network)

    means = [tuning.network[k].running_mean for k in (1, 3)]
    assert [bool(mean.any()) for mean in means] == [False, True]


@pytest.mark.parametrize(
    ("val", "message"),
    [
        pytest.param([], "there are no samples", id="empty"),
        pytest.param(iter([torch.randn(9, 3)]), "can be iterated over only once", id="an iterator"),
    ],
)
def test_a_validation_split_that_cannot_be_evaluated_is_refused(val, message):
    network = nn.Linear(3, 4)
    with pytest.raises(InputError, match=message):
        fine_tune(network, [torch.randn(9, 3)], whole=network, val=val)


class Stream(IterableDataset):
    """Samples whose number is not known."""

    def __iter__(self):
        yield from torch.randn(8, 3, generator=torch.Generator().manual_seed(0))


def test_batches_may_have_no_length():
    torch.manual_seed(0)
    network, loader = nn.Linear(3, 4), DataLoader(Stream(), batch_size=3)

    tuning = fine_tune(network, loader, whole=nn.Linear(3, 4), epochs=2, lr=1e-2)

    assert tuning.epochs[2].loss < tuning.epochs[1].loss


def test_a_batch_of_one_sample_is_trained_on():
    network = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2)).eval()
    batches = [(torch.randn(1, 3), torch.tensor([0]))]

    tuning = fine_tune(network, batches, lr=1e-2)

    assert not tuning.network[0].weight.equal(network[0].weight)
    assert tuning.network[1].running_mean.equal(network[1].running_mean)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"epochs": 0}, "set epochs to at least 1", id="no epoch"),
        pytest.param({"lr": -1.0}, "lr above 0", id="rate"),
        pytest.param({"batches": []}, "no samples", id="empty"),
        pytest.param({"batches": [torch.randn(7, 1, 32, 32)]}, "labels", id="no labels"),
        pytest.param({"lr": 1e30}, "is not finite: lower lr", id="not finite"),
        pytest.param({"network": nn.Sequential()}, "no trainable parameter", id="nothing to train"),
    ],
)
def test_what_is_refused(change, message, network, train):
    given = {"network": network, "batches": train} | change

    with pytest.raises(InputError, match=message):
        fine_tune(given.pop("network"), given.pop("batches"), **given)


@pytest.mark.slow
def test_results_say_what_fine_tuning_brought(network, pruned, train, val, tmp_path):
    tuned = pruned.tuned(fine_tune(pruned.network, train, val=train, epochs=3, lr=1e-2))

    results = compare(network, tuned, train)

    before, after = (evaluate(each, train) for each in (pruned.network, tuned.network))
    assert results.tuning.before.acc == before.report.accuracy != after.report.accuracy == results.after.acc
    assert results.tuning.mcnemar == mcnemar(before.right, after.right)
    assert results.tuning.best == tuned.tuning.best
    whole = evaluate(pruned.recalibration.before, train)
    assert results.recalibration.mcnemar == mcnemar(whole.right, before.right)  # not fine-tuned
    (line,) = (line for line in results.table().splitlines() if "fine-tuning" in line and "%" in line)
    assert f"{100 * before.report.accuracy:.2f} %" in line
    assert f"{100 * after.report.accuracy:.2f} %" in line
    assert results.scalars()["prune/acc_after_not_tuned"] == before.report.accuracy
    results.write(tmp_path)
    assert PruneResults.read(tmp_path) == results


@pytest.mark.slow
def test_rounds_hold_all_networks_that_are_compared(network, train, val, tmp_path):
    """Also those of a round that was read from disk."""
    settings = replace(HALF, share_removed=None, similar_below=60.0, criterion="span")
    (only,) = prune_in_rounds(
        *(network, train, val, settings),
        rounds=1,
        tolerance=1.0,
        fine_tune=lambda small, widths: fine_tune(small, train, whole=network, lr=1e-2),
    )
    alone = prune_once(network, train, settings)
    kept = KeptRounds.of(tmp_path)
    kept.write(1, only)

    for each in (only, *kept.read(network)):
        joined = join_rounds([each], settings, alone.recalibration.before)
        pairs = [
            (joined.recalibration.after, alone.recalibration.after),
            (joined.tuning.before, alone.network),
            (joined.network, only.pruning.network),
        ]
        for one, two in pairs:
            state = two.state_dict()
            assert all(tensor.equal(state[name]) for name, tensor in one.state_dict().items())
        assert joined.tuning.epochs == only.pruning.tuning.epochs
        results = compare(network, joined, val)
        assert results.recalibration.after.acc == only.result.pruned
        assert results.tuning.before.acc == only.result.recalibrated
        assert results.after.acc == only.result.tuned
