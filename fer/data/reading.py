"""Find and read image files of any format: as RGB arrays, or with the reason why a file cannot be used."""

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
"""Suffixes that Pillow can read only if it was built with the feature."""


def _readable_suffixes() -> Iterator[str]:
    """Yield the suffixes of image files that the installed Pillow reads, in lower case."""
    yield from (".apng", ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm")
    yield from (".ppm", ".tif", ".tiff", ".webp")
    with warnings.catch_warnings(action="ignore"):  # an older Pillow warns of features it does not know
        for feature, suffixes in OPTIONAL_SUFFIXES.items():
            if features.check(feature):
                yield from suffixes
    with suppress(ImportError):
        import_module("pillow_heif").register_heif_opener()
        yield from HEIC_SUFFIXES


HEIC_SUFFIXES: Final = (".heic", ".heif")
"""Suffixes of phone photos, which Pillow can read only if the package pillow-heif is installed."""

IMAGE_SUFFIXES: Final = frozenset(_readable_suffixes())
"""Suffixes of files that count as images, in lower case."""


class FoundFiles(NamedTuple):
    """The files in a folder and in all folders below it, sorted.

    Attributes:
        images: Files with a suffix of :data:`IMAGE_SUFFIXES`, damaged or not.
        skipped: All others.
    """

    images: list[Path]
    skipped: list[Path]


MAX_PIXELS: Final = 80_000_000
"""Largest number of pixels; larger images are refused before they are decoded. An image of this size takes
240 MB, and a face detector many times that."""

MAX_SIDE: Final = 32_766
"""Longest side that OpenCV can resample, in pixels: it uses 16-bit coordinates."""

LIMITS: Final = f"at most {MAX_PIXELS:,}, and {MAX_SIDE:,} a side, are allowed"

STRIP_PIXELS: Final = 1_000_000
"""Number of pixels that are converted at once."""

BACKGROUND: Final = 128
"""Grey level of the background behind transparent pixels. Medium grey gives the edge of a cut-out face little
contrast; black or white would add an artificial contour."""

WIDE_MODES: Final = ("I;16", "I;16L", "I;16B", "I;16N", "I")
"""PIL's modes for 16-bit grey; the last one stores it in 32 bits."""

SIDEWAYS: Final = range(5, 9)
"""EXIF orientations that swap height and width (CIPA DC-008, section 4.6.4)."""

# What PIL's decoders raise for broken files: by design OSError and SyntaxError, but corrupt values in a file
# also cause many other errors, of arithmetic and of look-ups.
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
    """List the images and all other files in a folder and in the folders below it.

    Symbolic links are followed; each folder is visited once. Hidden files and folders are left out, and so is
    the folder ``__MACOSX`` of archives made on a Mac. Images are recognised by their suffix
    (:data:`IMAGE_SUFFIXES`), so damaged files and broken links are listed too and can be reported.

    Args:
        folder: Folder of images or of class folders.

    Returns:
        Paths that begin with ``folder``, in the same order on every machine.

    Raises:
        InputError: It is not a folder, or a folder cannot be read.
    """
    if not folder.is_dir():
        msg = f"{folder} is not a folder: give a folder of images, or of class folders with images"
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
    """Return one line with the number of skipped files of each suffix and the first file of each.

    Args:
        paths: The files, at least one.
        root: Folder to which the names are relative.

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
    """Return the height and width of :func:`read_image`'s result, reading only the file's header.

    Raises:
        BadImageError: The file cannot be opened as an image, or is too large.
    """
    with _opened(path) as image:
        width, height = image.size
        is_sideways = image.getexif().get(ExifTags.Base.Orientation) in SIDEWAYS
    return (width, height) if is_sideways else (height, width)


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read an image file of any format as RGB.

    The image is rotated according to its EXIF orientation. Of an animation or a file with several pages, the
    first frame is read. Transparent pixels are composited onto grey (:data:`BACKGROUND`). 16-bit grey is
    divided by 256. Floating-point grey is read as 0..1 if no value exceeds 1, else as 0..255.

    Args:
        path: The file; a symbolic link is followed.

    Returns:
        RGB, uint8, shape ``(H, W, 3)``.

    Raises:
        BadImageError: It is not a file or not an image, cannot be read, is empty, truncated or damaged, or
            has more than :data:`MAX_PIXELS` pixels or a side longer than :data:`MAX_SIDE`.
    """
    with _opened(path) as image:
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        return _to_rgb(image)


def to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Convert a PIL image as :func:`read_image` does with a file; the PIL image is not changed.

    Raises:
        BadImageError: Its file is damaged, or its grey values are out of range.
    """
    path = Path(getattr(image, "filename", "") or "the image")
    try:
        return _to_rgb(ImageOps.exif_transpose(image))
    except BROKEN as e:
        raise BadImageError(path, f"not a whole image ({e or type(e).__name__})") from e


def is_animated(path: Path) -> bool:
    """Return whether a file's header shows an image with several frames; False if the file is damaged."""
    try:
        with _opened(path) as image:
            return bool(getattr(image, "is_animated", False))
    except BadImageError:
        return False


def digest_image(path: Path) -> bytes:
    """Return a hash of an image file's bytes, without decoding them.

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
    """Check that a path is a regular file before it is opened: opening a pipe would block.

    Raises:
        BadImageError: It is not a file, or does not exist.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as e:
        is_link = path.is_symlink()
        reason = f"a link to {path.readlink()}, which does not exist" if is_link else "there is no such file"
        raise BadImageError(path, reason) from e
    except OSError as e:  # a loop of links, a folder without permission
        raise BadImageError(path, f"cannot be read ({e.strerror})") from e
    if not stat.S_ISREG(mode):
        raise BadImageError(path, "a folder" if stat.S_ISDIR(mode) else "not a file")


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open an image and check its size; errors in the block become BadImageErrors that name the file."""
    _check_file(path)
    try:
        # PIL warns of oddities in EXIF, palettes and sizes, all of which are handled here.
        with warnings.catch_warnings(action="ignore"), Image.open(path) as image:
            _check_size(path, *image.size)
            yield image
    except BadImageError:
        raise
    except PermissionError as e:
        raise BadImageError(path, f"cannot be read ({e.strerror})") from e
    except UnidentifiedImageError as e:
        reason = (
            "not an image of a known format (JPEG, PNG, WebP, TIFF and others)"
            if path.stat().st_size
            else "an empty file"
        )
        raise BadImageError(path, reason) from e
    except Image.DecompressionBombError as e:
        raise BadImageError(path, f"too many pixels ({LIMITS})") from e
    except BROKEN as e:
        raise BadImageError(path, f"not a whole image ({e or type(e).__name__})") from e


def _check_size(path: Path, width: int, height: int) -> None:
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise BadImageError(path, f"too many pixels: {width}x{height} ({LIMITS})")


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Return an opened image as uint8 ``(H, W, 3)``.

    Raises:
        ValueError: Its grey values are out of range.
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
    """Yield strips of an image, each with its first row; converting strips saves memory for copies."""
    rows = max(1, STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _opaque(image: Image.Image) -> Image.Image:
    """Composite transparent pixels onto grey."""
    if not image.has_transparency_data:
        return image
    ground = Image.new("RGBA", image.size, (BACKGROUND, BACKGROUND, BACKGROUND, 255))
    return Image.alpha_composite(ground, image.convert("RGBA"))


def _grey_divisor(image: Image.Image) -> float:
    """Return the divisor that scales 16-bit or floating-point grey to 0..255; PIL would clip the values.

    Raises:
        ValueError: The values exceed 16 bits, or are neither in 0..1 nor in 0..255.
    """
    ends = [(values.min(), values.max()) for _, strip in _strips(image) for values in [np.asarray(strip)]]
    low, high = np.min(ends).item(), np.max(ends).item()  # NaN if any value is NaN
    if image.mode in WIDE_MODES:
        if low < 0 or high > 65_535:
            msg = f"grey values {low} to {high} are not in the 16-bit range"
            raise ValueError(msg)
        return 256
    if not (low >= 0 and high <= 255):
        msg = f"grey values {low:g} to {high:g} are neither 0..1 nor 0..255"
        raise ValueError(msg)
    return 1 / 255 if high <= 1 else 1
