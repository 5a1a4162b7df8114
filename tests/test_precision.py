"""``--trainer.precision auto``: what it stands for on which device, and that a run keeps it."""

from pathlib import Path

import pytest
import torch
import yaml
from command import call, done
from lightning.pytorch.accelerators import CUDAAccelerator, MPSAccelerator, XLAAccelerator

import fer.commands.members
from fer.commands.precision import Choice, Device, choose_precision, find_device
from fer.configs import config_names, config_path

FIT = [
    *("fit", "--network", "ann", "--data.image_size", "8", "--data.batch_size", "16"),
    *("--data.num_train", "70", "--data.num_val", "35", "--data.num_test", "35"),
    *("--trainer.accelerator", "cpu", "--wandb.mode", "disabled", "--gradients.every_n_epochs", "0"),
    *("--distinctiveness.every_n_epochs", "0", "--stages.enabled", "false"),
]


@pytest.fixture
def machine(monkeypatch):
    """Pretend that this machine has other units: a function that takes them."""

    def pretend(*, has_amx=False, gpus=(), has_mps=False, has_tpu=False):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has_amx)
        monkeypatch.setattr(torch.cpu, "_init_amx", lambda: has_amx)
        monkeypatch.setattr(CUDAAccelerator, "is_available", staticmethod(lambda: bool(gpus)))
        monkeypatch.setattr(CUDAAccelerator, "auto_device_count", staticmethod(lambda: len(gpus)))
        parse = staticmethod(lambda given: list(range(given)) if isinstance(given, int) else given)
        monkeypatch.setattr(CUDAAccelerator, "parse_devices", parse)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: gpus[index])
        monkeypatch.setattr(MPSAccelerator, "is_available", staticmethod(lambda: has_mps))
        monkeypatch.setattr(XLAAccelerator, "is_available", staticmethod(lambda: has_tpu))

    return pretend


BF16, FLOAT32 = "bf16-mixed", "32-true"
MIXED_GPUS = ((9, 0), (7, 5))


@pytest.mark.parametrize(
    ("units", "accelerator", "devices", "expected"),
    [
        pytest.param({"has_amx": True}, "auto", "auto", (BF16, "AMX"), id="AMX"),
        pytest.param({"has_amx": True}, "cpu", 2, (BF16, "AMX"), id="AMX, two processes"),
        pytest.param({}, "auto", "auto", (FLOAT32, "none: cpu"), id="a CPU without AMX"),
        pytest.param({"gpus": [(8, 0)]}, "auto", "auto", (BF16, "compute capability 8.0"), id="Ampere"),
        pytest.param({"gpus": [(9, 0)]}, "gpu", "auto", (BF16, "compute capability 9.0"), id="Hopper"),
        pytest.param({"gpus": [(12, 0)]}, "cuda", -1, (BF16, "compute capability 12.0"), id="Blackwell"),
        pytest.param({"gpus": [(7, 5)]}, "auto", 1, (FLOAT32, "compute capability 7.5"), id="Turing"),
        pytest.param({"gpus": MIXED_GPUS}, "gpu", [0], (BF16, "compute capability 9.0"), id="the first GPU"),
        pytest.param({"gpus": MIXED_GPUS}, "gpu", 2, (FLOAT32, "compute capability 7.5"), id="both GPUs"),
        pytest.param({"gpus": [(9, 0)]}, "cpu", "auto", (FLOAT32, "none: cpu"), id="the CPU beside a GPU"),
        pytest.param(
            {"gpus": [(7, 5)], "has_amx": True},
            *("auto", "auto", (FLOAT32, "compute capability 7.5")),
            id="an old GPU beside AMX",
        ),
        pytest.param({"has_mps": True, "has_amx": True}, "auto", "auto", (FLOAT32, "none: mps"), id="Apple"),
        pytest.param({"has_mps": True}, "gpu", 1, (FLOAT32, "none: mps"), id="Apple's GPU"),
        pytest.param({"has_tpu": True, "has_amx": True}, "auto", "auto", (FLOAT32, "none: tpu"), id="a TPU"),
        pytest.param({"has_amx": True}, "gpu", 1, (FLOAT32, "none: cuda"), id="a GPU that is not there"),
        pytest.param({"has_amx": True}, "hpu", 1, (FLOAT32, "none: hpu"), id="an unknown one"),
    ],
)
def test_auto_is_bfloat16_where_matrix_units_multiply_it(units, accelerator, devices, expected, machine):
    machine(**({"gpus": ()} | units))
    if devices == -1:
        devices = len(units["gpus"])
    precision, reason = expected
    reason = reason.replace("none: ", "no bfloat16 matrix units known in ")
    assert choose_precision(find_device(accelerator, devices)) == Choice(precision, reason)


def test_amx_that_the_system_withholds_is_not_used(machine, monkeypatch):
    machine(has_amx=True)
    monkeypatch.setattr(torch.cpu, "_init_amx", lambda: False)
    assert find_device("cpu", "auto") == Device("cpu", has_amx=False)


def test_every_shipped_config_of_images_leaves_the_precision_to_the_device():
    configs = {name: yaml.safe_load(config_path(name).read_text()) for name in config_names()}
    left = {name for name, config in configs.items() if config["trainer"].get("precision") == "auto"}
    assert left == set(configs) - {"ann"}  # whose matrices are too small to gain by it


def _precision(name: str) -> str:
    return yaml.safe_load(Path(f"runs/{name}/config.yaml").read_text())["trainer"]["precision"]


def _header(out: str) -> str:
    (line,) = (line for line in out.splitlines() if line.startswith("device "))
    return line.partition(", ")[2]


AUTO = ("--trainer.precision", "auto")


@pytest.mark.slow
def test_a_run_says_and_writes_what_was_chosen_and_keeps_it_elsewhere(machine):
    machine(has_amx=True)
    out = done(*FIT, *AUTO, "--run_name", "a", "--trainer.max_epochs", "1")
    assert (_header(out), _precision("a")) == ("precision bf16-mixed (auto: AMX)", BF16)
    machine()
    out = done("test", "runs/a", "--run_name", "tested")
    assert (_header(out), _precision("tested")) == ("precision bf16-mixed", BF16)
    out = done("fit", "--resume", "runs/a", "--trainer.max_epochs", "2")
    assert (_header(out), _precision("a")) == ("precision bf16-mixed", BF16)
    out = done("fit", "--resume", "runs/a", "--trainer.max_epochs", "3", *AUTO)
    assert (_header(out), _precision("a")) == ("precision bf16-mixed (auto: as the run began)", BF16)
    called = call("fit", "--resume", "runs/a", "--trainer.max_epochs", "4", "--trainer.precision", FLOAT32)
    assert called.status
    assert "--trainer.precision 32-true: runs/a has bf16-mixed" in called.err


@pytest.mark.slow
def test_a_job_that_is_started_again_elsewhere_goes_on_in_its_precision(machine):
    machine(has_amx=True)
    words = [*FIT, *AUTO, "--run_name", "a", "--on_sigterm", "requeue"]
    done(*words, "--trainer.max_epochs", "1")
    machine()
    out = done(*words, "--trainer.max_epochs", "2")
    assert (_header(out), _precision("a")) == ("precision bf16-mixed (auto: as the run began)", BF16)


@pytest.mark.slow
def test_what_auto_stands_for_names_no_run_on_the_dashboard(machine, monkeypatch):
    names = []
    monkeypatch.setattr(
        "fer.commands.experiment.wandb_logger", lambda *_, name=None, **__: names.append(name)
    )
    machine(has_amx=True)
    settings = "network: ann\ndataset: synthetic\ntrainer: {precision: auto, max_epochs: 1}\n"
    Path("own.yaml").write_text(settings)
    for given in ([], ["--trainer.precision", FLOAT32]):
        done("fit", "--config", "own.yaml", *FIT[3:], *given)
    left_open, is_set = names
    assert "precision" not in left_open
    assert sorted(is_set.split()) == sorted([*left_open.split(), "precision=32-true"])


def test_help_lists_auto():
    out = done("fit", "--network", "ann", "--help")
    assert "--trainer.precision" in out
    assert "auto: bf16-mixed where the device has matrix units" in " ".join(out.split())


def test_folds_share_the_precision_of_the_first(make_images, monkeypatch):
    given = []

    def fit(_, words, __, resumed=None):
        del resumed
        options = dict(word.removeprefix("--").split("=", 1) for word in words if "=" in word)
        given.append(options.get("trainer.precision"))
        run = Path(options["runs_dir"]) / options["run_name"]
        run.mkdir(parents=True)
        (run / "config.yaml").write_text(
            f"network: ann\ndataset: folder\ntrainer: {{precision: {BF16 if len(given) == 1 else 'other'}}}\n"
        )
        (run / "results.json").write_text('{"splits": {}}')

    monkeypatch.setattr(fer.commands.members, "run_experiment", fit)
    monkeypatch.setattr(fer.commands.members, "_conclude", lambda *_: None)
    root = make_images(Path("images"), num=2)
    words = ["crossval", "--network", "ann", "--dataset", "folder", "--data.root", root, "--folds", "3"]
    call(*words, "--run_name", "study", *AUTO)
    assert given == [None, BF16, BF16]
