"""``fer predict`` without a photo: class probabilities of a run's test split."""

from collections.abc import Sequence
from typing import Any, cast

from fer.commands.choices import choose
from fer.commands.experiment import ExperimentCLI, run_experiment
from fer.commands.parsing import CONSOLE, name_checkpoint
from fer.predict.splits import write_predictions
from fer.runs import Run


def predict_split(words: Sequence[str]) -> None:
    """Write the class probabilities of the test split."""
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
