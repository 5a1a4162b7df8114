"""fer fit --teachers: a network learns the answers of trained ones."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from command import call, done

from fer.checkpoints import read_checkpoint, write_checkpoint
from fer.tasks import load
from fer.tasks.teachers import Teachers

pytestmark = pytest.mark.slow

DATA = ["--data.num_train", "70", "--data.num_val", "35", "--data.num_test", "35", "--data.batch_size", "16"]
QUIET = [
    *("--trainer.accelerator", "cpu", "--wandb.mode", "disabled", "--test", "false"),
    *(
        "--stages.enabled",
        "false",
        "--gradients.every_n_epochs",
        "0",
        "--distinctiveness.every_n_epochs",
        "0",
    ),
]
SMALL = ["--network", "ann", "--data.image_size", "8", *QUIET]


def _fit(*words: object) -> str:
    return done("fit", *DATA, *SMALL, *words)


@pytest.fixture(scope="module")
def teachers(tmp_path_factory, sandboxed):
    folder = tmp_path_factory.mktemp("teachers")
    with sandboxed(folder):
        for seed in (1, 2):
            _fit("--seed_everything", seed, "--run_name", f"t{seed}", "--trainer.max_epochs", "2")
    return [folder / "runs" / f"t{seed}" for seed in (1, 2)]


def _as_list(*paths: Path) -> str:
    return json.dumps([str(each) for each in paths])


def test_a_network_learns_the_answers_of_its_teachers(teachers, tmp_path):
    words = ["--trainer.max_epochs", "40", "--model.lr", "0.01", "--teachers"]
    out = _fit(*words, _as_list(*teachers), "--run_name", "student")
    (line,) = [each for each in out.splitlines() if each.startswith("teachers")]
    assert "t1/checkpoints/best.ckpt" in line
    assert "replace the labels" in line
    student = load("runs/student/checkpoints/best.ckpt")
    plain = load(teachers[0] / "checkpoints/best.ckpt")
    assert sum(each.numel() for each in student.parameters()) == sum(p.numel() for p in plain.parameters())
    images = torch.randn(512, 1, 8, 8)
    answers = Teachers({str(each): load(each / "checkpoints/best.ckpt") for each in teachers})
    loss_of = partial(answers.loss, inputs=images)
    least = loss_of(answers.probabilities(images).log())  # the entropy of the answers
    with torch.no_grad():
        alone, learned = (loss_of(network.eval()(images)) - least for network in (plain, student))
    assert 0 <= learned < 0.5 * alone
    done("validate", "runs/student")  # without its teachers


def test_a_resumed_training_keeps_its_teachers(teachers, tmp_path):
    words = ["--teachers", teachers[0], "--seed_everything", "3"]  # one needs no list
    _fit(*words, "--trainer.max_epochs", "2", "--run_name", "whole")
    _fit(*words, "--trainer.max_epochs", "1", "--run_name", "cut")
    (path,) = yaml.safe_load(Path("runs/cut/config.yaml").read_text())["teachers"]
    assert Path(path).samefile(teachers[0] / "checkpoints/best.ckpt")
    out = done("fit", "--resume", "runs/cut", "--trainer.max_epochs", "2")
    assert "replace the labels" in out
    whole, cut = (load(f"runs/{name}/checkpoints/last.ckpt").state_dict() for name in ("whole", "cut"))
    torch.testing.assert_close(cut, whole, rtol=0, atol=0)


def _changed(run: Path, **parts: object) -> Path:
    content = read_checkpoint(run / "checkpoints/best.ckpt")
    path = Path("changed.ckpt").absolute()
    write_checkpoint(path, {**content, **parts})
    return path


def _refused(*words: object) -> str:
    called = call("fit", *DATA, *SMALL, "--trainer.max_epochs", "1", "--teachers", *words)
    assert called.status == 2
    assert not Path("runs").exists()
    return called.err


def test_teachers_that_do_not_fit_are_refused(teachers, tmp_path):
    assert "runs/gone: no such checkpoint" in _refused('["runs/gone"]')
    content = read_checkpoint(teachers[0] / "checkpoints/best.ckpt")
    others = [f"Other {name}" for name in content["class_names"]]
    _refused(_as_list(_changed(teachers[0], class_names=others)))
    state = {"SyntheticDataModule": {"mean": [0.9], "std": [0.9]}}
    assert "normalised differently" in _refused(_as_list(teachers[1], _changed(teachers[0], **state)))
    weights = {name: value * torch.nan for name, value in content["state_dict"].items()}
    assert "NaN" in _refused(_as_list(_changed(teachers[0], state_dict=weights)))
    assert "best.ckpt" in _refused(_as_list(teachers[0]), "--data.image_size", "10")
