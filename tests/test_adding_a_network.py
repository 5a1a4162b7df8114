"""A network is added by one file in models/ and one in configs/: all lists find it there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fer

REPOSITORY = Path(fer.__file__).parent.parent
NETWORK = '''"""A linear classifier of pixels."""

from torch import Tensor, nn


class Linear0Net(nn.Module):
    """One linear layer on the pixels.

    Args:
        channels: Number of colour channels.
        image_size: Height and width of the images.
        num_classes: Number of classes.
    """

    def __init__(self, *, channels: int = 1, image_size: int = 48, num_classes: int = 7) -> None:
        super().__init__()
        self.fc = nn.Linear(channels * image_size**2, num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits."""
        logits: Tensor = self.fc(inputs.flatten(1))
        return logits
'''
CONFIG = "# One linear layer on synthetic faces.\nnetwork: linear0\ndataset: synthetic\nmodel:\n  lr: 0.25\n"

TEST = """
from contextlib import suppress
from fer.__main__ import main
from fer.models import Linear0Net
from fer.tasks import Linear0Task

def test_it_is_in_all_lists():
    assert type(Linear0Task().network) is Linear0Net
    for words in (["--help"], ["fit", "--config", "linear0", "--print_config"]):
        with suppress(SystemExit):
            main(words)
"""


@pytest.fixture
def copied(tmp_path):
    """A copy of the repository with one more network."""
    shutil.copytree(REPOSITORY / "fer", tmp_path / "fer", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(REPOSITORY / "tests", tmp_path / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, tmp_path)
    (tmp_path / "fer" / "models" / "linear0.py").write_text(NETWORK)
    (tmp_path / "fer" / "configs" / "linear0.yaml").write_text(CONFIG)
    return tmp_path


def run(folder, *words):
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    ended = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.mark.slow
def test_a_network_is_two_files(copied):
    (copied / "tests" / "test_the_new_one.py").write_text(TEST)
    tests = ("test_the_new_one", "test_architecture", "tasks/test_tasks", "models/test_networks")
    words = ("-m", "pytest", "-v", "-s", "-k", "one_name_everywhere or linear0 or all_lists")
    tested = run(copied, sys.executable, *words, *(f"tests/{name}.py" for name in tests))
    assert "FAILED" not in tested
    for words in ("network: linear0", "lr: 0.25", "  linear0        One linear layer on synthetic faces."):
        assert words in tested
    for name in ("explains_each_setting_of_a_task", "settings_are_keyword_only_and_have_defaults"):
        assert re.search(rf"{name}\[linear0\]\s+PASSED", tested)
    assert "One linear layer on synthetic faces." in run(copied, "make", "help")


def test_the_network_of_a_file_is_its_last_module():
    from fer.models import NETWORKS, CbamResNet, TransferNet, _checks, cbam, defined_network

    assert defined_network(cbam) is CbamResNet is NETWORKS["cbam"]
    assert NETWORKS["transfer"] is TransferNet
    with pytest.raises(ImportError, match=r"_checks\.py defines no nn\.Module: add one"):
        defined_network(_checks)
