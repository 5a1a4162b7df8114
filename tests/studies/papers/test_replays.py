"""Each kind of item, replayed by real runs on tiny data: what it reads, shows, reuses and resumes."""

import json
import math
from pathlib import Path

import pytest
from command import call

from fer.errors import InputError
from fer.studies.papers.facts import find_item, read_papers
from fer.studies.papers.outcomes import read_outcome, read_outcomes
from fer.studies.papers.protocols import PROTOCOLS, Protocol
from fer.studies.papers.replaying import Replaying, quick_note
from fer.studies.papers.run_items import (
    Step,
    accuracies,
    curves,
    figure_of,
    fold_angles,
    folds_classes,
    one_matrix,
    pruned_accuracies,
    pruning_curve,
)

PAPERS = read_papers()
COMMON = (*("--trainer.max_epochs", "1", "--trainer.accelerator", "cpu", "--gradients.every_n_epochs", "0"),)
TRAINING = Step(
    *("training", "40 epochs, lr 0.0001"),
    (
        *("fit", *COMMON, "--model.widths", "[4, 6, 6, 8, 8]", "--distinctiveness.every_n_epochs", "0"),
        *("--stages.enabled", "false"),
        *("--data.num_train", "140", "--data.num_val", "35", "--data.num_test", "35"),
        *("--data.batch_size", "20", "--prune.enabled", "true", "--prune.rule", "narayan"),
        *("--prune.layers", "[conv5]", "--prune.similar_below", "8", "--prune.complementary_above", "172"),
    ),
)
CURVE = Step(
    *("curve", "curve", ("prune", "{run}", "--curve", "true", "--prune.layers", "[conv5]")),
    needs=TRAINING.name,
)


def run(command: str, words: list[str]) -> None:
    called = call(command, *words)
    if called.status:
        raise InputError(called.err)


def forbidden(command: str, words: list[str]) -> None:
    pytest.fail(f"{command} was run again")


def crossval_step(root: Path) -> Step:
    words = (
        *("crossval", *COMMON, "--network", "ann", "--dataset", "folder", "--folds", "2"),
        *("--data.root", str(root), "--data.image_size", "4", "--data.batch_size", "8"),
        *("--data.val_share", "0.3"),
    )
    return Step("folds", "CNN", words)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, sandboxed, make_images):
    """Finished runs: a training that is pruned, its curve, a cross-validation."""
    folder = tmp_path_factory.mktemp("replays")
    names = [f"S{subject}_{frame}.png" for subject in range(4) for frame in range(3)]
    root = make_images(folder / "images", names=names)
    with sandboxed(folder):
        replaying = Replaying(folder, False, None, run)
        steps = (TRAINING, CURVE, crossval_step(root))
        done = replaying.replay(
            PAPERS, find_item(PAPERS, "s3-fig2"), Protocol(steps=steps, read=accuracies_of_fit), None, ""
        )
        assert "not run" not in done.text
    return folder


def accuracies_of_fit(runs):
    return accuracies({TRAINING.label: runs[TRAINING.label]})


def replay(folder, item, read, *steps, **options):
    """Replay an item by finished runs alone."""
    replaying = Replaying(folder, False, None, forbidden, **options)
    return replaying.replay(PAPERS, find_item(PAPERS, item), Protocol(steps=steps, read=read), None, "")


def row(text: str, label: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith(label)]
    return line.removeprefix(label).split()


@pytest.mark.slow
def test_images(folder):
    done = replay(folder, "s2-fig5", one_matrix, TRAINING)
    (picture,) = done.pictures
    assert picture.name == "s2-fig5-confusion-test.png"
    found = json.loads((folder / "runs" / "training" / "results.json").read_text())
    accuracy = 100 * found["splits"]["test"]["acc"]
    assert f"{accuracy:.2f}" in row(done.text, "accuracy ")
    assert row(done.text, "accuracy ")[-2:] == ["35", "1"]


@pytest.mark.slow
def test_a_picture_that_was_not_drawn_is_named(folder):
    done = replay(folder, "s3-fig1", figure_of("feature-maps"), TRAINING)
    assert done.pictures == []
    assert "the run has no feature-maps.png" in done.text


@pytest.mark.slow
def test_a_figure_of_curves(folder):
    done = replay(folder, "s2-fig3", curves("val/acc", "accuracy on val"), TRAINING)
    (panel,) = done.panels
    assert [line.x for line in panel.lines] == [(0,)]


@pytest.mark.slow
def test_a_pruned_network(folder):
    done = replay(folder, "s3-table1", pruned_accuracies, TRAINING)
    before = row(done.text, "before: 40 epochs, lr 0.0001")
    assert before[0] == "49.09"
    assert before[-2:] == ["35", "1"]
    assert float(row(done.text, "pruned: 40 epochs, lr 0.0001")[2]) >= 0


@pytest.mark.slow
def test_a_pruning_curve(folder):
    done = replay(folder, "s3-fig2", pruning_curve, TRAINING, CURVE)
    assert {"narayan", "jain"} <= {line.label for line in done.panels[0].lines}
    assert row(done.text, "below 10 degrees")[-2:] == ["35", "1"]
    assert replay(folder, "s3-fig2", pruning_curve, TRAINING).panels == []


@pytest.mark.slow
def test_a_cross_validation(folder):
    step = crossval_step(folder / "images")
    done = replay(folder, "s0-table4", folds_classes, step)
    assert row(done.text, "recall: CNN, happy")[0] == "0.21"
    shown = replay(folder, "s0-fig8", fold_angles(3), step)  # of two folds
    assert [path.name for path in shown.pictures] == ["s0-fig8-angles.png"]
    assert "fold 2 of 2" in shown.text


@pytest.mark.slow
def test_an_outcome_is_kept_and_read_again(folder, tmp_path):
    made = {"command": "fer reproduce s2-fig3", "commit": "0123456789ab"}
    done = replay(folder, "s2-fig3", curves("val/acc", "accuracy"), TRAINING, made=made, out=tmp_path)
    (outcome,) = read_outcomes(tmp_path).values()
    assert outcome == read_outcome(done.folder / "s2-fig3.json")
    assert (outcome.item, outcome.made, outcome.is_quick) == ("s2-fig3", made, False)
    assert [line.label for panel in outcome.panels for line in panel.lines] == [TRAINING.label]
    (record,) = outcome.records
    assert (record[""], record["n"], record["seeds"]) == (TRAINING.label, 35, 1)
    assert math.isnan(record["printed"])
    assert record["low"] < record["ours"] < record["high"]


def test_a_damaged_outcome_is_named(tmp_path):
    (tmp_path / "s0-table3.json").write_text('{"item": "s0-table3"}')
    with pytest.raises(InputError, match=r"s0-table3\.json: paper is missing; remove it, and write it again"):
        read_outcomes(tmp_path)


def test_an_interrupted_training_is_resumed(tmp_path):
    begun = tmp_path / "runs" / "training"
    begun.mkdir(parents=True)
    (begun / "config.yaml").write_text("{}")
    called = []
    replaying = Replaying(tmp_path, False, "data", lambda command, words: called.append((command, words)))
    done = replaying.replay(
        PAPERS, find_item(PAPERS, "s2-fig5"), Protocol(steps=(TRAINING,), read=one_matrix), None, ""
    )
    assert called == [("fit", ["--resume", str(begun)])]
    assert "ended without results: run the same command again" in done.text


def test_quick_takes_three_of_many_runs_and_says_so(tmp_path):
    called = []
    replaying = Replaying(tmp_path, True, None, lambda command, words: called.append(words))
    protocol = PROTOCOLS["s3-table1"]
    done = replaying.replay(PAPERS, find_item(PAPERS, "s3-table1"), protocol, None, "")
    assert len(called) == 3
    assert (
        "--quick: 3 of 7 runs, fer fit with --trainer.max_epochs 2 --trainer.limit_train_batches 20"
        in done.text
    )
    assert called[0][called[0].index("--run_name") + 1] == "narayan-10-0.001-quick"


@pytest.mark.parametrize("name", [name for name, protocol in PROTOCOLS.items() if protocol.steps])
def test_every_quick_training_is_short(name):
    protocol = PROTOCOLS[name]
    for step in protocol.steps:
        if step.command != "prune":
            assert step.quick[step.quick.index("--trainer.max_epochs") + 1] == "2"
    assert "--trainer.max_epochs 2" in quick_note(protocol, protocol.steps)


@pytest.mark.slow
def test_missing_stills_are_said_with_where_to_get_them(tmp_path, monkeypatch):
    monkeypatch.delenv("FER_DATA_DIR", raising=False)
    called = call("reproduce", "s3-fig1", "--quick", "--data.root", tmp_path)
    assert "not run (40 epochs, lr 0.0001): " in called.out
    assert f"no stills of SFEW in {tmp_path}" in called.out
    assert "ask its authors" in called.out


def test_the_notes_of_the_shipped_outcomes_are_whole():
    notes = [note for each in read_outcomes().values() for note in each.notes]
    assert notes
    assert [note for note in notes if not note.strip() or note != note.strip()] == []
