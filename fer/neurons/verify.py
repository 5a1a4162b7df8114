"""Compare a pruned network with the unpruned network in which the removed neurons are unused."""

from collections.abc import Iterable, Mapping
from typing import Final

from torch import nn

from fer.errors import InputError
from fer.neurons.batches import InputBatches
from fer.neurons.groups import NeuronGroup
from fer.neurons.independence import differs, run_seeded
from fer.neurons.networks import FOREIGN_ERRORS, copy_network, eval_state, one_line
from fer.neurons.plan import PrunePlan
from fer.neurons.surgery import planned, restore_

MAX_SAMPLES: Final = 16
"""Number of samples in the comparison; a wrong index shows on each of them."""


class PruneError(InputError):
    """A pruned network does not compute what the unpruned network computes without the removed neurons."""


def check_pruned(
    network: nn.Module,
    compensated: nn.Module,
    small: nn.Module,
    groups: Iterable[NeuronGroup],
    plans: Mapping[str, PrunePlan],
    batches: InputBatches,
) -> None:
    """Check that a pruned network computes the same as the unpruned network with the same corrected weights.

    In the unpruned network the removed neurons are computed as before, but the columns of the next layers
    that take them are zero; the neurons themselves are zero only if a convolution takes their mean or
    maximum. Both networks run once, on at most 16 samples, in eval mode and in float64. Sums of different
    lengths then differ by 1e-13 of the largest output; 1e-9 is accepted, which is far below float32's
    rounding.

    Args:
        network: The network before pruning.
        compensated: The unpruned network with the corrected weights, in which the removed neurons are zero.
        small: The pruned network.
        groups: Groups of its neurons.
        plans: Plans by the name of a group.
        batches: Samples that the network was measured on.

    Raises:
        PruneError: The outputs differ by more than rounding.
    """
    whole = copy_network(compensated)
    for group, plan in planned(groups, plans):
        if not (group.means or group.maxima):
            restore_(whole, network, group, plan)
    whole, small = whole.double(), copy_network(small).double()
    with eval_state(whole), eval_state(small):
        inputs = batches.first().take(MAX_SAMPLES)
        try:
            pairs = list(zip(run_seeded(small, inputs), run_seeded(whole, inputs), strict=True))
        except (InputError, *FOREIGN_ERRORS) as error:
            msg = _message(network, f"does not run: {one_line(error)}")
            raise PruneError(msg) from error
    for found, expected in pairs:
        if found.shape != expected.shape:
            msg = _message(network, f"returns {tuple(found.shape)} instead of {tuple(expected.shape)}")
            raise PruneError(msg)
        if differs(found, expected).any():
            most = (found - expected).abs().nan_to_num(float("inf")).max() / expected.abs().max()
            msg = _message(network, f"returns values that differ by {most:.1e} of the largest one")
            raise PruneError(msg)


def _message(network: nn.Module, what: str) -> str:
    return (
        f"{type(network).__name__} cannot be pruned: compared with the unpruned network without the removed "
        f"neurons, the pruned one {what}. Prune other layers (layers=), and report this network as a bug"
    )
