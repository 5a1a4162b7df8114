"""Plans, sweeps and configs that are mostly valid."""

import json
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import yaml
from hypothesis import given
from hypothesis import strategies as st
from mutations import altered, mutated

from fer.commands.choices import read_config
from fer.commands.parsing import parse_config
from fer.errors import InputError
from fer.neurons import PrunePlan
from fer.studies.sweepfile import read_sweep
from fer.yamltext import parse_yaml

PLAN = {
    "num_neurons": 6,
    "removals": [
        {"neuron": 1, "reason": "dead", "into": None, "degrees": None, "cost": None},
        {"neuron": 2, "reason": "similar", "into": 0, "degrees": 3.5, "cost": None},
        {"neuron": 3, "reason": "span", "into": None, "degrees": 1, "cost": 0.25},
    ],
}


@given(
    altered(PLAN).map(lambda plan: json.dumps(plan))
    | mutated(json.dumps(PLAN).encode()).map(lambda content: content.decode(errors="replace"))
    | st.text(alphabet='{}[]":,0123456789.eE-+ "numrvals\\u', max_size=80)
)
def test_a_plan_that_is_read_can_be_written_and_read_again(text: str) -> None:
    with suppress(InputError):
        plan = PrunePlan.from_json(text)
        assert PrunePlan.from_json(plan.to_json()) == plan
        assert len(plan.kept) == plan.num_neurons - len(plan.removals)


SWEEP = {
    "program": "fer",
    "method": "random",
    "name": "sweep",
    "project": "fer",
    "run_cap": 5,
    "metric": {"name": "val/acc_best", "goal": "maximize", "target": 0.9, "impute": "worst"},
    "parameters": {
        "model.lr": {"distribution": "log_uniform_values", "min": 1.0e-4, "max": 0.1},
        "model.hidden": {"values": [10, 20], "probabilities": [0.25, 0.75]},
        "data.batch_size": {"distribution": "q_uniform", "min": 8, "max": 64, "q": 8},
        "seed_everything": {"value": 3},
        "model.dropout": {"distribution": "normal", "mu": 0.3, "sigma": 0.1},
        "model": {"parameters": {"weight_decay": {"min": 0.0, "max": 0.1}}},
    },
    "early_terminate": {"type": "hyperband", "min_iter": 3, "eta": 2, "strict": False},
    "command": ["${env}", "${interpreter}", "-m", "fer", "fit", "${args}", "${envvar:HOME}"],
}


def in_file(name: str, content: bytes, read) -> None:
    folder = Path(tempfile.mkdtemp(dir=Path.cwd()))
    try:
        (folder / name).write_bytes(content)
        with suppress(InputError):
            read(folder / name)
    finally:
        shutil.rmtree(folder)


def as_yaml(content: object) -> bytes:
    return yaml.safe_dump(content, allow_unicode=True).encode(errors="replace")


def try_sweep(path: Path) -> None:
    sweep = read_sweep(path, to_run=False)
    point = {parameter.name: 1 for parameter in sweep.space.searched}
    assert all(isinstance(word, str) for word in sweep.words(point, path))


@given(altered(SWEEP).map(as_yaml) | mutated(as_yaml(SWEEP)))
def test_sweeps(content: bytes) -> None:
    in_file("sweep.yaml", content, try_sweep)


CONFIG = {
    "seed_everything": 0,
    "network": "ann",
    "dataset": "sfew_features",
    "model": {"lr": 0.1, "hidden": 10},
    "trainer": {"max_epochs": 2, "callbacks": None},
    "prune": {"enabled": True},
}


@given(altered(CONFIG).map(as_yaml) | mutated(as_yaml(CONFIG)))
def test_configs(content: bytes) -> None:
    in_file("config.yaml", content, read_config)
    in_file("config.yaml", content, lambda path: parse_config(str(path)))


pieces = st.sampled_from(
    [
        *"abcxyz012-:,[]{}&*!|>'\"#?%@`\n ",
        *("- ", ": ", "  ", "&a ", "*a", "<<: ", "~", "!!int ", "!!bool ", "!!set ", "!!omap ", "!!binary "),
        *("!!timestamp ", "!!python/name:os.system ", "2024-01-01", "1:30", "0x1f", "1e5", ".nan"),
    ]
)


@given(st.lists(pieces, max_size=30).map("".join))
def test_yaml_is_plain_data_or_a_line(text: str) -> None:
    problem = ""
    try:
        parse_yaml(text)
    except ValueError as e:
        problem = str(e)
    assert "\n" not in problem
