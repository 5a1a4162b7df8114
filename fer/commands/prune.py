"""The command prune: a trained network made smaller, at once, in rounds, or at every threshold."""

import copy
import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser
from rich.progress import track

from fer.callbacks import PruneCallback
from fer.callbacks.prune import compare, inputs_of, macs_of, scalars, write_figure
from fer.commands.choices import choose
from fer.commands.experiment import ConfigCallback, ExperimentCLI, run_experiment
from fer.commands.parsing import CONSOLE
from fer.errors import InputError
from fer.figures import curve_figure
from fer.files import atomic_write
from fer.neurons import RULES, measure_groups
from fer.neurons.blocks import drop_idle_blocks
from fer.studies.pruning import THRESHOLDS, WAYS, goal_of_macs, prune_in_rounds, threshold_curves

OF_TRAINING: Final = ("accelerator", "precision", "limit_train_batches", "gradient_clip_val")
"""Settings of the trainer that fine-tuning has, too."""


OWN: Final = ("curve", "target_macs", "rounds", "tolerance", "tune_epochs", "tune_lr")
"""Settings of this command alone."""

Layers = dict[str, dict[str, int]]
"""By layer, neurons ``before`` and ``after``, and how many went for every cause."""


def prune(arguments: Sequence[str]) -> None:
    """Make a checkpoint's network smaller; a word that is no option's is the checkpoint."""
    words = list(arguments)
    if any(word.split("=")[0] == "--timm" for word in words):
        from fer.commands.prune_timm import prune_timm

        prune_timm(words)
        return
    words = name_checkpoint(words)
    # As the papers' readers would write it.
    words = [word.replace("--target-macs", "--target_macs") for word in words]
    chosen_words, chosen = choose(words)
    run_experiment("prune", chosen_words, chosen, PruneCLI)


def name_checkpoint(words: Sequence[str]) -> list[str]:
    """Return a command's words with its option before the checkpoint, wherever that stands.

    >>> name_checkpoint(["--curve", "true", "best.ckpt", "--prune.by=span"])
    ['--curve', 'true', '--ckpt_path', 'best.ckpt', '--prune.by=span']
    """
    named: list[str] = []
    for before, word in pairwise(["", *words]):
        is_value = word.startswith("-") or (before.startswith("-") and "=" not in before)
        named += [word] if is_value else ["--ckpt_path", word]
    return named


class PruneCLI(ExperimentCLI):
    """Prune the network of a checkpoint, and say what it costs on val."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add what is studied of pruning; how one network is pruned is under ``prune``."""
        super().add_arguments_to_parser(parser)
        parser.usage = (
            "fer prune CHECKPOINT [settings]\n"
            "       fer prune --timm NAME --images FOLDER [settings]    (fer prune --timm NAME --help)"
        )
        parser.add_argument(
            "--curve",
            type=bool,
            default=False,
            help=f"accuracy at thresholds of {', '.join(f'{each:g}' for each in THRESHOLDS)} degrees, by our "
            "rules and the papers', drawn; the network is left as it is",
        )
        parser.add_argument(
            "--target_macs",
            type=float | None,
            default=None,
            help="share of the multiply-adds to leave, 0 to 1: one threshold for all layers is found by "
            "search; with --prune.by span each layer gives what it can best spare",
        )
        parser.add_argument(
            "--rounds",
            type=int,
            default=0,
            help="prune in so many rounds, each a little more and fine-tuned, until val falls by more than "
            "the tolerance; 0: once, and without training",
        )
        parser.add_argument("--tolerance", type=float, default=0.01, help="of val in --rounds, 0 to 1")
        parser.add_argument("--tune_epochs", type=int, default=1, help="epochs of training in each round")
        parser.add_argument(
            "--tune_lr",
            type=float | None,
            default=None,
            help="their learning rate; null: a tenth of model.lr",
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the words, and keep what is this command's own out of the run's config."""
        super().parse_arguments(parser, args)
        self.own = {name: self.config.pop(name) for name in OWN}
        self._check()

    def _prune(self) -> None:
        callbacks = {type(callback): callback for callback in self.trainer.callbacks}  # type: ignore[attr-defined]
        callbacks[ConfigCallback].save_config(self.trainer, self.model, "prune")
        self.model.to(self.trainer.strategy.root_device)
        callback: PruneCallback = callbacks[PruneCallback]
        if self.own["curve"]:
            self._draw_curve(callback)
            return
        if self.own["rounds"]:
            results = self._prune_in_rounds(callback)
        else:
            if self.own["target_macs"] is not None:
                self._set_goal(callback)
            results = callback.prune(self.model, self.datamodule, Path(self.config.ckpt_path), self.run_dir)
        for logger in self.trainer.loggers:
            logger.log_metrics(scalars(results))
            logger.save()

    def _check(self) -> None:
        macs, rounds = self.own["target_macs"], self.own["rounds"]
        if macs is not None and not 0 < macs < 1:
            msg = f"--target_macs is {macs}: it is the share that is left, above 0 and below 1"
            raise InputError(msg)
        if rounds < 0 or self.own["tune_epochs"] < 0:
            msg = f"--rounds is {rounds} and --tune_epochs {self.own['tune_epochs']}: neither can be below 0"
            raise InputError(msg)
        if not 0 <= self.own["tolerance"] <= 1:
            msg = f"--tolerance is {self.own['tolerance']}: it is a share of val, 0 to 1"
            raise InputError(msg)

    def _set_goal(self, callback: PruneCallback) -> None:
        """Let the callback leave the share of the multiply-adds that was asked for."""
        inputs = inputs_of(self.model, self.datamodule, callback.num_samples)
        settings = {key: callback.settings[key] for key in ("criterion", "merge", "rule")}
        rule = settings["rule"]
        measure = RULES[rule].measure if rule else {}
        network, _ = drop_idle_blocks(self.model.network, inputs, callback.idle_below)
        measurement = measure_groups(network, inputs, layers=callback.settings["layers"], **measure)
        most = self.own["target_macs"] * macs_of(self.model.network, inputs[0])
        callback.settings |= goal_of_macs(network, measurement, inputs[0], most, **settings)

    def _prune_in_rounds(self, callback: PruneCallback) -> dict[str, Any]:
        before = copy.deepcopy(self.model)
        inputs = inputs_of(self.model, self.datamodule, callback.num_samples)
        lr = self.own["tune_lr"]
        rounds: list[dict[str, Any]] = []
        layers: Layers = {}
        blocks: dict[str, float] = {}
        CONSOLE.print("round  threshold  neurons  multiply-adds   pruned  recalibrated  fine-tuned")
        for found in prune_in_rounds(
            *(self.model, self.datamodule, inputs, self._make_trainer),
            rounds=self.own["rounds"],
            tune_epochs=self.own["tune_epochs"],
            tune_lr=self.model.optimizer_settings.lr / 10 if lr is None else lr,
            tolerance=self.own["tolerance"],
            macs=self.own["target_macs"],
            idle_below=callback.idle_below,
            **callback.settings,
        ):
            rounds.append(found._asdict())
            CONSOLE.print(
                f"{len(rounds):>5}  {'' if found.threshold is None else f'{found.threshold:.2f}°':>9}  "
                f"{found.neurons:7,}  {found.macs:13,}  "
                f"{100 * found.pruned:5.2f} %  {100 * found.recalibrated:10.2f} %  {100 * found.tuned:8.2f} %"
                f"{'' if found.is_kept else '   too much: not kept'}"
            )
            if found.is_kept:
                layers = _together(layers, found.layers)
                blocks |= found.blocks
        if not layers and self.stop.asked.is_set():
            msg = "--rounds: it was stopped before a round was over, and nothing was pruned"
            raise InputError(msg)
        if not layers:
            msg = (
                f"--rounds: the first round cost more than --tolerance {self.own['tolerance']}, and nothing "
                "was pruned: give more rounds, more --tune_epochs, or a larger tolerance"
            )
            raise InputError(msg)
        results = compare(before, self.model.network, self.datamodule) | {
            "layers": layers,
            "blocks": blocks,
            "refused": {},
            "settings": {**callback.settings, "idle_below": callback.idle_below},
            "rounds": rounds,
        }
        callback.keep(
            *(results, self.model.network, dict(self.model.widths or {})),
            Path(self.config.ckpt_path),
            self.run_dir,
        )
        return results

    def _make_trainer(self, num_epochs: int) -> Trainer:
        device = self.trainer.strategy.root_device
        return Trainer(
            **{key: self.config_init.trainer[key] for key in OF_TRAINING},
            devices=1 if device.index is None else [device.index],  # the one that the network is on
            callbacks=[self.stop],
            max_epochs=num_epochs,
            default_root_dir=str(self.run_dir),
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=sys.stdout.isatty(),
            num_sanity_val_steps=0,
        )

    def _draw_curve(self, callback: PruneCallback) -> None:
        """Write what each rule costs at each threshold as ``curve.json`` and as an image, and say it."""
        inputs = inputs_of(self.model, self.datamodule, callback.num_samples)
        rows = threshold_curves(
            *(self.model, self.datamodule, inputs), layers=callback.settings["layers"], ways=WAYS
        )
        curves: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        total = len(WAYS) * (len(THRESHOLDS) + 1)
        is_quiet = not sys.stderr.isatty()
        for way, row in track(rows, "pruning", total, disable=is_quiet, transient=True):
            for key, value in row.items():
                curves[way][key].append(value)
        content = {
            "protocol": self.datamodule.protocol_name,
            "n": len(self.datamodule.dataset("val")),
            "rules": curves,
        }
        with atomic_write(self.run_dir / "curve.json") as file:
            file.write(json.dumps(content, indent=1).encode() + b"\n")
        title = f"{type(self.model.network).__name__}, val, n = {content['n']:,}; nothing trained on"
        write_figure(curve_figure(curves, title), self.run_dir / "figures" / "prune-curve.png")
        CONSOLE.print(curve_table(curves))
        CONSOLE.print(f"\ncurve        {self.run_dir / 'curve.json'}")


def curve_table(curves: dict[str, dict[str, list[float]]]) -> str:
    """Return accuracy and the share of neurons left as text: a line for each threshold, a column a rule."""
    width = max(18, *map(len, curves))
    lines = ["threshold  " + "".join(f"{name:>{width}}" for name in curves)]
    for number, threshold in enumerate(next(iter(curves.values()))["threshold"]):
        cells = [f"{100 * of['acc'][number]:.2f} % ({of['neurons'][number]:.0%})" for of in curves.values()]
        lines.append(f"{threshold:8g}°  " + "".join(f"{cell:>{width}}" for cell in cells))
    return "\n".join([*lines, "accuracy on val (neurons left)"])


def _together(earlier: Layers, later: Mapping[str, Mapping[str, int]]) -> Layers:
    """Return what went from each layer in two rounds.

    >>> first = {"conv1": {"before": 9, "after": 7, "dead": 2}}
    >>> _together(first, {"conv1": {"before": 7, "after": 6, "dead": 1}})
    {'conv1': {'before': 9, 'after': 6, 'dead': 3}}
    """
    together = dict(earlier)  # a layer that has come down to one neuron is in no later round
    for name, layer in later.items():
        first = earlier.get(name, {"before": layer["before"]})
        sums = {cause: first.get(cause, 0) + num for cause, num in layer.items()}
        together[name] = sums | {"before": first["before"], "after": layer["after"]}
    return together
