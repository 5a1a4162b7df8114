"""Inputs of a criterion: the neurons of a layer, their gradients, and how many may be removed."""

from collections.abc import Collection
from dataclasses import dataclass

from torch import Tensor

from fer.neurons.angles import COMPLEMENTARY_ABOVE, SIMILAR_BELOW
from fer.neurons.statistics import ActivationStatistics


@dataclass(frozen=True, eq=False)
class Gradients:
    """Squared derivatives of the loss with respect to a factor of 1 on each neuron's output.

    Attributes:
        of_batches: Squared derivative of a batch's mean loss, averaged over the batches, shape ``(C,)``.
        of_samples: Squared derivative of a sample's loss, averaged over the samples, shape ``(C,)``.
    """

    of_batches: Tensor
    of_samples: Tensor

    def __repr__(self) -> str:
        """Return the number of neurons."""
        return f"Gradients({len(self.of_samples)} neurons)"


@dataclass(frozen=True, eq=False)
class Neurons:
    """Neurons of a layer, as a criterion sees them.

    Attributes:
        statistics: Statistics of the activations of C neurons at the input of the next layers.
        outgoing: Weights of the next layers for these neurons, side by side, shape ``(C, M)``.
        incoming: Weights that compute the neurons, shape ``(C, K)``; None if unknown.
        gradients: Derivatives of the loss; None unless the criterion needs them.
        takes_constants: Whether the next layers can add a constant to their outputs.
    """

    statistics: ActivationStatistics
    outgoing: Tensor
    incoming: Tensor | None = None
    gradients: Gradients | None = None
    takes_constants: bool = True

    def __repr__(self) -> str:
        """Return the statistics of the neurons."""
        return f"Neurons({self.statistics!r})"


@dataclass(frozen=True)
class Limits:
    """How many neurons a criterion may remove.

    Attributes:
        similar_below: Threshold for small angles, degrees.
        complementary_above: Threshold for large angles, degrees.
        num_removed: Number of neurons to remove regardless of the thresholds; None: the thresholds decide.
        protected: Indices of neurons that are kept; other neurons may be merged into them.
    """

    similar_below: float = SIMILAR_BELOW
    complementary_above: float = COMPLEMENTARY_ABOVE
    num_removed: int | None = None
    protected: Collection[int] = ()
