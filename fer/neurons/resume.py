"""Resume runs of a network at a layer: its tensors are kept there, and the next run starts from them.

A run calls ``forward`` from its beginning, but before that layer torch's functions compute nothing: they
return the kept tensors, or an empty tensor of the same shape if the network no longer holds the original.
"""

import copy
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from fer.neurons.inputs import Inputs, call
from fer.neurons.nested import map_tensors, tensors_in

MOST_KEPT: Final = 2**31
"""Largest number of bytes of activations to keep; further batches run from the input."""


Receive = Callable[[str, Tensor, Tensor], None]
"""Function of a layer's name, input and output."""


class Reached(Exception):  # noqa: N818  # not an error: it ends a run
    """End of a run: everything that was asked for was received."""


class _Step(NamedTuple):
    """A call of a torch function: its result with empty tensors, and references to the real ones."""

    result: Any
    tensors: list[Any]  # weak references; in a kept step, their indices or None
    argument: int | None  # index of the argument that it returns, if it does


class _Kept(NamedTuple):
    """State of the network at a layer, for one batch."""

    layer: str
    steps: list[_Step]
    tensors: list[Tensor]
    num_bytes: int


class _Replay(TorchFunctionMode):
    """Record the results of torch's functions, or return recorded ones."""

    def __init__(self, kept: _Kept | None) -> None:
        super().__init__()
        self.old = [] if kept is None else kept.steps
        self.held = [] if kept is None else copy.deepcopy(kept.tensors)  # the network may overwrite them
        self.steps: list[_Step] = []
        self.num_calls = 0
        self.is_recording = True

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call a torch function, or return its recorded result."""
        del types
        if self.num_calls < len(self.old):
            result = self._again(self.old[self.num_calls], args)
        else:
            self.held.clear()  # from here on, only tensors that the network holds stay alive
            result = func(*args, **(kwargs or {}))
        self.num_calls += 1
        if self.is_recording:
            self._record(result, args)
        return result

    def _again(self, step: _Step, args: tuple[Any, ...]) -> Any:
        if step.argument is not None:
            return args[step.argument]
        numbers = iter(step.tensors)

        def choose(empty: Tensor) -> Tensor:
            number = next(numbers)
            return empty.detach() if number is None else self.held[number]

        return map_tensors(choose, step.result)

    def _record(self, result: Any, args: tuple[Any, ...]) -> None:
        same = next((number for number, each in enumerate(args) if each is result), None)
        if same is not None and isinstance(result, Tensor):
            self.steps.append(_Step(None, [], same))
            return
        empty = map_tensors(lambda tensor: tensor.detach().new_zeros(()).expand(tensor.shape), result)
        self.steps.append(_Step(empty, [weakref.ref(each) for each in tensors_in(result)], None))

    def keep(self, layer: str) -> _Kept:
        """Return copies of all tensors that the network holds when a layer is called."""
        self.is_recording = False
        self.held.clear()
        numbers: dict[int, int] = {}
        tensors: list[Tensor] = []

        def number_of(reference: Any) -> int | None:
            if (tensor := reference()) is None:
                return None
            if id(tensor) not in numbers:
                numbers[id(tensor)] = len(tensors)
                tensors.append(tensor)
            return numbers[id(tensor)]

        steps = [step._replace(tensors=[number_of(each) for each in step.tensors]) for step in self.steps]
        copies = copy.deepcopy(tensors)  # copied together, so that views still share memory
        storages = {each.untyped_storage().data_ptr(): each.untyped_storage() for each in copies}
        num_bytes = sum(storage.nbytes() for storage in storages.values())
        return _Kept(layer, steps, copies, num_bytes)


class Runs:
    """Runs of a network whose layers change in the order of their calls.

    Args:
        network: The network, in eval mode.
        most_kept: Largest number of bytes of activations to keep; 0: each run starts at the input.
    """

    def __init__(self, network: nn.Module, most_kept: int = MOST_KEPT) -> None:
        self.network, self.most_kept = network, most_kept
        self._kept: dict[int, _Kept] = {}
        self._num_bytes = 0

    def run(
        self,
        number: int,
        inputs: Inputs,
        changing: Sequence[str],
        *inner: AbstractContextManager[Any],
    ) -> None:
        """Call the network on a batch, from where its kept state allows.

        Args:
            number: Index of the batch.
            inputs: The batch.
            changing: Names of all layers that may still change. Modules called before the first of them must
                not have hooks that compute.
            inner: Contexts for the call that intercept all of torch's functions; the same kinds in each run.
        """
        if not self.most_kept:
            with ExitStack() as stack:
                for context in inner:
                    stack.enter_context(context)
                call(self.network, inputs)
            return
        kept = self._kept.get(number)
        replay = _Replay(kept)

        def keep(module: nn.Module, args: Any) -> None:
            del args
            if replay.is_recording:
                layer = names[module]
                if kept is not None and kept.layer == layer:
                    replay.is_recording = False
                else:
                    self._keep(number, replay.keep(layer))

        names = {self.network.get_submodule(name): name for name in changing}
        with ExitStack() as stack:
            stack.enter_context(torch.compiler.set_stance("force_eager"))  # compiled code ignores new hooks
            for module in names:
                stack.callback(module.register_forward_pre_hook(keep, prepend=True).remove)
            stack.enter_context(replay)
            for context in inner:
                stack.enter_context(context)
            call(self.network, inputs)

    def _keep(self, number: int, kept: _Kept) -> None:
        """Keep the state of a batch if there is room; states that were kept before stay valid."""
        before = self._kept[number].num_bytes if number in self._kept else 0
        if self._num_bytes - before + kept.num_bytes <= self.most_kept:
            self._kept[number] = kept
            self._num_bytes += kept.num_bytes - before


@contextmanager
def received(network: nn.Module, names: Iterable[str], receive: Receive) -> Iterator[None]:
    """Pass the inputs and outputs of layers to a function while the context lasts."""
    with ExitStack() as hooks:
        hooks.enter_context(torch.compiler.set_stance("force_eager"))  # compiled code ignores new hooks
        for name in names:

            def give(module: nn.Module, args: Any, named: Any, output: Tensor, name: str = name) -> None:
                del module
                receive(name, next(iter((*args, *named.values()))), output)

            layer = network.get_submodule(name)
            hooks.callback(layer.register_forward_hook(give, with_kwargs=True).remove)
        yield
