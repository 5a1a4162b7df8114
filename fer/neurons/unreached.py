"""Layers that no trial run calls, and the neurons that they may take.

An auxiliary head that is called only for some batches takes neurons that no trace follows. Without a run that
calls it, only the number of its inputs is known.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from torch import Tensor, nn

from fer.neurons.groups import NeuronGroup, has_rows

NOT_CALLED: Final = "no trial run calls it, neither in eval nor in training mode"


def unreached_layers(network: nn.Module, used: Collection[str]) -> dict[str, nn.Module]:
    """Return the modules whose parameters no trial run used, by name; the network itself may be one.

    Args:
        network: Any network.
        used: Names of the parameters that were used.
    """
    unused = {name.rpartition(".")[0]: True for name, _ in network.named_parameters() if name not in used}
    return {name: network.get_submodule(name) for name in unused}


def may_be_taken(
    network: nn.Module,
    used: Collection[str],
    groups: Sequence[NeuronGroup],
    outputs: Mapping[str, Sequence[Tensor]],
) -> dict[str, str]:
    """Return why groups have to be kept because of unused parameters, by the name of the group.

    Args:
        network: Any network.
        used: Names of the parameters that were used.
        groups: Groups of its neurons.
        outputs: Outputs of the layers in the trial run, by name.
    """
    consumers = list(_possible_consumers(network, used))
    reasons = {}
    for group in groups:
        sizes = _sizes(group, outputs)
        for name, takes, is_flat in consumers:
            if takes & sizes if is_flat else group.num_neurons in takes:
                reasons[group.name] = (
                    f"no trial run uses {name}, which has as many inputs as there are neurons, "
                    "so it may take them"
                )
                break
    return reasons


def _possible_consumers(network: nn.Module, used: Collection[str]) -> Iterator[tuple[str, set[int], bool]]:
    """Yield modules that may take neurons of called layers, with their possible numbers of inputs.

    The third value says whether the module may take flattened maps.
    """
    fed = set(_fed(network, used))
    for name, module in unreached_layers(network, used).items():
        if name in fed:
            continue
        layer: Any = module
        if has_rows(module):
            takes = layer.in_features if isinstance(module, nn.Linear) else layer.in_channels
            yield name, {takes}, isinstance(module, nn.Linear)
            continue
        for key, parameter in module.named_parameters(name, recurse=False):
            if key not in used:
                yield key, {size for size in parameter.shape if size > 1}, False


def _fed(network: nn.Module, used: Collection[str]) -> Iterator[str]:
    """Yield the unreached modules that take the outputs of another one in an ``nn.Sequential``."""
    reached = {name.rpartition(".")[0] for name in used}
    unreached = unreached_layers(network, used)
    for name, module in network.named_modules():
        if not isinstance(module, nn.Sequential):
            continue
        prefix = f"{name}." if name else ""
        inside = [each for each in unreached if each.startswith(prefix) and each != name]
        if not any(each.startswith(prefix) for each in reached):
            first = inside[0].removeprefix(prefix).partition(".")[0] if inside else ""
            yield from (each for each in inside if each.removeprefix(prefix).partition(".")[0] != first)


def _sizes(group: NeuronGroup, outputs: Mapping[str, Sequence[Tensor]]) -> set[int]:
    """Return the possible numbers of inputs for the neurons of a group, as vectors or as flattened maps."""
    positions = {1} | {len(consumer.columns[0]) for consumer in group.consumers}
    for layer in group.rows:
        for output in outputs.get(layer, ()):
            if output.ndim > 2:
                positions.add(output.shape[-1] * output.shape[-2])
    return {group.num_neurons * each for each in positions}
