"""Early termination of trials: the rule of W&B's hyperband."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Hyperband:
    """Hyperband: at each band only the best 1/eta of the trials that reached it continue.

    This is asynchronous successive halving with one bracket: a trial is compared with all trials that have
    reached the band, however they ended.

    Attributes:
        bands: Numbers of logged values of the metric at which trials are compared, rising. W&B calls them
            iterations; ``val/acc_best`` is logged once an epoch.
        eta: One in eta trials continues.
        strict: Whether a trial's value at the band is compared with the others; if not, its best value so
            far is.

    Source: Li et al., "Massively Parallel Hyperparameter Tuning", 2018; ``sweeps`` 0.3.0.
    """

    bands: tuple[int, ...]
    eta: float = 3.0
    strict: bool = True

    @classmethod
    def from_min_iter(cls, min_iter: int, eta: float = 3.0, *, strict: bool = True) -> "Hyperband":
        """Return the rule whose bands are min_iter, min_iter·eta, min_iter·eta², and so on."""
        return cls(tuple(_rising(min_iter, eta)), eta, strict)

    @classmethod
    def from_max_iter(cls, max_iter: int, s: int, eta: float = 3.0, *, strict: bool = True) -> "Hyperband":
        """Return the rule whose s bands are max_iter/eta, max_iter/eta², and so on, down to 1."""
        bands = (max_iter / eta**power for power in range(1, s + 1))
        return cls(tuple(sorted(int(band) for band in bands if band >= 1)), eta, strict)

    def to_stop(
        self, histories: Mapping[int, Sequence[float]], running: Sequence[int], *, maximize: bool
    ) -> list[int]:
        """Return the running trials to stop.

        Args:
            histories: Logged values of the metric for each trial, running or ended.
            running: Keys of the running trials.
            maximize: Whether larger is better.
        """
        sign = -1.0 if maximize else 1.0
        losses = {
            trial: [sign * value for value in values if math.isfinite(value)]
            for trial, values in histories.items()
        }
        stopped = []
        for trial in running:
            mine = losses.get(trial, [])
            reached = [band for band in self.bands if band <= len(mine)]
            if not reached:
                continue
            band = reached[-1]
            others = sorted(each[band - 1] for each in losses.values() if len(each) >= band)
            threshold = others[int(len(others) * (1.0 / self.eta))]
            if (mine[band - 1] if self.strict else min(mine)) > threshold:
                stopped.append(trial)
        return stopped


def _rising(first: int, eta: float) -> Iterator[int]:
    """Yield the bands up to a million values."""
    band = float(first)
    while band < 1e6:
        yield int(band)
        band *= eta
