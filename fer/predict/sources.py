"""Find the photos and videos that paths, folders and patterns name, and read photos as frames."""

import glob
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fer.data.reading import BadImageError, describe_skipped, find_files, is_animated, read_image
from fer.errors import InputError
from fer.predict.videos import VIDEO_SUFFIXES
from fer.runs import Run

NETWORK_SUFFIXES: Final = (".ckpt", ".onnx", ".pt", ".pth", ".safetensors")
"""Suffixes of files that hold a network."""

OUTPUTS: Final = ("predictions.csv", "predictions.json")
"""Files that mark an output folder of ``fer predict``; a search of the folder around it skips it."""

CHUNK_FRAMES: Final = 64
CHUNK_PIXELS: Final = 16_000_000
"""Largest number of frames in a chunk, and the number of pixels at which a chunk is full."""


@dataclass(frozen=True)
class SourceFile:
    """A photo or a video.

    Attributes:
        path: Path of the file.
        name: Name in the outputs: its path relative to the folder that was given, or else its file name.
    """

    path: Path
    name: Path


@dataclass(frozen=True, eq=False)
class Frame:
    """One image of a file.

    Attributes:
        file: The file that it comes from.
        image: RGB, uint8, shape ``(H, W, 3)``.
        number: Index of the frame in a video, from 0; None for a photo.
        time: Seconds from the video's beginning; None for a photo.
    """

    file: SourceFile
    image: NDArray[np.uint8]
    number: int | None = None
    time: float | None = None


@dataclass
class Sources:
    """The result of a search for sources.

    Attributes:
        files: Photos and videos, in the order in which they were given, each once.
        bad: Sources that cannot be used, with the reason.
        remarks: Lines about files that were left out.
    """

    files: list[SourceFile] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def find_sources(words: Sequence[str]) -> Sources:
    """Find photos and videos.

    Args:
        words: Files, folders (searched to any depth) and patterns such as ``*.jpg``.

    Raises:
        InputError: A file is a network instead of a photo, or nothing is found.
    """
    found = Sources()
    for word in words:
        path = Path(word).expanduser()
        if path.exists():
            _add(path, found)
        elif glob.has_magic(word):
            matches = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207 (Path.glob rejects absolute patterns)
            if not matches:
                found.bad.append(f"{word}: matches nothing")
            for match in matches:
                _add(Path(match), found)
        else:
            found.bad.append(f"{word}: no such file or folder")
    found.files = list({file.path.resolve(): file for file in reversed(found.files)}.values())[::-1]
    if not found.files:
        rest = f"; and {len(found.bad) - 1} more" if len(found.bad) > 1 else ""
        msg = f"{found.bad[0]}{rest}; give photos, videos, folders or patterns such as 'photos/*.jpg'"
        raise InputError(msg)
    return found


def _add(path: Path, found: Sources) -> None:
    """Add a file, or the files of a folder.

    Raises:
        InputError: The file is a network.
    """
    if path.is_dir() and Run(path).is_run:
        _refuse_network(path, "the folder of a run")
    if path.suffix.lower() in NETWORK_SUFFIXES and path.is_file():
        _refuse_network(path, "a network")
    if not path.is_dir():
        found.files.append(SourceFile(path, Path(path.name)))
        return
    files = find_files(path)
    written = _written_below(path, [*files.images, *files.skipped])
    images, others = (
        [each for each in some if written.isdisjoint(each.parents)] for some in (files.images, files.skipped)
    )
    usable = sorted([*images, *filter(is_video, others)], key=lambda each: each.parts)
    found.files += [SourceFile(each, each.relative_to(path)) for each in usable]
    if skipped := [each for each in others if not is_video(each)]:
        found.remarks.append(describe_skipped(skipped, path))
    found.remarks += [f"left out {folder}: fer predict wrote it" for folder in sorted(written)]
    if not usable:
        found.bad.append(f"{path}: no image and no video in this folder")


def _written_below(folder: Path, files: Iterable[Path]) -> set[Path]:
    """Return the parents of files, inside a folder, that are outputs of an earlier ``fer predict``."""
    holders = {holder for file in files for holder in file.parents if folder in holder.parents}
    return {holder for holder in holders if all((holder / name).is_file() for name in OUTPUTS)}


def is_video(path: Path) -> bool:
    """Return whether a file counts as a video: by its suffix, or, for a GIF, if it has several frames."""
    suffix = path.suffix.lower()
    return is_animated(path) if suffix == ".gif" else suffix in VIDEO_SUFFIXES


def _refuse_network(path: Path, kind: str) -> None:
    msg = (
        f"{path} is {kind}, not a photo: fer predict PHOTO --ckpt_path {path}, or without PHOTO for the "
        "probabilities of its test split"
    )
    raise InputError(msg)


def printable(path: Path) -> str:
    """Return a path as text, with bytes that are not UTF-8 escaped."""
    return path.as_posix().encode(errors="backslashreplace").decode()


def read_frames(files: Iterable[SourceFile]) -> Iterator[Frame | BadImageError]:
    """Yield each photo as a frame, or the reason why it cannot be used."""
    for file in files:
        try:
            yield Frame(file, read_image(file.path))
        except BadImageError as e:
            yield e


def chunks(frames: Iterable[Frame | BadImageError]) -> Iterator[list[Frame | BadImageError]]:
    """Yield frames in order, in lists that are small enough for the memory."""
    chunk: list[Frame | BadImageError] = []
    pixels = 0
    for frame in frames:
        chunk.append(frame)
        pixels += frame.image[..., 0].size if isinstance(frame, Frame) else 0
        if len(chunk) == CHUNK_FRAMES or pixels >= CHUNK_PIXELS:
            yield chunk
            chunk, pixels = [], 0
    if chunk:
        yield chunk
