"""Batches for passes over a network, the same in each pass, with an optional progress bar."""

import random
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sized
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final, Self

import numpy as np
import torch
from torch import Tensor, nn

from fer.errors import InputError
from fer.neurons.inputs import Batches, Inputs, InputsOf, inputs_of

BATCH_SIZE: Final = 64
"""Batch size when all samples are given as one tensor."""

EMPTY: Final = "there are no samples to measure layers on: the analysis set is empty"

DIFFER: Final = (
    "the batches differ from pass to pass: the loader shuffles or augments with random numbers of its own; "
    "give DataLoader(…, shuffle=False) without augmentation, or a list of its batches"
)


@dataclass(frozen=True, eq=False)
class InputBatches:
    """Batches in the form that a network takes, for one or several passes.

    Pruning compares the passes sample by sample. So a loader that shuffles or augments draws the same random
    numbers in each pass, and a first batch that still differs is an error.

    Attributes:
        batches: The batches.
        network: The network that takes them.
        inputs: A function from a batch to the network's inputs; None: use
            :func:`fer.neurons.inputs.inputs_of`.
        title: Title of the progress bar; empty: no bar.
        progress: Whether to show a bar.
        varies: Whether passes may differ, as epochs of training do.
        seen: The first batch of the first pass; shared with the batches that :meth:`titled` returns.
    """

    batches: Batches
    network: nn.Module
    inputs: InputsOf | None = None
    progress: bool = False
    title: str = ""
    varies: bool = False
    seen: list[Inputs] = field(default_factory=list)

    @classmethod
    def of(
        cls, batches: Batches, network: nn.Module, inputs: InputsOf | None = None, *, progress: bool = False
    ) -> Self:
        """Wrap batches for a network; an :class:`InputBatches` is returned unchanged.

        Raises:
            InputError: The object is not a collection of batches.
        """
        if isinstance(batches, cls):
            return batches
        if isinstance(batches, Tensor):
            batches = torch.split(batches, BATCH_SIZE)
        if isinstance(batches, Mapping | str | Inputs) or not isinstance(batches, Iterable):
            msg = f"batches is a {type(batches).__name__}: give a list of batches, a loader or a tensor"
            raise InputError(msg)
        return cls(batches, network, inputs, progress)

    def __repr__(self) -> str:
        """Return the kinds of the batches and of the network."""
        return f"InputBatches({type(self.batches).__name__} for {type(self.network).__name__})"

    def titled(self, title: str) -> Self:
        """Return the same batches for another pass, with this title for its progress bar."""
        return replace(self, title=title)

    def first(self) -> Inputs:
        """Return the first batch, for a trace.

        Raises:
            InputError: There is no batch, or the batches can be iterated over only once, or differ.
        """
        if isinstance(self.batches, Iterator):
            msg = "the batches can be iterated over only once, but are needed again: give a list or a loader"
            raise InputError(msg)
        found = next(self._pass(), None)
        if found is None or len(found) == 0:
            raise InputError(EMPTY)
        return found

    def __iter__(self) -> Iterator[Inputs]:
        """Yield the network's inputs for each batch; a progress bar is shown and then removed.

        Raises:
            InputError: The first batch is not that of the first pass.
        """
        if not (self.progress and self.title):
            yield from self._pass()
            return
        with warnings.catch_warnings(action="ignore"):  # in a notebook without ipywidgets it is a bar of text
            from tqdm.auto import tqdm  # type: ignore[import-untyped]

        yield from tqdm(self._pass(), self.title, self.num_batches, leave=False)

    def _pass(self) -> Iterator[Inputs]:
        """Yield the network's inputs for each batch, without a progress bar."""
        is_repeated = self.varies or isinstance(self.batches, list | tuple | Iterator)
        batches = self.batches if is_repeated else _with_same_random_numbers(self.batches)
        for number, batch in enumerate(batches):
            taken = inputs_of(batch, self.network, self.inputs)
            if number == 0 and not self.varies:
                self._check_first(taken)
            yield taken

    def _check_first(self, taken: Inputs) -> None:
        """Remember the first batch of the first pass, and refuse another one in a later pass."""
        if not self.seen:
            self.seen.append(taken)
            return
        pairs = zip(self.seen[0].tensors, taken.tensors, strict=False)
        if not all(_are_equal(one, other) for one, other in pairs):
            raise InputError(DIFFER)

    @property
    def num_batches(self) -> int | None:
        """The number of batches; None if it is not known."""
        with suppress(TypeError):  # a loader has no length if its data set has none
            return len(self.batches) if isinstance(self.batches, Sized) else None
        return None


def _with_same_random_numbers(batches: Iterable[Any]) -> Iterator[Any]:
    """Yield batches, with random generators that are seeded anew and restored while others run."""
    outer = _states()
    torch.default_generator.manual_seed(0)  # not torch.manual_seed, which seeds the generators of GPUs, too
    random.seed(0)
    np.random.seed(0)
    own, iterator = _states(), None
    _restore(outer)
    while True:
        outer = _states()
        _restore(own)
        try:
            iterator = iter(batches) if iterator is None else iterator
            batch = next(iterator)
        except StopIteration:
            return
        finally:
            own = _states()
            _restore(outer)
        yield batch


def _states() -> tuple[Tensor, Any, Any]:
    """Return the states of the random generators that a loader may use."""
    return torch.get_rng_state(), random.getstate(), np.random.get_state()


def _restore(states: tuple[Tensor, Any, Any]) -> None:
    of_torch, of_python, of_numpy = states
    torch.set_rng_state(of_torch)
    random.setstate(of_python)
    np.random.set_state(of_numpy)


def _are_equal(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors have the same shape and values; NaN equals NaN."""
    if one is other:
        return True
    if one.shape != other.shape:
        return False
    is_same = (one == other) | ((one != one) & (other != other))
    return bool(is_same.all())
