"""Which network, which data: what the words of a command line choose before there is a parser for them."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from fer.configs import config_path
from fer.data import DATA_MODULES
from fer.errors import InputError, did_you_mean
from fer.tasks import TASKS


def choose(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Find out which network and which data are meant, before there is a parser for their settings.

    ``--config`` takes the name of a shipped config as well as a file. A checkpoint without a config is
    taken with the config that its run left beside it.

    Args:
        arguments: The words of the command line.

    Returns:
        The words with configs as paths, and the names: ``{"network": …, "dataset": …}``.

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
    if given.ckpt_path and not given.config:
        given.config.append(str(_config_of(given.ckpt_path)))
        # A run of its own: under the old one's name it would replace that one's config, metrics and results.
        others = ["--run_name", "null", *others]
    chosen = {"network": "conv6", "dataset": "synthetic"}
    if not (given.config or given.network or given.dataset):
        given.config.append("demo")
    paths = [config_path(name) for name in given.config]
    for path in paths:
        content = read_config(path)
        chosen |= {key: str(content[key]) for key in chosen if key in content}
    chosen |= {key: value for key in chosen if (value := getattr(given, key)) is not None}
    for key, names in (("network", TASKS), ("dataset", DATA_MODULES)):
        if chosen[key] not in names:
            hint = did_you_mean(chosen[key], names)
            msg = f"--{key} {chosen[key]}: unknown; {hint}there are {', '.join(names)}"
            raise InputError(msg)
    words = [word for path in paths for word in ("--config", str(path))]
    if given.ckpt_path:
        words += ["--ckpt_path", given.ckpt_path]
    return words + others, chosen


def _config_of(checkpoint: str) -> Path:
    """Return the config of the run that wrote a checkpoint."""
    path = Path(checkpoint)
    if not path.is_file():
        msg = f"--ckpt_path {checkpoint}: there is no such checkpoint"
        raise InputError(msg)
    config = path.resolve().parent.parent / "config.yaml"
    if not config.is_file():
        msg = f"--ckpt_path {checkpoint}: no config.yaml beside its folder; give the run's with --config"
        raise InputError(msg)
    return config


def read_config(path: Path) -> Mapping[str, Any]:
    """Return what a config says.

    Raises:
        InputError: It cannot be read, or holds no settings.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as e:
        msg = f"--config {path}: it cannot be read as YAML: {e}"
        raise InputError(msg) from e
    if not isinstance(content, Mapping):
        msg = f"--config {path}: it holds no settings"
        raise InputError(msg)
    return content
