"""Batch norm recalibration: recompute the running means and variances of a network."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fer.neurons.batches import InputBatches
from fer.neurons.inputs import Batches, call
from fer.neurons.networks import copy_network, eval_state
from fer.neurons.text import listed
from fer.neurons.warn import warn

FLAT: Final = 1e-7
"""Spread of a channel, relative to its mean, up to which it counts as constant: float32's resolution."""


def batch_norms(network: nn.Module) -> dict[str, Any]:
    """Return the batch norms of a network that keep running statistics, by name."""
    return {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    }


def recalibrate_(network: nn.Module, batches: Batches) -> None:
    """Recompute the running means and variances of batch norm, in place, in one pass without labels.

    Each is the mean or variance over all samples, whatever the batch size. During the pass, a layer
    normalises by the statistics of the samples so far. All other layers stay in eval mode. A layer keeps its
    statistics if it is not called or, with a warning, if it gets a single value or values that are not
    finite. A channel that does not vary keeps its variance: with a variance of 0, any other sample would be
    divided by almost nothing.

    Args:
        network: Any network; one without batch norm does not change.
        batches: Samples like those that the network is used on, without augmentation; see
            :func:`fer.neurons.measure`.
    """
    norms = batch_norms(network)
    if not norms:
        return
    moments = {name: _Moments(norm) for name, norm in norms.items()}
    with eval_state(network), _received(norms, moments):
        for inputs in InputBatches.of(batches, network):
            call(network, inputs)
    kept = [name for name, each in moments.items() if each.finish()]
    if kept:
        warn(
            "batch norm of %s got fewer than two values, or some that are not finite: it was kept",
            listed(kept),
        )


def recalibrated(network: nn.Module, batches: Batches) -> nn.Module | None:
    """Return a copy with recalibrated batch norm; None if the network has no batch norm."""
    if not batch_norms(network):
        return None
    twin = copy_network(network)
    recalibrate_(twin, batches)
    return twin


class _Moments:
    """Mean of a batch norm's inputs, and sum of squares around it, in float64."""

    def __init__(self, norm: Any) -> None:
        self.norm = norm
        self.before = norm.running_mean.clone(), norm.running_var.clone()
        self.count = 0
        self.mean = self.squares = torch.zeros(())

    def add(self, inputs: Tensor) -> None:
        """Add a batch by Chan's formula, and make the layer normalise by all samples so far."""
        values = inputs.detach().transpose(0, 1).flatten(1).double()
        num = values.shape[1]
        if num == 0:
            return
        mean = values.mean(1)
        gap, total = mean - self.mean.to(mean), self.count + num
        self.squares = self.squares.to(mean) + (values - mean[:, None]).square().sum(1)
        self.squares = self.squares + gap.square() * (self.count * num / total)
        self.mean = self.mean.to(mean) + gap * (num / total)
        self.count = total
        self._write(self.mean, self.squares / max(total - 1, 1))

    def finish(self) -> bool:
        """Restore the statistics if they are not valid; return whether that happened to a called layer."""
        mean, variance = self.before
        is_good = self.count > 1 and bool((self.mean.isfinite() & self.squares.isfinite()).all())
        if is_good:
            mean, found = self.mean, self.squares / (self.count - 1)
            variance = torch.where(found > FLAT**2 * mean.square(), found, variance)
        self._write(mean, variance)
        return self.count > 0 and not is_good

    def _write(self, mean: Tensor, variance: Tensor) -> None:
        self.norm.running_mean.copy_(mean)
        self.norm.running_var.copy_(variance)


@contextmanager
def _received(norms: Mapping[str, nn.Module], moments: Mapping[str, _Moments]) -> Iterator[None]:
    """Pass the inputs of batch norms to their moments before they are normalised."""
    with ExitStack() as hooks:
        hooks.enter_context(torch.compiler.set_stance("force_eager"))  # compiled code ignores new hooks
        for name, norm in norms.items():

            def receive(module: nn.Module, inputs: tuple[Any, ...], each: _Moments = moments[name]) -> None:
                del module
                each.add(inputs[0])

            hooks.callback(norm.register_forward_pre_hook(receive).remove)
        yield
