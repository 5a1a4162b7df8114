"""The commands around one run: LightningCLI with the network and the data chosen by name."""

import argparse
import json
import math
import os
import re
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from itertools import count, pairwise
from pathlib import Path
from typing import Any, Final, cast

import yaml
from jsonargparse import ArgumentError, ArgumentParser
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import (
    EarlyStopping,
    EMAWeightAveraging,
    ModelCheckpoint,
    RichProgressBar,
)
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console

from fer.audit import audit_data
from fer.callbacks import (
    DistinctivenessCallback,
    EpochLineCallback,
    EvaluationCallback,
    GradientCallback,
    PruneCallback,
    StageCallback,
)
from fer.callbacks.media import figures_dir
from fer.callbacks.prune import scalars
from fer.configs import config_path
from fer.crop import crop
from fer.dashboards import apart_from_sweep, finish, wandb_logger
from fer.data import DATA_MODULES, PooledDataModule
from fer.errors import InputError, did_you_mean
from fer.figures import confusion_figure, folds_figure
from fer.files import atomic_write
from fer.history import read_history
from fer.predict import write_predictions
from fer.processes import process_rank
from fer.studies.crossval import run_folds, summarise
from fer.tasks import TASKS, ClassificationTask, load

BEST: Final = "best.ckpt"

CONSOLE: Final = Console(highlight=False, soft_wrap=True)

# Lightning's own, on things that are as they should be: a call that the newest torch calls deprecated;
# workers, which on a CPU would only take the cores that train; patterns repeated for a second process,
# which are not counted; frozen layers in eval mode; a run that goes on in a folder of its own.
warnings.filterwarnings("ignore", message=".*LeafSpec.*")
warnings.filterwarnings("ignore", message=".*does not have many workers.*")
warnings.filterwarnings("ignore", message="Using `DistributedSampler` with the dataloaders.*")
warnings.filterwarnings("ignore", message="Found .* in eval mode.*")
warnings.filterwarnings("ignore", message="The dirpath has changed.*")


def run(command: str, arguments: Sequence[str]) -> None:
    """Run one command of the command line.

    Args:
        command: A name of :data:`fer.__main__.COMMANDS`.
        arguments: The words after it.

    Raises:
        InputError: Something that the user gave cannot be used.
    """
    others = {"download": _download, "audit": _audit, "crop": _crop, "crossval": _crossval}
    if command in others:
        others[command](arguments)
    else:
        if command == "prune" and arguments and not arguments[0].startswith("-"):
            arguments = ["--ckpt_path", *arguments]
        words, chosen = choose(arguments)
        _run(command, words, chosen)


def _run(command: str, words: Sequence[str], chosen: Mapping[str, str]) -> None:
    """Run a command on one run, and close its W&B run whatever happens."""
    try:
        ExperimentCLI(command, words, **chosen).run()
    except MisconfigurationException as e:  # a setting that Lightning refuses
        raise InputError(str(e)) from e
    finally:
        finish()


# Which network, which data


def choose(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Find out which network and which data are meant, before there is a parser for their settings.

    ``--config`` takes the name of a shipped config as well as a file. A checkpoint without a config is
    taken with the config that its run left beside it.

    Args:
        arguments: The words of the command line.

    Returns:
        The words with configs as paths, and the names: ``{"network": …, "dataset": …}``.

    Raises:
        InputError: A config cannot be read, or a name is unknown.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--config", "-c", action="append", default=[])
    parser.add_argument("--network")
    parser.add_argument("--dataset")
    parser.add_argument("--ckpt_path")
    try:
        given, others = parser.parse_known_args(list(arguments))
    except argparse.ArgumentError as e:
        raise InputError(str(e)) from e
    if given.ckpt_path and not given.config:
        given.config.append(str(_config_of(given.ckpt_path)))
        # A run of its own: under the old one's name it would replace that one's config, metrics and results.
        others = ["--run_name", "null", *others]
    chosen = {"network": "conv6", "dataset": "synthetic"}
    if not (given.config or given.network or given.dataset):
        given.config.append("demo")
    paths = [config_path(name) for name in given.config]
    for path in paths:
        content = _read_config(path)
        chosen |= {key: str(content[key]) for key in chosen if key in content}
    chosen |= {key: value for key in chosen if (value := getattr(given, key)) is not None}
    for key, names in (("network", TASKS), ("dataset", DATA_MODULES)):
        if chosen[key] not in names:
            hint = did_you_mean(chosen[key], names)
            msg = f"--{key} {chosen[key]}: unknown; {hint}there are {', '.join(names)}"
            raise InputError(msg)
    words = [word for path in paths for word in ("--config", str(path))]
    if given.ckpt_path:
        words += ["--ckpt_path", given.ckpt_path]
    return words + others, chosen


def _config_of(checkpoint: str) -> Path:
    """Return the config of the run that wrote a checkpoint."""
    path = Path(checkpoint)
    if not path.is_file():
        msg = f"--ckpt_path {checkpoint}: there is no such checkpoint"
        raise InputError(msg)
    config = path.resolve().parent.parent / "config.yaml"
    if not config.is_file():
        msg = f"--ckpt_path {checkpoint}: no config.yaml beside its folder; give the run's with --config"
        raise InputError(msg)
    return config


def _read_config(path: Path) -> Mapping[str, Any]:
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as e:
        msg = f"--config {path}: it cannot be read as YAML: {e}"
        raise InputError(msg) from e
    if not isinstance(content, Mapping):
        msg = f"--config {path}: it holds no settings"
        raise InputError(msg)
    return content


# One run


class ConfigCallback(SaveConfigCallback):
    """Store the run's whole config: as YAML in its folder, and flat, under a sweep's names, in W&B."""

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write both, once, on the first process."""
        del pl_module, stage
        text = self.parser.dump(self.config, skip_none=False)
        with atomic_write(Path(trainer.default_root_dir) / "config.yaml") as file:
            file.write(text.encode())
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_hyperparams(_flat(yaml.safe_load(text)))


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings under dotted keys, as a sweep names them.

    >>> _flat({"model": {"lr": 0.1}, "network": "ann"})
    {'model.lr': 0.1, 'network': 'ann'}
    """
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


class ExperimentCLI(LightningCLI):
    """One network on one data set: settings from the classes' signatures, one folder a run.

    Args:
        command: What to do.
        arguments: The words of the command line.
        network: A name of :data:`fer.tasks.TASKS`.
        dataset: A name of :data:`fer.data.DATA_MODULES`.
    """

    def __init__(self, command: str, arguments: Sequence[str], *, network: str, dataset: str) -> None:
        self.command = command
        self.names = {"network": network, "dataset": dataset}
        started = time.strftime("%Y%m%d-%H%M%S")
        suffix = "" if command == "fit" else f"-{command}"
        self.default_name = f"{network}-{dataset}-{started}{suffix}"
        super().__init__(
            TASKS[network],
            DATA_MODULES[dataset],
            save_config_callback=ConfigCallback,
            save_config_kwargs={"save_to_log_dir": False},
            seed_everything_default=0,
            trainer_defaults={
                "max_epochs": 20,
                "enable_progress_bar": sys.stdout.isatty(),
                "enable_model_summary": False,  # a line of our own says it
                "log_every_n_steps": 1,  # nothing is logged by step; this keeps Lightning from warning
            },
            parser_kwargs={
                "prog": f"fer {command}",
                "exit_on_error": False,
                "allow_abbrev": False,
                "description": f"{command}: network {network!r} on data {dataset!r}. Settings of the network "
                "and its training are under model, of data under data, of Lightning's loop under trainer.",
            },
            args=list(arguments),
            run=False,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the words that were given; what is wrong with them is said without all of the usage."""
        try:
            self.config = parser.parse_args(args)
        except ArgumentError as e:
            raise InputError(_explain(str(e), parser)) from e

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the settings that are neither the network's, nor the data's, nor the trainer's."""
        parser.add_argument("--network", type=str, default=self.names["network"], help=f"{', '.join(TASKS)}")
        parser.add_argument(
            "--dataset", type=str, default=self.names["dataset"], help=f"{', '.join(DATA_MODULES)}"
        )
        parser.add_argument(
            "--ckpt_path", type=str | None, default=None, help="a checkpoint to test, or to go on from"
        )
        parser.add_argument(
            "--start_from",
            type=str | None,
            default=None,
            help="a checkpoint of the same network, perhaps trained on other data, whose weights fit starts "
            "from; all else begins anew",
        )
        parser.add_argument("--runs_dir", type=str, default="runs", help="where the folders of runs are")
        parser.add_argument(
            "--run_name", type=str | None, default=None, help="the run's folder; null: network, data and time"
        )
        parser.add_argument(
            "--test",
            type=bool,
            default=True,
            help="whether fit ends by testing the best checkpoint, once; a sweep says false, "
            "since the test split is not for choosing",
        )
        parser.add_argument(
            "--early_stopping",
            type=int | None,
            default=None,
            help="epochs without a better val/acc before training ends; null: never",
        )
        parser.add_argument(
            "--ema",
            type=bool,
            default=False,
            help="whether an exponential moving average of the weights is evaluated and kept, "
            "instead of the last step's",
        )
        parser.add_function_arguments(wandb_logger, "wandb", skip={"run_dir"})
        parser.add_lightning_class_args(GradientCallback, "gradients")
        # In this order: a stage follows from the angles.
        parser.add_lightning_class_args(DistinctivenessCallback, "distinctiveness")
        parser.add_lightning_class_args(StageCallback, "stages")
        parser.add_lightning_class_args(PruneCallback, "prune")
        for setting in ("image_size", "channels"):
            if _takes(parser, f"model.{setting}") and _takes(parser, f"data.{setting}"):
                parser.link_arguments(f"data.{setting}", f"model.{setting}")
        if _takes(parser, "model.in_features"):
            parser.link_arguments("data.num_features", "model.in_features", apply_on="instantiate")

    def _make_run_dir(self) -> Path:
        """Make the run's folder, which no other run has.

        Raises:
            InputError: The name was given, and its folder is not empty.
        """
        folder = Path(self.config.runs_dir)
        if process_rank() != 0:
            return folder / (self.config.run_name or self.default_name)  # writes nothing
        if self.config.run_name is not None:
            run_dir = folder / str(self.config.run_name)
            run_dir.mkdir(parents=True, exist_ok=True)
            if any(run_dir.iterdir()):
                msg = f"{run_dir} holds a run: choose another --run_name, or move it away"
                raise InputError(msg)
            return run_dir
        run_dir, number = folder / self.default_name, 1
        while True:
            try:
                run_dir.mkdir(parents=True)
            except FileExistsError:  # another started in the same second
                number += 1
                run_dir = folder / f"{self.default_name}-{number}"
            else:
                return run_dir

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Build the trainer with the run's folder, loggers and callbacks.

        Data and checkpoint are read first: what is wrong with them is said before there is a folder.
        """
        self._load_checkpoint()
        if process_rank() == 0:
            self.datamodule.prepare_data()
            self.datamodule.setup()
            self._check_inputs()
        self.run_dir = self._make_run_dir()
        self.trainer_defaults["callbacks"] = self._callbacks()
        if self.config.trainer.logger is None:
            kwargs["logger"] = self._loggers()
        return super().instantiate_trainer(default_root_dir=str(self.run_dir), **kwargs)

    def _check_inputs(self) -> None:
        """Refuse features where the network takes pictures.

        Raises:
            InputError: It does.
        """
        inputs = self.datamodule.dataset("train")[0][0]
        if inputs.ndim == 1 and "image_size" in self.config.model:
            msg = (
                f"--network {self.names['network']} takes pictures; the data gives {len(inputs)} features "
                "(--dataset sfew_features, or data.descriptors): take --network ann, or data with pictures"
            )
            raise InputError(msg)

    def _loggers(self) -> list[Logger]:
        to_csv = CSVLogger(save_dir=self.run_dir, name="", version="")
        _ = to_csv.experiment  # made while the folder is empty, or it warns that it is not
        try:
            to_wandb = wandb_logger(self.run_dir, **self.config.wandb.as_dict())
        except InputError:
            shutil.rmtree(self.run_dir)  # made for this run, and with what W&B may have put there
            raise
        return [to_csv] if to_wandb is None else [to_csv, to_wandb]

    def _callbacks(self) -> list[Callback]:
        callbacks: list[Callback] = [
            EvaluationCallback(),
            EpochLineCallback(),
            ModelCheckpoint(
                dirpath=self.run_dir / "checkpoints",
                filename=Path(BEST).stem,
                monitor="val/acc",
                mode="max",
                enable_version_counter=False,
            ),
            # A callback of its own: save_last only writes what is saved as the best, too.
            ModelCheckpoint(
                dirpath=self.run_dir / "checkpoints", filename="last", enable_version_counter=False
            ),
        ]
        if self.config.early_stopping is not None:
            callbacks.append(EarlyStopping("val/acc", mode="max", patience=self.config.early_stopping))
        if self.config.ema:
            callbacks.append(EMAWeightAveraging())
        if self.config.trainer.enable_progress_bar:
            callbacks.append(RichProgressBar(leave=False))
        return callbacks

    def before_instantiate_classes(self) -> None:
        """Spare a network that is loaded from a checkpoint the weights that it started from."""
        if self.config.ckpt_path is not None:
            self.config.start_from = None
            for setting, none in (("pretrained", False), ("weights", None)):
                if setting in self.config.model:
                    self.config.model[setting] = none

    def _load_checkpoint(self) -> None:
        """Take the network of a checkpoint to evaluate it, or see that training can go on from it."""
        start = self.config.start_from
        if start is not None:
            trained = load(start)
            if trained.widths is not None:
                self.model.shrink(trained.widths)
            _check_fits(trained, self.model, option="--start_from", checkpoint=start)
            self.model.load_state_dict(trained.state_dict())
        checkpoint = self.config.ckpt_path
        if checkpoint is not None:
            trained = load(checkpoint)
            if self.command == "fit":
                if trained.widths is not None:
                    self.model.shrink(trained.widths)
                _check_fits(trained, self.model, option="--ckpt_path", checkpoint=checkpoint)
            else:
                self.model = trained
        elif self.command != "fit":
            msg = f"fer {self.command} needs --ckpt_path: a checkpoint, such as runs/…/checkpoints/{BEST}"
            raise InputError(msg)

    def run(self) -> None:
        """Do what the command says."""
        self._say_what()
        {
            "fit": self._fit,
            "validate": self._validate,
            "test": self._test,
            "predict": self._predict,
            "prune": self._prune,
        }[self.command]()
        self._say_where()

    def _fit(self) -> None:
        self.trainer.fit(
            self.model, datamodule=self.datamodule, ckpt_path=self.config.ckpt_path, weights_only=True
        )
        # The first process's: one that started a second later would name another folder.
        best = Path(self.trainer.strategy.broadcast(str(self.run_dir / "checkpoints" / BEST)))
        if self.config.test and best.is_file() and not self.trainer.interrupted:
            # Loaded as a stranger would load it. (With an average of weights, Lightning's own "best" would
            # put the last step's weights in its place.)
            self.model = load(best)
            self._test()

    def _validate(self) -> None:
        self.trainer.validate(self.model, datamodule=self.datamodule)

    def _test(self) -> None:
        self.trainer.test(self.model, datamodule=self.datamodule, verbose=False)

    def _predict(self) -> None:
        batches = cast(list[Any], self.trainer.predict(self.model, datamodule=self.datamodule))
        if len(self.datamodule.test_names) == 1:  # Lightning drops the outer list where there is one loader
            batches = [batches]
        path = self.run_dir / "predictions.csv"
        write_predictions(path, self.datamodule, batches)
        CONSOLE.print(f"predictions  {path}")

    def _prune(self) -> None:
        callbacks = {type(callback): callback for callback in self.trainer.callbacks}  # type: ignore[attr-defined]
        callbacks[ConfigCallback].save_config(self.trainer, self.model, "prune")
        self.model.to(self.trainer.strategy.root_device)
        results = callbacks[PruneCallback].prune(
            self.model, self.datamodule, Path(self.config.ckpt_path), self.run_dir
        )
        for logger in self.trainer.loggers:
            logger.log_metrics(scalars(results))
            logger.save()

    @rank_zero_only
    def _say_what(self) -> None:
        """Name the network, the data and the device."""
        num_parameters = sum(p.numel() for p in self.model.parameters())
        lines = [
            f"network      {self.names['network']}: {num_parameters:,} parameters",
            f"data         {self.names['dataset']}: {self.datamodule.protocol_name}",
            f"device       {self.trainer.strategy.root_device}, precision {self.trainer.precision}",
            f"run          {self.run_dir}",
        ]
        CONSOLE.print("\n".join(lines))

    @rank_zero_only
    def _say_where(self) -> None:
        """Name what the run left, and how to look at it."""
        lines = [f"run          {self.run_dir}"]
        best = self.run_dir / "checkpoints" / BEST
        if best.is_file():
            lines.append(f"checkpoint   {best}")
        pictures = sorted(figures_dir(self.trainer).glob("*.png"))
        if pictures:
            lines += ["pictures", *(f"  {path}" for path in pictures)]
        offline = sorted(self.run_dir.glob("wandb/offline-run-*"))
        if offline:
            lines += ["look at it", f"  wandb leet {offline[-1]}", f"  wandb sync {offline[-1]}"]
        CONSOLE.print("\n".join(["", *lines]))


def _explain(problem: str, parser: ArgumentParser) -> str:
    """Return a parser's complaint with the settings that were perhaps meant."""
    unknown = re.search(r"unrecognized arguments: --([\w.]+)", problem)
    in_config = re.search(r"Group '([\w.]+)' does not accept option '([\w.]+)'", problem)
    name = unknown.group(1) if unknown else ".".join(in_config.groups()) if in_config else None
    settings = [action.dest for action in parser._actions]
    near = get_close_matches(name, settings, n=3) if name else []
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return f"{problem}; {hint}all settings: {parser.prog} --help"


def _check_fits(
    trained: ClassificationTask, task: ClassificationTask, *, option: str, checkpoint: str
) -> None:
    """Refuse to go on from a checkpoint of another network."""
    shapes = {name: tuple(value.shape) for name, value in task.state_dict().items()}
    kept = {name: tuple(value.shape) for name, value in trained.state_dict().items()}
    if differing := sorted(name for name in shapes | kept if shapes.get(name) != kept.get(name)):
        msg = (
            f"{option} {checkpoint} holds another network ({type(trained).__name__}) than the settings "
            f"describe ({type(task).__name__}): {differing[0]} differs; give the config of its run"
        )
        raise InputError(msg)


def _takes(parser: ArgumentParser, key: str) -> bool:
    """Return whether the parser has a setting."""
    return any(action.dest == key for action in parser._actions)


# Pictures


def _audit(arguments: Sequence[str]) -> None:
    """Say what a data set's user should know of it."""
    names = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    names.add_argument("--dataset", "--data", default="fer2013")
    try:
        chosen, others = names.parse_known_args(list(arguments))
    except argparse.ArgumentError as e:
        raise InputError(str(e)) from e
    if chosen.dataset not in DATA_MODULES:
        hint = did_you_mean(chosen.dataset, DATA_MODULES)
        msg = f"--dataset {chosen.dataset}: unknown; {hint}there are {', '.join(DATA_MODULES)}"
        raise InputError(msg)
    parser = ArgumentParser(
        prog="fer audit",
        exit_on_error=False,
        allow_abbrev=False,
        description="What stands twice in a data set, under two labels, or on both sides of a split; blank "
        "pictures, missing values, and the balance of classes.",
    )
    parser.add_argument("--dataset", type=str, default=chosen.dataset, help=", ".join(DATA_MODULES))
    parser.add_argument("--json", action="store_true", help="print all findings as JSON, and nothing else")
    parser.add_argument("--page", type=Path | None, default=None, help="PNG to draw the pictures on")
    parser.add_class_arguments(DATA_MODULES[chosen.dataset], "data")
    # There are no batches that a split could be too small for; and pictures are compared in colour.
    parser.set_defaults({"data.batch_size": 1})
    if _takes(parser, "data.channels"):
        parser.set_defaults({"data.channels": 3})
    try:
        settings = parser.parse_args(others)
    except ArgumentError as e:
        raise InputError(_explain(str(e), parser)) from e
    data = parser.instantiate_classes(settings).data
    audit_data(data, as_json=settings.json, page=settings.page)


def _crop(arguments: Sequence[str]) -> None:
    """Crop the faces of pictures: the function's signature is the command line."""
    parser = ArgumentParser(
        prog="fer crop", exit_on_error=False, allow_abbrev=False, description=_summary(crop)
    )
    parser.add_function_arguments(crop, as_positional=True)
    try:
        settings = parser.parse_args(list(arguments))
    except ArgumentError as e:
        raise InputError(_explain(str(e), parser)) from e
    crop(**settings.as_dict())


def _summary(function: Callable[..., None]) -> str:
    """Return a docstring up to its arguments."""
    return (function.__doc__ or "").split("\n\n    Args:")[0]


# Many runs


def _crossval(arguments: Sequence[str]) -> None:
    """Train and test every fold of a cross-validation, each a run, and say what they say together."""
    parser = argparse.ArgumentParser(
        prog="fer crossval",
        allow_abbrev=False,
        description="Cross-validate: train on all folds but one, choose the epoch on a part of those (val), "
        "test on the fold; for every fold. Each is a run of its own on one device, in one W&B group, in a "
        "folder of one name. Called again with the same --run_name, it goes on where it was cut off.",
        epilog="All settings of fit can be given, too: fer fit --config NAME --help lists them. What "
        "--start_from has learnt must not come from patterns that a fold tests.",
    )
    parser.add_argument("--folds", type=int, help="number of folds (the config's data.protocol, or 5)")
    parser.add_argument("--runs_dir", default="runs", help="where the folders of runs are (runs)")
    parser.add_argument("--run_name", help="folder and W&B group (network, data, number of folds, and time)")
    own, others = parser.parse_known_args(list(arguments))
    if taken := [word for word in others if word.split("=")[0] in _SET_BY_CROSSVAL]:
        msg = f"{taken[0]} cannot be given: crossval sets it for every fold; leave it out"
        raise InputError(msg)
    words, chosen = choose(others)
    if not issubclass(DATA_MODULES[chosen["dataset"]], PooledDataModule):
        pools = [name for name, module in DATA_MODULES.items() if issubclass(module, PooledDataModule)]
        msg = (
            f"--dataset {chosen['dataset']} comes with its splits and cannot be cross-validated; "
            f"{', '.join(pools)} can"
        )
        raise InputError(msg)
    configs = [_read_config(Path(path)) for flag, path in pairwise(words) if flag == "--config"]
    num_folds = own.folds or _num_folds(configs)
    name = own.run_name or _unused_name(
        Path(own.runs_dir), "-".join((*chosen.values(), f"{num_folds}fold", time.strftime("%Y%m%d-%H%M%S")))
    )
    project = os.environ.get("WANDB_PROJECT")  # of a sweep, where the summary will be

    def run_fold(fold: int, run_dir: Path) -> None:
        CONSOLE.print(f"\nfold {fold + 1} of {num_folds}")
        of_fold = {
            "data.protocol": f"{num_folds}-fold",
            "data.fold": fold,
            "runs_dir": run_dir.parent,
            "run_name": run_dir.name,
            "test": "true",
            "trainer.devices": 1,
            "wandb.group": name,
            "wandb.name": f"{name}-{run_dir.name}",
            "wandb.job_type": "fold",
            **({"wandb.project": project} if project else {}),
        }
        # Put last: they hold whatever a config says.
        _run("fit", [*words, *(f"--{key}={value}" for key, value in of_fold.items())], chosen)

    folder = Path(own.runs_dir) / name
    with apart_from_sweep():
        results = run_folds(folder, num_folds, {"words": words, "configs": configs}, run_fold)
    _conclude(folder, name, results)


_SET_BY_CROSSVAL: Final = (
    *("--data.protocol", "--data.fold", "--test", "--ckpt_path", "--trainer.devices"),
    *("--wandb.group", "--wandb.name", "--wandb.job_type"),
)
"""Settings of fit that every fold has its own of, or that would let it see what it tests."""


def _num_folds(configs: Sequence[Mapping[str, Any]]) -> int:
    """Return the number of folds that the last config names which names one; else 5.

    >>> _num_folds([{"data": {"protocol": "4-fold"}}, {"data": {}}])
    4
    """
    protocols = [str((config.get("data") or {}).get("protocol")) for config in configs]
    named = [int(match[1]) for protocol in protocols if (match := re.fullmatch(r"(\d+)-fold", protocol))]
    return named[-1] if named else 5


def _unused_name(folder: Path, name: str) -> str:
    """Return a name that nothing in the folder has: this one, or this one with a number."""
    names = (f"{name}-{number}" if number > 1 else name for number in count(1))
    return next(each for each in names if not (folder / each).exists())


def _conclude(folder: Path, name: str, results: Sequence[Mapping[str, Any]]) -> None:
    """Write, draw, log and print what the folds say together."""
    summary = summarise(results)
    protocol = re.sub(r", fold \d+", "", str(results[0]["protocol"]))
    title = f"{results[0]['network']}: {protocol}"
    histories = [read_history(folder / f"fold-{fold}") for fold in range(len(results))]
    figures = {
        "folds": folds_figure(summary.reports["test"], histories, title),
        "confusion-pooled": confusion_figure(summary.pooled.confusion, title=f"{title}, all folds"),
    }
    paths = {key: folder / "figures" / f"{key}.png" for key in figures}
    for key, figure in figures.items():
        with atomic_write(paths[key]) as file:
            figure.savefig(file, format="png")
    scalars = summary.scalars()
    with atomic_write(folder / "crossval.json") as file:
        # JSON has no NaN.
        known = {key: None if math.isnan(value) else value for key, value in scalars.items()}
        content = {"protocol": protocol, "folds": len(results), **known}
        file.write(json.dumps(content, indent=2).encode() + b"\n")
    config = yaml.safe_load((folder / "fold-0" / "config.yaml").read_text())
    del config["data"]["fold"], config["run_name"], config["runs_dir"]  # a fold's own
    try:
        to_wandb = wandb_logger(
            folder, **config.pop("wandb") | {"group": name, "name": name, "job_type": "crossval"}
        )
        if to_wandb is not None:
            to_wandb.log_hyperparams(_flat(config))
            for key, path in paths.items():
                to_wandb.log_image(key=f"figures/{key}", images=[str(path)])
            to_wandb.log_metrics(scalars)
    finally:
        finish()
    CONSOLE.print(f"\n{title}\n{summary.table()}\n\nrun          {folder}\npictures")
    CONSOLE.print("\n".join(f"  {path}" for path in paths.values()))


def _download(arguments: Sequence[str]) -> None:
    """Fetch FER2013."""
    from fer.data.fer2013 import download

    parser = argparse.ArgumentParser(prog="fer download", description="Fetch FER2013 from Kaggle.")
    parser.add_argument("root", type=Path, help="folder to put it in")
    path = download(parser.parse_args(list(arguments)).root)
    CONSOLE.print(f"FER2013 is in {path}; train with --data.root {path}")
