"""Folds and seeds: their summary, and how a study continues after an interruption."""

import json

import numpy as np
import pytest
import torch

from fer.callbacks.calibration import calibration_numbers
from fer.errors import InputError
from fer.metrics import wilson_interval
from fer.metrics.calibration import calibration, pooled_calibration
from fer.studies.members import CROSSVAL, REPEAT, read_members, run_members, summarise


def _results(*rights, n=10, predicted=3):
    """A fold in which ``right`` of ``n`` images of happy are found, the rest taken for another class."""
    folds = []
    for right in rights:
        confusion = np.zeros((7, 7), int)
        confusion[predicted, predicted], confusion[predicted, 4] = right, n - right
        folds.append({"splits": {name: {"confusion": confusion.tolist()} for name in ("val", "test")}})
    return folds


def test_mean_spread_and_pool():
    flat = summarise(_results(4, 6, 8)).scalars()
    assert flat["test/acc"] == pytest.approx(0.6)
    assert flat["test/acc_std"] == pytest.approx(0.2)
    assert flat["test/pooled_acc"] == pytest.approx(18 / 30)
    assert flat["test/pooled_acc_low"] < 0.6 < flat["test/pooled_acc_high"]


def test_folds_of_different_size_weigh_the_same_in_the_mean_and_by_their_size_in_the_pool():
    flat = summarise([*_results(10, n=10), *_results(0, n=30)]).scalars()
    assert flat["test/acc"] == pytest.approx(0.5)
    assert flat["test/pooled_acc"] == pytest.approx(0.25)
    assert "val/pooled_acc" not in flat  # folds may share val samples
    assert flat["val/acc_best"] == flat["val/acc"]


def test_a_figure_that_a_fold_does_not_have_is_left_out_of_the_mean_and_counted():
    flat = summarise(_results(10, 5, 5)).scalars()
    # neutral is never predicted in the first fold, and wrongly in the others
    assert flat["test/precision/neutral"] == 0
    assert flat["test/precision/neutral_undefined"] == 1
    assert np.isnan(flat["test/precision/angry"])
    assert flat["test/precision/angry_undefined"] == 3
    assert "test/precision/happy_undefined" not in flat


def test_classes_have_the_names_of_the_results_however_many_they_are():
    splits = {name: {"confusion": [[3, 1], [2, 4]]} for name in ("val", "test")}
    folds = [{"class_names": ["cat", "dog"], "splits": splits}] * 2
    summary = summarise(folds)
    assert summary.pooled.class_names == ("cat", "dog")
    assert summary.scalars()["test/recall/cat"] == 0.75
    with pytest.raises(InputError, match=r"fold 1 of 2 .*its classes are not those of the first fold"):
        summarise([folds[0], {"class_names": ["dog", "cat"], "splits": splits}])


def test_one_fold_has_no_spread():
    assert np.isnan(summarise(_results(4)).scalars()["test/acc_std"])


def test_the_table_names_every_fold():
    table = summarise(_results(4, 6)).table().splitlines()
    assert [line.split()[0] for line in table] == ["fold", "0", "1", "mean", "std", "pooled:"]
    assert "40.00 %" in table[1]
    assert "50.00 %" in table[3]


def _run(folder, *, cut_off_at=None, words=("--a",), folds=3):
    ran = []

    def run_fold(fold, run_dir):
        run_dir.mkdir(parents=True, exist_ok=True)
        (run_dir / "log").touch()
        ran.append(fold)
        if fold != cut_off_at:
            (run_dir / "results.json").write_text(json.dumps({"fold": fold}))

    return ran, lambda: run_members(CROSSVAL, folder, folds, {"words": words}, run_fold)


def test_every_fold_is_run_once(tmp_path):
    ran, start = _run(tmp_path / "study")
    assert start() == [{"fold": 0}, {"fold": 1}, {"fold": 2}]
    assert ran == [0, 1, 2]


def test_a_study_that_was_cut_off_goes_on_with_the_fold_that_was(tmp_path):
    _, start = _run(tmp_path / "study", cut_off_at=1)
    with pytest.raises(InputError, match="study to continue from this fold"):
        start()
    ran, start = _run(tmp_path / "study")
    assert len(start()) == 3
    assert ran == [1, 2]


def test_a_fold_that_was_cut_off_finds_its_files(tmp_path):
    _, start = _run(tmp_path / "study", cut_off_at=1)
    with pytest.raises(InputError, match="study to continue from this fold"):
        start()
    held = {}

    def run_fold(fold, run_dir):
        held[fold] = [path.name for path in run_dir.glob("*")]
        run_dir.mkdir(exist_ok=True)
        (run_dir / "results.json").write_text(json.dumps({"fold": fold}))

    assert len(run_members(CROSSVAL, tmp_path / "study", 3, {"words": ("--a",)}, run_fold)) == 3
    assert held == {1: ["log"], 2: []}


def test_a_study_goes_on_with_its_own_settings_only(tmp_path):
    _, start = _run(tmp_path / "study")
    start()
    for change in ({"words": ["--b"]}, {"folds": 4}):
        _, start = _run(tmp_path / "study", **change)
        with pytest.raises(InputError, match=r"were run with another value of (words|folds)"):
            start()


def test_settings_can_be_mended_as_long_as_no_fold_is_done(tmp_path):
    _, start = _run(tmp_path / "study", cut_off_at=0, words=["--wrong"])
    with pytest.raises(InputError, match="to continue from this fold"):
        start()
    _, start = _run(tmp_path / "study", words=["--right"])
    assert len(start()) == 3
    assert (tmp_path / "study" / "fold-0-1.cut-off" / "log").is_file()  # nothing is lost


def test_a_folder_with_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.doc").touch()
    _, start = _run(tmp_path)
    with pytest.raises(InputError, match="is not the folder of a cross-validation"):
        start()


def test_a_second_study_of_one_name_is_refused_until_the_first_one_ends(tmp_path):
    _, second = _run(tmp_path / "study")
    refused = []

    def run_fold(fold, run_dir):
        with pytest.raises(InputError, match="study: another process is running its folds; wait") as caught:
            second()
        refused.append(caught.value)
        run_dir.mkdir()
        (run_dir / "results.json").write_text(json.dumps({"fold": fold}))

    before = run_members(CROSSVAL, tmp_path / "study", 3, {"words": ("--a",)}, run_fold)
    assert len(refused) == 3
    assert second() == before


def test_a_study_that_failed_can_be_started_again_at_once(tmp_path):
    def fail(fold, run_dir):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_members(CROSSVAL, tmp_path / "study", 3, {"words": ("--a",)}, fail)
    _, start = _run(tmp_path / "study")
    assert len(start()) == 3


def test_the_folds_of_a_folder_are_read_in_order(tmp_path):
    _, start = _run(tmp_path / "study", folds=11)
    start()
    assert [fold["fold"] for fold in read_members(tmp_path / "study")] == list(range(11))


def test_a_folder_without_all_folds_is_not_read(tmp_path):
    with pytest.raises(InputError, match="is not the folder of a cross-validation"):
        read_members(tmp_path)
    _, start = _run(tmp_path / "study", cut_off_at=1)
    with pytest.raises(InputError):
        start()
    with pytest.raises(InputError, match=r"fold-1 has no results"):
        read_members(tmp_path / "study")


def test_seeds_have_the_same_samples_which_intervals_count_once():
    results = _results(50, 60, 70, n=100)
    seeds = summarise(results, REPEAT, [3, 7, 9])
    flat = seeds.scalars()
    assert flat["test/pooled_acc"] == pytest.approx(0.6)
    assert (flat["test/pooled_acc_low"], flat["test/pooled_acc_high"]) == wilson_interval(60, 100)
    # Student's t with 2 degrees of freedom: 4.303 * 0.1 / sqrt(3).
    assert flat["test/acc_mean_low"] == pytest.approx(0.6 - 0.2484, abs=1e-3)
    assert flat["test/acc_mean_high"] == pytest.approx(0.6 + 0.2484, abs=1e-3)
    wide = summarise(_results(10, 90, n=100), REPEAT, [0, 1]).scalars()
    assert (wide["test/acc_mean_low"], wide["test/acc_mean_high"]) == (0, 1)
    assert "test/acc_mean_low" not in summarise(results).scalars()  # folds are not independent
    table = seeds.table().splitlines()
    assert [line.split()[0] for line in table] == ["seed", "3", "7", "9", "mean", "std", "95", "95"]


def test_other_test_splits_and_views_are_summarised_as_well():
    results = _results(4, 6)
    for member, right in zip(results, (5, 9), strict=True):
        splits = member["splits"]
        splits["clean"] = splits["test"]
        splits["test"] = {**splits["test"], "tta": {"flip": {"acc": right / 10}}}
    summary = summarise(results, REPEAT, [0, 1])
    flat = summary.scalars()
    assert (flat["clean/acc"], flat["test/acc_tta_flip"]) == pytest.approx((0.5, 0.7))
    assert " ".join(summary.table().splitlines()[0].split()) == "seed val acc test acc clean test flip n test"
    del results[1]["splits"]["test"]["tta"]
    assert "test/acc_tta_flip" not in summarise(results, REPEAT, [0, 1]).scalars()


def test_reliabilities_are_added_up_bin_by_bin():
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 30, 1, 7), torch.arange(30) % 7
    both = [calibration(each, labels, temperature=2.0) for each in logits]
    plain = [calibration_numbers({"none": each})["calibration"] for each in both]
    whole = calibration(logits.flatten(0, 1), labels.repeat(2), temperature=2.0)
    pooled = pooled_calibration(plain)
    for name in ("before", "after"):
        assert getattr(pooled, name).ece == pytest.approx(getattr(whole, name).ece)
    assert pooled.nll_after == pytest.approx(whole.nll_after)
    assert (pooled.n, pooled.num_right) == (whole.n, whole.num_right)
