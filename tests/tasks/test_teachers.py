"""Distillation: the loss, and what the teachers are not part of."""

import copy
from types import SimpleNamespace

import pytest
import torch
from fake_cuda import CUDA, fake, move
from torch._subclasses.fake_tensor import FakeTensorMode

from fer.errors import InputError
from fer.tasks import AnnTask, Conv6Task
from fer.tasks.teachers import Teachers


def _task(seed=0):
    torch.manual_seed(seed)
    return AnnTask(in_features=6, hidden=5)


def _teachers(*seeds):
    return Teachers({f"{seed}.ckpt": _task(seed) for seed in seeds})


def _step(task, batch, monkeypatch):
    monkeypatch.setattr(task, "log", lambda *args, **kwargs: None)
    return task.training_step(batch, 0)


BATCH = torch.linspace(-2, 2, 24).reshape(4, 6), torch.tensor([0, 1, 2, 3])


def test_probabilities_are_the_mean_of_the_teachers():
    first, second = (task(BATCH[0]).softmax(1) for task in (_task(1).eval(), _task(2).eval()))
    torch.testing.assert_close(_teachers(1, 2).probabilities(BATCH[0]), (first + second) / 2)


def test_the_loss_is_the_cross_entropy_by_hand(monkeypatch):
    task = _task()
    wanted, found = _teachers(1, 2).probabilities(BATCH[0]), task.eval()(BATCH[0]).softmax(1)
    task.teachers = _teachers(1, 2)
    by_hand = -(wanted * found.log()).sum(1).mean()
    torch.testing.assert_close(_step(task, BATCH, monkeypatch), by_hand)


def test_nothing_is_left_to_learn_from_a_teacher_with_the_same_weights(monkeypatch):
    task = _task(1)
    task.teachers = _teachers(1)
    loss = _step(task, BATCH, monkeypatch)
    loss.backward()
    answers = task.teachers.probabilities(BATCH[0])
    torch.testing.assert_close(loss.detach(), -(answers * answers.log()).sum(1).mean())  # their entropy
    assert all(float(each.grad.abs().max()) < 1e-6 for each in task.parameters())


def test_labels_do_not_matter_to_the_loss_but_to_the_accuracy(monkeypatch):
    task = _task().eval()
    task.teachers = _teachers(1)
    logged = []
    monkeypatch.setattr(task, "log", lambda name, value, **_: logged.append((name, float(value))))
    answers = task(BATCH[0]).argmax(1)
    first, second = (
        float(task.training_step((BATCH[0], labels), 0).detach()) for labels in (answers, answers ^ 1)
    )
    assert first == second
    assert [value for name, value in logged if name == "train/acc"] == [1.0, 0.0]


def test_teachers_are_no_part_of_the_network_and_do_not_change(monkeypatch):
    task, teachers = _task(), _teachers(1, 2)
    names, before = list(task.state_dict()), copy.deepcopy(teachers.networks["1.ckpt"].state_dict())
    task.teachers = teachers
    task.train()
    _step(task, BATCH, monkeypatch).backward()
    assert list(task.state_dict()) == names
    assert len(list(task.parameters())) == len(list(_task().parameters()))
    for teacher in teachers.networks.values():
        assert not teacher.training
        assert all(each.grad is None for each in teacher.parameters())
    torch.testing.assert_close(teachers.networks["1.ckpt"].state_dict(), before, rtol=0, atol=0)


def test_teachers_see_the_mixed_images(monkeypatch):
    task = Conv6Task(mixup=5.0)
    task.teachers = Teachers({"teacher.ckpt": Conv6Task()})
    seen = []
    loss = task.teachers.loss
    monkeypatch.setattr(
        task.teachers, "loss", lambda logits, inputs: seen.append(inputs) or loss(logits, inputs)
    )
    images = torch.linspace(-2, 2, 4 * 48 * 48).reshape(4, 1, 48, 48)
    _step(task, (images, BATCH[1]), monkeypatch)
    (mixed,) = seen
    assert not torch.equal(mixed, images)


def test_half_precision_has_precise_probabilities():
    teachers = Teachers({"half.ckpt": _task().to(torch.bfloat16)})
    found = teachers.probabilities(BATCH[0].to(torch.bfloat16))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.sum(1), torch.ones(4))


def test_no_teacher_is_an_error():
    with pytest.raises(InputError, match="at least one teacher"):
        Teachers({})


def test_a_step_with_teachers_mixes_no_devices_and_does_not_wait(monkeypatch):
    mode, task, teacher = FakeTensorMode(), Conv6Task(), Conv6Task()
    inputs, labels = torch.zeros(8, 1, 48, 48), torch.zeros(8, dtype=torch.long)
    for each in (task, teacher):
        move(each, mode, CUDA)
    monkeypatch.setattr(type(task), "trainer", SimpleNamespace(world_size=1))
    task.teachers = Teachers({"teacher.ckpt": teacher})
    with mode:
        assert _step(task.train(), (fake(inputs, mode), fake(labels, mode)), monkeypatch).device == CUDA
