"""Numbers in, matplotlib figure out.

Each function returns a :class:`matplotlib.figure.Figure` of its own, outside pyplot's registry: it needs
no display, and it is gone when the caller drops it. Colours are told apart by the colour-blind, and
nothing is said by colour alone.
"""

from fer.figures.confusion import confusion_figure
from fer.figures.curves import curves_figure
from fer.figures.folds import folds_figure
from fer.figures.gradients import gradient_figure, gradient_histograms
from fer.figures.pictures import picture_grid, predictions_figure

__all__ = [
    "confusion_figure",
    "curves_figure",
    "folds_figure",
    "gradient_figure",
    "gradient_histograms",
    "picture_grid",
    "predictions_figure",
]
