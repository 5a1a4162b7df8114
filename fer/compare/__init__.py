"""Compare runs: settings that differ, results, size, speed and redundant neurons."""

from fer.compare.answers import Answers
from fer.compare.comparison import Comparison, compare_runs
from fer.compare.folders import ComparedRun, read_run, read_runs
from fer.compare.networks import ComparedNetwork, answers_of, measure_costs, open_network
from fer.compare.repeats import PairedRepeats, check_seeds, pair_repeats
from fer.compare.write import write_comparison

__all__ = [
    "Answers",
    "ComparedNetwork",
    "ComparedRun",
    "Comparison",
    "PairedRepeats",
    "answers_of",
    "check_seeds",
    "compare_runs",
    "measure_costs",
    "open_network",
    "pair_repeats",
    "read_run",
    "read_runs",
    "write_comparison",
]
