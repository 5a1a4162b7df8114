"""The command ``crop``: find and crop the faces of images."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from fer.commands.parsing import make_parser, parse, summary
from fer.crop import crop as crop_faces
from fer.data.cache import cache_dir
from fer.files import remove_drafts

HELP: Final = "find and crop the faces of images, with a contact sheet and a table"
SECTION: Final = "data"


def crop(words: Sequence[str]) -> None:
    """Crop the faces of images; the function's signature is the command line."""
    parser = make_parser("fer crop", summary(crop_faces))
    parser.add_function_arguments(crop_faces, as_positional=True)
    settings = parse(parser, words)
    remove_drafts([Path(settings.dst), cache_dir()])
    crop_faces(**settings.as_dict())
