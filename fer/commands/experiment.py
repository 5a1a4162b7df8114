"""Commands on one run: a LightningCLI for a given network and data set."""

import logging
import os
import shutil
import sys
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property, partial
from pathlib import Path
from typing import Any, cast

import yaml
from jsonargparse import Namespace
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import Logger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import nn

from fer.callbacks import StopCallback
from fer.callbacks.checkpoint_io import write_whole_checkpoints
from fer.callbacks.history import measured_until
from fer.callbacks.limits import limit_protocol
from fer.callbacks.media import Logged, draw_later, is_dry_run, is_shown, missing_figures
from fer.callbacks.stop import TRY_AGAIN, OnSigterm, exit_on_sigterm
from fer.checkpoints import read_any_checkpoint
from fer.commands.arguments import add_run_arguments
from fer.commands.checks import check_inputs, protocol_of
from fer.commands.choices import find_data_module, find_task, usual_settings
from fer.commands.full_disk import FullDisk
from fer.commands.header import facts_of_checkpoint, facts_of_start, facts_of_teachers
from fer.commands.help import SHOWN, HelpFormatter
from fer.commands.limits import check_settings, explained_interval
from fer.commands.naming import following, standard
from fer.commands.outputs import ConfigCallback, print_files
from fer.commands.own_callbacks import callbacks_of
from fer.commands.parsing import CONSOLE, parse
from fer.commands.precision import AUTO, PRECISION, precision_of
from fer.commands.resume import (
    SWEEP_VARIABLES,
    begun_before,
    check_resumed,
    keep_pipeline,
    newest_whole_checkpoint,
    requeue,
    started_as,
    usual_on_sigterm,
)
from fer.commands.space import describe_space
from fer.commands.start import load_network, resolve_checkpoints
from fer.commands.views import choose_views_after_training, keep_calibration
from fer.configs import flatten
from fer.dashboards import finish, log_again, wandb_logger
from fer.dashboards.artifacts import log_artifacts, use_checkpoint
from fer.dashboards.metrics import MetricsLogger
from fer.data import ImageDataModule
from fer.data.cache import cache_dir
from fer.data.crop_report import write_crops_csv
from fer.data.folder import FaceFolderDataModule
from fer.errors import InputError
from fer.files import in_use, remove_drafts
from fer.home import hide_home
from fer.neurons.declared import describe_layers
from fer.neurons.hidden import HiddenLayers
from fer.processes import process_rank
from fer.runs import LATEST, Run, make_run, mark_latest
from fer.studies.members import KINDS
from fer.tasks import load

log = logging.getLogger("fer.commands")

# Lightning's warnings about what is intended: a call that the newest torch deprecates; few workers, since on
# a CPU more of them would only compete with training; samples repeated for a second process, which are not
# counted; frozen layers in eval mode.
warnings.filterwarnings("ignore", message=".*LeafSpec.*")
warnings.filterwarnings("ignore", message=".*does not have many workers.*")
warnings.filterwarnings("ignore", message="Using `DistributedSampler` with the dataloaders.*")
warnings.filterwarnings("ignore", message="Found .* in eval mode.*")


def run_experiment(
    command: str,
    words: Sequence[str],
    chosen: Mapping[str, str],
    cli: "type[ExperimentCLI] | None" = None,
    resumed: Run | None = None,
) -> None:
    """Run a command on one run and close its W&B run, even after an error."""
    failed, is_preempted = True, False
    try:
        with exit_on_sigterm():
            (cli or ExperimentCLI)(command, words, resumed=resumed, **chosen).run()
        failed = False
    except MisconfigurationException as e:  # a setting that Lightning refuses
        raise InputError(str(e)) from e
    except SystemExit as e:  # a signal
        failed, is_preempted = bool(e.code), e.code == TRY_AGAIN
        raise
    finally:
        finish(failed=failed, is_preempted=is_preempted)
        if is_preempted:
            requeue()


class ExperimentCLI(LightningCLI):
    """Command line for one run of a network on a data set; settings come from their classes' signatures.

    Args:
        command: Name of the command; the method of this name with a leading underscore runs it.
        arguments: Arguments after the command.
        network: Name of a network, or a class path.
        dataset: Name of a data set, or a class path.
        resumed: A run to continue in its own folder; None: a new run.
    """

    def __init__(
        self,
        command: str,
        arguments: Sequence[str],
        *,
        network: str,
        dataset: str,
        resumed: Run | None = None,
    ) -> None:
        self.command = command
        self.resumed = resumed
        self.resumes_from: Path | None = None
        self.hidden = HiddenLayers({}, {})
        self.names = {"network": network, "dataset": dataset}
        suffix = "" if command == "fit" else f"-{command}"
        short = [name.rpartition(".")[2] for name in (network, dataset)]
        self.default_name = f"{'-'.join(short)}-{started_as()}{suffix}"
        super().__init__(
            find_task(network),
            find_data_module(dataset),
            save_config_callback=ConfigCallback,
            save_config_kwargs={"save_to_log_dir": False},
            seed_everything_default=0,
            trainer_defaults={
                "max_epochs": 20,
                "enable_progress_bar": sys.stdout.isatty(),
                "enable_model_summary": False,  # the header has it
                "log_every_n_steps": 1,  # nothing is logged by step; this keeps Lightning from warning
            },
            parser_kwargs={
                "prog": f"fer {command}",
                "exit_on_error": False,
                "allow_abbrev": False,
                "formatter_class": HelpFormatter,
                "description": f"Options of fer {command} for network {network} on data set {dataset}; "
                "--config, --network and --dataset choose others.",
            },
            args=list(arguments),
            run=False,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the arguments after the command."""
        self.config = parse(parser, args, SHOWN.get(self.command))
        self.config.pop("resume", None)
        resolve_checkpoints(self.config, self.command)
        self.on_sigterm: OnSigterm = self.config.on_sigterm or usual_on_sigterm()
        if self.command == "fit" and self.on_sigterm == "requeue" and self.resumed is None:
            is_named = self.config.run_name is not None
            self.resumed = begun_before(self.planned_dir, self._flat(self.config), is_named=is_named)
        if self.resumed is not None:
            check_resumed(self._flat(self.config), self.resumed)
            self.resumes_from = newest_whole_checkpoint(self.resumed)
            keep_pipeline(self.config, self.resumed)
        self.precision = precision_of(self.config.trainer, self.resumed)
        self.config.trainer.precision = self.precision.name
        self.stop = StopCallback(self.on_sigterm)
        check_settings(self.config, self.command)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the options besides those of the network, the data and the trainer."""
        add_run_arguments(parser, self.names, self.command)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Build the trainer with the run's folder, loggers and callbacks.

        Data and checkpoint are read first, so that a run that cannot start leaves no files.
        """
        self.model = load_network(
            *(self.command, self.model, self.datamodule),
            weights=self.config.start_from,
            checkpoint=self._ckpt_path,
            teachers=self.config.teachers or (),
            network=self._own_network,
        )
        self.model.calibrator.choose_views(self.config.tta)
        if process_rank() == 0:
            resumed = [] if self.resumed is None else [self.resumed.folder]
            remove_drafts([cache_dir(), Path(self.config.runs_dir).expanduser(), *resumed])
            self.datamodule.prepare_data()
            self.datamodule.setup("fit")
            self.hidden = check_inputs(
                self.model,
                self.datamodule,
                command=self.command,
                network=self.names["network"],
                pruned_layers=self.config.prune.layers,
            )
            self.model.found_layers = dict(self.hidden.layers)
        self.run_dir = self.planned_dir if self.resumed is None else self.resumed.folder
        if process_rank() == 0 and self.resumed is None:  # other processes write nothing
            self.run_dir = self._make_run()
        self.trainer_defaults["callbacks"] = callbacks_of(Run(self.run_dir), self.config, self.stop)
        with ExitStack() as on_error:
            if process_rank() == 0 and self.resumed is None:
                on_error.callback(shutil.rmtree, self.run_dir)  # including W&B's files
            on_error.callback(finish, failed=True)
            if self.config.trainer.logger is None:
                kwargs["logger"] = [] if self.config.trainer.fast_dev_run else self._loggers()
            try:
                trainer = super().instantiate_trainer(default_root_dir=str(self.run_dir), **kwargs)
            except (ValueError, MisconfigurationException) as e:  # a setting that Lightning refuses
                msg = f"trainer: {' '.join(str(e).split())}"
                raise InputError(msg) from e
            on_error.pop_all()
        write_whole_checkpoints(trainer)
        if isinstance(self.datamodule, ImageDataModule) and process_rank() == 0:
            self.config.data.pipeline = self.datamodule.choose_pipeline(trainer.strategy.root_device)
        return trainer

    @property
    def planned_dir(self) -> Path:
        """The folder that a new run gets by its settings."""
        return Path(self.config.runs_dir).expanduser() / (self.config.run_name or self.default_name)

    def _make_run(self) -> Path:
        """Make the folder of a new run, and return it."""
        return make_run(self.planned_dir, is_named=self.config.run_name is not None).folder

    def instantiate_classes(self) -> None:
        """Build data, network, callbacks and trainer."""
        try:
            with exit_on_sigterm(self.on_sigterm):
                super().instantiate_classes()
        except ValueError as e:
            if isinstance(e.__cause__, InputError):  # jsonargparse wraps what a link raises
                raise e.__cause__ from e
            raise

    def _loggers(self) -> list[Logger]:
        to_csv = MetricsLogger(self.run_dir, *((0, 0.0) if self.resumed is None else self._position))
        to_wandb = wandb_logger(
            self.run_dir,
            stop=lambda: self.stop.asked.set(),  # W&B copies its settings, and cannot copy an event
            resume=self.resumed is not None,
            is_shown=partial(is_shown, which=self._logged),
            **self._wandb_settings(),
        )
        if to_wandb is None:
            return [to_csv]
        if self.resumed is not None and process_rank() == 0:
            log_again(to_wandb, to_csv.rows)
        return [to_csv, to_wandb]

    @property
    def _logged(self) -> Logged:
        """Which metrics W&B gets."""
        settings = self.config.get("distinctiveness")
        return "summary" if settings is None else cast(Logged, settings.log)

    @cached_property
    def _position(self) -> tuple[int, float]:
        """The epoch in which training resumes, and the time of the last measurement of neurons before it."""
        if self._ckpt_path is None:
            return 0, 0.0
        content = read_any_checkpoint(self._ckpt_path)
        return int(content["epoch"]), measured_until(content)

    def _wandb_settings(self) -> dict[str, Any]:
        """Return the settings of the run on W&B; those that are not set are derived from the others."""
        settings, usual = map(self._flat, (self.config, self.parser.get_defaults()))
        if self.precision.reason:
            settings[PRECISION] = AUTO  # the precision that it chose is no part of a run's name
        of_config = standard(settings, usual_settings(self.config.config or [], self.names["network"]))
        usual |= {key: value for key, value in of_config.items() if key in usual}
        given = self.config.wandb.as_dict()
        del given["artifacts"]
        return following(settings, usual, command=self.command) | {
            key: value for key, value in given.items() if value
        }

    def _flat(self, config: Namespace) -> dict[str, Any]:
        """Return settings by dotted name, with their values as in YAML."""
        return flatten(yaml.safe_load(hide_home(self.parser.dump(config, skip_none=False))))

    def before_instantiate_classes(self) -> None:
        """Skip the pretrained weights that a checkpoint would replace."""
        if self.config.ckpt_path is not None:
            for setting, none in (("pretrained", False), ("weights", None)):
                if setting in self.config.model:
                    self.config.model[setting] = none

    @property
    def _ckpt_path(self) -> str | None:
        """The checkpoint that training resumes from, or that is evaluated."""
        return str(self.resumes_from) if self.resumes_from else cast(str | None, self.config.ckpt_path)

    @property
    def _own_network(self) -> type[nn.Module] | None:
        """The class of a user-defined network, which is needed to load its checkpoint."""
        name = self.names["network"]
        return find_task(name).network_class if "." in name else None

    def run(self) -> None:
        """Print the header, run the command, and list the files that it wrote; a dry run leaves none."""
        if self.command == "fit" and not is_dry_run(self.trainer):
            self._mark_latest()  # when it starts, so that a training can be watched
        self._print_header()
        self._log_origin()
        try:
            with in_use(self.run_dir), exit_on_sigterm(self.on_sigterm):
                getattr(self, f"_{self.command}")()
        except InputError:
            if self.command != "fit" or not Run(self.run_dir).config_path.is_file():
                self._discard()
            raise
        if is_dry_run(self.trainer) and not any(map(Path.is_file, self.run_dir.rglob("*"))):
            self._discard()
            return
        if self.command != "fit":
            self._mark_latest()
        self._log_files()
        print_files(Run(self.run_dir), missing_figures(self.trainer), is_reported=self.config.report)

    @rank_zero_only
    def _discard(self) -> None:
        """Remove the folder of a dry run, an evaluation, a pruning or a training that did not begin."""
        finish(failed=True)
        shutil.rmtree(self.run_dir)

    @rank_zero_only
    def _mark_latest(self) -> None:
        """Let ``runs/latest`` link to this run, unless it is a part of a sweep or a study."""
        is_member = self.config.wandb.job_type in {kind.member for kind in KINDS.values()}
        is_part = is_member or any(name in os.environ for name in SWEEP_VARIABLES)
        if not is_part and not mark_latest(Run(self.run_dir)):
            log.info("%s is not updated: no link can be made there", self.run_dir.with_name(LATEST))

    def _fit(self) -> None:
        if self.resumed is not None and not is_dry_run(self.trainer):
            self._forget_results()  # they belong to fewer epochs
        with FullDisk(self.run_dir) as full_disk, draw_later(self.trainer):
            self._train_and_test(full_disk)

    def _train_and_test(self, full_disk: FullDisk) -> None:
        with full_disk.outlived(self.trainer), explained_interval(self.trainer.val_check_interval):
            self.trainer.fit(
                self.model, datamodule=self.datamodule, ckpt_path=self._ckpt_path, weights_only=True
            )
        if self.stop.preempted.is_set():
            sys.exit(TRY_AGAIN)
        # From the first process: a process that started a second later would name another folder.
        best = Path(self.trainer.strategy.broadcast(str(Run(self.run_dir).best_checkpoint)))
        if is_dry_run(self.trainer):
            log.info("trainer.fast_dev_run: the code ran on a few batches; nothing is saved or tested")
            return
        if not best.is_file():
            monitor = self.config.monitor
            log.warning("no best checkpoint: training ended before a validation with a finite %s", monitor)
        if not is_overridden("test_dataloader", self.datamodule):
            log.warning("%s has no test split: nothing is tested", self.names["dataset"])
        elif self.config.test and best.is_file() and not self.stop.asked.is_set():
            # With an average of weights, Lightning's own "best" would load the last step's weights.
            is_kept = self.model.kept_part is not None
            self.model = load(best, self._own_network)
            choose_views_after_training(self.model, self.config.tta, is_kept=is_kept)
            self._test()
            with full_disk.outlived(self.trainer):
                keep_calibration(self.trainer, best, self.model)

    @rank_zero_only
    def _forget_results(self) -> None:
        """Remove the results of a run that is extended: with them, it would seem complete."""
        Run(self.run_dir).results_path.unlink(missing_ok=True)

    def _validate(self) -> None:
        self.trainer.validate(self.model, datamodule=self.datamodule)

    def _test(self) -> None:
        self.trainer.test(self.model, datamodule=self.datamodule, verbose=False)

    @property
    def _protocol(self) -> str:
        """How the data is split, and the limits that the trainer sets."""
        return limit_protocol(protocol_of(self.datamodule), self.trainer)

    @property
    def _to_wandb(self) -> WandbLogger | None:
        return next((each for each in self.trainer.loggers if isinstance(each, WandbLogger)), None)

    @rank_zero_only
    def _log_origin(self) -> None:
        """Log to W&B which checkpoint the run starts from."""
        for checkpoint in (self.config.start_from, self.config.ckpt_path):
            if checkpoint is not None and self._to_wandb is not None:
                use_checkpoint(self._to_wandb, Path(checkpoint))

    @rank_zero_only
    def _log_files(self) -> None:
        """Write the table of cropped images, and log the figures of pruning and the artifacts to W&B."""
        run = Run(self.run_dir)
        if isinstance(self.datamodule, FaceFolderDataModule) and self.datamodule.crop_records:
            root = self.datamodule.source
            write_crops_csv(run.crops_path, self.datamodule.crop_records, root=root)
        if self._to_wandb is not None:
            for path in sorted(run.figures_dir.glob("prune*.png")):
                self._to_wandb.log_image(key=f"figures/{path.stem}", images=[str(path)])
            about = {**self.names, "protocol": self._protocol}
            name = self.config.wandb.name or self.run_dir.name
            log_artifacts(self._to_wandb, self.run_dir, name, self.config.wandb.artifacts, about)

    @rank_zero_only
    def _print_header(self) -> None:
        """Print network, data, device and the run's folder."""
        num_parameters = sum(p.numel() for p in self.model.parameters())
        layers, note = describe_layers(self.hidden, self.model.network), self.precision.note
        origin = (
            facts_of_start(self._ckpt_path, self._position[0], is_resumed=self.resumed is not None)
            if self.command == "fit"
            else facts_of_checkpoint(self.model, self.datamodule)
        )
        facts = [
            ("network", f"{self.names['network']}: {num_parameters:,} parameters"),
            ("data", f"{self.names['dataset']}: {self._protocol}"),
            *origin,
            *facts_of_teachers(self.model),
            *([("pipeline", self.config.data.pipeline)] if "pipeline" in self.config.data else []),
            *([("neurons", layers)] if self.command in ("fit", "prune") else []),
            ("device", f"{self.trainer.strategy.root_device}, precision {self.trainer.precision}{note}"),
            ("run", str(self.run_dir)),
        ]
        if self.command == "fit" and not is_dry_run(self.trainer):
            facts.append(("disk", describe_space(self.model, self.hidden.layers, self.config, self.run_dir)))
        CONSOLE.print("\n".join(f"{name:<12} {fact}" for name, fact in facts))
