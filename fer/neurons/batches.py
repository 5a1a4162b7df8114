"""Batches for a pass over a network, with an optional progress bar."""

import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import torch
from torch import Tensor, nn

from fer.errors import InputError
from fer.neurons.inputs import Batches, Inputs, InputsOf, inputs_of

BATCH_SIZE: Final = 64
"""Batch size when all samples are given as one tensor."""

EMPTY: Final = "there are no samples to measure layers on: the analysis set is empty"


@dataclass(frozen=True, eq=False)
class InputBatches:
    """Batches in the form that a network takes, for one or several passes.

    Attributes:
        batches: The batches.
        network: The network that takes them.
        inputs: A function from a batch to the network's inputs; None: use
            :func:`fer.neurons.inputs.inputs_of`.
        title: Title of the progress bar; empty: no bar.
        progress: Whether to show a bar.
    """

    batches: Batches
    network: nn.Module
    inputs: InputsOf | None = None
    progress: bool = False
    title: str = ""

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
            InputError: There is no batch, or the batches can be iterated over only once.
        """
        if isinstance(self.batches, Iterator):
            msg = "the batches can be iterated over only once, but are needed again: give a list or a loader"
            raise InputError(msg)
        found = next((self._taken(batch) for batch in self.batches), None)
        if found is None or len(found) == 0:
            raise InputError(EMPTY)
        return found

    def __iter__(self) -> Iterator[Inputs]:
        """Yield the network's inputs for each batch; a progress bar is shown and then removed."""
        if not (self.progress and self.title):
            yield from map(self._taken, self.batches)
            return
        with warnings.catch_warnings(action="ignore"):  # in a notebook without ipywidgets it is a bar of text
            from tqdm.auto import tqdm  # type: ignore[import-untyped]

        yield from map(self._taken, tqdm(self.batches, self.title, leave=False))

    def _taken(self, batch: Any) -> Inputs:
        return inputs_of(batch, self.network, self.inputs)
