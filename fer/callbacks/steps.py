"""How far the first step of each optimizer after a measurement moves the weights."""

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer


class FirstSteps:
    """The sizes of the first step of each optimizer after a measurement.

    Attributes:
        sizes: By parameter: squared norms of the step and of the weights before it.
    """

    def __init__(self) -> None:
        self.sizes: dict[str, tuple[float, float]] = {}
        self._optimizers: set[int] = set()
        self._before: dict[str, tuple[Parameter, Tensor]] = {}

    def resume(self, sizes: Mapping[str, tuple[float, float]]) -> None:
        """Take over sizes from before the training was interrupted."""
        self.sizes = dict(sizes)

    def before(self, optimizer: Optimizer, parameters: Iterable[tuple[str, Parameter]]) -> None:
        """Keep a copy of the weight matrices that an optimizer is about to change for the first time.

        Args:
            optimizer: The optimizer.
            parameters: With their names; those of other optimizers are left out.
        """
        self.after()  # another optimizer, or an earlier step, of the same batch
        if id(optimizer) in self._optimizers:
            return
        self._optimizers.add(id(optimizer))
        changed = {id(each) for group in optimizer.param_groups for each in group["params"]}
        self._before = {
            name: (parameter, parameter.detach().clone())
            for name, parameter in parameters
            if id(parameter) in changed and parameter.requires_grad and parameter.ndim >= 2
            if name not in self.sizes  # measured before the training was interrupted
        }

    def after(self) -> None:
        """Measure by how much the weights differ from the copies, if there are any."""
        pairs, self._before = self._before, {}
        if not pairs:
            return
        sizes = torch.stack(
            [
                torch.stack([(now.detach() - old).float().square().sum(), old.float().square().sum()])
                for now, old in pairs.values()
            ]
        )
        self.sizes |= {name: (step, size) for name, (step, size) in zip(pairs, sizes.tolist(), strict=True)}


def update_ratio(step_sizes: Mapping[str, tuple[float, float]], layer: str) -> float:
    """Return the norm of a step divided by the norm of a layer's weights, ``|change| / |weights|``.

    Args:
        step_sizes: By parameter: squared norms of the step and of the weights before it.
        layer: Prefix of its parameters' names. For an empty name, and for a layer without weights of its own,
            all parameters count.

    Returns:
        0 or more; NaN if nothing was measured.

    >>> update_ratio({"fc1.weight": (0.01, 4.0), "fc2.weight": (0.0, 12.0)}, "fc1")
    0.05
    """
    of_layer = [sizes for name, sizes in step_sizes.items() if name.startswith(f"{layer}.")]
    sizes = of_layer or list(step_sizes.values())
    steps, weights = (sum(column) for column in zip(*sizes, strict=True)) if sizes else (math.nan, math.nan)
    return math.sqrt(steps / weights) if weights else math.nan
