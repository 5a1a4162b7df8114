"""Two processes (gloo, CPU): the same numbers as one, no warning twice, and no process waits forever."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
from foreign.digits import DigitsDataModule, LitDigits
from forked import Forked

import fer
from fer.neurons import angles, measure

SECONDS = 240
"""After which a process that still runs is taken to hang."""

pytestmark = pytest.mark.slow


def run(folder, case):
    """Run the script, and return what it wrote to the terminal and what each of the processes had."""
    here = Path(__file__).parent
    paths = os.pathsep.join([str(Path(fer.__file__).parents[1]), str(here.parent)])
    process = Forked(
        [here / "ddp_run.py", folder, case],
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        merged=True,
    )
    try:
        out, _ = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        out, _ = process.communicate()
        pytest.fail(f"a process hangs: {out[-2000:]}")
    assert process.returncode == 0, out
    left = [torch.load(folder / f"left-{rank}.pt", weights_only=False) for rank in (0, 1)]
    logs = [text for path in folder.glob("log-*.txt") for text in path.read_text().splitlines()]
    return out, left, logs


@pytest.mark.parametrize("case", ["given", "of the loader"])
def test_two_processes_measure_what_one_does(case, tmp_path):
    _, left, logs = run(tmp_path, case)
    module = LitDigits()
    module.load_state_dict(left[0]["weights"])
    if case == "given":
        samples = torch.rand(300, 64, generator=torch.Generator().manual_seed(3))
    else:  # of each process the first 100 of its part of the loader
        data = DigitsDataModule()
        data.setup("fit")
        images = torch.stack([x for x, _ in data.val])
        samples = torch.cat([images[0::2][:100], images[1::2][:100]])
    expected = angles(measure(module, [samples], ["layer_2:input"])["layer_2:input"])
    for each in left:
        torch.testing.assert_close(
            each["degrees"]["layer_1"].double(), expected.double(), atol=0.01, rtol=0, equal_nan=True
        )
        assert each["epochs"] == 2
    assert left[0]["losses"] == left[1]["losses"]
    assert left[0]["history"]["layer_1"]["epoch"] == [1.0, 2.0]
    assert left[0]["pruned"]["layer_1.weight"].shape == (24, 64)
    written = json.loads((tmp_path / "prune.json").read_text())
    assert written["layers"]["layer_1"]["after"] == 24
    assert torch.load(tmp_path / "checkpoints" / "pruned.ckpt", weights_only=True)["widths"]
    assert [text for text in logs if "fewer than 10" not in text and "samples:" not in text] == []


def test_two_processes_warn_once_and_end(tmp_path):
    _, left, logs = run(tmp_path, "wrong")
    assert [each["epochs"] for each in left] == [2, 2]
    for name, value in left[0]["pruned"].items():  # the metric is only shown: pruning goes on without it
        assert torch.equal(value, left[1]["pruned"][name])
    for words in ("no angles: ", "train_loss='loss'", "'val_accuracy'"):
        assert sum(words in text for text in logs) == 1, logs
