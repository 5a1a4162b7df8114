"""Functions that modules hold as attributes, such as a compiled ``forward``, in copies of a network.

``copy.deepcopy`` does not copy functions. If a function holds a layer, in a closure or as a compiled bound
method, the copy of the network would compute with the layer of the original.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from types import CellType, FunctionType, MethodType
from typing import Any

from torch import Tensor, nn

from fer.errors import InputError


def bind_functions(network: nn.Module, twin: nn.Module) -> None:
    """Bind the compiled methods of a copy to the copy, uncompiled, and check its other functions.

    ``module.compile()``, ``torch.compile(module.forward)`` and Lightning's trainer replace methods of a
    module by such functions.

    Args:
        network: The original.
        twin: Its deep copy, which changes.

    Raises:
        InputError: A function of the copy holds a part of the original.
    """
    twins = {id(one): other for one, other in zip(network.modules(), twin.modules(), strict=True)}
    parts = {*twins, *map(id, network.parameters()), *map(id, network.buffers())}
    internal = vars(nn.Module())  # such as hooks, which may hold whatever they report to
    for name, module in twin.named_modules():
        for attribute, value in list(vars(module).items()):
            method = _uncompiled(value)
            if isinstance(method, MethodType) and id(method.__self__) in twins:
                setattr(module, attribute, MethodType(method.__func__, twins[id(method.__self__)]))
            elif attribute not in internal and _holds(method, parts, set()):
                where = ".".join(filter(None, (name, attribute)))
                msg = (
                    f"{type(network).__name__} cannot be copied: the function {where} holds one of its "
                    "layers, which the copy would share: make the function a method of the class"
                )
                raise InputError(msg)


def _uncompiled(value: Any) -> Any:
    """Return the function that was compiled, or the innermost wrapped one; other values unchanged."""
    while isinstance(value, FunctionType) and value.__globals__["__name__"].startswith("torch._dynamo."):
        inner = vars(value).get("_torchdynamo_orig_callable", vars(value).get("__wrapped__"))
        if inner is None:
            break
        value = inner
    return value


def _holds(value: Any, parts: set[int], visited: set[int]) -> bool:
    """Return whether a value is one of the parts, or a function or collection that holds one."""
    if id(value) in parts:
        return True
    if id(value) in visited:
        return False
    visited.add(id(value))
    return any(_holds(each, parts, visited) for each in _held_by(value))


def _content(cell: CellType) -> Any:
    """Return the value of a closure's variable; None if it has no value yet."""
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _held_by(value: Any) -> Iterator[Any]:
    """Yield the values that a function or a collection holds."""
    match value:
        case MethodType():
            yield from (value.__self__, value.__func__)
        case partial():
            yield from (value.func, *value.args, *value.keywords.values())
        case FunctionType():
            yield from map(_content, value.__closure__ or ())
            yield from (*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values())
            named = (value.__globals__.get(name) for name in value.__code__.co_names)
            yield from (each for each in named if isinstance(each, nn.Module | Tensor | MethodType | partial))
        case Mapping():
            yield from value.values()
        case list() | tuple() | set():
            yield from value
