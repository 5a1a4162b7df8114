"""Tensors in nested lists, tuples, mappings and dataclasses."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from torch import Tensor


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in nested lists, tuples, mappings and dataclasses, in order.

    >>> import torch
    >>> [tensor.shape[0] for tensor in tensors_in({"a": [torch.zeros(1)], "b": ("x", torch.zeros(2))})]
    [1, 2]
    """
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from tensors_in(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from tensors_in(each)
    elif is_dataclass(value) and not isinstance(value, type):
        for each in fields(value):
            yield from tensors_in(getattr(value, each.name))


def map_tensors(change: Callable[[Tensor], Tensor], value: Any) -> Any:
    """Apply a function to each tensor in nested lists, tuples, mappings and dataclasses."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {key: map_tensors(change, each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        parts = [map_tensors(change, each) for each in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    if is_dataclass(value) and not isinstance(value, type):
        own = {each.name: getattr(value, each.name) for each in fields(value) if each.init}
        return replace(value, **{name: map_tensors(change, each) for name, each in own.items()})
    return value
