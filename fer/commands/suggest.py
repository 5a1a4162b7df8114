"""Suggest the command or option that was meant, for typos and for names that other tools use."""

from collections.abc import Collection, Sequence
from difflib import get_close_matches
from typing import Final

COMMANDS: Final = {
    "train": "fit",
    "run": "fit",
    "finetune": "fit",
    "eval": "test",
    "evaluate": "test",
    "val": "validate",
    "infer": "predict",
    "inference": "predict",
    "compress": "prune",
    "onnx": "export",
    "convert": "export",
    "cv": "crossval",
    "cross-validate": "crossval",
    "seeds": "repeat",
    "multirun": "repeat",
    "search": "sweep",
    "tune": "sweep",
    "check": "audit",
    "align": "crop",
    "html": "report",
    "plot": "report",
}
"""Commands by the names that other tools use for them."""

OPTIONS: Final = {
    "amp": "trainer.precision",
    "arch": "network",
    "backbone": "network",
    "batch": "data.batch_size",
    "bs": "data.batch_size",
    "checkpoint": "ckpt_path",
    "ckpt": "ckpt_path",
    "cuda": "trainer.accelerator",
    "data_dir": "data.root",
    "data_path": "data.root",
    "device": "trainer.accelerator",
    "epoch": "trainer.max_epochs",
    "epochs": "trainer.max_epochs",
    "fp16": "trainer.precision",
    "gpu": "trainer.devices",
    "gpus": "trainer.devices",
    "image_dir": "data.root",
    "img_size": "data.image_size",
    "imgsz": "data.image_size",
    "input_size": "data.image_size",
    "learning_rate": "model.lr",
    "log_dir": "runs_dir",
    "n_epochs": "trainer.max_epochs",
    "name": "run_name",
    "num_epochs": "trainer.max_epochs",
    "optim": "model.optimizer",
    "out_dir": "runs_dir",
    "output_dir": "runs_dir",
    "pretrained_weights": "start_from",
    "resume": "ckpt_path",
    "save_dir": "runs_dir",
    "scheduler": "model.schedule",
    "lr_scheduler": "model.schedule",
    "seed": "seed_everything",
    "wd": "model.weight_decay",
    "workers": "data.num_workers",
}
"""Options by the names that other tools use for them."""


def suggest_command(word: str, commands: Collection[str]) -> str | None:
    """Return the command that was meant; None if no name is close.

    >>> [suggest_command(word, ["fit", "test"]) for word in ("train", "trian", "tset", "xyz")]
    ['fit', 'fit', 'test', None]
    """
    known = {name: meant for name, meant in COMMANDS.items() if meant in commands}
    known |= {name: name for name in commands}
    near = get_close_matches(word.lower(), known, n=1)
    return known[near[0]] if near else None


def suggest_options(name: str, options: Sequence[str]) -> list[str]:
    """Return up to three options that may have been meant, the likeliest first.

    Args:
        name: The name that was typed, without leading dashes.
        options: Dotted names of all options.

    >>> options = ["model.lr", "model.dropout", "data.batch_size", "trainer.max_epochs", "seed_everything"]
    >>> [suggest_options(name, options) for name in ("model.learning_rate", "dropout", "model.lrr", "bs")]
    [['model.lr'], ['model.dropout'], ['model.lr'], ['data.batch_size']]
    """
    group, _, last = name.rpartition(".")
    last = last.replace("-", "_").lower()
    meant = OPTIONS.get(last)
    if meant is not None and meant in options:
        return [meant]
    if same := [option for option in options if option.rpartition(".")[2] == last]:
        return same[:3]
    in_group = {option.rpartition(".")[2]: option for option in options if option.rpartition(".")[0] == group}
    near = [in_group[each] for each in get_close_matches(last, in_group, n=3)]
    return near or get_close_matches(name, options, n=3)
