"""Whether a training can go on: with the same data, and no longer than its schedule."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.optim import SGD

from fer.errors import InputError
from fer.tasks.going_on import check_data, describe_data, steps_left
from fer.tasks.optim import ScheduleSettings, make_schedule

DATA = SimpleNamespace(title="SFEW", protocol_name="3-fold, fold 0")


def test_the_same_data_is_taken():
    check_data(describe_data(DATA), DATA)
    check_data(None, DATA)
    check_data("SFEW, 3-fold, fold 0", None)


def test_another_protocol_is_refused():
    with pytest.raises(
        InputError, match=r"was trained on SFEW, 3-fold, fold 1 and cannot be resumed with SFEW, 3-"
    ):
        check_data("SFEW, 3-fold, fold 1", DATA)


@pytest.mark.parametrize("warmup", [0.0, 0.3])
@pytest.mark.parametrize("name", ["onecycle", "cosine"])
def test_the_steps_that_are_left_are_counted(name, warmup):
    optimizer = SGD(nn.Linear(1, 1).parameters(), lr=0.1)
    settings = ScheduleSettings(name, (), 0.1, 0.1, 40, 2, 1e-5, warmup)
    schedule = make_schedule(optimizer, settings, num_steps=20, num_epochs=4)["scheduler"]
    found = []
    for _ in range(20):
        found.append(steps_left(schedule))
        optimizer.step()
        schedule.step()
    assert found == list(range(20, 0, -1))
    assert steps_left(schedule) == 0


def test_a_schedule_without_an_end_has_no_number():
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)
    assert steps_left(torch.optim.lr_scheduler.MultiStepLR(optimizer, [3])) == float("inf")
