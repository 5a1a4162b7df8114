"""Every sweep file keeps the rules that were learnt, and the command line takes all that it may draw."""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import pytest
import yaml

from fer.callbacks import PruneCallback
from fer.commands.choices import choose
from fer.commands.experiment import ExperimentCLI
from fer.commands.members import SET_BY_STUDY
from fer.configs import config_path
from fer.data import DATA_MODULES
from fer.tasks import TASKS

FILES = {path.stem: path for path in sorted((Path(__file__).parents[1] / "sweeps").glob("*.yaml"))}
SWEEPS = {name: yaml.safe_load(path.read_text()) for name, path in FILES.items()}
EACH = pytest.mark.parametrize("name", SWEEPS)

START = ["${env}", "${interpreter}", "-m", "fer"]
SETTINGS = ["--config", "${args_json_file}"]
OF_A_RUN = "${envvar:RUN}/config.yaml"
DISTRIBUTIONS = {"uniform", "log_uniform_values", "q_uniform", "q_log_uniform_values", "normal"}


def values_of(parameter: Mapping[str, Any]) -> list[Any]:
    """Return what a parameter lists, or its two ends."""
    if "value" in parameter:
        return [parameter["value"]]
    return parameter["values"] if "values" in parameter else [parameter["min"], parameter["max"]]


def trials(sweep: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield settings in which each value of each parameter stands once, or more often."""
    values = {key: values_of(parameter) for key, parameter in sweep["parameters"].items()}
    for row in range(max(map(len, values.values()))):
        yield {key: of_key[row % len(of_key)] for key, of_key in values.items()}


class Parsed(ExperimentCLI):
    """The command line up to where something would be built."""

    def before_instantiate_classes(self) -> None:
        """Stay with the settings."""

    def instantiate_classes(self) -> None:
        """Build nothing."""


@cache
def parser_of(command: str, network: str, dataset: str) -> Any:
    return Parsed(command, [], network=network, dataset=dataset).parser


@EACH
def test_its_first_line_is_the_question_that_it_answers(name):
    first = FILES[name].read_text().splitlines()[0]
    assert first.startswith("# ")
    assert first.endswith("?")


@EACH
def test_its_name_says_of_what_and_how(name):
    subject, *_, method = name.split("-")
    assert subject in {*TASKS, "prune"}
    assert method == SWEEPS[name]["method"]


@EACH
def test_it_keeps_the_rules(name):
    sweep = SWEEPS[name]
    command, parameters = sweep["command"], sweep["parameters"]
    assert sweep.keys() <= {
        *("program", "command", "project", "method", "metric", "run_cap", "parameters", "early_terminate")
    }
    assert sweep["program"] == "fer"  # not used by the command, but the agent fails without it
    assert sweep["project"] == "fer"
    assert command[:4] == START
    assert command[-2:] == SETTINGS  # where null, booleans and lists keep their types
    assert command[4] in ("fit", "crossval", "prune")
    if command[4] == "fit":
        assert command[command.index("--test") + 1] == "false"  # the test split is not for choosing
    is_pruned = command[4] == "prune" or parameters.get("prune.enabled") == {"value": True}
    assert sweep["metric"] == {
        "name": "prune/acc_after" if is_pruned else "val/acc_best",
        "goal": "maximize",
    }
    if "early_terminate" in sweep:
        assert command[4] == "fit"  # folds have no value before they are all done
        assert sweep["early_terminate"]["type"] == "hyperband"
    if command[4] == "crossval":
        assert not {f"--{key}" for key in parameters} & {*SET_BY_STUDY, "--data.fold", "--data.protocol"}


@EACH
def test_its_end_is_known(name):
    sweep = SWEEPS[name]
    assert sweep["run_cap"] > 0
    if sweep["method"] == "grid":
        assert all("min" not in parameter for parameter in sweep["parameters"].values())
        assert sweep["run_cap"] == prod(
            len(values_of(parameter)) for parameter in sweep["parameters"].values()
        )


@EACH
def test_its_values_are_what_they_look_like(name):
    sweep = SWEEPS[name]
    for key, parameter in sweep["parameters"].items():
        values = values_of(parameter)
        assert "parameters" not in parameter, key  # nested; dotted names are flat
        assert "probabilities" not in parameter or sweep["method"] == "random", key
        assert parameter.get("distribution", "uniform") in DISTRIBUTIONS, key
        if "min" in parameter:
            assert type(parameter["min"]) is type(parameter["max"]), key
            assert parameter["min"] < parameter["max"], key
        for value in values:  # YAML reads 1e-4 as text; 1.0e-4 is a number
            assert not (isinstance(value, str) and value.replace("e-", "").isdigit()), key
        if sweep["method"] == "bayes":  # takes whatever is false in Python for the first value
            assert all(values[1:]), key
        if all(isinstance(value, bool) for value in values):
            assert values == sorted(values), key


@EACH
def test_the_command_line_takes_every_value(name, tmp_path):
    sweep = SWEEPS[name]
    command = sweep["command"][4]
    words = sweep["command"][5:]
    if command == "prune":  # of a run, which here is any
        words = [str(config_path("conv6")) if word == OF_A_RUN else word for word in words]
    settings = tmp_path / "settings.json"
    words = [str(settings) if word == SETTINGS[1] else word for word in words]
    for trial in trials(sweep):
        settings.write_text(json.dumps(trial))
        chosen_words, chosen = choose(words)
        parser = parser_of("fit" if command == "crossval" else command, **chosen)
        config = parser.parse_args(chosen_words)
        for key, value in trial.items():
            parsed = config[key]
            assert (list(parsed) if isinstance(parsed, tuple) else parsed) == value, key
        # These check their settings when they are made, and read nothing.
        DATA_MODULES[chosen["dataset"]](**config.data.as_dict())
        PruneCallback(**config.prune.as_dict())


def test_the_checks_can_fail(tmp_path):
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps({"model.lr": "fast"}))
    words, chosen = choose(["--config", "ann", "--config", str(settings)])
    with pytest.raises(Exception, match=r"model\.lr"):
        parser_of("fit", **chosen).parse_args(words)


def test_every_network_has_a_search_of_ours():
    assert {name for name in TASKS if f"{name}-bayes" not in SWEEPS} == set()
