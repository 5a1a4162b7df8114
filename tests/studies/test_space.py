"""W&B's laws of chance, one by one, against SciPy's distributions and against W&B's own package."""

import numpy as np
import pytest
import yaml
from scipy import stats

from fer.studies.space import KEYS, SettingError, read_space

U = np.linspace(0.001, 0.999, 101)
LOG = np.log

# By law: an entry of a file, and SciPy's distribution of what is drawn (before it is rounded to q).
LAWS = {
    "int_uniform": ({"min": 3, "max": 11}, stats.randint(3, 12)),
    "uniform": ({"min": -0.5, "max": 2.0}, stats.uniform(-0.5, 2.5)),
    "q_uniform": ({"min": 1, "max": 10, "q": 4}, stats.uniform(1, 9)),
    "log_uniform": ({"min": -7, "max": 2}, stats.loguniform(np.exp(-7), np.exp(2))),
    "log_uniform_values": ({"min": 1.0e-5, "max": 0.1}, stats.loguniform(1e-5, 0.1)),
    "q_log_uniform": ({"min": 1.0, "max": 6.0, "q": 8}, stats.loguniform(np.exp(1), np.exp(6))),
    "q_log_uniform_values": ({"min": 8, "max": 512, "q": 8}, stats.loguniform(8, 512)),
    "inv_log_uniform": ({"min": -3.0, "max": 1.0}, stats.loguniform(np.exp(-1), np.exp(3))),
    "inv_log_uniform_values": ({"min": 0.01, "max": 10.0}, stats.loguniform(0.01, 10)),
    "normal": ({"mu": 2.0, "sigma": 0.5}, stats.norm(2, 0.5)),
    "q_normal": ({"mu": 100, "sigma": 30.0, "q": 5}, stats.norm(100, 30)),
    "log_normal": ({"mu": -1.0, "sigma": 0.7}, stats.lognorm(s=0.7, scale=np.exp(-1))),
    "q_log_normal": ({"mu": 3.0, "sigma": 0.5, "q": 0.5}, stats.lognorm(s=0.5, scale=np.exp(3))),
    "beta": ({"a": 2.0, "b": 5.0}, stats.beta(2, 5)),
    "q_beta": ({"a": 2.0, "b": 0.5, "q": 0.05}, stats.beta(2, 0.5)),
}


def parameter(entry):
    return read_space({"a": entry}).parameters[0]


def test_every_law_of_the_schema_is_in_the_table():
    assert LAWS.keys() | {"constant", "categorical", "categorical_w_probabilities"} == KEYS.keys()


@pytest.mark.parametrize("name", LAWS)
def test_a_law_is_the_inverse_of_its_distribution_function(name):
    numbers, oracle = LAWS[name]
    law = parameter({"distribution": name, **numbers})
    drawn = [law.value(u) for u in U]
    expected = oracle.ppf(U)
    if "q" in numbers:
        expected = np.round(expected / numbers["q"]) * numbers["q"]
    assert drawn == pytest.approx(expected.tolist(), rel=1e-9, abs=1e-12)
    is_whole = name == "int_uniform" or isinstance(numbers.get("q"), int)
    assert {type(value) for value in drawn} == {int if is_whole else float}


@pytest.mark.parametrize("name", LAWS)
def test_draws_of_a_law_are_distributed_by_it(name):
    numbers, oracle = LAWS[name]
    law = parameter({"distribution": name, **numbers})
    drawn = np.array([law.value(u) for u in np.random.default_rng(0).random(4000)])
    step = numbers.get("q", 0)
    # Of a rounded law, as many are at or below a step as fall below the middle to the next one.
    at = np.unique(drawn) if step or name == "int_uniform" else oracle.ppf([0.1, 0.3, 0.5, 0.7, 0.9])
    below = np.array([(drawn <= place + 1e-9).mean() for place in at])
    assert below == pytest.approx(oracle.cdf(at + step / 2), abs=0.03)


@pytest.mark.parametrize("u", [0.0, 1.0])
@pytest.mark.parametrize("name", LAWS)
def test_a_law_is_finite_at_the_ends(name, u):
    assert np.isfinite(parameter({"distribution": name, **LAWS[name][0]}).value(u))


def test_values_have_equal_odds():
    law = parameter({"values": [None, False, "x", [1, 2]]})
    assert [law.value(u) for u in (0.0, 0.2, 0.3, 0.6, 0.8, 1.0)] == [None, None, False, "x", [1, 2], [1, 2]]


def test_values_have_the_odds_that_are_given():
    law = parameter({"values": ["a", "b", "c"], "probabilities": [0.2, 0.0, 0.8]})
    assert [law.value(u) for u in (0.0, 0.19, 0.2, 0.9, 1.0)] == ["a", "a", "c", "c", "c"]


@pytest.mark.parametrize(
    ("entry", "distribution"),
    [
        pytest.param({"value": 3}, "constant", id="value"),
        pytest.param({"value": None}, "constant", id="null is a value"),
        pytest.param({"values": [1, 2]}, "categorical", id="values"),
        pytest.param({"min": 1, "max": 5}, "int_uniform", id="whole ends"),
        pytest.param({"min": 1.0, "max": 5.0}, "uniform", id="ends with a point"),
        pytest.param({"distribution": "uniform", "min": 1, "max": 5.5}, "uniform", id="said"),
        pytest.param({"distribution": "normal"}, "normal", id="all numbers have defaults"),
    ],
)
def test_a_law_that_is_not_said_follows_from_what_is_given(entry, distribution):
    assert parameter(entry).distribution == distribution


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        pytest.param(
            {"min": "1e-5", "max": 0.1}, "a: min: min 1e-5 is text to YAML; write 1.0e-05", id="text"
        ),
        pytest.param({"min": 1, "max": 2.5}, "one is whole, the other is not", id="ambiguous"),
        pytest.param({"min": 3, "max": 3}, "min 3 is not less than max 3", id="no room"),
        pytest.param({"min": True, "max": 3}, "min True is not a number", id="a boolean"),
        pytest.param(
            {"distribution": "log_uniform_values", "min": 0, "max": 3}, "needs a min above 0", id="log of 0"
        ),
        pytest.param(
            {"distribution": "log_uniform", "min": 0, "max": 1000}, "an exponent of e", id="exponents"
        ),
        pytest.param(
            {"distribution": "unifrom", "min": 0, "max": 3}, "did you mean 'uniform'", id="spelling"
        ),
        pytest.param({"distribution": "uniform", "min": 0.0}, "uniform needs max", id="one end"),
        pytest.param({"min": 0, "max": 3, "q": 2}, "int_uniform takes max, min, not q", id="q of no q law"),
        pytest.param({"distribution": "q_normal", "q": 0}, "q 0 is not above 0", id="no step"),
        pytest.param({"distribution": "normal", "sigma": -1}, "sigma -1 is below 0", id="sigma"),
        pytest.param({"distribution": "int_uniform", "min": 0.5, "max": 3}, "whole numbers", id="half"),
        pytest.param({"values": []}, "a list of at least one", id="no values"),
        pytest.param({"values": [1, 2], "probabilities": [1.0]}, "a list of 2", id="one probability"),
        pytest.param({"values": [1, 2], "probabilities": [0.5, 0.6]}, "a sum of 1", id="sum"),
        pytest.param({"mu": 1.0}, "give value, values", id="no law"),
        pytest.param({"value": 3, "parameters": {}}, "cannot be given together with parameters", id="both"),
        pytest.param({"parameters": {}}, "no parameters", id="empty"),
        pytest.param(3, r"for a constant, write {value: 3}", id="bare value"),
    ],
)
def test_what_is_no_parameter_is_refused(entry, words):
    with pytest.raises(SettingError, match=words) as caught:
        read_space({"a": entry})
    assert caught.value.path[0] == "a"


def test_a_name_can_stand_once():
    with pytest.raises(SettingError, match=r"occurs twice"):
        read_space({"a.b": {"value": 1}, "a": {"parameters": {"b": {"value": 2}}}})


NESTED = {
    "model": {
        "parameters": {"opt": {"parameters": {"lr": {"min": 0.0, "max": 1.0}}}, "depth": {"values": [1, 2]}}
    },
    "data.size": {"value": 48},
    "b": {"values": ["x", "y", "z"]},
}


def test_nested_parameters_are_nested_in_the_point_and_dotted_in_its_names():
    space = read_space(NESTED)
    point = space.point([0.5, 0.9, 0.25])  # by name: b, data.size, model.depth, model.opt.lr
    assert point == {"b": "y", "data.size": 48, "model": {"depth": 2, "opt": {"lr": 0.25}}}
    assert space.flat(point) == {"b": "y", "data.size": 48, "model.depth": 2, "model.opt.lr": 0.25}


def test_a_grid_has_each_point_once():
    space = read_space(
        {
            "a": {"values": [1, None]},
            "b": {"min": 2, "max": 4},
            "c": {"distribution": "q_uniform", "min": 0.0, "max": 1.0, "q": 0.5},
            "d": {"value": "x"},
        }
    )
    points = list(space.grid())
    assert len(points) == space.num_points() == 2 * 3 * 2
    assert points[:3] == [{"a": 1, "b": 2, "c": c, "d": "x"} for c in (0.0, 0.5)] + [
        {"a": 1, "b": 3, "c": 0.0, "d": "x"}
    ]
    assert points[-1] == {"a": None, "b": 4, "c": 0.5, "d": "x"}


def test_a_grid_over_what_has_no_end_is_refused():
    with pytest.raises(SettingError, match=r"a grid cannot enumerate uniform"):
        read_space({"a": {"min": 0.0, "max": 1.0}}).num_points()


# Against W&B's own: pip install --no-deps sweeps jsonschema jsonref (it wants numpy below 2).


@pytest.fixture(scope="module")
def theirs():
    return pytest.importorskip("sweeps.params", reason="W&B's sweeps is not installed", exc_type=ImportError)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "entry",
    [
        *({"distribution": name, **numbers} for name, (numbers, _) in LAWS.items()),
        *({"distribution": name} for name in ("normal", "q_normal", "log_normal", "beta", "q_beta")),
        {"min": 2, "max": 9},
        {"min": 2.0, "max": 9.0},
        {"values": [None, False, 3, "x"]},
        {"values": [1, 2, 3], "probabilities": [0.5, 0.2, 0.3]},
        {"value": {"a": 1}},
    ],
    ids=str,
)
def test_values_are_those_of_wandb(entry, theirs):
    ours, other = parameter(entry), theirs.HyperParameter("a", entry)
    for u in U:
        expected = other.ppf(float(u))
        if isinstance(expected, float | int | np.number):
            expected = pytest.approx(float(expected), rel=1e-9, abs=1e-12)
        assert ours.value(float(u)) == expected


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*class-based `config`")
@pytest.mark.parametrize(
    "parameters",
    [
        {"b": {"values": [True, False]}, "a": {"min": 1, "max": 3}, "c": {"value": 0.1}},
        {"q": {"distribution": "q_uniform", "min": 0.0, "max": 1.0, "q": 0.25}},
        {
            "m": {"parameters": {"z": {"values": [1, 2]}, "y": {"values": ["s", None]}}},
            "a": {"values": [3, 4]},
        },
    ],
    ids=str,
)
def test_a_grid_is_that_of_wandb_in_its_order(parameters):
    run = pytest.importorskip("sweeps.run", reason="W&B's sweeps is not installed", exc_type=ImportError)
    config = {"method": "grid", "parameters": parameters}
    runs = []
    while (after := run.next_run(yaml.safe_load(yaml.safe_dump(config)), runs)) is not None:
        after.state = "finished"
        runs.append(after)
    expected = [{name: each["value"] for name, each in each_run.config.items()} for each_run in runs]
    assert list(read_space(parameters).grid()) == expected
