"""Make a LightningModule class from a network class, with the combined signature and the docstring."""

import inspect
from collections.abc import Mapping
from inspect import Parameter, Signature
from typing import Any, Final, get_type_hints

from torch import nn

from fer.errors import InputError
from fer.models import NETWORKS
from fer.tasks.base import ClassificationTask

SHARED: Final = "num_classes"
"""The only setting that both a network and its training have."""


def task_of(network_class: type[nn.Module]) -> type[ClassificationTask]:
    """Return the LightningModule class that trains a network class.

    Its constructor takes the network's own parameters and the training settings of
    :class:`ClassificationTask`, all keyword-only, with their types and defaults. Its docstring is the
    network's. Plain values are saved as hyperparameters, so that a checkpoint can rebuild the network.

    Args:
        network_class: Any ``nn.Module`` that maps inputs to logits ``(N, num_classes)``. A parameter without
            an annotation has the type of its default, else ``Any``. If the constructor takes ``**kwargs``,
            the parameters of the parent's constructor are included.

    Returns:
        The task's class: always the same for the same network class. Its name is ``Conv6Task`` for the
        package's network ``conv6``, and ``MyNetTask`` for a class ``MyNet``.

    Raises:
        InputError: It is not an ``nn.Module`` class, or has a parameter that has the name of a training
            setting or is positional-only.

    Example:
        >>> from fer.models import AnnNet
        >>> task_of(AnnNet)(hidden=20, lr=0.01).network.fc1
        Linear(in_features=10, out_features=20, bias=True)
    """
    if not (inspect.isclass(network_class) and issubclass(network_class, nn.Module)):
        msg = f"{network_class!r} is not a network: pass a subclass of torch.nn.Module"
        raise InputError(msg)
    if network_class not in _MADE:
        _MADE[network_class] = _make(network_class)
    return _MADE[network_class]


_MADE: Final[dict[type[nn.Module], type[ClassificationTask]]] = {}
"""Cache of the tasks by network class; pickle needs the same class each time."""


def _make(network_class: type[nn.Module]) -> type[ClassificationTask]:
    """Return a new LightningModule class for a network class."""
    own, training = constructor_parameters(network_class), _training_parameters()
    if clashes := [name for name in own if name in training and name != SHARED]:
        msg = (
            f"{network_class.__name__} takes a parameter {clashes[0]!r}, which is a setting of the training: "
            "rename the network's parameter"
        )
        raise InputError(msg)
    itself = Parameter("self", Parameter.POSITIONAL_OR_KEYWORD)
    signature = Signature(
        [itself, *(own | {name: training[name] for name in training if name not in own}).values()]
    )

    def __init__(self: ClassificationTask, **settings: Any) -> None:  # noqa: N807
        bound = signature.bind(self, **settings)
        bound.apply_defaults()
        values = {name: value for name, value in bound.arguments.items() if name != "self"}
        network = network_class(**{name: values[name] for name in own})
        ClassificationTask.__init__(self, network, **{name: values[name] for name in training})
        saved, left_out = _saved(network_class, values, own)
        self.save_hyperparameters(saved, ignore=["_instantiator", *left_out], logger=False)

    __init__.__signature__ = signature  # type: ignore[attr-defined]
    name, module = _name_of(network_class)
    # jsonargparse reads the help of the training's settings from the base class, the network's from here.
    definer = next(base for base in network_class.__mro__ if "__init__" in vars(base))
    __init__.__doc__ = vars(definer)["__init__"].__doc__
    documentation = network_class.__doc__ or definer.__doc__
    members = {
        "__init__": __init__,
        "__doc__": documentation or f"{network_class.__name__}, trained as a classifier.",
        "__module__": module,
        "network_class": network_class,
        "__reduce__": lambda self: (_blank, (network_class,), self.__getstate__()),
    }
    return type(name, (ClassificationTask,), members)


def constructor_parameters(kind: type) -> dict[str, Parameter]:
    """Return the parameters of a class's constructor by name, as keyword-only parameters with types.

    If the constructor takes ``**kwargs``, the parameters of the parent's constructor follow.

    Raises:
        InputError: A parameter without a default is positional-only.
    """
    found: dict[str, Parameter] = {}
    for base in kind.__mro__:
        if base is nn.Module or base is object:
            break
        if "__init__" not in vars(base):
            continue
        constructor = vars(base)["__init__"]
        hints = _hints(constructor)
        own = list(inspect.signature(constructor).parameters.values())[1:]
        for parameter in own:
            if parameter.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD) or parameter.name in found:
                continue
            if parameter.kind is Parameter.POSITIONAL_ONLY:
                if parameter.default is Parameter.empty:
                    msg = (
                        f"{kind.__name__}: the parameter {parameter.name!r} is positional-only, but settings "
                        "are passed by name: make it a keyword parameter"
                    )
                    raise InputError(msg)
                continue
            found[parameter.name] = parameter.replace(
                kind=Parameter.KEYWORD_ONLY, annotation=_type_of(parameter, hints)
            )
        if not any(parameter.kind is Parameter.VAR_KEYWORD for parameter in own):
            break
    return found


def _training_parameters() -> dict[str, Parameter]:
    """Return the settings of the training, without the network."""
    parameters = constructor_parameters(ClassificationTask)
    del parameters["network"]
    return parameters


def _hints(constructor: Any) -> dict[str, Any]:
    """Return the types of a constructor's parameters; empty if an annotation cannot be resolved."""
    try:
        return get_type_hints(constructor)
    except (NameError, TypeError, AttributeError, SyntaxError):
        return {}


def _type_of(parameter: Parameter, hints: Mapping[str, Any]) -> Any:
    """Return a parameter's type: as annotated, or its default's.

    >>> _type_of(Parameter("p", Parameter.KEYWORD_ONLY, default=0.5), {})
    <class 'float'>
    """
    if parameter.name in hints:
        return hints[parameter.name]
    if not isinstance(parameter.annotation, str) and parameter.annotation is not Parameter.empty:
        return parameter.annotation
    kind = type(parameter.default)
    if kind is int:
        return int | float  # `dropout=0` may become 0.5
    return kind if kind in (bool, float, str) else Any


def _saved(
    network_class: type[nn.Module], values: Mapping[str, Any], own: Mapping[str, Parameter]
) -> tuple[dict[str, Any], list[str]]:
    """Return the settings to save in a checkpoint, and the names of the others, which have their defaults.

    Raises:
        InputError: A value is neither plain nor the default.
    """
    left_out = [name for name, value in values.items() if not _is_plain(value)]
    for name in left_out:
        if values[name] is not own[name].default:
            msg = (
                f"{network_class.__name__}: {name}={values[name]!r} cannot be saved in a checkpoint, only "
                "numbers, strings, and lists or dicts of them can: set it in a subclass of the network"
            )
            raise InputError(msg)
    return {name: value for name, value in values.items() if name not in left_out}, left_out


def _is_plain(value: Any) -> bool:
    """Return whether ``torch.load(weights_only=True)`` can load a value.

    >>> _is_plain({"widths": (3, 4), "norm": None}), _is_plain(nn.ReLU)
    (True, False)
    """
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(each) for key, each in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or type(value) in (bool, int, float, str)


def _name_of(network_class: type[nn.Module]) -> tuple[str, str]:
    """Return the name of a network's task, and the module in which it can be found.

    >>> from fer.models import CbamResNet
    >>> _name_of(CbamResNet), _name_of(nn.Linear)
    (('CbamTask', 'fer.tasks'), ('LinearTask', 'torch.nn.modules.linear'))
    """
    for name, network in NETWORKS.items():
        if network is network_class:
            return "".join(part.capitalize() for part in name.split("_")) + "Task", "fer.tasks"
    return f"{network_class.__name__}Task", network_class.__module__


def _blank(network_class: type[nn.Module]) -> ClassificationTask:
    """Return a task without state; pickle and deepcopy then set its state."""
    task_class = task_of(network_class)
    return task_class.__new__(task_class)
