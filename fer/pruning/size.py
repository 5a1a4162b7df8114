"""Size and speed of networks: parameters, multiply-adds, bytes, latency."""

import io
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import quantiles
from typing import Any, Final

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fer.neurons import eval_state
from fer.neurons.inputs import Inputs, call, inputs_of
from fer.neurons.networks import device_of

BATCH_SIZES: Final = (1, 64)
"""Batch sizes whose latency is measured."""

LATENCY_SECONDS: Final = 0.5
"""Shortest time spent on timing each network, in seconds."""

MIN_RUNS: Final = 5
"""Smallest number of timed runs for a median."""

NUM_WARM_UPS: Final = 2
"""Number of runs before the timing starts; the first runs are slower."""


@dataclass(frozen=True)
class Size:
    """Size and speed of a network.

    Attributes:
        parameters: Number of parameters.
        macs: Multiply-adds of convolutions and linear layers, for one sample.
        bytes: File size of the state dict.
        milliseconds: Median time for a batch, by batch size, on the network's device, uncompiled.
        milliseconds_quartiles: First and third quartiles of these times; empty in files of older versions.
    """

    parameters: int
    macs: int
    bytes: int
    milliseconds: dict[int, float]
    milliseconds_quartiles: dict[int, list[float]] = field(default_factory=dict)


def measure_sizes(networks: Mapping[str, nn.Module], example: Any) -> dict[str, Size]:
    """Measure the size and speed of networks.

    The networks are timed in turn, so that other load on the machine affects all of them alike.

    Args:
        networks: Networks by name, all on one device.
        example: Batch of one or more samples that they take; see :func:`fer.neurons.inputs.inputs_of`.
    """
    latencies = {
        batch_size: measure_latency(networks, dict.fromkeys(networks, example), batch_size)
        for batch_size in BATCH_SIZES
    }
    return {
        name: Size(
            parameters=count_parameters(network),
            macs=count_macs(network, example),
            bytes=_file_size(network),
            milliseconds={size: times[name][1] for size, times in latencies.items()},
            milliseconds_quartiles={size: [*times[name][::2]] for size, times in latencies.items()},
        )
        for name, network in networks.items()
    }


def measure_latency(
    networks: Mapping[str, nn.Module], examples: Mapping[str, Any], batch_size: int
) -> dict[str, tuple[float, float, float]]:
    """Return the first quartile, median and third quartile of each network's latency, in milliseconds.

    The arguments are those of :func:`time_in_turn`.
    """
    found = {}
    for name, seconds in time_in_turn(networks, examples, batch_size).items():
        low, middle, high = (1000 * each for each in quantiles(seconds, n=4, method="inclusive"))
        found[name] = low, middle, high
    return found


def count_macs(network: nn.Module, example: Any) -> int:
    """Return the multiply-adds of convolutions and linear layers, for one sample."""
    with eval_state(network), FlopCounterMode(display=False) as counter:
        call(network, inputs_of(example, network).take(1))
    return int(counter.get_total_flops()) // 2


def count_parameters(network: nn.Module) -> int:
    """Return the number of parameters; a shared parameter counts once."""
    return sum(parameter.numel() for parameter in network.parameters())


def _file_size(network: nn.Module) -> int:
    file = io.BytesIO()
    torch.save(network.state_dict(), file)
    return file.tell()


def time_in_turn(
    networks: Mapping[str, nn.Module], examples: Mapping[str, Any], batch_size: int
) -> dict[str, list[float]]:
    """Return the seconds of each run on a batch of copies of one sample, by network, with equally many runs.

    Args:
        networks: Networks by name, all on one device.
        examples: Batch of one or more samples that each network takes, by the name of the network.
        batch_size: Number of copies.
    """
    inputs: dict[str, Inputs] = {}
    seconds: dict[str, list[float]] = {name: [] for name in networks}
    total = 0.0
    with ExitStack() as stack:
        # The pruned network is an uncompiled copy, so both are timed uncompiled.
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        for name, network in networks.items():
            inputs[name] = inputs_of(examples[name], network).repeat(batch_size).to(network)
            stack.enter_context(eval_state(network))
            for _ in range(NUM_WARM_UPS):
                call(network, inputs[name])
        while min(map(len, seconds.values())) < MIN_RUNS or total < LATENCY_SECONDS * len(networks):
            for name, network in networks.items():
                args, kwargs, device = inputs[name].args, inputs[name].kwargs, device_of(network)
                _synchronize(device)
                started = time.perf_counter()
                network(*args, **kwargs)
                _synchronize(device)
                seconds[name].append(time.perf_counter() - started)
            total = sum(map(sum, seconds.values()))
    return seconds


def _synchronize(device: torch.device) -> None:
    """Wait until the device is idle, if it is a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
