"""Choose the network and the data set from the arguments, before the parser for their settings is built."""

import argparse
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import LightningDataModule
from torch import nn

from fer.checkpoints import read_checkpoint
from fer.commands.classpath import import_class
from fer.configs import config_names, config_path, flatten
from fer.data import DATA_MODULES
from fer.errors import InputError, did_you_mean
from fer.files import read_text
from fer.tasks import TASKS, ClassificationTask, constructor_parameters, task_of
from fer.yamltext import parse_yaml

log = logging.getLogger(__name__)


def find_task(name: str) -> type[ClassificationTask]:
    """Return the LightningModule of a network: one of the package's by name, or any by its class path.

    Raises:
        InputError: The name is unknown, the class cannot be imported, or it is not a network.
    """
    if "." not in name:
        return TASKS[_known(name, TASKS, "network")]
    return task_of(import_class(name, option="--network", base=nn.Module))


def find_data_module(name: str) -> type[LightningDataModule]:
    """Return a data module: one of the package's by name, or any by its class path.

    Raises:
        InputError: The name is unknown, the class cannot be imported, or it is not a data module.
    """
    if "." not in name:
        return DATA_MODULES[_known(name, DATA_MODULES, "dataset")]
    return import_class(name, option="--dataset", base=LightningDataModule)


def _known(name: str, names: Iterable[str], key: str) -> str:
    """Return a name after checking that it is known."""
    if name not in names:
        hint = did_you_mean(name, names)
        own = "a class of your own, package.module.Class"
        msg = f"--{key} {name} is unknown; {hint}choose one of {', '.join(names)}, or {own}"
        raise InputError(msg)
    return name


def choose(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Find the network and the data set that the arguments choose.

    ``--config`` takes a file, the name of a shipped config, or the folder of a run. If there is a checkpoint
    and no config, the config of the checkpoint's run is used; classes that this config names are imported
    only if the arguments name them, too. If a config is for another network or data set, settings that only
    apply to that one are left out.

    Args:
        arguments: The command line after the command.

    Returns:
        The arguments with configs as paths, and the names: ``{"network": …, "dataset": …}``.

    Raises:
        InputError: A config cannot be read, or a name is unknown.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--config", "-c", action="append", default=[])
    parser.add_argument("--network")
    parser.add_argument("--dataset")
    parser.add_argument("--ckpt_path")
    try:
        given, others = parser.parse_known_args(list(arguments))
    except argparse.ArgumentError as e:
        raise InputError(str(e)) from e
    is_implied = bool(given.ckpt_path and not given.config)
    if is_implied:
        given.config.append(str(_config_of(given.ckpt_path)))
    if is_implied or any(Path(name).expanduser().is_dir() for name in given.config):
        # A new run: under the old run's name it would replace that run's config, metrics and results.
        others = ["--run_name", "null", *others]
    chosen = {"network": "conv6", "dataset": "synthetic"}
    if not (given.config or given.network or given.dataset):
        given.config.append("demo")
    configs = {path: read_config(path) for path in map(config_path, given.config)}
    for content in configs.values():
        chosen |= {key: str(content[key]) for key in chosen if key in content}
    named = {key: value for key in chosen if (value := getattr(given, key)) is not None}
    if is_implied:
        _check_is_named(chosen, named, given.ckpt_path)
    chosen |= named
    words = []
    for path, content in configs.items():
        kept = _fitting(path, content, chosen)
        words += ["--config", str(path) if kept is content else yaml.safe_dump(kept)]
    words += [word for key, value in named.items() for word in (f"--{key}", value)]
    if given.ckpt_path:
        words += ["--ckpt_path", given.ckpt_path]
    return words + others, chosen


def _check_is_named(found: Mapping[str, str], named: Mapping[str, str], checkpoint: str) -> None:
    """Refuse to import a class that only the config beside a checkpoint names."""
    for key, value in found.items():
        if "." in value and key not in named:
            msg = (
                f"{checkpoint} was trained with --{key} {value}, a class outside of fer, which is imported "
                f"only if you name it: add --{key} {value}"
            )
            raise InputError(msg)


def _fitting(path: Path, content: Mapping[str, Any], chosen: Mapping[str, str]) -> Mapping[str, Any]:
    """Return a config without the settings that do not apply to the chosen network or data set.

    Network settings are kept if the chosen network takes them. Data settings are kept if both data modules
    inherit them from the same class; the protocol, for example, is not.
    """
    kept = {key: dict(value) if isinstance(value, Mapping) else value for key, value in content.items()}
    left_out = []
    others = [key for key in ("network", "dataset") if content.get(key, chosen[key]) != chosen[key]]
    for key in others:
        target: type = find_task(chosen[key]) if key == "network" else find_data_module(chosen[key])
        common = target
        if key == "dataset":  # a user-defined class is not imported just because a config names it
            common = _nearest_common(DATA_MODULES.get(content[key], LightningDataModule), target)
        taken, defaults = constructor_parameters(common), constructor_parameters(target)
        group = "model" if key == "network" else "data"
        kept[key] = chosen[key]
        for name in [name for name in kept.get(group) or {} if name not in taken]:
            default = defaults[name].default if name in defaults else None
            note = "" if default is None else f" (default of {chosen[key]}: {default})"
            left_out.append(f"{group}.{name}={kept[group].pop(name)}{note}")
    if left_out:
        origin = " and ".join(str(content[key]) for key in others)
        log.info("%s is for %s: left out %s", path.name, origin, ", ".join(left_out))
    return kept if others else content


def _nearest_common(one: type, other: type) -> type:
    """Return the nearest class that both inherit from."""
    return next(base for base in other.__mro__ if base in one.__mro__)


def usual_settings(configs: Sequence[Any], network: str) -> dict[str, Any]:
    """Return a run's usual settings, by dotted name: its first config, or the shipped one of its network.

    Args:
        configs: The paths that the parser read; None for a config that was not a file, such as one of another
            network, of which only what fits is read.
        network: Name of the network, or the path of its class, which has no shipped config.
    """
    shipped = network if network in config_names() else None
    first = next((str(path) for path in configs if path is not None), shipped)
    return {} if first is None else flatten(read_config(config_path(first)))


def _config_of(checkpoint: str) -> Path:
    """Return the config of the run that wrote a checkpoint."""
    path = Path(checkpoint)
    if not path.is_file():
        msg = f"--ckpt_path {checkpoint}: there is no such checkpoint"
        raise InputError(msg)
    config = path.resolve().parent.parent / "config.yaml"
    if not config.is_file():
        read_checkpoint(path)  # refuses one that fer has not trained, and says the way out
        msg = (
            f"--ckpt_path {checkpoint}: not in the folder of a run of fer ({config} is missing): give the "
            "settings of its network and data with --config"
        )
        raise InputError(msg)
    return config


def read_config(path: Path) -> Mapping[str, Any]:
    """Return the settings of a config.

    Raises:
        InputError: The file cannot be read, or holds no settings.
    """
    try:
        content = parse_yaml(read_text(path))
    except (OSError, ValueError) as e:
        msg = f"--config {path}: it cannot be read as YAML: {e}"
        raise InputError(msg) from e
    if not isinstance(content, Mapping):
        msg = f"--config {path}: it holds no settings"
        raise InputError(msg)
    return content
