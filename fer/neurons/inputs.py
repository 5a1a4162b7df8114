"""Inputs of a network: taken from a batch, moved to the network, and passed to its ``forward``."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Self

import torch
from torch import Tensor, nn

from fer.errors import InputError
from fer.neurons.nested import map_tensors, tensors_in
from fer.neurons.networks import FOREIGN_ERRORS, device_of, one_line

Batches = Iterable[Any]
"""Batches that can be iterated over more than once, such as a list or a loader; or one tensor, which is split
into batches. See :func:`inputs_of` for the forms of a batch."""

InputsOf = Callable[[Any], Any]
"""Function from a batch to the arguments of a network's ``forward``: a tensor, a tuple of positional
arguments, or a mapping by name."""

LABELS: Final = ("labels", "label", "targets", "target", "y")
"""Names under which a mapping holds labels."""


@dataclass(frozen=True, eq=False)
class Inputs:
    """The arguments of one call of a network, for N samples.

    Attributes:
        args: Arguments by position.
        kwargs: Arguments by name.
        batch: The batch that they were taken from, for its labels; None if unknown.
    """

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    batch: Any = None

    @classmethod
    def of(cls, given: Any, batch: Any = None) -> Self:
        """Wrap a tensor, a tuple of arguments or a mapping by name."""
        if isinstance(given, Mapping):
            return cls(kwargs=dict(given), batch=batch)
        return cls(args=given if isinstance(given, tuple) else (given,), batch=batch)

    def __repr__(self) -> str:
        """Return the shapes and types of the arguments."""
        return f"Inputs({self.describe()})"

    def __len__(self) -> int:
        """Return the number of samples N: the length of the first tensor."""
        return next((len(tensor) for tensor in self.tensors if tensor.ndim), 0)

    @property
    def tensors(self) -> list[Tensor]:
        """All tensors among the arguments, however nested."""
        return list(tensors_in((self.args, self.kwargs)))

    def map(self, change: Callable[[Tensor], Tensor]) -> Self:
        """Return the arguments with a function applied to each tensor."""
        return replace(self, args=map_tensors(change, self.args), kwargs=map_tensors(change, self.kwargs))

    def take(self, num: int) -> Self:
        """Return the arguments and the batch for the first samples; other tensors stay whole."""
        return self._per_sample(lambda tensor: tensor[:num])

    def pick(self, chosen: Tensor) -> Self:
        """Return the arguments and the batch for the samples where a mask of shape ``(N,)`` is true."""
        return self._per_sample(lambda tensor: tensor[chosen])

    def repeat(self, num: int) -> Self:
        """Return the arguments and the batch with the first sample repeated ``num`` times."""
        return self._per_sample(lambda tensor: torch.cat([tensor[:1]] * num))

    def _per_sample(self, change: Callable[[Tensor], Tensor]) -> Self:
        """Change the tensors that have an entry per sample; the same tensor is changed only once."""
        n = len(self)
        changed: dict[int, Tensor] = {}

        def change_once(tensor: Tensor) -> Tensor:
            if not tensor.ndim or len(tensor) != n:
                return tensor
            if id(tensor) not in changed:
                changed[id(tensor)] = change(tensor)
            return changed[id(tensor)]

        return replace(self.map(change_once), batch=map_tensors(change_once, self.batch))

    def to(self, network: nn.Module) -> Self:
        """Return the arguments on a network's device and in its floating-point type."""
        device, dtype = device_of(network), _dtype_of(network)
        return self.map(
            lambda tensor: tensor.to(device, dtype) if tensor.is_floating_point() else tensor.to(device)
        )

    def describe(self) -> str:
        """Return the shapes and types of the arguments, for a message.

        >>> Inputs.of({"ids": torch.zeros(2, 5, dtype=torch.long), "mask": torch.ones(2, 5)}).describe()
        'ids=int64 (2, 5), mask=float32 (2, 5)'
        """
        named = [("", each) for each in self.args] + [(f"{key}=", each) for key, each in self.kwargs.items()]
        return ", ".join(f"{name}{_describe(each)}" for name, each in named) or "nothing"


def inputs_of(batch: Any, network: nn.Module | None = None, inputs: InputsOf | None = None) -> Inputs:
    """Return the arguments with which a network is called for a batch.

    A tensor is the input. In a list or tuple, the first part that holds a tensor is the input. In a mapping,
    the entries named like parameters of the network's ``forward`` are passed by name; if there are none, the
    first tensor is the input.

    Args:
        batch: A batch, or :class:`Inputs`, which are returned as they are.
        network: The network; None: a mapping's first tensor is the input.
        inputs: Function that takes the arguments from a batch instead.

    Raises:
        InputError: The batch holds no tensor, or ``inputs`` fails.

    >>> inputs_of((torch.zeros(2, 3), torch.ones(2))).describe()
    'float32 (2, 3)'
    """
    if isinstance(batch, Inputs):
        return batch
    if inputs is not None:
        return _taken_by(inputs, batch)
    part = batch
    while isinstance(part, list | tuple):
        part = next((each for each in part if next(tensors_in(each), None) is not None), None)
    if isinstance(part, Mapping) and network is not None and (named := _named(part, network)):
        return Inputs(kwargs=named, batch=batch)
    found = next(tensors_in(part), None)
    if found is None:
        msg = (
            f"a batch is a {type(batch).__name__} without tensors: give tensors, sequences or mappings of "
            "them, or inputs=, a function from a batch to the network's arguments"
        )
        raise InputError(msg)
    return Inputs((found,), batch=batch)


def _taken_by(inputs: InputsOf, batch: Any) -> Inputs:
    """Call the user's function ``inputs=`` on a batch."""
    try:
        found = Inputs.of(inputs(batch), batch)
    except FOREIGN_ERRORS as error:
        msg = f"inputs= fails on a batch, a {_describe(batch)}: {type(error).__name__}: {one_line(error)}"
        raise InputError(msg) from error
    if not found.tensors:
        msg = f"inputs= returns {found.describe()} for a batch, a {_describe(batch)}: return tensors"
        raise InputError(msg)
    return found


def labels_of(batch: Any) -> Tensor:
    """Return the labels of a batch: the entry ``labels`` of a mapping, or the first tensor after the inputs.

    Raises:
        InputError: The batch has no tensor that is not an input.

    >>> labels_of({"mask": torch.ones(2, 3), "labels": torch.tensor([0, 1])})
    tensor([0, 1])
    """
    taken = inputs_of(batch)
    batch = taken.batch if isinstance(batch, Inputs) else batch
    if isinstance(batch, Mapping):
        for name in LABELS:
            if isinstance(labels := batch.get(name), Tensor):
                return labels
    others = list(tensors_in(batch))[1:]
    found = next((each for each in others if all(each is not tensor for tensor in taken.tensors)), None)
    if found is None:
        msg = "the criterion needs labels, but a batch has none: give batches (inputs, labels)"
        raise InputError(msg)
    return found


def call(network: nn.Module, batch: Any) -> Any:
    """Call a network on a batch, moved to its device and floating-point type.

    Raises:
        InputError: The network does not take the batch.
    """
    inputs = inputs_of(batch, network).to(network)
    try:
        return network(*inputs.args, **inputs.kwargs)
    except InputError:
        raise
    except FOREIGN_ERRORS as error:
        msg = f"{type(network).__name__} does not take {inputs.describe()}: {one_line(error)}"
        raise InputError(msg) from error


def _named(batch: Mapping[Any, Any], network: nn.Module) -> dict[str, Any]:
    """Return the entries of a mapping that are parameters of a network's ``forward``."""
    parameters = inspect.signature(network.forward).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return {key: value for key, value in batch.items() if isinstance(key, str)}
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    names = {parameter.name for parameter in parameters if parameter.kind in by_name}
    return {key: value for key, value in batch.items() if key in names}


def _dtype_of(network: nn.Module) -> torch.dtype:
    """Return the floating-point type of a network's parameters; the default type if there are none."""
    dtypes = (parameter.dtype for parameter in network.parameters() if parameter.is_floating_point())
    return next(dtypes, torch.get_default_dtype())


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    return type(value).__name__
