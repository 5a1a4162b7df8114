"""FER2013: 35,887 grey faces of 48x48 pixels, as CSV, as image folders, or in an archive of either.

Source: Goodfellow et al., "Challenges in Representation Learning: A Report on Three Machine
Learning Contests", 2013.
"""

import bz2
import gzip
import io
import logging
import lzma
import re
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.progress import Progress

from fer.data.cache import cache_dir, fingerprint
from fer.data.images import ImageDataModule, ImageSplit
from fer.data.root import data_root
from fer.errors import InputError
from fer.files import atomic_write
from fer.labels import EXPRESSIONS, FER2013_CSV, NUM_EXPRESSIONS, expression_label

log = logging.getLogger("fer.data")

SIDE: Final = 48
"""Height and width of an image, in pixels."""

NUM_PIXELS: Final = SIDE * SIDE

USAGES: Final = ("Training", "PublicTest", "PrivateTest")
"""The parts of the contest: a row's usage is an index into this tuple."""

TRAINING, PUBLIC, PRIVATE = range(3)

OFFICIAL_COUNTS: Final = (28_709, 3_589, 3_589)
"""Images of each usage (Goodfellow et al., 2013)."""

CSV_NAMES: Final = ("fer2013.csv", "icml_face_data.csv")
"""The two files of the contest that hold all rows; their columns differ in order alone."""

TAR_SUFFIXES: Final = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")
ARCHIVE_SUFFIXES: Final = (".zip", *TAR_SUFFIXES)
IMAGE_SUFFIXES: Final = (".jpg", ".jpeg", ".png")

CACHE_FORMAT: Final = 1
"""Raised when the parsed arrays change their meaning, so that older cache files are not met."""

REMAP: Final = tuple(EXPRESSIONS.index(name) for name in FER2013_CSV)
"""Canonical label of each label of the CSV."""

WAY_OUT: Final = (
    "give the file or its folder with --data.root or the environment's FER_DATA_DIR, "
    "or download it with 'make data-fer2013'"
)
AGAIN: Final = "replace it with a whole copy ('make data-fer2013' downloads one)"

IMAGE_NAME: Final = re.compile(rf"({'|'.join(USAGES)})_(\d+)")
PARTS: Final = ("train", "test")
"""The two image folders: the second holds both the public and the private test."""

KAGGLE_HANDLE: Final = "msambare/fer2013"
"""The image folders on Kaggle; their file names tell the public from the private test."""

Protocol = Literal["official", "merged", "holdout"]
"""Which images train, select and test.

- ``official``: train on Training, validate on PublicTest, test on PrivateTest, as the contest did
  (Goodfellow et al., 2013).
- ``merged``: test on PublicTest and PrivateTest together, 7,178 images, as Sutton does; a tenth of
  Training validates.
- ``holdout``: Training is split 70/30 into train and val, 20,096 and 8,613 images, and PublicTest and
  PrivateTest are two tests, as Onghena and Belo do.
"""

MERGED_VAL_SHARE: Final = 0.1
HOLDOUT_VAL_SHARE: Final = 0.3
"""Part of Training that validates (Onghena and Belo)."""


@dataclass(frozen=True, eq=False)
class Fer2013Rows:
    """All images of FER2013, N in number, in the order of their source.

    Attributes:
        images: Grey values, uint8, shape ``(N, 48, 48)``.
        labels: Indices into :data:`fer.labels.EXPRESSIONS`, int64, shape ``(N,)``.
        usage: Indices into :data:`USAGES`, uint8, shape ``(N,)``.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    usage: NDArray[np.uint8]

    @property
    def counts(self) -> tuple[int, int, int]:
        """Number of images for training, public test and private test."""
        training, public, private = np.bincount(self.usage, minlength=len(USAGES)).tolist()
        return training, public, private


Tick = Callable[[], None]
"""Called once an image, so that a progress bar can move."""


def read_fer2013(root: Path, *, cache: Path | None = None) -> Fer2013Rows:
    """Read FER2013 in whatever form it is found.

    If ``root`` is a file, it is the source: a CSV or an archive. If it is a folder, the first
    of these is, looked for in the folder itself and then in its subfolder ``fer2013``:

    1. ``fer2013.csv``
    2. ``icml_face_data.csv``
    3. image folders, ``train/<class>/Training_*`` and ``test/<class>/{PublicTest,PrivateTest}_*``
    4. archives (zip; tar, plain or packed by gzip, xz or bzip2) that hold one of the above at
       any depth, those with "fer2013" in the name first, then by name. They are read as a
       stream, nothing is unpacked to disk. In a zip the same order holds, with a tar inside it
       last; in a tar the first CSV counts, else the images.

    Rows keep the order of the CSV; image files are ordered by usage and number. What was
    parsed is kept in the cache under the fingerprint of its source and read from there next
    time. Counts other than the official ones are logged as a warning.

    Args:
        root: The file, or the folder to look in.
        cache: Folder of the cache; :func:`fer.data.cache.cache_dir` by default.

    Returns:
        All rows, labels in canonical order.

    Raises:
        InputError: Nothing was found, or what was found is damaged.
    """
    root = Path(root).expanduser()
    with _readable(root):
        sources = list(_sources(root))
    for source in sources:
        with _readable(source):
            paths = [source / part for part in PARTS] if source.is_dir() else [source]
            name = f"fer2013-v{CACHE_FORMAT}-{fingerprint(paths)}.npz"
        kept = (cache or cache_dir()) / name
        rows = _load(kept)
        if rows is None:
            rows = _parse(source)
            if rows is None:
                continue
            _store(rows, kept)
        if rows.counts != OFFICIAL_COUNTS:
            log.warning(
                "%s holds %s images (%s); the official FER2013 has %s",
                source,
                _written(rows.counts),
                ", ".join(USAGES),
                _written(OFFICIAL_COUNTS),
            )
        return rows
    msg = (
        f"no FER2013 in {root}: looked there and in its subfolder fer2013 for {' and '.join(CSV_NAMES)}, "
        f"the image folders train/ and test/, and archives ({', '.join(ARCHIVE_SUFFIXES)}) "
        f"that hold one of these; {WAY_OUT}"
    )
    raise InputError(msg)


def _sources(root: Path) -> Iterator[Path]:
    """Yield what may hold FER2013, best first."""
    if root.is_file():
        if not root.name.lower().endswith((".csv", *ARCHIVE_SUFFIXES)):
            msg = f"{root} is neither a CSV nor an archive ({', '.join(ARCHIVE_SUFFIXES)}); {WAY_OUT}"
            raise InputError(msg)
        yield root
        return
    folders = [folder for folder in (root, root / "fer2013") if folder.is_dir()]
    for name in CSV_NAMES:
        yield from (folder / name for folder in folders if (folder / name).is_file())
    yield from (folder for folder in folders if all((folder / part).is_dir() for part in PARTS))
    for folder in folders:
        archives = [
            path
            for path in folder.iterdir()
            if path.name.lower().endswith(ARCHIVE_SUFFIXES)
            and path.is_file()
            and not path.name.startswith(".")
        ]
        yield from sorted(archives, key=lambda path: ("fer2013" not in path.name.lower(), path.name))


def _parse(source: Path) -> Fer2013Rows | None:
    """Return a source's rows, or None if it is an archive of something else."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("FER2013", total=sum(OFFICIAL_COUNTS))

        def tick() -> None:
            progress.advance(task)

        with _readable(source):
            if source.is_dir():
                return _read_folder(source, tick)
            if source.suffix.lower() == ".zip":
                return _read_zip(source, tick)
            with source.open("rb") as stream:
                if source.suffix.lower() == ".csv":
                    return _read_csv(stream, source, tick)
                return _read_tar(stream, source, tick)


@contextmanager
def _readable(where: Path) -> Iterator[None]:
    """Turn what the readers of files and archives raise into an InputError that names the file."""
    try:
        yield
    except InputError:
        raise
    except PermissionError as e:
        msg = f"{where} cannot be read: {e.strerror}; change its permissions, or {WAY_OUT}"
        raise InputError(msg) from e
    # RuntimeError is what zipfile raises for a password or an unknown compression.
    except (
        OSError,
        EOFError,
        RuntimeError,
        zlib.error,
        lzma.LZMAError,
        zipfile.BadZipFile,
        tarfile.TarError,
    ) as e:
        msg = f"{where} cannot be read, it may be truncated or damaged ({e}); {AGAIN}"
        raise InputError(msg) from e


# CSV


def _read_csv(stream: IO[bytes], where: Path, tick: Tick) -> Fer2013Rows:
    """Read the rows of a CSV, line by line."""
    grey = bytearray()
    labels: list[int] = []
    usages: list[int] = []
    with io.BufferedReader(cast("io.RawIOBase", stream), 1 << 20) as lines:
        emotion, pixels, usage = _columns(lines.readline(), where)
        for number, line in enumerate(lines, start=2):
            if line.isspace():
                continue
            cells = [cell.strip(b' "') for cell in line.rstrip(b"\r\n").split(b",")]
            try:
                if len(cells) <= max(emotion, pixels, usage):
                    msg = f"only {len(cells)} of the columns emotion, pixels and Usage"
                    raise ValueError(msg)
                grey += _pixels(cells[pixels])
                labels.append(_label(cells[emotion]))
                usages.append(_usage(cells[usage]))
            except ValueError as e:
                cut = "" if line.endswith(b"\n") else ", and the file ends there, so that it may be truncated"
                msg = f"{where}, row {number}: {e}{cut}; {AGAIN}"
                raise InputError(msg) from e
            tick()
    if not labels:
        msg = f"{where} has a header and no rows; {AGAIN}"
        raise InputError(msg)
    return Fer2013Rows(
        images=np.frombuffer(grey, dtype=np.uint8).reshape(-1, SIDE, SIDE),
        labels=np.array(labels, dtype=np.int64),
        usage=np.array(usages, dtype=np.uint8),
    )


def _columns(header: bytes, where: Path) -> tuple[int, int, int]:
    """Return the positions of the columns emotion, pixels and usage."""
    plain = header.removeprefix(b"\xef\xbb\xbf").decode(errors="replace")
    names = [name.strip(' "\r\n').lower() for name in plain.split(",")]
    if missing := [name for name in ("emotion", "pixels", "usage") if name not in names]:
        msg = (
            f"{where}, row 1: no column {' and no column '.join(missing)} in the header; "
            f"FER2013 has the columns emotion, pixels and Usage; {AGAIN}"
        )
        raise InputError(msg)
    return names.index("emotion"), names.index("pixels"), names.index("usage")


def _pixels(cell: bytes) -> bytes:
    """Return the grey values that a cell lists, one byte each."""
    # With nothing but digits and blanks, the fast parser has no way to go wrong.
    if cell and not cell.translate(None, b"0123456789 "):
        values = np.fromstring(cell, dtype=np.int64, sep=" ")
        if values.size == NUM_PIXELS and values.max() <= 255:
            return values.astype(np.uint8).tobytes()
    words = cell.decode(errors="replace").split()
    for word in words:
        if not re.fullmatch(r"[+-]?\d+", word):
            msg = f"pixel {word[:20]!r} is not a whole number"
            raise ValueError(msg)
        if not 0 <= int(word) <= 255:
            msg = f"pixel {word} is outside 0 to 255"
            raise ValueError(msg)
    if len(words) != NUM_PIXELS:
        msg = f"{len(words)} pixels instead of {NUM_PIXELS}"
        raise ValueError(msg)
    return bytes(map(int, words))


def _label(cell: bytes) -> int:
    """Return the canonical label of a label of the CSV."""
    if len(cell) != 1 or cell not in b"0123456":
        msg = f"emotion {cell[:20].decode(errors='replace')!r} is none of 0 to {NUM_EXPRESSIONS - 1}"
        raise ValueError(msg)
    return REMAP[int(cell)]


def _usage(cell: bytes) -> int:
    name = cell.decode(errors="replace")
    if name not in USAGES:
        msg = f"Usage {name[:20]!r} is none of {', '.join(USAGES)}"
        raise ValueError(msg)
    return USAGES.index(name)


# Images


@dataclass(frozen=True, order=True)
class _ImageFile:
    """What the path of an image file says; sorts by usage and number."""

    usage: int
    number: int
    path: str
    label: int


def _is_hidden(inside: PurePosixPath) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in inside.parts)


def _is_image(inside: PurePosixPath) -> bool:
    """Tell whether a path ends in ``{train,test}/<class>/<image file>``."""
    return len(inside.parts) >= 3 and inside.parts[-3] in PARTS and inside.suffix.lower() in IMAGE_SUFFIXES


def _image_file(inside: PurePosixPath, where: Path) -> _ImageFile:
    """Read usage and label off an image's path."""
    part, class_name, _ = inside.parts[-3:]
    try:
        label = expression_label(class_name)
    except InputError as e:
        msg = f"{where / inside}: {e}; rename or remove that folder"
        raise InputError(msg) from e
    match = IMAGE_NAME.match(inside.name)
    if match is None or (match[1] == USAGES[TRAINING]) != (part == "train"):
        wanted = "Training_<number>" if part == "train" else "PublicTest_<number> or PrivateTest_<number>"
        msg = (
            f"{where / inside}: a file in {part}/ must be called {wanted}, which tells the part of "
            "FER2013 it is of; restore its name, or remove it"
        )
        raise InputError(msg)
    return _ImageFile(usage=USAGES.index(match[1]), number=int(match[2]), path=str(inside), label=label)


def _decode(data: bytes, where: Path) -> NDArray[np.uint8]:
    """Return the grey values of an image file, shape ``(48, 48)``."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.size != (SIDE, SIDE):
                msg = f"{where}: {image.width}x{image.height} pixels instead of {SIDE}x{SIDE}; {AGAIN}"
                raise InputError(msg)
            return np.asarray(image.convert("L"), dtype=np.uint8)
    except InputError:
        raise
    # What PIL's decoders raise for broken files.
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as e:
        msg = f"{where} is not a whole image ({e}); {AGAIN}"
        raise InputError(msg) from e


class _ImageRows:
    """Collects decoded images and puts them in order."""

    def __init__(self, where: Path, tick: Tick) -> None:
        self.where = where
        self.tick = tick
        self.found: list[tuple[_ImageFile, NDArray[np.uint8]]] = []

    def add(self, inside: PurePosixPath, data: bytes) -> None:
        file = _image_file(inside, self.where)
        self.found.append((file, _decode(data, self.where / inside)))
        self.tick()

    def rows(self) -> Fer2013Rows | None:
        if not self.found:
            return None
        ordered = sorted(self.found, key=lambda pair: pair[0])
        return Fer2013Rows(
            images=np.stack([image for _, image in ordered]),
            labels=np.array([file.label for file, _ in ordered], dtype=np.int64),
            usage=np.array([file.usage for file, _ in ordered], dtype=np.uint8),
        )


def _read_folder(folder: Path, tick: Tick) -> Fer2013Rows | None:
    images = _ImageRows(folder, tick)
    for part in PARTS:
        for path in (folder / part).glob("*/*"):
            inside = PurePosixPath(path.relative_to(folder).as_posix())
            if _is_image(inside) and not _is_hidden(inside):
                images.add(inside, path.read_bytes())
    return images.rows()


# Archives


def _read_zip(source: Path, tick: Tick) -> Fer2013Rows | None:
    with zipfile.ZipFile(source) as archive:
        members = {PurePosixPath(info.filename): info for info in archive.infolist() if not info.is_dir()}
        members = {inside: info for inside, info in members.items() if not _is_hidden(inside)}
        for name in CSV_NAMES:
            for inside, info in members.items():
                if inside.name == name:
                    with archive.open(info) as stream:
                        return _read_csv(stream, source / inside, tick)
        images = _ImageRows(source, tick)
        for inside, info in members.items():
            if _is_image(inside):
                images.add(inside, archive.read(info))
        if (rows := images.rows()) is not None:
            return rows
        for inside, info in members.items():
            if inside.name.endswith(TAR_SUFFIXES):
                with _readable(source / inside), archive.open(info) as stream:
                    rows = _read_tar(stream, source / inside, tick)
                if rows is not None:
                    return rows
        return None


def _read_tar(stream: IO[bytes], where: Path, tick: Tick) -> Fer2013Rows | None:
    """Read the first CSV of a tar, else its images, in one pass and to its end."""
    rows = None
    images = _ImageRows(where, tick)
    with _unpacked(stream) as plain:
        with tarfile.open(fileobj=plain, mode="r|") as archive:
            for member in archive:
                inside = PurePosixPath(member.name)
                content = archive.extractfile(member) if member.isfile() and not _is_hidden(inside) else None
                if content is None:
                    continue
                if inside.name in CSV_NAMES:
                    rows = _read_csv(content, where / inside, tick)
                    break
                if _is_image(inside):
                    images.add(inside, content.read())
        # The checksum of a packed tar stands at its end.
        while plain.read(1 << 20):
            pass
    return images.rows() if rows is None else rows


@contextmanager
def _unpacked(stream: IO[bytes]) -> Iterator[IO[bytes]]:
    """Undo a tar's compression, which its first bytes tell."""
    with io.BufferedReader(cast("io.RawIOBase", stream), 1 << 20) as buffered:
        start = buffered.peek(6)
        if start.startswith(b"\x1f\x8b"):
            with gzip.GzipFile(fileobj=buffered) as plain:
                yield cast("IO[bytes]", plain)
        elif start.startswith(b"\xfd7zXZ\x00"):
            with lzma.LZMAFile(buffered) as plain:
                yield plain
        elif start.startswith(b"BZh"):
            with bz2.BZ2File(buffered) as plain:
                yield plain
        else:
            yield buffered


# Cache


def _load(kept: Path) -> Fer2013Rows | None:
    """Return the rows of a cache file, or None if there is none or it is damaged."""
    try:
        with kept.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            rows = Fer2013Rows(images=arrays["images"], labels=arrays["labels"], usage=arrays["usage"])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, EOFError, KeyError, TypeError, ValueError, zlib.error, zipfile.BadZipFile) as e:
        log.warning("the cache file %s cannot be read and is made again (%s)", kept, e)
        return None
    if not _is_sound(rows):
        log.warning("the cache file %s does not hold FER2013 and is made again", kept)
        return None
    return rows


def _is_sound(rows: Fer2013Rows) -> bool:
    return (
        rows.images.dtype == np.uint8
        and rows.labels.dtype == np.int64
        and rows.usage.dtype == np.uint8
        and rows.images.ndim == 3
        and rows.images.shape[1:] == (SIDE, SIDE)
        and rows.labels.shape == rows.usage.shape == rows.images.shape[:1]
        and rows.labels.size > 0
        and rows.labels.min() >= 0
        and rows.labels.max() < NUM_EXPRESSIONS
        and rows.usage.max() < len(USAGES)
    )


def _store(rows: Fer2013Rows, kept: Path) -> None:
    try:
        with atomic_write(kept) as file:
            np.savez(file, images=rows.images, labels=rows.labels, usage=rows.usage)
    except OSError as e:
        log.warning(
            "FER2013 is parsed anew in every run, as the cache cannot be written (%s); "
            "name a folder that can with FER_CACHE_DIR",
            e,
        )


def _written(counts: Iterable[int]) -> str:
    return "/".join(f"{count:,}" for count in counts)


# Protocols


class Fer2013DataModule(ImageDataModule):
    """FER2013 (Goodfellow et al., 2013): 48x48 grey faces gathered from the web.

    Args:
        root: The data set's file or folder; null: the environment's ``FER_DATA_DIR``. What may stand
            there: :func:`read_fer2013`.
        protocol: Which images train, select and test; see :data:`Protocol`. Splits that are drawn
            keep the classes' shares and depend on ``seed`` alone.
        **kwargs: See :class:`fer.data.images.ImageDataModule`.

    Raises:
        InputError: A setting is out of its range.
    """

    def __init__(self, root: str | None = None, *, protocol: Protocol = "official", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if protocol not in get_args(Protocol):
            msg = f"data.protocol is {protocol!r}: it must be one of {', '.join(get_args(Protocol))}"
            raise InputError(msg)
        self.root = root
        self.protocol = protocol

    @property
    def source(self) -> Path:
        """The file or folder that is read, or looked in."""
        return data_root(self.root, dataset="FER2013", way_out=WAY_OUT)

    @property
    def test_names(self) -> tuple[str, ...]:
        """Two tests by ``holdout``, else one."""
        return ("public", "private") if self.protocol == "holdout" else ("test",)

    @property
    def protocol_name(self) -> str:
        """How the splits were made, in words."""
        if self.protocol == "official":
            return "official: Training / PublicTest / PrivateTest"
        if self.protocol == "merged":
            share, tests = MERGED_VAL_SHARE, "PublicTest + PrivateTest"
        else:
            share, tests = HOLDOUT_VAL_SHARE, "PublicTest, PrivateTest"
        return f"{self.protocol}: {1 - share:.0%} of Training / {share:.0%} / {tests}"

    def prepare_data(self) -> None:
        """Parse the source into the cache, in one process, unless the splits are there."""
        if not self.splits:
            read_fer2013(self.source)

    def load_splits(self) -> dict[str, ImageSplit]:
        """Return the splits of the protocol.

        Raises:
            InputError: There is no FER2013 where it was looked for, or a split would be empty.
        """
        rows = read_fer2013(self.source)
        # As lines of the CSV are counted, the first of which is the header.
        names = np.char.add("row ", np.arange(2, len(rows.labels) + 2).astype(np.str_))
        everything = ImageSplit(images=rows.images, labels=rows.labels, names=names)
        training, public, private = (np.flatnonzero(rows.usage == usage) for usage in range(len(USAGES)))
        if self.protocol == "official":
            chosen = {"train": training, "val": public, "test": private}
        elif self.protocol == "merged":
            train, val = self._draw(training, rows.labels, MERGED_VAL_SHARE)
            chosen = {"train": train, "val": val, "test": np.concatenate((public, private))}
        else:
            train, val = self._draw(training, rows.labels, HOLDOUT_VAL_SHARE)
            chosen = {"train": train, "val": val, "public": public, "private": private}
        if empty := [name for name, indices in chosen.items() if not indices.size]:
            msg = (
                f"the FER2013 in {self.source} has {_written(rows.counts)} images ({', '.join(USAGES)}), "
                f"which leaves nothing for {' and '.join(empty)} by data.protocol={self.protocol}; "
                f"choose another protocol, or {WAY_OUT}"
            )
            raise InputError(msg)
        return {name: everything.take(indices) for name, indices in chosen.items()}

    def _draw(
        self, indices: NDArray[np.intp], labels: NDArray[np.int64], val_share: float
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the rows that train and those that validate, each in the order of the source."""
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
                "give all of FER2013 with --data.root, or take data.protocol=official"
            )
            raise InputError(msg) from e
        return np.sort(train), np.sort(val)


# Download


def download(root: Path) -> Path:
    """Download FER2013 from Kaggle as image folders, unless they are there.

    Args:
        root: Where to put it, in a subfolder ``fer2013``; made if missing.

    Returns:
        The folder that holds ``train`` and ``test``, for :func:`read_fer2013`.

    Raises:
        InputError: kagglehub is not installed, Kaggle cannot be reached or refuses, or ``root`` cannot
            be written to.
    """
    target = Path(root).expanduser() / "fer2013"
    missing = [part for part in PARTS if not (target / part).is_dir()]
    if not missing:
        log.info("FER2013 is in %s already", target)
        return target
    fetched = _fetch()
    try:
        target.mkdir(parents=True, exist_ok=True)
        for part in missing:
            with tempfile.TemporaryDirectory(prefix=".download-", dir=target) as draft:
                # Under its name only when it is whole.
                shutil.copytree(fetched / part, Path(draft) / part).replace(target / part)
    except (OSError, shutil.Error) as e:
        msg = (
            f"FER2013 was downloaded to {fetched} but cannot be copied to {target} ({e}); name another folder"
        )
        raise InputError(msg) from e
    return target


def _fetch() -> Path:
    """Return kagglehub's own copy of the image folders, downloaded if need be."""
    try:
        import kagglehub
        from kagglehub import exceptions
    except ImportError as e:
        msg = "downloading FER2013 needs kagglehub: pip install 'fer-neurons[kaggle]'"
        raise InputError(msg) from e
    by_hand = (
        f"download it by hand from https://www.kaggle.com/datasets/{KAGGLE_HANDLE} and give the zip "
        "with --data.root or the environment's FER_DATA_DIR"
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
        msg = f"Kaggle's {KAGGLE_HANDLE}, in {fetched}, does not hold the folders train and test; {by_hand}"
        raise InputError(msg)
    return fetched
