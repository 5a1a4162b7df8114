"""What a folder holds: everything that is there, and nothing that is not."""

import csv
import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from old_sweep import write_old

from fer.errors import InputError
from fer.metrics import wilson_interval
from fer.report import gather
from fer.runs import Run
from fer.studies.trials import Trial, read_trials


def test_a_whole_run_has_every_part(run_dir, settings_of):
    found = gather(run_dir, settings_of)
    assert found["kind"] == "Training run"
    assert found["name"] == "made-up"
    assert "unfinished" not in found
    assert dict(found["facts"])["Network"] == "Conv6Net · 1,234 parameters"
    assert dict(found["facts"])["Time"] == "1 min 1 s"
    assert [split["name"] for split in found["results"]] == ["train", "val", "test", "clean"]
    assert found["curves"]["acc"]["val"] == {
        "x": [epoch + 1.0 for epoch in range(12)],
        "y": pytest.approx([e / 20 for e in range(12)]),
    }
    assert found["stages"]["network"][1]["reason"] == "lr_frozen"
    assert found["fan"]["conv1"]["median"] == [90.0] * 12
    assert found["prune"]["mcnemar"]["lost"] == 3
    assert set(found["prune_curve"]["rules"]) == {"pairs", "span"}
    assert [image["src"][:22] for image in found["images"]] == ["data:image/png;base64,"]
    json.dumps(found, allow_nan=False)


def test_accuracy_and_recall_have_n_and_an_interval(run_dir, settings_of):
    (test,) = (split for split in gather(run_dir, settings_of)["results"] if split["name"] == "test")
    assert (test["n"], test["acc"]) == (70, 0.6)
    assert (test["low"], test["high"]) == pytest.approx(wilson_interval(42, 70), abs=1e-6)
    angry = test["classes"][0]
    assert (angry["name"], angry["n"], angry["recall"]) == ("angry", 10, 0.6)
    assert (angry["low"], angry["high"]) == pytest.approx(wilson_interval(6, 10), abs=1e-6)
    assert test["largest"] == pytest.approx(1 / 7, abs=1e-6)


@pytest.mark.parametrize(
    ("file", "part"),
    [
        ("results.json", "results"),
        ("stages.json", "stages"),
        ("angles", "heat"),
        ("figures", "images"),
        ("prune.json", "prune"),
        ("curve.json", "prune_curve"),
        ("config.yaml", "repeat"),
        ("metrics.csv", "curves"),
    ],
)
def test_what_is_not_in_the_folder_is_not_in_the_report(run_dir, settings_of, file, part):
    assert part in gather(run_dir, settings_of)
    path = run_dir / file
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert part not in gather(run_dir, settings_of)


def test_a_run_without_results_is_said_to_be_unfinished(run_dir, settings_of):
    (run_dir / "results.json").unlink()
    assert "still going on" in gather(run_dir, settings_of)["unfinished"]


def test_a_run_whose_logger_wrote_no_file_says_how_to_get_its_curves(run_dir, settings_of):
    """A training with the callbacks, but not by ``fer fit``, which writes a config."""
    (run_dir / "metrics.csv").unlink()
    (run_dir / "config.yaml").unlink()
    assert "CSVLogger" in gather(run_dir, settings_of)["unfinished"]


def test_a_run_that_was_not_to_be_tested_is_finished_when_its_curves_are_drawn(run_dir, settings_of):
    (run_dir / "results.json").unlink()
    with (run_dir / "config.yaml").open("a") as file:
        file.write("test: false\n")
    assert "unfinished" in gather(run_dir, settings_of)
    (run_dir / "figures" / "curves.png").touch()
    found = gather(run_dir, settings_of)
    assert "unfinished" not in found
    assert dict(found["facts"])["Results"] == "Not tested (--test false)"


@pytest.mark.parametrize(
    ("num_epochs", "note"),
    [
        (12, "Initial: the loss has not fallen yet"),
        (8, "Only 8 measurements: too few to find a stage"),
    ],
)
def test_stages_of_a_short_run_say_that_there_were_too_few_measurements(
    run_dir, settings_of, num_epochs, note
):
    """The loss of the run falls from its first epoch on."""
    lines = (run_dir / "metrics.csv").read_text().splitlines(keepends=True)  # two for each epoch
    (run_dir / "metrics.csv").write_text("".join(lines[: 1 + 2 * num_epochs]))
    assert gather(run_dir, settings_of)["stage_notes"][0].startswith(note)


def test_measurements_within_an_epoch_are_at_their_time(run_dir, settings_of):
    """In the rows of an epoch's losses, the epoch is an index."""
    with (run_dir / "metrics.csv").open(newline="") as file:
        names = next(csv.reader(file))
    values = {name: 45.0 for name in names if name.startswith("angles/")} | {"epoch": 3.25}
    with (run_dir / "metrics.csv").open("a", newline="") as file:
        csv.DictWriter(file, names).writerow(values)
    found = gather(run_dir, settings_of)
    assert found["fan"]["conv1"]["x"] == [*(epoch + 1.0 for epoch in range(12)), 3.25]
    assert found["fan"]["conv1"]["median"][-1] == 45.0
    assert found["curves"]["loss"]["train"]["x"] == [epoch + 1.0 for epoch in range(12)]


def test_a_class_that_does_not_occur_has_no_recall(run_dir, settings_of):
    results = json.loads((run_dir / "results.json").read_text())
    results["splits"]["test"]["confusion"][1] = [0] * 7
    (run_dir / "results.json").write_text(json.dumps(results))
    (test,) = (split for split in gather(run_dir, settings_of)["results"] if split["name"] == "test")
    assert test["classes"][1]["recall"] is None
    assert test["classes"][1]["n"] == 0


def test_a_cross_validation_says_how_many_folds_are_done_and_pools_them(study_dir, settings_of):
    found = gather(study_dir, settings_of)
    assert found["unfinished"] == "2 of 3 folds are done."
    assert [row["test"]["acc"] for row in found["members"]["rows"]] == [0.4, 0.6]
    assert found["members"]["mean"]["test"] == 0.5
    assert [(split["n"], split["acc"]) for split in found["results"]] == [(140, 0.5)]
    assert sorted(found["member_curves"]) == ["0", "1"]
    assert found["repeat"]["command"] == "fer crossval --folds 3 --config ann --model.lr 0.1"


def test_a_repeat_has_a_row_for_each_seed_and_counts_each_sample_once_in_its_intervals(
    repeat_dir, settings_of
):
    found = gather(repeat_dir, settings_of)
    assert found["unfinished"] == "2 of 3 seeds are done."
    assert [(row["number"], row["test"]["acc"]) for row in found["members"]["rows"]] == [(3, 0.4), (7, 0.6)]
    (pooled,) = found["results"]
    once = wilson_interval(35, 70)
    assert (pooled["n"], pooled["acc"]) == (140, 0.5)
    assert (pooled["low"], pooled["high"]) == pytest.approx(once, abs=1e-6)
    assert pooled["classes"][0]["low"] == pytest.approx(wilson_interval(5, 10)[0], abs=1e-6)
    low, high = found["members"]["interval"].values()
    assert (low + high) / 2 == pytest.approx(0.5, abs=1e-5)
    assert found["against"]["seeds"][0]["mcnemar"]["won"] == 10
    assert "Seed" not in dict(found["facts"])
    command = "fer repeat --seeds '[3, 7, 9]' --config ann --model.lr 0.1"
    assert found["repeat"]["command"] == command


def test_a_damaged_comparison_of_repeats_is_named(repeat_dir, settings_of):
    (repeat_dir / "against.json").write_text('{"name": 3}')
    with pytest.raises(InputError, match=r"against\.json is damaged"):
        gather(repeat_dir, settings_of)


def test_a_cross_validation_without_a_finished_fold_has_no_results(study_dir, settings_of):
    for path in study_dir.glob("*/results.json"):
        path.unlink()
    found = gather(study_dir, settings_of)
    assert found["unfinished"] == "0 of 3 folds are done."
    assert "results" not in found
    assert "members" not in found


def test_the_best_trial_is_repeated_as_it_was_run_whatever_the_environment_is_now(
    sweep_dir, settings_of, monkeypatch
):
    text = (sweep_dir / "sweep.yaml").read_text()
    (sweep_dir / "sweep.yaml").write_text(
        text.replace('fit, --config, "', 'prune, --config, "${envvar:RUN}/config.yaml", --config, "')
    )
    trial = read_trials(sweep_dir)[8]
    given = list(trial.command)
    given[4:5] = ["prune", "--config", "my runs/a/config.yaml"]
    trial.command = [*given, "--wandb.project", "fer"]
    (sweep_dir / "journal.jsonl").unlink()
    write_old(sweep_dir, trial)
    monkeypatch.setenv("RUN", "runs/other")
    repeat = gather(sweep_dir, settings_of)["repeat"]
    again = f"fer prune --config 'my runs/a/config.yaml' --config {sweep_dir}/trial-0009/params.json"
    assert repeat["best"] == again
    assert repeat["command"] == f"RUN='my runs/a' fer sweep {sweep_dir}/sweep.yaml --seed 3 --count 1"


@pytest.mark.slow
def test_a_sweep_is_reported_where_it_could_not_be_run(sweep_dir, settings_of):
    text = (sweep_dir / "sweep.yaml").read_text()
    (sweep_dir / "sweep.yaml").write_text(
        text.replace("-m, fer, fit", '"${program}"').replace("method: random", "program: elsewhere.py")
        + "method: bayes\n"
    )
    study = json.loads((sweep_dir / "study.json").read_text()) | {"method": "bayes"}
    (sweep_dir / "study.json").write_text(json.dumps(study))
    assert dict(gather(sweep_dir, settings_of)["facts"])["Method"] == "bayes"


def test_a_damaged_study_is_named(sweep_dir, settings_of):
    (sweep_dir / "study.json").write_text('{"key": "ab')
    with pytest.raises(InputError, match=r"study.json is damaged"):
        gather(sweep_dir, settings_of)


@pytest.mark.parametrize("file", ["results.json", "stages.json", "config.yaml", "metrics.csv", "prune.json"])
def test_a_damaged_file_is_named(run_dir, settings_of, file):
    (run_dir / file).write_text("epoch,lr\n0,a{")
    with pytest.raises(InputError, match=f"{file} is damaged.*move it away"):
        gather(run_dir, settings_of)


def _cut_in_half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _lose_a_layer(path):
    Run(path.parent.parent).write_angles(5, {"conv1": np.eye(8)})


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        pytest.param("angles/epoch-0005.npz", _cut_in_half, id="angles cut"),
        pytest.param("angles/epoch-0005.npz", _lose_a_layer, id="angles without a layer"),
        pytest.param("angles/epoch-abc.npz", lambda path: path.touch(), id="angles of no epoch"),
        pytest.param("config.yaml", lambda path: path.write_text("network: [ann"), id="config cut"),
        pytest.param("config.yaml", lambda path: path.write_text("dataset: ann"), id="config incomplete"),
        pytest.param("metrics.csv", lambda path: path.write_text("epoch\n" + 140_000 * "1"), id="long cell"),
        pytest.param("prune.json", lambda path: path.write_text('{"before": {}, "after": {}, "layers": {}}')),
        pytest.param("results.json", lambda path: path.write_text('{"splits": {"test": {"confusion": 3}}}')),
    ],
)
def test_a_file_that_is_damaged_otherwise_is_named(run_dir, settings_of, file, damage):
    damage(run_dir / file)
    with pytest.raises(InputError, match=f"{Path(file).name} is damaged") as caught:
        gather(run_dir, settings_of)
    assert "\n" not in str(caught.value)


def test_damaged_settings_of_a_cross_validation_are_named(study_dir, settings_of):
    (study_dir / "settings.json").write_text('{"folds": 3, "words": null}')
    with pytest.raises(InputError, match=r"settings.json is damaged: words is NoneType|configs is missing"):
        gather(study_dir, settings_of)


def test_class_names_are_those_of_the_results(run_dir, settings_of):
    results = {"class_names": ["cat", "dog", "fox"], "splits": {"test": {"confusion": [[3, 1, 0]] * 3}}}
    (run_dir / "results.json").write_text(json.dumps(results))
    (test,) = gather(run_dir, settings_of)["results"]
    assert [each["name"] for each in test["classes"]] == ["cat", "dog", "fox"]
    results["class_names"].pop()
    (run_dir / "results.json").write_text(json.dumps(results))
    with pytest.raises(InputError, match=r"results.json is damaged: class_names are not 3 names"):
        gather(run_dir, settings_of)


def test_a_report_imports_no_network_of_the_user(run_dir, settings_of):
    config = (run_dir / "config.yaml").read_text().replace("network: conv6", "network: my.package.Net")
    (run_dir / "config.yaml").write_text(config)

    def fail(*_):
        pytest.fail("the class was looked up")

    repeat = gather(run_dir, fail)["repeat"]
    assert "differs" not in repeat
    assert "command" not in repeat


def test_no_folder_and_an_empty_one(tmp_path, settings_of):
    with pytest.raises(InputError, match="nowhere: no such folder"):
        gather(tmp_path / "nowhere", settings_of)
    with pytest.raises(InputError, match=r"holds no run.*runs/NAME"):
        gather(tmp_path, settings_of)
    (tmp_path / "best.ckpt").touch()
    with pytest.raises(InputError, match=r"best.ckpt: a file, not a folder; give a folder that fer wrote"):
        gather(tmp_path / "best.ckpt", settings_of)


def test_a_folder_of_runs_is_no_run_but_its_runs_are_named(run_dir, settings_of):
    with pytest.raises(InputError, match=r"did you mean .*made-up"):
        gather(run_dir.parent, settings_of)


@pytest.mark.slow
def test_a_sweep_has_its_trials_the_best_and_what_bears_on_it(sweep_dir, settings_of):
    found = gather(sweep_dir, settings_of)
    assert found["kind"] == "Sweep"
    assert dict(found["facts"])["Trials"] == "9 finished, 1 failed"
    sweep = found["sweep"]
    assert sweep["best"] == {"name": "trial-0009", "value": 0.45}
    assert sweep["parameters"] == [
        {"name": "model.lr", "log": True},
        {"name": "model.optimizer", "log": False},
    ]
    assert sweep["rows"][0]["point"] == {"model.lr": 0.001, "model.optimizer": "sgd"}
    assert (sweep["rows"][9]["value"], sweep["rows"][9]["reason"]) == (None, "no memory")
    assert [(each["name"], each["correlation"]) for each in sweep["importances"]] == [("model.lr", 1.0)]
    assert found["repeat"]["command"] == f"fer sweep {sweep_dir}/sweep.yaml --seed 3 --count 10"
    assert found["repeat"]["best"] == f"fer fit --config {sweep_dir}/trial-0009/params.json"


@pytest.mark.slow
def test_a_sweep_whose_points_were_cut_off_is_unfinished_until_they_are_run_again(sweep_dir, settings_of):
    point = {"model.lr": 0.1, "model.optimizer": "sgd", "trainer.max_epochs": 6}
    write = partial(write_old, sweep_dir)
    write(Trial(11, 11, point, [0.5, 0.5], state="cut off"))
    write(Trial(12, 12, point, [0.5, 0.5]))
    assert "was interrupted: 2 of 12." in gather(sweep_dir, settings_of)["unfinished"]
    for number, of_point in ((13, 11), (14, 12)):
        write(Trial(number, of_point, point, [0.5, 0.5], state="finished", value=0.1))
    assert gather(sweep_dir, settings_of)["unfinished"] is None


def test_a_sweep_that_has_only_begun(sweep_dir, settings_of):
    (sweep_dir / "journal.jsonl").unlink()
    sweep = gather(sweep_dir, settings_of)["sweep"]
    assert (sweep["rows"], sweep["best"], sweep["importances"]) == ([], None, [])


def test_a_pruned_network_without_classes_is_shown(run_dir, settings_of):
    pruned = json.loads((run_dir / "prune.json").read_text())
    for key in ("n", "mcnemar"):
        del pruned[key]
    for side in (pruned["before"], pruned["after"]):
        for key in ("acc", "interval", "loss", "confusion"):
            del side[key]
        side["metrics"] = {"error": 0.5}
    (run_dir / "prune.json").write_text(json.dumps(pruned))

    assert gather(run_dir, settings_of)["prune"]["after"]["metrics"] == {"error": 0.5}


def test_a_training_of_another_project_has_its_curves_and_stages(tmp_path, settings_of):
    (tmp_path / "metrics.csv").write_text(
        "epoch,step,train_loss,val_acc,val_iou,val_loss\n0,9,2.0,0.3,0.1,1.9\n1,19,1.0,0.6,0.4,1.1\n"
    )
    interval = {"stage": "initial", "reason": "warm_up", "begin": 0.0, "end": 2.0}
    (tmp_path / "stages.json").write_text(json.dumps({"network": {"final": [interval], "live": [interval]}}))
    found = gather(tmp_path, settings_of)
    assert found["kind"] == "Training run"
    assert set(found["curves"]) == {"loss", "acc", "iou"}
    assert found["curves"]["loss"] == {
        "train": {"x": [1.0, 2.0], "y": [2.0, 1.0]},
        "val": {"x": [1.0, 2.0], "y": [1.9, 1.1]},
    }
    assert found["stages"]["network"][0]["text"] == "initial"
    assert "unfinished" not in found
