"""How to run it again: the shortest command that leads to the same settings."""

import json
import shlex

import pytest
import yaml

from fer.commands.choices import choose
from fer.commands.report import settings_of as real_settings
from fer.configs import flatten
from fer.report import gather
from fer.report.repeat import as_word, command_of, started, versions


def test_the_command_names_the_shipped_config_and_what_is_changed(run_dir, settings_of):
    repeat = gather(run_dir, settings_of)["repeat"]
    assert repeat["command"] == (
        "fer fit --config conv6 --data.root '~/data' --model.lr 0.006 --seed_everything 7"
    )
    assert repeat["folder"] == f"fer fit --config {run_dir / 'config.yaml'} --run_name null"
    assert {"name": "data.batch_size", "value": "128", "default": "64"} in repeat["differs"]
    assert "run_name" not in [setting["name"] for setting in repeat["differs"]]


def test_a_long_number_is_short_in_the_table_and_whole_in_the_command(run_dir, settings_of):
    config = yaml.safe_load((run_dir / "config.yaml").read_text())
    config["model"] = {"lr": 0.0025032699681422667, "widths": [16, 0.12739233746429088]}
    (run_dir / "config.yaml").write_text(yaml.safe_dump(config))
    repeat = gather(run_dir, settings_of)["repeat"]
    here = {setting["name"]: setting["value"] for setting in repeat["differs"]}
    assert (here["model.lr"], here["model.widths"]) == ("0.00250327", "[16, 0.127392]")
    assert "--model.lr 0.0025032699681422667" in repeat["command"]


def test_a_checkpoint_that_was_tested_is_tested_again_from_the_folder(run_dir, settings_of):
    config = yaml.safe_load((run_dir / "config.yaml").read_text()) | {"ckpt_path": "a.ckpt"}
    (run_dir / "config.yaml").write_text(yaml.safe_dump(config))
    for file in ("metrics.csv", "prune.json", "curve.json"):
        (run_dir / file).unlink()
    found = gather(run_dir, settings_of)
    assert found["kind"] == "Test of a checkpoint"
    assert found["repeat"]["folder"].startswith("fer test --config")
    assert "command" not in found["repeat"]


@pytest.mark.parametrize(
    "words",
    [
        ["--config", "demo", "--trainer.max_epochs", "3", "--distinctiveness.layers", "[conv4, conv5]"],
        ["--config", "ann", "--model.lr", "1.0e-05", "--early_stopping", "4"],
        ["--network", "conv1", "--dataset", "synthetic", "--model.milestones", "[10, 20]"],
    ],
    ids=lambda words: words[1],
)
@pytest.mark.slow
def test_the_command_leads_to_the_same_settings(words):
    _, chosen = choose(words)
    settings = real_settings(words, **chosen)
    command = command_of(settings, real_settings)
    assert command == shlex.join(["fer", "fit", *words])
    assert real_settings(shlex.split(command)[2:], **chosen) == settings


def test_a_value_is_written_as_it_is_read():
    for value in (1e-5, 0.1, 10, True, None, [1, 2], [], "text", "null", "1e-5", "a b"):
        assert yaml.safe_load(as_word(value)) == value


def test_versions_are_those_that_wandb_wrote_or_lightnings_alone(run_dir):
    assert versions(run_dir) == {"lightning": "2.6.6"}
    files = run_dir / "wandb" / "offline-run-20260102_030405-abc" / "files"
    files.mkdir(parents=True)
    (files / "requirements.txt").write_text("torch==2.9.0\nodd line\nunknown==1\n")
    assert versions(run_dir) == {"torch": "2.9.0"}
    assert started(run_dir) == "2026-01-02 03:04"


def test_settings_are_flat():
    assert flatten({"a": {"b": {"c": 1}}, "d": {}}) == {"a.b.c": 1, "d": {}}


def _as_pruned(run_dir, **prune):
    """Leave in the folder what ``fer prune`` does."""
    config = yaml.safe_load((run_dir / "config.yaml").read_text()) | {"ckpt_path": "a.ckpt", "prune": prune}
    (run_dir / "config.yaml").write_text(yaml.safe_dump(config))
    for file in ("metrics.csv", "results.json"):
        (run_dir / file).unlink()


def test_a_pruned_network_by_its_settings_or_with_what_they_do_not_say(run_dir, settings_of):
    _as_pruned(run_dir, similar_below=30, rule=None)
    found = gather(run_dir, settings_of)
    assert (found["kind"], "unfinished" in found, "note" in found["repeat"]) == (
        "Pruned network",
        False,
        False,
    )
    _, *words = found["repeat"]["folder"].split()
    assert words == ["prune", "--config", str(run_dir / "config.yaml"), "--run_name", "null"]

    pruned = json.loads((run_dir / "prune.json").read_text())
    (run_dir / "prune.json").write_text(json.dumps(pruned | {"rounds": [{}]}))
    assert "--rounds" in gather(run_dir, settings_of)["repeat"]["note"]
    (run_dir / "prune.json").write_text(json.dumps(pruned | {"settings": {"similar_below": 41.2}}))
    assert "--target_macs" in gather(run_dir, settings_of)["repeat"]["note"]
    sides = {when: {"value": value} for when, value in (("before", 2000), ("after", 490))}
    target = {"kind": "params", "most": 500.0, **sides}
    sized = {"target": target, "settings": {"similar_below": 41.2}}
    (run_dir / "prune.json").write_text(json.dumps(pruned | sized))
    repeat = gather(run_dir, settings_of)["repeat"]
    assert repeat["folder"].endswith("--run_name null --target_params 0.25")
    assert "note" not in repeat


def test_a_rule_that_keeps_blocks_is_all_of_its_settings(run_dir, settings_of):
    """As ``fer prune --prune.rule narayan`` writes them."""
    _as_pruned(run_dir, rule="narayan", idle_below=0.001)
    pruned = json.loads((run_dir / "prune.json").read_text())
    settings = {"rule": "narayan", "idle_below": 0.0}
    (run_dir / "prune.json").write_text(json.dumps(pruned | {"settings": settings}))
    assert "note" not in gather(run_dir, settings_of)["repeat"]


def test_a_curve_alone_is_no_test_and_is_finished(run_dir, settings_of):
    _as_pruned(run_dir)
    (run_dir / "prune.json").unlink()
    found = gather(run_dir, settings_of)
    assert (found["kind"], "unfinished" in found) == ("Pruning by threshold", False)
    assert found["repeat"]["folder"].endswith("--run_name null --curve true")


def test_a_cross_validation_without_a_config_names_its_network_and_data(study_dir, settings_of):
    chosen = {"network": "ann", "dataset": "folder"}
    settings = {"folds": 3, **chosen, "words": ["--model.lr", "1"], "configs": []}
    (study_dir / "settings.json").write_text(json.dumps(settings))
    command = "fer crossval --folds 3 --network ann --dataset folder --model.lr 1"
    assert gather(study_dir, settings_of)["repeat"]["command"] == command

    # Of a config only what was not chosen otherwise; and of an older version a fold's config says it.
    del settings["network"]
    settings["configs"] = [{"network": "conv6", "dataset": "folder"}]
    (study_dir / "settings.json").write_text(json.dumps(settings))
    (study_dir / "fold-0" / "config.yaml").write_text("network: ann\ndataset: folder\n")
    command = "fer crossval --folds 3 --network ann --model.lr 1"
    assert gather(study_dir, settings_of)["repeat"]["command"] == command
