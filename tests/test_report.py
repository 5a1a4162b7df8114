"""The command ``fer report``."""

import pytest
from command import call, done, done_on_few


@pytest.mark.slow
def test_a_run_is_reported(tmp_path):
    small = ["--data.num_train", "70", "--data.num_val", "14", "--data.num_test", "14"]
    done_on_few("fit", "--config", "demo", "--run_name", "small", "--trainer.max_epochs", "1", *small)
    out = done("report", "runs/latest")  # later runs will move this link
    assert "runs/small/report.html" in out
    page = (tmp_path / "runs" / "small" / "report.html").read_text()
    assert "fer fit --config demo --trainer.max_epochs 1 --data.num_train 70" in page
    assert "--config runs/small/config.yaml" in page


def test_a_folder_that_holds_nothing_is_an_error_of_one_line(tmp_path):
    called = call("report", tmp_path)
    assert called.status == 2
    assert called.err.startswith(f"fer report: error: {tmp_path} holds no run")
    assert called.err.count("\n") == 1
