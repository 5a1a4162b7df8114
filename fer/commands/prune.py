"""The command ``prune``: prune a trained network once, in rounds, or along a curve of thresholds."""

import hashlib
import json
import logging
import math
import sys
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.cli import LightningArgumentParser
from rich.progress import track
from torch import nn

from fer.callbacks import PruneCallback
from fer.callbacks.finite import FiniteCallback
from fer.callbacks.prune import describe
from fer.callbacks.training_samples import training_samples
from fer.checkpoints import read_checkpoint
from fer.commands.announced import announced
from fer.commands.choices import choose
from fer.commands.experiment import ExperimentCLI, run_experiment
from fer.commands.outputs import ConfigCallback
from fer.commands.parsing import CONSOLE, name_checkpoint, positional
from fer.commands.size_targets import PREFIX, add_size_targets, take_size_target, with_underscores
from fer.commands.tuning import FineTuning, KeepBest, tuning_line
from fer.errors import InputError
from fer.figures import curve_figure
from fer.figures.style import DPI, write_figure
from fer.home import hide_home
from fer.lookup import find_checkpoint
from fer.neurons.networks import copy_network
from fer.neurons.recalibrate import recalibrated
from fer.pruning import (
    METHODS,
    SIZE_KINDS,
    THRESHOLDS,
    PruneSettings,
    Pruning,
    RoundResult,
    compare,
    evaluate,
    prune_in_rounds,
    prune_to,
    save_pruning,
    threshold_curves,
)
from fer.pruning.curves import curve_table
from fer.pruning.kept import KeptRounds, find_cut_off
from fer.pruning.limits import limit_of
from fer.pruning.rounds import Round, join_rounds
from fer.pruning.save import draw_pruning
from fer.pruning.settings import SIZES
from fer.pruning.tuning import BestEpoch, Epoch, Tuning
from fer.runs import Run, run_of

HELP: Final = "prune a network: remove neurons whose output the others can reproduce"
SECTION: Final = "prune and export"
TAKES: Final = "checkpoint"

OF_TRAINING: Final = ("accelerator", "precision", "limit_train_batches", "gradient_clip_val")
"""Trainer settings that fine-tuning takes over."""

APART: Final = ("config", "run_name", "runs_dir", "test", "wandb")
"""Settings, or groups of settings, that do not affect what the rounds compute."""

OF_ANY_NETWORK: Final = ("--timm", "--images", "--weights")
"""Options for a network that is not a checkpoint of a run; each one is enough to tell."""


log = logging.getLogger("fer.commands")


def prune(arguments: Sequence[str]) -> None:
    """Prune the network of a checkpoint; a positional argument is the checkpoint or the folder of its run."""
    words = with_underscores(arguments)
    flags = {word.split("=")[0] for word in words}
    asks_for_help = "--network" in flags and {"-h", "--help"} & flags and not positional(words)
    if asks_for_help or flags & {*OF_ANY_NETWORK}:
        from fer.commands.prune_network import prune_network

        prune_network(words)
        return
    run_experiment("prune", *choose(name_checkpoint(words)), PruneCLI)


@dataclass(frozen=True)
class Options:
    """Options of this command alone.

    Attributes:
        curve: Draw accuracy over the threshold instead of pruning.
        target: Largest share of a size to keep, by its name in :data:`fer.pruning.SIZE_KINDS`; empty: none.
        rounds: Largest number of rounds; 0: prune once, without training.
        tolerance: Largest accepted drop in validation accuracy, 0 to 1.
        tune_epochs: Epochs of fine-tuning after pruning or in each round; None: 1 in each round, else none.
        tune_lr: Peak learning rate of fine-tuning; None: a tenth of the training's.
        distil: Whether fine-tuning learns the unpruned network's outputs instead of the labels.
    """

    curve: bool
    target: Mapping[str, float]
    rounds: int
    tolerance: float
    tune_epochs: int | None
    tune_lr: float | None
    distil: bool

    @property
    def num_epochs(self) -> int:
        """Number of epochs of each fine-tuning."""
        return (1 if self.rounds else 0) if self.tune_epochs is None else self.tune_epochs

    @property
    def is_resumable(self) -> bool:
        """Whether the same command completes an interrupted pruning in the same folder."""
        return not self.curve and bool(self.rounds or self.num_epochs)

    def __post_init__(self) -> None:
        if self.rounds < 0 or self.num_epochs < 0:
            msg = f"--rounds is {self.rounds} and --tune_epochs {self.num_epochs}: neither can be below 0"
            raise InputError(msg)
        if self.tune_lr is not None and not 0 < self.tune_lr < math.inf:
            msg = f"--tune_lr is {self.tune_lr}: it must be above 0"
            raise InputError(msg)
        if not self.num_epochs and (self.distil or self.tune_lr is not None):
            msg = "--distil and --tune_lr only apply to fine-tuning: set --tune_epochs to 1 or more"
            raise InputError(msg)
        if self.curve and (self.target or self.rounds or self.num_epochs):
            msg = (
                "--curve has its own thresholds and trains nothing: leave out --target_…, --rounds, --tune_…"
            )
            raise InputError(msg)
        if not 0 <= self.tolerance <= 1:
            msg = f"--tolerance is {self.tolerance}: it must be a drop in validation accuracy, 0 to 1"
            raise InputError(msg)


def _line(number: int, found: RoundResult) -> str:
    """Return the results of a round as a line of the table."""
    return (
        f"{number:>5}  {'' if found.threshold is None else f'{found.threshold:.2f}°':>9}  "
        f"{found.neurons:7,}  {found.macs:13,}  "
        f"{100 * found.pruned:5.2f} %  {100 * found.recalibrated:10.2f} %  {100 * found.tuned:8.2f} %"
        f"{'' if found.is_kept else '   beyond the tolerance: not kept'}"
    )


class PruneCLI(ExperimentCLI):
    """Prune the network of a checkpoint and report what it costs on the validation split."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the options of this command; the settings of a pruning are under ``prune``."""
        super().add_arguments_to_parser(parser)
        parser.usage = (
            "fer prune CHECKPOINT|RUN [settings]\n"
            "       fer prune --timm NAME --images FOLDER [settings]    (fer prune --timm NAME --help)\n"
            "       fer prune --network package.module.Class --images FOLDER [settings]"
        )
        parser.add_argument(
            "--curve",
            type=bool,
            default=False,
            help=f"draw accuracy over thresholds ({', '.join(f'{each:g}' for each in THRESHOLDS)} degrees) "
            "for our methods and the papers' rules; no network is written",
        )
        add_size_targets(parser)
        parser.add_argument(
            "--rounds",
            type=int,
            default=0,
            help="largest number of rounds: prune a little more in each and fine-tune, until validation "
            "accuracy falls by more than the tolerance; 0: prune once, without training",
        )
        parser.add_argument(
            "--tolerance",
            type=float,
            default=0.01,
            help="largest drop in validation accuracy that --rounds accepts, 0 to 1",
        )
        parser.add_argument(
            "--tune_epochs",
            type=int | None,
            default=None,
            help="epochs of fine-tuning on the training split, after pruning or in each round; the best "
            "epoch on the validation split is kept; null: 1 in each of --rounds, else 0",
        )
        parser.add_argument(
            "--tune_lr",
            type=float | None,
            default=None,
            help="peak learning rate of fine-tuning, which a cosine schedule decays to 0; null: a tenth of "
            "model.lr, or of model.max_lr with the schedule cyclic",
        )
        parser.add_argument(
            "--distil",
            type=bool,
            default=False,
            help="fine-tune on the outputs of the unpruned network instead of the training split's labels",
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the arguments, keep this command's options out of the run's config, and name its folder."""
        super().parse_arguments(parser, args)
        target = take_size_target(self.config)
        others = [name for name in Options.__annotations__ if name != "target"]
        options = {name: self.config.pop(name) for name in others}
        if options["rounds"] or target:
            self._drop_other_sizes({word.split("=")[0] for word in args})
        # Without one here, the target of the run's own pruning.
        self.options = Options(target=target or take_size_target(self.config.prune), **options)
        if self.options.num_epochs and self.config.trainer.limit_train_batches == 0:
            msg = "trainer.limit_train_batches is 0: --tune_epochs would train on nothing"
            raise InputError(msg)
        if self.config.ckpt_path is not None:
            run = run_of(Path(self.config.ckpt_path))
            if run.config_path.is_file():
                self._stay_beside(run, is_placed=any(word.split("=")[0] == "--runs_dir" for word in args))
        if self.options.is_resumable:
            self._find_rounds()

    def _drop_other_sizes(self, given: Set[str]) -> None:
        """Let the size of the pruned network be set by ``--target_…`` or ``--rounds`` alone.

        Args:
            given: Options on the command line. Settings of the run's config give way to them.

        Raises:
            InputError: The command line has settings that exclude each other.
        """
        for name in (*SIZES, *(f"{PREFIX}{kind}" for kind in SIZE_KINDS)):
            if (value := self.config.prune[name]) is None:
                continue
            if f"--prune.{name}" in given:
                msg = f"--prune.{name} sets the size of the pruned network: leave out --rounds and --target_…"
                raise InputError(msg)
            self.config.prune[name] = None
            CONSOLE.print(f"left out     prune.{name} {value} of the config: the command line sets the size")

    def _find_rounds(self) -> None:
        """Find the folder of an interrupted pruning to resume in, if there is one.

        Raises:
            InputError: It had other settings, or another process is working on it.
        """
        options = {**vars(self.options)}
        target = {f"{PREFIX}{name}": share for name, share in options.pop("target").items()}
        config = {**self._flat(self.config), **options, **target}
        self.settings = {name: value for name, value in config.items() if name.partition(".")[0] not in APART}
        if self.config.ckpt_path is not None:  # the file may have been replaced
            content = find_checkpoint(Path(self.config.ckpt_path)).read_bytes()
            self.settings["ckpt_path"] = f"sha256 {hashlib.sha256(content).hexdigest()}"
        self.settings = json.loads(hide_home(json.dumps(self.settings)))
        found = find_cut_off(self.planned_dir, is_named=self.config.run_name is not None)
        if found is not None:
            found.check(self.settings)
            self.resumed = Run(found.folder.parent)

    def _make_run(self) -> Path:
        folder = super()._make_run()
        if self.options.is_resumable:
            KeptRounds.of(folder).begin(self.settings)
        return folder

    def _discard(self) -> None:
        """Remove the folder of a failed pruning, unless it has finished rounds."""
        if not KeptRounds.of(self.run_dir).num_finished:
            super()._discard()

    def _stay_beside(self, run: Run, *, is_placed: bool) -> None:
        """Name the folder after the pruned run and put it beside that run, unless the user says otherwise."""
        self.default_name = f"{run.folder.name}-prune"
        if self.config.run_name is None and not is_placed:
            parent = run.folder.parent
            is_near = parent.is_relative_to(Path.cwd())
            self.config.runs_dir = str(parent.relative_to(Path.cwd()) if is_near else parent)

    def _prune(self) -> None:
        callbacks = {type(callback): callback for callback in self.trainer.callbacks}  # type: ignore[attr-defined]
        callbacks[ConfigCallback].save_config(self.trainer, self.model, "prune")
        settings: PruneSettings = callbacks[PruneCallback].settings
        if not (self.options.curve or self.options.rounds):
            settings.check_size(self.options.target)
        if self.model.widths:
            CONSOLE.print("pruned before: this prunes what an earlier pruning has left", markup=False)
        self.model.to(self.trainer.strategy.root_device)
        found = training_samples(
            *(self.trainer, self.model, self.model.network),
            data=self.datamodule,
            num_samples=settings.num_samples,
        )
        self.samples, self.whole = found.batches, self.model.network
        self.rounds: list[Round] = []
        if self.options.curve:
            self._draw_curve(settings)
        elif self.options.is_resumable:
            with KeptRounds.of(self.run_dir).alone():
                if self.options.rounds:
                    self._write(*self._prune_in_rounds(settings))
                else:
                    self._write(self._prune_and_tune(settings), [])
                KeptRounds.of(self.run_dir).complete()
        else:
            self._write(self._prune_once(settings), [])

    def _write(self, pruning: Pruning, rounds: Sequence[RoundResult]) -> None:
        """Compare the network before and after pruning; write, draw, print and log the results."""
        network = self.whole
        results = compare(
            *(network, pruning, self.datamodule.val_dataloader()),
            **describe(self.model, self.datamodule),
            rounds=[each.to_dict() for each in rounds],
        )
        content = read_checkpoint(self.config.ckpt_path)
        prefix = f"{self.model.network_name}."
        others = {key: value for key, value in content["state_dict"].items() if not key.startswith(prefix)}
        pruned = {f"{prefix}{key}": value for key, value in pruning.network.state_dict().items()}
        path = save_pruning(
            *(pruning, results, self.run_dir),
            state={**others, **pruned},
            attribute=self.model.network_name,
            unpruned=content,
        )
        for name, figure in draw_pruning(pruning, results).items():
            write_figure(figure, Run(self.run_dir).figures_dir / f"{name}.png", DPI)
        CONSOLE.print(f"{results.table()}\n\npruned       {path}", markup=False)
        for logger in self.trainer.loggers:
            logger.log_metrics(results.scalars())
            logger.save()

    def _prune_once(self, settings: PruneSettings) -> Pruning:
        network = self.model.network
        limit = limit_of(self.options.target, network)
        return prune_to(network, announced(self.samples, network), settings, limit)

    def _prune_and_tune(self, settings: PruneSettings) -> Pruning:
        """Prune once and fine-tune; if asked to stop, fine-tuning ends with its best epoch so far."""
        pruning = self._prune_once(settings)
        tuning = self._fine_tune(pruning.network, pruning.widths)
        if self.stop.asked.is_set():
            num = len(tuning.epochs) - 1
            log.warning("fine-tuning was asked to stop in epoch %d of %d", num, self.options.num_epochs)
        return pruning.tuned(tuning)

    def _prune_in_rounds(self, settings: PruneSettings) -> tuple[Pruning, list[RoundResult]]:
        """Prune in rounds, print a line for each, and return what was kept."""
        options, network = self.options, self.whole
        kept_rounds = KeptRounds.of(self.run_dir)
        self.rounds = kept_rounds.read(network)
        CONSOLE.print("round  threshold  neurons  multiply-adds   pruned  recalibrated  fine-tuned")
        for number, each in enumerate(self.rounds, 1):
            CONSOLE.print(f"{_line(number, each.result)}   finished before")
        for each in prune_in_rounds(
            *(network, self.samples, self.datamodule.val_dataloader(), settings),
            rounds=options.rounds,
            tolerance=options.tolerance,
            fine_tune=self._fine_tune_unless_stopped if options.num_epochs else None,
            limit=limit_of(options.target, network),
            done=tuple(self.rounds),
        ):
            self.rounds.append(each)
            kept_rounds.write(len(self.rounds), each)
            CONSOLE.print(_line(len(self.rounds), each.result))
        kept = [each for each in self.rounds if each.result.is_kept]
        if not kept and self.stop.asked.is_set():
            msg = "--rounds: stopped before the first round was complete; nothing was pruned"
            raise InputError(msg)
        if not kept:
            kept_rounds.complete()
            msg = (
                f"--rounds: the first round lost more than --tolerance {options.tolerance}, so nothing was "
                "pruned: raise --rounds, --tune_epochs or --tolerance"
            )
            raise InputError(msg)
        whole = recalibrated(network, self.samples) if settings.recalibrate else None
        return join_rounds(kept, settings, whole), [each.result for each in self.rounds]

    def _fine_tune_unless_stopped(self, network: nn.Module, widths: Mapping[str, int]) -> Tuning | None:
        """Fine-tune a network; return None if it was asked to stop."""
        tuning = self._fine_tune(network, widths)
        return None if self.stop.asked.is_set() else tuning

    def _fine_tune(self, network: nn.Module, widths: Mapping[str, int]) -> Tuning:
        """Fine-tune a pruned network in place.

        Each round is seeded anew, so that it depends on the round before it only through the network.
        """
        task, device, before = self.model, self.model.device, copy_network(network)
        if self.config.seed_everything is not False:
            seed_everything(int(self.config.seed_everything) + len(self.rounds) + 1, verbose=False)
        task.network, task.widths = network, dict(widths)
        best = BestEpoch(network, self._evaluate)
        whole = self.whole if self.options.distil else None
        tuned = FineTuning(task, lr=self.options.tune_lr, whole=whole)
        with warnings.catch_warnings():  # Lightning warns that it does not validate; KeepBest does
            warnings.filterwarnings("ignore", message="You passed in a `val_dataloader` but have no .*")
            self._make_trainer(best).fit(tuned, datamodule=self.datamodule)
        task.float().eval().to(device)  # the trainer may have converted it to bfloat16
        best.restore_(network)
        return Tuning(network, before, best.epochs, best.best, is_distilled=self.options.distil)

    def _evaluate(self, network: nn.Module) -> Epoch:
        found = evaluate(network, self.datamodule.val_dataloader())
        return Epoch(val_loss=found.loss, val_acc=found.report.accuracy)

    def _make_trainer(self, best: BestEpoch) -> Trainer:
        device, num_epochs = self.trainer.strategy.root_device, self.options.num_epochs

        def report(number: int, found: Epoch) -> None:
            CONSOLE.print(tuning_line(number, num_epochs, found))

        return Trainer(
            **{key: self.config_init.trainer[key] for key in OF_TRAINING},
            devices=1 if device.index is None else [device.index],  # the one that the network is on
            callbacks=[FiniteCallback(self.config.on_nan), KeepBest(best, report), self.stop],
            max_epochs=num_epochs,
            default_root_dir=str(self.run_dir),
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=sys.stdout.isatty(),
            num_sanity_val_steps=0,
        )

    def _draw_curve(self, settings: PruneSettings) -> None:
        """Write the accuracy curves as ``curve.json`` and as a figure, and print them."""
        rows = threshold_curves(
            *(self.model.network, self.samples, self.datamodule.val_dataloader()), layers=settings.layers
        )
        curves: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        total = len(METHODS) * (len(THRESHOLDS) + 1)
        is_quiet = not sys.stderr.isatty()
        for method, row in track(rows, "pruning", total, disable=is_quiet, transient=True):
            for key, value in row.items():
                curves[method][key].append(value)
        n = len(self.datamodule.dataset("val"))
        run = Run(self.run_dir)
        chance = 1 / len(self.datamodule.class_names)
        content = {"protocol": self.datamodule.protocol_name, "n": n, "chance": chance, "rules": curves}
        run.write_curve(content)
        title = f"Accuracy as neurons are removed from {type(self.model.network).__name__}, val, n = {n:,}"
        figure = curve_figure(curves, title, chance=chance)
        write_figure(figure, run.figures_dir / "prune-curve.png", DPI)
        CONSOLE.print(f"{curve_table(curves)}\n\ncurve        {run.curve_path}", markup=False)
