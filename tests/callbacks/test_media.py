"""Where figures go, and where the folder of a run is."""

import logging
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
from any_module import any_fit
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger, WandbLogger
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fer.callbacks import DistinctivenessCallback
from fer.callbacks.media import draw_later, draw_now, missing_figures, run_of_trainer, save_figure

pytestmark = pytest.mark.drawn


class FakeTrainer(SimpleNamespace):
    __hash__ = object.__hash__


def _trainer(folder, *, loggers=(), dirpath=None, fast_dev_run=False):
    return FakeTrainer(
        default_root_dir=str(folder),
        loggers=list(loggers),
        checkpoint_callback=None if dirpath is None else SimpleNamespace(dirpath=str(dirpath)),
        fast_dev_run=fast_dev_run,
        global_step=7,
    )


def test_a_figure_is_written_and_shown_by_wandb(tmp_path):
    logger = MagicMock(spec=WandbLogger)
    logger.save_dir = str(tmp_path)
    logger.log_dir = None
    save_figure(_trainer(tmp_path, loggers=[logger]), "one", Figure(), formats=("png", "svg"), network="body")
    path = tmp_path / "figures" / "one-body.png"
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.with_suffix(".svg").is_file()
    logger.log_image.assert_called_once_with(key="figures/one-body", images=[str(path)])


def test_figures_that_are_put_off_are_drawn_when_the_results_are_there(tmp_path):
    trainer, drawn = _trainer(tmp_path), []

    def draw(name):
        save_figure(trainer, name, lambda: drawn.append(name) or Figure())

    with draw_later(trainer):
        draw("curves")
        draw("confusion")
        assert drawn == []
        draw_now(trainer)
        assert drawn == ["curves", "confusion"]
        draw("late")
        assert len(drawn) == 2
    assert drawn[2:] == ["late"]
    draw("at once")
    assert drawn[3:] == ["at once"]
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == set(drawn)


def test_figures_that_are_put_off_are_not_drawn_after_a_signal(tmp_path):
    trainer = _trainer(tmp_path)

    def stop_after_a_figure():
        with draw_later(trainer):
            save_figure(trainer, "curves", Figure())
            raise SystemExit

    with pytest.raises(SystemExit):
        stop_after_a_figure()
    assert not (tmp_path / "figures").exists()


def test_a_dry_run_leaves_no_figure(tmp_path):
    logger = MagicMock(spec=WandbLogger)
    save_figure(_trainer(tmp_path, loggers=[logger], fast_dev_run=True), "one", Figure())
    assert not list(tmp_path.iterdir())
    logger.log_image.assert_not_called()


@pytest.mark.parametrize(
    ("dirpath", "with_logger", "expected"),
    [
        pytest.param("run/checkpoints", True, "run", id="where the checkpoints are"),
        pytest.param("best", True, "logs/any/version_0", id="the logger's, if checkpoints are elsewhere"),
        pytest.param(None, True, "logs/any/version_0", id="the logger's"),
        pytest.param(None, False, "", id="the trainer's"),
    ],
)
def test_the_folder_of_a_run(dirpath, with_logger, expected, tmp_path):
    loggers = [CSVLogger(tmp_path / "logs", name="any")] if with_logger else []
    trainer = _trainer(tmp_path, loggers=loggers, dirpath=dirpath and tmp_path / dirpath)
    assert run_of_trainer(trainer).folder == tmp_path / expected


@pytest.mark.parametrize("make_logger", [CSVLogger, TensorBoardLogger])
@pytest.mark.slow
def test_numbers_and_figures_go_where_a_training_of_others_logs(make_logger, tiny_trainer, tmp_path):
    logger = make_logger(tmp_path, name="any", version="1")
    callbacks = [DistinctivenessCallback(), ModelCheckpoint()]
    any_fit(tiny_trainer, callbacks, logger=logger, enable_checkpointing=True)
    run = tmp_path / "any" / "1"
    assert (run / "angles" / "epoch-0000.npz").is_file()
    assert (run / "figures" / "angle-matrix.png").is_file()
    if make_logger is TensorBoardLogger:
        shown = EventAccumulator(str(run)).Reload().Tags()
        assert "angles/body.0/mean" in shown["scalars"]
        assert {"figures/angle-matrix", "figures/angle-pairs"} <= set(shown["images"])
    else:
        assert "angles/body.0/mean" in (run / "metrics.csv").read_text().splitlines()[0]


def _fail():
    raise RuntimeError("no such\nfont")


def test_figures_that_fail_are_counted_and_reported_once(tmp_path, caplog):
    trainer = _trainer(tmp_path)
    (tmp_path / "figures").write_text("no folder")
    with caplog.at_level(logging.WARNING, "fer.figures"):
        for name in ("curves", "angles"):
            save_figure(trainer, name, Figure())
        save_figure(trainer, "maps", _fail)
    assert caplog.messages == ["the figure curves is left out (File exists); all else goes on"]
    assert missing_figures(trainer) == {
        "curves": "File exists",
        "angles": "File exists",
        "maps": "no such font",
    }
    assert missing_figures(_trainer(tmp_path)) == {}
