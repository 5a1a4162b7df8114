"""Sequential compensation: fit each layer from the pruned network's inputs to the unpruned network's outputs.

Layers are fitted in forward order by least squares. The inputs of a layer are those in the network as pruned
and fitted so far. Its target is its output in the unpruned network; if its output is added to another term,
the target is whatever makes the sum equal to that of the unpruned network. Later layers thus correct the
errors of earlier ones.

Each fit starts from the joint one (:mod:`fer.neurons.compensation`), and is used only if its error on
held-out samples is smaller, so copies stay exact.

The unpruned network does not change: one pass gives the targets of many layers. The pruned network changes
only from the last fitted layer on, so its runs are resumed there (:mod:`fer.neurons.resume`).

Source: He, Zhang and Sun, "Channel Pruning for Accelerating Very Deep Neural Networks", 2017, section 3.2.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn

from fer.neurons.additions import Additions, Terms
from fer.neurons.batches import InputBatches
from fer.neurons.groups import NeuronGroup
from fer.neurons.im2col import as_map, windows_of
from fer.neurons.inputs import Batches, Inputs
from fer.neurons.networks import eval_state
from fer.neurons.normal_equations import Fit, NormalEquations
from fer.neurons.plan import PrunePlan
from fer.neurons.resume import MOST_KEPT, Reached, Runs, received
from fer.neurons.surgery import add_constant
from fer.neurons.turns import OTHER_CALLS, TRIED, Layer, find_turns, names_of
from fer.neurons.warn import warn

MAX_UNKNOWNS: Final = 5000
"""Largest number of regressors for which a layer is fitted: 200 MB a matrix."""

MOST_WINDOWS: Final = 100
"""Windows per regressor; if there are more, a random sample is drawn."""

HELD_OUT: Final = 5
"""Every fifth sample is held out."""

CHUNK: Final = 2**24
"""Number of window values processed at a time: 128 MB in float64."""

MOST_TARGETS: Final = 2**30
"""Bytes of targets from one pass over the unpruned network; at least one layer's targets are taken."""


def refit_in_order_(
    masked: nn.Module,
    network: nn.Module,
    batches: Batches,
    pruned: Sequence[tuple[NeuronGroup, PrunePlan]],
) -> dict[str, Fit]:
    """Fit the layers behind removed neurons one after the other, in place.

    Args:
        masked: The network with the removed neurons set to zero, corrected jointly; see
            :func:`fer.neurons.compensation.compensate`.
        network: The unpruned network.
        batches: The batches that it was measured on.
        pruned: The groups that lose neurons, with their plans.

    Returns:
        Fit by the name of a layer; layers that keep the joint fit are left out.
    """
    batches = InputBatches.of(batches, network)
    fits: dict[str, Fit] = {}
    with eval_state(masked), eval_state(network):
        num_samples = sum(len(inputs) for inputs in batches)
        turns, can_resume = find_turns(masked, network, batches.first().take(TRIED), pruned)
        runs, whole = Runs(masked, MOST_KEPT if can_resume else 0), Runs(network, 0)
        changing = names_of(turns)
        fittings = [[_Fitting(layer, masked, network, num_samples) for layer in turn] for turn in turns]
        for part in _parts(fittings):
            seen = [each for turn in part for each in turn if each.takes_samples]
            for number, inputs in enumerate(batches if seen else ()):
                _look(whole, number, inputs, [each.wanted(number) for each in seen])
            for turn in part:
                seen, first = [each for each in turn if each.takes_samples], 0
                for number, inputs in enumerate(batches if seen else ()):
                    found = [each.found(number, range(first, first + len(inputs))) for each in seen]
                    _look(runs, number, inputs, found, changing)
                    first += len(inputs)
                    for each in found:
                        each.finish()
                fits |= {each.layer.name: fit for each in turn if (fit := each.finish_()) is not None}
                changing = changing[len(turn) :]
    return fits


def _parts(turns: Sequence[Sequence["_Fitting"]]) -> Iterator[list[Sequence["_Fitting"]]]:
    """Yield runs of successive turns whose targets fit in memory together."""
    part: list[Sequence[_Fitting]] = []
    num_bytes = 0
    for turn in turns:
        size = sum(each.num_bytes for each in turn)
        if part and num_bytes + size > MOST_TARGETS:
            yield part
            part, num_bytes = [], 0
        part.append(turn)
        num_bytes += size
    if part:
        yield part


def _look(
    runs: Runs,
    number: int,
    inputs: Inputs,
    views: Sequence["_Wanted | _Found"],
    changing: Sequence[str] = (),
) -> None:
    """Pass a batch's layer inputs and outputs to views; the run ends when all of them are complete."""
    by_name = {view.layer.name: view for view in views}
    by_place = {view.layer.place.number: view for view in views if view.layer.place is not None}
    waiting = Counter({view.layer.name: view.layer.num_events for view in views})

    def is_seen(name: str) -> None:
        waiting[name] -= 1
        if not any(waiting.values()):
            raise Reached

    def receive(name: str, taken: Tensor, output: Tensor) -> None:
        by_name[name].receive(taken, output)
        is_seen(name)

    def add(number: int, terms: Terms) -> None:
        if (view := by_place.get(number)) is not None and view.layer.place is not None:
            view.add(terms[view.layer.place.other])
            is_seen(view.layer.name)

    with received(runs.network, by_name, receive), suppress(Reached):
        runs.run(number, inputs, changing, Additions(add))


class _Target(NamedTuple):
    """Target of a call of a layer, in some of its windows.

    Attributes:
        shape: Shape of the output.
        windows: Indices of the windows; None for all.
        rows: Kept outputs in these windows, shape ``(windows, rows)``.
        others: Term that is added to them; None if there is none.
    """

    shape: torch.Size
    windows: Tensor | None
    rows: Tensor
    others: Tensor | None = None


class _Wanted:
    """View of a layer in the unpruned network, for one batch: it collects targets."""

    def __init__(self, fitting: "_Fitting", targets: list[_Target]) -> None:
        self.fitting, self.layer, self.targets = fitting, fitting.layer, targets

    def receive(self, taken: Tensor, output: Tensor) -> None:
        """Keep the layer's output in some windows."""
        del taken
        maps = self.fitting.as_map(output)
        windows = self.fitting.choose(maps)
        self.targets.append(_Target(maps.shape, windows, self.fitting.rows_at(maps, windows)))

    def add(self, other: Tensor) -> None:
        """Keep the term that is added to the output of the last call."""
        target = self.targets[-1]
        others = self.fitting.rows_at(self.fitting.as_map(other), target.windows)
        self.targets[-1] = target._replace(others=others)


class _Found:
    """View of a layer in the pruned network, for one batch: it collects inputs and residuals."""

    def __init__(self, fitting: "_Fitting", targets: list[_Target], samples: range) -> None:
        self.fitting, self.layer, self.targets, self.samples = fitting, fitting.layer, targets, samples
        self.num_calls = 0
        self.waiting: tuple[_Target, Tensor, Tensor] | None = None  # until the other term of the sum is known

    def receive(self, taken: Tensor, output: Tensor) -> None:
        """Pass the layer's input and its residual to the fit."""
        self.num_calls += 1
        maps = self.fitting.as_map(output)
        target = self.targets[self.num_calls - 1] if self.num_calls <= len(self.targets) else None
        if target is None or target.shape != maps.shape:
            self.fitting.is_alike = False
        if target is None or not self.fitting.is_alike:
            return
        residual = target.rows - self.fitting.rows_at(maps, target.windows) - self.fitting.constant
        if target.others is None:
            self.fitting.add(self.samples, taken, target, residual)
        else:
            self.waiting = target, taken.clone(), residual  # the network may overwrite its input

    def add(self, other: Tensor) -> None:
        """Add the difference in the other term of the sum to the residual."""
        if self.waiting is None or self.layer.place is None:
            return
        target, taken, residual = self.waiting
        if target.others is not None:
            factors = self.layer.place.factors.to(residual)[self.fitting.rows]
            others = self.fitting.rows_at(self.fitting.as_map(other), target.windows)
            missing = (target.others - others) / factors
            residual = residual + torch.where(factors.abs() > 1e-6 * factors.abs().max(), missing, 0)
        self.waiting = target, taken, residual

    def finish(self) -> None:
        """End the batch."""
        if self.waiting is not None:
            target, taken, residual = self.waiting
            self.fitting.add(self.samples, taken, target, residual)
        self.fitting.is_alike &= self.num_calls == len(self.targets)
        self.targets.clear()


class _Fitting:
    """Fit of one layer, to which batches are added."""

    def __init__(self, layer: Layer, masked: nn.Module, network: nn.Module, num_samples: int) -> None:
        self.layer, self.masked = layer, masked
        module: Any = masked.get_submodule(layer.name)
        self.module = module
        self.groups = getattr(module, "groups", 1)
        num = self.num_regressors = len(layer.columns) * module.weight[0, 0].numel() // self.groups
        self.is_narrow = num <= MAX_UNKNOWNS
        self.fewest = len(layer.columns) // self.groups + 1  # every map is seen by some kernel position
        num_windows = num_samples * layer.positions
        self.most_rows = num_windows * (HELD_OUT - 1) // HELD_OUT
        self.takes_samples = self.is_narrow and self.most_rows >= self.fewest
        self.share = min(1.0, MOST_WINDOWS * num / num_windows)
        num_tensors = 2 if layer.place is not None else 1
        row_bytes = module.weight.element_size() * len(layer.rows) * num_tensors
        self.num_bytes = math.ceil(self.share * num_windows) * row_bytes if self.takes_samples else 0
        self.generator = torch.Generator().manual_seed(0)
        self.is_alike = True  # whether both networks call the layer in the same way
        self.targets: dict[int, list[_Target]] = defaultdict(list)
        self.equations = NormalEquations(has_constant=layer.shift is not None)
        self.rows = torch.tensor(layer.rows, device=module.weight.device)
        self.columns = torch.tensor(layer.columns, device=module.weight.device)
        self.constant: Tensor | float = 0.0  # added to a batch norm behind the layer so far
        if layer.shift is not None and layer.shift != layer.name:
            whole, now = (each.get_buffer(f"{layer.shift}.running_mean") for each in (network, masked))
            self.constant = (whole - now)[self.rows]

    def wanted(self, number: int) -> _Wanted:
        """Return a view of the layer in the unpruned network for a batch."""
        return _Wanted(self, self.targets[number])

    def found(self, number: int, samples: range) -> _Found:
        """Return a view of the layer in the pruned network for a batch of numbered samples."""
        return _Found(self, self.targets.pop(number, []), samples)

    def as_map(self, output: Tensor) -> Tensor:
        """Return outputs as maps ``(N, out, H, W)``."""
        return as_map(output.movedim(self.layer.axis, 0), self.module)

    def choose(self, maps: Tensor) -> Tensor | None:
        """Return the indices of the windows to use; None for all."""
        num = maps[:, 0].numel()
        if self.share == 1:
            return None
        order = torch.randperm(num, generator=self.generator)
        return order[: max(1, math.ceil(self.share * num))].to(maps.device)

    def rows_at(self, maps: Tensor, windows: Tensor | None) -> Tensor:
        """Return the kept rows of maps in some windows, shape ``(windows, rows)``."""
        if windows is None:
            return maps.index_select(1, self.rows).movedim(1, 3).flatten(0, 2)
        n, y, x = torch.unravel_index(windows[:, None], maps[:, 0].shape)
        return maps[n, self.rows, y, x]

    def add(self, samples: range, taken: Tensor, target: _Target, residual: Tensor) -> None:
        """Add some windows of a call, for the numbered samples."""
        parts = max(1, target.shape[0] // len(samples))  # entries per sample, as for attention windows
        kept = self._kept(taken.movedim(self.layer.axis, 0))
        first = 0
        for n, rows in _pieces(windows_of(self.module, kept, pads=self.layer.pads), target.windows):
            z = rows.reshape(len(rows), self.groups, -1).transpose(0, 1)
            left, wanted = (self._of_groups(each[first : first + len(n)]) for each in (residual, target.rows))
            is_held_out = (samples.start + n // parts) % HELD_OUT == HELD_OUT - 1
            self.equations.add(z, left, wanted, is_held_out)
            first += len(n)

    def _kept(self, taken: Tensor) -> Tensor:
        """Return the kept columns of a layer's input; a grouped layer keeps all, removed ones as zeros."""
        axis = 1 if isinstance(self.module, nn.Conv2d) else taken.ndim - 1
        kept = taken.index_select(axis, self.columns)
        return kept if self.groups == 1 else torch.zeros_like(taken).index_copy(axis, self.columns, kept)

    def _of_groups(self, values: Tensor) -> Tensor:
        """Return kept outputs of shape ``(n, rows)`` as ``(G, n, o)``; removed ones are 0 if G > 1."""
        if self.groups == 1:
            return values[None]
        every = values.new_zeros(len(values), len(self.module.weight)).index_copy(1, self.rows, values)
        return every.reshape(len(values), self.groups, -1).transpose(0, 1)

    def finish_(self) -> Fit | None:
        """Fit the layer's weights in place; return None if it keeps the joint fit."""
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
            fitted = (
                self.layer.positions * (HELD_OUT - 1) / HELD_OUT
            )  # windows per sample that are not held out
            most = self.num_regressors + 1  # with more samples, more regressors may vary
            enough = max(HELD_OUT, math.ceil(most / fitted))
            warn(
                "layer %s keeps the joint fit: it has %d windows, fewer than its unknowns, up to %d; give %d "
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
        """Add a fit's weights and constant to the layer."""
        weight: Tensor = self.module.weight.data
        rows, columns = self.rows, self.columns
        found, constant = fit.weight.flatten(0, 1).to(weight), fit.constant.flatten().to(weight)
        if self.groups == 1:
            weight[rows[:, None], columns] += found.reshape(len(rows), len(columns), *weight.shape[2:])
        else:
            weight[rows] += found.reshape(weight.shape)[rows]
            constant = constant[rows]
        if self.layer.shift is not None:
            every = weight.new_zeros(len(weight))
            add_constant(self.masked, self.layer.shift, every.index_copy(0, rows, constant))


def _pieces(windows: Tensor, chosen: Tensor | None) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield chosen windows with their samples, ``(N, C, H, W, kh, kw)`` as rows, in parts."""
    shape = len(windows), *windows.shape[2:4]
    width = max(1, windows[0, :, 0, 0].numel())
    if chosen is None:
        num = max(1, CHUNK // (width * math.prod(shape[1:])))
        for numbers in torch.split(torch.arange(len(windows)), num):
            rows = windows[numbers[0] : numbers[-1] + 1].movedim(1, 3).flatten(3).flatten(0, 2)
            yield numbers.repeat_interleave(math.prod(shape[1:])).to(rows.device), rows
        return
    for part in torch.split(chosen, max(1, CHUNK // width)):
        n, y, x = torch.unravel_index(part, shape)
        yield n, windows[n, :, y, x].flatten(1)
