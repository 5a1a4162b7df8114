"""The command ``fer compare`` on trained runs."""

import csv
from pathlib import Path

import pytest
from command import call, done

TINY = [
    *("--network", "conv1", "--dataset", "synthetic", "--data.num_train", "70", "--data.num_val", "35"),
    *("--data.num_test", "35", "--data.batch_size", "16", "--data.image_size", "12"),
    *("--model.widths", "[4]", "--wandb.mode", "disabled"),
    *("--trainer.max_epochs", "1", "--trainer.accelerator", "cpu", "--gradients.every_n_epochs", "0"),
    *("--distinctiveness.every_n_epochs", "0", "--stages.enabled", "false"),
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory, sandboxed):
    folder = tmp_path_factory.mktemp("compared")
    with sandboxed(folder):
        for seed in ("0", "1"):
            call("fit", *TINY, "--run_name", f"seed-{seed}", "--seed_everything", seed)
    return folder / "runs"


@pytest.mark.slow
def test_two_trained_runs(runs, tmp_path):
    out = done("compare", runs / "seed-0", runs / "seed-1", "--out", tmp_path / "out")
    assert "seed_everything" in out
    assert "wrong only here" in out
    with (tmp_path / "out" / "comparison.csv").open() as file:
        values = {row["name"]: row["seed-1"] for row in csv.DictReader(file)}
    assert values["mcnemar/test/n"] == "35"
    assert int(values["macs"]) > 0
    assert float(values["latency_ms/1"]) > 0
    classes = ("dead", "constant", "non_finite", "similar", "complementary", "distinct")
    counts = [int(values[f"neurons/all/{name}"]) for name in classes]
    assert sum(counts) == int(values["neurons/all/neurons"]) > 0


@pytest.mark.slow
def test_a_run_without_its_data_is_compared_by_what_is_left(runs, tmp_path):
    import shutil

    other = Path(shutil.copytree(runs / "seed-0", tmp_path / "gone"))
    config = (other / "config.yaml").read_text()
    (other / "config.yaml").write_text(config.replace("dataset: synthetic", "dataset: fer2013"))
    out = done("compare", runs / "seed-0", other)
    assert "gone: its data cannot be read" in out
    assert "seed-0 and gone hold the same weights." in out
