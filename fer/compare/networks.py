"""Networks of the compared runs, from their checkpoints: predictions, size, speed and redundant neurons."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor, nn

from fer.checkpoints import normalisation_in, read_checkpoint
from fer.compare.answers import Answers, compute_answers
from fer.compare.folders import ComparedRun
from fer.data.base import ExpressionDataModule
from fer.errors import InputError
from fer.neurons import angles, classify, measure
from fer.neurons.declared import hidden_layers
from fer.neurons.redundancy import redundant_share
from fer.pruning.size import BATCH_SIZES, count_macs, count_parameters, measure_latency
from fer.tasks import ClassificationTask, load

NUM_SAMPLES: Final = 1024
"""Number of training samples on which neurons are measured, stratified and not augmented."""

DataOf = Callable[[Mapping[str, Any]], LightningDataModule]
"""Builds the data module that the settings of a run name."""


@dataclass(frozen=True, eq=False)
class ComparedNetwork:
    """A network on the samples of its run.

    Attributes:
        task: The network, in eval mode.
        example: One input, shape ``(1, …)``; None if its shape is not known.
        answers: Predictions by test split; empty if they are not known.
        neurons: For each layer, the number of neurons of each class and in total (``neurons``). In addition,
            ``reproducible`` counts the neurons near the linear span of the others.
        notes: What is missing, and why.
    """

    task: ClassificationTask
    example: Tensor | None
    answers: dict[str, Answers]
    neurons: dict[str, dict[str, int]]
    notes: list[str] = field(default_factory=list)


def open_network(
    compared: ComparedRun, data_of: DataOf, own_networks: Mapping[str, type[nn.Module]]
) -> ComparedNetwork | None:
    """Return the network of a run with its predictions and neurons; None without a checkpoint.

    If the data cannot be read, everything that needs the data is left out, with a note.

    Args:
        compared: The run.
        data_of: Builds its data module.
        own_networks: Network classes from outside fer, by class path.

    Raises:
        InputError: The checkpoint is damaged, or the class of its network is not given.
    """
    if compared.checkpoint is None:
        return None
    content, task = _read_network(compared.checkpoint, own_networks)
    shape = content.get("input_shape")
    found = ComparedNetwork(task, None if shape is None else _example(shape), dict(compared.answers), {})
    try:
        data = data_of(compared.settings)
        if not isinstance(data, ExpressionDataModule):
            found.notes.append("its data module does not name its samples: no predictions, no neurons")
            return found
        _set_up(data, task, content)
    except InputError as e:
        found.notes.append(f"its data cannot be read ({e}): predictions and neurons are left out")
        return found
    if not (compared.untested or found.answers):
        found.answers.update(compute_answers(task, data))
    batches = [batch[0] for batch in data.sample_dataloader("train", NUM_SAMPLES)]
    try:
        found.neurons.update(count_neurons(task.network, batches))
    except InputError as e:
        found.notes.append(f"its neurons cannot be measured: {e}")
    return found if shape is not None else ComparedNetwork(**{**vars(found), "example": batches[0][:1]})


def answers_of(
    compared: ComparedRun, data_of: DataOf, own_networks: Mapping[str, type[nn.Module]]
) -> dict[str, Answers]:
    """Return a network's predictions for its test splits, read from the run's files or computed here.

    Args:
        compared: The run.
        data_of: Builds its data module.
        own_networks: Network classes from outside fer, by class path.

    Raises:
        InputError: The run has neither predictions nor a checkpoint, or its checkpoint or data cannot be
            read.
    """
    if compared.answers:
        return compared.answers
    if compared.checkpoint is None:
        msg = f"{compared.run.folder}: it has neither predictions.csv nor a checkpoint to compute them"
        raise InputError(msg)
    content, task = _read_network(compared.checkpoint, own_networks)
    data = data_of(compared.settings)
    if not isinstance(data, ExpressionDataModule):
        msg = f"{compared.run.folder}: {type(data).__name__} does not name its samples, as pairing needs"
        raise InputError(msg)
    _set_up(data, task, content)
    return compute_answers(task, data)


def _read_network(
    checkpoint: Path, own_networks: Mapping[str, type[nn.Module]]
) -> tuple[Mapping[str, Any], ClassificationTask]:
    """Return the content of a checkpoint and its network, on the device that is used."""
    content = read_checkpoint(checkpoint)
    task = load(checkpoint, own_networks.get(str(content.get("network"))))
    return content, task.to("cuda" if torch.cuda.is_available() else "cpu")


def _set_up(data: ExpressionDataModule, task: ClassificationTask, content: Mapping[str, Any]) -> None:
    """Load the splits with the normalisation and the classes of a checkpoint's network."""
    data.match_network(task.class_names)
    for state in normalisation_in(content).values():
        data.load_state_dict(state)
    data.setup("test")


def count_neurons(network: nn.Module, batches: list[Tensor]) -> dict[str, dict[str, int]]:
    """Return the number of neurons of each class in each hidden layer; see :class:`ComparedNetwork`."""
    layers = hidden_layers(network, batches[0]).layers
    if not layers:
        msg = f"{type(network).__name__} has no hidden layer whose outputs are matrices or feature maps"
        raise InputError(msg)
    statistics = measure(network, batches, layers.values())
    counts = {}
    for name, place in layers.items():
        degrees = angles(statistics[place])
        share = redundant_share(statistics[place])
        num = statistics[place].num_neurons
        counts[name] = {"neurons": num, **classify(statistics[place], degrees).counts}
        if not math.isnan(share):
            counts[name]["reproducible"] = round(share * (num - counts[name]["non_finite"]))
    return counts


@dataclass(frozen=True)
class Cost:
    """The size and speed of a network.

    Attributes:
        parameters: Number of parameters.
        macs: Multiply-adds of convolutions and linear layers, for one sample.
        milliseconds: First quartile, median and third quartile of the latency, by batch size.
    """

    parameters: int
    macs: int
    milliseconds: dict[int, tuple[float, float, float]]


def measure_costs(networks: Mapping[str, ComparedNetwork]) -> dict[str, Cost]:
    """Return the size and the latency of each network; all are timed in turn, each on its own inputs.

    Args:
        networks: Networks by the name of the run; those without an example are left out.
    """
    examples, tasks = {}, {}
    for name, each in networks.items():
        if each.example is not None:
            layout = each.task.memory_format if each.example.ndim == 4 else torch.contiguous_format
            examples[name], tasks[name] = each.example.contiguous(memory_format=layout), each.task
    modules = {name: task.network for name, task in tasks.items()}
    milliseconds: dict[str, dict[int, tuple[float, float, float]]] = {name: {} for name in modules}
    for batch_size in BATCH_SIZES if modules else ():
        for name, times in measure_latency(modules, examples, batch_size).items():
            milliseconds[name][batch_size] = times
    return {
        name: Cost(count_parameters(module), count_macs(module, examples[name]), milliseconds[name])
        for name, module in modules.items()
    }


def hold_same_weights(one: nn.Module, other: nn.Module) -> bool:
    """Return whether two networks have the same parameters and buffers."""
    states = one.state_dict(), other.state_dict()
    return states[0].keys() == states[1].keys() and all(
        torch.equal(states[0][name], states[1][name]) for name in states[0]
    )


def _example(shape: tuple[int, ...]) -> Tensor:
    return torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))
