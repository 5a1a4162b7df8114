"""Save a pruned network in the folder of a run: checkpoint, results, figures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from torch import Tensor

from fer.checkpoints import write_pruned
from fer.figures import dendrogram_figure, prune_figure
from fer.neurons import angles
from fer.neurons.criteria import Pairs
from fer.pruning.once import Pruning
from fer.pruning.results import PruneResults
from fer.runs import Run


def save_pruning(
    pruning: Pruning,
    results: PruneResults,
    run_dir: Path,
    *,
    state: Mapping[str, Tensor],
    attribute: str,
    unpruned: Mapping[str, Any],
) -> Path:
    """Save a pruned network and its results.

    Args:
        pruning: Pruning to save.
        results: Results of the pruning.
        run_dir: Folder for ``checkpoints/pruned.ckpt`` and ``prune.json``.
        state: State dict of the module that holds the pruned network; see
            :func:`fer.checkpoints.write_pruned`.
        attribute: Dotted name of the network in the module; empty: the module itself.
        unpruned: Content of the checkpoint before pruning.

    Returns:
        Path of the pruned checkpoint.
    """
    run = Run(run_dir)
    write_pruned(run.pruned_checkpoint, state, pruning.widths, attribute=attribute, unpruned=unpruned)
    results.write(run_dir)
    return run.pruned_checkpoint


def draw_pruning(pruning: Pruning, results: PruneResults) -> dict[str, Figure]:
    """Return figures of a pruning by name: ``prune``, and ``prune-merges`` for the criterion ``pairs``."""
    name = type(pruning.network).__name__
    title = f"Pruning of {name}: {_extent(pruning, results)}, {pruning.settings.label}"
    figures = {"prune": prune_figure(results.to_dict(), title)}
    criterion = pruning.settings.method.criterion
    is_rescaled = pruning.measurement.pattern_minmax
    if isinstance(criterion, Pairs) and not is_rescaled and not results.rounds:
        figures["prune-merges"] = _merges_figure(pruning, criterion, name)
    return figures


def _extent(pruning: Pruning, results: PruneResults) -> str:
    """Return the extent of a pruning: rounds, thresholds or share of multiply-adds."""
    if pruning.settings.sizes:
        return f"{100 * results.after.macs / results.before.macs:.1f} % of the multiply-adds left"
    if results.rounds:
        return f"{len(results.rounds)} round{'s' * (len(results.rounds) > 1)}"
    return f"{pruning.settings.similar_below:.4g}° / {pruning.settings.complementary_above:.4g}°"


def _merges_figure(pruning: Pruning, criterion: Pairs, name: str) -> Figure:
    """Return the dendrograms of the merged neurons."""
    settings, measurement = pruning.settings, pruning.measurement
    degrees = {
        group.name: angles(measurement.statistics_of(group), criterion.normalise).cpu().numpy()
        for group in measurement.groups
    }
    return dendrogram_figure(
        *(pruning.plans, degrees, f"Merged neurons of {name}"),
        similar_below=settings.similar_below,
        complementary_above=settings.complementary_above,
    )
