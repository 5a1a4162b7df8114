"""Find the groups of neurons that fail a test, with fewer tests than one per group."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from fer.neurons.groups import NeuronGroup


class Fault(NamedTuple):
    """Failure of a test on groups of neurons.

    Attributes:
        reason: Message that says what is wrong.
        layer: Name of a layer near the failure; empty if unknown.
    """

    reason: str
    layer: str = ""


def culprits(
    groups: Sequence[NeuronGroup], test: Callable[[Sequence[NeuronGroup]], Fault | None]
) -> dict[str, str]:
    """Return why each failing group fails on its own, by the name of the group.

    Groups are tested together as long as the test passes. If it fails, the groups with the layer near the
    failure are tested alone; if no group has it, half as many groups are tested together.

    Args:
        groups: The groups.
        test: Function that returns the failure of groups, or None.
    """
    found: dict[str, str] = {}
    right: set[str] = set()
    left, size = list(groups), len(groups)
    while left:
        tested = left[:size]
        fault = test(tested)
        if fault is None or len(tested) == 1:
            found |= {tested[0].name: fault.reason} if fault else {}
            left, size = left[size:], size * (1 if fault else 2)
            continue
        near = [group for group in tested if fault.layer in group.layers and group.name not in right]
        alone = {group.name: test([group]) for group in near}
        wrong = {name: each.reason for name, each in alone.items() if each}
        right |= alone.keys() - wrong
        found |= wrong
        left = [group for group in left if group.name not in found]
        size = size if wrong else len(tested) // 2
    return {group.name: found[group.name] for group in groups if group.name in found}
