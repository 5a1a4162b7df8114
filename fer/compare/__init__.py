"""Runs side by side: settings that differ, results, size, speed and redundant neurons."""

from fer.compare.comparison import Comparison, compare_runs
from fer.compare.folders import ComparedRun, read_runs
from fer.compare.networks import ComparedNetwork, measure_costs, open_network
from fer.compare.write import write_comparison

__all__ = [
    "ComparedNetwork",
    "ComparedRun",
    "Comparison",
    "compare_runs",
    "measure_costs",
    "open_network",
    "read_runs",
    "write_comparison",
]
