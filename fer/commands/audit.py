"""The command ``audit``: find duplicate images, conflicting labels and train/test leakage."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from fer.audit import audit_data
from fer.commands.choices import find_data_module
from fer.commands.parsing import make_parser, parse, takes
from fer.data import DATA_MODULES
from fer.errors import InputError

HELP: Final = "find duplicate images, conflicting labels and train/test leakage"
SECTION: Final = "data"


def audit(words: Sequence[str]) -> None:
    """Report the defects of a data set.

    Raises:
        InputError: An argument is invalid, or the data cannot be read.
    """
    names = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    names.add_argument("--dataset", "--data", default="fer2013")
    try:
        chosen, others = names.parse_known_args(list(words))
    except argparse.ArgumentError as e:
        raise InputError(str(e)) from e
    module = find_data_module(chosen.dataset)
    parser = make_parser(
        "fer audit",
        "Find duplicate images, conflicting labels and train/test leakage in a data set; count blank images, "
        "missing values, and the samples of each class.",
    )
    parser.usage = "fer audit [--dataset NAME | package.module.Class] [--data.root FOLDER] [settings]"
    parser.add_argument("--dataset", type=str, default=chosen.dataset, help=", ".join(DATA_MODULES))
    parser.add_argument("--json", action="store_true", help="print all findings as JSON, and nothing else")
    parser.add_argument("--page", type=Path | None, default=None, help="PNG file for a page of these images")
    parser.add_class_arguments(module, "data")
    # The audit forms no batches, so no split is too small for one; images are compared in colour.
    parser.set_defaults({"data.batch_size": 1})
    if takes(parser, "data.channels"):
        parser.set_defaults({"data.channels": 3})
    settings = parse(parser, others)
    audit_data(parser.instantiate_classes(settings).data, as_json=settings.json, page=settings.page)
