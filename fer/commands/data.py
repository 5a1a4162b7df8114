"""The commands on data: audit, crop, download."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentError, ArgumentParser

from fer.audit import audit_data
from fer.commands.parsing import CONSOLE, explain, summary, takes
from fer.crop import crop as crop_faces
from fer.data import DATA_MODULES
from fer.data.fer2013 import download as fetch
from fer.errors import InputError, did_you_mean


def audit(arguments: Sequence[str]) -> None:
    """Say what a data set's user should know of it."""
    names = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    names.add_argument("--dataset", "--data", default="fer2013")
    try:
        chosen, others = names.parse_known_args(list(arguments))
    except argparse.ArgumentError as e:
        raise InputError(str(e)) from e
    if chosen.dataset not in DATA_MODULES:
        hint = did_you_mean(chosen.dataset, DATA_MODULES)
        msg = f"--dataset {chosen.dataset}: unknown; {hint}there are {', '.join(DATA_MODULES)}"
        raise InputError(msg)
    parser = ArgumentParser(
        prog="fer audit",
        exit_on_error=False,
        allow_abbrev=False,
        description="What stands twice in a data set, under two labels, or on both sides of a split; blank "
        "images, missing values, and the balance of classes.",
    )
    parser.add_argument("--dataset", type=str, default=chosen.dataset, help=", ".join(DATA_MODULES))
    parser.add_argument("--json", action="store_true", help="print all findings as JSON, and nothing else")
    parser.add_argument("--page", type=Path | None, default=None, help="PNG to draw the images on")
    parser.add_class_arguments(DATA_MODULES[chosen.dataset], "data")
    # There are no batches that a split could be too small for; and images are compared in colour.
    parser.set_defaults({"data.batch_size": 1})
    if takes(parser, "data.channels"):
        parser.set_defaults({"data.channels": 3})
    try:
        settings = parser.parse_args(others)
    except ArgumentError as e:
        raise InputError(explain(str(e), parser)) from e
    data = parser.instantiate_classes(settings).data
    audit_data(data, as_json=settings.json, page=settings.page)


def crop(arguments: Sequence[str]) -> None:
    """Crop the faces of images: the function's signature is the command line."""
    parser = ArgumentParser(
        prog="fer crop", exit_on_error=False, allow_abbrev=False, description=summary(crop_faces)
    )
    parser.add_function_arguments(crop_faces, as_positional=True)
    try:
        settings = parser.parse_args(list(arguments))
    except ArgumentError as e:
        raise InputError(explain(str(e), parser)) from e
    crop_faces(**settings.as_dict())


def download(arguments: Sequence[str]) -> None:
    """Fetch FER2013."""
    parser = argparse.ArgumentParser(prog="fer download", description="Fetch FER2013 from Kaggle.")
    parser.add_argument("root", type=Path, help="folder to put it in")
    path = fetch(parser.parse_args(list(arguments)).root)
    CONSOLE.print(f"FER2013 is in {path}; train with --data.root {path}")
