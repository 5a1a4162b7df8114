"""The command ``crossval``: train and test every fold as a run, then report all folds together."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fer.commands.choices import find_data_module
from fer.commands.members import choose_for_members, configs_in, make_study_parser, run_study
from fer.data import DATA_MODULES, PooledDataModule
from fer.errors import InputError
from fer.studies.members import CROSSVAL

HELP: Final = "train and test every fold of a cross-validation, then report mean and spread"
SECTION: Final = "train"
TAKES: Final = "study"


def crossval(arguments: Sequence[str]) -> None:
    """Train and test every fold of a cross-validation, then report mean and spread."""
    parser = make_study_parser(
        CROSSVAL,
        description="""\
Train once for each fold: train on the other folds, a part of which is the validation split that selects the
checkpoint, then test on the fold. Each fold is a run on one device; all share a folder and a W&B group.
Repeat the command with the same --run_name to resume it.""",
        epilog="""\
All settings of fer fit are accepted, too: fer fit --config NAME --help lists them. Networks given
by --start_from or --teachers must not have been trained on samples of a test fold.""",
    )
    parser.add_argument(
        "--folds", type=int, help="number of folds (default: that of the config's data.protocol, or 5)"
    )
    own, others = parser.parse_known_args(list(arguments))
    words, chosen = choose_for_folds(others)
    num_folds = own.folds or _num_folds(configs_in(words))
    run_study(CROSSVAL, own, words, chosen, num_folds, {"data.protocol": f"{num_folds}-fold"})


def choose_for_folds(words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Return the arguments and names of :func:`fer.commands.choices.choose` for the runs of the folds.

    Raises:
        InputError: An argument is invalid, sets what crossval sets itself, or names data with fixed splits.
    """
    chosen_words, chosen = choose_for_members(CROSSVAL, words, ["--data.protocol"])
    if not issubclass(find_data_module(chosen["dataset"]), PooledDataModule):
        pools = [name for name, module in DATA_MODULES.items() if issubclass(module, PooledDataModule)]
        msg = (
            f"--dataset {chosen['dataset']} has fixed splits and cannot be cross-validated; "
            f"{', '.join(pools)} can"
        )
        raise InputError(msg)
    return chosen_words, chosen


def _num_folds(configs: Sequence[Mapping[str, Any]]) -> int:
    """Return the number of folds of the last config that sets one; 5 if none does.

    >>> _num_folds([{"data": {"protocol": "4-fold"}}, {"data": {}}])
    4
    """
    protocols = [str((config.get("data") or {}).get("protocol")) for config in configs]
    named = [int(match[1]) for protocol in protocols if (match := re.fullmatch(r"(\d+)-fold", protocol))]
    return named[-1] if named else 5
