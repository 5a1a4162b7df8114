"""Any network on inputs without labels."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from fer.errors import InputError
from fer.pruning import PruneSettings, fine_tune, prune_unlabelled
from fer.pruning.any_network import BARE, Agreement, count_agreement


def test_a_network_and_its_smaller_one_agree_where_copies_were_removed():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 4))
    with torch.no_grad():
        network[0].weight[4:] = network[0].weight[:4]
        network[0].bias[4:] = network[0].bias[:4]
    batches = [torch.randn(50, 5), torch.randn(30, 5)]

    pruning, results = prune_unlabelled(
        network, batches, [torch.randn(10, 5)], PruneSettings(similar_below=1)
    )

    assert pruning.network[0].out_features == 4
    assert results.agreement == {"measured": Agreement(80, 80), "held out": Agreement(10, 10)}
    assert results.num_classes == 4
    assert results.to_dict()["layers"]["0"]["similar"] == 4
    assert "same class (top-1)" in results.table()


@pytest.mark.parametrize(("bare", "is_said"), [(9, True), (3, False)])
def test_a_recalibration_that_does_harm_is_said(bare, is_said):
    batches = [torch.randn(50, 5)]
    _, results = prune_unlabelled(
        nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 4)), batches, batches, PruneSettings()
    )
    agreement = {
        "measured": Agreement(3, 10),
        "held out": Agreement(3, 10),
        f"held out{BARE}": Agreement(bare, 10),
    }

    printed = replace(results, agreement=agreement).table()

    assert ("or set --prune.recalibrate false" in printed) == is_said


def test_without_held_out_samples_the_table_says_so():
    network = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 4))

    _, results = prune_unlabelled(network, [torch.randn(50, 5)], [], PruneSettings())

    assert "no samples" in results.table()


def test_fine_tuning_needs_no_labels_and_is_told_apart():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 32), nn.ReLU(), nn.Linear(32, 4))
    batches, held_out = [torch.randn(50, 5) for _ in range(4)], [torch.randn(200, 5)]

    pruning, results = prune_unlabelled(
        *(network, batches, held_out, PruneSettings(criterion="l1", merge="drop", share_removed=0.8)),
        tune=lambda small: fine_tune(small, batches, whole=network, epochs=20, lr=1e-2),
    )

    before, after = (results.agreement[f"held out{when}"] for when in (", before fine-tuning", ""))
    assert before == count_agreement(network, pruning.tuning.before, held_out)
    assert after == count_agreement(network, pruning.network, held_out)
    assert after.same > before.same


def test_outputs_that_are_no_logits_are_refused():
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))

    with pytest.raises(InputError, match=r"Sequential returns \(1, 2, 4, 4\), not logits"):
        prune_unlabelled(network, [torch.randn(2, 1, 8, 8)], [])


def test_networks_agree_on_no_sample_whose_logits_are_not_finite():
    class Root(nn.Module):
        def forward(self, inputs):
            return inputs.sqrt()

    batch = torch.tensor([[1.0, 4.0], [-1.0, 4.0], [torch.inf, 0.0]])

    assert count_agreement(Root(), Root(), [batch]) == Agreement(1, 3)
    assert count_agreement(nn.Identity(), Root(), [batch]) == Agreement(1, 3)


def test_an_agreement_has_an_interval():
    assert str(Agreement(27, 55)) == "49.09 % [36.38, 61.92], 27 of 55"
