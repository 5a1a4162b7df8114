"""Batch norm recalibration: compute the running means and variances of a network again."""

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
"""Spread of a channel, relative to its mean, up to which it counts as constant: the digits of float32."""


def batch_norms(network: nn.Module) -> dict[str, Any]:
    """Return the batch norms of a network that keep running statistics, by name."""
    return {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    }


def recalibrate_(network: nn.Module, batches: Batches) -> None:
    """Compute the running means and variances of batch norm again, in place, in one pass without labels.

    Each is the mean, or the variance, over all samples, whatever the size of a batch. During the pass a layer
    normalises by the statistics of the samples so far. All other layers stay in eval mode. A layer that is
    not called, sees one value alone, or values that are not finite keeps its statistics; the last two are
    warned of. A channel that does not vary keeps its variance: by a variance of 0, another sample for which
    it does would be divided by nearly nothing.

    Args:
        network: Any network; one without batch norm does not change.
        batches: Samples as the network meets them in use, without augmentation; see
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
            "batch norm of %s saw fewer than two values or some that are not finite: it was kept",
            listed(kept),
        )


def recalibrated(network: nn.Module, batches: Batches) -> nn.Module | None:
    """Return a copy with recalibrated batch norm; None if the network has none."""
    if not batch_norms(network):
        return None
    twin = copy_network(network)
    recalibrate_(twin, batches)
    return twin


class _Moments:
    """Mean and sum of squares around it of what a batch norm takes, in float64."""

    def __init__(self, norm: Any) -> None:
        self.norm = norm
        self.before = norm.running_mean.clone(), norm.running_var.clone()
        self.count = 0
        self.mean = self.squares = torch.zeros(())

    def add(self, inputs: Tensor) -> None:
        """Add a batch by Chan's formula, and let the layer normalise by all samples so far."""
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
        """Return whether the layer was called, but keeps its statistics, which are restored."""
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
    """Let moments receive what batch norms take, before they normalise it."""
    with ExitStack() as hooks:
        hooks.enter_context(torch.compiler.set_stance("force_eager"))  # compiled code ignores new hooks
        for name, norm in norms.items():

            def receive(module: nn.Module, inputs: tuple[Any, ...], each: _Moments = moments[name]) -> None:
                del module
                each.add(inputs[0])

            hooks.callback(norm.register_forward_pre_hook(receive).remove)
        yield
