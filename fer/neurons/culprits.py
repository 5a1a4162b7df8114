"""Find which groups of neurons fail a test, in fewer tests than one for each."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from fer.neurons.groups import NeuronGroup


class Fault(NamedTuple):
    """What a test finds wrong with groups.

    Attributes:
        reason: What is wrong, for a person.
        layer: Name of a layer near it; empty if it is not known.
    """

    reason: str
    layer: str = ""


def culprits(
    groups: Sequence[NeuronGroup], test: Callable[[Sequence[NeuronGroup]], Fault | None]
) -> dict[str, str]:
    """Return what a test of each group alone finds wrong, by the name of the group.

    Groups are tested together as long as nothing is wrong. Where something is, those are tested alone that
    have the layer near it; if it is none of them, half as many groups are tested together.

    Args:
        groups: The groups.
        test: Returns what is wrong with groups, or None.
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
