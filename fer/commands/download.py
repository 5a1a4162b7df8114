"""The command ``download``: fetch FER2013 from Kaggle."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from fer.commands.parsing import CONSOLE
from fer.data.fer2013 import download as fetch

HELP: Final = "fetch FER2013 from Kaggle"
SECTION: Final = "data"


def download(words: Sequence[str]) -> None:
    """Fetch FER2013 from Kaggle."""
    parser = argparse.ArgumentParser(prog="fer download", description="Fetch FER2013 from Kaggle.")
    parser.add_argument("root", type=Path, help="folder to download it to")
    path = fetch(parser.parse_args(list(words)).root)
    CONSOLE.print(f"FER2013 is in {path}; train with --data.root {path}")
