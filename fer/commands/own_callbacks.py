"""Callbacks of a run that have no group of settings of their own."""

from jsonargparse import Namespace
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping, EMAWeightAveraging

from fer.callbacks import BestCallback, EpochLineCallback, EvaluationCallback, StopCallback
from fer.callbacks.best import mode_of
from fer.callbacks.finite import FiniteCallback, FiniteCheckpoint
from fer.callbacks.last import LastCheckpoint
from fer.callbacks.progress import EpochProgressBar
from fer.runs import Run


def callbacks_of(run: Run, config: Namespace, stop: StopCallback) -> list[Callback]:
    """Return the callbacks that every run has, and those that single options add, such as ``--ema``.

    Args:
        run: The run whose files they write.
        config: The settings.
        stop: Callback that ends the training on request.
    """
    monitor = config.monitor
    callbacks: list[Callback] = [
        FiniteCallback(config.on_nan),
        EvaluationCallback(curves=("loss", "acc")),
        BestCallback(monitor),
        EpochLineCallback(monitor),
        FiniteCheckpoint(
            dirpath=run.checkpoints_dir,
            filename=run.best_checkpoint.stem,
            monitor=monitor,
            mode=mode_of(monitor),
            enable_version_counter=False,
        ),
        LastCheckpoint(
            run.last_checkpoint,
            keep_previous=config.checkpoints == "all",
            before_validation=stop.on_sigterm == "requeue",
        ),
    ]
    if config.checkpoints == "best":
        callbacks.pop()
    if config.early_stopping is not None:
        callbacks.append(EarlyStopping(monitor, mode=mode_of(monitor), patience=config.early_stopping))
    if config.ema:
        callbacks.append(EMAWeightAveraging())
    callbacks.append(stop)  # after the others, which must have processed the batch before it saves
    if config.trainer.enable_progress_bar:
        callbacks.append(EpochProgressBar())
    return callbacks
