"""Read FER2013 from image files ``train/<class>/Training_*``, ``test/<class>/{PublicTest,PrivateTest}_*``."""

import io
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fer.data.fer2013.rows import AGAIN, MOST_ROWS, SIDE, TRAINING, USAGES, WAY_OUT, Fer2013Rows, Tick
from fer.errors import InputError
from fer.labels import expression_label

IMAGE_SUFFIXES: Final = (".jpg", ".jpeg", ".png")
IMAGE_NAME: Final = re.compile(rf"({'|'.join(USAGES)})_(\d+)")

PARTS: Final = ("train", "test")
"""The two image folders; ``test`` has both PublicTest and PrivateTest."""

MAX_FILE: Final = 1 << 20
"""Largest size of an image file that is read, in bytes. An image of FER2013 has about 2,000."""


@dataclass(frozen=True, order=True)
class _ImageFile:
    """The metadata in an image file's path; sorts by usage and number."""

    usage: int
    number: int
    path: str
    label: int


def is_hidden(inside: PurePosixPath) -> bool:
    """Return whether a path in a folder or an archive is hidden, or belongs to macOS's metadata."""
    return any(part.startswith(".") or part == "__MACOSX" for part in inside.parts)


def is_image(inside: PurePosixPath) -> bool:
    """Return whether a path ends in ``{train,test}/<class>/<image file>``."""
    return len(inside.parts) >= 3 and inside.parts[-3] in PARTS and inside.suffix.lower() in IMAGE_SUFFIXES


class ImageRows:
    """Collects rows of FER2013 from image files, added in any order.

    Args:
        where: Folder or archive that contains the files, for error messages.
        tick: Called for each file.
    """

    def __init__(self, where: Path, tick: Tick) -> None:
        self.where = where
        self.tick = tick
        self.files: list[_ImageFile] = []
        self.grey = bytearray()

    def add(self, inside: PurePosixPath, stream: IO[bytes]) -> None:
        """Read an image file.

        Args:
            inside: Its path in the folder or archive, which contains usage and class.
            stream: Its content.

        Raises:
            InputError: The path does not contain usage and class, the file is not an image of 48x48 pixels,
                or there are too many files.
        """
        if len(self.files) == MOST_ROWS:
            msg = f"{self.where} has more than {MOST_ROWS:,} images, while FER2013 has 35,887; {WAY_OUT}"
            raise InputError(msg)
        self.files.append(_image_file(inside, self.where))
        self.grey += _decode(stream, self.where / inside).tobytes()
        self.tick()

    def rows(self) -> Fer2013Rows | None:
        """Return the rows that were added, sorted by usage and number; None if there are none."""
        if not self.files:
            return None
        order = sorted(range(len(self.files)), key=self.files.__getitem__)
        files = [self.files[index] for index in order]
        images = np.frombuffer(self.grey, dtype=np.uint8).reshape(-1, SIDE, SIDE)
        _reorder(images, order)
        return Fer2013Rows(
            images=images,
            labels=np.array([file.label for file in files], dtype=np.int64),
            usage=np.array([file.usage for file in files], dtype=np.uint8),
        )


def _reorder(images: NDArray[np.uint8], order: list[int]) -> None:
    """Reorder ``images`` to ``images[order]`` in place, since a copy would double the memory."""
    source = order.copy()
    for start in range(len(source)):
        if source[start] == start:
            continue
        first, place = images[start].copy(), start
        while source[place] != start:
            images[place] = images[source[place]]
            source[place], place = place, source[place]
        images[place] = first
        source[place] = place


def _image_file(inside: PurePosixPath, where: Path) -> _ImageFile:
    """Parse usage, number and label from an image's path."""
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
            f"{where / inside}: a file in {part}/ must be named {wanted}, after the part of FER2013 that it "
            "belongs to; restore its name, or remove it"
        )
        raise InputError(msg)
    return _ImageFile(usage=USAGES.index(match[1]), number=int(match[2]), path=str(inside), label=label)


def _decode(stream: IO[bytes], where: Path) -> NDArray[np.uint8]:
    """Return the grey values of an image file, shape ``(48, 48)``."""
    data = stream.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        msg = f"{where} is larger than {MAX_FILE:,} bytes, while FER2013's images have about 2,000; {AGAIN}"
        raise InputError(msg)
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


def read_folder(folder: Path, tick: Tick) -> Fer2013Rows | None:
    """Read the image folders in a folder; None if they are empty.

    Raises:
        InputError: See :meth:`ImageRows.add`.
        OSError: A file or folder cannot be read.
    """
    images = ImageRows(folder, tick)
    for part in PARTS:
        for path in (folder / part).glob("*/*"):
            inside = PurePosixPath(path.relative_to(folder).as_posix())
            if is_image(inside) and not is_hidden(inside):
                with path.open("rb") as stream:
                    images.add(inside, stream)
    return images.rows()
