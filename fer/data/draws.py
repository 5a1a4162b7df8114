"""Which training samples are drawn in an epoch, in which order, and with which random numbers.

All of it follows from the seed and the number of the epoch, and is drawn in the main process. So the number
of workers changes nothing, and an epoch can go on in the middle.
"""

from collections.abc import Iterator, Sized
from typing import Any, Final, Protocol, Self, runtime_checkable

import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, DistributedSampler, SequentialSampler

EPOCH_STEP: Final = 1_000_003
"""Distance of the seeds of two epochs; a prime, so that runs with neighbouring seeds share none."""


class Draw(int):
    """The row of a sample, with the seed of the random numbers that augment it.

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
        """Return what a copy in a worker process is made from."""
        return int(self), self.seed


class Draws(DistributedSampler[Draw]):
    """The rows of an epoch, in random order unless it is fixed, each with a seed of its own.

    Of several processes, each gets its part of one list. A list that does not divide evenly is filled up from
    its beginning.

    Args:
        dataset: The samples.
        seed: Seed of the run.
        weights: Probabilities to draw each row with, replaced after each draw, shape ``(N,)``; None: each
            row once.
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
        """Samples at the beginning of the next epoch that are left out, since they were drawn before."""

    def __iter__(self) -> Iterator[Draw]:
        """Draw the epoch that :meth:`set_epoch` has set, without the samples that are skipped."""
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
    """A data set that makes batches of many draws at once."""

    def batches(self, draws: list[Draw], size: int, *, drop_last: bool) -> Iterator[Any]:
        """Yield the batches of draws, in their order."""


class EpochLoader(DataLoader[Any]):
    """A loader whose epochs follow from their number, and which can begin in the middle of one.

    Args:
        dataset: The samples.
        sampler: Which of them are drawn; a sequential one, which Lightning puts in its place where
            ``overfit_batches`` is set, stands for draws in a fixed order.
        batch_size: Samples in a batch.
        **settings: See ``torch.utils.data.DataLoader``.
    """

    sampler: Draws

    def __init__(
        self, dataset: Dataset[Any], *, sampler: Draws | SequentialSampler, batch_size: int, **settings: Any
    ) -> None:
        if isinstance(sampler, SequentialSampler):
            sampler = Draws(dataset, seed=0, shuffle=False)
        # With a generator of its own the loader draws nothing from the random state of the training.
        super().__init__(
            dataset, batch_size, sampler=sampler, generator=torch.Generator().manual_seed(0), **settings
        )
        self.num_done = 0
        """Batches of the epoch that were handed out."""
        self.begun = -1
        """The last epoch that was begun."""
        self.resumed: tuple[int, int] | None = None
        """An epoch to go on with, and the number of its batches that are done."""

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Yield the batches of the epoch that the sampler was set to, else of the next one."""
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
        """Return where the next batch is: the number of its epoch, and of the batches before it."""
        if self.num_done < len(self):
            return {"epoch": self.sampler.epoch, "num_done": self.num_done}
        return {"epoch": self.sampler.epoch + 1, "num_done": 0}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Go on where another loader of the same samples stopped; another epoch that is set begins anew."""
        self.resumed = state_dict["epoch"], state_dict["num_done"]
        self.sampler.set_epoch(state_dict["epoch"])
