"""The commands in the READMEs and in the table of results are ones that exist."""

import ast
import csv
import re
import shlex
from pathlib import Path
from zipfile import ZipFile

import pytest
from command import call, done
from lightning import LightningDataModule
from small_module import SmallModule, small_loader

from fer.__main__ import main
from fer.configs import config_names, config_path
from fer.pruning import load_pruned

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
OF_PACKAGES = {path.parent.name: path.read_text() for path in sorted((ROOT / "fer").glob("*/README.md"))}
TEXTS = "\n\n".join([README, *OF_PACKAGES.values()])


def blocks_in(text: str) -> list[tuple[str, str]]:
    """Return language and content of each block."""
    return re.findall(r"^```(\w+)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


BLOCKS = blocks_in(TEXTS)
PYTHON = [
    block
    for text in (README, OF_PACKAGES["commands"], OF_PACKAGES["predict"])
    for language, block in blocks_in(text)
    if language == "python"
]


def words(line: str) -> list[str]:
    return shlex.split(line, comments=True)


def measured() -> list[str]:
    """Return the commands of the measured results, of those with the same options one."""
    with (ROOT / "notebooks" / "results.csv").open(newline="") as file:
        lines = [row["command"] for row in csv.DictReader(file)]
    kinds = {tuple(word for word in words(line) if not re.search(r"\d", word)): line for line in lines}
    return list(kinds.values())


LINES = [
    *(line for language, block in BLOCKS if language == "sh" for line in block.splitlines()),
    *measured(),
]
FER = [words(line)[1:] for line in LINES if line.startswith("fer ")]
LAUNCHED = [words(line) for line in LINES if line.startswith(("torchrun ", "srun "))]
MAKE = sorted(
    {words(line)[1] for line in LINES if line.startswith("make ")}
    | {*re.findall(r"`make\s([a-z0-9-]+)[ `]", TEXTS)}  # in the text and in tables
)


def test_readme_has_commands() -> None:
    assert len(FER) >= 5
    assert {"demo", "test", "train-resnet"} <= set(MAKE)


@pytest.mark.parametrize("target", MAKE)
def test_make_has_the_target(target: str) -> None:
    targets = re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)

    sweeps = {f"sweep-{path.stem}" for path in (ROOT / "sweeps").glob("*.yaml")}
    benches = {f"bench-{path.stem}" for path in (ROOT / "tests" / "bench").glob("*.py")}
    assert target in {*targets, *sweeps, *benches} or target.removeprefix("train-") in config_names()


def _with_value(words: list[str], flag: str) -> list[str]:
    place = words.index(flag)
    return words[place : place + 2]


ONE_RUN = [
    words
    for words in [*FER, *(line[line.index("fer") + 1 :] for line in LAUNCHED)]
    if words[0] in ("fit", "validate", "test", "prune") and "--images" not in words
]
MACHINES = re.findall(
    r"^\| `(\w+)` \| ([\d.]+) MB \| ([\d.]+) ms \| ([\d.]+) ms \|$", TEXTS, flags=re.MULTILINE
)
OWN_NETWORK = """
from torch import nn

class Small(nn.Sequential):
    def __init__(self, num_classes=7):
        super().__init__(nn.Flatten(), nn.Linear(2304, num_classes))
"""


@pytest.mark.parametrize("arguments", [words for words in FER if words not in ONE_RUN], ids=" ".join)
def test_help_lists_what_the_command_uses(arguments: list[str]) -> None:
    command, *others = arguments
    options = [word for word in others if word.startswith("--")]
    # Any network's pruning has a parser of its own.
    which = ["--images", "images"] if "--images" in others else []
    shown = done("--help") if command == "--help" else done(command, *which, "--help")
    if command in ("crossval", "repeat"):  # which take all of fit's as well
        meant = [
            word for flag in ("--config", "--dataset") if flag in others for word in _with_value(others, flag)
        ]
        shown += call("fit", *meant, "--help").out  # a note says what is left out of a config
    assert [option for option in options if option not in shown] == []


@pytest.mark.parametrize("arguments", ONE_RUN, ids=" ".join)
def test_fer_understands_the_command(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mynets.py").write_text(OWN_NETWORK)
    for name, checkpoints in {
        "NAME": ("best", "last"),
        "latest": ("best",),
        "NAME-prune": ("pruned",),
        "first": ("best",),
        "best/seed-1": ("best",),
        "best/half": ("pruned",),
        "first-prune": ("pruned",),
    }.items():
        run = tmp_path / "runs" / name
        (run / "checkpoints").mkdir(parents=True)
        for checkpoint in checkpoints:
            ZipFile(run / "checkpoints" / f"{checkpoint}.ckpt", "w").close()
        (run / "config.yaml").write_text(config_path("demo").read_text())
    asks_for_help = "--help" in arguments

    with pytest.raises(SystemExit) as ended:
        main([*arguments, *([] if asks_for_help else ["--print_config"])])

    assert ended.value.code == 0
    assert ("usage:" if asks_for_help else "network:") in capsys.readouterr().out


def test_torchrun_understands_how_it_is_called() -> None:
    from torch.distributed.run import get_args_parser

    (called,) = [line[1:] for line in LAUNCHED if line[0] == "torchrun"]
    given = get_args_parser().parse_args(called)
    assert (given.module, given.training_script, given.training_script_args[0]) == (True, "fer", "fit")
    for command in LAUNCHED:  # Lightning is told what the launcher was
        option = command.index("--trainer.devices")
        assert command[option + 1] == given.nproc_per_node
        assert command[command.index("--trainer.num_nodes") + 1] == given.nnodes


@pytest.mark.slow
def test_the_arithmetic_of_several_gpus() -> None:
    from fer.models import NETWORKS

    assert {name for name, *_ in MACHINES} == NETWORKS.keys()
    for name, *shown in MACHINES:
        trained = [each.numel() for each in NETWORKS[name]().parameters() if each.requires_grad]
        size = 4e-6 * sum(trained)
        for value, expected in zip(map(float, shown), (size, 2 * size / 25, 2 * size / 1.25), strict=True):
            assert value == pytest.approx(expected, rel=0.05), name


@pytest.mark.parametrize("example", PYTHON)
def test_python_example_imports_what_there_is(example: str) -> None:
    imports = [node for node in ast.parse(example).body if isinstance(node, ast.ImportFrom)]

    assert imports
    for node in imports:
        exec(compile(ast.Module([node], []), "README.md", "exec"), {})


class SmallData(LightningDataModule):
    """What the README calls ``MyData``."""

    def train_dataloader(self):
        return small_loader(160)

    def val_dataloader(self):
        return small_loader(seed=1)


def _block(words: str) -> str:
    (block,) = [block for block in PYTHON if words in block]
    return block


@pytest.mark.filterwarnings("ignore:The number of training batches")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorboard")
@pytest.mark.slow
def test_the_callbacks_work_in_any_training_as_shown() -> None:
    names = {"MyModule": SmallModule, "MyData": SmallData, "images": small_loader(160).dataset.tensors[0]}

    exec(compile(_block("PruneCallback("), "README.md", "exec"), names)

    trainer = names["trainer"]
    pruned = next(each.pruned for each in trainer.callbacks if hasattr(each, "pruned"))
    small = load_pruned(SmallModule(), Path(trainer.log_dir) / "checkpoints" / "pruned.ckpt")
    assert {key: each.shape for key, each in small.state_dict().items()} == {
        key: each.shape for key, each in pruned.state_dict().items()
    }
    assert {"angles/net.0/mean", "stage/network", "val_acc"} <= trainer.callback_metrics.keys()
    run = Path(trainer.log_dir)
    assert {"angles", "checkpoints", "figures", "prune.json", "stages.json"} <= {
        path.name for path in run.iterdir()
    }


def test_plain_pytorch_works_as_shown() -> None:
    names = {"network": SmallModule().net, "loader": small_loader(160)}

    exec(compile(_block("from fer import angles"), "README.md", "exec"), names)

    assert {layer: tuple(each.shape) for layer, each in names["degrees"].items()} == {
        "0": (12, 12),
        "2": (8, 8),
    }
    assert names["smaller"](small_loader().dataset.tensors[0]).shape == (48, 3)
