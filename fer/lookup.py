"""Look up the folders of runs and the checkpoints that a command is given."""

import zipfile
from pathlib import Path

from fer.errors import InputError, suggest_path, unreadable_checkpoint
from fer.runs import LATEST, SETTINGS, STUDY, Run


def find_checkpoint(path: Path, *, resume: bool = False) -> Path:
    """Find a checkpoint, given as a file or as a run's folder such as ``runs/latest``.

    In a folder, it is the first of these: best, pruned, last, or the one that the run evaluated or pruned.

    Args:
        path: A checkpoint, or a run's folder.
        resume: Whether to resume training from it: then the last checkpoint is preferred.

    Returns:
        The file, with ``latest`` replaced by the run that it links to now.

    Raises:
        InputError: There is no such file or folder, or the folder has no checkpoint.
    """
    path = without_link(path.expanduser())
    if path.is_file():
        return path
    if not path.is_dir():
        near = suggest_path(path, lambda each: each.suffix == ".ckpt" or Run(each).is_run)
        msg = f"{path}: no such checkpoint; {near}give a run, runs/NAME, or runs/NAME/checkpoints/best.ckpt"
        raise InputError(msg)
    run = Run(path)
    candidates = [run.last_checkpoint, run.previous_checkpoint] if resume else []
    candidates += [run.best_checkpoint, run.pruned_checkpoint, run.last_checkpoint]
    if source := run.read_config().get("ckpt_path"):
        candidates.append(Path(str(source)))
    found = next((each for each in candidates if each.is_file()), None)
    if found is None:
        inside = sorted(each.name for each in path.iterdir() if Run(each).best_checkpoint.is_file())
        is_run = run.config_path.is_file()
        hint = "its training has finished no epoch yet" if is_run else "give the folder of a run, runs/NAME"
        hint = f"did you mean {path / inside[0]}?" if inside else hint
        msg = f"{path}: no checkpoint in {run.checkpoints_dir.name}/; {hint}"
        raise InputError(msg)
    return found


def check_archive(path: Path) -> None:
    """Check that a checkpoint is a complete archive, as ``torch.save`` writes it; not what is in it.

    Raises:
        InputError: The file is something else, or it is truncated.
    """
    if not zipfile.is_zipfile(path):
        raise unreadable_checkpoint(path, "not an archive of torch.save")


def check_folder(folder: Path) -> None:
    """Check that the folder of a run, or of a study of several, exists; not what is in it.

    Raises:
        InputError: There is no such folder. The message suggests one with runs in it.
    """
    if folder.is_dir():
        return
    if folder.exists():
        problem = "a file, not a folder; "
    else:
        problem = f"no such folder; {suggest_path(folder, _holds_run)}"
    msg = f"{folder}: {problem}give a folder that fer wrote, runs/NAME"
    raise InputError(msg)


def _holds_run(folder: Path) -> bool:
    """Return whether a folder is that of a run, or of several."""
    return Run(folder).is_run or any((folder / name).is_file() for name in (STUDY, SETTINGS))


def without_link(path: Path) -> Path:
    """Return a path with ``latest`` replaced by its target, since a later run changes the link."""
    for link in (path, *path.parents):
        if link.name == LATEST and link.is_symlink():
            return link.parent / link.readlink() / path.relative_to(link)
    return path
