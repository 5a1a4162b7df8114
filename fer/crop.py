"""The command ``fer crop``: find and crop the faces of images, and report the results."""

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console

from fer.data.crop_report import count_policies, policy_table, write_crops_csv
from fer.data.crops import BATCH_SIZE, MAX_BAD_SHARE, CropRecord, Crops, crop_images
from fer.data.faces import CropSettings, Detector, Fallback, Select
from fer.data.reading import describe_skipped, find_files, read_image
from fer.errors import InputError
from fer.figures.crops import CropPanel, crops_figure
from fer.figures.style import write_figure
from fer.files import atomic_write, free_name

CONSOLE: Final = Console(highlight=False, soft_wrap=True)

NUM_SHEET: Final = 48
"""Images on the contact sheet."""

SHEET_SIDE: Final = 480
"""Longest side of an image on the contact sheet, in pixels; a larger one would not show more."""


def crop(
    src: Path,
    dst: Path,
    *,
    detector: Detector = "mtcnn",
    size: int = 224,
    margin: float = 0.1,
    align: bool = False,
    select: Select = "largest",
    fallback: Fallback = "centre",
    max_bad: float = MAX_BAD_SHARE,
    batch_size: int = BATCH_SIZE,
) -> None:
    """Find and crop the faces of images.

    Writes each crop as PNG, with the folders and the name that its image has below SRC; ``crops.csv``,
    with a row for each image; and ``contact-sheet.png``, which shows images without a face first. Crops
    are cached, so that a second run does not compute them again.

    Args:
        src: An image, or a folder of images, searched at any depth.
        dst: Folder to write to; made if missing.
        detector: Face detector: mtcnn, viola_jones, narayan (both), or none (the whole image).
        size: Side of a crop, in pixels.
        margin: Margin on every side of the face, as a share of the longer side of its box, 0 to 1.
        align: Whether to rotate and scale crops by MTCNN's landmarks, so that all eyes are level and at the
            same positions.
        select: Which of several faces to crop: the largest, or the most central.
        fallback: What to do without a face: mtcnn (after viola_jones), centre (crop the central square),
            keep (the whole image), drop (the image), or error.
        max_bad: Share of the images that may be unreadable before that is an error, 0 to 1.
        batch_size: Images per batch of the detector; a GPU is faster with more.

    Raises:
        InputError: A setting or a folder is invalid, or too many images are unreadable.
    """
    settings = CropSettings(
        detector=detector, size=size, margin=margin, align=align, select=select, fallback=fallback
    )
    if not 0 <= max_bad <= 1:
        msg = f"--max_bad is {max_bad}: it must be 0 to 1, a share of the images"
        raise InputError(msg)
    if batch_size < 1:
        msg = f"--batch_size is {batch_size}: it must be 1 or more"
        raise InputError(msg)
    src, dst = Path(src).expanduser(), Path(dst).expanduser()
    paths, skipped, root = _sources(src)
    _check_apart(src, dst)
    crops = crop_images(paths, settings, batch_size=batch_size, max_bad_share=max_bad)
    taken: set[str] = set()
    names = [free_name(path.relative_to(root), ".png", taken) for path in paths]
    try:
        _write_crops(dst, names, crops)
        write_crops_csv(dst / "crops.csv", crops.records, root=root, names=names)
        _write_sheet(dst / "contact-sheet.png", crops, root)
    except OSError as e:
        msg = f"{dst} cannot be written to ({e}); name another folder"
        raise InputError(msg) from e
    if skipped:
        CONSOLE.print(describe_skipped(skipped, root), markup=False)
    _print_report(crops, [_folder_name(path, root) for path in paths], dst)


def _sources(src: Path) -> tuple[list[Path], list[Path], Path]:
    """Return the images, the other files, and the root folder, below which crops keep their images' paths.

    Raises:
        InputError: There are no images.
    """
    if src.is_file():
        return [src], [], src.parent
    if not src.exists():
        msg = f"{src} does not exist: give an image, or a folder of images"
        raise InputError(msg)
    paths, skipped = find_files(src)
    if not paths:
        listed = f" ({describe_skipped(skipped, src)})" if skipped else ""
        msg = f"{src} holds no images{listed}: give an image, or a folder of images"
        raise InputError(msg)
    return paths, skipped, src


def _check_apart(src: Path, dst: Path) -> None:
    """Refuse to write where images are read: crops would be cropped again, or replace their images.

    Raises:
        InputError: The folders are the same or one contains the other, or ``dst`` is a file.
    """
    if dst.exists() and not dst.is_dir():
        msg = f"{dst} is a file: name a folder to write the crops to"
        raise InputError(msg)
    source, target = src.resolve(), dst.resolve()
    if src.is_file():
        is_apart = target != source.parent
    else:
        is_apart = not (target.is_relative_to(source) or source.is_relative_to(target))
    if not is_apart:
        msg = f"{dst} and {src} are the same folder, or one contains the other: name a separate folder"
        raise InputError(msg)


def _write_crops(dst: Path, names: Sequence[str], crops: Crops) -> None:
    """Write each crop, and remove the crops of an earlier run for images that have none now."""
    images = iter(crops.images)
    for name, record in zip(names, crops.records, strict=True):
        if record.kept:
            content = io.BytesIO()  # not the file itself: Pillow hides why it cannot be written
            Image.fromarray(next(images)).save(content, "PNG")
            with atomic_write(dst / name) as file:
                file.write(content.getvalue())
        else:
            (dst / name).unlink(missing_ok=True)


# Report


def _write_sheet(path: Path, crops: Crops, root: Path) -> None:
    """Draw the contact sheet, unless there is no image to show."""
    records = crops.records
    rows = np.cumsum(crops.kept) - 1
    shown = _choose(records, NUM_SHEET)
    if not shown:
        path.unlink(missing_ok=True)
        return
    panels = [
        _panel(records[index], crops.images[rows[index]] if records[index].kept else None, root)
        for index in shown
    ]
    num_usable = sum(record.policy != "bad" for record in records)
    some = f"{len(shown)} of " if len(shown) < num_usable else ""
    num_faceless = sum(_is_faceless(record) for record in records)
    title = f"{some}{num_usable:,} images, {num_faceless:,} without a face"
    with warnings.catch_warnings():
        # Characters of a file name that the font lacks are shown as boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        write_figure(crops_figure(panels, title), path)


def _choose(records: Sequence[CropRecord], num: int) -> list[int]:
    """Return the indices of images for the sheet: up to half of them without a face, the others with one.

    Both are spread evenly over all images, so that every class is shown.
    """
    faceless = [index for index, record in enumerate(records) if _is_faceless(record)]
    others = [
        index for index, record in enumerate(records) if record.policy != "bad" and not _is_faceless(record)
    ]
    num_faceless = min(len(faceless), max(num // 2, num - len(others)))
    return _spread(faceless, num_faceless) + _spread(others, num - num_faceless)


def _spread(indices: Sequence[int], num: int) -> list[int]:
    """Return ``num`` of the indices, evenly spread; all if there are fewer.

    >>> _spread([0, 1, 2, 3, 4, 5], 3)
    [0, 2, 4]
    """
    num = min(num, len(indices))
    return [indices[place * len(indices) // num] for place in range(num)]


def _is_faceless(record: CropRecord) -> bool:
    return record.face is None and record.policy not in ("bad", "none")


def _panel(record: CropRecord, image: NDArray[np.uint8] | None, root: Path) -> CropPanel:
    """Return the panel of an image on the sheet, scaled down."""
    source = read_image(record.path)
    scale = min(1.0, SHEET_SIDE / max(source.shape[:2]))
    height, width = (max(1, round(scale * side)) for side in source.shape[:2])
    small = np.asarray(cv2.resize(source, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    name = _printable(record.path.relative_to(root))
    if record.face is None:
        is_whole = record.policy == "none"
        policy = "whole image" if is_whole else f"no face: {record.policy}"
        return CropPanel(small, image, policy, name, (0, 0, width, height) if is_whole else None)
    left, top, right, bottom = (scale * value for value in record.face.box)
    landmarks = [(scale * x, scale * y) for x, y in record.face.landmarks or ()]
    probability = record.face.probability
    policy = record.policy if np.isnan(probability) else f"{record.policy} {probability:.2f}"
    return CropPanel(small, image, policy, name, (left, top, right, bottom), landmarks)


def _print_report(crops: Crops, class_names: Sequence[str], dst: Path) -> None:
    """Print the table of policies, the unreadable images, and the files that were written."""
    CONSOLE.print(policy_table(count_policies(crops.records, class_names)))
    num_faceless = sum(map(_is_faceless, crops.records))
    CONSOLE.print(f"no face      {num_faceless:,} of {len(crops.records):,} images")
    for record in crops.records:
        if record.policy == "bad":
            CONSOLE.print(f"bad          {_printable(record.path)}: {record.reason}", markup=False)
    for what, path in (
        ("crops", dst),
        ("table", dst / "crops.csv"),
        ("look at it", dst / "contact-sheet.png"),
    ):
        CONSOLE.print(f"{what:<12} {_printable(path)}", markup=False)


def _folder_name(path: Path, root: Path) -> str:
    """Return the name of an image's class: its folder, relative to the root."""
    return root.name if path.parent == root else _printable(path.parent.relative_to(root))


def _printable(path: Path) -> str:
    """Return a path as printable text: bytes that are not UTF-8 are escaped."""
    return path.as_posix().encode(errors="backslashreplace").decode()
