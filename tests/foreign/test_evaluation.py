"""EvaluationCallback on other people's modules."""

import json

import pytest
from foreign.digits import DigitsDataModule, LitDigits, LogsAtEpochEnd, StepAndEpoch
from foreign.images import Autoencoder, CornersDataModule, Segmenter
from foreign.others import GAN, LSTMClassifier, SentencesDataModule
from lightning.pytorch.loggers import CSVLogger

from fer.callbacks import EvaluationCallback

SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("module", "data"),
    [
        pytest.param(LitDigits, DigitsDataModule, id="digits"),
        pytest.param(StepAndEpoch, DigitsDataModule, id="step and epoch", marks=SLOW),
        pytest.param(Autoencoder, CornersDataModule, id="autoencoder"),
        pytest.param(Segmenter, CornersDataModule, id="segmentation", marks=SLOW),
        pytest.param(LSTMClassifier, SentencesDataModule, id="text", marks=SLOW),
        pytest.param(GAN, DigitsDataModule, id="GAN", marks=SLOW),
    ],
)
def test_what_was_logged_is_drawn(module, data, fit, warned, tmp_path):
    fit(module, data(), [EvaluationCallback()])
    assert [path.name for path in tmp_path.rglob("curves.png")] == ["curves.png"]
    assert warned() == []


@pytest.mark.slow
def test_what_is_logged_when_an_epoch_has_ended_belongs_to_it(fit):
    histories = []
    for module in (StepAndEpoch, LogsAtEpochEnd):
        evaluation = EvaluationCallback()
        fit(module, DigitsDataModule(), [evaluation], max_epochs=3)
        (key,) = [key for key in evaluation.history if key.startswith("train_loss") and "step" not in key][:1]
        histories.append(evaluation.history[key])
    assert histories[1] == pytest.approx(histories[0], rel=1e-4)


def test_the_results_of_a_test_are_written(fit, tmp_path):
    trainer = fit(
        LitDigits(), DigitsDataModule(), [EvaluationCallback()], logger=CSVLogger(tmp_path / "logs")
    )
    trainer.test(trainer.lightning_module, datamodule=trainer.datamodule, verbose=False)
    (path,) = tmp_path.rglob("results.json")
    results = json.loads(path.read_text())
    assert results["network"] == "LitDigits"
    assert results["metrics"]["test_loss"] > 0
    assert results["epochs"] == 2
