"""Crop many image files: each crop is made once, cached, and recorded."""

import hashlib
import json
import logging
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from fer.arrays import read_arrays
from fer.data.cache import cache_dir
from fer.data.detectors import DETECTOR_PIXELS, Face, FaceDetector, Finder, make_detector
from fer.data.faces import Crop, CropSettings, FaceCropper, Policy
from fer.data.reading import BadImageError, digest_image, image_shape, read_image
from fer.errors import InputError
from fer.files import atomic_write

log = logging.getLogger("fer.data")

CACHE_FORMAT: Final = 3
"""Version in the names of cache files. Raise it when crops are made differently: older files are ignored."""

BATCH_SIZE: Final = 16
"""Images passed to a detector at once."""

MAX_BAD_SHARE: Final = 0.05
"""Share of the images that may be unusable; above it, cropping stops with an error."""

NUM_NAMED: Final = 5
"""Number of images that a message names; the rest are only counted."""


@dataclass(frozen=True)
class CropRecord:
    """The outcome for one image file.

    Attributes:
        path: The file.
        policy: How it was cropped; ``bad`` if the file cannot be used.
        face: The face that was cropped; None if there is none.
        reason: Why the file is bad; empty if it is not.
    """

    path: Path
    policy: Policy | Literal["bad"]
    face: Face | None = None
    reason: str = ""

    @property
    def kept(self) -> bool:
        """Whether there is a crop."""
        return self.policy not in ("bad", "drop", "error")


@dataclass(frozen=True, eq=False)
class Crops:
    """Crops of N image files, M of which were kept.

    Attributes:
        images: Crops of the files that were kept, in order, RGB, uint8, shape ``(M, size, size, 3)``.
        records: One record for each of the N files, in the order of the paths.
    """

    images: NDArray[np.uint8]
    records: tuple[CropRecord, ...]

    @property
    def kept(self) -> NDArray[np.bool_]:
        """Mask of the files that are in :attr:`images`, shape ``(N,)``; use it as ``labels[crops.kept]``."""
        return np.array([record.kept for record in self.records], np.bool_)


def crop_images(
    paths: Sequence[Path],
    settings: CropSettings,
    *,
    cache: Path | None = None,
    batch_size: int = BATCH_SIZE,
    max_bad_share: float = MAX_BAD_SHARE,
) -> Crops:
    """Crop the face of each image file, in batches of images of one size.

    Each crop is cached in a file of its own, named by a hash of the source's bytes and the settings, so it
    is found again after the source is moved. A batch is cached as soon as it is made: an interrupted run
    continues where it stopped, and parallel processes share their work.

    Files that cannot be used are logged and left out.

    Args:
        paths: The files.
        settings: How faces are found and cropped.
        cache: Folder of the cache; :func:`fer.data.cache.cache_dir` by default.
        batch_size: Images passed to the detector at once, 1 or more; fewer if they are large.
        max_bad_share: Share of the files that may be unusable, 0 to 1; 0: none.

    Returns:
        The crops, and a record for each file.

    Raises:
        InputError: More files than ``max_bad_share`` allows are unusable, or the settings' fallback is
            ``error`` and an image has no face.
    """
    folder = (cache or cache_dir()) / "crops"
    maker = _Maker(settings, folder)
    keys: list[str] = []
    outcomes: dict[str, Crop | BadImageError] = {}
    missing: defaultdict[tuple[int, int], dict[str, Path]] = defaultdict(dict)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("Faces", total=len(paths))
        for path in paths:
            try:
                key = _key(path, settings)
                if key not in outcomes and (crop := _load(maker.kept(key), settings)) is not None:
                    outcomes[key] = crop
                if key not in outcomes:
                    missing[image_shape(path)].setdefault(key, path)
            except BadImageError as e:
                key = str(path)
                outcomes[key] = e
            keys.append(key)
            progress.advance(task, key in outcomes)
        num_waiting = Counter(keys)
        for batch in _batches(missing, batch_size):
            outcomes |= maker.make(batch)
            progress.advance(task, sum(num_waiting[key] for key in batch))
    records = tuple(_record(path, outcomes[key]) for path, key in zip(paths, keys, strict=True))
    _report(records, max_bad_share)
    crops = [outcome for key in keys if isinstance(outcome := outcomes[key], Crop)]
    images = [crop.image for crop in crops if crop.image is not None]
    none = np.empty((0, settings.size, settings.size, 3), np.uint8)
    return Crops(np.stack(images) if images else none, records)


def _record(path: Path, outcome: Crop | BadImageError) -> CropRecord:
    if isinstance(outcome, Crop):
        return CropRecord(path, outcome.policy, outcome.face)
    return CropRecord(path, "bad", reason=outcome.reason)


def _report(records: Sequence[CropRecord], max_bad_share: float) -> None:
    """Log how the files were cropped; raise an error if too many are bad or a required face is missing.

    Raises:
        InputError: See :func:`crop_images`.
    """
    bad = [f"{record.path}: {record.reason}" for record in records if record.policy == "bad"]
    if len(bad) > max_bad_share * len(records):
        msg = (
            f"{len(bad)} of {len(records)} images cannot be used, more than {max_bad_share:.0%}: "
            f"{_name_some(bad)}; replace or remove them"
        )
        raise InputError(msg)
    if bad:
        log.warning("%d of %d images cannot be used: %s", len(bad), len(records), _name_some(bad))
    if faceless := [str(record.path) for record in records if record.policy == "error"]:
        msg = (
            f"no face was found in {len(faceless)} of {len(records)} images: {_name_some(faceless)}; "
            "choose another detector, or another data.crop_fallback (fer crop: --fallback) than error"
        )
        raise InputError(msg)
    counts = Counter(record.policy for record in records)
    written = ", ".join(f"{policy} {count:,}" for policy, count in counts.most_common())
    if counts.keys() != {"none"}:  # with detector "none" there is nothing to report
        log.info("crops of %s images: %s", f"{len(records):,}", written or "none")


def _name_some(names: Sequence[str]) -> str:
    """Return the first names and the number of the others, as text.

    >>> _name_some(["a", "b", "c", "d", "e", "f", "g"])
    'a; b; c; d; e; and 2 more'
    """
    more = len(names) - NUM_NAMED
    return "; ".join([*names[:NUM_NAMED], *([f"and {more} more"] if more > 0 else [])])


# Making


def _batches(
    missing: Mapping[tuple[int, int], Mapping[str, Path]], batch_size: int
) -> Iterator[dict[str, Path]]:
    """Yield the missing files in batches of images of one size, smaller batches for large images."""
    for (height, width), paths in missing.items():
        size = max(1, min(batch_size, DETECTOR_PIXELS // (height * width)))
        waiting = iter(paths.items())
        while batch := dict(islice(waiting, size)):
            yield batch


class _Maker:
    """Makes crops in batches and caches them.

    Args:
        settings: How faces are found and cropped.
        folder: Folder of the cached crops.
    """

    def __init__(self, settings: CropSettings, folder: Path) -> None:
        self.settings = settings
        self.folder = folder
        self.is_writable = True

    @cached_property
    def cropper(self) -> FaceCropper:
        """The cropper, made for the first batch: cached crops need no detector."""
        folder = self.folder.with_name("faces")
        return FaceCropper(
            self.settings, {name: KeptDetector(name, folder) for name in self.settings.finders}
        )

    def kept(self, key: str) -> Path:
        """Return the path of a cached crop."""
        return self.folder / f"{key}.npz"

    def make(self, paths: Mapping[str, Path]) -> dict[str, Crop | BadImageError]:
        """Return the crop of each source, or why there is none.

        Args:
            paths: Sources of one size, by key.
        """
        outcomes: dict[str, Crop | BadImageError] = {}
        images: dict[str, NDArray[np.uint8]] = {}
        for key, path in paths.items():
            # Another process may have made it by now.
            if (crop := _load(self.kept(key), self.settings)) is not None:
                outcomes[key] = crop
                continue
            try:
                images[key] = read_image(path)
            except BadImageError as e:
                outcomes[key] = e
        crops = self._crop(list(images.values()))
        for key, crop_or_reason in zip(images, crops, strict=True):
            if isinstance(crop_or_reason, str):
                outcomes[key] = BadImageError(paths[key], crop_or_reason)
            else:
                outcomes[key] = crop_or_reason
                self._store(crop_or_reason, self.kept(key))
        return outcomes

    def _crop(self, images: list[NDArray[np.uint8]]) -> list[Crop | str]:
        """Return the crop of each image, or the reason why the detector fails on it."""
        import cv2

        if not images:
            return []
        try:
            # A single image may be large, so it is not copied.
            return list(self.cropper.crop(np.stack(images) if len(images) > 1 else images[0][np.newaxis]))
        # Raised when memory runs out, and by facenet-pytorch when MTCNN's first stage places a face
        # entirely outside the image.
        except (RuntimeError, IndexError, MemoryError, cv2.error) as e:
            if len(images) == 1:
                return [f"the face detector failed ({e})"]
            half = len(images) // 2
            return self._crop(images[:half]) + self._crop(images[half:])

    def _store(self, crop: Crop, path: Path) -> None:
        if not self.is_writable:
            return
        try:
            with atomic_write(path) as file:
                _write(file, crop)
        except OSError as e:
            self.is_writable = False
            log.warning(
                "the cache cannot be written (%s), so faces are detected again in every run; "
                "set FER_CACHE_DIR to a folder that can be written",
                e,
            )


# Cache


class KeptDetector:
    """A face detector that caches the faces of each image under a hash of its pixels.

    Detection takes nearly all of the time, so crops of another size, margin or alignment are cheap.

    Args:
        name: Name of the detector.
        folder: Folder of the cached faces.
    """

    def __init__(self, name: Finder, folder: Path) -> None:
        self.name = name
        self.folder = folder

    @cached_property
    def detector(self) -> FaceDetector:
        """The detector, made when it is first needed."""
        return make_detector(self.name)

    def find(self, images: NDArray[np.uint8]) -> list[list[Face]]:
        """Return the faces of each image; see :class:`fer.data.faces.FaceDetector`."""
        paths = [self._path(image) for image in images]
        found = [_load_faces(path) for path in paths]
        missing = [index for index, faces in enumerate(found) if faces is None]
        if missing:
            unknown = images if len(missing) == len(images) else images[missing]
            for index, faces in zip(missing, self.detector.find(unknown), strict=True):
                found[index] = faces
                # If the cache cannot be written, storing the crops logs a warning.
                with suppress(OSError), atomic_write(paths[index]) as file:
                    file.write(json.dumps([asdict(face) for face in faces]).encode())
        return [faces or [] for faces in found]

    def _path(self, image: NDArray[np.uint8]) -> Path:
        digest = hashlib.blake2b(image.tobytes(), digest_size=16)
        digest.update(json.dumps([CACHE_FORMAT, self.name, image.shape]).encode())
        return self.folder / f"{digest.hexdigest()}.json"


def _load_faces(path: Path) -> list[Face] | None:
    """Return the faces of a cache file, or None if there is none or it is damaged."""
    try:
        return [
            Face(
                tuple(face["box"]),
                face["probability"],
                None if face["landmarks"] is None else tuple((x, y) for x, y in face["landmarks"]),
            )
            for face in json.loads(path.read_bytes())
        ]
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, KeyError, TypeError, ValueError, RecursionError) as e:
        log.warning("the cache file %s cannot be read and is replaced (%s)", path, e)
        return None


def _key(path: Path, settings: CropSettings) -> str:
    """Return the cache name of a source's crop: a hash of the source's bytes and the settings."""
    digest = hashlib.blake2b(digest_image(path), digest_size=16)
    digest.update(json.dumps([CACHE_FORMAT, asdict(settings)], sort_keys=True).encode())
    return digest.hexdigest()


def _write(file: BinaryIO, crop: Crop) -> None:
    """Write a crop as arrays; a missing image, face or landmarks becomes an array without rows."""
    face = crop.face
    np.savez(
        file,
        policy=np.array(crop.policy),
        images=np.empty((0, 0, 0, 3), np.uint8) if crop.image is None else crop.image[np.newaxis],
        faces=np.empty((0, 5)) if face is None else np.array([[*face.box, face.probability]]),
        landmarks=np.array(face.landmarks if face is not None and face.landmarks else np.empty((0, 2))),
    )


def _read(arrays: Mapping[str, NDArray[Any]], size: int) -> Crop:
    """Return the crop that :func:`_write` wrote.

    Raises:
        KeyError: An array is missing.
        ValueError: The arrays are not a crop of that size.
    """
    policy, images, faces = arrays["policy"].item(), arrays["images"], arrays["faces"]
    points = tuple((float(x), float(y)) for x, y in arrays["landmarks"])
    num_images = 0 if policy in ("drop", "error") else 1
    is_sound = policy in get_args(Policy) and len(images) == num_images and images.dtype == np.uint8
    if not is_sound or (num_images and images.shape[1:] != (size, size, 3)):
        msg = f"not a crop of {size}x{size} pixels"
        raise ValueError(msg)
    face = None
    if len(faces):
        left, top, right, bottom, probability = map(float, faces[0])
        face = Face((left, top, right, bottom), probability, points or None)
    return Crop(policy, images[0] if num_images else None, face)


def _load(path: Path, settings: CropSettings) -> Crop | None:
    """Return the crop of a cache file, or None if there is none or it is damaged."""
    try:
        return _read(read_arrays(path), settings.size)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (KeyError, TypeError, ValueError) as e:
        log.warning("the cache file %s cannot be read and is replaced (%s)", path, e)
        return None
