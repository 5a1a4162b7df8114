"""W&B artifacts of a run: networks, angles and crops, and the network that it started from."""

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch.loggers import WandbLogger

import fer
from fer.provenance import package_commit
from fer.runs import Run, run_of

Artifacts = Literal["none", "best", "all"]
"""Files of a run that become W&B artifacts.

- ``none``: no files.
- ``best``: the networks: the best checkpoint, the pruned checkpoint, and ONNX files.
- ``all``: also the angles of all epochs and the table of crops, which can be large.
"""

log = logging.getLogger("fer.dashboards")


def log_artifacts(
    logger: WandbLogger, run_dir: Path, name: str, which: Artifacts, about: Mapping[str, Any]
) -> list[str]:
    """Log the files of a run as artifacts; offline, ``wandb sync`` uploads them later.

    The networks are versions of one artifact, of the type ``model``, with the aliases ``best``, ``pruned``
    and ``onnx``. Files are not copied: if a run is synced later, they must still exist.

    Args:
        logger: Logger of the run.
        run_dir: The run's folder.
        name: Name of the run; the name of its artifact is this name and the id of the W&B run.
        which: Files to log; see :data:`Artifacts`.
        about: Further metadata, such as network and data.

    Returns:
        The names, with their alias, of the artifacts that W&B accepted. If W&B cannot be reached, there is a
        warning and no error: the training itself has not failed.
    """
    run, files = logger.experiment, Run(run_dir)
    name = artifact_name(f"{name[:100]}-{run.id}")
    networks = []
    for path in _networks(run_dir) if which != "none" else []:
        alias = "onnx" if path.suffix == ".onnx" else path.stem
        networks += _log(logger, name, "model", [path], alias, {**about, **describe(run_dir, alias)})
    others = []
    tables = {
        "angles": [files.angles_path(epoch) for epoch in files.measured_epochs()],
        "crops": [path for path in (files.crops_path,) if path.is_file()],
    }
    for kind, paths in tables.items():
        if which == "all" and paths:
            metadata = {**about, "files": len(paths)}
            others += _log(logger, f"{name}-{kind}", kind, paths, "latest", metadata)
    if networks:
        project = "/".join(part for part in (run.entity, run.project) if part)
        full_names = {full.split(":")[1]: f"{project}/{full}" for full in networks}
        files.write_artifacts(full_names)
    return networks + others


def use_checkpoint(logger: WandbLogger, checkpoint: Path) -> str | None:
    """Log that a run starts from a checkpoint of another run, and return the name of its artifact.

    Args:
        logger: Logger of the run that starts.
        checkpoint: ``checkpoints/best.ckpt`` or the like, in the other run's folder.

    Returns:
        The name; None if the run is offline, or if the other run logged no artifact of the checkpoint.
    """
    name = None if logger.experiment.offline else run_of(checkpoint).read_artifacts().get(checkpoint.stem)
    if name is None:
        return None
    import wandb  # not above: it is slow to import, and --wandb.mode disabled needs none
    from wandb.sdk.lib.service.service_connection import WandbApiFailedError

    try:
        logger.experiment.use_artifact(name, type="model")
    except (wandb.Error, WandbApiFailedError, ValueError) as e:  # such as: the other run was never synced
        log.warning("W&B does not know %s, which the run starts from: %s", name, e)
        return None
    return name


def artifact_name(name: str) -> str:
    """Return a name that W&B accepts: letters, digits, dashes, underscores and dots, 128 at most.

    >>> artifact_name("resnet fer2013 lr=0.003")
    'resnet-fer2013-lr-0.003'
    """
    return re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII)[:128]


def describe(run_dir: Path, alias: str) -> dict[str, Any]:
    """Return the metadata of a network: results with n, size, and the commit of the code.

    Args:
        run_dir: The run's folder; results are read from ``results.json`` or ``prune.json``, if it has them.
        alias: Alias of the network; ``pruned`` selects the results of pruning.
    """
    found: dict[str, Any] = {"fer": fer.__version__, "commit": package_commit()}
    if alias == "pruned":
        pruned = Run(run_dir).read_prune()
        after = pruned.get("after", {})
        found |= {"val/acc": after.get("acc"), "val/n": pruned.get("n")}
        found |= {"parameters": after.get("parameters")}
        found |= {"widths": {layer: each["after"] for layer, each in pruned.get("layers", {}).items()}}
        return found
    results = Run(run_dir).read_results()
    keys = ("parameters", "epochs", "seed", "best_val_acc")
    found |= {key: results[key] for key in keys if key in results}
    for split, numbers in results.get("splits", {}).items():
        found |= {f"{split}/{key}": numbers[key] for key in ("acc", "interval", "n")}
    return found


def _networks(run_dir: Path) -> list[Path]:
    run = Run(run_dir)
    checkpoints = [path for path in (run.best_checkpoint, run.pruned_checkpoint) if path.is_file()]
    return checkpoints + sorted(run_dir.rglob("*.onnx"))


def _log(
    logger: WandbLogger, name: str, kind: str, paths: Sequence[Path], alias: str, metadata: dict[str, Any]
) -> list[str]:
    """Log an artifact and return its name with its alias; return nothing if W&B cannot be reached."""
    import wandb
    from wandb.sdk.lib.service.service_connection import WandbApiFailedError

    artifact = wandb.Artifact(name, type=kind, metadata=metadata)
    for path in paths:
        artifact.add_file(str(path.resolve()), name=path.name, policy="immutable", skip_cache=True)
    try:
        logger.experiment.log_artifact(artifact, aliases=[alias])
    except (wandb.Error, WandbApiFailedError) as e:
        log.warning("W&B did not accept %s; its files are in the run's folder: %s", name, e)
        return []
    return [f"{name}:{alias}"]
