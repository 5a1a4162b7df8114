"""Turns of the sequential refit: which layers are fitted, in which order, and where their outputs are added.

They are found on a few samples in float64. A layer is fitted if it takes removed neurons, or if its input in
the pruned network differs from that in the unpruned one.
"""

import math
import weakref
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final

import torch
from torch import Tensor, nn

from fer.errors import InputError
from fer.neurons.additions import Additions, Place, find_addition
from fer.neurons.frozen import digest_of
from fer.neurons.groups import NeuronGroup
from fer.neurons.im2col import padding_of
from fer.neurons.inputs import Inputs, call
from fer.neurons.networks import FOREIGN_ERRORS, copy_network
from fer.neurons.plan import PrunePlan
from fer.neurons.resume import Reached, Runs, received
from fer.neurons.trace import Float64
from fer.neurons.warn import warn

TRIED: Final = 4
"""Number of samples with which layers are examined."""

OTHER_CALLS: Final = "layer %s keeps the joint fit: the pruned and the unpruned network call it differently"


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer that is fitted.

    Attributes:
        name: Name of the layer.
        rows: Indices of its outputs that are kept.
        columns: Indices of its inputs that are kept.
        shift: Name of the layer that takes its constant; None if there is none.
        num_calls: Number of its calls per batch.
        positions: Number of its windows per sample, over all calls; at least 1.
        pads: Whether it pads to the output size, as timm's ``Conv2dSame``.
        axis: Sample axis of its output.
        place: Addition of its output to another term; None if there is none.
    """

    name: str
    rows: list[int]
    columns: list[int]
    shift: str | None
    num_calls: int
    positions: int
    pads: bool
    axis: int
    place: Place | None = None

    @property
    def num_events(self) -> int:
        """Number of its events in a run: its calls, and the addition of its output."""
        return self.num_calls + (self.place is not None)


Turn = list[Layer]
"""Layers that are fitted at the same time."""


@dataclass
class _Calls:
    """Calls of a layer in a run: digests of its inputs, and shapes of its outputs."""

    taken: list[bytes] = field(default_factory=list)
    shapes: list[torch.Size] = field(default_factory=list)
    pads: list[bool | None] = field(default_factory=list)  # results of padding_of()
    source: int = 0  # the same number for layers that take the same tensor
    num_additions: int = 0  # additions before its first call


@dataclass
class _Run:
    """A run: calls of layers, in the order of first calls, and digests of the terms of all additions."""

    calls: dict[str, _Calls] = field(default_factory=dict)
    terms: list[tuple[bytes, ...]] = field(default_factory=list)


def find_turns(
    masked: nn.Module,
    network: nn.Module,
    inputs: Inputs,
    pruned: Sequence[tuple[NeuronGroup, PrunePlan]],
) -> tuple[list[Turn], bool]:
    """Return the layers to fit, turn by turn, and whether runs of the network can be resumed.

    Args:
        masked: The network with the removed neurons set to zero.
        network: The unpruned network.
        inputs: Arguments for a few samples.
        pruned: The groups that lose neurons, with their plans.
    """
    rows, columns, shifts = _removed(pruned)
    whole, small = (copy_network(each).double().eval() for each in (network, masked))
    run = _follow(whole, _candidates(network), inputs)
    seen = run.calls
    now = _follow(small, seen, inputs, with_pads=True).calls
    axes = _sample_axes(whole, {name: calls.shapes[0] for name, calls in seen.items()}, inputs)
    chosen: list[str] = []
    for name, calls in seen.items():
        found = now.get(name, _Calls())
        if found.shapes != calls.shapes:
            warn(OTHER_CALLS, name)
        elif name not in shifts and found.taken == calls.taken:
            continue
        elif None in found.pads:
            warn("layer %s keeps the joint fit: its output does not depend on its weights alone", name)
        else:
            chosen.append(name)
    once = [name for name in chosen if len(seen[name].taken) == 1]
    places = _find_places(whole, once, inputs, run)
    passes: dict[int, Turn] = {}
    for name in chosen:
        layer: Any = small.get_submodule(name)
        num_rows, num_columns = len(layer.weight), layer.weight.shape[1] * getattr(layer, "groups", 1)
        num_values = sum(shape.numel() for shape in seen[name].shapes)
        fitted = Layer(
            name,
            [row for row in range(num_rows) if row not in rows[name]],
            [column for column in range(num_columns) if column not in columns[name]],
            shifts.get(name, name if layer.bias is not None else None),
            len(seen[name].taken),
            math.ceil(num_values / (num_rows * len(inputs))),
            any(now[name].pads),
            axes.get(name, 0),
            places.get(name),
        )
        passes.setdefault(seen[name].source, []).append(fitted)
    turns = _in_order(_one_for_each_sum(list(passes.values())), seen)
    return turns, _can_resume(small, turns, inputs, now)


def _find_places(
    whole: nn.Module, names: Sequence[str], inputs: Inputs, run: _Run
) -> dict[str, Place | None]:
    """Return the additions of layers' outputs to another term, by layer."""
    taken = {name: calls.taken for name, calls in run.calls.items()}
    try:
        runs = Runs(whole)
        return {
            name: find_addition(runs, name, inputs, run.terms, taken, names[number:])
            for number, name in enumerate(names)
        }
    except FOREIGN_ERRORS:  # the network cannot be resumed
        runs = Runs(whole, most_kept=0)
        return {name: find_addition(runs, name, inputs, run.terms, taken) for name in names}


def _one_for_each_sum(passes: list[Turn]) -> list[Turn]:
    """Keep only the last of the layers that are added to each other: one is enough to correct their sum."""
    last = {each.place.number: each.name for layers in passes for each in layers if each.place is not None}
    return [
        [
            each if each.place is None or last[each.place.number] == each.name else replace(each, place=None)
            for each in layers
        ]
        for layers in passes
    ]


def _in_order(passes: list[Turn], seen: Mapping[str, _Calls]) -> list[Turn]:
    """Sort layers: one that corrects a sum is fitted after all layers that are called before the sum."""
    turns: dict[tuple[int, int], Turn] = defaultdict(list)
    called = list(seen)
    for layers in passes:
        for each in layers:
            if each.place is None:
                turns[called.index(layers[0].name), -1].append(each)
            else:
                number = each.place.number
                before = sum(one.num_additions <= number for one in seen.values())
                turns[before - 1, number].append(each)
    return [layers for _, layers in sorted(turns.items(), key=lambda turn: turn[0])]


def _can_resume(small: nn.Module, turns: Sequence[Turn], inputs: Inputs, now: Mapping[str, _Calls]) -> bool:
    """Return whether layers get the same inputs in resumed runs as in full runs."""
    runs = Runs(small)
    for number, turn in enumerate(turns):
        waiting = Counter({layer.name: layer.num_calls for layer in turn})
        taken: dict[str, list[bytes]] = defaultdict(list)

        def receive(
            name: str, given: Tensor, output: Tensor, taken: Any = taken, waiting: Any = waiting
        ) -> None:
            del output
            taken[name].append(digest_of(given))
            waiting[name] -= 1
            if not any(waiting.values()):
                raise Reached

        try:
            with received(small, waiting, receive), Float64(), suppress(Reached):
                runs.run(0, inputs, names_of(turns[number:]))
        except FOREIGN_ERRORS:
            return False
        if any(taken[layer.name] != now[layer.name].taken for layer in turn):
            return False
    return True


def names_of(turns: Iterable[Turn]) -> list[str]:
    """Return the names of the layers in turns."""
    return [layer.name for turn in turns for layer in turn]


def _removed(
    pruned: Sequence[tuple[NeuronGroup, PrunePlan]],
) -> tuple[Mapping[str, set[int]], Mapping[str, set[int]], dict[str, str | None]]:
    """Return the removed rows and columns of layers, and the layers that take constants, by consumer."""
    rows: dict[str, set[int]] = defaultdict(set)
    columns: dict[str, set[int]] = defaultdict(set)
    shifts: dict[str, str | None] = {}
    for group, plan in pruned:
        gone = [removal.neuron for removal in plan.removals]
        for layer, entries in (*group.rows.items(), *group.attached.items()):
            rows[layer].update(entry for neuron in gone for entry in entries[neuron])
        for layer, entries in group.attached.items():  # a depthwise convolution
            columns[layer].update(entry for neuron in gone for entry in entries[neuron])
        for consumer in group.consumers:
            columns[consumer.layer].update(entry for neuron in gone for entry in consumer.columns[neuron])
            shifts[consumer.layer] = consumer.shift
    return rows, columns, shifts


def _candidates(network: nn.Module) -> list[str]:
    """Return the names of linear layers and convolutions that share no weights."""
    uses = Counter(id(each) for _, each in network.named_parameters(remove_duplicate=False))
    return [
        name
        for name, module in network.named_modules(remove_duplicate=True)
        if name
        and isinstance(module, nn.Linear | nn.Conv2d)
        and all(uses[id(each)] == 1 for each in module.parameters(recurse=False))
        and module._parameters.get("weight") is not None
    ]


def _follow(network: nn.Module, names: Iterable[str], inputs: Inputs, *, with_pads: bool = False) -> _Run:
    """Run a network in float64 and record some of its layers."""
    run = _Run()
    sources: list[tuple[weakref.ref[Tensor], int]] = []

    def source_of(taken: Tensor) -> int:
        version = 0 if taken.is_inference() else taken._version
        for number, (reference, known) in enumerate(sources):
            if reference() is taken and known == version:
                return number
        sources.append((weakref.ref(taken), version))
        return len(sources) - 1

    def receive(name: str, taken: Tensor, output: Tensor) -> None:
        if name not in run.calls:
            run.calls[name] = _Calls(source=source_of(taken), num_additions=len(run.terms))
        calls = run.calls[name]
        calls.taken.append(digest_of(taken))
        calls.shapes.append(output.shape)
        if with_pads:
            calls.pads.append(padding_of(network.get_submodule(name), taken[:1], output[:1]))

    additions = Additions(lambda _, terms: run.terms.append(tuple(map(digest_of, terms))))
    with received(network, names, receive), Float64(), additions:
        call(network, inputs)
    return run


def _sample_axes(network: nn.Module, shapes: Mapping[str, torch.Size], inputs: Inputs) -> dict[str, int]:
    """Return the sample axis in the outputs of linear layers: the one that is shorter for fewer samples."""
    axes: dict[str, int] = {}

    def receive(name: str, taken: Tensor, output: Tensor) -> None:
        del taken
        pairs = enumerate(zip(shapes[name], output.shape, strict=False))
        axes.setdefault(name, next((axis for axis, (more, fewer) in pairs if more != fewer), 0))

    names = [name for name in shapes if isinstance(network.get_submodule(name), nn.Linear)]
    with received(network, names, receive), Float64(), suppress(InputError):
        call(network, inputs.take(max(1, len(inputs) - 1)))
    return axes
