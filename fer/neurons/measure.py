"""Measure neurons in one pass: those of named layers, or of the groups that can be pruned."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fer.errors import InputError, did_you_mean
from fer.neurons.batches import EMPTY, InputBatches
from fer.neurons.criteria import Criterion, CriterionName, make_criterion
from fer.neurons.evidence import Gradients
from fer.neurons.groups import Consumer, Key, NeuronGroup, PrunableLayers
from fer.neurons.hidden import find_hidden_layers
from fer.neurons.inputs import Batches, Inputs, InputsOf, call, inputs_of, labels_of
from fer.neurons.networks import device_of, eval_state, one_line
from fer.neurons.prunable import find_prunable
from fer.neurons.record import INPUT, find_layers, record, tap
from fer.neurons.statistics import ActivationStatistics, MapSample, Unit
from fer.neurons.text import join_reasons, listed


def measure(
    network: nn.Module,
    batches: Batches,
    layers: str | Iterable[str] | None = None,
    *,
    inputs: InputsOf | None = None,
    maps: MapSample | Mapping[str, MapSample] = "positions",
    pattern_minmax: bool = False,
    progress: bool = False,
    on_layer: Callable[[str, Tensor], None] | None = None,
    on_outputs: Callable[[Inputs, Any], None] | None = None,
) -> dict[str, ActivationStatistics]:
    """Measure the outputs of layers in one pass; the network does not change.

    Args:
        network: Any network. The kind of neuron is known if the layer is an ``nn.Sigmoid`` or ``nn.Tanh``.
        batches: Batches of N samples, in a list or a loader: tensors, or sequences or mappings of them; see
            :func:`fer.neurons.inputs.inputs_of`. Or one tensor with all samples. They are moved to the
            network's device.
        layers: Names for :func:`fer.neurons.record`; a string is one name. Each layer is measured at its own
            output, before any batch norm or activation after it. None: all hidden layers that
            :func:`fer.neurons.find_hidden_layers` finds, each as the next layer takes its neurons: after
            batch norm, activation and pooling. So the same name may have other angles with None.
        inputs: Function from a batch to the network's arguments: a tensor, a tuple of positional arguments,
            or a mapping by name.
        maps: What a sample of a feature map is, for all layers or by name (``positions`` for names left out).
        pattern_minmax: Whether to rescale each sample; see :func:`fer.neurons.statistics.pattern_minmax`.
        progress: Whether to show a progress bar.
        on_layer: Called with the name under which a layer is recorded and its output for a batch. The next
            layer may overwrite the output.
        on_outputs: Called with each batch and the network's outputs for it.

    Returns:
        Statistics by layer, in the given order or in forward order.

    Raises:
        InputError: A layer is unknown, returns no tensor or one that is neither a matrix nor feature maps, is
            too wide, or is not called exactly once per batch; or there are no samples or no hidden layers.
    """
    batches = InputBatches.of(batches, network, inputs, progress=progress).titled("measuring layers")
    more: dict[str, Any] = {
        "pattern_minmax": pattern_minmax,
        "on_layer": on_layer or (lambda name, output: None),
        "on_outputs": on_outputs or (lambda batch, outputs: None),
    }
    if layers is not None:
        return _measure_layers(network, batches, layers, maps, **more)
    with eval_state(network):
        example = batches.first()
    found = find_hidden_layers(network, example)
    if not found.layers:
        reasons = join_reasons(found.refused) or "no layer has weights"
        msg = f"{type(network).__name__} has no hidden layers to measure ({reasons})"
        raise InputError(msg)
    if not isinstance(maps, str):
        maps = {found.layers[name]: sample for name, sample in maps.items() if name in found.layers}
    statistics = _measure_layers(network, batches, found.layers.values(), maps, **more)
    return {name: statistics[place] for name, place in found.layers.items()}


def _measure_layers(
    network: nn.Module,
    batches: Batches,
    layers: str | Iterable[str],
    maps: MapSample | Mapping[str, MapSample],
    *,
    pattern_minmax: bool,
    on_layer: Callable[[str, Tensor], None],
    on_outputs: Callable[[Inputs, Any], None],
) -> dict[str, ActivationStatistics]:
    """Return the statistics of layers, by their names for :func:`fer.neurons.record`."""
    modules = find_layers(network, layers)
    by_layer = {name: maps if isinstance(maps, str) else maps.get(name, "positions") for name in modules}
    statistics: dict[str, ActivationStatistics] = {}
    called: set[str] = set()
    is_empty = True

    def receive(name: str, output: Tensor) -> None:
        if name in called:
            msg = f"layer {name!r} is called more than once per batch: name a layer around it"
            raise InputError(msg)
        called.add(name)
        try:
            if name in statistics:
                statistics[name].update(output)
            else:
                unit = _unit(name, modules[name])
                statistics[name] = ActivationStatistics.of(
                    output, maps=by_layer[name], pattern_minmax=pattern_minmax, unit=unit
                )
        except InputError as error:
            msg = f"layer {name!r}: {error}"
            raise InputError(msg) from error
        on_layer(name, output)

    with eval_state(network), record(network, modules, receive):
        for batch in batches:
            is_empty = False
            called.clear()
            on_outputs(inputs_of(batch, network), call(network, batch))
    if is_empty:
        raise InputError(EMPTY)
    if missed := [name for name in modules if name not in statistics]:
        msg = f"the network does not call its layers {', '.join(missed)}: name layers that it calls"
        raise InputError(msg)
    return {name: statistics[name] for name in modules}


def _unit(name: str, module: nn.Module) -> Unit:
    if INPUT in name:
        return "other"
    match module:
        case nn.Sigmoid():
            return "logistic"
        case nn.Tanh():
            return "tanh"
    return "other"


@dataclass(frozen=True, eq=False)
class Measurement:
    """Measurement of a network's neurons, from which it can be pruned in several ways.

    Attributes:
        prunable: Groups that can be pruned, and layers that cannot.
        statistics: Statistics of each measured group at the input of each of its next layers.
        pattern_minmax: Whether each sample was rescaled; see :func:`fer.neurons.statistics.pattern_minmax`.
        gradients: Derivatives of the loss with respect to the neurons, by the name of the group; empty unless
            the criterion needs them.
    """

    prunable: PrunableLayers
    statistics: Mapping[Key, ActivationStatistics]
    pattern_minmax: bool = False
    gradients: Mapping[str, Gradients] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Return the name and number of neurons of each group, and the number of samples of the first."""
        sizes = listed(f"{group.name}: {group.num_neurons}" for group in self.groups)
        count = next((one.count for one in self.statistics.values()), 0)
        return f"Measurement(neurons: {sizes}; {count:,} samples at the first)"

    @property
    def groups(self) -> list[NeuronGroup]:
        """Groups that were measured, in forward order."""
        measured = {name for name, _ in self.statistics}
        return [group for group in self.prunable.groups if group.name in measured]

    def statistics_of(self, group: NeuronGroup) -> ActivationStatistics:
        """Return the statistics of a group over the inputs of all its next layers."""
        return reduce(add, [self.statistics[group.name, consumer.layer] for consumer in group.consumers])

    def centred_statistics_of(self, group: NeuronGroup) -> ActivationStatistics:
        """Return the same statistics with the scatter around the mean at each next layer."""
        uppers = [self.statistics[group.name, consumer.layer].upper for consumer in group.consumers]
        return replace(self.statistics_of(group), upper=reduce(torch.add, uppers))


def measure_groups(
    network: nn.Module,
    batches: Batches,
    *,
    layers: str | Sequence[str] | None = None,
    criterion: CriterionName | Criterion = "pairs",
    pattern_minmax: bool = False,
    inputs: InputsOf | None = None,
    progress: bool = False,
) -> Measurement:
    """Measure a network's neurons, so that :func:`prune` can prune it in several ways.

    Args:
        network: See :func:`fer.neurons.prune`.
        batches: See :func:`fer.neurons.prune`.
        layers: Names of the layers whose neurons may be removed; None: all.
        criterion: Criterion; gradients are measured only if it needs them.
        pattern_minmax: Whether to rescale each sample, as Jain's rule does.
        inputs: Function from a batch to the network's arguments; see :func:`measure`.
        progress: Whether to show a progress bar for each pass.

    Raises:
        InputError: As raised by :func:`fer.neurons.find_prunable`; or the batches can be iterated over only
            once, lack the labels that the criterion needs, no neurons can be removed, or a layer is unknown.
    """
    batches = InputBatches.of(batches, network, inputs, progress=progress)
    with eval_state(network):
        example = batches.first()
    found = find_prunable(network, example)
    groups = _choose(network, found, layers)
    needs_gradients = make_criterion(criterion).needs_gradients
    gradients = (
        measure_gradients(network, groups, batches.titled("measuring gradients")) if needs_gradients else {}
    )
    batches = batches.titled("measuring neurons")
    statistics = measure_inputs(network, groups, batches, pattern_minmax=pattern_minmax)
    return Measurement(found, statistics, pattern_minmax, gradients)


def _choose(
    network: nn.Module, found: PrunableLayers, layers: str | Sequence[str] | None
) -> list[NeuronGroup]:
    """Return the groups that contain the named layers."""
    by_layer = {layer: group for group in found.groups for layer in group.producers}
    if not by_layer:
        reasons = join_reasons(found.refused) or "it has no linear layers or convolutions"
        msg = f"{type(network).__name__} has no hidden neurons that can be removed ({reasons})"
        raise InputError(msg)
    if layers is None:
        return list(found.groups)
    names = [layers] if isinstance(layers, str) else list(layers)
    if not names:
        msg = f"layers is empty: name some of {', '.join(by_layer)}, or leave it out to prune all of them"
        raise InputError(msg)
    for layer in names:
        if layer in found.refused:
            msg = f"the neurons of layer {layer!r} cannot be removed: {found.refused[layer]}"
            raise InputError(msg)
        if layer not in by_layer:
            msg = (
                f"{type(network).__name__} has no layer {layer!r} whose neurons can be removed: "
                f"{did_you_mean(layer, by_layer)}choose from {', '.join(by_layer)}"
            )
            raise InputError(msg)
    return [group for group in found.groups if {*names} & {*group.producers}]


def measure_inputs(
    network: nn.Module, groups: Iterable[NeuronGroup], batches: Batches, *, pattern_minmax: bool = False
) -> dict[Key, ActivationStatistics]:
    """Measure each group at the input of each of its next layers."""
    by_input = consumers_by_input(groups)
    statistics: dict[Key, ActivationStatistics] = {}

    def receive(name: str, inputs: Tensor) -> None:
        for group, consumer in by_input[name]:
            neurons, key = neurons_in(network, consumer, inputs).flatten(2, -2), (group, consumer.layer)
            if key in statistics:  # spatial attention takes the mean and then the maximum
                statistics[key].update(neurons)
            else:
                statistics[key] = ActivationStatistics.of(neurons, pattern_minmax=pattern_minmax)

    with eval_state(network), record(network, by_input, receive):
        for batch in batches:
            call(network, batch)
    return statistics


def consumers_by_input(groups: Iterable[NeuronGroup]) -> dict[str, list[tuple[str, Consumer]]]:
    """Return the next layers of groups, with the group's name, by the name of the layer's input."""
    by_input = defaultdict(list)
    for group in groups:
        for consumer in group.consumers:
            by_input[consumer.input].append((group.name, consumer))
    return by_input


def neurons_in(network: nn.Module, consumer: Consumer, inputs: Tensor) -> Tensor:
    """Return the neurons in a next layer's input, shape ``(N, C, columns, H, W)``; H = W = 1 for vectors."""
    if isinstance(network.get_submodule(consumer.layer), nn.Linear):
        inputs = inputs.flatten(0, -2)[..., None, None]
    return inputs[:, torch.tensor(consumer.columns)]


def measure_gradients(
    network: nn.Module, groups: Sequence[NeuronGroup], batches: Batches
) -> dict[str, Gradients]:
    """Measure how the cross-entropy depends on a factor on each neuron; the network does not change.

    The derivative with respect to the factor is the sum over positions and next layers of activation times
    gradient, for each sample.

    Args:
        network: A classifier, which returns logits of shape ``(N, num_classes)``.
        groups: Groups of its neurons.
        batches: Batches with labels; see :func:`fer.neurons.inputs.labels_of`.

    Returns:
        Gradients by the name of the group.

    Raises:
        InputError: A batch has no labels, the labels do not fit the logits, or the network returns no logits.
    """
    by_input = consumers_by_input(groups)
    squares = {group.name: [torch.zeros(()), torch.zeros(())] for group in groups}
    num_batches, num_samples, device = 0, 0, device_of(network)
    for batch in batches:
        inputs, labels = inputs_of(batch, network), labels_of(batch).to(device)
        taken: list[tuple[str, Tensor]] = []
        tapped = tap(network, by_input, lambda name, tensor, taken=taken: taken.append((name, tensor)))  # type: ignore[misc]
        with eval_state(network), tapped, torch.enable_grad():
            logits = call(network, inputs.to(network).map(_as_source))
            loss = _loss(network, logits, labels)
            grads = torch.autograd.grad(loss, [tensor for _, tensor in taken], allow_unused=True)
        slopes: dict[str, Tensor] = {}
        for (name, tensor), grad in zip(taken, grads, strict=True):
            for group, consumer in by_input[name]:
                product = tensor.detach() * (torch.zeros_like(tensor) if grad is None else grad)
                slope = neurons_in(network, consumer, product).double().flatten(2).sum(2)
                slope = slope.view(len(inputs), -1, slope.shape[1]).sum(1)
                slopes[group] = slopes[group] + slope if group in slopes else slope
        for group, slope in slopes.items():
            of_batches, of_samples = squares[group]
            squares[group] = [
                of_batches.to(slope) + slope.mean(0).square(),
                of_samples.to(slope) + slope.square().sum(0),
            ]
        num_batches, num_samples = num_batches + 1, num_samples + len(inputs)
    return {
        name: Gradients(of_batches / num_batches, of_samples / num_samples)
        for name, (of_batches, of_samples) in squares.items()
    }


def _as_source(tensor: Tensor) -> Tensor:
    """Return a copy of an input that requires a gradient, so that gradients reach layers without weights."""
    return tensor.detach().clone().requires_grad_(tensor.is_floating_point())


def _loss(network: nn.Module, logits: Any, labels: Tensor) -> Tensor:
    """Return the cross-entropy, summed over the samples.

    Raises:
        InputError: The outputs are not logits, or the labels do not fit them.
    """
    if not isinstance(logits, Tensor):
        msg = (
            f"{type(network).__name__} returns a {type(logits).__name__}, but the criterion needs logits of "
            "shape (N, classes): use a criterion without labels, such as 'span'"
        )
        raise InputError(msg)
    try:
        return F.cross_entropy(logits, labels, reduction="sum")
    except (RuntimeError, ValueError, IndexError) as error:
        msg = (
            f"labels of shape {tuple(labels.shape)} do not fit outputs of shape "
            f"{tuple(logits.shape)}: {one_line(error)}"
        )
        raise InputError(msg) from error
