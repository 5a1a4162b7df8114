"""Every command of the README runs as it stands, in order, on small settings that are added behind it."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import torch
import yaml
from command import call
from fer2013_forms import as_csv, tiny_rows
from PIL import Image
from skimage.data import astronaut

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
COMMANDS = [
    line
    for language, block in BLOCKS
    if language == "sh"
    for line in block.splitlines()
    if shlex.split(line, comments=True)
]
OWN_NETWORK = """
from torch import nn

class Small(nn.Sequential):
    def __init__(self, channels: int = 3, num_classes: int = 7):
        layers = [nn.Conv2d(channels, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU()]
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes))
"""
FIT = ["--trainer.max_epochs", "1", "--trainer.accelerator", "cpu", "--data.batch_size", "16"]
NARROW = ["--model.widths", "[8, 8, 16, 16, 16]"]
FEW = ["--data.num_train", "70", "--data.num_val", "35", "--data.num_test", "35"]
TRIAL = ["--network", "conv6", "--dataset", "synthetic", "--data.image_size", "32", *FIT, *NARROW, *FEW]
TRIAL += [
    "--distinctiveness.every_n_epochs",
    "0",
    "--gradients.every_n_epochs",
    "0",
    "--stages.enabled",
    "false",
]


class Shell:
    """What a newcomer's shell does with the README's lines; it knows every kind of line that may be there."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.done: list[str] = []

    def run(self, line: str) -> None:
        """Run a line; one that nothing here runs is a failure."""
        words = [os.path.expanduser(word) for word in shlex.split(line, comments=True)]  # noqa: PTH111
        match words:
            case ["export", setting]:
                name, value = setting.split("=~")
                os.environ[name] = f"{self.home}{value}"
            case ["make", "setup"]:
                assert "install --python .venv/bin/python --editable" in self.printed_by_make("setup")
            case ["source", ".venv/bin/activate"]:
                assert "VENV := .venv\n" in (ROOT / "Makefile").read_text()  # what make setup makes
            case ["make", *of_make]:
                called = re.findall(r"^\.venv/bin/fer (.*)$", self.printed_by_make(*of_make), re.MULTILINE)
                assert called, line
                for each in called:
                    self.fer(*shlex.split(each))
            case ["fer", *of_fer]:
                self.fer(*of_fer)
            case ["wandb", "leet", pattern]:
                assert len([*Path().glob(pattern)]) == 1
            case ["wandb", "agent", _]:
                assert '"wandb", "agent"' in (ROOT / "tests" / "test_wandb_agent.py").read_text()
            case _:
                pytest.fail(f"no test runs the README's {line!r}")
        self.done.append(line)

    def fer(self, *words: str) -> None:
        """Call a command with settings that make it short."""
        called = call(*words, *small_settings(words))
        assert called.status == 0, (words, called.err)

    @staticmethod
    def printed_by_make(*words: str) -> str:
        """Return the commands of a target, without running them."""
        called = subprocess.run(
            ["make", "-n", "-W", "pyproject.toml", *words],
            cwd=ROOT,
            env={**os.environ, "ARGS": "", "MAKEFLAGS": ""},  # not those of a make that runs the tests
            capture_output=True,
            text=True,
            check=True,
        )
        return called.stdout


def small_settings(words: tuple[str, ...]) -> list[str]:
    """Return what is added behind a command."""
    match words:
        case ["fit", *_] if "demo" in words:
            return [*FIT, *NARROW, *FEW]
        case ["fit" | "repeat", *_] if "conv6" in words:
            return [*FIT, *NARROW]
        case ["fit", *_]:
            return FIT
        case ["prune", *_] if "--images" in words:
            return ["--image_size", "48", "--prune.share_removed", "0.5", "--prune.criterion", "span"]
    return []


@pytest.fixture
def newcomer(tmp_path, monkeypatch, make_images) -> Shell:
    """A shell in a folder with what the README names: data, a photo, a network, and sweeps of tiny trials."""
    monkeypatch.setenv("HOME", str(tmp_path))
    data = tmp_path / "data"
    (data / "fer2013").mkdir(parents=True)
    as_csv(data / "fer2013", tiny_rows())
    make_images(data / "animals", num=10, class_names=["cat", "dog", "owl"], size=(48, 48))
    Image.fromarray(astronaut()[:300, 60:360]).save("photo.jpg")
    Path("mynets.py").write_text(OWN_NETWORK)
    names: dict = {}
    exec(OWN_NETWORK, names)
    torch.save(names["Small"]().state_dict(), "weights.pth")
    Path("sweeps").mkdir()
    for path in (ROOT / "sweeps").glob("*.yaml"):
        sweep = yaml.safe_load(path.read_text())
        sweep["command"][-2:-2] = TRIAL
        sweep["parameters"].pop("model.widths", None)
        (Path("sweeps") / path.name).write_text(yaml.safe_dump(sweep))
    return Shell(tmp_path)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_every_command_runs_as_it_stands(newcomer):
    for line in COMMANDS:
        newcomer.run(line)

    assert newcomer.done == COMMANDS
    assert {path.name for path in Path("runs").iterdir()} >= {"first", "first-prune", "latest"}
    assert Path("runs/first/report.html").is_file()


def test_a_make_that_runs_the_tests_adds_nothing_to_the_commands(monkeypatch):
    plain = Shell.printed_by_make("demo")
    monkeypatch.setenv("ARGS", "-m slow")
    monkeypatch.setenv("MAKEFLAGS", "-- ARGS=-m\\ slow")
    assert Shell.printed_by_make("demo") == plain


def test_the_readme_is_short_and_its_links_lead_somewhere():
    assert len(README.splitlines()) <= 200
    links = [*re.findall(r"\]\((?!http)([^)#]+)", README), *re.findall(r'(?:src|srcset)="([^"]+)"', README)]
    assert len(links) > 8
    assert [link for link in links if not (ROOT / link).is_file()] == []


def test_the_sweep_file_of_the_readme_is_a_part_of_the_one_in_sweeps():
    [shown] = [yaml.safe_load(block) for language, block in BLOCKS if language == "yaml"]
    whole = yaml.safe_load((ROOT / "sweeps" / "conv6-bayes.yaml").read_text())
    parameters = shown.pop("parameters")
    assert shown.items() <= whole.items()
    assert parameters.items() <= whole["parameters"].items()


def test_the_command_is_put_on_the_path_before_it_is_used():
    names = [line.split()[0] for line in COMMANDS]
    assert names.index("make") < names.index("source") < names.index("fer")
