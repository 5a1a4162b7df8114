"""Numbers in, matplotlib figure out.

Each function returns a :class:`matplotlib.figure.Figure` of its own, outside pyplot's registry: it needs
no display, and it is gone when the caller drops it. Colours are told apart by the colour-blind, and
nothing is said by colour alone.
"""

from fer.figures.angles import histogram_figure, matrix_figure, pairs_figure
from fer.figures.collapse import collapse_figure
from fer.figures.confusion import confusion_figure
from fer.figures.curves import curves_figure
from fer.figures.gradients import gradient_figure, gradient_histograms
from fer.figures.images import image_grid, predictions_figure
from fer.figures.intervals import intervals_figure
from fer.figures.maps import feature_maps_figure
from fer.figures.members import members_figure
from fer.figures.merges import dendrogram_figure
from fer.figures.protocols import protocols_figure
from fer.figures.pruning import prune_figure
from fer.figures.pruning_curve import curve_figure
from fer.figures.reliability import reliability_figure
from fer.figures.stages import fan_figure, speed_figure

__all__ = [
    "collapse_figure",
    "confusion_figure",
    "curve_figure",
    "curves_figure",
    "dendrogram_figure",
    "fan_figure",
    "feature_maps_figure",
    "gradient_figure",
    "gradient_histograms",
    "histogram_figure",
    "image_grid",
    "intervals_figure",
    "matrix_figure",
    "members_figure",
    "pairs_figure",
    "predictions_figure",
    "protocols_figure",
    "prune_figure",
    "reliability_figure",
    "speed_figure",
]
