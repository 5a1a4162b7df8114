"""Activation statistics: sums over the samples of a layer's activations, from one pass.

One output of a linear layer is a neuron, and so is a feature map of a convolution. A sample is what the
papers call a pattern.
"""

import math
from dataclasses import dataclass
from typing import Any, Final, Literal, Self

import torch
from torch import Tensor

from fer.errors import InputError, check_choice

MapSample = Literal["positions", "mean"]
"""Sample of a feature map.

- ``positions``: every position of every image, as a convolution sees them.
- ``mean``: the mean over the positions of an image, as global average pooling returns it.
"""

Unit = Literal["logistic", "tanh", "other"]
"""The kind of a layer's neurons, on which ``normalise="auto"`` depends; see :func:`fer.neurons.angles`."""

MAX_NEURONS: Final = 16_384
"""Largest number of neurons that can be measured: their matrix takes 2 GiB, and angles need two."""

CHUNK: Final = 2**18
"""Number of values converted at a time: 2 MiB in float64, which fit in the processor's cache."""

MIN_SAMPLES: Final = 1024
"""Smallest number of samples in a chunk, because products of narrow matrices are slow."""

BLOCK: Final = 512
"""Number of rows of a matrix computed at a time."""

SAMPLES_PER_NEURON: Final = 10
"""Samples per neuron below which a fit is warned about.

The error of a fit of K neurons to N samples is (N + K) / (N - K) times as large on other samples: here 1.2
times (Akaike, "Fitting Autoregressive Models for Prediction", 1969). Positions of one image are similar, so
they count for less.
"""

VECTORS: Final = ("mean", "minimum", "maximum", "magnitude")
"""Statistics that are kept for each neuron separately."""

FLAT: Final = 1e-6
"""Spread up to which a neuron counts as constant, relative to its layer's spread or its own mean.

In float32 a constant number has a relative uncertainty of 1e-7.
"""


@dataclass(eq=False, kw_only=True)
class ActivationStatistics:
    """Count, mean, scatter, magnitude, minimum and maximum of C neurons' outputs over N samples, in float64.

    Memory is C x C for any number of samples. Statistics of batches and processes can be added with ``+``;
    their order changes only the last digits. If a neuron's output was ever NaN or infinite, its mean, row and
    column are NaN; other neurons are not affected.

    Batches are centred at their own means and merged by Chan's formula, which avoids cancellation if a mean
    is large compared with the spread. Products are in float64, too: near 0, an angle is the root of the last
    digits of a cosine, where float32 has an error of 0.03 degrees and float64 of 5e-6.

    Attributes:
        count: Number of samples, N; 0 is allowed.
        mean: Mean of each neuron, shape ``(C,)``.
        upper: Upper triangle of the scatter matrix, see :attr:`scatter`; entries below it are not valid.
        minimum: Minimum of each neuron, shape ``(C,)``; plus infinity where N is 0.
        maximum: Maximum of each neuron, shape ``(C,)``; minus infinity where N is 0.
        magnitude: Mean of each neuron's absolute value, shape ``(C,)``; NaN if unknown, as in statistics that
            were saved without it.
        maps: Sample of a feature map; see :data:`MapSample`.
        pattern_minmax: Whether each sample was rescaled over its neurons; see :func:`pattern_minmax`.
        unit: Kind of neuron; see :data:`Unit`.

    Source: Chan, Golub and LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample
    Variances", 1979, equation 2.1, for matrices.
    """

    count: int
    mean: Tensor
    upper: Tensor
    minimum: Tensor
    maximum: Tensor
    magnitude: Tensor
    maps: MapSample = "positions"
    pattern_minmax: bool = False
    unit: Unit = "other"

    def __repr__(self) -> str:
        """Return numbers of neurons and samples, and the range of the means."""
        low, high = (float(end) for end in self.mean.aminmax()) if len(self.mean) else (0.0, 0.0)
        silent = f"{int(self.dead.sum())} dead, {int(self.constant.sum())} constant"
        return (
            f"ActivationStatistics({self.num_neurons} neurons, {self.count:,} samples, "
            f"means {low:.3g} to {high:.3g}, {silent})"
        )

    @classmethod
    def of(
        cls,
        activations: Tensor,
        *,
        maps: MapSample = "positions",
        pattern_minmax: bool = False,
        unit: Unit = "other",
    ) -> Self:
        """Return the statistics of a layer's outputs.

        Args:
            activations: Activations of N samples, shape ``(N, C)``, or feature maps, ``(N, C, H, W)``.
            maps: Sample of a feature map: ``mean`` gives N samples, ``positions`` N x H x W.
            pattern_minmax: Whether to rescale each sample over its neurons; see :func:`pattern_minmax`.
            unit: Kind of neuron; see :data:`Unit`.

        Raises:
            InputError: The shape is wrong, there are more than :data:`MAX_NEURONS` neurons, or a choice is
                unknown.
        """
        check_choice("maps", maps, MapSample)
        check_choice("unit", unit, Unit)
        _check_activations(activations)
        width = activations.shape[1]
        # Apple's GPUs have no float64.
        device = torch.device("cpu") if activations.device.type == "mps" else activations.device
        with torch.inference_mode(mode=False):  # tensors made in that mode cannot be changed outside it
            upper = torch.zeros(width, width, dtype=torch.float64, device=device)
            statistics = cls(
                count=0,
                mean=upper.new_zeros(width),
                upper=upper,
                minimum=upper.new_full((width,), math.inf),
                maximum=upper.new_full((width,), -math.inf),
                magnitude=upper.new_zeros(width),
                maps=maps,
                pattern_minmax=pattern_minmax,
                unit=unit,
            )
        statistics.update(activations)
        return statistics

    def update(self, activations: Tensor) -> None:
        """Add a batch in place, which takes less memory than ``+``.

        Args:
            activations: Activations of the same C neurons; see :meth:`of`.

        Raises:
            InputError: The shape is wrong.
        """
        _check_activations(activations)
        if activations.shape[1] != self.num_neurons:
            msg = f"the batch has {activations.shape[1]} neurons, but the statistics have {self.num_neurons}"
            raise InputError(msg)
        with torch.inference_mode(mode=False), torch.no_grad():
            activations = activations.to(self.mean.device)
            if self.maps == "mean" and activations.ndim == 4:
                activations = activations.mean((2, 3), dtype=torch.float64)
            num_samples = max(MIN_SAMPLES, CHUNK // self.num_neurons)
            step = max(1, num_samples // math.prod(activations.shape[2:]))
            for chunk in torch.split(activations, step):
                values = pattern_minmax(chunk) if self.pattern_minmax else chunk
                self._add(values.transpose(0, 1).flatten(1))

    def _add(self, values: Tensor) -> None:
        """Add a chunk of P samples, shape ``(C, P)``."""
        num = values.shape[1]
        if num == 0:
            return
        total = self.count + num
        rows = torch.empty(len(values), num + 1, dtype=torch.float64, device=self.mean.device)
        centred = rows[:, :num].copy_(values)
        self.minimum = torch.minimum(self.minimum, centred.amin(1))
        self.maximum = torch.maximum(self.maximum, centred.amax(1))
        magnitude = torch.linalg.vector_norm(centred, ord=1, dim=1) / num
        mean = centred.mean(1)
        centred -= mean[:, None]
        # The difference between the two means is Chan's second term: one more sample in the same product.
        gap = mean - self.mean
        rows[:, num] = gap * math.sqrt(self.count * num / total)
        # Some processors add the terms of a product one by one: 26,000 at once give an error of 5e-14.
        for part in torch.split(rows, MIN_SAMPLES + 1, dim=1):
            for start in range(0, len(part), BLOCK):
                self.upper[start : start + BLOCK, start:].addmm_(part[start : start + BLOCK], part[start:].T)
        self.mean = self.mean + gap * (num / total)
        self.magnitude = torch.lerp(self.magnitude, magnitude, num / total)
        self.count = total

    def __add__(self, other: Self) -> Self:
        """Return the statistics over both sets of samples, on this one's device.

        Raises:
            ValueError: They differ in the number or kind of neurons, or in the kind of sample.
        """
        if self._settings() != other._settings() or self.num_neurons != other.num_neurons:
            mine, theirs = ({"neurons": one.num_neurons, **one._settings()} for one in (self, other))
            msg = f"statistics of {theirs} cannot be added to statistics of {mine}"
            raise ValueError(msg)
        device = self.mean.device
        total = self.count + other.count
        with torch.inference_mode(mode=False):
            share = other.count / max(total, 1)
            gap = other.mean.to(device) - self.mean
            louder = other.magnitude.to(device) - self.magnitude
            upper = torch.outer(gap, gap * (self.count * share))
            return type(self)(
                count=total,
                mean=self.mean + gap * share,
                upper=upper.add_(self.upper).add_(other.upper.to(device)),
                minimum=torch.minimum(self.minimum, other.minimum.to(device)),
                maximum=torch.maximum(self.maximum, other.maximum.to(device)),
                magnitude=self.magnitude + louder * share,
                **self._settings(),
            )

    def _settings(self) -> dict[str, Any]:
        return {"maps": self.maps, "pattern_minmax": self.pattern_minmax, "unit": self.unit}

    @property
    def num_neurons(self) -> int:
        """C."""
        return len(self.mean)

    @property
    def scatter(self) -> Tensor:
        """Sum over the samples of (a - mean)(a - mean)ᵀ, N times the covariance, shape ``(C, C)``."""
        return self.upper.triu() + self.upper.triu(1).T

    @property
    def sum(self) -> Tensor:
        """Sum over the samples, shape ``(C,)``."""
        return self.mean * self.count

    @property
    def gram(self) -> Tensor:
        """Sum over the samples of a aᵀ, shape ``(C, C)``."""
        return self.scatter + torch.outer(self.mean, self.sum)

    @property
    def std(self) -> Tensor:
        """Standard deviation of each neuron (division by N), shape ``(C,)``; 0 if N is 0."""
        return (self.upper.diagonal() / max(self.count, 1)).sqrt()

    @property
    def non_finite(self) -> Tensor:
        """Whether each neuron was NaN or infinite at least once, shape ``(C,)``."""
        return ~self.mean.isfinite()

    @property
    def dead(self) -> Tensor:
        """Whether each neuron was always exactly zero, shape ``(C,)``."""
        return (self.minimum == 0) & (self.maximum == 0)

    @property
    def constant(self) -> Tensor:
        """Whether each neuron never changed but is not dead, shape ``(C,)``.

        Its standard deviation is at most :data:`FLAT` times the layer's (root mean square over the neurons)
        or the neuron's own mean. After :func:`pattern_minmax`, dead neurons count as constant.
        """
        std, is_finite = self.std, ~self.non_finite
        total = std.masked_fill(~is_finite, 0).square().sum()
        layer = (total / is_finite.sum()).sqrt() if self.count else std.new_zeros(())
        # A layer that is all NaN has no spread, so none of its neurons is constant.
        return (std <= FLAT * torch.maximum(layer, self.mean.abs())) & ~self.dead

    def to_dict(self) -> dict[str, Any]:
        """Return tensors and plain values, for ``torch.save`` and ``torch.load(weights_only=True)``."""
        return {
            "count": self.count,
            "mean": self.mean,
            "scatter": self.scatter,
            "minimum": self.minimum,
            "maximum": self.maximum,
            "magnitude": self.magnitude,
            **self._settings(),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Return the statistics from a result of :meth:`to_dict`; they share no memory with it.

        Results of older versions, without ``magnitude``, can be read.

        Raises:
            ValueError: A part is missing, unknown, or has the wrong shape.
        """
        width = len(values.get("mean", ()))
        values = {"magnitude": torch.full((width,), math.nan), **values}
        shapes = {"scatter": (width, width)} | dict.fromkeys(VECTORS, (width,))
        settings = {"maps", "pattern_minmax", "unit"}
        if values.keys() != {"count", *shapes, *settings}:
            msg = f"these are not activation statistics: they have {', '.join(values) or 'no parts'}"
            raise ValueError(msg)
        for name, shape in shapes.items():
            if values[name].shape != shape:
                msg = f"{name} of {width} neurons has shape {tuple(values[name].shape)} instead of {shape}"
                raise ValueError(msg)
        with torch.inference_mode(mode=False):
            tensors = {name: values[name].to(torch.float64, copy=True) for name in shapes}
        tensors["upper"] = tensors.pop("scatter")
        return cls(count=values["count"], **tensors, **{name: values[name] for name in settings})


def pattern_minmax(activations: Tensor) -> Tensor:
    """Rescale each sample over its neurons to -0.5 to 0.5.

    The rescaling mixes neurons, so :func:`fer.neurons.angles` cannot apply it afterwards: every batch is
    rescaled before it is added.

    Args:
        activations: Shape ``(N, C)``; or ``(N, C, H, W)``, in which every position is a sample.

    Returns:
        The same shape, float64. A sample in which all neurons are equal becomes 0.

    Source: Jain, "Network Reduction Technique Based on Neuron Distinctiveness for Classifying
    Faces-Emotion via Transfer Learning": the paper's code.
    """
    values = activations.double()
    low, high = values.aminmax(dim=1, keepdim=True)
    spread = high - low
    return torch.where(spread == 0, 0.0, (values - low) / spread - 0.5)


def times_as_many(count: int, num_neurons: int) -> str:
    """Return how many times as many samples would suffice for a fit of neurons, rounded up.

    >>> times_as_many(576, 64), times_as_many(99, 10)
    ('1.2', '1.1')
    """
    needed = SAMPLES_PER_NEURON * num_neurons
    return f"{math.ceil(10 * needed / max(count, 1)) / 10:g}"


def _check_activations(activations: Tensor) -> None:
    if activations.ndim not in (2, 4) or 0 in activations.shape[1:]:
        msg = f"expected activations (N, C) or maps (N, C, H, W), but the shape is {tuple(activations.shape)}"
        raise InputError(msg)
    if (width := activations.shape[1]) > MAX_NEURONS:
        gib = 8 * width**2 / 2**30
        msg = (
            f"{width:,} neurons are more than the {MAX_NEURONS:,} that can be measured at once (a matrix of "
            f"their angles takes {gib:.1f} GiB): choose a narrower layer, or give only some of the neurons"
        )
        raise InputError(msg)
