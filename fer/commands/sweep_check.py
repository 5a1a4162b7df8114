"""What is wrong with a sweep, said before its first trial: by the parser of the command that it runs."""

import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException

from fer.callbacks.stages import NETWORK
from fer.commands.choices import choose, find_data_module, find_task
from fer.commands.crossval import choose_for_folds
from fer.commands.experiment import ExperimentCLI
from fer.commands.parsing import name_checkpoint, parse, takes
from fer.errors import InputError, did_you_mean
from fer.labels import NUM_EXPRESSIONS
from fer.neurons.angles import summarise
from fer.pruning.results import SCALARS
from fer.studies.crossval import summarise as summarise_folds
from fer.studies.space import Parameter
from fer.studies.sweepfile import SweepFile, args_json, envvars, located
from fer.studies.trial import fer_command, program_place
from fer.tasks.base import ClassificationTask, logged_on_val
from fer.tasks.optim import make_optimizer

COMMANDS: Final = ("fit", "crossval", "prune")
_LOGGED: Final = (
    "train/loss",
    "train/acc",
    "lr",
    "val/loss",
    "val/acc_best",
)
_A_SPLIT: Final = {"confusion": torch.eye(NUM_EXPRESSIONS, dtype=torch.int64).tolist()}
_OF_A_CROSSVAL: Final = tuple(
    name
    for name in summarise_folds([{"splits": {"val": _A_SPLIT, "test": _A_SPLIT}}]).scalars()
    if name.startswith("val/")
)

_OF_ANGLES: Final = (
    *summarise(torch.zeros(1, 1)),
    *("speed", "similar", "complementary", "dead", "constant", "non_finite"),
)
_FEATURES: Final = 10
_OF_CROSSVAL: Final = {"--folds", "--runs_dir", "--run_name"}


def check_sweep(sweep: SweepFile, count: int | None) -> None:
    """Refuse a sweep that would have no end, or whose trials could not run, as far as that can be known.

    Each value that a categorical parameter can take, and both ends and the middle of every other, goes once
    through the command's own parser, and network and data module are built of it (without reading data).

    Args:
        sweep: The file.
        count: The most trials that are wanted; None: it is not said.

    Raises:
        InputError: Something is wrong; the message names the line.
    """
    if count is None and sweep.run_cap is None and sweep.method != "grid":
        msg = f"--count is missing, and {sweep.path} has no run_cap: {sweep.method} has no end of its own"
        raise InputError(msg)
    if unset := [name for name in envvars(sweep.command) if name not in os.environ]:
        msg = f"command: ${{envvar:{unset[0]}}} is not set; {unset[0]}=… fer sweep {sweep.path}"
        raise InputError(located(sweep.path, ["command"], msg))
    first = next(_probes(sweep))[1]
    words = sweep.words(first, Path("params.json"))
    ours = fer_command(words)
    if ours is None:
        program = words[program_place(words)]
        if not program.startswith("-") and shutil.which(program) is None:  # env's own options it knows best
            msg = f"command: there is no program {program}; give its path"
            raise InputError(located(sweep.path, ["command"], msg))
        return
    if ours[0] not in COMMANDS:
        hint = did_you_mean(ours[0], COMMANDS)
        msg = f"command: fer {ours[0]} is no trial; {hint}a sweep runs fer {', '.join(COMMANDS)}"
        raise InputError(located(sweep.path, ["command"], msg))
    with TemporaryDirectory() as folder:
        json_path = Path(folder) / "params.json"
        for changed, point in _probes(sweep):
            json_path.write_text(args_json(point))
            _, others = fer_command(sweep.words(point, json_path)) or ("", [])
            try:
                config, task = _parse(ours[0], others)
            except (InputError, MisconfigurationException) as e:
                problem = " ".join(str(e).replace(f"{json_path}", "the parameters").split())
                path = _meant(sweep, problem) or (changed.path if changed else _meant_by_last(sweep, problem))
                keys = ["parameters", *path] if path else ["command"]
                raise InputError(located(sweep.path, keys, problem)) from e
            if problem := _metric_problem(sweep.metric.name, ours[0], config, task):
                msg = f"metric {sweep.metric.name}: {problem}"
                raise InputError(located(sweep.path, ["metric", "name"], msg))


def _probes(sweep: SweepFile) -> Iterator[tuple[Parameter | None, Mapping[str, Any]]]:
    """Yield the point in the middle, then it again with each other value that is to be tried."""
    searched = sweep.space.searched
    middle = [0.5] * len(searched)
    seen = [sweep.space.point(middle)]
    yield None, seen[0]
    for place, parameter in enumerate(searched):
        num = max(len(parameter.values), 2)
        for step in range(num):
            u = (step + 0.5) / num if parameter.values else float(step)
            point = sweep.space.point([*middle[:place], u, *middle[place + 1 :]])
            if point not in seen:
                seen.append(point)
                yield parameter, point


def _meant(sweep: SweepFile, problem: str) -> tuple[str, ...]:
    """Return the path of the parameter that a complaint names; empty where it names none."""
    named = [
        p for p in sweep.space.parameters if re.search(rf"(?<![\w.]){re.escape(p.name)}(?![\w])", problem)
    ]
    in_group = re.search(r"Group '([\w.]+)' does not accept option '([\w.]+)'", problem)
    if in_group is not None:
        named = [p for p in sweep.space.parameters if p.name == ".".join(in_group.groups())] or named
    return max((p.path for p in named), key=lambda path: len(".".join(path)), default=())


def _meant_by_last(sweep: SweepFile, problem: str) -> tuple[str, ...]:
    """Return the path of the one parameter whose name's last part a complaint has; empty: it is not one."""
    words = set(re.findall(r"\w+", problem))
    paths = [p.path for p in sweep.space.parameters if p.name.rpartition(".")[2] in words]
    return paths[0] if len(paths) == 1 else ()


def _metric_problem(name: str, command: str, config: Any, task: ClassificationTask) -> str:
    """Return why a trial would have no value of a metric; empty: it would."""
    if name.startswith(("test/", "final/")):
        return "the test split is not for choosing; take val/acc_best"
    of_settings = _logged_with(config, task) if command == "fit" else {}
    if off := [setting for setting, (is_on, names) in of_settings.items() if not is_on and name in names]:
        return f"it is logged with {off[0]} alone, which is off"
    always = {"prune": SCALARS, "crossval": _OF_A_CROSSVAL}.get(command, _LOGGED)
    of_val = [f"val/{each}" for each in logged_on_val(task.class_names)] if always is _LOGGED else []
    logged = [*always, *of_val, *(each for _, names in of_settings.values() for each in names)]
    usual = "prune/acc_after" if command == "prune" else "val/acc_best"
    return (
        "" if name in logged else f"fer {command} does not log it; {did_you_mean(name, logged)}take {usual}"
    )


def _logged_with(config: Any, task: ClassificationTask) -> dict[str, tuple[bool, Sequence[str]]]:
    """Return by setting of fit whether it is on, and the names of what is logged if it is."""
    angles, layers = config.distinctiveness, config.distinctiveness.layers or list(task.neuron_layers)
    weights = [
        name.removeprefix("network.").removesuffix(".weight")
        for name, parameter in task.named_parameters()
        if name.endswith("weight") and parameter.ndim >= 2
    ]
    of_stages = [f"{kind}/{each}" for kind in ("stage", "update_ratio") for each in (NETWORK, *layers)]
    return {
        "distinctiveness.every_n_epochs": (
            angles.every_n_epochs > 0,
            [f"angles/{layer}/{name}" for layer in layers for name in _OF_ANGLES],
        ),
        "stages.enabled": (config.stages.enabled, of_stages),
        "gradients.every_n_epochs": (
            config.gradients.every_n_epochs > 0,
            [f"gradients/{layer}" for layer in weights],
        ),
        "prune.enabled": (config.prune.enabled, SCALARS),
    }


def _parse(command: str, words: Sequence[str]) -> tuple[Any, ClassificationTask]:
    """Let a command's parser take its words, build the network and the data module, and return what it is."""
    if command == "crossval":
        parsed_words, chosen = choose_for_folds(_without(words, _OF_CROSSVAL))
    else:
        parsed_words, chosen = choose(name_checkpoint(words) if command == "prune" else words)
    parser = _parser("fit" if command == "crossval" else command, **chosen)
    config = parse(parser, parsed_words)
    data = find_data_module(chosen["dataset"])(**config.data.as_dict())
    settings = config.model.as_dict()
    if "pretrained" in settings:
        settings["pretrained"] = False  # its weights are fetched by the first trial
    if takes(parser, "model.in_features"):
        settings["in_features"] = _FEATURES  # which only the data knows
    if takes(parser, "model.num_classes"):
        settings["num_classes"] = data.num_classes
    task = find_task(chosen["network"])(**settings)
    task.class_names = data.class_names
    try:
        make_optimizer(task.network, task.optimizer_settings)
    except ValueError as e:  # torch's
        raise InputError(str(e)) from e
    return config, task


def _without(words: Sequence[str], flags: set[str]) -> list[str]:
    """Return words without some flags, and the values that follow them."""
    kept: list[str] = []
    places = iter(words)
    for word in places:
        if word.split("=")[0] not in flags:
            kept.append(word)
        elif "=" not in word:
            next(places, None)
    return kept


class _Parser(ExperimentCLI):
    """The command line up to where something would be built."""

    def _set_seed(self) -> None:
        """Leave chance alone."""

    def before_instantiate_classes(self) -> None:
        """Stay with the settings."""

    def instantiate_classes(self) -> None:
        """Build nothing."""


@cache
def _parser(command: str, network: str, dataset: str) -> Any:
    return _Parser(command, [], network=network, dataset=dataset).parser
