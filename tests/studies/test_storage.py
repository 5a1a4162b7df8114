"""Where a sweep's trials are kept: in a database, by several machines, and what is said if that fails."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import optuna
import pytest

import fer.studies.trials
from fer.errors import InputError
from fer.studies.space import read_space
from fer.studies.storage import without_password
from fer.studies.trials import MOST_VALUES, Trial, Trials, read_trials, write_trials

SPACE = read_space({"x": {"values": [1, 2, 3]}})
SERVER = """\
import sys
from optuna.storages import RDBStorage, run_grpc_proxy_server
run_grpc_proxy_server(RDBStorage(sys.argv[1]), host="localhost", port=int(sys.argv[2]))
"""


@pytest.fixture(params=["sqlite", "grpc"])
def url(request, tmp_path):
    """The URL of an empty database, directly and by Optuna's proxy."""
    database = f"sqlite:///{tmp_path}/trials.db"
    if request.param == "sqlite":
        yield database
        return
    pytest.importorskip("grpc")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    with subprocess.Popen([sys.executable, "-W", "ignore", "-c", SERVER, database, str(port)]) as server:
        yield f"grpc://localhost:{port}"
        server.terminate()


def machine(url, name):
    """The trials of one sweep, as a machine sees them that shares no disk with others."""
    folder = Path(name, "study")
    folder.mkdir(parents=True)
    return Trials(url, folder, SPACE, maximize=True)


def claim(trials):
    def choose(known, number):
        return Trial(number, number, {"x": number}, [], command=["run"])

    return trials.claim(choose, lambda trial: {"run": f"elsewhere:{trial.name}"})


def test_the_journal_of_a_trial_that_logs_without_end_is_bounded(tmp_path):
    trials = Trials(None, tmp_path, SPACE, maximize=True)
    with trials.running():
        trial = claim(trials)
        for num in (100, 1_000, 20_000):
            trial.values = [number / 7 for number in range(num)]
            trials.report(trial)
        trial.state = "finished"
        trials.end(trial)
    assert (tmp_path / "optuna.log").stat().st_size < 50_000
    (known,) = read_trials(tmp_path)
    assert known.values == [number / 7 for number in range(MOST_VALUES)]


@pytest.mark.slow
def test_machines_share_trials_and_one_that_is_lost_is_noticed(url, monkeypatch):
    here, there = machine(url, "here"), machine(url, "there")
    with here.running(), there.running():
        first, second = claim(here), claim(there)
        assert (first.number, second.number) == (1, 2)
        first.values = [0.5, float("nan")]
        here.report(first)
        (seen, _) = there.read()
        assert (seen.state, seen.values[0], len(seen.values)) == ("running", 0.5, 2)
        second.state, second.value, second.values = "stopped", 0.25, [0.25, 0.125]
        there.end(second)
        assert here.read()[1] == second

        assert there.give_up_lost(lambda trial: None) == []
        monkeypatch.setattr(fer.studies.trials, "LOST", 0.0)
        monkeypatch.setattr(fer.studies.trials, "BEAT", 0.0)
        here.report(first)  # a sign of life
        assert there.give_up_lost(lambda trial: None) == []
        (lost,) = there.give_up_lost(lambda trial: None)
        assert (lost.number, lost.state) == (1, "cut off")
        first.state, first.value = "finished", 0.5
        here.end(first)  # too late
        assert here.read()[0].state == "cut off"
        assert claim(there).number == 3


def test_a_copy_in_the_folder_is_read_without_the_database(tmp_path):
    trials = [
        Trial(1, 1, {"x": 1}, [0.5], ["a"], "finished", 0.5, [0.25, 0.5], seconds=2.0),
        Trial(3, 2, {"x": 2}, [0.5], ["b"], "failed", None, [0.25], "exit status 1", agent=1),
        Trial(4, 3, {"x": 3}, [0.5], ["c"], values=[]),
    ]
    write_trials(tmp_path, trials, SPACE, maximize=True)
    assert read_trials(tmp_path) == trials


@pytest.mark.parametrize(
    ("url", "words"),
    [
        pytest.param("sqlite:////none/x.db", "unable to open database file", id="no folder"),
        pytest.param("nonsense", "--storage nonsense: not a URL; give sqlite:", id="no URL"),
        pytest.param("foo://host", "dialects:foo", id="unknown database"),
        pytest.param("grpc://localhost:1", "--storage grpc://localhost:1", id="no server"),
        pytest.param("postgresql+none://me:secret@host/x", "postgresql.none://me@host/x", id="no driver"),
    ],
)
def test_a_storage_that_cannot_be_used_is_one_line_without_its_password(url, words, tmp_path, monkeypatch):
    monkeypatch.setattr(fer.studies.storage, "PATIENCE", 0.5)
    with pytest.raises(InputError, match=words) as caught:
        Trials(url, tmp_path, SPACE, maximize=True)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_password_is_not_shown():
    assert without_password("mysql://a:b@c/d") == "mysql://a@c/d"


@pytest.mark.parametrize(
    ("parameter", "value", "shown"),
    [
        ({"values": [1, [2, 3]]}, [2, 3], "[2, 3]"),
        ({"min": 0.0, "max": 1.0}, 0.5, 0.5),
        ({"min": 1, "max": 9}, 3, 3),
        ({"distribution": "normal", "mu": 0.0, "sigma": 1.0}, -0.5, -0.5),
        ({"distribution": "log_uniform_values", "min": 1e-5, "max": 1.0}, 1e-3, 1e-3),
        ({"distribution": "q_log_uniform_values", "min": 1, "max": 100, "q": 8}, 0, 0),
        ({"distribution": "q_beta", "a": 2, "b": 2, "q": 0.25}, 0.75, 0.75),
    ],
)
def test_optuna_has_each_parameter_with_a_distribution_that_holds_it(tmp_path, parameter, value, shown):
    space = read_space({"a": {"parameters": {"b": parameter}}})
    trial = Trial(1, 1, {"a": {"b": value}}, [], state="finished", value=1.0)
    write_trials(tmp_path, [trial], space, maximize=True)
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(tmp_path / "optuna.log"))
    )
    (found,) = optuna.load_study(study_name=tmp_path.name, storage=storage).trials
    assert found.params == {"a.b": shown}
    assert json.loads(json.dumps(found.user_attrs["point"])) == {"a": {"b": value}}
