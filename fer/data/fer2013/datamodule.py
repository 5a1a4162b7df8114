"""FER2013's data module, with its protocols and labels."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from fer.data.about import FER2013
from fer.data.faces import CropSettings
from fer.data.fer2013.ferplus import FERPLUS_CLASSES, check_match, label_rows, read_votes
from fer.data.fer2013.reading import read_fer2013
from fer.data.fer2013.rows import TRAINING, USAGES, WAY_OUT, Fer2013Rows, format_counts
from fer.data.images import ImageDataModule, ImageSplit
from fer.data.root import data_root
from fer.errors import InputError, check_choice, did_you_mean
from fer.labels import EXPRESSIONS, canonical_name

log = logging.getLogger("fer.data")

Protocol = Literal["official", "merged", "holdout"]
"""Train, validation and test images.

- ``official``: train on Training, validate on PublicTest, test on PrivateTest, as in the contest
  (Goodfellow et al., 2013).
- ``merged``: test on PublicTest and PrivateTest together, 7,178 images, as in Sutton; validate on a tenth of
  Training, train on the rest.
- ``holdout``: split Training 70/30 into train and val, 20,096 and 8,613 images; PublicTest and PrivateTest
  are two test splits, as in Onghena and Belo.
"""

MERGED_VAL_SHARE: Final = 0.1
"""Share of Training that forms the validation split of ``merged``."""

HOLDOUT_VAL_SHARE: Final = 0.3
"""Share of Training that forms the validation split of ``holdout`` (Onghena and Belo)."""

PHOTO_MARGIN: Final = 0.0
"""Margin with which MTCNN's crops look most like FER2013's images. On every second film still of SFEW
(n = 322), conv6 (65.0 % on PublicTest) has an accuracy of 40.7 % with this margin (interval 35.5 to 46.1 %),
38.5 % with 0.1 and 34.8 % with 0.2. With Viola-Jones, which finds 520 of 675 faces where MTCNN finds 643, it
has 38.5 % at best (margin 0.05)."""

Labels = Literal["fer2013", "ferplus-majority", "ferplus-distribution"]
"""Source of the labels.

- ``fer2013``: FER2013's own seven classes.
- ``ferplus-majority``: FER+ (Barsoum et al., 2016), ten annotators per image, eight classes with contempt.
  Single votes are ignored; the label is the class with more than half of the remaining votes. Images without
  such a class, or whose majority is "unknown" or "not a face", are dropped.
- ``ferplus-distribution``: the same validation and test images and labels as ``ferplus-majority``; training
  uses the shares of the votes as soft targets, including images without a majority. Votes for "unknown" and
  "not a face" are ignored.
"""


class Fer2013DataModule(ImageDataModule):
    """FER2013 (Goodfellow et al., 2013): 48x48 grey faces collected from the web.

    Args:
        root: File or folder of the data set; null: the environment variable ``FER_DATA_DIR``. See
            :func:`read_fer2013` for the supported formats.
        protocol: Test images. official: PrivateTest, as in the contest; merged: PublicTest and PrivateTest
            together (Sutton); holdout: each of the two, with 30 % of Training as val (Onghena and Belo); see
            :data:`Protocol`. Random splits are stratified by class and depend only on ``seed``.
        labels: Source of the labels; see :data:`Labels`. FER+ needs ``fer2013new.csv`` next to FER2013.
        skip_classes: Classes to leave out, such as ``[contempt]`` of FER+. Their images are dropped, and
            their votes do not count in soft targets.
        **kwargs: See :class:`fer.data.images.ImageDataModule`.

    Raises:
        InputError: A setting is out of its range.
    """

    card = FER2013

    def __init__(
        self,
        root: str | None = None,
        *,
        protocol: Protocol = "official",
        labels: Labels = "fer2013",
        skip_classes: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_choice("data.protocol", protocol, Protocol)
        check_choice("data.labels", labels, Labels)
        self.root = root
        self.protocol = protocol
        self.labels = labels
        self._class_names = _without(EXPRESSIONS if labels == "fer2013" else FERPLUS_CLASSES, skip_classes)

    @classmethod
    def photo_crop(cls, settings: Mapping[str, Any]) -> CropSettings:
        """Return crop settings that make the faces of a photo look like FER2013's images."""
        return CropSettings(detector="mtcnn", size=settings.get("image_size", 48), margin=PHOTO_MARGIN)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The seven expressions, and contempt with FER+ labels, without the skipped classes."""
        return self._class_names

    @property
    def source(self) -> Path:
        """The file that is read, or the folder that is searched."""
        return data_root(self.root, dataset="FER2013", way_out=WAY_OUT)

    @property
    def test_names(self) -> tuple[str, ...]:
        """Names of the test splits: two with ``holdout``, else one."""
        return ("public", "private") if self.protocol == "holdout" else ("test",)

    @property
    def protocol_name(self) -> str:
        """How the images were split and labelled, in words."""
        if self.protocol == "official":
            splits = "official: Training / PublicTest / PrivateTest"
        elif self.protocol == "merged":
            splits = f"merged: {_shares(MERGED_VAL_SHARE)} / PublicTest + PrivateTest"
        else:
            splits = f"holdout: {_shares(HOLDOUT_VAL_SHARE)} / PublicTest, PrivateTest"
        kind = "" if self.labels == "fer2013" else f", FER+ {self.labels.removeprefix('ferplus-')} labels"
        return splits + kind

    def prepare_data(self) -> None:
        """Parse the source into the cache, in one process, unless the splits are loaded."""
        if not self.splits:
            read_fer2013(self.source)

    def load_splits(self) -> dict[str, ImageSplit]:
        """Return the splits of the protocol.

        Raises:
            InputError: FER2013 is not found, FER+'s votes are missing or do not match it, or a split would
                be empty.
        """
        rows = read_fer2013(self.source)
        labels, targets = self._label(rows)
        training, public, private = (
            np.flatnonzero((rows.usage == usage) & (labels >= 0)) for usage in range(len(USAGES))
        )
        if self.protocol == "official":
            chosen = {"train": training, "val": public, "test": private}
        elif self.protocol == "merged":
            train, val = self._draw(training, labels, MERGED_VAL_SHARE)
            chosen = {"train": train, "val": val, "test": np.concatenate((public, private))}
        else:
            train, val = self._draw(training, labels, HOLDOUT_VAL_SHARE)
            chosen = {"train": train, "val": val, "public": public, "private": private}
        if empty := [name for name, indices in chosen.items() if not indices.size]:
            msg = (
                f"the FER2013 in {self.source} has {format_counts(rows.counts)} images "
                f"({', '.join(USAGES)}), which leaves nothing for {' and '.join(empty)} with "
                f"data.protocol={self.protocol}; choose another protocol, or {WAY_OUT}"
            )
            raise InputError(msg)
        if targets is not None:
            # Images without a majority cannot be evaluated, but their votes can be trained on.
            without = (labels < 0) & targets.any(axis=1)
            labels = np.where(without, targets.argmax(axis=1), labels)
            extra = np.flatnonzero(without & (rows.usage == TRAINING))
            chosen["train"] = np.sort(np.concatenate((chosen["train"], extra)))
        # Named by the line numbers of the CSV, whose first line is the header.
        names = np.char.add("row ", np.arange(2, len(labels) + 2).astype(np.str_))
        everything = ImageSplit(images=rows.images, labels=labels, names=names, targets=targets)
        splits = {name: everything.take(indices) for name, indices in chosen.items()}
        return {
            name: split if name == "train" else replace(split, targets=None) for name, split in splits.items()
        }

    def _label(self, rows: Fer2013Rows) -> tuple[NDArray[np.int64], NDArray[np.float32] | None]:
        """Return a label for each row, -1 if it has none, and the soft targets if they are trained on."""
        if self.labels == "fer2013":
            label_of = [
                self.class_names.index(each) if each in self.class_names else -1 for each in EXPRESSIONS
            ]
            return np.array(label_of)[rows.labels], None
        votes = read_votes(self.source)
        check_match(votes, rows)
        found = label_rows(votes, self.class_names)
        log.info(
            "FER+ has majority labels for %s of %s images; the others: %s",
            f"{(found.labels >= 0).sum():,}",
            f"{len(found.labels):,}",
            found.dropped or "none",
        )
        if self.labels == "ferplus-majority":
            return found.labels, None
        without = (found.labels < 0) & found.targets.any(axis=1) & (rows.usage == TRAINING)
        log.info("%s training images without a majority are used with soft targets", f"{without.sum():,}")
        return found.labels, found.targets

    def _draw(
        self, indices: NDArray[np.intp], labels: NDArray[np.int64], val_share: float
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the rows of train and of val, each in the order of the source."""
        try:
            from sklearn.model_selection import train_test_split
        except ImportError as e:
            msg = f"data.protocol={self.protocol} needs scikit-learn: pip install scikit-learn"
            raise InputError(msg) from e
        try:
            train, val = train_test_split(
                indices, test_size=val_share, stratify=labels[indices], random_state=self.seed
            )
        except ValueError as e:
            msg = (
                f"data.protocol={self.protocol} cannot draw {val_share:.0%} of the {indices.size} Training "
                f"images of {self.source} by class ({e}); "
                "set --data.root to the whole of FER2013, or set data.protocol=official"
            )
            raise InputError(msg) from e
        return np.sort(train), np.sort(val)


def _shares(val_share: float) -> str:
    return f"{1 - val_share:.0%} of Training / {val_share:.0%}"


def _without(class_names: Sequence[str], skipped: Sequence[str]) -> tuple[str, ...]:
    """Return the class names without the skipped ones."""
    names = {canonical_name(name) for name in skipped}
    for name in sorted(names - set(class_names)):
        hint = did_you_mean(name, class_names)
        msg = f"data.skip_classes: no class {name!r}; {hint}there are {', '.join(class_names)}"
        raise InputError(msg)
    left = tuple(name for name in class_names if name not in names)
    if len(left) < 2:
        msg = f"data.skip_classes leaves {len(left)} of {len(class_names)} classes: at least 2 are needed"
        raise InputError(msg)
    return left
