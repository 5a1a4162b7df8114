"""Images in one folder for each expression: RAF-DB, CK+, KDEF, one's own."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fer.data.crops import CropRecord, Crops, crop_images
from fer.data.faces import CropSettings, Detector, Fallback, Select
from fer.data.images import ImageDataModule, ImageSplit
from fer.data.pool import PooledDataModule
from fer.data.reading import find_images
from fer.data.root import data_root
from fer.data.splits import hold_out, parse_protocol
from fer.errors import InputError
from fer.labels import ALIASES, EXPRESSIONS, expression_label

log = logging.getLogger("fer.data")

GIVEN: Final = "given"
"""The protocol of a data set that comes with its splits."""

SPLIT_FOLDERS: Final = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
"""Names of the folders of given splits."""

WAY_OUT: Final = "give the folder with --data.root or the environment's FER_DATA_DIR"


def class_folders(folder: Path, *, skip: Sequence[str] = ()) -> dict[str, int]:
    """Return the folders of a data set's classes, by name, with their canonical labels.

    Args:
        folder: That holds them.
        skip: Names of folders in it, in any case, that are left out.

    Raises:
        InputError: There are none, or one has another name than an expression's.
    """
    skipped = {name.lower() for name in skip}
    names = sorted(path.name for path in subfolders(folder) if path.name.lower() not in skipped)
    if not any(is_expression(name) for name in names):
        msg = (
            f"{folder} has no folders named after the expressions ({', '.join(EXPRESSIONS)}; "
            f"also {', '.join(ALIASES)}); {WAY_OUT}"
        )
        raise InputError(msg)
    labels = {}
    for name in names:
        try:
            labels[name] = expression_label(name)
        except InputError as e:
            msg = f"{folder / name}: {e}; leave it out with --data.skip_classes '[{name}]', or rename it"
            raise InputError(msg) from e
    return labels


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder, hidden ones left out.

    Raises:
        InputError: It is no folder, or cannot be read.
    """
    try:
        return [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__"))]
    except OSError as e:
        msg = f"{folder} cannot be read as a folder ({e.strerror}); {WAY_OUT}"
        raise InputError(msg) from e


def is_expression(name: str) -> bool:
    """Return whether a folder is named after an expression."""
    plain = name.strip().lower()
    return plain in EXPRESSIONS or plain in ALIASES


def given_splits(folder: Path) -> dict[str, Path]:
    """Return the folders of the splits that a data set comes with, by the split's name; may be empty."""
    there = {path.name.lower(): path for path in subfolders(folder)}
    found = {
        name: next((there[each] for each in names if each in there), None)
        for name, names in SPLIT_FOLDERS.items()
    }
    return {name: path for name, path in found.items() if path is not None}


class FaceFolderDataModule(PooledDataModule, ImageDataModule):
    r"""Images in one folder for each expression, named in English in any case ("Happy", "happiness").

    Faces are cropped once, before training, and kept in the cache.

    Args:
        root: The folder that holds the expressions' folders, or folders ``train``, ``test`` and perhaps
            ``val`` which do; null: the environment's ``FER_DATA_DIR``.
        protocol: As for every pool (``80/20``, ``80/10/10``, ``5-fold``); or ``given``, the splits that
            the folders are; null: these where there are any, else ``80/10/10``.
        skip_classes: Names of class folders to leave out, such as CK+'s ``[contempt]``, which is none of
            the seven expressions.
        name_pattern: Regular expression of a file's name without its suffix, whose named groups are kinds
            of groups for ``group_by``: ``(?P<subject>S\d+)_.*``.
        crop: How a face is found; see :data:`fer.data.faces.Detector`.
        crop_margin: What is added to the face's box on each side, as a share of its longer side.
        crop_align: Whether the eyes are brought to fixed places, level, which needs MTCNN's landmarks.
        crop_select: Which face counts where there are several.
        crop_fallback: What becomes of an image without a face; see :data:`fer.data.faces.Fallback`.
        **kwargs: See :class:`fer.data.pool.PooledDataModule` and
            :class:`fer.data.images.ImageDataModule`.

    Raises:
        InputError: A setting is out of its range, or the images cannot be used.
    """

    def __init__(
        self,
        root: str | None = None,
        *,
        protocol: str | None = None,
        skip_classes: Sequence[str] = (),
        name_pattern: str | None = None,
        crop: Detector = "none",
        crop_margin: float = 0.1,
        crop_align: bool = False,
        crop_select: Select = "largest",
        crop_fallback: Fallback = "centre",
        **kwargs: Any,
    ) -> None:
        super().__init__(protocol=_pool_protocol(protocol), **kwargs)
        self.root = root
        self.skip_classes = skip_classes
        self.given = protocol == GIVEN
        self.chosen = protocol is not None
        try:
            self.name_pattern = None if name_pattern is None else re.compile(name_pattern)
        except re.error as e:
            msg = f"data.name_pattern is {name_pattern!r}: it is no regular expression ({e})"
            raise InputError(msg) from e
        self._cropped: dict[Path, tuple[list[Path], NDArray[np.int64], Crops]] = {}
        self.crop_settings = CropSettings(
            detector=crop,
            size=self.image_size,
            margin=crop_margin,
            align=crop_align,
            select=crop_select,
            fallback=crop_fallback,
        )

    @property
    def source(self) -> Path:
        """The folder of the data set."""
        return data_root(self.root, dataset="images in class folders", way_out=WAY_OUT)

    @property
    def protocol_name(self) -> str:
        """How the splits were made, in words."""
        folders = self.given_folders()
        if not folders:
            return super().protocol_name
        drawn = "" if "val" in folders else f", val {self.val_share:.0%} of train, {self.drawn}"
        return f"as given in folders{drawn}"

    def given_folders(self) -> dict[str, Path]:
        """Return the folders of the given splits by the split's name; empty where the data is one pool.

        Raises:
            InputError: Given splits were asked for, and there is no train or no test.
        """
        if self.chosen and not self.given:
            return {}
        found = given_splits(self.source)
        if {"train", "test"} <= found.keys():
            return found
        if self.given:
            msg = (
                f"data.protocol is {GIVEN!r}, but {self.source} has no folders train and test; "
                "take a protocol that splits one pool, such as 80/10/10"
            )
            raise InputError(msg)
        return {}

    @property
    def crop_records(self) -> list[CropRecord]:
        """What became of each image; empty where none was cropped, or not yet."""
        if self.crop_settings.detector == "none":
            return []
        return [record for _, _, crops in self._cropped.values() for record in crops.records]

    def prepare_data(self) -> None:
        """Crop all images into the cache, in one process, unless the splits are there."""
        if not self.splits:
            for folder in self.given_folders().values() or [self.source]:
                self._crop(folder)

    def load_pool(self) -> ImageSplit:
        """Return all images, cropped."""
        return self._read(self.source)

    def load_splits(self) -> dict[str, ImageSplit]:
        """Return the given splits, or those of the protocol."""
        folders = self.given_folders()
        if not folders:
            return super().load_splits()
        splits = {name: self._read(folder) for name, folder in folders.items()}
        if "val" not in splits:
            whole = splits["train"]
            size = round(self.val_share * len(whole))
            val = hold_out(whole.labels, size, groups=self.groups_of(whole), seed=self.seed, name="val")
            train = np.setdiff1d(np.arange(len(whole)), val)
            splits |= {"train": whole.take(train), "val": whole.take(val)}
        return splits

    def _read(self, folder: Path) -> ImageSplit:
        """Return the images below the classes' folders of a folder, cropped."""
        paths, labels, crops = self._crop(folder)
        names = np.array([path.relative_to(folder).as_posix() for path in paths], np.str_)[crops.kept]
        return ImageSplit(
            images=crops.images,
            labels=labels[crops.kept],
            names=names,
            groups={} if self.name_pattern is None else named_groups(names, self.name_pattern),
        )

    def _crop(self, folder: Path) -> tuple[list[Path], NDArray[np.int64], Crops]:
        """Return the files of a folder of classes, their labels and their crops."""
        if folder not in self._cropped:  # once for prepare_data and for the splits
            paths, labels = list_images(folder, skip=self.skip_classes)
            self._cropped[folder] = paths, labels, crop_images(paths, self.crop_settings)
        return self._cropped[folder]


def _pool_protocol(protocol: str | None) -> str:
    """Return the protocol by which the images are split where they are one pool.

    Raises:
        InputError: It is neither one nor the given splits.
    """
    if protocol in (None, GIVEN):
        return "80/10/10"
    try:
        parse_protocol(protocol)
    except InputError as e:
        msg = f"{e}, or {GIVEN}: the splits that are folders train and test"
        raise InputError(msg) from e
    return protocol


def list_images(folder: Path, *, skip: Sequence[str] = ()) -> tuple[list[Path], NDArray[np.int64]]:
    """Return the images of a folder of classes, in order, and their canonical labels.

    Args:
        folder: That holds the classes' folders.
        skip: Names of those that are left out, which is logged.

    Raises:
        InputError: There are no classes, one is unknown, or one is empty.
    """
    paths: list[Path] = []
    labels: list[int] = []
    for name, label in class_folders(folder, skip=skip).items():
        found = find_images(folder / name)
        if not found:
            msg = f"{folder / name} holds no image: fill that folder, or remove it"
            raise InputError(msg)
        paths += found
        labels += [label] * len(found)
    there = {path.name.lower(): path for path in subfolders(folder)} if skip else {}
    for name in skip:
        if (skipped := there.get(name.lower())) is None:
            log.warning("data.skip_classes names %r, and %s has no such folder", name, folder)
        else:
            log.info("%d images are left out: %s", len(find_images(skipped)), skipped)
    return paths, np.array(labels, np.int64)


def named_groups(names: NDArray[np.str_], pattern: re.Pattern[str]) -> dict[str, NDArray[np.str_]]:
    """Return for each named group of a pattern what it is in each file's name.

    Args:
        names: Paths of files, shape (N,).
        pattern: Matches a file's name without its suffix. One that it does not match is a group of its own.
    """
    matches = [pattern.fullmatch(PurePosixPath(name).stem) for name in names]
    if missing := [name for name, match in zip(names, matches, strict=True) if match is None]:
        log.warning(
            "%d of %d file names do not say which group they are of (%s): each is taken as its own",
            len(missing), len(names), missing[0],
        )  # fmt: skip
    return {
        kind: np.array(
            # A named group may have no part in a match.
            [
                name if match is None else match[kind] or name
                for name, match in zip(names, matches, strict=True)
            ]
        )
        for kind in pattern.groupindex
    }
