"""``fer repeat --against``: compare a repeat with another one, paired by seed and by sample."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from fer.commands.choices import find_task
from fer.commands.compare import build_data
from fer.commands.parsing import CONSOLE
from fer.compare import Answers, PairedRepeats, answers_of, check_seeds, pair_repeats, read_run
from fer.configs import flatten
from fer.errors import InputError
from fer.files import write_json
from fer.neurons.networks import class_path
from fer.report.members import AGAINST
from fer.studies.members import REPEAT, find_kind, read_members, read_settings


def read_other(folder: Path, seeds: Sequence[int]) -> Path:
    """Check that the repeat to compare with is complete and has the same seeds, and return its folder.

    Raises:
        InputError: The folder holds no repeat, or the repeat is not complete or has other seeds.
    """
    if find_kind(folder) is not REPEAT:
        msg = f"--against {folder}: this folder holds no repeat; give the folder of one, runs/NAME"
        raise InputError(msg)
    check_seeds(str(folder), REPEAT.numbers(read_settings(folder)), list(seeds))
    read_members(folder)
    return folder


def compare_with(folder: Path, other: Path, chosen: Mapping[str, str]) -> PairedRepeats:
    """Compare a repeat with another one; print the result, and write it for the report.

    Args:
        folder: Folder of the repeat.
        other: Folder of the repeat to compare it with.
        chosen: Names of the network and the data set; classes outside of fer are imported only if these
            name them.

    Raises:
        InputError: They were tested on different data, or have no predictions on the same test samples.
    """
    theirs, ours = map(_data, (other, folder))
    if theirs != ours:
        msg = (
            f"--against {other}: it was tested on {theirs}, but this repeat on {ours}; give one with "
            "the same test samples"
        )
        raise InputError(msg)
    with CONSOLE.status("reading the test predictions of both repeats"):
        before, after = (_answers(path, chosen) for path in (other, folder))
    found = pair_repeats(str(other), before, after)
    write_json(folder / AGAINST, found.plain())
    CONSOLE.print(f"\n{found.table()}", markup=False)
    return found


def _data(folder: Path) -> str:
    """Return the name of a repeat's data, with the seed of its randomly drawn splits."""
    first = REPEAT.run(folder, REPEAT.numbers(read_settings(folder))[0])
    drawn = flatten(first.read_config()).get("data.seed")
    name = str(first.read_results().get("data"))
    return name if drawn is None else f"{name} with data.seed {drawn}"


def _answers(folder: Path, chosen: Mapping[str, str]) -> dict[int, Answers]:
    """Return the test predictions of each seed."""
    own = [find_task(chosen["network"]).network_class] if "." in chosen["network"] else []
    networks = {class_path(each): each for each in own if each is not None}
    dataset = chosen["dataset"] if "." in chosen["dataset"] else None
    found = {}
    for seed in REPEAT.numbers(read_settings(folder)):
        run = read_run(REPEAT.run(folder, seed).folder)
        answers = answers_of(run, lambda settings: build_data(settings, named=dataset), networks)
        if "test" not in answers:
            msg = f"{run.run.folder}: it has no predictions on a test split, only on {', '.join(answers)}"
            raise InputError(msg)
        found[seed] = answers["test"]
    return found
