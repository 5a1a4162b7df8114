"""Write the settings of a run, and list its files at the end."""

from collections.abc import Mapping
from pathlib import Path
from textwrap import wrap
from typing import Any, Final

import yaml
from jsonargparse import Namespace
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from fer.callbacks.boundaries import stages_line
from fer.commands.parsing import CONSOLE
from fer.configs import flatten
from fer.dashboards import log_config
from fer.figures.curves import num_labelled
from fer.figures.style import describe_missing, drawing
from fer.home import hide_home
from fer.neurons.stages import LEAST_VALUES
from fer.pruning.results import PruneResults
from fer.runs import Run

NARROW: Final = 80
"""Width of the list of figures, in columns, which fits narrow terminals."""

INDENT: Final = 13 * " "


class ConfigCallback(SaveConfigCallback):
    """Store all settings: as YAML in the run's folder, and under the names that sweeps use in W&B."""

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write the settings to ``config.yaml`` and to W&B."""
        del pl_module, stage
        settings = self._write(trainer, self.config)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                log_config(logger, settings)

    @rank_zero_only
    def keep_schedule(
        self, trainer: Trainer, network: str | None, settings: Mapping[str, int | None]
    ) -> None:
        """Record how often angles are measured in ``config.yaml`` and W&B, for repeating the run."""
        if network is not None:  # the callback is not one of the run's settings
            return
        config = self.config.clone()
        for name, value in settings.items():
            config.distinctiveness[name] = value
        self._write(trainer, config)
        decided = {f"distinctiveness.{name}": value for name, value in settings.items()}
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_hyperparams(decided)

    def _write(self, trainer: Trainer, config: Namespace) -> dict[str, Any]:
        """Write ``config.yaml``, and return the settings by dotted name."""
        text = hide_home(self.parser.dump(config, skip_none=False))
        Run(Path(trainer.default_root_dir)).write_config(text)
        return flatten(yaml.safe_load(text))


@rank_zero_only
def print_files(run: Run, missing: dict[str, str], *, is_reported: bool) -> None:
    """Print what a run has found and written, and the commands to try next.

    Args:
        run: The run.
        missing: Figures that could not be drawn or written, and why, by name.
        is_reported: Whether its report page is written first.
    """
    page = write_page(run, missing) if is_reported else None
    CONSOLE.print("\n".join(["", *list_files(run, missing, page)]), markup=False)


def write_page(run: Run, missing: dict[str, str]) -> Path | None:
    """Write the report page of a run and return its path; None after a warning if it cannot be written."""
    from fer.commands.report import settings_of  # not above: a circular import
    from fer.report import write_report

    with drawing("report.html", missing):
        return write_report(run.folder, None, settings_of)
    return None


def list_files(run: Run, missing: Mapping[str, str], page: Path | None = None) -> list[str]:
    """Return lines on what a run has found and written, and the commands to try next.

    Args:
        run: The run.
        missing: Figures that could not be drawn or written, and why, by name.
        page: Its report page; None: the command that writes it is suggested instead.
    """
    lines = [f"run          {run.folder}"]
    if run.best_checkpoint.is_file():
        lines.append(f"checkpoint   {run.best_checkpoint}")
    if figures := sorted(run.figures_dir.glob("*.png")):
        names = ", ".join(path.stem for path in figures)
        wrapped = wrap(names, NARROW - len(INDENT), break_on_hyphens=False)
        lines += [f"figures      {run.figures_dir}", *(f"{INDENT}{line}" for line in wrapped)]
    lines += describe_missing(missing)
    named = [] if page is None else [f"report       {page}  (open it in a browser)"]
    return [*lines, *summarise(run), *named, *_next_commands(run, page)]


def summarise(run: Run) -> list[str]:
    """Return a line on the stages of a training and a line on its pruning, if it has them.

    Fewer than :data:`LEAST_VALUES` measurements have no stages, as the training has said.
    """
    lines = []
    of_network = run.read_stages().get("network", {}).get("final")
    if of_network and num_labelled(run.read_metrics()) >= LEAST_VALUES:
        lines.append(f"stages       {stages_line(of_network)}")
    if run.prune_path.is_file():
        lines.append(f"pruned       {PruneResults.read(run.folder).summary()}")
    return lines


def _next_commands(run: Run, page: Path | None) -> list[str]:
    """Return the commands to try next on a run that left files, each with its purpose."""
    if not run.is_run:
        return []
    network = str(run.read_config().get("network", ""))
    own = f" --network {network}" if "." in network else ""  # a class that only the command line may import
    commands = [] if page else [(f"fer report {run.folder}", "results, angles and stages as one HTML page")]
    if run.pruned_checkpoint.is_file():
        commands.append((f"fer test {run.pruned_checkpoint}{own}", "evaluate the pruned network"))
    elif run.best_checkpoint.is_file():
        half = f"fer prune {run.folder}{own} --target_macs 0.5 --prune.criterion span"
        commands.append((half, "keep half of the multiply-adds"))
    if offline := sorted(run.folder.glob("wandb/offline-run-*")):
        if run.best_checkpoint.is_file():
            commands.append((f"wandb leet {offline[-1]}", "see the curves in the terminal"))
        commands.append((f"wandb sync {offline[-1]}", "upload the run to W&B"))
    lines = (line for command, aim in commands for line in (f"  # {aim}", f"  {command}"))
    return ["next", *lines] if commands else []
