"""Download FER2013 from Kaggle."""

import logging
import shutil
import tempfile
from pathlib import Path
from typing import Final

from fer.data.fer2013.folders import PARTS
from fer.errors import InputError

log = logging.getLogger("fer.data")

KAGGLE_HANDLE: Final = "msambare/fer2013"
"""The image folders on Kaggle, whose file names distinguish PublicTest and PrivateTest."""


def download(root: Path) -> Path:
    """Download FER2013 from Kaggle as image folders, unless they exist.

    Args:
        root: Folder to put it in, in a subfolder ``fer2013``; created if missing.

    Returns:
        The folder that contains ``train`` and ``test``, for :func:`read_fer2013`.

    Raises:
        InputError: kagglehub is not installed, Kaggle cannot be reached or refuses, or ``root`` cannot
            be written to.
    """
    target = Path(root).expanduser() / "fer2013"
    missing = [part for part in PARTS if not (target / part).is_dir()]
    if not missing:
        log.info("FER2013 is already in %s", target)
        return target
    fetched = _fetch()
    try:
        target.mkdir(parents=True, exist_ok=True)
        for part in missing:
            with tempfile.TemporaryDirectory(prefix=".download-", dir=target) as draft:
                # Rename only after the whole copy, so that no incomplete folder gets the final name.
                shutil.copytree(fetched / part, Path(draft) / part).replace(target / part)
    except (OSError, shutil.Error) as e:
        msg = (
            f"FER2013 was downloaded to {fetched} but cannot be copied to {target} ({e}); "
            "choose another folder"
        )
        raise InputError(msg) from e
    return target


def _fetch() -> Path:
    """Return kagglehub's copy of the image folders; download it if necessary."""
    try:
        import kagglehub
        from kagglehub import exceptions
    except ImportError as e:
        msg = "downloading FER2013 needs kagglehub: pip install 'fer-neurons[kaggle]'"
        raise InputError(msg) from e
    by_hand = (
        f"download it manually from https://www.kaggle.com/datasets/{KAGGLE_HANDLE} and set the zip with "
        "--data.root or the environment variable FER_DATA_DIR"
    )
    try:
        fetched = Path(kagglehub.dataset_download(KAGGLE_HANDLE))
    # Network errors are OSErrors; the rest are Kaggle's refusals.
    except (
        OSError,
        exceptions.BackendError,
        exceptions.CredentialError,
        exceptions.DataCorruptionError,
        exceptions.KaggleEnvironmentError,
        exceptions.NotFoundError,
        exceptions.UnauthenticatedError,
    ) as e:
        msg = f"FER2013 cannot be downloaded from Kaggle ({e}); try again, or {by_hand}"
        raise InputError(msg) from e
    if not all((fetched / part).is_dir() for part in PARTS):
        msg = f"Kaggle's {KAGGLE_HANDLE}, in {fetched}, has no folders train and test; {by_hand}"
        raise InputError(msg)
    return fetched
