"""What a run stores, sends and prints names neither the key nor the home folder of its user."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from forked import run_python
from loopback import Loopback

pytestmark = pytest.mark.slow

KEY = "f00dcafe" * 5
TOKEN = "ghp_" + "s3cret" * 5

SETTINGS = [
    *("--network", "ann", "--dataset", "folder", "--data.image_size", "8", "--data.protocol", "60/20/20"),
    *("--data.batch_size", "7", "--trainer.max_epochs", "1", "--trainer.accelerator", "cpu"),
    *(
        "--distinctiveness.every_n_epochs",
        "0",
        "--stages.enabled",
        "false",
        "--gradients.every_n_epochs",
        "0",
    ),
]


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_no_key_token_or_home_folder_is_kept(mode, tmp_path, make_images):
    home = tmp_path / "home" / "ann"
    work = home / "work"
    work.mkdir(parents=True)
    make_images(home / "faces", num=5, size=(8, 8))
    remote = f"https://{TOKEN}:x-oauth-basic@example.org/a/b.git"
    for words in (["init", "-q"], ["remote", "add", "origin", remote]):
        subprocess.run(["git", *words], cwd=work, check=True)
    with Loopback() as server:
        environment = os.environ | {
            "HOME": str(home),
            "WANDB_BASE_URL": f"http://127.0.0.1:{server.port}",
            "WANDB_API_KEY": KEY,
            "WANDB_ERROR_REPORTING": "false",
            "FER_CACHE_DIR": str(tmp_path / "cache"),
            "OMP_NUM_THREADS": "1",
        }
        del environment["WANDB_MODE"]
        said = ""
        for command in (
            ["fit", *SETTINGS, "--data.root", str(home / "faces"), "--wandb.mode", mode, "--run_name", "a"],
            ["report", "runs/a"],
        ):
            ended = run_python("-m", "fer", *command, cwd=work, env=environment)
            assert ended.returncode == 0, ended.stderr
            said += ended.stdout + ended.stderr
    found = {
        path: path.read_bytes()
        for path in [*work.rglob("runs/**/*"), *work.glob("wandb/**/*")]
        if path.is_file()
    }
    assert {path.name for path in found} >= {"best.ckpt", "config.yaml", "report.html"}
    found[Path("terminal")] = said.encode()
    sent = [[run.config, run.about, run.history, run.summary] for run in server.runs.values()]
    assert bool(sent) == (mode == "online")
    found[Path("server")] = json.dumps(sent + server.artifacts).encode()
    for secret in (KEY, TOKEN, "/home/ann"):
        holders = [path for path, content in found.items() if secret.encode() in content]
        if secret == "/home/ann":  # an offline run names the files that it will upload from here
            holders = [path for path in holders if path.suffix != ".wandb"]
        assert holders == []


def test_the_config_of_a_run_still_finds_the_data(tmp_path, make_images):
    """The home folder is written as ``~/`` in it."""
    home = tmp_path / "home" / "ann"
    make_images(home / "faces", num=5, size=(8, 8))
    environment = os.environ | {"HOME": str(home), "WANDB_MODE": "disabled", "OMP_NUM_THREADS": "1"}
    first = ["fit", *SETTINGS, "--data.root", str(home / "faces"), "--run_name", "a"]
    second = ["fit", "--config", "runs/a/config.yaml", "--run_name", "b"]
    for words in (first, second):
        ended = run_python("-m", "fer", *words, cwd=home, env=environment)
        assert ended.returncode == 0, ended.stderr
    assert "root: ~/faces" in (home / "runs" / "b" / "config.yaml").read_text()
