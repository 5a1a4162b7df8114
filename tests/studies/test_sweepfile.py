"""A sweep's file: its command as W&B's agent expands it, and what is wrong with it, with the line."""

import json
import re
import sys
from pathlib import Path

import pytest

from fer.errors import InputError
from fer.studies.sweepfile import args_json, read_sweep
from fer.studies.trial import fer_command

GOOD = """\
method: random
metric: {name: val/acc_best, goal: maximize}
run_cap: 3
early_terminate: {type: hyperband, min_iter: 2}
command: ["${env}", "${interpreter}", -m, fer, fit, --config, "${args_json_file}"]
parameters:
  model.lr: {distribution: log_uniform_values, min: 1.0e-4, max: 0.1}
  model.optimizer:
    values: [sgd, adamw]
"""


def read(text, **kwargs):
    path = Path("sweep.yaml")
    path.write_text(text)
    return read_sweep(path, **kwargs)


def test_a_file_is_read():
    sweep = read(GOOD)
    assert sweep.method == "random"
    assert [p.name for p in sweep.space.parameters] == ["model.lr", "model.optimizer"]
    assert (sweep.metric.name, sweep.metric.maximize, sweep.run_cap) == ("val/acc_best", True, 3)
    assert sweep.hyperband.bands[:3] == (2, 6, 18)


def test_another_method_can_be_taken():
    assert read(GOOD, method="bayes").method == "bayes"
    with pytest.raises(InputError, match=r"line 7: model.lr: a grid cannot"):
        read(GOOD, method="grid")


POINT = {"lr": 0.1, "n": None, "on": True, "off": False, "net": {"a": [1, "x"], "b": None}, "s": "a b"}
MACROS = (
    *("args", "args_no_hyphens", "args_no_boolean_flags", "args_json", "args_no_equals"),
    *("args_append_hydra", "args_override_hydra"),
)


@pytest.fixture(scope="module")
def wandbs():
    """W&B's own functions, imported here: that takes as long as a tenth of all other imports of the tests."""
    from wandb.sdk.launch.sweeps import utils

    return utils


@pytest.mark.parametrize("macro", MACROS)
def test_a_macro_is_what_wandb_makes_of_it(macro, wandbs):
    sweep = read(GOOD.replace('"${args_json_file}"', f'"${{{macro}}}"'))
    theirs = wandbs.create_sweep_command_args(
        {"args": {name: {"value": value} for name, value in POINT.items()}}
    )
    assert sweep.words(POINT, Path("p.json"))[5:] == ["--config", *theirs[macro]][-len(theirs[macro]) - 1 :]


def test_the_command_is_what_wandb_runs_but_for_the_interpreter(monkeypatch, wandbs):
    monkeypatch.setenv("NAME", "value")
    command = ["${env}", "${interpreter}", "${program}", "--a=${envvar:NAME}/${envvar:NONE}", 3, "${args}"]
    Path("train.py").touch()
    sweep = read(
        "method: grid\nmetric: {name: m}\nprogram: train.py\nparameters: {x: {values: [1]}}\n"
        f"command: {json.dumps(command)}\n"
    )
    words = sweep.words({"x": 1}, Path("p.json"))
    assert words[1] == sys.executable
    expanded = wandbs.create_sweep_command(list(map(str, command)))
    variables = {"${env}": ["/usr/bin/env"], "${interpreter}": [sys.executable], "${program}": ["train.py"]}
    variables["${args}"] = ["--x=1"]
    assert words == [word for each in expanded for word in variables.get(each, [each])]


def test_without_a_command_wandbs_own_is_run():
    Path("train.py").touch()
    sweep = read("method: grid\nmetric: {name: m}\nprogram: train.py\nparameters: {x: {values: [1]}}\n")
    assert sweep.words({"x": 1}, Path("p.json")) == ["/usr/bin/env", sys.executable, "train.py", "--x=1"]


def test_values_arrive_typed_in_the_file():
    assert json.loads(args_json(POINT)) == POINT
    assert read(GOOD).words(POINT, Path("p.json"))[-1] == "p.json"


@pytest.mark.parametrize(
    ("words", "found"),
    [
        pytest.param(
            ["/usr/bin/env", "/x/python", "-m", "fer", "fit", "-c", "a"], ("fit", ["-c", "a"]), id="-m"
        ),
        pytest.param(["fer", "crossval", "--folds", "3"], ("crossval", ["--folds", "3"]), id="the script"),
        pytest.param(["/usr/bin/env", "/x/bin/fer", "fit"], ("fit", []), id="a path"),
        pytest.param(["python", "train.py", "--project", "fer", "fit"], None, id="an argument"),
        pytest.param(["python", "-m", "ferry", "fit"], None, id="another module"),
    ],
)
def test_our_own_command_is_known(words, found):
    assert fer_command(words) == found


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        pytest.param("1.0e-4", "1e-4", "line 7: 1e-4 is text to YAML; write 0.0001", id="1e-4"),
        pytest.param("1.0e-4", "1e-5", "line 7: 1e-5 is text to YAML; write 1.0e-05", id="1e-5"),
        pytest.param("[sgd, adamw]", "[1e3, 2]", "line 9: 1e3 is text", id="among values"),
        pytest.param(
            "values: [sgd, adamw]", "value: [a]\n    b: 1", "line 8: .*takes value, not b", id="extra"
        ),
        pytest.param("max: 0.1", "max: 0", "line 7: .*min 0.0001 is not less than max 0", id="bounds"),
        pytest.param(
            "method: random", "method: randon", "line 1: .*there are grid, random, bayes", id="method"
        ),
        pytest.param("method: random\n", "", "method is missing", id="no method"),
        pytest.param("run_cap: 3", "run_cap: 0", "line 3: run_cap 0: give a whole number", id="run_cap"),
        pytest.param("run_cap", "runcap", "line 3: runcap: unknown; did you mean 'run_cap'", id="key"),
        pytest.param(", goal: maximize", "", "line 2: goal is missing.*minimize", id="goal"),
        pytest.param("maximize", "max", "line 2: goal max: there are minimize, maximize", id="goal's name"),
        pytest.param("metric:", "metrics:", "line 2: metrics: several metrics need", id="metrics"),
        pytest.param("{name: val/acc_best, ", "{", "line 2: metric is missing or has no name", id="no name"),
        pytest.param(
            ", min_iter: 2", "", "line 4: hyperband needs min_iter, or max_iter and s", id="hyperband"
        ),
        pytest.param("min_iter: 2", "min_iter: 0", "line 4: min_iter 0: give", id="min_iter"),
        pytest.param("min_iter: 2", "min_iter: 2, eta: 1", "line 4: eta 1: give a number above 1", id="eta"),
        pytest.param("min_iter: 2", "max_iter: 2, s: 2", "line 4: max_iter 2 is below eta 3", id="no band"),
        pytest.param("hyperband", "median", "line 4: .*there is no other type", id="type"),
        pytest.param(
            "args_json_file", "arg_json_file", "line 5: .*did you mean 'args_json_file'", id="macro"
        ),
        pytest.param("-m, fer, fit", '"${program}"', "line 5: program is missing", id="no program"),
        pytest.param("run_cap: 3", "job: x", "line 3: job: launch needs W&B's server", id="launch"),
        pytest.param("parameters:", "parameters: [", r"line \d+: it cannot be read as YAML", id="YAML"),
        pytest.param("1.0e-4", "2024-13-45", "line 7: 2024-13-45 is a date to YAML", id="no such date"),
        pytest.param("sgd", "2024-11-05", 'line 9: .* is a date to YAML; write "2024-11-05"', id="date"),
        pytest.param("[sgd,", "&all [*all,", "line 9: a list or mapping contains itself", id="cycle"),
        pytest.param("[sgd,", "[" * 60 + "]" * 60 + "\n#", "line 9: nested too deeply", id="deep"),
        pytest.param("[sgd,", "[" * 5000, "nested too deeply", id="deeper"),
        pytest.param("sgd", "9" * 5000, "line 9: 9+… has more than 18 digits", id="huge number"),
        pytest.param("sgd", "!!binary aGk=", "line 9: .*binary is a type that a sweep cannot", id="bytes"),
        pytest.param("sgd", "!mine x", "line 9: !mine is a type that a sweep cannot use", id="own tag"),
        pytest.param("run_cap: 3", "5: 3", "line 3: the key 5 is not text to YAML", id="number as key"),
        pytest.param("run_cap: 3", "[a]: 3", "line 3: the key a list or mapping is not text", id="list key"),
        pytest.param("run_cap: 3", "method: grid", "line 3: method occurs twice", id="key twice"),
        pytest.param("run_cap: 3", "program: 5", "line 3: program 5: give text", id="program"),
        pytest.param("run_cap: 3", "project: [a]", "line 3: project .*: give text", id="project"),
        pytest.param("-m, fer, fit", "{a: b}", "line 5: command .*: give a list of words", id="command"),
        pytest.param(", goal", ", target: .nan, goal", "line 2: target nan is not a number", id="target"),
        pytest.param("min_iter: 2", "min_iter: 2000000", "line 4: min_iter .*longer than any", id="long"),
        pytest.param("method: random", "method: grid", "line 7: .*grid cannot enumerate", id="endless grid"),
    ],
)
@pytest.mark.slow
def test_what_is_wrong_is_said_with_its_line(old, new, words):
    assert old in GOOD
    with pytest.raises(InputError, match=re.compile(rf"^sweep\.yaml.*{words}", re.DOTALL)):
        read(GOOD.replace(old, new))


def test_text_that_looks_like_a_number_can_be_meant():
    assert read(GOOD.replace("sgd", '"1e-5"')).space.parameters[1].values == ("1e-5", "adamw")


def test_a_program_must_be_there():
    text = GOOD.replace("-m, fer, fit", '"${program}"') + "program: none.py\n"
    with pytest.raises(InputError, match=r"line 10: program none.py: no such file"):
        read(text)


def test_a_binary_file_is_refused_in_one_line():
    Path("sweep.yaml").write_bytes(bytes(range(256)))
    with pytest.raises(InputError, match=r"^sweep\.yaml: it cannot be read as YAML") as caught:
        read_sweep(Path("sweep.yaml"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "- a\n", "3\n", "{}\n", "# nothing\n"])
def test_a_file_without_a_sweep_is_refused(text):
    with pytest.raises(InputError, match=r"it holds no sweep"):
        read(text)


def test_a_missing_file_is_said():
    with pytest.raises(InputError, match=r"none\.yaml: it cannot be read \(No such file"):
        read_sweep(Path("none.yaml"))
