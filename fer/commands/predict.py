"""The command ``predict``: write a checkpoint's class probabilities for the test split."""

from collections.abc import Sequence
from typing import Any, Final, cast

from fer.commands.choices import choose
from fer.commands.experiment import ExperimentCLI, run_experiment
from fer.commands.parsing import CONSOLE, name_checkpoint
from fer.predict.test_split import write_predictions
from fer.runs import Run

HELP: Final = "write a checkpoint's class probabilities for the test split as CSV"
SECTION: Final = "evaluate"


def predict(words: Sequence[str]) -> None:
    """Write class probabilities; a word that belongs to no option is the checkpoint or its run."""
    run_experiment("predict", *choose(name_checkpoint(words)), PredictCLI)


class PredictCLI(ExperimentCLI):
    """Predict the test split with the network of a checkpoint."""

    def _predict(self) -> None:
        batches = cast(list[Any], self.trainer.predict(self.model, datamodule=self.datamodule))
        if len(self.datamodule.test_names) == 1:  # Lightning drops the outer list where there is one loader
            batches = [batches]
        path = Run(self.run_dir).predictions_path
        write_predictions(path, self.datamodule, batches)
        CONSOLE.print(f"predictions  {path}")
