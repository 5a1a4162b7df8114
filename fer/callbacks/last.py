"""Checkpoints from which a training goes on as if it had never stopped.

All that depends on private parts of Lightning's loops is in this file.
"""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import torch.distributed as dist
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from fer.callbacks.media import is_dry_run

LOGGED_WITH: Final = ("prog_bar", "logger", "on_step", "on_epoch", "enable_graph", "add_dataloader_idx")
"""Settings of ``self.log`` that a mean over the epoch is restored with."""


class LastCheckpoint(Checkpoint):
    """Write the checkpoint of the last complete epoch: weights, optimiser, callbacks and random states.

    It is written when an epoch begins or training ends, so that all that follows from the epoch before it
    (metrics, angles, stages) is in it or on disk. :meth:`save` also works after a batch: the position in the
    epoch, and the means logged so far, are in the checkpoint, too. Of several processes, each gets its own
    random state back if their number is the same.

    Args:
        path: The file.
        keep_previous: Whether the one before it is kept as ``previous.ckpt`` beside it.
        before_validation: Whether it is written before an epoch's last step, too, so that a stop in
            validation costs no more than one step.
    """

    def __init__(self, path: Path, *, keep_previous: bool = True, before_validation: bool = False) -> None:
        self.path = path
        self.keep_previous = keep_previous
        self.before_validation = before_validation
        self.loaded: dict[str, Any] | None = None
        """The state of a checkpoint, until training goes on from it."""
        self.num_stepped: int | None = None
        """Batches that an optimiser stepped after, of a checkpoint, until training goes on from it."""
        self.is_within_epoch = False
        """Whether a checkpoint is made after a batch."""
        self.is_cut = False
        """Whether training was asked to end, and is not done."""
        self.is_kept = False
        """Whether the file stays as it is until training ends, since the epoch is cut short."""
        self.ended_after: int | None = None
        """Planned number of epochs of a training that ended by itself, maybe before."""

    @property
    def previous(self) -> Path:
        """The checkpoint before the last one."""
        return self.path.with_name("previous.ckpt")

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let a training that ended before its last epoch, by early stopping say, not go on."""
        del pl_module
        if self.loaded is not None and self.loaded["ended_after"] == trainer.max_epochs:
            trainer.should_stop = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the loaders where they were; Lightning does not if a schedule has asked for their length."""
        del pl_module
        if self.loaded is not None:
            trainer.fit_loop._load_combined_loader_states()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the random state of a resumed training, or save the epoch before."""
        del pl_module
        if self.loaded is not None:
            self._restore(trainer, is_within_epoch=False)
        elif trainer.global_step:
            begin_epoch(trainer)
            self.save(trainer)

    def on_train_batch_start(self, trainer: Trainer, *args: object) -> None:
        """Restore the state of a training that was stopped within an epoch."""
        del args
        if self.loaded is not None:
            self._restore(trainer, is_within_epoch=True)
        if self.num_stepped is not None:  # Lightning counts a batch twice
            trainer.fit_loop.epoch_loop._batches_that_stepped, self.num_stepped = self.num_stepped, None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save before the last step of an epoch, if that is asked for."""
        del pl_module, outputs, batch
        num, every = trainer.num_training_batches, trainer.accumulate_grad_batches
        if self.before_validation and batch_idx + 1 == (num - 1) // every * every and not self.is_kept:
            self.save(trainer, is_within_epoch=True)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the last epoch."""
        del pl_module
        self.ended_after = None if self.is_cut else trainer.max_epochs
        if trainer.global_step and self.loaded is None and not self.is_kept:
            self.save(trainer)

    def keep(self, trainer: Trainer) -> None:
        """Save within an epoch that is about to be cut short, and leave it at that.

        After its last batch an epoch is not cut short: it ends as usual.
        """
        self.is_cut = True
        if not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            self.save(trainer, is_within_epoch=True)
            self.is_kept = True

    def save(self, trainer: Trainer, *, is_within_epoch: bool = False) -> None:
        """Write the checkpoint; in all processes. With ``fast_dev_run`` nothing is written.

        Args:
            trainer: The trainer.
            is_within_epoch: Whether a batch has just ended that is not the last one of its epoch.
        """
        if is_dry_run(trainer):
            return
        self.is_within_epoch = is_within_epoch
        for logger in trainer.loggers:
            logger.save()  # what was logged is on disk before the checkpoint is
        if self.keep_previous and trainer.is_global_zero and self.path.is_file():
            self.path.replace(self.previous)
        try:
            trainer.save_checkpoint(self.path)
        except OSError:
            if trainer.is_global_zero and self.previous.is_file() and not self.path.exists():
                self.previous.replace(self.path)
            raise

    def state_dict(self) -> dict[str, Any]:
        """Return the random states of all processes, and the means that are logged so far."""
        mine = {"random": random_states(), "means": self._means, "num_stepped": self._num_stepped}
        if not dist.is_initialized():
            return {"processes": [mine], "ended_after": self.ended_after}
        everyone: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(everyone, mine)
        return {"processes": everyone, "ended_after": self.ended_after}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the state until training goes on."""
        self.loaded = state_dict

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Keep the trainer, whose running means a checkpoint holds."""
        del pl_module
        self.trainer = trainer if stage == "fit" else None

    @property
    def _num_stepped(self) -> int:
        """Batches that an optimiser stepped after, with the one that has just ended."""
        if self.trainer is None:
            return 0
        loop = self.trainer.fit_loop.epoch_loop
        has_stepped = self.is_within_epoch and not is_accumulating(self.trainer)
        return loop._batches_that_stepped + has_stepped

    @property
    def _means(self) -> list[dict[str, Any]]:
        """The sums behind the means over the epoch that are logged, in plain values."""
        if self.trainer is None:
            return []
        return [
            {
                **{name: getattr(each.meta, name) for name in (*LOGGED_WITH, "fx", "name")},
                "sync_dist": each.meta.sync.should,
                "sum": each.value.cpu(),
                "num": each.cumulated_batch_size.cpu(),
            }
            for each in running_means(self.trainer)
        ]

    def _restore(self, trainer: Trainer, *, is_within_epoch: bool) -> None:
        """Restore the random state; within an epoch also the sums behind the means that are logged."""
        processes = (self.loaded or {})["processes"]
        mine = processes[trainer.global_rank % len(processes)]
        self.loaded, self.num_stepped = None, mine["num_stepped"]
        set_random_states(mine["random"])
        if not is_within_epoch:
            return
        results = trainer.fit_loop.epoch_loop._results
        trainer._logger_connector._first_loop_iter = False  # in the first batch, Lightning would reset them
        for each in mine["means"]:
            settings = {name: each[name] for name in (*LOGGED_WITH, "sync_dist")}
            value = each["sum"].to(trainer.strategy.root_device)
            results.log(
                *(each["fx"], each["name"], value),
                **settings,
                sync_dist_fn=trainer.strategy.reduce,
                batch_size=0,
            )
            found = results[f"{each['fx']}.{each['name']}"]
            found.value, found.cumulated_batch_size = value, each["num"].to(value.device)


def is_accumulating(trainer: Trainer) -> bool:
    """Return whether the batch that ends now leaves gradients to the next one."""
    return bool(trainer.fit_loop.epoch_loop._should_accumulate())


def running_means(trainer: Trainer) -> list[Any]:
    """Return the means over the epoch that something was logged for, as Lightning keeps them."""
    return [
        each
        for each in trainer.fit_loop.epoch_loop._results.result_metrics
        if each.is_tensor and each.meta.is_mean_reduction and not each.has_reset
    ]


def keep_means(trainer: Trainer) -> Callable[[], None]:
    """Return a function that puts the means over the epoch back to what they are now."""
    before = {
        id(each): (each.value.clone(), each.cumulated_batch_size.clone()) for each in running_means(trainer)
    }

    def put_back() -> None:
        for each in running_means(trainer):
            if id(each) in before:
                each.value, each.cumulated_batch_size = before[id(each)]
            else:
                each.reset()

    return put_back


def begin_epoch(trainer: Trainer) -> None:
    """Count the batches of an epoch from 0, as Lightning does right after ``on_train_epoch_start``.

    A checkpoint of this moment would else say that the epoch's batches were done.
    """
    loop = trainer.fit_loop.epoch_loop
    loop.batch_progress.reset_on_run()
    loop.scheduler_progress.reset_on_run()
    loop.automatic_optimization.optim_progress.reset_on_run()
    loop.val_loop.batch_progress.total.reset()


def random_states() -> dict[str, Any]:
    """Return the random states of this process, as tensors and plain values."""
    version, words, gauss = random.getstate()
    name, keys, *rest = np.random.get_state(legacy=True)
    return {
        "python": (version, torch.tensor(words, dtype=torch.int64), gauss),
        "numpy": (name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_states(states: dict[str, Any]) -> None:
    """Restore what :func:`random_states` returned."""
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words.tolist()), gauss))
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(states["torch"].cpu())
    if states["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([each.cpu() for each in states["cuda"]])
