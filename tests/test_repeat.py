"""The command ``fer repeat``: a run for every seed, their summary, and the comparison with another repeat."""

import json
from pathlib import Path

import pytest
from command import call, done

import fer.commands.experiment
import fer.commands.members
from fer.commands.against import compare_with
from fer.commands.repeat import parse_seeds
from fer.errors import InputError

WORDS = ["--network", "ann", "--dataset", "folder"]
SETTINGS = [
    *("--data.image_size", "4", "--data.batch_size", "8", "--data.val_share", "0.3"),
    *("--data.protocol", "80/20"),
    *("--trainer.max_epochs", "1", "--trainer.accelerator", "cpu", "--gradients.every_n_epochs", "0"),
    *("--distinctiveness.every_n_epochs", "0", "--stages.enabled", "false", "--wandb.mode", "disabled"),
]


@pytest.fixture
def words(tmp_path, make_images):
    return ["repeat", *WORDS, *SETTINGS, "--data.root", make_images(tmp_path / "images", num=10)]


@pytest.fixture
def fits(monkeypatch):
    """The seeds whose training was begun; each writes what a run leaves, and nothing is trained or drawn."""
    begun = []

    def fit(command, words, chosen, resumed):
        given = dict(word.removeprefix("--").split("=", 1) for word in words if "=" in word)
        begun.append((int(given["seed_everything"]), resumed is not None))
        folder = Path(given["runs_dir"]) / given["run_name"]
        folder.mkdir(exist_ok=True)
        if begun[-1] != (7, False):  # is interrupted the first time
            (folder / "results.json").write_text("{}")

    monkeypatch.setattr(fer.commands.members, "run_experiment", fit)
    monkeypatch.setattr(fer.commands.members, "_conclude", lambda *_: None)
    return begun


@pytest.mark.drawn
@pytest.mark.slow
def test_every_seed_is_a_run_and_then_there_is_a_summary_a_page_and_a_comparison(words, tmp_path):
    out = done(*words, "--seeds", "[3, 7]", "--run_name", "a")
    folder = tmp_path / "runs" / "a"
    summary = json.loads((folder / "repeat.json").read_text())
    results = [json.loads((folder / f"seed-{seed}" / "results.json").read_text()) for seed in (3, 7)]
    tested = [each["splits"]["test"] for each in results]
    assert [each["seed"] for each in results] == summary["seeds"] == [3, 7]
    assert tested[0]["n"] == tested[1]["n"]
    assert summary["test/acc"] == pytest.approx(sum(each["acc"] for each in tested) / 2)
    assert summary["test/acc_mean_low"] <= summary["test/acc"] <= summary["test/acc_mean_high"]
    assert sum(map(sum, summary["confusion"])) == 2 * tested[0]["n"]
    for name in ("seeds", "confusion-pooled", "reliability-pooled"):
        assert (folder / "figures" / f"{name}.png").stat().st_size > 10_000
    assert f"mean  {100 * summary['val/acc']:10.2f} %" in out
    assert not (tmp_path / "runs" / "latest").exists()  # a seed is a part of the repeat

    kept = (folder / "seed-3" / "results.json").stat().st_mtime_ns
    done(*words, "--seeds", "[3, 7]", "--run_name", "a")
    assert (folder / "seed-3" / "results.json").stat().st_mtime_ns == kept

    out = done(*words, "--seeds", "[3, 7]", "--run_name", "b", "--model.hidden", "9", "--against", "runs/a")
    found = json.loads((tmp_path / "runs" / "b" / "against.json").read_text())
    for each in found["seeds"]:
        won, lost = each["mcnemar"]["won"], each["mcnemar"]["lost"]
        assert each["difference"] == pytest.approx((won - lost) / found["n"])
    assert found["n"] == tested[0]["n"]
    assert "against runs/a, paired by seed and by test sample" in out

    out = done("compare", "runs/a", "runs/b", "runs/b/seed-3")
    assert "a repeat, mean \N{PLUS-MINUS SIGN} standard deviation of 2 seeds" in out
    assert "MB" in done("report", "runs/b")
    called = call("repeat", *words[1:], "--seeds", "2", "--run_name", "c", "--against", "runs/a")
    assert "runs/a: it has the seeds 3, 7, and this repeat 0, 1" in called.err


def test_a_repeat_goes_on_with_the_seed_that_was_interrupted_and_takes_more_seeds(words, fits):
    name = ["--run_name", "a"]
    called = call(*words, *name, "--seeds", "[3, 7]")
    assert "seed-7 has no results: run the same command" in called.err
    done(*words, *name, "--seeds", "[3, 7]")
    done(*words, *name, "--seeds", "[3, 7, 5]")
    assert fits == [(3, False), (7, False), (7, True), (5, False)]
    called = call(*words, *name, "--seeds", "[3, 5]")
    assert "with another value of seeds ([3, 7, 5]; now [3, 5])" in called.err
    called = call(*words, *name, "--seeds", "[3, 7, 5]", "--model.lr", "0.5")
    assert "with another value of words" in called.err
    called = call("crossval", *WORDS, "--data.root", words[-1], *name, "--folds", "2")
    assert "a is not the folder of a cross-validation" in called.err


def test_a_seed_that_was_interrupted_with_other_settings_is_kept_aside_and_a_line_says_so(words, fits):
    given = [*words, "--run_name", "b", "--seeds", "[7]"]
    call(*given)
    called = call(*given, "--model.lr", "0.5")
    assert fits == [(7, False), (7, False)]
    line = (
        "b/seed-7 was interrupted with another value of words: its files are now in runs/b/seed-7-1.cut-off"
    )
    assert line in called.err.replace("\n", " ")
    assert Path("runs/b/seed-7-1.cut-off").is_dir()


def test_a_shipped_config_is_recorded_by_its_name(fits):
    call("repeat", "--config", "conv6", "--run_name", "c", "--seeds", "[7]")
    assert "conv6" in json.loads(Path("runs/c/settings.json").read_text())["words"]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        pytest.param(["--seed_everything", "2"], "--seed_everything cannot be given", id="a seed's own"),
        pytest.param(["--resume", "runs/x"], "--resume cannot be given", id="another way to resume"),
        pytest.param(["--seeds", "0"], "--seeds 0: give the number of seeds", id="no seed"),
        pytest.param(
            ["--against", "runs/x"], "--against runs/x: this folder holds no repeat", id="no repeat"
        ),
        pytest.param(["--model.hiden", "3"], "did you mean --model.hidden", id="a misspelt setting"),
    ],
)
def test_a_mistake_is_named(given, named, words):
    called = call(*words, *given)
    assert called.status == 2
    assert named in called.err


@pytest.mark.parametrize("text", ["0", "-1", "[]", "[3, 3]", "[-1]", "[a]", "many", "[3", "true", "1.5"])
def test_what_is_no_list_of_seeds_is_refused(text):
    with pytest.raises(InputError, match="give the number of seeds, 1 or more, or a list"):
        parse_seeds(text)


def test_help_teaches():
    called = call("repeat", "--help")
    assert called.status == 0
    for words in ("--seeds", "--against", "with the same --run_name to resume it", "Student's t"):
        assert words in " ".join(called.out.split())


def test_repeats_of_other_data_are_not_paired(tmp_path):
    for name, seed in (("a", 0), ("b", 1)):
        folder = tmp_path / name / "seed-0"
        folder.mkdir(parents=True)
        (tmp_path / name / "settings.json").write_text('{"seeds": [0]}')
        (folder / "results.json").write_text('{"data": "Faces"}')
        (folder / "config.yaml").write_text(f"network: ann\ndataset: folder\ndata: {{seed: {seed}}}\n")
    with pytest.raises(InputError, match=r"Faces with data\.seed 0, .* Faces with data\.seed 1; give one"):
        compare_with(tmp_path / "b", tmp_path / "a", {"network": "ann", "dataset": "folder"})
