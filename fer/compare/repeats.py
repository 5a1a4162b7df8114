"""Compare two repeats, paired by seed and by sample."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fer.compare.answers import Answers, pair, why_not_paired
from fer.errors import InputError
from fer.metrics import Comparison, mean_interval, normal_interval


@dataclass(frozen=True)
class PairedSeed:
    """Two networks with the same seed, on the same samples.

    Attributes:
        seed: The seed.
        before: Accuracy of the network from the reference repeat.
        after: Accuracy of the other network.
        mcnemar: McNemar's test, with the samples that only one of the two classifies correctly.
    """

    seed: int
    before: float
    after: float
    mcnemar: Comparison

    @property
    def difference(self) -> float:
        """Accuracy after minus accuracy before."""
        return self.after - self.before


@dataclass(frozen=True)
class PairedRepeats:
    """The difference between two repeats with the same seeds, on the same samples.

    Attributes:
        name: Name of the reference repeat.
        n: Number of samples.
        seeds: The pairs of networks, one per seed.
        of_seeds: Student's 95 % interval of the mean difference, for other seeds on these samples; NaN for
            one seed.
        of_samples: 95 % interval of the mean difference, for these networks on other samples.
    """

    name: str
    n: int
    seeds: tuple[PairedSeed, ...]
    of_seeds: tuple[float, float]
    of_samples: tuple[float, float]

    @property
    def difference(self) -> float:
        """Mean accuracy minus that of the reference repeat."""
        return math.fsum(each.difference for each in self.seeds) / len(self.seeds)

    def plain(self) -> dict[str, Any]:
        """Return all values as JSON types."""
        low, high = self.of_seeds
        return {
            "name": self.name,
            "n": self.n,
            "difference": self.difference,
            "of_seeds": None if math.isnan(low) else [low, high],
            "of_samples": list(self.of_samples),
            "seeds": [
                {**asdict(each), "difference": each.difference, "mcnemar": each.mcnemar._asdict()}
                for each in self.seeds
            ],
        }

    def table(self) -> str:
        """Return a table: one line per seed, the mean difference and its intervals, in percentage points."""
        lines = [
            f"against {self.name}, paired by seed and by test sample (n = {self.n:,})",
            "seed       before      after   difference    lost     won   McNemar's p",
        ]
        lines += [
            f"{each.seed:<6}{_accuracies(each.before, each.after)}"
            f"   {each.mcnemar.lost:7,} {each.mcnemar.won:7,}   {each.mcnemar.p:11.2g}"
            for each in self.seeds
        ]
        before, after = (
            math.fsum(getattr(each, when) for each in self.seeds) / len(self.seeds)
            for when in ("before", "after")
        )
        lines.append(f"{'mean':<6}{_accuracies(before, after)}")
        intervals = {"for other seeds": self.of_seeds, "for other samples": self.of_samples}
        lines += [
            f"mean difference, 95 % interval {name}: [{100 * low:+.2f}, {100 * high:+.2f}] percentage points"
            for name, (low, high) in intervals.items()
            if not math.isnan(low)
        ]
        if len(self.seeds) > 1:
            lines.append(f"The {len(self.seeds)} p-values are not corrected for multiple comparisons.")
        return "\n".join(lines)


def _accuracies(before: float, after: float) -> str:
    return f" {100 * before:8.2f} % {100 * after:8.2f} %   {100 * (after - before):+10.2f}"


def pair_repeats(name: str, before: Mapping[int, Answers], after: Mapping[int, Answers]) -> PairedRepeats:
    """Compare two repeats.

    Args:
        name: Name of the reference repeat.
        before: Its predictions for the test split, by seed.
        after: Predictions of the other repeat, by the same seeds.

    Raises:
        InputError: The seeds differ, or the test samples do.
    """
    check_seeds(name, list(before), list(after))
    seeds, differences = [], []
    for seed, answers in after.items():
        if problem := why_not_paired(before[seed], answers):
            msg = f"--against {name}: seed {seed} cannot be paired, {problem}"
            raise InputError(msg)
        seeds.append(
            PairedSeed(
                seed,
                float(before[seed].right.mean()),
                float(answers.right.mean()),
                pair(before[seed], answers),
            )
        )
        differences.append(answers.right.astype(float) - before[seed].right)
    of_samples = np.mean(differences, axis=0)
    return PairedRepeats(
        name,
        len(of_samples),
        tuple(seeds),
        mean_interval([each.difference for each in seeds]),
        normal_interval(of_samples.tolist()),
    )


def check_seeds(name: str, before: list[int], after: list[int]) -> None:
    """Refuse to pair repeats with different seeds.

    Raises:
        InputError: The seeds differ.
    """
    if {*before} != {*after}:
        theirs, ours = (", ".join(map(str, sorted(seeds))) for seeds in (before, after))
        msg = (
            f"--against {name}: it has the seeds {theirs}, and this repeat {ours}, so they cannot be paired: "
            f'give the same seeds, --seeds "[{theirs}]"'
        )
        raise InputError(msg)
