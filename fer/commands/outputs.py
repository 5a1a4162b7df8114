"""What a run writes besides its results: its settings, and the list of its files at the end."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from fer.configs import flatten
from fer.dashboards import log_config
from fer.figures.style import describe_missing
from fer.home import hide_home
from fer.runs import Run


class ConfigCallback(SaveConfigCallback):
    """Store all settings: as YAML in the run's folder, and under the names that sweeps use in W&B."""

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write both, once, in the first process."""
        del pl_module, stage
        settings = self._write(trainer, self.config)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                log_config(logger, settings)

    @rank_zero_only
    def keep_schedule(
        self, trainer: Trainer, network: str | None, settings: Mapping[str, int | None]
    ) -> None:
        """Write how often angles are measured into both, so that the run can be repeated."""
        if network is not None:  # of a callback that is no setting of the run
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


def list_files(run: Run, missing: Mapping[str, str]) -> list[str]:
    """Return lines that name a run's folder, its best checkpoint and figures, and how to view it in W&B.

    Args:
        run: The run.
        missing: By name the figures that could not be drawn or written, and why.
    """
    lines = [f"run          {run.folder}"]
    if run.best_checkpoint.is_file():
        lines.append(f"checkpoint   {run.best_checkpoint}")
    if figures := sorted(run.figures_dir.glob("*.png")):
        lines += ["figures", *(f"  {path}" for path in figures)]
    lines += describe_missing(missing)
    if offline := sorted(run.folder.glob("wandb/offline-run-*")):
        lines += ["view it", f"  wandb leet {offline[-1]}", f"  wandb sync {offline[-1]}"]
    return lines
