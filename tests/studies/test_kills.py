"""Sweeps and cross-validations that are killed at random moments end as if they had not been."""

import sys

import pytest
from bench.reliability_sweep import kill_crossval, kill_sweep

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a trial with its sweep"),
]


def test_a_sweep_runs_each_point_once_however_often_it_is_killed(tmp_path):
    assert kill_sweep(tmp_path, 0) == []


def test_so_does_one_in_a_database(tmp_path):
    assert kill_sweep(tmp_path, 2, f"sqlite:///{tmp_path}/trials.db", kills=2) == []


def test_a_cross_validation_has_the_same_results_and_runs_no_finished_fold_again(tmp_path):
    assert kill_crossval(tmp_path, 0, kills=1) == []
