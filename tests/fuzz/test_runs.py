"""Folders of runs and checkpoints that are mostly valid."""

import io
import json
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import AWKWARD, altered, mutated

from fer.errors import InputError
from fer.models.transfer import read_state
from fer.report import write_report
from fer.tasks import TASKS, load

CONFIG = {
    "seed_everything": 7,
    "network": "conv6",
    "dataset": "fer2013",
    "model": {"lr": 0.006, "widths": [16, 32]},
    "run_name": "x",
    "ckpt_path": None,
    "prune": {"similar_below": 15.0},
}
RESULTS = {
    "network": "Conv6Net",
    "parameters": 10,
    "trainable_parameters": 9,
    "protocol": "official",
    "epochs": 3,
    "fit_seconds": 61.0,
    "class_names": ["a", "b"],
    "splits": {"train": {"confusion": [[3, 1], [0, 2]]}, "test": {"confusion": [[1, 0], [1, 5]]}},
}
OLD = {"stage": "plateau", "reason": "lr_frozen", "first": 0, "last": 2}
INTERVAL = {"stage": "plateau", "reason": "lr_frozen", "begin": 0.0, "end": 2.5, "confirmed_by": ["cka"]}
STAGES = {"network": {"final": [INTERVAL], "live": [INTERVAL]}, "fc1": {"final": [OLD], "live": []}}
SIDE = {"acc": 0.5, "interval": [0.4, 0.6], "loss": 1.5, "parameters": 10, "macs": 20}
PRUNE = {
    "n": 6,
    "protocol": "official",
    "mcnemar": {"p": 0.5, "lost": 1, "gained": 2},
    "before": SIDE,
    "after": SIDE,
    "layers": {"fc1": {"before": 5, "after": 3, "dead": 1, "similar": 1}},
    "settings": {"similar_below": 15.0},
}
CURVE = {"rules": {"similar": {"threshold": [1, 2], "accuracy": [0.5, 0.4], "removed": [0, 3]}}}
METRICS = "epoch,step,train/loss,train/acc,val/loss,val/acc,lr,angles/fc1/min,angles/fc1/median\n" + "".join(
    f"{epoch},{epoch},1.5,0.2,,,0.1,10,90\n{epoch},,,,1.2,0.3,,,\n" for epoch in range(4)
)


def angles(degrees: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, fc1=degrees.astype(np.float32))
    return stream.getvalue()


def as_json(content: Any) -> bytes:
    return json.dumps(content).encode(errors="replace")


def as_yaml(content: Any) -> bytes:
    return yaml.safe_dump(content, allow_unicode=True).encode(errors="replace")


FILES: dict[str, tuple[Any, Any]] = {
    "config.yaml": (CONFIG, as_yaml),
    "results.json": (RESULTS, as_json),
    "stages.json": (STAGES, as_json),
    "prune.json": (PRUNE, as_json),
    "curve.json": (CURVE, as_json),
}


@st.composite
def run_folders(draw: st.DrawFn) -> dict[str, bytes]:
    """Draw the files of a run, of which some are missing and some are damaged."""
    files: dict[str, bytes] = {}
    for name, (content, write) in FILES.items():
        match draw(st.sampled_from(["whole", "whole", "altered", "mutated", "missing"])):
            case "whole":
                files[name] = write(content)
            case "altered":
                files[name] = write(draw(altered(content)))
            case "mutated":
                files[name] = draw(mutated(write(content)))
    if draw(st.booleans()):
        files["metrics.csv"] = draw(mutated(METRICS.encode()))
    degrees = draw(
        st.sampled_from([np.eye(3) * 90, np.full((3, 3), np.nan), np.ones((2, 3)), np.ones((0, 0))])
    )
    for name in draw(st.lists(st.sampled_from(["epoch-0000", "epoch-0003", "epoch-x", "other"]), max_size=3)):
        files[f"angles/{name}.npz"] = draw(mutated(angles(degrees), most=1))
    if draw(st.integers(0, 9)) == 0:
        files["figures/predictions.png"] = draw(st.binary(max_size=20))
        files["wandb/run-20240101_000000-x/files/requirements.txt"] = draw(mutated(b"torch==2.6\na==b==c"))
    return files


def settings_of(*_) -> dict[str, Any]:
    return {"model.lr": 0.1, "network": "conv6"}


@given(run_folders())
@pytest.mark.slow
def test_a_report_of_any_run_is_a_page_or_a_line(files: dict[str, bytes]) -> None:
    folder = Path(tempfile.mkdtemp(dir=Path.cwd()))
    try:
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        with suppress(InputError):
            assert write_report(folder, None, settings_of).stat().st_size
    finally:
        shutil.rmtree(folder)


SWEEP = {
    "method": "random",
    "metric": {"name": "val/acc", "goal": "maximize"},
    "parameters": {"x": {"values": [1, 2, 3]}},
    "command": ["fer", "fit", "${args}"],
}


@given(
    altered(SWEEP, most=1).map(as_yaml) | mutated(as_yaml(SWEEP)),
    altered({"method": "random", "seed": 0, "key": "k", "file": "sweep.yaml"}, most=1),
)
def test_a_report_of_any_sweep_is_a_page_or_a_line(sweep: bytes, study) -> None:
    folder = Path(tempfile.mkdtemp(dir=Path.cwd()))
    try:
        (folder / "sweep.yaml").write_bytes(sweep)
        (folder / "study.json").write_bytes(as_json(study))
        with suppress(InputError):
            assert write_report(folder, None, settings_of).stat().st_size
    finally:
        shutil.rmtree(folder)


# Checkpoints


@pytest.fixture(scope="module")
def checkpoint() -> dict[str, Any]:
    """What a checkpoint of a small network holds."""
    task = TASKS["ann"](in_features=4, hidden=3)
    content: dict[str, Any] = {"state_dict": task.state_dict(), "hyper_parameters": dict(task.hparams)}
    content |= {"epoch": 1, "global_step": 2, "pytorch-lightning_version": "2.6.0", "optimizer_states": [{}]}
    task.on_save_checkpoint(content)
    return content


def try_to_load(content: bytes) -> None:
    folder = Path(tempfile.mkdtemp(dir=Path.cwd()))
    try:
        (folder / "best.ckpt").write_bytes(content)
        for read in (load, read_state):
            with suppress(InputError):
                read(folder / "best.ckpt")
    finally:
        shutil.rmtree(folder)


def saved(content: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def test_the_checkpoint_is_valid(checkpoint, tmp_path) -> None:
    (tmp_path / "best.ckpt").write_bytes(saved(checkpoint))
    assert load(tmp_path / "best.ckpt").network is not None


@settings(settings.get_profile("slow-fuzz"))
@given(data=st.data())
def test_checkpoints_with_other_bytes(checkpoint, data: st.DataObject) -> None:
    try_to_load(data.draw(mutated(saved(checkpoint), most=6)))


odd_tensors = st.sampled_from(
    [
        *(torch.zeros(3, 4), torch.zeros(0), torch.tensor(1), torch.zeros(1, dtype=torch.int8)),
        *(
            torch.full((3,), torch.nan),
            torch.zeros(1).expand(10**6, 10**6),
            torch.zeros(2, dtype=torch.complex64),
        ),
        *(torch.eye(3).to_sparse(), torch.zeros(3, 4, dtype=torch.bfloat16)),
    ]
)


@pytest.mark.filterwarnings("ignore:Validating sparse tensor:UserWarning")  # torch's, of what it does
@settings(settings.get_profile("slow-fuzz"))
@given(data=st.data())
def test_checkpoints_with_other_content(checkpoint, data: st.DataObject) -> None:
    content = dict(checkpoint)
    for _ in range(data.draw(st.integers(1, 3))):
        key = data.draw(st.sampled_from(sorted(content) or ["task"]))
        part = content.get(key)
        match data.draw(st.sampled_from(["delete", "replace", "inner", "inner", "inner"])):
            case "delete":
                content.pop(key, None)
            case "inner" if isinstance(part, dict) and part:
                name = data.draw(st.sampled_from(sorted(part, key=str)))
                value = data.draw(st.sampled_from(AWKWARD) | odd_tensors)
                content[key] = {each: old for each, old in part.items() if each != name or value is not None}
                if value is not None:
                    content[key] = {**part, name: value}
            case _:
                content[key] = data.draw(st.sampled_from(AWKWARD) | odd_tensors)
    try_to_load(saved(content))
