"""Draws of an epoch: equal for any number of workers and processes, and resumed in the middle."""

import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from fer.data.batches import collate
from fer.data.draws import Draw, Draws, EpochLoader
from fer.tasks import Conv2Task

PIPELINES = ("device", "loader")


def _epochs(loader, num=2):
    return [[batch[0].clone() for batch in loader] for _ in range(num)]


def _equal(left, right):
    return len(left) == len(right) and all(map(torch.equal, left, right))


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("pipeline", PIPELINES)
@pytest.mark.parametrize("workers", [1, 2, pytest.param(8, marks=pytest.mark.slow)])
def test_the_number_of_workers_changes_nothing(workers, pipeline, tiny_data):
    found = []
    for num in (0, workers):
        torch.manual_seed(3)
        data = tiny_data(augment="fer", num_workers=num, pipeline=pipeline)
        data.setup()
        loader = data.train_dataloader()
        torch.rand(num)  # what else draws random numbers does not matter
        found.append(_epochs(loader))
        del loader
    assert all(map(_equal, *found))
    assert not _equal(*found[0]), "another order and augmentation in each epoch"


@pytest.mark.filterwarnings("ignore:You requested to overfit:UserWarning")
def test_batches_to_overfit_are_the_same_ones_in_each_epoch(tiny_data, tiny_trainer):
    task = Conv2Task(widths=(2, 2), hidden=(4, 4), image_size=8, channels=1)
    seen, step = [], task.training_step
    task.training_step = lambda batch, batch_idx: seen.append(batch[0].clone()) or step(batch, batch_idx)
    tiny_trainer(overfit_batches=2, max_epochs=2).fit(task, datamodule=tiny_data())
    assert _equal(seen[:2], seen[2:])


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_loading_leaves_the_random_state_of_the_training_alone(pipeline, tiny_data):
    data = tiny_data(augment="fer", pipeline=pipeline)
    data.setup()
    loader = data.train_dataloader()
    before = torch.get_rng_state()
    _epochs(loader)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("sampler", ["none", "balanced"])
@pytest.mark.parametrize("pipeline", PIPELINES)
def test_images_follow_from_their_draws_in_any_batch_and_process(pipeline, sampler, tiny_data):
    """Two processes that share a list, or another batch size, give the images of one process."""
    data = tiny_data(augment="fer", pipeline=pipeline, sampler=sampler)
    data.setup()
    dataset, weights = data.dataset("train", augmented=True), data.train_dataloader().sampler.weights

    def images(batch_size=7, **process):
        draws = Draws(dataset, seed=2, weights=weights, **process)
        loader = EpochLoader(dataset, sampler=draws, batch_size=batch_size, collate_fn=collate)
        return torch.cat([torch.cat(epoch) for epoch in _epochs(loader)])

    whole = images()
    assert len(whole) == 56
    assert torch.equal(images(batch_size=5), whole)
    parts = [images(num_processes=2, rank=rank) for rank in (0, 1)]
    assert torch.equal(torch.stack(parts, dim=1).flatten(0, 1), whole)


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_augmented_epochs_go_on_in_the_middle(pipeline, tiny_data):
    data = tiny_data(augment="fer", pipeline=pipeline)
    data.setup()
    torch.manual_seed(4)
    first, second = _epochs(data.train_dataloader())
    resumed = data.train_dataloader()
    resumed.load_state_dict({"epoch": 1, "num_done": 3})
    assert _equal(_epochs(resumed, 1)[0], second[3:])
    assert not _equal(first, second)


def _loader(num=23, **settings):
    rows = TensorDataset(torch.arange(num))
    return EpochLoader(rows, sampler=Draws(rows, seed=5, **settings), batch_size=4)


def test_each_row_is_drawn_once_in_an_epoch_in_an_order_of_its_own():
    first, second = (torch.cat(epoch) for epoch in _epochs(_loader()))
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(23))
    assert first.tolist() != second.tolist()


@pytest.mark.parametrize("num_done", [0, 1, 5, 6])
def test_an_epoch_goes_on_where_another_loader_stopped(num_done):
    whole = _loader()
    first, second, third = _epochs(whole, 3)
    begun = _loader()
    _epochs(begun, 1)
    batches = iter(begun)
    seen = [next(batches)[0] for _ in range(num_done)]
    resumed = _loader()
    resumed.load_state_dict(begun.state_dict() if num_done else {"epoch": 1, "num_done": 0})
    rest = _epochs(resumed, 2)
    expected = [second[num_done:], third] if num_done < 6 else [third]
    assert _equal(seen, second[:num_done])
    assert all(map(_equal, rest, expected))
    assert not _equal(first, second)


def test_an_epoch_that_is_set_afterwards_begins_anew():
    """As Lightning sets it where an epoch was cut short by a limit on its batches."""
    resumed = _loader()
    resumed.load_state_dict({"epoch": 0, "num_done": 3})
    resumed.sampler.set_epoch(1)
    assert _equal(_epochs(resumed, 1)[0], _epochs(_loader())[1])


def test_a_loop_that_breaks_off_begins_the_next_epoch():
    loader = _loader()
    next(iter(loader))
    assert _equal(_epochs(loader, 1)[0], _epochs(_loader())[1])


def test_processes_share_one_list():
    parts = [list(Draws(range(10), seed=1, num_processes=3, rank=rank)) for rank in range(3)]
    whole = list(Draws(range(10), seed=1))
    assert [part[0] for part in parts] == whole[:3]
    assert [len(part) for part in parts] == [4, 4, 4]
    assert {row for part in parts for row in part} == {*range(10)}
    assert [draw.seed for draw in parts[1]][:3] == [draw.seed for draw in whole[1::3]]


def test_seeds_differ_between_samples_epochs_and_runs():
    seeds = set()
    for seed in (0, 1):
        draws = Draws(range(50), seed=seed)
        for epoch in (0, 1):
            draws.set_epoch(epoch)
            seeds |= {draw.seed for draw in draws}
    assert len(seeds) == 200


def test_a_draw_survives_the_way_to_a_worker():
    copied = pickle.loads(pickle.dumps(Draw(3, seed=2**62)))
    assert (copied, copied.seed) == (3, 2**62)
    assert np.arange(9)[copied] == 3
