"""Prune networks: settings, one pruning, rounds, fine-tuning, size targets, curves, any network, results."""

from fer.neurons.recalibrate import recalibrate_
from fer.pruning.any_network import Agreement, UnlabelledResults, prune_unlabelled
from fer.pruning.curves import METHODS, THRESHOLDS, threshold_curves
from fer.pruning.evaluate import Evaluation, evaluate
from fer.pruning.limits import SIZE_KINDS, Limit, Target
from fer.pruning.load import load_pruned
from fer.pruning.once import Pruning, Recalibration, prune_once, prune_to
from fer.pruning.results import NetworkResult, PruneResults, compare
from fer.pruning.rounds import Round, RoundResult, prune_in_rounds
from fer.pruning.save import save_pruning
from fer.pruning.settings import PruneSettings
from fer.pruning.size import Size, count_macs, measure_sizes
from fer.pruning.tuning import Tuning, distillation_loss, fine_tune

__all__ = [
    "METHODS",
    "SIZE_KINDS",
    "THRESHOLDS",
    "Agreement",
    "Evaluation",
    "Limit",
    "NetworkResult",
    "PruneResults",
    "PruneSettings",
    "Pruning",
    "Recalibration",
    "Round",
    "RoundResult",
    "Size",
    "Target",
    "Tuning",
    "UnlabelledResults",
    "compare",
    "count_macs",
    "distillation_loss",
    "evaluate",
    "fine_tune",
    "load_pruned",
    "measure_sizes",
    "prune_in_rounds",
    "prune_once",
    "prune_to",
    "prune_unlabelled",
    "recalibrate_",
    "save_pruning",
    "threshold_curves",
]
