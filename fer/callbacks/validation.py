"""Validate another module while a training's trainer is still in its fit."""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final, Protocol, TypeVar, runtime_checkable

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.utilities.model_helpers import is_overridden

from fer.errors import InputError
from fer.neurons.networks import FOREIGN_ERRORS, copy_network, one_line

T = TypeVar("T")


@runtime_checkable
class GivesFeatures(Protocol):
    """A data module whose loaders may give the features of a frozen part of the network that is trained."""

    def giving_inputs(self) -> AbstractContextManager[None]:
        """Let loaders that are made in the context give inputs."""


DONE_ALREADY: Final[Mapping[str, Any]] = {
    **dict.fromkeys(("prepare_data", "configure_model", "setup", "teardown"), lambda *_, **__: None),
    "configure_callbacks": list,
}
"""What the validated copy has in the place of hooks that the fit has called: they may build layers anew."""


def validate(trainer: Trainer, module: LightningModule) -> dict[str, float]:
    """Validate a module on the loaders of a fit, by a second trainer, and return what it logs.

    The fit's own trainer cannot: ``validate`` would overwrite the state of its fit. The second one works on a
    copy, on the device of this process, with all validation samples. All processes must call it together,
    since metrics of torchmetrics synchronise.

    Args:
        trainer: The trainer of the fit, which stays as it is.
        module: A copy of the fit's LightningModule.

    Returns:
        The metrics by name; those of several loaders with Lightning's ``/dataloader_idx_0``.

    Raises:
        InputError: There is no validation, or it fails.
    """
    if not is_overridden("validation_step", module) or not has_val_loaders(trainer):
        msg = f"{type(module).__name__} is not validated: it has no validation_step or no validation loader"
        raise InputError(msg)
    copied: Any = copy_network(module)
    vars(copied).update(DONE_ALREADY)
    device = trainer.strategy.root_device
    with _quiet():
        second = Trainer(
            accelerator=device.type,
            devices=1 if device.index is None else [device.index],
            precision="64-true" if trainer.precision == "64-true" else "32-true",
            limit_val_batches=trainer.limit_val_batches,
            inference_mode=trainer.validate_loop.inference_mode,
            callbacks=[LentData(trainer)],
            logger=DummyLogger(),  # a validation step may log images
            default_root_dir=trainer.default_root_dir,
            use_distributed_sampler=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        vars(second.fit_loop.epoch_progress.current)["processed"] = trainer.current_epoch
        try:
            second.validate(copied, dataloaders=fresh_val_loaders(trainer), verbose=False)
        except (*FOREIGN_ERRORS, OSError, MisconfigurationException) as e:
            msg = f"the validation of {type(module).__name__} failed: {type(e).__name__}: {one_line(e)}"
            raise InputError(msg) from e
    return {name: float(value) for name, value in second.callback_metrics.items()}


def fresh_val_loaders(trainer: Trainer) -> Any:
    """Return new validation loaders from where the fit got its own.

    They are not those that the fit uses: under DDP these give each process a part of the samples. They give
    inputs where those of the fit give the features of a frozen part, which another network may not have.
    """
    data: Any = getattr(trainer, "datamodule", None)
    with data.giving_inputs() if isinstance(data, GivesFeatures) else nullcontext():
        return _val_source(trainer).dataloader()


def has_val_loaders(trainer: Trainer) -> bool:
    """Return whether a fit has validation loaders, and reads them."""
    source = _val_source(trainer)
    return trainer.limit_val_batches != 0 and source.instance is not None and bool(source.is_defined())


def _val_source(trainer: Trainer) -> Any:
    """Return where a fit gets its validation loaders from, for which Lightning has no public name.

    It holds the data module, the LightningModule, or what was given to ``fit``.
    """
    return trainer.fit_loop.epoch_loop.val_loop._data_source


def from_first(trainer: Trainer, compute: Callable[[], T]) -> T:
    """Return what a function returns in the first process, in all of them.

    Raises:
        InputError: The function raised it. If it fails in another way, the others get an InputError too, so
            that none waits for ever.
    """
    answers: list[T | InputError] = []
    try:
        if trainer.is_global_zero:
            answers.append(compute())
    except InputError as e:
        answers.append(e)
    finally:
        answers = trainer.strategy.broadcast(answers)
    if not answers:
        msg = "the first process failed"
        raise InputError(msg)
    if isinstance(answers[0], InputError):
        raise answers[0]
    return answers[0]


class LentData(Callback):
    """Show the data module of a fit to the module and the hooks of a validation; its ``setup`` has run."""

    def __init__(self, lender: Trainer) -> None:
        self.data = getattr(lender, "datamodule", None)
        self.lender = lender

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Attach the data module, with its hooks for batches."""
        del pl_module
        if self.data is not None:
            self._attach(trainer, self.data)
            self.data.trainer = trainer

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Detach the data module."""
        del pl_module
        self._give_back(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Detach the data module."""
        del pl_module, exception
        self._give_back(trainer)

    def _give_back(self, trainer: Trainer) -> None:
        if self.data is not None:
            self._attach(trainer, None)
            self.data.trainer = self.lender

    @staticmethod
    def _attach(trainer: Any, data: Any) -> None:
        trainer.datamodule = trainer._data_connector._datahook_selector.datamodule = data


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's messages and all warnings to itself: the fit has shown them."""
    loggers = [logging.getLogger(f"lightning.{each}") for each in ("pytorch", "fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
