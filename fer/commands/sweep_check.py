"""Checks of a sweep before its first trial, with the parser of the command that it runs."""

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

from fer.callbacks.history import LOSSES, SAMPLE_LOSS
from fer.callbacks.layer_values import keys_of
from fer.callbacks.media import is_shown
from fer.callbacks.stages import NETWORK
from fer.commands.checks import count_classes
from fer.commands.choices import choose, find_data_module, find_task
from fer.commands.crossval import choose_for_folds
from fer.commands.experiment import ExperimentCLI
from fer.commands.members import choose_for_members
from fer.commands.parsing import name_checkpoint, parse, takes
from fer.errors import InputError, did_you_mean
from fer.neurons.collapse import MEASURES
from fer.pruning.results import SCALARS
from fer.studies.members import KINDS, REPEAT, Kind, summarise
from fer.studies.space import Parameter
from fer.studies.sweepfile import SweepFile, args_json, envvars
from fer.studies.sweepyaml import located
from fer.studies.trial import fer_command, program_place
from fer.tasks.base import ClassificationTask
from fer.tasks.optim import make_optimizer

COMMANDS: Final = ("fit", *KINDS, "prune")
_LOGGED: Final = ("train/loss", "train/acc", "lr")
_OF_SAMPLES: Final = (
    *(f"collapse/{name}" for name in MEASURES),
    *(SAMPLE_LOSS.format(split) for split in LOSSES.values()),
)
_FEATURES: Final = 10
_OF_STUDIES: Final = {
    "--runs_dir",
    "--run_name",
    "--against",
    *(f"--{kind.setting}" for kind in KINDS.values()),
}


def check_sweep(sweep: SweepFile, count: int | None, *, is_on_wandb: bool = False) -> None:
    """Refuse a sweep that would never end, or whose trials cannot run.

    Every value of a categorical parameter, and the ends and the middle of every other parameter, is parsed
    once by the command's own parser, and the network and the data module are built (without reading data).

    Args:
        sweep: The file.
        count: Largest number of points; None: no limit.
        is_on_wandb: Whether W&B reads the metric; if not, it is read from the trial's ``metrics.csv``.

    Raises:
        InputError: The sweep cannot run; the message names the line.
    """
    if count is None and sweep.run_cap is None and sweep.method != "grid":
        msg = f"--count is missing, and {sweep.path} has no run_cap: method {sweep.method} would never end"
        raise InputError(msg)
    if unset := [name for name in envvars(sweep.command) if name not in os.environ]:
        msg = f"command: ${{envvar:{unset[0]}}} is not set; {unset[0]}=… fer sweep {sweep.path}"
        raise InputError(located(sweep.path, ["command"], msg))
    first = next(_probes(sweep))[1]
    words = sweep.words(first, Path("params.json"))
    ours = fer_command(words)
    if ours is None:
        program = words[program_place(words)]
        if not program.startswith("-") and shutil.which(program) is None:  # env checks its own options
            msg = f"command: no program {program} found; give its path"
            raise InputError(located(sweep.path, ["command"], msg))
        return
    if ours[0] not in COMMANDS:
        hint = did_you_mean(ours[0], COMMANDS)
        msg = f"command: fer {ours[0]} cannot be a trial; {hint}a sweep runs fer {', '.join(COMMANDS)}"
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
            if problem := _metric_problem(sweep.metric.name, ours[0], config, task, is_on_wandb=is_on_wandb):
                msg = f"metric {sweep.metric.name}: {problem}"
                raise InputError(located(sweep.path, ["metric", "name"], msg))


def _probes(sweep: SweepFile) -> Iterator[tuple[Parameter | None, Mapping[str, Any]]]:
    """Yield the middle point, then a point for each other value to check, with the changed parameter."""
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
    """Return the path of the parameter that an error names; empty if it names none."""
    named = [
        p for p in sweep.space.parameters if re.search(rf"(?<![\w.]){re.escape(p.name)}(?![\w])", problem)
    ]
    in_group = re.search(r"Group '([\w.]+)' does not accept option '([\w.]+)'", problem)
    if in_group is not None:
        named = [p for p in sweep.space.parameters if p.name == ".".join(in_group.groups())] or named
    return max((p.path for p in named), key=lambda path: len(".".join(path)), default=())


def _meant_by_last(sweep: SweepFile, problem: str) -> tuple[str, ...]:
    """Return the path of the only parameter whose last name an error contains; empty if not exactly one."""
    words = set(re.findall(r"\w+", problem))
    paths = [p.path for p in sweep.space.parameters if p.name.rpartition(".")[2] in words]
    return paths[0] if len(paths) == 1 else ()


def _metric_problem(
    name: str, command: str, config: Any, task: ClassificationTask, *, is_on_wandb: bool
) -> str:
    """Return why a sweep could not read a metric of its trials; empty if it could."""
    if name.startswith(("test/", "final/")):
        return "settings are not selected on the test split; use val/acc_best"
    of_settings = _logged_with(config, task) if command == "fit" else {}
    if off := [setting for setting, (is_on, names) in of_settings.items() if not is_on and name in names]:
        return f"it is logged only with {off[0]}, which is off"
    logged: list[str] = [each for _, names in of_settings.values() for each in names]
    if command == "fit":
        logged += [*_LOGGED, *task.val_keys]
    else:
        logged += SCALARS if command == "prune" else _of_members(KINDS[command], task.class_names)
    if name in logged and is_on_wandb and command == "fit" and not is_shown(name, config.distinctiveness.log):
        return "W&B gets it only with --distinctiveness.log all; add that to the command"
    usual = "prune/acc_after" if command == "prune" else "val/acc_best"
    return "" if name in logged else f"fer {command} does not log it; {did_you_mean(name, logged)}use {usual}"


def _of_members(kind: Kind, class_names: Sequence[str]) -> list[str]:
    """Return the names of the validation metrics that a study of several runs logs."""
    split = {"confusion": torch.eye(len(class_names), dtype=torch.int64).tolist()}
    member = {"class_names": list(class_names), "splits": {"val": split, "test": split}}
    return [name for name in summarise([member], kind).scalars() if name.startswith("val/")]


def _logged_with(config: Any, task: ClassificationTask) -> dict[str, tuple[bool, Sequence[str]]]:
    """Return for each setting of fit whether it is on, and the names of the metrics that it logs."""
    angles, layers = config.distinctiveness, config.distinctiveness.layers or list(task.neuron_layers)
    weights = [
        name.removeprefix("network.").removesuffix(".weight")
        for name, parameter in task.named_parameters()
        if name.endswith("weight") and parameter.ndim >= 2
    ]
    of_stages = [f"{kind}/{each}" for kind in ("stage", "update_ratio") for each in (NETWORK, *layers)]
    return {
        "distinctiveness.every_n_epochs": (
            0 not in (angles.every_n_epochs, angles.every_n_steps),
            [*(key for layer in layers for key in keys_of(layer).values()), *_OF_SAMPLES],
        ),
        "stages.enabled": (config.stages.enabled, of_stages),
        "gradients.every_n_epochs": (
            config.gradients.every_n_epochs > 0,
            [f"gradients/{layer}" for layer in weights],
        ),
        "prune.enabled": (
            config.prune.enabled,
            [*SCALARS, *(f"prune/{config.prune.metric}_{when}" for when in ("before", "after"))],
        ),
    }


def _parse(command: str, words: Sequence[str]) -> tuple[Any, ClassificationTask]:
    """Parse the arguments of a command, build network and data module, and return config and task."""
    if command in KINDS:
        others = _without(words, _OF_STUDIES)
        is_repeat = command == REPEAT.name
        parsed_words, chosen = choose_for_members(REPEAT, others) if is_repeat else choose_for_folds(others)
    else:
        parsed_words, chosen = choose(name_checkpoint(words) if command == "prune" else words)
    parser = _parser("fit" if command in KINDS else command, **chosen)
    config = parse(parser, parsed_words)
    data = find_data_module(chosen["dataset"])(**config.data.as_dict())
    settings = config.model.as_dict()
    if "pretrained" in settings:
        settings["pretrained"] = False  # its weights are fetched by the first trial
    if takes(parser, "model.in_features"):
        settings["in_features"] = _FEATURES  # any number: the real one is known when the data is read
    if takes(parser, "model.num_classes"):
        settings["num_classes"] = count_classes(data)
    task = find_task(chosen["network"])(**settings)
    task.class_names = tuple(getattr(data, "class_names", task.class_names))
    try:
        make_optimizer(task.network, task.optimizer_settings)
    except ValueError as e:  # torch's
        raise InputError(str(e)) from e
    return config, task


def _without(words: Sequence[str], flags: set[str]) -> list[str]:
    """Return arguments without some flags and their values."""
    kept: list[str] = []
    places = iter(words)
    for word in places:
        if word.split("=")[0] not in flags:
            kept.append(word)
        elif "=" not in word:
            next(places, None)
    return kept


class _Parser(ExperimentCLI):
    """CLI that only provides the parser of a command, and builds nothing."""

    def _set_seed(self) -> None:
        """Set no seed."""

    def before_instantiate_classes(self) -> None:
        """Change no settings."""

    def instantiate_classes(self) -> None:
        """Build nothing."""


@cache
def _parser(command: str, network: str, dataset: str) -> Any:
    return _Parser(command, [], network=network, dataset=dataset).parser
