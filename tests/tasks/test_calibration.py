"""A task's calibration belongs to its weights: fitted by a validation, void after a training step."""

import pytest
import torch

from fer.checkpoints import calibration_in, read_checkpoint, temperature_of, write_checkpoint
from fer.errors import InputError
from fer.metrics.calibration import calibration
from fer.neurons.surgery import widths
from fer.tasks import AnnTask, Conv1Task, load


def logits_of(task, data, name):
    """Return logits, with an axis of one view, and labels of a split."""
    split, dataset = data.splits[name], data.dataset(name)
    with torch.no_grad():
        logits = task(torch.stack([dataset[row][0] for row in range(len(split))]))
    return logits[:, None], torch.from_numpy(split.labels)


@pytest.fixture
def trained(tiny_data, tiny_trainer):
    """A trainer that has trained images of noise for an epoch, and its data."""
    data, trainer = tiny_data(num_val=49), tiny_trainer()
    trainer.fit(AnnTask(in_features=64, hidden=5, lr=0.1), datamodule=data)
    return trainer, data


def test_a_checkpoint_holds_the_temperature_of_its_own_validation(trained, tmp_path):
    trainer, data = trained
    trainer.save_checkpoint(path := tmp_path / "best.ckpt")
    task = load(path)
    oracle = calibration(*logits_of(task, data, "val"))
    stored = calibration_in(read_checkpoint(path))
    assert stored["temperature"] == pytest.approx(oracle.temperature, rel=1e-3)
    assert (stored["n"], stored["split"]) == (49, "val")
    assert (stored["ece_before"], stored["ece_after"]) == pytest.approx(
        (oracle.before.ece, oracle.after.ece), abs=1e-4
    )
    assert task.calibration == stored


def test_a_training_step_and_new_sizes_make_it_void(trained, tmp_path):
    trainer, data = trained
    trainer.save_checkpoint(path := tmp_path / "best.ckpt")
    task = load(path)
    task.shrink(widths(task.network))
    assert task.calibration is None
    trainer.model.trainer = trainer
    inputs = torch.stack([data.dataset("train")[row][0] for row in range(7)])
    assert trainer.model.calibration is not None
    trainer.model.log = lambda *_, **__: None
    trainer.model.training_step((inputs, torch.arange(7)), 0)
    assert trainer.model.calibration is None
    trainer.save_checkpoint(path)
    assert calibration_in(read_checkpoint(path)) is None


@pytest.mark.slow
def test_a_test_uses_the_temperature_of_the_checkpoint_and_reports_without_one(
    trained, tiny_trainer, tmp_path
):
    trainer, data = trained
    trainer.save_checkpoint(path := tmp_path / "best.ckpt")
    for content, temperature in ((read_checkpoint(path), None), (read_checkpoint(path), 1.0)):
        if temperature:
            del content["calibration"]  # as trained before there was any
        write_checkpoint(path, content)
        task, tester = load(path), tiny_trainer()
        tester.test(task, datamodule=data, verbose=False)
        used = temperature or content["calibration"]["temperature"]
        oracle = calibration(*logits_of(task, data, "test"), used)
        logged = {key: float(value) for key, value in tester.callback_metrics.items()}
        assert logged["test/temperature"] == pytest.approx(used)
        assert logged["test/ece_calibrated"] == pytest.approx(oracle.after.ece, abs=1e-4)
        assert logged["test/nll_calibrated"] == pytest.approx(oracle.nll_after, abs=1e-4)
        assert logged["test/acc"] == pytest.approx(oracle.accuracy)
        assert set(task.calibrations) == {"val", "test"}
        assert set(task.calibrations["test"]) == {"none"}  # features have no views


@pytest.mark.slow
def test_views_get_temperatures_of_their_own_on_val(tiny_data, tiny_trainer):
    data, trainer = tiny_data(size=16, num_val=49), tiny_trainer()
    task = Conv1Task(image_size=16, channels=1, lr=0.05)
    trainer.fit(task, datamodule=data)
    task.calibrator.choose_views("flip", "ten_crop")
    trainer.test(task, datamodule=data, verbose=False)
    views = task.calibration["views"]
    assert set(views) == {"flip", "ten_crop"}
    assert set(task.calibrations["val"]) == set(task.calibrations["test"]) == {"none", "flip"}
    dataset = data.dataset("test")
    images = torch.stack([dataset[row][0] for row in range(14)])
    with torch.no_grad():
        several = torch.stack([task(images), task(images.flip(-1))], dim=1)
    mean = (several / views["flip"]["temperature"]).softmax(dim=-1).mean(dim=1)
    right = mean.argmax(dim=1) == torch.from_numpy(data.splits["test"].labels)
    logged = trainer.callback_metrics
    assert float(logged["test/acc_tta_flip"]) == pytest.approx(float(right.double().mean()), abs=0.08)
    predicted = torch.cat(trainer.predict(task, datamodule=data))
    torch.testing.assert_close(predicted, mean.float(), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(None, id="none"),
        pytest.param({"temperature": 1.0}, id="cut off"),
        *(
            pytest.param({"temperature": value}, id=str(value))
            for value in (0.0, -1.0, float("nan"), float("inf"), "1")
        ),
    ],
)
def test_a_damaged_calibration_is_refused(found, trained, tmp_path):
    trainer, _ = trained
    trainer.save_checkpoint(path := tmp_path / "best.ckpt")
    content = read_checkpoint(path)
    is_whole = isinstance(found, dict) and found != {"temperature": 1.0}
    content["calibration"] = content["calibration"] | found if is_whole else found
    write_checkpoint(path, content)
    with pytest.raises(InputError, match="'calibration' cannot be this"):
        load(path)
    assert temperature_of(None, "flip") == 1.0
