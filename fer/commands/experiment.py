"""The commands on one run: LightningCLI with the network and the data chosen by name."""

import shutil
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

import yaml
from jsonargparse import ArgumentError, Namespace
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

from fer.callbacks import (
    DistinctivenessCallback,
    EpochLineCallback,
    EvaluationCallback,
    GradientCallback,
    PruneCallback,
    StageCallback,
    StopCallback,
)
from fer.callbacks.media import figures_dir
from fer.callbacks.stop import exit_on_sigterm
from fer.checkpoints import read_checkpoint
from fer.commands.choices import find_data_module, find_task, usual_settings
from fer.commands.naming import following, standard
from fer.commands.parsing import CONSOLE, explain, takes
from fer.configs import flatten
from fer.dashboards import finish, log_config, wandb_logger
from fer.dashboards.artifacts import Artifacts, log_artifacts, use_checkpoint
from fer.data import DATA_MODULES
from fer.data.crops import write_crops_csv
from fer.data.folder import FaceFolderDataModule
from fer.errors import InputError
from fer.files import atomic_write
from fer.neurons import measure_groups
from fer.predict import write_predictions
from fer.processes import process_rank
from fer.tasks import TASKS, ClassificationTask, load

BEST: Final = "best.ckpt"

# Lightning's own, on things that are as they should be: a call that the newest torch calls deprecated;
# workers, which on a CPU would only take the cores that train; samples repeated for a second process,
# which are not counted; frozen layers in eval mode; a run that goes on in a folder of its own.
warnings.filterwarnings("ignore", message=".*LeafSpec.*")
warnings.filterwarnings("ignore", message=".*does not have many workers.*")
warnings.filterwarnings("ignore", message="Using `DistributedSampler` with the dataloaders.*")
warnings.filterwarnings("ignore", message="Found .* in eval mode.*")
warnings.filterwarnings("ignore", message="The dirpath has changed.*")


def run_experiment(
    command: str, words: Sequence[str], chosen: Mapping[str, str], cli: "type[ExperimentCLI] | None" = None
) -> None:
    """Run a command on one run, and close its W&B run whatever happens."""
    failed = True
    try:
        with exit_on_sigterm():
            (cli or ExperimentCLI)(command, words, **chosen).run()
        failed = False
    except MisconfigurationException as e:  # a setting that Lightning refuses
        raise InputError(str(e)) from e
    except SystemExit as e:  # a signal
        failed = bool(e.code)
        raise
    finally:
        finish(failed=failed)


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
                log_config(logger, flatten(yaml.safe_load(text)))


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
        self.stop = StopCallback()
        self.names = {"network": network, "dataset": dataset}
        started = time.strftime("%Y%m%d-%H%M%S")
        suffix = "" if command == "fit" else f"-{command}"
        short = [name.rpartition(".")[2] for name in (network, dataset)]
        self.default_name = f"{'-'.join(short)}-{started}{suffix}"
        super().__init__(
            find_task(network),
            find_data_module(dataset),
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
            raise InputError(explain(str(e), parser)) from e

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the settings that are neither the network's, nor the data's, nor the trainer's."""
        for option, names in (("network", TASKS), ("dataset", DATA_MODULES)):
            parser.add_argument(
                f"--{option}",
                type=str,
                default=self.names[option],
                help=f"{', '.join(names)}, or a class of your own: package.module.Class",
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
        parser.add_function_arguments(wandb_logger, "wandb", skip={"run_dir", "stop"})
        parser.add_argument(
            "--wandb.artifacts",
            type=Artifacts,
            default="best",
            help="what W&B keeps of a run's files: networks (best), also angles and crops (all), or none",
        )
        parser.add_lightning_class_args(GradientCallback, "gradients")
        # In this order: a stage follows from the angles.
        parser.add_lightning_class_args(DistinctivenessCallback, "distinctiveness")
        parser.add_lightning_class_args(StageCallback, "stages")
        parser.add_lightning_class_args(PruneCallback, "prune")
        for setting in ("image_size", "channels"):
            if takes(parser, f"model.{setting}") and takes(parser, f"data.{setting}"):
                parser.link_arguments(f"data.{setting}", f"model.{setting}")
        if takes(parser, "model.in_features"):
            parser.link_arguments("data.num_features", "model.in_features", apply_on="instantiate")
        if takes(parser, "model.num_classes"):
            parser.link_arguments("data.num_classes", "model.num_classes", apply_on="instantiate")

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
        """Refuse features where the network takes images, and layers of it that cannot be pruned.

        Raises:
            InputError: It does, or they cannot.
        """
        inputs = self.datamodule.dataset("train")[0][0]
        if inputs.ndim == 1 and "image_size" in self.config.model:
            msg = (
                f"--network {self.names['network']} takes images; the data gives {len(inputs)} features "
                "(--dataset sfew_features, or data.descriptors): take --network ann, or data with images"
            )
            raise InputError(msg)
        if self.config.prune.layers is not None:
            measure_groups(self.model.network, [inputs[None]], layers=self.config.prune.layers)

    def _loggers(self) -> list[Logger]:
        to_csv = CSVLogger(save_dir=self.run_dir, name="", version="")
        _ = to_csv.experiment  # made while the folder is empty, or it warns that it is not
        try:
            to_wandb = wandb_logger(self.run_dir, stop=self.stop.asked.set, **self._wandb_settings())
        except InputError:
            shutil.rmtree(self.run_dir)  # made for this run, and with what W&B may have put there
            raise
        return [to_csv] if to_wandb is None else [to_csv, to_wandb]

    def _wandb_settings(self) -> dict[str, Any]:
        """Return the settings of the run on W&B; what is left open follows from the others."""
        settings, usual = map(self._flat, (self.config, self.parser.get_defaults()))
        of_config = standard(settings, usual_settings(self.config.config or [], self.names["network"]))
        usual |= {key: value for key, value in of_config.items() if key in usual}
        given = self.config.wandb.as_dict()
        del given["artifacts"]
        return following(settings, usual, command=self.command) | {
            key: value for key, value in given.items() if value
        }

    def _flat(self, config: Namespace) -> dict[str, Any]:
        """Return settings by dotted name, as they are written."""
        return flatten(yaml.safe_load(self.parser.dump(config, skip_none=False)))

    def _callbacks(self) -> list[Callback]:
        callbacks: list[Callback] = [
            self.stop,
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

    def _load(self, checkpoint: str | Path) -> ClassificationTask:
        """Load a checkpoint; a network of the user's own is the one that was named."""
        return load(checkpoint, self.model_class.network_class if "." in self.names["network"] else None)

    def _load_checkpoint(self) -> None:
        """Take the network of a checkpoint to evaluate it, or see that training can go on from it."""
        start = self.config.start_from
        if start is not None:
            trained = self._load(start)
            if trained.widths is not None:
                self.model.shrink(trained.widths)
            _check_fits(trained, self.model, option="--start_from", checkpoint=start)
            self.model.load_state_dict(trained.state_dict())
        checkpoint = self.config.ckpt_path
        if checkpoint is not None:
            trained = self._load(checkpoint)
            if self.command == "fit":
                _check_goes_on(checkpoint)
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
        self._say_origin()
        getattr(self, f"_{self.command}")()
        self._keep()
        self._say_where()

    def _fit(self) -> None:
        self.trainer.fit(
            self.model, datamodule=self.datamodule, ckpt_path=self.config.ckpt_path, weights_only=True
        )
        # The first process's: one that started a second later would name another folder.
        best = Path(self.trainer.strategy.broadcast(str(self.run_dir / "checkpoints" / BEST)))
        if self.config.test and best.is_file() and not self.stop.asked.is_set():
            # Loaded as a stranger would load it. (With an average of weights, Lightning's own "best" would
            # put the last step's weights in its place.)
            self.model = self._load(best)
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

    @property
    def _to_wandb(self) -> WandbLogger | None:
        return next((each for each in self.trainer.loggers if isinstance(each, WandbLogger)), None)

    @rank_zero_only
    def _say_origin(self) -> None:
        """Tell W&B from which checkpoint the run begins."""
        for checkpoint in (self.config.start_from, self.config.ckpt_path):
            if checkpoint is not None and self._to_wandb is not None:
                use_checkpoint(self._to_wandb, Path(checkpoint))

    @rank_zero_only
    def _keep(self) -> None:
        """Write what became of images that were cropped, and give W&B what it has not of the run."""
        if isinstance(self.datamodule, FaceFolderDataModule) and self.datamodule.crop_records:
            root = self.datamodule.source
            write_crops_csv(self.run_dir / "crops.csv", self.datamodule.crop_records, root=root)
        if self._to_wandb is not None:
            for path in sorted(figures_dir(self.trainer).glob("prune*.png")):
                self._to_wandb.log_image(key=f"figures/{path.stem}", images=[str(path)])
            about = {**self.names, "protocol": self.datamodule.protocol_name}
            name = self.config.wandb.name or self.run_dir.name
            log_artifacts(self._to_wandb, self.run_dir, name, self.config.wandb.artifacts, about)

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
        images = sorted(figures_dir(self.trainer).glob("*.png"))
        if images:
            lines += ["figures", *(f"  {path}" for path in images)]
        offline = sorted(self.run_dir.glob("wandb/offline-run-*"))
        if offline:
            lines += ["look at it", f"  wandb leet {offline[-1]}", f"  wandb sync {offline[-1]}"]
        CONSOLE.print("\n".join(["", *lines]))


def _check_goes_on(checkpoint: str) -> None:
    """Refuse a checkpoint that holds no state of a training."""
    if "optimizer_states" not in read_checkpoint(checkpoint):
        msg = (
            f"--ckpt_path {checkpoint} holds a pruned network and no training that could go on: "
            "--start_from begins a new one with its weights"
        )
        raise InputError(msg)


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
