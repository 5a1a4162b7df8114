"""Sample the training rows of an epoch, their order, and the seeds of their augmentation.

All random numbers are drawn in the main process and depend only on the seed and the number of the epoch. So
the number of workers makes no difference, and training can resume in the middle of an epoch.
"""

from collections.abc import Iterator, Sized
from typing import Any, Final, Protocol, Self, runtime_checkable

import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, DistributedSampler, SequentialSampler

EPOCH_STEP: Final = 1_000_003
"""Difference between the seeds of two epochs; a large prime, so that runs with nearby seeds share none."""


class Draw(int):
    """A sample's row number that also carries the seed of its augmentation.

    >>> draw = Draw(7, seed=12)
    >>> ["a", "b", "c", "d", "e", "f", "g", "h"][draw], draw.seed
    ('h', 12)
    """

    seed: int

    def __new__(cls, row: int, seed: int) -> Self:
        """Make a row number with a seed."""
        draw = super().__new__(cls, row)
        draw.seed = seed
        return draw

    def __getnewargs__(self) -> tuple[int, int]:  # type: ignore[override]
        """Return the arguments from which a worker process unpickles its copy."""
        return int(self), self.seed


class Draws(DistributedSampler[Draw]):
    """Sampler of the rows of an epoch, in random or fixed order, each with its own augmentation seed.

    Several processes share one list of rows. If its length is not a multiple of their number, it is padded
    with rows from its beginning.

    Args:
        dataset: The samples.
        seed: Seed of the run.
        weights: Weights to draw each row with, with replacement, shape ``(N,)``; None: each row once.
        num_processes: Number of processes that share the rows.
        rank: Number of this process.
        shuffle: Whether the order is random.
    """

    def __init__(
        self,
        dataset: Dataset[Any] | Sized,
        *,
        seed: int,
        weights: NDArray[Any] | None = None,
        num_processes: int = 1,
        rank: int = 0,
        shuffle: bool = True,
    ) -> None:
        super().__init__(dataset, num_processes, rank, shuffle=shuffle, seed=seed)  # type: ignore[arg-type]
        self.weights = weights
        self.skipped = 0
        """Number of samples to skip at the beginning of the next epoch, since they were drawn before."""

    def __iter__(self) -> Iterator[Draw]:
        """Yield the draws of the epoch set by :meth:`set_epoch`, without the skipped samples."""
        generator = torch.Generator().manual_seed((self.seed + EPOCH_STEP * self.epoch) % 2**63)
        num = len(self.dataset)  # type: ignore[arg-type]
        if self.weights is None:
            rows = torch.randperm(num, generator=generator) if self.shuffle else torch.arange(num)
        else:
            rows = torch.multinomial(
                torch.as_tensor(self.weights), num, replacement=True, generator=generator
            )
        seeds = torch.randint(2**63 - 1, (num,), generator=generator)
        mine = torch.arange(self.rank, self.total_size, self.num_replicas) % num
        mine = mine[self.skipped :]
        self.skipped = 0
        yield from map(Draw, rows[mine].tolist(), seeds[mine].tolist())


@runtime_checkable
class GivesBatches(Protocol):
    """A dataset that makes whole batches itself."""

    def batches(self, draws: list[Draw], size: int, *, drop_last: bool) -> Iterator[Any]:
        """Yield batches of ``size`` draws, in order."""


class EpochLoader(DataLoader[Any]):
    """A data loader with reproducible epochs that can resume in the middle of one.

    Args:
        dataset: The samples.
        sampler: Sampler of the rows. A sequential one, which Lightning sets for ``overfit_batches``, is
            replaced by draws in a fixed order.
        batch_size: Samples in a batch.
        **settings: See ``torch.utils.data.DataLoader``.
    """

    sampler: Draws

    def __init__(
        self, dataset: Dataset[Any], *, sampler: Draws | SequentialSampler, batch_size: int, **settings: Any
    ) -> None:
        if isinstance(sampler, SequentialSampler):
            sampler = Draws(dataset, seed=0, shuffle=False)
        # With its own generator, the loader does not change the random state of the training.
        super().__init__(
            dataset, batch_size, sampler=sampler, generator=torch.Generator().manual_seed(0), **settings
        )
        self.num_done = 0
        """Number of batches of the current epoch that were yielded."""
        self.begun = -1
        """The last epoch that was started."""
        self.resumed: tuple[int, int] | None = None
        """The epoch to resume, and the number of its batches that are done."""

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Yield the batches of the sampler's epoch, or of the next one if that was started before."""
        if self.resumed is None and self.sampler.epoch == self.begun:
            self.sampler.set_epoch(self.begun + 1)
        self.begun = self.sampler.epoch
        epoch, num_done = self.resumed or (self.begun, 0)
        self.num_done = num_done if epoch == self.begun else 0
        self.resumed = None
        self.sampler.skipped = self.num_done * (self.batch_size or 1)
        for batch in self._batches():
            self.num_done += 1
            yield batch

    def _batches(self) -> Iterator[Any]:
        if self.num_workers == 0 and isinstance(self.dataset, GivesBatches):
            size = self.batch_size or 1
            return self.dataset.batches(list(self.sampler), size, drop_last=self.drop_last)
        return super().__iter__()

    def state_dict(self) -> dict[str, int]:
        """Return the position of the next batch: its epoch, and the number of batches before it."""
        if self.num_done < len(self):
            return {"epoch": self.sampler.epoch, "num_done": self.num_done}
        return {"epoch": self.sampler.epoch + 1, "num_done": 0}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Resume where another loader of the same samples stopped; other epochs start at their beginning."""
        self.resumed = state_dict["epoch"], state_dict["num_done"]
        self.sampler.set_epoch(state_dict["epoch"])
