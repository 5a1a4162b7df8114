"""What a criterion decides on: the neurons of a layer, their gradients, and how many may be removed."""

from collections.abc import Collection
from dataclasses import dataclass

from torch import Tensor

from fer.neurons.angles import COMPLEMENTARY_ABOVE, SIMILAR_BELOW
from fer.neurons.statistics import ActivationStatistics


@dataclass(frozen=True, eq=False)
class Gradients:
    """How the loss depends on a factor on the output of each neuron, whose value is 1.

    Attributes:
        of_batches: Square of the derivative of a batch's mean loss, averaged over the batches, shape
            ``(C,)``.
        of_samples: Square of the derivative of a sample's loss, averaged over the samples, shape ``(C,)``.
    """

    of_batches: Tensor
    of_samples: Tensor

    def __repr__(self) -> str:
        """Return the number of neurons."""
        return f"Gradients({len(self.of_samples)} neurons)"


@dataclass(frozen=True, eq=False)
class Neurons:
    """The neurons of a layer, as a criterion sees them.

    Attributes:
        statistics: Statistics of their activations at the input of the next layers, C neurons.
        outgoing: Their weights in the next layers, side by side, shape ``(C, M)``.
        incoming: The weights that compute them, shape ``(C, K)``; None if unknown.
        gradients: How the loss depends on them; None unless the criterion asks for it.
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
        similar_below: Threshold of small angles, degrees.
        complementary_above: Threshold of large angles, degrees.
        num_removed: Number of neurons to remove, whatever the thresholds; None: the thresholds decide.
        protected: Neurons that are kept; others may be merged into them.
    """

    similar_below: float = SIMILAR_BELOW
    complementary_above: float = COMPLEMENTARY_ABOVE
    num_removed: int | None = None
    protected: Collection[int] = ()
