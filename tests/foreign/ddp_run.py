"""Train on two processes; started by test_ddp.py, as a user starts a script."""

import logging
import sys
from pathlib import Path

import lightning as L
import torch
from foreign.digits import DigitsDataModule, LitDigits
from lightning.pytorch.callbacks import ModelCheckpoint

from fer.callbacks import DistinctivenessCallback, EvaluationCallback, PruneCallback, StageCallback


def main(folder: Path, case: str) -> None:
    """Train, and write what each process has at the end."""
    handler = logging.FileHandler(folder / f"log-{_rank()}.txt")
    logging.getLogger("fer").addHandler(handler)
    L.seed_everything(0, verbose=False)
    samples = torch.rand(300, 64, generator=torch.Generator().manual_seed(3)) if case == "given" else None
    wrong = case == "wrong"
    measured = torch.rand(20, 63) if wrong else samples
    distinct = DistinctivenessCallback(samples=measured, num_samples=200)
    stages = StageCallback(train_loss="loss" if wrong else "train_loss", val_loss="val_loss")
    pruning = PruneCallback(
        enabled=True, metric="val_accuracy" if wrong else "val_acc", share_removed=0.5, samples=samples
    )
    best = ModelCheckpoint(folder / "checkpoints", filename="best", monitor="val_acc", mode="max")
    trainer = L.Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        max_epochs=2,
        callbacks=[distinct, stages, pruning, EvaluationCallback(), best],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
        default_root_dir=folder,
    )
    module = LitDigits()
    trainer.fit(module, datamodule=DigitsDataModule())
    left = {
        "weights": module.state_dict(),
        "degrees": distinct.degrees,
        "history": distinct.history,
        "losses": stages.losses,
        "pruned": None if pruning.pruned is None else pruning.pruned.state_dict(),
        "epochs": trainer.current_epoch,
    }
    torch.save(left, folder / f"left-{trainer.global_rank}.pt")


def _rank() -> str:
    import os

    return os.environ.get("LOCAL_RANK", "0")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
