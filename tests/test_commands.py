"""What all commands share: their registration, help, suggestions, renamed options and checkpoints of runs."""

import inspect
import logging
import re
import subprocess
import sys
import typing
from pathlib import Path

import pytest
import yaml
from command import call, done
from lightning import Trainer

import fer.__main__
import fer.commands
from fer.commands import SECTIONS, find_commands, load
from fer.commands.arguments import CALLBACKS, ONLY_PYTHON
from fer.commands.early import check_paths
from fer.commands.help import IN_VAIN
from fer.commands.help_texts import TRAINER
from fer.commands.renamed import RENAMED, rename_settings, rename_words
from fer.errors import InputError

TINY = [
    *("--data.num_train", "70", "--data.num_val", "35", "--data.num_test", "35", "--data.batch_size", "16"),
    *("--data.image_size", "8", "--network", "ann", "--wandb.mode", "disabled"),
    *("--trainer.max_epochs", "1", "--trainer.accelerator", "cpu"),
    *(
        "--gradients.every_n_epochs",
        "0",
        "--distinctiveness.every_n_epochs",
        "0",
        "--stages.enabled",
        "false",
    ),
]
ALL = [command.name for command in find_commands()]
ON_A_RUN = ["fit", "validate", "test", "prune"]
MARKUP = re.compile(r"`|%%|:(class|data|func|meth|mod|attr):")


# Registration


@pytest.mark.parametrize("command", find_commands(), ids=ALL)
def test_a_command_has_a_function_and_a_line_of_help(command):
    assert callable(load(command.name))
    assert command.section in SECTIONS
    assert command.help[0].islower()
    assert not command.help.endswith(".")
    assert len(command.help) < 90


def test_a_file_adds_a_command(tmp_path, monkeypatch):
    (tmp_path / "greet.py").write_text(
        'import sys\n\nHELP = "greet the user"\n\n\ndef greet(words):\n    sys.stdout.write(f"hi {words}")\n'
    )
    monkeypatch.setattr(fer.commands, "__path__", [*fer.commands.__path__, str(tmp_path)])
    assert re.search(r"other:\n +greet +greet the user", done("--help"))
    assert done("greet", "you") == "hi ['you']"
    assert "did you mean 'greet'?" in call("grete").err


def test_a_file_without_help_is_no_command():
    assert {"experiment", "parsing", "choices"}.isdisjoint(ALL)


def test_the_list_of_commands_is_fast_since_it_imports_none():
    code = (
        "import sys\nfrom fer.__main__ import main\nmain(['--help'])\n"
        "heavy = {'jsonargparse', 'lightning', 'numpy', 'rich', 'torch', 'wandb'}\n"
        "heavy |= {f'fer.commands.{name}' for name in sys.argv[1:]}\n"
        "sys.exit(' '.join(heavy & sys.modules.keys()))"
    )
    ended = subprocess.run([sys.executable, "-c", code, *ALL], capture_output=True, text=True)
    assert "fit" in ended.stdout
    assert ended.stderr.strip() == ""


HEAVY = {
    *("albumentations", "facenet_pytorch", "imagehash", "kagglehub", "onnx", "onnxscript", "openpyxl"),
    *("optuna", "pandas", "sklearn", "sqlalchemy", "tensorboard", "timm", "wandb"),
}
"""What a training that does not use it does not import."""


@pytest.mark.slow
def test_the_help_of_fit_and_a_training_import_only_what_they_use(tmp_path):
    code = (
        "import sys\nfrom fer.__main__ import main\nheavy = {*sys.argv[1].split()}\n"
        "try:\n    main(['fit', '--help'])\nexcept SystemExit:\n    pass\n"
        "print('after help:', *sorted(heavy & {*sys.modules}))\n"
        "main(['fit', *sys.argv[2:]])\n"
        "print('after fit:', *sorted(heavy & {*sys.modules}))\n"
    )
    words = ["--network", "ann", "--data.image_size", "8", "--data.num_train", "70", "--data.num_val", "35"]
    words += ["--data.num_test", "35", "--trainer.max_epochs", "1", "--trainer.accelerator", "cpu"]
    words += ["--wandb.mode", "disabled", "--data.augment", "fer"]
    ended = subprocess.run(
        [sys.executable, "-c", code, " ".join(HEAVY), *words], capture_output=True, text=True, cwd=tmp_path
    )
    assert ended.returncode == 0, ended.stderr
    said = [line for line in ended.stdout.splitlines() if line.startswith("after ")]
    assert said == ["after help:", "after fit:"]


# Suggestions


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("train", "fit"),
        ("trian", "fit"),
        ("fitt", "fit"),
        ("tset", "test"),
        ("eval", "test"),
        ("Prune", "prune"),
    ],
)
def test_a_mistyped_command_suggests_the_nearest(typed, meant):
    called = call(typed)
    assert called.status == 2
    assert f"did you mean {meant!r}?" in called.err
    assert len(called.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        pytest.param("--model.learning_rate 1", "model.lr", id="another word, with its group"),
        pytest.param("--learning_rate 1", "model.lr", id="another word"),
        pytest.param("--lr 1", "model.lr", id="without its group"),
        pytest.param("--epochs 3", "trainer.max_epochs", id="epochs"),
        pytest.param("--batch-size 3", "data.batch_size", id="a dash"),
        pytest.param("--bs=3", "data.batch_size", id="two letters"),
        pytest.param("--gpus 1", "trainer.devices", id="gpus"),
        pytest.param("--workers 1", "data.num_workers", id="workers"),
        pytest.param("--data.batchsize 3", "data.batch_size", id="a typing error"),
        pytest.param("conv6", "--config conv6", id="a config without its option"),
        pytest.param("my/best.ckpt", "--ckpt_path my/best.ckpt", id="a checkpoint without its option"),
    ],
)
def test_a_mistyped_option_suggests_what_was_meant(words, meant):
    called = call("fit", *TINY, *words.split())
    assert called.status == 2
    assert f"did you mean --{meant.removeprefix('--')}" in called.err
    assert len(called.err.splitlines()) == 1


@pytest.mark.parametrize(("typed", "read"), [("1", 1), ("1.0", 1.0), ("0.5", 0.5), ("null", None)])
def test_one_batch_is_not_taken_for_all(typed, read):
    _ = typing.Union[float, int, None]  # noqa: UP007  the order that typing then gives to Lightning's Union[int, float, None]
    read_back = yaml.safe_load(done("fit", "--trainer.limit_test_batches", typed, "--print_config"))
    found = read_back["trainer"]["limit_test_batches"]
    assert (found, type(found)) == (read, type(read))


# Renamed options


def nested(option):
    group, dot, name = option.partition(".")
    return {group: {name: 1}} if dot else {option: 1}


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_an_old_name_works_in_words_configs_and_sweeps_and_names_the_new_one(old, new, caplog):
    with caplog.at_level(logging.WARNING, "fer.commands"):
        assert rename_words([f"--{old}", "x", f"--{old}=x"], [new]) == [f"--{new}", "x", f"--{new}=x"]
        assert rename_settings(nested(old), [new]) == nested(new)
        assert rename_settings({old: 1}, [new]) == {new: 1}
    assert caplog.messages[0] == f"--{old} is now called --{new}; the old name will go"
    assert rename_words([f"--{old}"], []) == [f"--{old}"]  # of a command without the new one


def test_an_old_config_and_old_words_are_read(tmp_path):
    (tmp_path / "old.yaml").write_text("network: ann\nprune: {num_patterns: 44, similar_below: 20}\n")
    words = ["--config", "old.yaml", "--distinctiveness.num_patterns", "99", "--print_config"]
    called = call("fit", *words)
    config = yaml.safe_load(called.out)
    assert (config["prune"]["num_samples"], config["prune"]["similar_below"]) == (44, 20)
    assert config["distinctiveness"]["num_samples"] == 99
    assert called.err.count("is now called") == 2


# Help


@pytest.mark.parametrize("command", [name for name in ALL if name not in ON_A_RUN])
def test_help_has_no_markup(command):
    called = call(command, "--help")
    assert called.status == 0
    assert not MARKUP.search(called.out)


@pytest.mark.parametrize("words", [*ON_A_RUN, "predict --network conv6"])
def test_help_shows_own_settings_first_and_what_the_command_needs(words):
    command, *others = words.split()
    out = done(command, *others, "--help")
    assert not MARKUP.search(out)
    *titles, last = re.findall(r"^(\S.*):$", out, re.MULTILINE)
    assert (titles[0], last) == ("run", "examples")
    intro = " ".join(out.split("\nrun:")[0].split())
    if "--network" not in others:  # else the help is of no config
        assert intro.endswith("Defaults are those of the config demo.")
    assert "default config file" not in out
    assert len(out.split("\n\n")[0].splitlines()) <= 3  # the usage
    if command == "fit":
        assert titles[-1] == "trainer (Lightning)"
        assert {"network and training", "data", "angles between neurons", "pruning"} < set(titles)
        for option in ("--model.lr", "--prune.merge", "--wandb.mode"):
            assert 0 < out.index(option) < out.index("\n  --trainer.max_epochs")
    else:
        assert titles[1:] == [*(["pruning"] if command == "prune" else []), "data"]
        assert "come from the run; fer fit --help lists them" in out
        assert not re.search(
            "--(early_stopping|model|trainer|distinctiveness)", out.split("All other settings")[0]
        )
    assert f"fer {command}" in out[out.index("\nexamples:") :]


@pytest.mark.parametrize("num_epochs", [12, 11])
def test_help_shows_one_default_of_an_option(tmp_path, num_epochs):
    (tmp_path / "mine.yaml").write_text(f"network: ann\ntrainer: {{max_epochs: {num_epochs}}}\n")
    words = [] if num_epochs == 12 else ["--config", "mine.yaml"]  # that of the demo
    out = " ".join(done("fit", *words, "--help").split())
    assert not re.search(r"Default:|[Dd]isabled by default", out)
    assert f"after which training ends; -1: never (default: {num_epochs})" in out


def test_help_explains_the_frequent_options_of_the_trainer_and_names_the_others():
    out = done("fit", "--help")
    trainer = out[out.index("trainer (Lightning):") : out.index("\nexamples:")]
    explained = {*re.findall(r"^  --(trainer\.\w+)", trainer, re.MULTILINE)}
    assert explained == {*TRAINER}
    named = {f"trainer.{name}" for name in re.findall(r"\w+", trainer[: trainer.index("\n\n")])}
    options = {f"trainer.{name}" for name in inspect.signature(Trainer).parameters}
    assert options <= explained | named
    assert not explained & named
    assert "-->" not in out  # jsonargparse's list of linked options


@pytest.mark.parametrize("command", ["fit", "prune", "audit"])
def test_help_shows_types_and_defaults_as_yaml_has_them(command):
    out = " ".join(done(command, "--help").split())
    assert not re.search(
        r"\b(Union|Optional|Literal|tuple|Sequence|Mapping)\[|: (True|False)\)| \| null", out
    )
    if command == "fit":
        assert "0 or more (type: int, default: 0)" in out
        assert "(type: {stop,requeue} or null, default: null)" in out


@pytest.mark.parametrize("words", ["audit", "audit --dataset folder", "prune --timm resnet18", "fit"])
def test_help_shows_no_option_without_effect(words):
    out = done(*words.split(), "--help")
    assert not re.search(r"--(data|prune|model) CONFIG", out)
    if words.startswith("audit"):
        assert not re.search(r"--data\.(augment|batch_size|num_workers|normalise|pipeline|sampler)", out)
        assert "--data.root" in out
        data = " ".join(done("fit", "--help").split())  # they are options elsewhere
        assert all(f"--{option} " in data for option in IN_VAIN["audit"])


def test_the_help_of_prune_explains_any_network_and_shows_only_what_has_an_effect():
    out = done("prune", "--help")
    for option in ("--timm NAME", "--network package", "--weights FILE", "--images FOLDER"):
        assert f"\n  {option}" in out
    assert "--prune.enabled" not in out
    assert " ".join(out.split()).count("one threshold is used for all layers") == 1
    for merge in ("refit", "affine", "scale", "gram", "add", "drop"):
        assert f"{merge} (" in " ".join(out.split())


@pytest.mark.parametrize(
    "words", ["--network conv6", "--config alexnet", "--network ann --dataset synthetic"]
)
def test_an_error_names_the_help_of_what_was_chosen(words):
    err = call("fit", *words.split(), "--modle.lr", "1").err
    assert "did you mean --model.lr? " in err
    assert err.rstrip().endswith(f"all settings: fer fit {words} --help")


# Runs and checkpoints


@pytest.fixture(scope="module")
def trained(tmp_path_factory, sandboxed):
    folder = tmp_path_factory.mktemp("trained")
    with sandboxed(folder):
        done("fit", *TINY, "--run_name", "first", "--test", "false")
    return folder


@pytest.fixture
def here(trained, monkeypatch):
    monkeypatch.chdir(trained)
    return trained


@pytest.mark.slow
def test_latest_is_the_newest_run_and_stands_for_its_checkpoint(here):
    latest = here / "runs" / "latest"
    for command in ("validate", "test"):
        done(command, "runs/latest", "--wandb.mode", "disabled", "--run_name", f"{command}-it")
        assert latest.readlink() == Path(f"{command}-it")
        config = yaml.safe_load((here / "runs" / f"{command}-it" / "config.yaml").read_text())
        assert config["ckpt_path"] == "runs/first/checkpoints/best.ckpt"  # which no later run changes


@pytest.mark.slow
def test_a_trial_of_a_sweep_is_not_the_newest_run(here, monkeypatch):
    before = (here / "runs" / "latest").readlink()
    monkeypatch.setenv("WANDB_SWEEP_PARAM_PATH", "params.yaml")
    done("validate", "runs/first", "--wandb.mode", "disabled", "--run_name", "trial")
    assert (here / "runs" / "latest").readlink() == before


@pytest.mark.usefixtures("here")
@pytest.mark.slow
def test_a_run_is_resumed_from_its_last_checkpoint():
    words = ["--wandb.mode", "disabled", "--trainer.max_epochs", "2", "--test", "false", "--run_name", "more"]
    done("fit", "--ckpt_path", "runs/first", *words)
    assert "runs/first/checkpoints/last.ckpt" in Path("runs/more/config.yaml").read_text()


@pytest.mark.usefixtures("here")
@pytest.mark.slow
def test_some_predictions_name_their_samples():
    words = ["--wandb.mode", "disabled", "--run_name", "some", "--trainer.limit_predict_batches", "1"]
    done("predict", "--ckpt_path", "runs/first", *words)
    lines = Path("runs/some/predictions.csv").read_text().splitlines()
    assert lines[0].startswith("split,index,name,label,predicted,")
    assert len(lines) == 17


@pytest.mark.usefixtures("here")
@pytest.mark.slow
def test_a_limited_test_is_not_called_the_whole_one():
    words = ["--wandb.mode", "disabled", "--run_name", "part", "--trainer.limit_test_batches", "1"]
    assert ", first batch only" in done("test", "runs/first", *words)
    results = yaml.safe_load(Path("runs/part/results.json").read_text())
    assert results["protocol"].endswith(", first batch only")
    assert results["splits"]["test"]["n"] == 16


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("words", "named"),
    [
        pytest.param("test", "fer test needs a checkpoint", id="none"),
        pytest.param("test runs/gone", "runs/gone: no such checkpoint", id="no such run"),
        pytest.param("test runs/first runs/first", "give one checkpoint", id="two"),
        pytest.param("validate runs/first/config.yaml", "config.yaml", id="another file"),
    ],
)
def test_a_missing_checkpoint_is_named(words, named):
    called = call(*words.split())
    assert called.status == 2
    assert named in called.err
    assert len(called.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("fit --config cnv6", "did you mean 'conv6'?"),
        ("crossval -c=cnv6", "did you mean 'conv6'?"),
        ("fit --start_from=runs/gone", "runs/gone: no such checkpoint"),
        ("predict face.png --ckpt_path runs/gone", "runs/gone: no such checkpoint"),
        ("test notes.ckpt", "notes.ckpt: not a readable checkpoint"),
        ("predict face.png --ckpt_path notes.ckpt", "notes.ckpt: not a readable checkpoint"),
        ("report runs/gone", "runs/gone: no such folder"),
        ("compare runs/gone runs/lost", "runs/gone: no such folder"),
        ("sweep gone.yaml --count 2", "gone.yaml: it cannot be read"),
        ("sweep --retry_failed gone.yaml", "gone.yaml: it cannot be read"),
        ("agent gone.yaml", "gone.yaml: it cannot be read"),
        *(
            (f"{name} runs/gone", "runs/gone: no such checkpoint")
            for name in ("test", "validate", "prune", "export")
        ),
    ],
)
def test_a_path_that_is_missing_is_named_before_the_slow_imports(words, message, monkeypatch):
    def fail(command):
        raise AssertionError(command)

    monkeypatch.setattr(fer.__main__, "load", fail)
    Path("notes.ckpt").write_text("no checkpoint")
    called = call(*words.split())
    assert called.status == 2
    assert message in called.err


def test_a_sweep_file_may_leave_its_method_to_the_command_line():
    Path("sweep.yaml").write_text("program: fer\nparameters: {x: {values: [1, 2]}}\nmetric: {name: y}\n")
    check_paths(["sweep.yaml", "--method", "random"], "sweep")
    with pytest.raises(InputError, match="method is missing"):
        check_paths(["sweep.yaml"], "sweep")


@pytest.mark.slow
def test_what_is_checked_before_the_slow_imports_needs_none_of_them():
    code = "import sys, fer.commands.early; sys.exit({'torch', 'lightning'} & sys.modules.keys() != set())"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Nothing is left of a run that cannot start


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("--trainer.limit_train_batches 0", "trainer.limit_train_batches is 0: nothing would be trained"),
        ("--trainer.max_steps 0", "trainer.max_steps is 0: nothing would be trained"),
        ("--trainer.limit_val_batches 0", "trainer.limit_val_batches is 0: no checkpoint"),
        ("--trainer.limit_test_batches 0", "trainer.limit_test_batches is 0: nothing would be tested"),
        ("--trainer.max_epochs 0", "trainer.max_epochs is 0: nothing would be trained"),
        ("--trainer.limit_train_batches 1.5", "limit_train_batches"),
        ("--trainer.strategy nope", "strategy='nope'"),
        ("--trainer.accelerator nope", "accelerator='nope'"),
        ("--trainer.precision 7", "trainer.precision is 7: it must be auto, 64, 32"),
        ("--early_stopping none", "early_stopping is none: it must be a whole number or null"),
        ("--seed_everything first", "seed_everything is first: it must be a whole number;"),
        ("--model.lr high", "model.lr is high: it must be a number;"),
        ("--test maybe", "test is maybe: it must be true or false;"),
        ("--wandb.tags 5", "wandb.tags is 5: it must be a list of texts;"),
        ("--model.milestones [a]", "model.milestones is a: it must be a list of whole numbers;"),
        (
            "--prune.num_removed 5",
            "num_removed is 5: it must be a mapping of names to whole numbers or null;",
        ),
        ("--stages.on_plateau 5", "raise_decay or one of them for each of overfit/lr_frozen/stuck;"),
        (
            "--early_stopping=None",
            "write early_stopping=null; in the command of a sweep, use ${args_json_file}",
        ),
        ("--ema", "--ema needs a value: write --ema=true; in the command of a sweep, use ${args_json_file}"),
        ("--model.lr", "--model.lr needs a value: write --model.lr=VALUE; all settings"),
        ("--trainer.check_val_every_n_epoch 9", "trainer.check_val_every_n_epoch is 9, and training has"),
        ("--on_nan go", "on_nan is go: it must be stop or skip"),
        ("--seed_everything -1", "seed_everything is -1: it must be 0 to 4294967295"),
        ("--run_name latest", "--run_name latest: this is the link"),
        ("--runs_dir /proc/none", "/proc/none"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named_in_one_line(words, named):
    called = call("fit", *TINY, *words.split())
    assert called.status == 2
    assert named in called.err
    assert len(called.err.splitlines()) == 1
    assert not list(Path("runs").glob("*"))


@pytest.mark.parametrize(
    ("mode", "named"), [("offlin", "did you mean 'offline'?"), ("x", "must be one of online, offline")]
)
def test_a_wrong_mode_of_wandb_is_named_in_one_line(mode, named, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", mode)
    called = call("fit", *TINY, "--wandb.mode", "auto")
    assert called.status == 2
    assert f"WANDB_MODE={mode}: " in called.err
    assert named in called.err
    assert not list(Path("runs").glob("*"))


@pytest.mark.slow
def test_a_mode_of_wandb_is_read_in_any_case(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "Disabled")
    done("fit", *TINY, "--wandb.mode", "auto", "--run_name", "a", "--test", "false")
    assert not Path("runs/a/wandb").exists()


@pytest.mark.parametrize(
    "error",
    [
        pytest.param("yaml.YAMLError('line 1\\nline 2')", id="yaml"),
        pytest.param("jsonargparse.ArgumentError(None, 'line 1\\nline 2')", id="jsonargparse"),
        pytest.param("PermissionError(13, 'line 1\\nline 2')", id="permission"),
        pytest.param("torch.OutOfMemoryError('line 1\\nline 2')", id="torch"),
    ],
)
def test_errors_of_libraries_end_in_one_line(error, tmp_path, monkeypatch):
    text = f"import jsonargparse, torch, yaml\nHELP = 'fail'\n\n\ndef fail(words):\n    raise {error}\n"
    (tmp_path / "fail.py").write_text(text)
    monkeypatch.setattr(fer.commands, "__path__", [*fer.commands.__path__, str(tmp_path)])
    monkeypatch.delitem(sys.modules, "fer.commands.fail", raising=False)
    called = call("fail")
    assert called.status == 2
    assert "line 1 line 2" in called.err
    assert "--debug shows the traceback" in called.err
    assert len(called.err.splitlines()) == 1


def test_what_only_python_can_give_is_no_option():
    config = yaml.safe_load(done("fit", "--print_config"))
    assert set(CALLBACKS.values()) == {"gradients", "distinctiveness", "stages", "prune"}
    for group in CALLBACKS.values():
        assert not ONLY_PYTHON & config[group].keys()
    assert config["stages"]["val_loss"] == "val/loss"
    assert config["distinctiveness"]["num_samples"] == 512  # of the demo
