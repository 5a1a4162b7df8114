"""Sequential compensation: fit each layer from the pruned network's inputs to the whole network's outputs.

Layer after layer in forward order, by least squares: the inputs of a layer are those of the network as pruned
and fitted so far, its target is its output in the whole network, or, where its output is added to another
term, what makes the sum that of the whole network. So later layers correct the errors of earlier ones.

Each fit starts from the joint one (:mod:`fer.neurons.compensation`), and is used where it errs less on
held-out samples: copies stay exact.

Source: He, Zhang and Sun, "Channel Pruning for Accelerating Very Deep Neural Networks", 2017, section 3.2.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final

import torch
from torch import Tensor, nn

from fer.neurons.additions import Additions, Place, Terms, find_addition, terms_of
from fer.neurons.batches import InputBatches
from fer.neurons.groups import NeuronGroup
from fer.neurons.im2col import as_map, padding_of, windows_of
from fer.neurons.inputs import Batches, Inputs, call
from fer.neurons.networks import copy_network, eval_state
from fer.neurons.normal_equations import Fit, NormalEquations
from fer.neurons.plan import PrunePlan
from fer.neurons.surgery import add_constant
from fer.neurons.trace import Float64
from fer.neurons.warn import warn

MAX_UNKNOWNS: Final = 5000
"""Regressors of a layer up to which it is fitted: 200 MB a matrix."""

MOST_WINDOWS: Final = 100
"""Windows for each regressor; of more, a random sample is drawn."""

HELD_OUT: Final = 5
"""Every fifth sample is held out."""

TRIED: Final = 4
"""Samples that layers are looked at with."""

CHUNK: Final = 2**24
"""Values of windows at a time: 128 MB in float64."""

OTHER_CALLS: Final = "layer %s keeps the joint fit: the pruned network does not call it as the whole one does"


class _Reached(Exception):  # noqa: N818  # not an error: it ends a run
    """All that was asked for was seen."""


@dataclass
class _Seen:
    """What a layer took and returned in a run, call by call, and what was added to its output."""

    calls: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    origin: tuple[int, int] = (0, 0)
    num_additions: int = 0  # before its first call
    other: Tensor | None = None

    @property
    def shapes(self) -> list[torch.Size]:
        """The shapes of its outputs: how often it was called, for how much."""
        return [output.shape for _, output in self.calls]


@dataclass
class _Compared:
    """A layer in the pruned network, beside the one in the whole network."""

    shapes: list[torch.Size] = field(default_factory=list)
    is_same: bool = True  # whether it takes the same
    pads: list[bool | None] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class _Layer:
    """A layer that is fitted.

    Attributes:
        name: Its name.
        rows: Its outputs that are kept.
        columns: Its inputs that are kept.
        shift: Name of the layer that takes its constant; None for none.
        num_calls: How often it is called for a batch.
        positions: Number of its windows for a sample, of all calls; at least 1.
        pads: Whether it pads as much as each input needs, as ``Conv2dSame`` of timm.
        place: Where its output is added to another term; None for nowhere.
    """

    name: str
    rows: list[int]
    columns: list[int]
    shift: str | None
    num_calls: int
    positions: int
    pads: bool
    place: Place | None = None


def refit_in_order_(
    masked: nn.Module,
    network: nn.Module,
    batches: Batches,
    pruned: Sequence[tuple[NeuronGroup, PrunePlan]],
) -> dict[str, Fit]:
    """Fit the layers behind removed neurons one after the other, in place.

    Args:
        masked: The network whose removed neurons are zero, corrected jointly; see
            :func:`fer.neurons.compensation.compensate`.
        network: The whole network.
        batches: The batches that it was measured on.
        pruned: The groups that lose neurons, with their plans.

    Returns:
        By the name of a layer its fit; layers that keep the joint one are left out.
    """
    batches = InputBatches.of(batches, network)
    fits: dict[str, Fit] = {}
    with eval_state(masked), eval_state(network):
        num_samples = sum(len(inputs) for inputs in batches)
        for layers in _find_layers(masked, network, batches.first().take(TRIED), pruned):
            fittings = [_Fitting(layer, masked, network, num_samples) for layer in layers]
            first = 0
            for inputs in batches if any(each.takes_samples for each in fittings) else ():
                whole, now = _look(network, layers, inputs), _look(masked, layers, inputs)
                for each in fittings:
                    each.add(first, len(inputs), now[each.layer.name], whole[each.layer.name])
                first += len(inputs)
            for each in fittings:
                if (fit := each.finish_()) is not None:
                    fits[each.layer.name] = fit
    return fits


def _find_layers(
    masked: nn.Module,
    network: nn.Module,
    inputs: Inputs,
    pruned: Sequence[tuple[NeuronGroup, PrunePlan]],
) -> list[list[_Layer]]:
    """Return the layers to fit, in forward order; those that take the same input are fitted in one pass."""
    rows, columns, shifts = _removed(pruned)
    whole, small = (copy_network(each).double().eval() for each in (network, masked))
    seen = _look_at_all(whole, _candidates(network), inputs)
    now = _compare(small, seen, inputs)
    terms = terms_of(whole, inputs)
    passes: dict[tuple[int, int], list[_Layer]] = {}
    for name, calls in seen.items():
        found = now[name]
        if found.shapes != calls.shapes:
            warn(OTHER_CALLS, name)
            continue
        if name not in shifts and found.is_same:
            continue
        if None in found.pads:
            warn("layer %s keeps the joint fit: its output is not that of its weights alone", name)
            continue
        layer: Any = small.get_submodule(name)
        is_map = isinstance(layer, nn.Conv2d)
        num_rows, num_columns = len(layer.weight), layer.weight.shape[1] * getattr(layer, "groups", 1)
        fitted = _Layer(
            name,
            [row for row in range(num_rows) if row not in rows[name]],
            [column for column in range(num_columns) if column not in columns[name]],
            shifts.get(name, name if layer.bias is not None else None),
            len(calls.calls),
            math.ceil(sum(each.numel() for _, each in calls.calls) / (num_rows * len(inputs))),
            any(found.pads),
            find_addition(whole, name, inputs, terms, 1 if is_map else -1) if len(calls.calls) == 1 else None,
        )
        passes.setdefault(calls.origin, []).append(fitted)
    return _in_order(_one_for_each_sum(list(passes.values())), seen)


def _one_for_each_sum(passes: list[list[_Layer]]) -> list[list[_Layer]]:
    """Leave only the last of the layers that are added to each other to make their sum right."""
    last = {each.place.number: each.name for layers in passes for each in layers if each.place is not None}
    return [
        [
            each if each.place is None or last[each.place.number] == each.name else replace(each, place=None)
            for each in layers
        ]
        for layers in passes
    ]


def _in_order(passes: list[list[_Layer]], seen: Mapping[str, _Seen]) -> list[list[_Layer]]:
    """Fit what makes a sum right behind all layers called before the sum: they make the other term right."""
    turns: dict[tuple[int, int], list[_Layer]] = defaultdict(list)
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
    """Return the names of linear layers and convolutions whose weights are their own."""
    uses = Counter(id(each) for _, each in network.named_parameters(remove_duplicate=False))
    return [
        name
        for name, module in network.named_modules(remove_duplicate=True)
        if name
        and isinstance(module, nn.Linear | nn.Conv2d)
        and all(uses[id(each)] == 1 for each in module.parameters(recurse=False))
        and module._parameters.get("weight") is not None
    ]


def _look_at_all(network: nn.Module, names: Sequence[str], inputs: Inputs) -> dict[str, _Seen]:
    """Return what layers of a network in float64 take, in the order of first calls, and shapes of outputs."""
    seen: dict[str, _Seen] = {}
    held: list[Tensor] = []  # so that no other tensor gets the same id
    additions = Additions(lambda number, terms: None)

    def receive(name: str, taken: Tensor, output: Tensor) -> None:
        if name not in seen:
            held.append(taken)
            origin = id(taken), 0 if taken.is_inference() else taken._version
            seen[name] = _Seen(origin=origin, num_additions=additions.count)
        seen[name].calls.append((taken.clone(), output.new_zeros(()).expand(output.shape)))

    with ExitStack() as hooks:
        _hook(hooks, network, names, receive)
        hooks.enter_context(Float64())
        hooks.enter_context(additions)
        call(network, inputs)
    return seen


def _compare(network: nn.Module, seen: Mapping[str, _Seen], inputs: Inputs) -> dict[str, _Compared]:
    """Compare what layers of a network in float64 take with what was seen in another one."""
    compared = {name: _Compared() for name in seen}

    def receive(name: str, taken: Tensor, output: Tensor) -> None:
        found, calls = compared[name], seen[name].calls
        number = len(found.shapes)
        found.is_same &= number < len(calls) and torch.equal(taken, calls[number][0])
        found.shapes.append(output.shape)
        found.pads.append(padding_of(network.get_submodule(name), taken[:1], output[:1]))

    with ExitStack() as hooks:
        _hook(hooks, network, seen, receive)
        hooks.enter_context(Float64())
        call(network, inputs)
    return compared


def _look(network: nn.Module, layers: Sequence[_Layer], inputs: Inputs) -> dict[str, _Seen]:
    """Return what layers take and return for a batch; the run ends where all is seen."""
    seen = {layer.name: _Seen() for layer in layers}
    waiting = Counter({layer.name: layer.num_calls + (layer.place is not None) for layer in layers})
    places = {layer.place.number: layer for layer in layers if layer.place is not None}

    def is_seen(name: str) -> None:
        waiting[name] -= 1
        if not any(waiting.values()):
            raise _Reached

    def receive(name: str, taken: Tensor, output: Tensor) -> None:
        seen[name].calls.append((taken.clone(), output.clone()))
        is_seen(name)

    def add(number: int, terms: Terms) -> None:
        if (layer := places.get(number)) is not None and layer.place is not None:
            seen[layer.name].other = terms[layer.place.other].clone()
            is_seen(layer.name)

    with ExitStack() as hooks:
        _hook(hooks, network, seen, receive)
        if places:
            hooks.enter_context(Additions(add))
        with suppress(_Reached):
            call(network, inputs)
    return seen


def _hook(hooks: ExitStack, network: nn.Module, names: Any, receive: Any) -> None:
    """Let a function receive what layers take and return, while a context lasts."""
    hooks.enter_context(torch.compiler.set_stance("force_eager"))  # compiled code ignores new hooks
    for name in names:

        def give(module: nn.Module, args: Any, named: Any, output: Tensor, name: str = name) -> None:
            del module
            receive(name, next(iter((*args, *named.values()))), output)

        layer = network.get_submodule(name)
        hooks.callback(layer.register_forward_hook(give, with_kwargs=True).remove)


class _Fitting:
    """The fit of one layer, to which batches add up."""

    def __init__(self, layer: _Layer, masked: nn.Module, network: nn.Module, num_samples: int) -> None:
        self.layer, self.masked, self.num_samples = layer, masked, num_samples
        module: Any = masked.get_submodule(layer.name)
        self.module = module
        self.groups = getattr(self.module, "groups", 1)
        num = self.num_regressors = len(layer.columns) * module.weight[0, 0].numel() // self.groups
        self.is_narrow = num <= MAX_UNKNOWNS
        self.fewest = len(layer.columns) // self.groups + 1  # some position of a kernel sees each map
        self.most_rows = num_samples * layer.positions * (HELD_OUT - 1) // HELD_OUT
        self.takes_samples = self.is_narrow and self.most_rows >= self.fewest
        self.share = min(1.0, MOST_WINDOWS * num / (num_samples * layer.positions))
        self.generator = torch.Generator().manual_seed(0)
        self.is_alike = True  # in the whole network and the pruned one
        self.equations = NormalEquations(has_constant=layer.shift is not None)
        self.constant: Tensor | float = 0.0  # what a batch norm behind the layer has taken already
        if layer.shift is not None and layer.shift != layer.name:
            whole, now = (each.get_buffer(f"{layer.shift}.running_mean") for each in (network, masked))
            self.constant = as_map(whole - now, self.module, vector=True)

    def add(self, first: int, num: int, now: _Seen, whole: _Seen) -> None:
        """Add some windows of a batch of some samples, whose first has a number."""
        self.is_alike &= now.shapes == whole.shapes
        if not (self.takes_samples and self.is_alike):
            return
        for (taken, output), (_, target) in zip(now.calls, whole.calls, strict=True):
            residual = target - output - self.constant
            if now.other is not None and whole.other is not None and self.layer.place is not None:
                factors = as_map(self.layer.place.factors.to(output), self.module, vector=True)
                missing = (whole.other - now.other) / factors
                residual = residual + torch.where(factors.abs() > 1e-6 * factors.abs().max(), missing, 0)
            self._add(first, num, taken, as_map(residual, self.module), as_map(target, self.module))

    def _add(self, first: int, num_samples: int, taken: Tensor, residual: Tensor, target: Tensor) -> None:
        """Add some windows of a call; residuals and targets are maps ``(N, out, H, W)``."""
        parts = max(1, len(residual) // num_samples)  # of a sample, as windows of attention
        windows = windows_of(self.module, self._kept(taken), pads=self.layer.pads)
        num = residual[:, 0].numel()
        places = torch.arange(num)
        if self.share < 1:
            places = torch.randperm(num, generator=self.generator)[: max(1, math.ceil(self.share * num))]
        width = max(1, windows[0, :, 0, 0].numel())
        for part in torch.split(places.to(taken.device), max(1, CHUNK // width)):
            n, y, x = torch.unravel_index(part, residual[:, 0].shape)
            rows = windows[n, :, y, x].reshape(len(part), self.groups, -1)
            left, wanted = (self._of_groups(each[n, :, y, x]) for each in (residual, target))
            is_held_out = (first + n // parts) % HELD_OUT == HELD_OUT - 1
            self.equations.add(rows.transpose(0, 1), left, wanted, is_held_out)

    def _kept(self, taken: Tensor) -> Tensor:
        """Return the kept columns of a layer's input; of grouped layers all, without what is removed."""
        columns = torch.tensor(self.layer.columns, device=taken.device)
        axis = 1 if isinstance(self.module, nn.Conv2d) else taken.ndim - 1
        if self.groups == 1:
            return taken.index_select(axis, columns)
        return torch.zeros_like(taken).index_copy(axis, columns, taken.index_select(axis, columns))

    def _of_groups(self, values: Tensor) -> Tensor:
        """Return outputs of shape ``(n, out)`` as ``(G, n, o)``; removed ones are left out, or 0 if G > 1."""
        rows = torch.tensor(self.layer.rows, device=values.device)
        kept = values.index_select(1, rows)
        if self.groups > 1:
            kept = torch.zeros_like(values).index_copy(1, rows, kept)
        return kept.reshape(len(values), self.groups, -1).transpose(0, 1)

    def finish_(self) -> Fit | None:
        """Change the layer's weights by the fit; None: it keeps the joint one."""
        name, equations = self.layer.name, self.equations
        if not self.is_narrow:
            warn("layer %s keeps the joint fit: it has more than %d regressors", name, MAX_UNKNOWNS)
            return None
        if not self.is_alike:
            warn(OTHER_CALLS, name)
            return None
        if not equations.is_finite:
            warn("layer %s keeps the joint fit: some of its inputs or targets are not finite", name)
            return None
        num, unknowns = equations.num_rows, equations.num_unknowns + 1
        if self.most_rows < self.fewest:
            num, unknowns = self.most_rows, self.fewest
        if num < unknowns or equations.held_out is None:
            fitted = self.layer.positions * (HELD_OUT - 1) / HELD_OUT  # windows of a sample, on average
            most = self.num_regressors + 1  # more may vary on more samples
            enough = max(HELD_OUT, math.ceil(most / fitted))
            warn(
                "layer %s keeps the joint fit: %d windows are fewer than its unknowns, up to %d; give %d "
                "samples",
                *(name, num, most, enough),
                severity=enough,
            )
            return None
        fit = equations.solve()
        if fit is not None:
            self._write(fit)
        return fit

    def _write(self, fit: Fit) -> None:
        """Add a fit to the weights of the layer, and its constant."""
        weight: Tensor = self.module.weight.data
        rows, columns = (
            torch.tensor(each, device=weight.device) for each in (self.layer.rows, self.layer.columns)
        )
        found, constant = fit.weight.flatten(0, 1).to(weight), fit.constant.flatten().to(weight)
        if self.groups == 1:
            weight[rows[:, None], columns] += found.reshape(len(rows), len(columns), *weight.shape[2:])
        else:
            weight[rows] += found.reshape(weight.shape)[rows]
            constant = constant[rows]
        if self.layer.shift is not None:
            every = weight.new_zeros(len(weight))
            add_constant(self.masked, self.layer.shift, every.index_copy(0, rows, constant))
