"""Images in one folder per class: RAF-DB, AffectNet, CK+, KDEF, or your own."""

import logging
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from fer.data.classes import FOLDERS, WAY_OUT, ClassesSetting, ClassScheme, label_folders, make_scheme
from fer.data.crops import CropRecord, Crops, crop_images
from fer.data.faces import CropSettings, Detector, Fallback, Select
from fer.data.images import ImageDataModule, ImageSplit
from fer.data.layout import describe_layout, find_pool, find_splits, subfolders
from fer.data.pool import PooledDataModule
from fer.data.reading import describe_skipped, find_files, find_images
from fer.data.root import data_root
from fer.data.splits import hold_out, parse_protocol
from fer.errors import InputError

log = logging.getLogger("fer.data")

GIVEN: Final = "given"
"""The protocol of a data set that comes with its own splits."""


class FaceFolderDataModule(PooledDataModule, ImageDataModule):
    r"""Images in one folder per class, of expressions or of anything else.

    Faces are cropped once, before training, and cached.

    Args:
        root: Folder of the data set. It, or its only subfolder, contains the class folders, or the folders
            ``train``, ``val`` (``valid``, ``validation``) and ``test`` with the class folders. null: the
            environment variable ``FER_DATA_DIR``.
        classes: Class of each folder: null, the seven expressions by name; a data set's table (``affectnet``,
            ``fer2013``, ``rafdb``, ``sfew``); a mapping ``{1: surprise, 2: fear}``; or ``folders``, the
            sorted names of the folders.
        protocol: A split of one pool (``80/20``, ``80/10/10``, ``5-fold``), or ``given``, the data set's own
            ``train``, ``val`` and ``test`` folders; null: ``given`` if there are any, else ``80/10/10``.
        test_on: Folder that is the test split with ``given``: ``test``, or ``val`` for a data set without a
            public test split; the validation split is then drawn from train.
        skip_classes: Names of classes or of their folders to leave out, such as ``[contempt]``.
        name_pattern: Regular expression for a file's name without its suffix. Its named groups are kinds of
            groups for ``group_by``: ``(?P<subject>S\d+)_.*``.
        crop: Face detector; see :data:`fer.data.faces.Detector`.
        crop_margin: Margin added to each side of the face's box, as a share of its longer side.
        crop_align: Rotate and scale the face so that the eyes are at fixed positions; only for detectors that
            find the eyes (mtcnn, narayan).
        crop_select: Face to crop if there are several.
        crop_fallback: Action for an image without a face: try MTCNN after viola_jones (mtcnn), crop the
            middle (centre), squeeze the whole image into a square (keep), leave it out (drop), or stop
            (error).
        **kwargs: See :class:`fer.data.pool.PooledDataModule` and
            :class:`fer.data.images.ImageDataModule`.

    Raises:
        InputError: A setting is out of its range, or the images cannot be used.
    """

    def __init__(
        self,
        root: str | None = None,
        *,
        classes: ClassesSetting = None,
        protocol: str | None = None,
        test_on: Literal["test", "val"] = "test",
        skip_classes: Sequence[str | int] = (),
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
        self.classes = classes
        self.skip_classes = skip_classes
        if classes != FOLDERS:
            _ = self.scheme  # raises if the classes are invalid, before the data is read
        if test_on not in ("test", "val"):
            msg = f"data.test_on is {test_on!r}: it must be test or val"
            raise InputError(msg)
        self.test_on = test_on
        self.given = protocol == GIVEN
        self.chosen = protocol is not None
        try:
            self.name_pattern = None if name_pattern is None else re.compile(name_pattern)
        except re.error as e:
            msg = f"data.name_pattern is {name_pattern!r}: it is not a regular expression ({e})"
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

    @classmethod
    def photo_crop(cls, settings: Mapping[str, Any]) -> CropSettings:
        """Return how the training images were cropped; uncropped images are assumed to be face crops."""
        if settings.get("crop", "none") == "none":
            return super().photo_crop(settings)
        return CropSettings(
            detector=settings["crop"],
            size=settings.get("image_size", 48),
            margin=settings.get("crop_margin", 0.1),
            align=settings.get("crop_align", False),
        )

    @property
    def source(self) -> Path:
        """The folder of the data set."""
        return data_root(self.root, dataset="images in class folders", way_out=WAY_OUT)

    @cached_property
    def scheme(self) -> ClassScheme:
        """The classes and their folders."""
        if self.classes != FOLDERS:
            return make_scheme(self.classes, self.skip_classes)
        # Only the train split's folders: a class that is only in the test split cannot be learnt.
        folder = self.given_folders().get("train", self.source)
        names = [path.name for path in subfolders(folder)]
        if len(names) < 2:
            found = f"only {names[0]}" if names else "no subfolder"
            msg = f"{folder}: {found}; a data set has one subfolder for each class, of 2 classes or more"
            raise InputError(msg)
        return make_scheme(FOLDERS, self.skip_classes, names)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes; with ``data.classes=folders``, the names of the folders."""
        return self.scheme.names

    @property
    def title(self) -> str:
        """Name of the data set, and of its folder."""
        return f"{super().title} ({self.source.resolve().name})"

    @property
    def protocol_name(self) -> str:
        """How the splits were made, in words."""
        folders = self.given_folders()
        if not folders:
            return super().protocol_name
        tested = "" if self.test_on == "test" else f", tested on {folders['test'].name}"
        drawn = "" if "val" in folders else f", val {self.val_share:.0%} of train, {self.drawn}"
        return f"as given in folders{tested}{drawn}"

    def given_folders(self) -> dict[str, Path]:
        """Return the folder of each given split, by the split's name; empty if the data is one pool.

        Raises:
            InputError: There are split folders, or the protocol is ``given``, but no train or no test.
        """
        if self.chosen and not self.given:
            return {}
        found = find_splits(self.source)
        if self.test_on == "val" and "val" in found:
            if "test" in found:
                msg = f"data.test_on is 'val', but {found['test']} is a test split: leave the option out"
                raise InputError(msg)
            found["test"] = found.pop("val")
        if {"train", "test"} <= found.keys() or not (found or self.given):
            return found
        there = describe_layout(self.source)
        ways = "choose a protocol that splits one pool, such as --data.protocol 80/10/10"
        if {"train", "val"} <= found.keys():
            ways = f"set --data.test_on val to test on {found['val'].name} and draw val from train"
        elif "train" in found:
            ways = f"split it with --data.root {found['train']} --data.protocol 80/10/10"
        msg = f"data.protocol {GIVEN}: {self.source} needs folders train and test and has {there}; {ways}"
        raise InputError(msg)

    @property
    def pool_folder(self) -> Path:
        """The folder that contains the class folders, if the data is one pool."""
        if self.classes == FOLDERS:
            return self.source
        return find_pool(
            self.source, lambda names: any(self.scheme.label_of(name) is not None for name in names)
        )

    @property
    def crop_records(self) -> list[CropRecord]:
        """Outcome of each image's crop; empty without cropping, or before it."""
        if self.crop_settings.detector == "none":
            return []
        return [record for _, _, crops in self._cropped.values() for record in crops.records]

    def prepare_data(self) -> None:
        """Crop all images into the cache, in one process, unless the splits are loaded."""
        if not self.splits:
            for folder in self.given_folders().values() or [self.pool_folder]:
                self._crop(folder)

    def load_pool(self) -> ImageSplit:
        """Return all images, cropped."""
        return self._read(self.pool_folder)

    def load_splits(self) -> dict[str, ImageSplit]:
        """Return the given splits, or those of the protocol."""
        folders = self.given_folders()
        if not folders:
            return super().load_splits()
        splits = {name: self._read(folder) for name, folder in folders.items()}
        if "val" not in splits:
            whole = splits["train"]
            size = round(self.val_share * len(whole))
            val = hold_out(
                whole.labels,
                size,
                groups=self.groups_of(whole),
                seed=self.seed,
                name="val",
                class_names=self.class_names,
            )
            train = np.setdiff1d(np.arange(len(whole)), val)
            splits |= {"train": whole.take(train), "val": whole.take(val)}
        return splits

    def _read(self, folder: Path) -> ImageSplit:
        """Return the images in the class folders of a folder, cropped."""
        paths, labels, crops = self._crop(folder)
        names = np.array([path.relative_to(folder).as_posix() for path in paths], np.str_)[crops.kept]
        return ImageSplit(
            images=crops.images,
            labels=labels[crops.kept],
            names=names,
            groups=self.groups_in(names),
        )

    def groups_in(self, names: NDArray[np.str_]) -> dict[str, NDArray[np.str_]]:
        """Return the groups that the files' names tell, by kind; empty without ``name_pattern``."""
        return {} if self.name_pattern is None else named_groups(names, self.name_pattern)

    def _crop(self, folder: Path) -> tuple[list[Path], NDArray[np.int64], Crops]:
        """Return the image files in the class folders of a folder, their labels and their crops."""
        if folder not in self._cropped:  # once for prepare_data and for the splits
            paths, labels = list_images(folder, self.scheme)
            self._cropped[folder] = paths, labels, crop_images(paths, self.crop_settings)
        return self._cropped[folder]


def _pool_protocol(protocol: str | None) -> str:
    """Return the protocol that splits the images if they are one pool.

    Raises:
        InputError: It is neither a protocol nor ``given``.
    """
    if protocol in (None, GIVEN):
        return "80/10/10"
    try:
        parse_protocol(protocol)
    except InputError as e:
        msg = f"{e}, or {GIVEN}: the data set's own folders train and test"
        raise InputError(msg) from e
    return protocol


def list_images(folder: Path, scheme: ClassScheme) -> tuple[list[Path], NDArray[np.int64]]:
    """Return the image files in the class folders of a folder, in order, and their labels.

    Skipped classes, files that are not images and classes without a folder are logged.

    Args:
        folder: Folder that contains the class folders.
        scheme: The classes.

    Raises:
        InputError: There are no classes, one is unknown, or one is empty.
    """
    names = [path.name for path in subfolders(folder)]
    try:
        by_folder = label_folders(folder, names, scheme)
    except InputError as e:
        if "FER2013" in (layout := describe_layout(folder)):
            msg = f"{folder} has {layout}"
            raise InputError(msg) from e
        raise
    paths: list[Path] = []
    labels: list[int] = []
    others: list[Path] = []
    for name, label in by_folder.items():
        found = find_files(folder / name)
        others += found.skipped
        if not found.images:
            listed = f" ({describe_skipped(found.skipped, folder)})" if found.skipped else ""
            msg = f"{folder / name} has no images{listed}: add some, or remove the folder"
            raise InputError(msg)
        paths += found.images
        labels += [label] * len(found.images)
    if others:
        log.warning("%s: %s", folder, describe_skipped(others, folder))
    for name in names:
        if scheme.skipped_by(name) is not None:
            log.info("%d images are left out: %s", len(find_images(folder / name)), folder / name)
    used = {scheme.skipped_by(name) for name in names}
    for entry in dict.fromkeys(scheme.skipped.values()):
        if entry not in used:
            log.warning("data.skip_classes names %r, but %s has no such folder", entry, folder)
    if missing := [name for label, name in enumerate(scheme.names) if label not in labels]:
        log.info("%s has no images of %s", folder, ", ".join(missing))
    return paths, np.array(labels, np.int64)


def named_groups(names: NDArray[np.str_], pattern: re.Pattern[str]) -> dict[str, NDArray[np.str_]]:
    """Return what each named group of a pattern matches in each file's name, shape (N,).

    Args:
        names: Paths of files, shape (N,).
        pattern: Matches a file's name without its suffix. A file that does not match is a group of its own.
    """
    matches = [pattern.fullmatch(PurePosixPath(name).stem) for name in names]
    if missing := [name for name, match in zip(names, matches, strict=True) if match is None]:
        log.warning(
            "%d of %d file names do not match name_pattern (such as %s): each is a group of its own",
            len(missing), len(names), missing[0],
        )  # fmt: skip
    return {
        kind: np.array(
            # A named group may be absent from a match.
            [
                name if match is None else match[kind] or name
                for name, match in zip(names, matches, strict=True)
            ]
        )
        for kind in pattern.groupindex
    }
