"""The balanced sampler: each class equally often, alike in every process, not together with weights."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from command import assert_warns_of_few_at_most
from forked import run_python
from lightning.fabric.utilities.distributed import DistributedSamplerWrapper

import fer
from fer.errors import InputError
from fer.tasks import AnnTask

RARE = [0] * 14 + [1] * 6 + [2] * 3 + [3] * 2 + [4, 5, 6]
"""Labels of 28 training images, each class among them, from half of them to one."""


@pytest.fixture
def data_of(tiny_data):
    def make(**settings):
        data = tiny_data(labels=RARE, **settings)
        data.setup()
        return data

    return make


def drawn(data, epochs=1):
    """Return the labels of the batches of some epochs."""
    loader = data.train_dataloader()
    return torch.cat([labels for _ in range(epochs) for _, labels in loader]).numpy()


def test_each_class_is_drawn_equally_often_on_average(data_of):
    torch.manual_seed(0)
    num = 28 * 60
    counts = np.bincount(drawn(data_of(sampler="balanced"), epochs=60), minlength=7)
    assert counts.sum() == num
    deviation = np.sqrt(num / 7 * 6 / 7)  # of a binomial count
    assert np.abs(counts - num / 7).max() < 4 * deviation


def test_without_it_each_image_is_drawn_once(data_of):
    assert np.bincount(drawn(data_of())).tolist() == np.bincount(RARE).tolist()


def test_the_runs_seed_decides_what_is_drawn(data_of):
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        data = data_of(sampler="balanced")
        torch.rand(seed)  # whatever else draws random numbers does not matter
        found.append(drawn(data, epochs=3).tolist())
    assert found[0] == found[1] != found[2]
    assert found[0][:28] != found[0][28:56], "another list in each epoch"


def test_two_processes_share_one_list(data_of):
    """Lightning wraps the sampler of each process, and deals the list of a run out to them."""
    parts = []
    for rank in (0, 1):
        torch.manual_seed(5)
        sampler = data_of(sampler="balanced").train_dataloader().sampler
        parts.append(list(DistributedSamplerWrapper(sampler, num_replicas=2, rank=rank, shuffle=True)))
    torch.manual_seed(5)
    whole = list(data_of(sampler="balanced").train_dataloader().sampler)
    assert [len(part) for part in parts] == [14, 14]
    assert sorted(parts[0] + parts[1]) == sorted(whole)


def test_an_unknown_sampler_is_refused(tiny_data):
    with pytest.raises(InputError, match=r"data\.sampler is 'even': it must be one of none, balanced"):
        tiny_data(sampler="even")


def test_correcting_for_rare_classes_twice_is_refused(data_of, tiny_trainer):
    task = AnnTask(in_features=64, hidden=5, class_weights="balanced")
    with pytest.raises(InputError, match=r"data\.sampler=balanced and model\.class_weights=balanced"):
        tiny_trainer().fit(task, datamodule=data_of(sampler="balanced"))


@pytest.mark.slow
def test_two_processes_train_on_balanced_batches(tmp_path):
    words = ["--data.sampler", "balanced", "--data.num_train", "71", "--data.batch_size", "8"]
    words += ["--network", "ann", "--data.image_size", "8", "--wandb.mode", "disabled"]
    words += ["--gradients.every_n_epochs", "0", "--distinctiveness.every_n_epochs", "0"]
    words += ["--trainer.max_epochs", "1", "--test", "false", "--trainer.accelerator", "cpu"]
    words += ["--trainer.devices", "2", "--trainer.strategy", "ddp"]
    environment = {**os.environ, "PYTHONPATH": str(Path(fer.__file__).parent.parent)}
    ended = run_python("-m", "fer", "fit", *words, cwd=tmp_path, env=environment)
    assert ended.returncode == 0, ended.stderr
    assert_warns_of_few_at_most(ended.stderr)
