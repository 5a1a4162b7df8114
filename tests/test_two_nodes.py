"""Two machines, as the README of fer/commands starts them (two processes over gloo), train as one does."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from command import done

import fer

WORDS = [
    *("--network", "conv1", "--data.num_train", "64", "--data.num_val", "35", "--data.num_test", "35"),
    *("--model.lr", "0.01", "--model.optimizer", "sgd", "--data.augment", "fer", "--trainer.max_epochs", "2"),
    *("--trainer.accelerator", "cpu", "--distinctiveness.every_n_epochs", "0", "--stages.enabled", "false"),
    *("--gradients.every_n_epochs", "0", "--test", "false", "--wandb.mode", "disabled"),
]


def started(*words: str) -> "subprocess.Popen[str]":
    environment = os.environ | {"PYTHONPATH": str(Path(fer.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def free_port() -> int:
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        port: int = own.getsockname()[1]
        return port


def weights(folder: Path, name: str) -> dict[str, torch.Tensor]:
    path = folder / "runs" / name / "checkpoints" / "last.ckpt"
    found: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["state_dict"]
    return found


@pytest.mark.slow
def test_two_nodes_end_with_the_weights_of_one_process_with_the_same_global_batch(tmp_path: Path) -> None:
    launcher = ["-m", "torch.distributed.run", "--nnodes", "2", "--nproc_per_node", "1"]
    launcher += ["--master_addr", "127.0.0.1", "--master_port", str(free_port())]
    command = ["-m", "fer", "fit", *WORDS]
    two = [
        "--trainer.num_nodes",
        "2",
        "--trainer.devices",
        "1",
        "--data.batch_size",
        "8",
        "--run_name",
        "two",
    ]
    one = ["--trainer.devices", "1", "--data.batch_size", "16", "--run_name", "one"]
    processes = [started(*launcher, "--node_rank", str(rank), *command, *two) for rank in (0, 1)]
    try:
        outputs = [process.communicate(timeout=600)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], outputs
    done("fit", *WORDS, *one)
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"one", "two", "latest"}
    together, expected = weights(tmp_path, "two"), weights(tmp_path, "one")
    for name, value in expected.items():
        torch.testing.assert_close(together[name], value, rtol=1e-4, atol=1e-6)
