"""Neurons taken out of a network: zero in a copy of it, or really gone from a smaller one."""

import copy
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from fer.errors import InputError, did_you_mean
from fer.neurons.blocks import Bypass, bypass
from fer.neurons.plan import PrunePlan
from fer.neurons.record import GIVEN

Entries = tuple[tuple[int, ...], ...]
"""For each neuron, its rows of a weight or places in a vector, or its columns of a weight."""

SIZES: Final[Mapping[type[nn.Module], tuple[str, ...]]] = {
    nn.Conv2d: ("out_channels", "in_channels", "groups"),
    nn.Linear: ("out_features", "in_features"),
    _NormBase: ("num_features",),
    nn.PReLU: ("num_parameters",),
}
"""Layers that can lose neurons, and the attributes that say how many they have."""


@dataclass(frozen=True)
class Consumer:
    """A layer whose weights read the neurons.

    Attributes:
        layer: Name of the ``nn.Linear`` or ``nn.Conv2d``.
        columns: Its columns for each neuron: one, or H x W behind a flatten.
        padded: It sees zeros around a map, so that a constant neuron is not constant to it.
        shift: Name of the layer that can take a constant: itself if it has a bias, or the batch norm right
            behind it; None where there is none.
    """

    layer: str
    columns: Entries
    padded: bool
    shift: str | None

    @property
    def place(self) -> str:
        """Where the neurons are seen as this layer sees them; see :func:`fer.neurons.record`."""
        return self.layer + GIVEN


@dataclass(frozen=True)
class NeuronGroup:
    """Neurons that can only go together: of one layer, or of all layers that are added up.

    Attributes:
        name: The first layer that makes them.
        num_neurons: C.
        rows: Rows of the layers that make them, by name.
        attached: Places in the layers that treat each neuron by itself, by name: norms, depthwise
            convolutions.
        consumers: The layers that read them, in forward order.
        means: Columns of convolutions that read the mean over the neurons, as spatial attention does.
        num_blocks: Neurons come in so many equal blocks, of which grouped convolutions read one each: as
            many must go from each.
    """

    name: str
    num_neurons: int
    rows: Mapping[str, Entries]
    attached: Mapping[str, Entries]
    consumers: tuple[Consumer, ...]
    means: tuple[tuple[str, int], ...] = ()
    num_blocks: int = 1

    @property
    def producers(self) -> tuple[str, ...]:
        """Names of the layers that make them, in forward order."""
        return tuple(self.rows)


class Compensation(NamedTuple):
    """What a consumer is given for the neurons that go.

    Attributes:
        matrix: M of :func:`fer.neurons.coefficients`, shape ``(K, C)``; or, where each of the P places of a
            consumer's kernel was fitted by itself, ``(K P, C P)``.
        shift: What is added to the consumer's outputs, shape ``(out,)``; None for nothing.
    """

    matrix: Tensor
    shift: Tensor | None = None


def mask(
    network: nn.Module,
    groups: Iterable[NeuronGroup],
    plans: Mapping[str, PrunePlan],
    compensations: Mapping[tuple[str, str], Compensation] | None = None,
) -> nn.Module:
    """Return a copy of the network, as wide as it was, in which neurons are zero and not read.

    Args:
        network: Any network.
        groups: Of :func:`find_groups`.
        plans: By the name of a group; groups without a plan stay.
        compensations: By the names of a group and a consumer; consumers without one are given nothing for the
            neurons that go.

    Raises:
        InputError: A plan is for another group.
    """
    masked = copy.deepcopy(network)
    for group, plan in planned(groups, plans):
        mask_(masked, group, plan, compensations)
    return masked


def mask_(
    network: nn.Module,
    group: NeuronGroup,
    plan: PrunePlan,
    compensations: Mapping[tuple[str, str], Compensation] | None = None,
) -> None:
    """Do what :func:`mask` does to one group, in place."""
    gone = sorted({removal.neuron for removal in plan.removals})
    kept = list(plan.kept)
    with torch.no_grad():
        for layer, rows in (*group.rows.items(), *group.attached.items()):
            _set_zero(network.get_submodule(layer), _pick(rows, gone))
        for consumer in group.consumers:
            module: Any = network.get_submodule(consumer.layer)
            compensation = (compensations or {}).get((group.name, consumer.layer))
            weight = _dense(module)
            if compensation is not None:
                read = outgoing_weight(network, consumer).double()
                merged = _merged(read, compensation.matrix.to(read))
                weight[:, torch.tensor([consumer.columns[neuron] for neuron in kept])] = merged.to(weight)
                _shift(network, consumer, compensation.shift)
            weight[:, _pick(consumer.columns, gone)] = 0
            module.weight.copy_(_grouped(weight, getattr(module, "groups", 1)))


def _merged(weight: Tensor, matrix: Tensor) -> Tensor:
    """Return a consumer's weights for the survivors, shape ``(out, K, columns, ...)``."""
    if matrix.shape[1] == weight.shape[1]:
        return torch.einsum("oc...,kc->ok...", weight, matrix)
    return (weight.flatten(1) @ matrix.T).view(len(weight), -1, *weight.shape[2:])


def outgoing_weight(network: nn.Module, consumer: Consumer) -> Tensor:
    """Return what a consumer multiplies each neuron by, shape ``(out, C, columns, ...)``."""
    return _dense(network.get_submodule(consumer.layer))[:, torch.tensor(consumer.columns)]


def _shift(network: nn.Module, consumer: Consumer, shift: Tensor | None) -> None:
    """Add a constant to what a consumer puts out."""
    if shift is None:
        return
    if consumer.shift is None:
        msg = f"{consumer.layer} has no bias and no batch norm behind it to take a constant"
        raise ValueError(msg)
    layer = network.get_submodule(consumer.shift)
    if isinstance(layer, _NormBase):
        mean = layer.get_buffer("running_mean")
        mean.sub_(shift.to(mean))
    else:
        bias = layer.get_parameter("bias")
        bias.add_(shift.to(bias))


def cut(
    network: nn.Module,
    groups: Iterable[NeuronGroup],
    plans: Mapping[str, PrunePlan],
    compensations: Mapping[tuple[str, str], Compensation] | None = None,
) -> nn.Module:
    """Return a copy of the network in which neurons are really gone; other weights are what they were.

    Args:
        network: The network that the groups were found in, or what :func:`mask` made of it.
        groups: As for :func:`mask`.
        plans: As for :func:`mask`.
        compensations: As for :func:`mask`.

    Raises:
        InputError: A plan is for another group, or takes more neurons from one block than from another.
    """
    rows: dict[str, set[int]] = defaultdict(set)
    columns: dict[str, set[int]] = defaultdict(set)
    groups = list(groups)
    small = mask(network, groups, plans, compensations) if compensations else copy.deepcopy(network)
    for group, plan in planned(groups, plans):
        gone = [removal.neuron for removal in plan.removals]
        _check_blocks(group, gone)
        for layer, entries in (*group.rows.items(), *group.attached.items()):
            rows[layer].update(_pick(entries, gone))
        for consumer in group.consumers:
            columns[consumer.layer].update(_pick(consumer.columns, gone))
        for layer, column in group.means:
            module: Any = small.get_submodule(layer)
            module.weight.data[:, column] *= len(plan.kept) / group.num_neurons
    for layer in {**rows, **columns}:
        _slice(small.get_submodule(layer), rows[layer], columns[layer])
    return small


def planned(
    groups: Iterable[NeuronGroup], plans: Mapping[str, PrunePlan]
) -> list[tuple[NeuronGroup, PrunePlan]]:
    """Return the groups that lose neurons, with their plans.

    Raises:
        InputError: A plan is for another group.
    """
    by_name = {group.name: group for group in groups}
    for name, plan in plans.items():
        if name not in by_name:
            msg = f"there is no group {name!r}: {did_you_mean(name, by_name)}there are {', '.join(by_name)}"
            raise InputError(msg)
        if plan.num_neurons != by_name[name].num_neurons:
            msg = f"{name} has {by_name[name].num_neurons} neurons, and its plan is for {plan.num_neurons}"
            raise InputError(msg)
    return [(by_name[name], plan) for name, plan in plans.items() if plan.removals]


def _check_blocks(group: NeuronGroup, gone: Sequence[int]) -> None:
    size = group.num_neurons // group.num_blocks
    if len({sum(neuron // size == block for neuron in gone) for block in range(group.num_blocks)}) > 1:
        msg = (
            f"{group.name} is read by grouped convolutions in {group.num_blocks} blocks of {size} neurons: a "
            "plan must take as many from each"
        )
        raise InputError(msg)


def _pick(entries: Entries, neurons: Iterable[int]) -> list[int]:
    return [entry for neuron in neurons for entry in entries[neuron]]


def _vectors(module: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of a layer with an entry for each row, by name."""
    names = ("weight", "bias", "running_mean", "running_var")
    found = {name: getattr(module, name, None) for name in names}
    return {name: tensor for name, tensor in found.items() if tensor is not None}


def _set_zero(module: nn.Module, rows: list[int]) -> None:
    """Let a layer put out zero for rows that, of a norm, are given zero."""
    for name, tensor in _vectors(module).items():
        tensor[rows] = 1 if name == "running_var" else 0


def has_rows(module: nn.Module) -> bool:
    """Whether a layer reads neurons and makes others; a depthwise convolution treats each by itself."""
    return isinstance(module, nn.Conv2d | nn.Linear) and not is_depthwise(module)


def is_depthwise(module: nn.Module) -> bool:
    """Whether a convolution treats each map by itself."""
    return isinstance(module, nn.Conv2d) and module.groups == module.out_channels > 1


def _dense(module: Any) -> Tensor:
    """Return a copy of a layer's weight, shape ``(out, in, ...)``; of a grouped one zero between groups."""
    weight: Tensor = module.weight.detach().clone()
    groups = getattr(module, "groups", 1)
    if groups == 1:
        return weight
    rows, columns = weight.shape[0] // groups, weight.shape[1]
    dense = weight.new_zeros(weight.shape[0], columns * groups, *weight.shape[2:])
    for group in range(groups):
        own = slice(group * rows, (group + 1) * rows)
        dense[own, group * columns : (group + 1) * columns] = weight[own]
    return dense


def _grouped(dense: Tensor, groups: int) -> Tensor:
    """Return the part of a weight that is not zero between groups."""
    rows, columns = dense.shape[0] // groups, dense.shape[1] // groups
    parts = [
        dense[group * rows : (group + 1) * rows, group * columns : (group + 1) * columns]
        for group in range(groups)
    ]
    return torch.cat(parts) if groups > 1 else dense


def _slice(module: Any, rows: set[int], columns: set[int]) -> None:
    """Take rows and columns out of a layer."""
    tensors = _vectors(module)
    num_rows = len(next(iter(tensors.values()))) if tensors else module.num_features
    left = [row for row in range(num_rows) if row not in rows]
    tensors = {name: tensor.detach()[left] for name, tensor in tensors.items()}
    sizes = dict.fromkeys(_sizes(module), len(left))
    if has_rows(module):
        dense = _dense(module)[left]
        dense = dense[:, [column for column in range(dense.shape[1]) if column not in columns]]
        tensors["weight"] = _grouped(dense, getattr(module, "groups", 1))
        sizes |= dict(zip(_sizes(module), (*dense.shape[:2], getattr(module, "groups", 1)), strict=False))
    _replace(module, tensors, sizes)


def _replace(module: nn.Module, tensors: Mapping[str, Tensor], sizes: Mapping[str, int]) -> None:
    """Give a layer other tensors and sizes."""
    for name, tensor in tensors.items():
        old = getattr(module, name)
        # Indexing leaves strides of its own; channels_last is faster on some processors.
        is_last = old.ndim == 4 and old.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if is_last else torch.contiguous_format
        new = tensor.detach().clone(memory_format=layout)
        setattr(module, name, nn.Parameter(new, old.requires_grad) if isinstance(old, nn.Parameter) else new)
    for name, size in sizes.items():
        setattr(module, name, size)


def _sizes(module: nn.Module) -> tuple[str, ...]:
    return next((sizes for kind, sizes in SIZES.items() if isinstance(module, kind)), ())


def widths(network: nn.Module) -> dict[str, int]:
    """Return the sizes of a network's layers, for :func:`resize`.

    Returns:
        Plain numbers by ``layer.attribute``, as ``{"conv1.out_channels": 16}``, for a checkpoint; by its name
        alone 0 for a block that is gone.
    """
    sizes = {
        f"{name}.{size}": getattr(module, size)
        for name, module in network.named_modules()
        for size in _sizes(module)
    }
    gone = [name for name, module in network.named_modules() if isinstance(module, Bypass)]
    return sizes | dict.fromkeys(gone, 0)


def resize(network: nn.Module, sizes: Mapping[str, int]) -> nn.Module:
    """Return a copy of a full network with the sizes of a pruned one, whose state dict it can load.

    Args:
        network: Of the class and settings that the pruned network had before.
        sizes: Of :func:`widths`.

    Raises:
        InputError: The network has no such layer, or a smaller one.
    """
    blocks = {
        name for name, module in network.named_modules() if name and any(True for _ in module.children())
    }
    gone = [name for name, size in sizes.items() if size == 0 and name in blocks]
    full = widths(network)
    for name, size in sizes.items():
        if name in gone:
            continue
        if name not in full:
            msg = (
                f"{type(network).__name__} has no {name}, which a pruned network has: "
                f"{did_you_mean(name, full)}make it with the settings that it was trained with"
            )
            raise InputError(msg)
        if not 1 <= size <= full[name]:
            msg = f"{name} is {full[name]} in {type(network).__name__}, which cannot be cut to {size}"
            raise InputError(msg)
    small = bypass(network, gone)
    for layer, module in small.named_modules():
        wanted = {size: sizes.get(f"{layer}.{size}", getattr(module, size)) for size in _sizes(module)}
        if all(getattr(module, name) == size for name, size in wanted.items()):
            continue
        num_rows, *num_columns = [size for name, size in wanted.items() if name != "groups"]
        tensors = {name: tensor[:num_rows] for name, tensor in _vectors(module).items()}
        if num_columns:
            tensors["weight"] = tensors["weight"][:, : num_columns[0] // wanted.get("groups", 1)]
        _replace(module, tensors, wanted)
    return small
