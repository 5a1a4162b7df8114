"""Image files as they come: what a folder holds, and each file as RGB or a reason why not."""

import hashlib
import os
import stat
import struct
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError, features

from fer.errors import InputError

OPTIONAL_SUFFIXES: Final = {
    "avif": (".avif", ".avifs"),
    "jpg_2000": (".j2c", ".j2k", ".jp2", ".jpc", ".jpf", ".jpx"),
}
"""Suffixes that Pillow reads where it was built with the feature."""


def _readable_suffixes() -> Iterator[str]:
    """Yield the suffixes of image files that the installed Pillow reads, in lower case."""
    yield from (".apng", ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm")
    yield from (".ppm", ".tif", ".tiff", ".webp")
    with warnings.catch_warnings(action="ignore"):  # of a feature that an older Pillow does not know
        for feature, suffixes in OPTIONAL_SUFFIXES.items():
            if features.check(feature):
                yield from suffixes
    with suppress(ImportError):
        import_module("pillow_heif").register_heif_opener()
        yield from HEIC_SUFFIXES


HEIC_SUFFIXES: Final = (".heic", ".heif")
"""Photos of phones; Pillow reads them where the package pillow-heif is installed."""

IMAGE_SUFFIXES: Final = frozenset(_readable_suffixes())
"""Files that are taken for images, in lower case."""


class FoundFiles(NamedTuple):
    """The files in a folder and in all folders below it, in the order of their parts.

    Attributes:
        images: Files with a suffix of :data:`IMAGE_SUFFIXES`, damaged or not.
        skipped: All others.
    """

    images: list[Path]
    skipped: list[Path]


MAX_PIXELS: Final = 80_000_000
"""Larger images are refused before they are decoded. One of this size takes 240 MB, and a detector
many times that."""

MAX_SIDE: Final = 32_766
"""Longest side in pixels that OpenCV resamples: it counts with 16 bits."""

LIMITS: Final = f"{MAX_PIXELS:,} and {MAX_SIDE:,} a side are the limit"

STRIP_PIXELS: Final = 1_000_000
"""Pixels that are converted at once."""

BACKGROUND: Final = 128
"""Grey behind what is transparent: in the middle, so that the edge of a face cut out stays faint in
both directions, where black or white would draw a contour that no camera saw."""

WIDE_MODES: Final = ("I;16", "I;16L", "I;16B", "I;16N", "I")
"""PIL's names for grey of 16 bits, the last for the same in 32."""

SIDEWAYS: Final = range(5, 9)
"""EXIF orientations that swap height and width (CIPA DC-008, section 4.6.4)."""

# What PIL's readers raise on broken files. They were written by many hands: beside OSError and
# SyntaxError, which are meant, bytes that lie run into every error of arithmetic and look-up.
BROKEN: Final = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    MemoryError,
    RuntimeError,
    struct.error,
    zlib.error,
)


class BadFileError(InputError):
    """A file that cannot be used.

    Attributes:
        path: The file.
        reason: Why, in words, without the path.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}; replace or remove it")
        self.path = path
        self.reason = reason


class BadImageError(BadFileError):
    """A file that cannot be used as an image."""


def find_images(folder: Path) -> list[Path]:
    """Return the images of :func:`find_files`."""
    return find_files(folder).images


def find_files(folder: Path) -> FoundFiles:
    """List the images in a folder and in all folders below it, and the files that are none.

    Symbolic links are followed, each folder once. Hidden files and folders are left out, and so is the
    folder ``__MACOSX`` of archives made on a Mac. A file counts by its suffix (:data:`IMAGE_SUFFIXES`), so
    that a damaged file or a broken link is listed and can be reported.

    Args:
        folder: Where to look: class folders, or images themselves.

    Returns:
        Paths that begin with ``folder``, in the order of their parts, on every machine the same.

    Raises:
        InputError: It is not a folder, or a folder cannot be read.
    """
    if not folder.is_dir():
        msg = f"{folder} is not a folder: give one that holds images, or class folders of images"
        raise InputError(msg)
    found = FoundFiles([], [])
    visited: set[Path] = set()
    for name, subfolders, files in os.walk(folder, followlinks=True, onerror=_refuse_folder):
        here = Path(name)
        resolved = here.resolve()
        if resolved in visited:  # a link to a folder above
            subfolders.clear()
            continue
        visited.add(resolved)
        subfolders[:] = sorted(sub for sub in subfolders if not _is_hidden(sub))
        for path in (here / file for file in files if not _is_hidden(file)):
            (found.images if path.suffix.lower() in IMAGE_SUFFIXES else found.skipped).append(path)
    return FoundFiles(*(sorted(paths, key=lambda path: path.parts) for paths in found))


def describe_skipped(paths: Sequence[Path], root: Path) -> str:
    """Return one line that counts skipped files by their suffix and names the first of each.

    Args:
        paths: The files, at least one.
        root: Folder that they are named relative to.

    >>> describe_skipped([Path("a/x.npy"), Path("a/y.NPY"), Path("b/x")], Path())
    'skipped 3 files: 2 .npy, 1 without suffix (a/x.npy, b/x)'
    """
    suffixes = [path.suffix.lower() for path in paths]
    counts = Counter(suffixes).most_common()
    written = ", ".join(f"{count:,} {suffix or 'without suffix'}" for suffix, count in counts)
    firsts = [paths[suffixes.index(suffix)].relative_to(root).as_posix() for suffix, _ in counts]
    named = ", ".join(firsts[:3]) + (", …" if len(firsts) > 3 else "")
    wants_heif = not IMAGE_SUFFIXES.issuperset(HEIC_SUFFIXES) and not set(HEIC_SUFFIXES).isdisjoint(suffixes)
    hint = "; pip install pillow-heif to read HEIC" if wants_heif else ""
    return f"skipped {len(paths):,} file{'s' if len(paths) > 1 else ''}: {written} ({named}){hint}"


def _refuse_folder(error: OSError) -> None:
    msg = f"{error.filename} cannot be read: {error.strerror}; change its permissions, or move it away"
    raise InputError(msg) from error


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def image_shape(path: Path) -> tuple[int, int]:
    """Return the height and width that :func:`read_image` will give, from the file's header alone.

    Raises:
        BadImageError: The file cannot be opened as an image, or is too large.
    """
    with _opened(path) as image:
        width, height = image.size
        is_sideways = image.getexif().get(ExifTags.Base.Orientation) in SIDEWAYS
    return (width, height) if is_sideways else (height, width)


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read an image file, whatever its form.

    The rotation that EXIF asks for is done. Of an animation or of many pages the first counts. What is
    transparent is laid on grey (:data:`BACKGROUND`). Grey of 16 bits is divided by 256. Grey in floating
    point is taken as 0..1 where it does not go beyond 1, else as 0..255.

    Args:
        path: The file; a symbolic link is followed.

    Returns:
        RGB, uint8, shape ``(H, W, 3)``.

    Raises:
        BadImageError: It is not a file, cannot be read, is empty, truncated, damaged, no image, or has
            more than :data:`MAX_PIXELS` pixels or a side beyond :data:`MAX_SIDE`.
    """
    with _opened(path) as image:
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        return _to_rgb(image)


def to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Return an image of PIL as :func:`read_image` would read it from its file; it is left as it is.

    Raises:
        BadImageError: Its file is damaged, or its values fit no range that can be known.
    """
    path = Path(getattr(image, "filename", "") or "the image")
    try:
        return _to_rgb(ImageOps.exif_transpose(image))
    except BROKEN as e:
        raise BadImageError(path, f"not a whole image ({e or type(e).__name__})") from e


def is_animated(path: Path) -> bool:
    """Return whether a file is an image with several frames, from its header; not if it is damaged."""
    try:
        with _opened(path) as image:
            return bool(getattr(image, "is_animated", False))
    except BadImageError:
        return False


def digest_image(path: Path) -> bytes:
    """Return what tells an image file's bytes from all others, without decoding them.

    Returns:
        The BLAKE2b digest, 64 bytes.

    Raises:
        BadImageError: It is not a file, or cannot be read.
    """
    _check_file(path)
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "blake2b").digest()
    except OSError as e:
        raise BadImageError(path, f"cannot be read ({e.strerror})") from e


def _check_file(path: Path) -> None:
    """Refuse what is no file before it is opened: a pipe would be waited for.

    Raises:
        BadImageError: It is something else, or nothing.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as e:
        is_link = path.is_symlink()
        reason = f"a link to {path.readlink()}, which does not exist" if is_link else "there is no such file"
        raise BadImageError(path, reason) from e
    except OSError as e:  # a loop of links, a folder that may not be entered
        raise BadImageError(path, f"cannot be read ({e.strerror})") from e
    if not stat.S_ISREG(mode):
        raise BadImageError(path, "a folder" if stat.S_ISDIR(mode) else "not a file")


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open an image of an allowed size; what goes wrong in the block is said of its file."""
    _check_file(path)
    try:
        # PIL warns of oddities in EXIF, palettes and sizes that are dealt with here.
        with warnings.catch_warnings(action="ignore"), Image.open(path) as image:
            _check_size(path, *image.size)
            yield image
    except BadImageError:
        raise
    except PermissionError as e:
        raise BadImageError(path, f"cannot be read ({e.strerror})") from e
    except UnidentifiedImageError as e:
        reason = "no image of a known format" if path.stat().st_size else "an empty file"
        raise BadImageError(path, reason) from e
    except Image.DecompressionBombError as e:
        raise BadImageError(path, f"too many pixels ({LIMITS})") from e
    except BROKEN as e:
        raise BadImageError(path, f"not a whole image ({e or type(e).__name__})") from e


def _check_size(path: Path, width: int, height: int) -> None:
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise BadImageError(path, f"{width}x{height} are too many pixels ({LIMITS})")


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Return an opened image as uint8 ``(H, W, 3)``.

    Raises:
        ValueError: Its values fit no range that can be known.
    """
    divisor = _grey_divisor(image) if image.mode in (*WIDE_MODES, "F") else None
    result = np.empty((image.height, image.width, 3), np.uint8)
    for top, strip in _strips(image):
        if divisor is None:
            values = np.asarray(_opaque(strip).convert("RGB"))
        else:
            values = (np.asarray(strip) / divisor)[:, :, np.newaxis]
            values = np.rint(values) if image.mode == "F" else np.floor(values)
        result[top : top + strip.height] = values
    return result


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Yield an image in parts of some rows, each with its first row: PIL and NumPy copy what they convert."""
    rows = max(1, STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _opaque(image: Image.Image) -> Image.Image:
    """Lay what is transparent on grey."""
    if not image.has_transparency_data:
        return image
    ground = Image.new("RGBA", image.size, (BACKGROUND, BACKGROUND, BACKGROUND, 255))
    return Image.alpha_composite(ground, image.convert("RGBA"))


def _grey_divisor(image: Image.Image) -> float:
    """Return what divides grey of 16 bits, or in floating point, to make it 0..255; PIL would clip it.

    Raises:
        ValueError: The values are beyond 16 bits, or neither 0..1 nor 0..255.
    """
    ends = [(values.min(), values.max()) for _, strip in _strips(image) for values in [np.asarray(strip)]]
    low, high = np.min(ends).item(), np.max(ends).item()  # NaN where a value is NaN
    if image.mode in WIDE_MODES:
        if low < 0 or high > 65_535:
            msg = f"grey values {low} to {high} are not 16 bits"
            raise ValueError(msg)
        return 256
    if not (low >= 0 and high <= 255):
        msg = f"grey values {low:g} to {high:g} are neither 0..1 nor 0..255"
        raise ValueError(msg)
    return 1 / 255 if high <= 1 else 1
