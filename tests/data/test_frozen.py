"""Features of a frozen part: computed once, found again in the cache, and never taken for others."""

import copy
import logging

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from fer.data import frozen
from fer.data.cache import cache_dir
from fer.data.draws import Draw
from fer.data.frozen import FeatureDataset, KeptFeatures
from fer.neurons.frozen import identify


class Part:
    """A frozen convolution, which counts the samples that it computes."""

    versions = 1

    def __init__(self, more=()):
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.module = torch.nn.Conv2d(1, 2, 3).eval()
        self.more = more
        self.num_computed = 0

    @property
    def identity(self):
        return identify(self.module, self.more)

    def compute(self, inputs):
        self.num_computed += len(inputs)
        with torch.no_grad():
            return self.module(inputs).mean((2, 3))


def images(num=10):
    return torch.rand(num, 1, 6, 6, generator=torch.Generator().manual_seed(0))


def samples(inputs=None):
    inputs = images() if inputs is None else inputs
    return TensorDataset(inputs, torch.arange(len(inputs)))


def features_of(dataset, part, **settings):
    return KeptFeatures(batch_size=4).of(dataset, part, title="val", **settings)


def test_features_stand_in_the_place_of_inputs():
    part = Part()
    found = features_of(samples(), part)
    assert isinstance(found, FeatureDataset)
    assert len(found) == 10
    with torch.no_grad():
        expected = part.module(images()).mean((2, 3))
    for row, (features, target) in enumerate(found):
        torch.testing.assert_close(features, expected[row])
        assert target == row


def test_they_are_computed_once_and_then_found_in_the_cache():
    first, second, part = Part(), Part(), Part()
    kept = KeptFeatures(batch_size=4)
    once = kept.of(samples(), part, title="val")
    assert part.num_computed == 10 + 4  # the first batch is tried
    again = kept.of(samples(), part, title="val")
    assert part.num_computed == 10 + 4 + 4
    for other in (first, second):
        found = features_of(samples(), other)
        assert other.num_computed == 4
        assert torch.equal(found.features, once.features)
    assert torch.equal(again.features, once.features)


def one_pixel(part):
    inputs = images()
    inputs[9, 0, 5, 5] += 1e-6
    return samples(inputs), part


def one_weight(part):
    with torch.no_grad():
        part.module.weight[0, 0, 0, 0] += 1e-6
    return samples(), part


def one_setting(part):
    part.module.padding = (0, 1)  # no weight tells
    return samples(), part


def precision(part):
    return samples(), Part(more=["bf16-mixed"])


@pytest.mark.parametrize("change", [one_pixel, one_weight, one_setting, precision])
def test_the_cache_is_missed_after_a_change(change):
    features_of(samples(), Part())
    dataset, part = change(Part())
    found = features_of(dataset, part)
    assert part.num_computed == 10 + 4
    with torch.no_grad():
        expected = part.module(torch.stack([image for image, _ in dataset])).mean((2, 3))
    torch.testing.assert_close(found.features[0], expected)
    assert len(list((cache_dir() / "features").glob("*.pt"))) == 2


@pytest.mark.parametrize("change", ["weight", "buffer", "precision", "structure", "type"])
def test_what_identifies_a_part(change):
    part = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    before, other, more = identify(part, ["32-true"]), copy.deepcopy(part), ["32-true"]
    assert identify(other, more) == before
    match change:
        case "weight":
            other[0].bias.data[3] = 7.0
        case "buffer":
            other[1].running_var[0] = 7.0
        case "precision":
            more = ["bf16-mixed"]
        case "structure":
            other[1].eps = 1e-3
        case "type":
            other = other.double()
    assert identify(other, more) != before


def test_code_that_no_name_tells_is_seen_in_what_it_computes(caplog):
    part, other = Part(), Part()
    features_of(samples(), part)
    compute = other.compute
    other.compute = lambda inputs: compute(inputs).relu() + 1
    found = features_of(samples(), other)
    assert other.num_computed == 10 + 4
    assert found.features.min() >= 1


@pytest.mark.parametrize("damage", ["cut off", "other values", "another file"])
def test_a_damaged_file_is_replaced(damage, caplog):
    caplog.set_level(logging.INFO, "fer.data")
    whole = features_of(samples(), Part()).features
    (path,) = (cache_dir() / "features").glob("*.pt")
    match damage:
        case "cut off":
            path.write_bytes(path.read_bytes()[:-50])
        case "other values":
            torch.save({"features": torch.zeros(10, 2)}, path)
        case "another file":
            torch.save({"feature": 1}, path)
    part = Part()
    assert torch.equal(features_of(samples(), part).features, whole)
    assert part.num_computed == 10 + 4
    part = Part()
    features_of(samples(), part)
    assert part.num_computed == 4


class Noisy(TensorDataset):
    """Inputs plus noise from the seed of a draw."""

    def __getitem__(self, index):
        inputs, target = super().__getitem__(int(index))
        assert isinstance(index, Draw)
        noise = torch.rand(inputs.shape, generator=torch.Generator().manual_seed(index.seed))
        return inputs + noise, target


def test_the_seed_of_a_draw_chooses_a_version():
    torch.manual_seed(5)
    part = Part()
    found = features_of(Noisy(images(), torch.arange(10)), part, versions=3)
    assert part.num_computed == 30 + 4
    assert found.features.shape == (3, 10, 2)
    assert len(found) == 10
    rows = [found[Draw(7, seed)][0] for seed in range(6)]
    assert all(torch.equal(rows[seed], rows[seed + 3]) for seed in range(3))
    assert not torch.equal(rows[0], rows[1])
    assert found[Draw(7, 1)][1] == 7
    again = features_of(Noisy(images(), torch.arange(10)), Part(), versions=3)
    assert torch.equal(again.features, found.features)
    torch.manual_seed(6)  # another run draws others
    other = features_of(Noisy(images(), torch.arange(10)), Part(), versions=3)
    assert not torch.equal(other.features, found.features)


def test_the_random_state_stays_as_it_is():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    features_of(samples(), Part())
    assert torch.equal(torch.rand(3), expected)


def test_features_that_are_too_large_are_not_kept(monkeypatch, caplog):
    monkeypatch.setattr(frozen, "MOST_BYTES", 79)
    dataset = samples()
    assert features_of(dataset, Part()) is dataset
    assert "the features of val are computed in each epoch" in caplog.text
    monkeypatch.setattr(frozen, "MOST_BYTES", 80)  # ten times two numbers of four bytes
    assert features_of(dataset, Part()) is not dataset


def test_a_cache_that_cannot_be_written_is_warned_of(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setenv("FER_CACHE_DIR", str(tmp_path / "file"))
    found = features_of(samples(), Part())
    assert found.features.shape == (1, 10, 2)
    assert "computed again in every run" in caplog.text
    assert np.isfinite(found.features.numpy()).all()
