"""The command ``repeat``: train and test with several seeds, then report all of them together."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import yaml

from fer.commands.against import compare_with, read_other
from fer.commands.members import choose_for_members, make_study_parser, run_study
from fer.errors import InputError
from fer.studies.members import REPEAT

HELP: Final = "train and test with several seeds, then report mean, spread and intervals"
SECTION: Final = "train"
TAKES: Final = "study"

EXAMPLES: Final = """\
examples:
  fer repeat --config best --seeds 3                  seeds 0, 1 and 2
  fer repeat --config conv6 --seeds "[3, 7]" --run_name conv6-a --model.lr 0.003
  fer repeat --config vgg --seeds 3 --against runs/conv6-a

All settings of fer fit are accepted, too: fer fit --config NAME --help lists them.
"""


def repeat(arguments: Sequence[str]) -> None:
    """Train and test with several seeds, then report mean, spread and intervals."""
    parser = make_study_parser(
        REPEAT,
        description="""\
Train the same settings once for each seed, and test each best checkpoint on the test split once. A single
training is not enough to compare settings: with another seed, accuracy may differ by percentage points.

Each seed is a run on one device; all share a folder and a W&B group. The report gives the mean, the standard
deviation (n - 1), and two 95 % intervals of the mean test accuracy: over seeds (Student's t, for these test
samples), and over test samples (Wilson, each sample counted once). The seed sets the initial weights, the
order of batches and the augmentation; the splits depend only on --data.seed.

Repeat the command with the same --run_name to resume it. Seeds that are done are not run again, and more
seeds may be added.""",
        epilog=EXAMPLES,
    )
    parser.add_argument(
        "--seeds",
        default="3",
        help='number of seeds, counted from 0, or a list of seeds such as "[3, 7]" (default: 3)',
    )
    parser.add_argument(
        "--against",
        type=Path,
        metavar="runs/OTHER",
        help="folder of another repeat with the same seeds and test samples, to compare with: McNemar's test "
        "for each seed, and the paired difference of the means with its intervals",
    )
    own, others = parser.parse_known_args(list(arguments))
    seeds = parse_seeds(own.seeds)
    words, chosen = choose_for_members(REPEAT, others)
    other = None if own.against is None else read_other(own.against, seeds)
    folder = run_study(REPEAT, own, words, chosen, seeds)
    if other is not None:
        compare_with(folder, other, chosen)


def parse_seeds(text: str) -> list[int]:
    """Return the seeds that an argument gives: as a number of seeds, or as a list.

    Raises:
        InputError: It is neither, or a seed is negative or given twice.

    >>> parse_seeds("3"), parse_seeds("[3, 7]"), parse_seeds("[5]")
    ([0, 1, 2], [3, 7], [5])
    """
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = None
    seeds = list(range(value)) if type(value) is int else value
    is_list = isinstance(seeds, list) and bool(seeds) and all(type(seed) is int for seed in seeds)
    if not is_list or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        msg = f'--seeds {text}: give the number of seeds, 1 or more, or a list of different seeds, "[3, 7]"'
        raise InputError(msg)
    return seeds
