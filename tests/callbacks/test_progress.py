"""The line of an epoch."""

import re

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint

from fer.callbacks import EpochLineCallback, StageCallback
from fer.callbacks.progress import EpochProgressBar, epoch_line
from fer.neurons import Stage
from fer.neurons.stages import LEAST_VALUES
from fer.tasks import AnnTask

FULL = {"train/loss": 0.5, "train/acc": 0.75, "val/loss": 1.25, "val/acc": 0.5, "lr": 0.001}


@pytest.mark.parametrize(
    ("metrics", "best", "expected"),
    [
        pytest.param(
            FULL, 0.4,
            "epoch  4/20  train loss 0.5000 acc 75.00 %  val loss 1.2500 acc 50.00 % *  lr 1.00e-03  7 s",
            id="all, and a new best",
        ),
        pytest.param(
            FULL, 0.5,
            "epoch  4/20  train loss 0.5000 acc 75.00 %  val loss 1.2500 acc 50.00 %  lr 1.00e-03  7 s",
            id="as good as the best is no star",
        ),
        pytest.param({"train/loss": 0.5}, 0.0, "epoch  4/20  train loss 0.5000  7 s", id="no val"),
        pytest.param({}, 0.0, "epoch  4/20  7 s", id="nothing"),
    ],
)  # fmt: skip
def test_epoch_line(metrics, best, expected):
    assert epoch_line(metrics, epoch=3, num_epochs=20, seconds=7.4, best=best) == expected


@pytest.mark.parametrize(
    ("epoch", "num_epochs", "start"),
    [(3, 5, "epoch  4/5 "), (3, 101, "epoch   4/101 "), (3, -1, "epoch  4 "), (3, None, "epoch  4 ")],
)
def test_epoch_line_is_aligned_and_knows_no_end_where_there_is_none(epoch, num_epochs, start):
    line = epoch_line({}, epoch=epoch, num_epochs=num_epochs, seconds=0, best=0)
    assert line.startswith(start)


@pytest.mark.parametrize(
    ("width", "left"), [(90, ["acc 75.00", "lr"]), (86, ["acc 75.00"]), (72, []), (20, [])]
)
def test_a_narrow_terminal_has_a_shorter_line(width, left):
    line = epoch_line(FULL, epoch=3, num_epochs=20, seconds=7, best=1, width=width)
    assert [word for word in ("acc 75.00", "lr") if word in line] == left
    assert len(line) <= max(width, 64)
    assert {"train loss 0.5000", "acc 50.00 %"} <= {*re.findall(r"train loss [.0-9]+|acc 50.00 %", line)}


def test_the_progress_bar_counts_from_1(tiny_trainer):
    bar = EpochProgressBar()
    bar._trainer = tiny_trainer(max_epochs=12)
    assert bar._get_train_description(0).strip() == "epoch  1/12"


class _Accuracies(Callback):
    """Sets val/acc to what the test wants."""

    def __init__(self, values):
        self.values = values

    def on_train_epoch_end(self, trainer, pl_module):
        trainer.callback_metrics["val/acc"].fill_(self.values[trainer.current_epoch])


@pytest.mark.slow
def test_no_stage_is_printed_before_it_is_known(tiny_data, tiny_trainer, capsys):
    callbacks = [StageCallback(), EpochLineCallback()]
    num_epochs = LEAST_VALUES + 1
    task = AnnTask(in_features=64)
    tiny_trainer(max_epochs=num_epochs, callbacks=callbacks).fit(task, datamodule=tiny_data())
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    names = re.compile("|".join(Stage))
    assert [bool(names.search(line)) for line in lines] == [False] * (LEAST_VALUES - 1) + [True] * 2


def test_a_star_marks_each_new_best(tiny_data, tiny_trainer, capsys):
    callbacks = [_Accuracies([0.2, 0.1, 0.3, 0.3]), EpochLineCallback()]
    tiny_trainer(max_epochs=4, callbacks=callbacks).fit(AnnTask(in_features=64), datamodule=tiny_data())
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    assert [int(re.match(r"epoch +(\d+)/4", line)[1]) for line in lines] == [1, 2, 3, 4]
    assert ["*" in line for line in lines] == [True, False, True, False]


class _SaveWithin(Callback):
    """Saves a checkpoint within the second epoch."""

    def __init__(self, path):
        self.path = path

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == (1, 1):
            trainer.save_checkpoint(self.path)


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_an_epoch_that_is_resumed_within_has_its_seconds_and_the_best_before(
    tiny_data, tiny_trainer, tmp_path, capsys
):
    path = tmp_path / "within.ckpt"

    def fit(*callbacks, **settings):
        kept = ModelCheckpoint(tmp_path, "best", monitor="val/acc", mode="max")
        callbacks = [*callbacks, kept, EpochLineCallback()]
        trainer = tiny_trainer(max_epochs=2, callbacks=callbacks, enable_checkpointing=True)
        trainer.fit(AnnTask(in_features=64), datamodule=tiny_data(), **settings)
        return capsys.readouterr().out

    fit(_SaveWithin(path))
    content = torch.load(path, weights_only=False)
    (state,) = (state for name, state in content["callbacks"].items() if name.startswith("ModelCheckpoint"))
    state["best_model_score"] = torch.tensor(2.0)  # no later epoch can be better
    torch.save(content, path)

    (line,) = [each for each in fit(ckpt_path=path).splitlines() if each.startswith("epoch")]

    assert line.split()[:2] == ["epoch", "2/2"]
    assert "*" not in line
    assert int(re.search(r"(\d+) s$", line)[1]) < 100  # not since the machine's start
