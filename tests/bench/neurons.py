"""Angles of 4,096 neurons against one bare product, the students' loop over pairs, and torchmetrics.

``python tests/bench/neurons.py``. All ways are timed in turn, in one process, and of the repetitions the
fastest counts, as whatever else the machine does only slows it. Peak memory is that of a process of its own,
which draws its samples batch by batch.
"""

import argparse
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor
from torchmetrics.functional import pairwise_cosine_similarity

from fer.neurons import ActivationStatistics, angles


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and write one line for each way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=28_709, help="as many as FER2013 trains on")
    parser.add_argument("--neurons", type=int, default=4096)
    parser.add_argument("--few", type=int, default=256, help="neurons for the loop over pairs")
    parser.add_argument("--batch_size", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args(argv)
    sys.stdout.write(f"{given.samples:,} samples, {torch.get_num_threads()} threads\n")

    torch.manual_seed(0)
    outputs = torch.randn(given.samples, given.neurons).relu_()
    _compare_wide(outputs, given.batch_size, given.repeats)
    _compare_narrow(outputs[:, : given.few].clone(), given.batch_size, given.repeats)
    del outputs
    for times in (1, 4):
        peak = _peak(given.samples * times, given.neurons, given.batch_size)
        sys.stdout.write(f"peak memory over {given.samples * times:>9,} samples {peak:8.0f} MiB\n")


def _compare_wide(outputs: Tensor, batch_size: int, repeats: int) -> None:
    wide = outputs.double()
    ways: dict[str, Callable[[], Tensor]] = {
        "ours": lambda: _angles(outputs.split(batch_size)),
        "bare float64 product": lambda: wide.T @ wide,
        "torchmetrics, float64": lambda: pairwise_cosine_similarity(wide.T),
        "torchmetrics, float32": lambda: pairwise_cosine_similarity(outputs.T),
    }
    _report(f"{outputs.shape[1]} neurons", ways, repeats)


def _compare_narrow(outputs: Tensor, batch_size: int, repeats: int) -> None:
    ways = {"ours": lambda: _angles(outputs.split(batch_size)), "loop over pairs": lambda: _loop(outputs)}
    _report(f"{outputs.shape[1]} neurons", ways, repeats)


def _angles(batches: Iterable[Tensor]) -> Tensor:
    left = iter(batches)
    statistics = ActivationStatistics.of(next(left))
    for batch in left:
        statistics.update(batch)
    return angles(statistics, "none")


def _loop(outputs: Tensor) -> Tensor:
    """Return the angles as Markou's, Narayan's and Jain's codes have them, pair by pair."""
    count = outputs.shape[1]
    degrees = torch.zeros(count, count, dtype=outputs.dtype)
    for i in range(count):
        for j in range(i + 1, count):
            first, second = outputs[:, i], outputs[:, j]
            cosine = torch.dot(first, second) / (torch.norm(first) * torch.norm(second))
            degrees[i, j] = degrees[j, i] = torch.rad2deg(torch.acos(cosine.clamp(-1, 1)))
    return degrees


def _report(title: str, ways: dict[str, Callable[[], Tensor]], repeats: int) -> None:
    seconds = dict.fromkeys(ways, float("inf"))
    for _ in range(repeats):
        for way, run in ways.items():
            start = time.perf_counter()
            run()
            seconds[way] = min(seconds[way], time.perf_counter() - start)
    for way, spent in seconds.items():
        ratio = seconds["ours"] / spent
        sys.stdout.write(f"{title:<14} {way:<22} {spent:8.2f} s, ours takes {ratio:6.3f} of it\n")


def _peak(num_samples: int, num_neurons: int, batch_size: int) -> float:
    """Return the peak memory of a process that measures, in MiB."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measure, (num_samples, num_neurons, batch_size))


def _measure(num_samples: int, num_neurons: int, batch_size: int) -> float:
    _angles(torch.randn(batch_size, num_neurons) for _ in range(num_samples // batch_size))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB on Linux


if __name__ == "__main__":
    main()
