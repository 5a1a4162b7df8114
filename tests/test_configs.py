"""Every config that is shipped runs through the real command line, on tiny data of the same form."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from fer.__main__ import main
from fer.configs import config_names, config_path
from fer.errors import InputError

HEAVY = {*("alexnet", "best", "best-gpu", "cbam", "conv1", "conv2", "conv4", "resnet", "transfer", "vgg")}
EACH = [pytest.param(name, marks=pytest.mark.slow if name in HEAVY else ()) for name in config_names()]
USAGES = ("Training", "PublicTest", "PrivateTest")


@pytest.fixture
def tiny_fer2013(tmp_path: Path) -> Path:
    """FER2013's CSV with random pixels: 35 images to train on, twice 14 to test on."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "data"
    folder.mkdir()
    with (folder / "fer2013.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["emotion", "pixels", "Usage"])
        for usage, num in zip(USAGES, (35, 14, 14), strict=True):
            for row in range(num):
                writer.writerow([row % 7, " ".join(map(str, rng.integers(256, size=48 * 48))), usage])
    return folder


@pytest.fixture
def tiny_sfew(tmp_path: Path, make_images) -> Path:
    """Ten stills of noise for each expression, in which no detector finds a face."""
    return make_images(
        tmp_path / "sfew", names=[f"Film_{i % 3}_{i:09d}_{i:08d}.png" for i in range(10)], size=(40, 30)
    )


@pytest.fixture
def tiny_sfew_features(tmp_path: Path) -> Path:
    """SFEW's table with random numbers: ten rows for each expression."""
    rng = np.random.default_rng(0)
    path = tmp_path / "SFEW.csv"
    with path.open("w", newline="") as file:
        for row in range(70):
            name = f"Film_{row % 3}_{row:09d}_{row:08d}"
            csv.writer(file).writerow([name, row % 7 + 1, *rng.normal(size=10)])
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", EACH)
def test_a_config_trains_and_tests_its_network(name, request, capsys):
    config = yaml.safe_load(config_path(name).read_text())
    tiny = {
        "trainer.accelerator": "cpu",
        "trainer.max_epochs": 1,
        "trainer.limit_train_batches": 2,
        "trainer.limit_test_batches": 1,
        "data.batch_size": 8,
        # Drawing takes longer than all the rest; the demo's has it.
        "distinctiveness.every_n_epochs": "null" if name == "demo" else 0,
        "stages.enabled": "true" if name == "demo" else "false",
        "wandb.mode": "disabled",
        "run_name": "a",
    }
    if config["dataset"] == "synthetic":
        tiny |= {"data.num_train": 35, "data.num_val": 14, "data.num_test": 14}
    else:
        tiny["data.root"] = request.getfixturevalue(f"tiny_{config['dataset']}")
        if config["dataset"] != "fer2013":
            tiny["data.val_share"] = 0.2  # so few that a tenth has not one of each class
    if name == "transfer":
        tiny["model.pretrained"] = "false"  # whose weights are on the internet
    words = [str(word) for key, value in tiny.items() for word in (f"--{key}", value)]
    assert main(["fit", "--config", name, *words]) == 0
    results = json.loads(Path("runs/a/results.json").read_text())
    assert results["epochs"] == 1
    tests = {"public", "private"} if config["data"].get("protocol") == "holdout" else {"test"}
    assert results["splits"].keys() == {"train", "val"} | tests
    assert f"network      {config['network']}: " in capsys.readouterr().out


@pytest.mark.parametrize("name", config_names())
def test_a_config_says_in_its_first_line_what_it_is(name):
    first = config_path(name).read_text().splitlines()[0]
    assert first.startswith("# ")
    assert first.endswith(".")


def test_a_config_is_a_file_or_a_name(tmp_path, monkeypatch):
    own = tmp_path / "own.yaml"
    own.touch()
    assert config_path(str(own)) == own
    assert config_path("resnet").name == "resnet.yaml"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert config_path("~/own.yaml") == own
    with pytest.raises(
        InputError, match=r"--config rsnet: no such file.*did you mean 'resnet'\?.*alexnet, ann"
    ):
        config_path("rsnet")


def test_a_file_of_the_users_comes_before_a_shipped_config_of_its_name(tmp_path):
    (tmp_path / "resnet").touch()
    assert config_path("resnet") == Path("resnet")
