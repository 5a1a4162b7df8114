"""Remove neurons from a copy of a network: set them to zero (mask), or cut them out."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from fer.errors import InputError, did_you_mean
from fer.neurons.blocks import Bypass, bypass
from fer.neurons.groups import SIZES, Consumer, Entries, Key, NeuronGroup, has_rows
from fer.neurons.networks import copy_network
from fer.neurons.plan import PrunePlan


class Compensation(NamedTuple):
    """Correction of a next layer for the neurons that were removed.

    Attributes:
        matrix: M of :func:`fer.neurons.merge.coefficients`, shape ``(K, C)``; or ``(K P, C P)`` if each of
            the P positions of the layer's kernel was fitted separately.
        shift: Constant to add to the layer's output, shape ``(out,)``; None if there is none.
    """

    matrix: Tensor
    shift: Tensor | None = None


def mask(
    network: nn.Module,
    groups: Iterable[NeuronGroup],
    plans: Mapping[str, PrunePlan],
    compensations: Mapping[Key, Compensation] | None = None,
) -> nn.Module:
    """Return a copy of the network, of the same size, in which the removed neurons are zero and unused.

    Args:
        network: Any network.
        groups: Groups of its neurons; see :func:`fer.neurons.find_prunable`.
        plans: Plans by the name of a group; groups without a plan keep all neurons.
        compensations: Corrections by the names of a group and a next layer; other layers are not corrected.

    Raises:
        InputError: A plan does not fit its group.
    """
    masked = copy_network(network)
    for group, plan in planned(groups, plans):
        mask_(masked, group, plan, compensations)
    return masked


def mask_(
    network: nn.Module,
    group: NeuronGroup,
    plan: PrunePlan,
    compensations: Mapping[Key, Compensation] | None = None,
) -> None:
    """Mask one group in place; see :func:`mask`."""
    removed = sorted({removal.neuron for removal in plan.removals})
    kept = list(plan.kept)
    with torch.no_grad():
        for layer, rows in (*group.rows.items(), *group.attached.items()):
            _set_zero(network.get_submodule(layer), _pick(rows, removed))
        for consumer in group.consumers:
            module: Any = network.get_submodule(consumer.layer)
            compensation = (compensations or {}).get((group.name, consumer.layer))
            weight = _dense(module)
            if compensation is not None:
                outgoing = outgoing_weight(network, consumer).double()
                merged = _merged(outgoing, compensation.matrix.to(outgoing))
                weight[:, torch.tensor([consumer.columns[neuron] for neuron in kept])] = merged.to(weight)
                if compensation.shift is not None:
                    add_constant(network, consumer.shift, compensation.shift)
            weight[:, _pick(consumer.columns, removed)] = 0
            module.weight.copy_(_grouped(weight, getattr(module, "groups", 1)))


def restore_(masked: nn.Module, network: nn.Module, group: NeuronGroup, plan: PrunePlan) -> None:
    """Make a masked network compute the removed neurons of a group again, in place; they stay unused."""
    removed = sorted({removal.neuron for removal in plan.removals})
    with torch.no_grad():
        for layer, entries in (*group.rows.items(), *group.attached.items()):
            rows = _pick(entries, removed)
            before = vectors_of(network.get_submodule(layer))
            for name, tensor in vectors_of(masked.get_submodule(layer)).items():
                tensor[rows] = before[name][rows]


def _merged(weight: Tensor, matrix: Tensor) -> Tensor:
    """Return a next layer's weights for the survivors, shape ``(out, K, columns, ...)``."""
    if matrix.shape[1] == weight.shape[1]:
        return torch.einsum("oc...,kc->ok...", weight, matrix)
    return (weight.flatten(1) @ matrix.T).view(len(weight), -1, *weight.shape[2:])


def outgoing_weight(network: nn.Module, consumer: Consumer) -> Tensor:
    """Return a next layer's weights for each neuron, shape ``(out, C, columns, ...)``."""
    return _dense(network.get_submodule(consumer.layer))[:, torch.tensor(consumer.columns)]


def outgoing_weights(network: nn.Module, group: NeuronGroup) -> Tensor:
    """Return each neuron's outgoing weights, with all next layers side by side, shape ``(C, M)``."""
    weights = [outgoing_weight(network, consumer).double() for consumer in group.consumers]
    return torch.cat([each.transpose(0, 1).flatten(1) for each in weights], dim=1)


def incoming_weights(network: nn.Module, group: NeuronGroup) -> Tensor:
    """Return the weights that compute each neuron, with all layers side by side, shape ``(C, M)``."""
    weights = [
        network.get_parameter(f"{layer}.weight").detach()[torch.tensor(rows)].double()
        for layer, rows in group.rows.items()
    ]
    return torch.cat([each.flatten(1) for each in weights], dim=1)


def add_constant(network: nn.Module, layer: str | None, constant: Tensor) -> None:
    """Add a constant, in place, to a layer's output by its bias, or to a batch norm's input by its mean."""
    if layer is None:
        msg = "a layer without a bias and without batch norm behind it takes no constant"
        raise ValueError(msg)
    module = network.get_submodule(layer)
    if isinstance(module, _NormBase):
        mean = module.get_buffer("running_mean")
        mean.sub_(constant.to(mean))
    else:
        bias = module.get_parameter("bias")
        bias.data.add_(constant.to(bias))


def cut(
    network: nn.Module,
    groups: Iterable[NeuronGroup],
    plans: Mapping[str, PrunePlan],
    compensations: Mapping[Key, Compensation] | None = None,
) -> nn.Module:
    """Return a smaller copy of the network, without the removed neurons; other weights do not change.

    Args:
        network: The network that the groups were found in, or its masked copy from :func:`mask`.
        groups: Groups of its neurons; see :func:`fer.neurons.find_prunable`.
        plans: Plans by the name of a group; groups without a plan keep all neurons.
        compensations: Corrections by the names of a group and a next layer; other layers are not corrected.

    Raises:
        InputError: A plan does not fit its group, or removes more neurons from one block than from another.
    """
    groups = list(groups)
    small = mask(network, groups, plans, compensations) if compensations else copy_network(network)
    cut_(small, groups, plans)
    return small


def cut_(network: nn.Module, groups: Iterable[NeuronGroup], plans: Mapping[str, PrunePlan]) -> None:
    """Cut neurons out in place; see :func:`cut`."""
    rows: dict[str, set[int]] = defaultdict(set)
    columns: dict[str, set[int]] = defaultdict(set)
    for group, plan in planned(groups, plans):
        removed = [removal.neuron for removal in plan.removals]
        _check_blocks(group, removed)
        for layer, entries in (*group.rows.items(), *group.attached.items()):
            rows[layer].update(_pick(entries, removed))
        for consumer in group.consumers:
            columns[consumer.layer].update(_pick(consumer.columns, removed))
        for layer, column in group.means:
            module: Any = network.get_submodule(layer)
            module.weight.data[:, column] *= len(plan.kept) / group.num_neurons
    for layer in {**rows, **columns}:
        _slice(network.get_submodule(layer), rows[layer], columns[layer])


@contextmanager
def undone(network: nn.Module, layers: Iterable[str]) -> Iterator[None]:
    """Undo what is masked or cut in a network when the context ends.

    Its buffers and other attributes, which a run may change, are put back, too. The network has to stay in
    its mode. A copy of a network of many layers takes longer.

    Args:
        network: The network.
        layers: Names of the layers that are masked or cut in the context.
    """
    attributes = [(vars(module), _attributes(module)) for module in network.modules()]
    changed = [each for layer in layers for each in network.get_submodule(layer).parameters()]
    values = [(tensor, tensor.detach().clone()) for tensor in (*network.buffers(), *changed)]
    try:
        yield
    finally:
        for now, before in attributes:
            now.clear()
            now.update(before)
        with torch.no_grad():
            for tensor, value in values:
                if tensor.shape == value.shape:
                    tensor.copy_(value)  # in place: other tensors may share its storage
                else:
                    tensor.data = value


def _attributes(module: nn.Module) -> dict[str, Any]:
    """Return a module's attributes, with copies of the dicts that change in place, such as its parameters."""
    internal = vars(nn.Module())
    return {
        name: value.copy() if name in internal and isinstance(value, dict) else value
        for name, value in vars(module).items()
    }


def planned(
    groups: Iterable[NeuronGroup], plans: Mapping[str, PrunePlan]
) -> list[tuple[NeuronGroup, PrunePlan]]:
    """Return the groups that lose neurons, with their plans.

    Raises:
        InputError: A plan does not fit its group, or there is no such group.
    """
    by_name = {group.name: group for group in groups}
    for name, plan in plans.items():
        if name not in by_name:
            msg = f"there is no group {name!r}: {did_you_mean(name, by_name)}choose from {', '.join(by_name)}"
            raise InputError(msg)
        if plan.num_neurons != by_name[name].num_neurons:
            msg = f"{name} has {by_name[name].num_neurons} neurons, but its plan is for {plan.num_neurons}"
            raise InputError(msg)
    return [(by_name[name], plan) for name, plan in plans.items() if plan.removals]


def _check_blocks(group: NeuronGroup, removed: Sequence[int]) -> None:
    size = group.num_neurons // group.num_blocks
    in_block = Counter(neuron // size for neuron in removed)
    if len({in_block[block] for block in range(group.num_blocks)}) > 1:
        msg = (
            f"{group.name}: grouped convolutions take its neurons in {group.num_blocks} blocks of "
            f"{size} neurons; a plan must remove the same number from each"
        )
        raise InputError(msg)


def _pick(entries: Entries, neurons: Iterable[int]) -> list[int]:
    return [entry for neuron in neurons for entry in entries[neuron]]


def vectors_of(module: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of a layer that have one entry per row, by name."""
    names = ("weight", "bias", "running_mean", "running_var")
    found = {name: getattr(module, name, None) for name in names}
    return {name: tensor for name, tensor in found.items() if tensor is not None}


def _set_zero(module: nn.Module, rows: list[int]) -> None:
    """Make a layer return zero in some rows; a norm returns zero there for inputs of zero."""
    for name, tensor in vectors_of(module).items():
        tensor[rows] = 1 if name == "running_var" else 0


def _dense(module: Any) -> Tensor:
    """Return a copy of a layer's weight, shape ``(out, in, ...)``; between groups it is zero."""
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
    """Return the weight of a grouped layer: the diagonal blocks of a dense weight."""
    rows, columns = dense.shape[0] // groups, dense.shape[1] // groups
    parts = [
        dense[group * rows : (group + 1) * rows, group * columns : (group + 1) * columns]
        for group in range(groups)
    ]
    return torch.cat(parts) if groups > 1 else dense


def _slice(module: Any, rows: set[int], columns: set[int]) -> None:
    """Remove rows and columns from a layer."""
    tensors = vectors_of(module)
    num_rows = len(next(iter(tensors.values()))) if tensors else module.num_features
    left = _left(num_rows, rows)
    tensors = {name: tensor.detach()[left] for name, tensor in tensors.items()}
    sizes = dict.fromkeys(_sizes(module), len(left))
    if has_rows(module):
        groups = getattr(module, "groups", 1)
        num_columns = module.weight.shape[1] * groups
        kept = _left(num_columns, columns)
        tensors["weight"] = _part_left(module.weight.detach(), left, kept, groups)
        sizes |= dict(zip(_sizes(module), (len(left), len(kept), groups), strict=False))
    _replace(module, tensors, sizes)


def _part_left(weight: Tensor, rows: Tensor, columns: Tensor, groups: int) -> Tensor:
    """Return the part of a layer's weight that is left, as large in each group.

    Args:
        weight: Shape ``(out, in / groups, ...)``.
        rows: Indices of the rows that are left.
        columns: Indices of the columns that are left, of all groups.
        groups: Number of groups.
    """
    of_group = columns.view(groups, -1) % weight.shape[1]
    return torch.cat(
        [weight[some][:, own] for some, own in zip(rows.view(groups, -1), of_group, strict=True)]
    )


def _left(num: int, removed: set[int]) -> Tensor:
    """Return the indices below ``num`` that are not removed."""
    is_left = torch.ones(num, dtype=torch.bool)
    is_left[list(removed)] = False
    return is_left.nonzero().flatten()


def _replace(module: nn.Module, tensors: Mapping[str, Tensor], sizes: Mapping[str, int]) -> None:
    """Replace the tensors and sizes of a layer."""
    for name, tensor in tensors.items():
        old = getattr(module, name)
        # Indexing changes the strides, but channels_last is faster on some processors.
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
        Plain numbers by ``layer.attribute``, such as ``{"conv1.out_channels": 16}``, for a checkpoint. A
        removed block is listed by its name alone, with 0.
    """
    sizes = {
        f"{name}.{size}": getattr(module, size)
        for name, module in network.named_modules()
        for size in _sizes(module)
    }
    gone = [name for name, module in network.named_modules() if isinstance(module, Bypass)]
    return sizes | dict.fromkeys(gone, 0)


def resize(network: nn.Module, sizes: Mapping[str, int]) -> nn.Module:
    """Return a copy of a full network with the sizes of a pruned one, so that it can load its state dict.

    Args:
        network: Network with the class and settings that the pruned network had before pruning.
        sizes: Result of :func:`widths` for the pruned network.

    Raises:
        InputError: The network lacks one of the layers, or has a smaller one.
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
                f"{type(network).__name__} has no {name}, but the pruned network does: "
                f"{did_you_mean(name, full)}create it with the settings that it was trained with"
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
        tensors = {name: tensor[:num_rows] for name, tensor in vectors_of(module).items()}
        if num_columns:
            tensors["weight"] = tensors["weight"][:, : num_columns[0] // wanted.get("groups", 1)]
        _replace(module, tensors, wanted)
    return small
