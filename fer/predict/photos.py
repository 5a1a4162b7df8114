"""The command ``fer predict`` on files: find their faces, and print and write the predictions."""

import io
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from fer.data.reading import BadImageError
from fer.errors import InputError
from fer.files import atomic_write, free_name
from fer.predict.drawing import NUM_SHEET, annotate, draw_sheet, thumbnail
from fer.predict.films import predict_video
from fer.predict.notes import notes_on
from fer.predict.recognizer import Face, Recognizer, recognize_each
from fer.predict.sources import OUTPUTS, Frame, SourceFile, Sources, chunks, is_video, printable, read_frames
from fer.predict.videos import BadVideoError
from fer.predict.writing import PredictionWriter

NUM_ROWS: Final = 40
"""Most faces that the terminal shows; the files have all of them."""

NUM_BAD: Final = 5
"""Most unusable files that an error names; the rest are counted."""

Answer = tuple[Frame, list[Face], list[str]]
"""An image, its faces, and a note on each face, or on the image if there is no face."""


@dataclass
class Summary:
    """Totals over all files.

    Attributes:
        num_images: Number of images that could be read.
        num_faces: Number of faces in them.
        num_faceless: Number of images without a face.
        num_small: Number of small faces; see :func:`fer.predict.notes.notes_on`.
        num_videos: Number of videos that could be read.
        bad: Files that cannot be used, with the reason.
    """

    num_images: int = 0
    num_faces: int = 0
    num_faceless: int = 0
    num_small: int = 0
    num_videos: int = 0
    bad: list[str] = field(default_factory=list)

    def add(self, faces: Sequence[Face], notes: Sequence[str]) -> None:
        """Count an image."""
        self.num_images += 1
        self.num_faces += len(faces)
        self.num_faceless += not faces
        self.num_small += sum(bool(note) for note in notes) if faces else 0


def answers(recognizer: Recognizer, files: Sequence[SourceFile]) -> Iterator[Answer | BadImageError]:
    """Yield the result for each frame of the files, in order, or why a file cannot be used."""
    for chunk in chunks(read_frames(files)):
        frames = [each for each in chunk if isinstance(each, Frame)]
        found = iter(recognize_each(recognizer, [frame.image for frame in frames]))
        for each in chunk:
            if isinstance(each, BadImageError):
                yield each
                continue
            faces = next(found)
            if isinstance(faces, InputError):
                yield BadImageError(each.file.path, str(faces))
            else:
                yield each, faces, notes_on(each.image, faces, recognizer)


def predict_files(
    recognizer: Recognizer,
    sources: Sources,
    out: Path | None,
    console: Console,
    about: dict[str, Any],
    *,
    smooth: float = 0.0,
) -> None:
    """Recognise the faces in photos and videos, print the predictions, and write them to a folder.

    Photos come first, then videos.

    Args:
        recognizer: Finds and recognises the faces.
        sources: The photos and videos.
        out: Folder for ``predictions.csv``, ``predictions.json``, ``annotated/``, ``videos/`` and, for more
            than one photo, ``contact-sheet.jpg``; None: nothing is written.
        console: Console to print on.
        about: Description of the network for the JSON.
        smooth: Time constant for videos in seconds; see :func:`fer.predict.tracks.smooth`.

    Raises:
        InputError: Some files cannot be used; raised after the others are finished. If none can, nothing is
            written.
    """
    videos = [file for file in sources.files if is_video(file.path)]
    photos = [file for file in sources.files if file not in videos]
    summary = Summary(bad=list(sources.bad))
    table = _table()
    sheet: list[tuple[NDArray[np.uint8], str, str]] = []
    on_sheet = _spread(len(photos), NUM_SHEET) if len(photos) > 1 else set()
    taken: set[str] = set()
    with ExitStack() as stack:
        progress = stack.enter_context(_progress())
        task = progress.add_task("Faces", total=len(sources.files))
        writer = None
        if out is not None:
            writer = stack.enter_context(PredictionWriter(out, recognizer.preprocessing.class_names, about))
        for place, answer in enumerate(answers(recognizer, photos)):
            progress.advance(task)
            if isinstance(answer, BadImageError):
                summary.bad.append(f"{answer.path}: {answer.reason}")
                continue
            frame, faces, notes = answer
            _add_rows(table, frame, faces, notes)
            summary.add(faces, notes)
            if writer is not None and out is not None:
                writer.write(frame, faces, notes)
                name = free_name(frame.file.name, ".jpg", taken)
                _write_image(out / "annotated" / name, annotate(frame.image, faces))
                if place in on_sheet:
                    sheet.append((thumbnail(frame.image, faces), *_caption(frame, faces, notes)))
        if out is not None and sheet:
            _write_image(out / "contact-sheet.jpg", draw_sheet(sheet))
        if summary.num_images:
            _print(console, table, summary)
        for file in videos:
            copy = None if out is None else out / "videos" / free_name(file.name, ".webm", taken)
            part = progress.add_task(printable(file.name), total=None)

            def advance(num_frames: int | None, part: TaskID = part) -> None:
                progress.update(part, advance=1, total=num_frames)

            try:
                timeline = predict_video(
                    recognizer, file, writer, copy, console, smooth=smooth, advance=advance
                )
                summary.num_videos += 1
                if timeline.num_failed:
                    summary.bad.append(f"{file.path}: {timeline.failed}")
            except BadVideoError as e:
                summary.bad.append(f"{e.path}: {e.reason}")
            progress.remove_task(part)
            progress.advance(task)
        if not (summary.num_images or summary.num_videos):
            raise InputError(_describe_bad(summary))  # before the tables appear: they would be empty
    for remark in sources.remarks:
        console.print(remark, markup=False)
    if out is not None:
        _print_outputs(console, out, has_photos=bool(summary.num_images), has_sheet=bool(sheet))
    if summary.bad:
        raise InputError(_describe_bad(summary))


def _progress() -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _spread(count: int, num: int) -> set[int]:
    """Return ``num`` indices evenly spread over ``count``; all indices if ``count`` is not larger.

    >>> sorted(_spread(10, 3))
    [0, 3, 6]
    """
    num = min(num, count)
    return {place * count // num for place in range(num)}


def _caption(frame: Frame, faces: Sequence[Face], notes: Sequence[str]) -> tuple[str, str]:
    labels = ", ".join(f"{face.label} {100 * face.probabilities[face.label]:.0f} %" for face in faces)
    return printable(frame.file.name), labels or notes[0]


def _write_image(path: Path, image: NDArray[np.uint8]) -> None:
    content = io.BytesIO()  # Pillow does not report why it cannot write to a file
    Image.fromarray(image).save(content, "JPEG", quality=90)
    with atomic_write(path) as file:
        file.write(content.getvalue())


# The printed output


def _table() -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("file", overflow="fold", min_width=16)
    for name in ("face", "side", "class", "prob.", "next", "entropy"):
        is_text = name in ("class", "next")
        table.add_column(name, justify="left" if is_text else "right", no_wrap=True)
    table.add_column("note")
    return table


def _add_rows(table: Table, frame: Frame, faces: Sequence[Face], notes: Sequence[str]) -> None:
    """Add a row for each face, or one for an image without a face."""
    name = Text(printable(frame.file.name))
    if not faces and table.row_count < NUM_ROWS:
        table.add_row(name, *[""] * 6, Text(notes[0]))
    for place, (face, note) in enumerate(zip(faces, notes, strict=False), 1):
        if table.row_count >= NUM_ROWS:
            return
        first, second = sorted(face.probabilities.items(), key=lambda item: -item[1])[:2]
        table.add_row(
            name if place == 1 else "",
            str(place),
            f"{face.side:.0f}",
            Text(first[0]),
            f"{100 * first[1]:.1f} %",
            Text(f"{second[0]} {100 * second[1]:.1f} %"),
            f"{face.entropy:.2f}",
            Text(note),
        )


def _print(console: Console, table: Table, summary: Summary) -> None:
    if table.row_count:
        console.print(table)
    hidden = summary.num_faces + summary.num_faceless - table.row_count
    if hidden > 0:
        console.print(f"and {hidden:,} more rows", markup=False)
    console.print(
        f"found        {_count(summary.num_faces, 'face')} in {_count(summary.num_images, 'image')}"
        f" ({summary.num_faceless:,} without a face, {_count(summary.num_small, 'small face')})",
        markup=False,
    )
    if summary.num_faceless:
        console.print("no face      add --whole if the images are already crops of faces", markup=False)


def _count(number: int, noun: str) -> str:
    """Return a number with its noun.

    >>> _count(1, "face"), _count(1200, "face")
    ('1 face', '1,200 faces')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _print_outputs(console: Console, out: Path, *, has_photos: bool, has_sheet: bool) -> None:
    outputs = [
        *(("table", out / name) for name in OUTPUTS),
        *([("annotated", out / "annotated")] if has_photos else []),
        *([("look at it", out / "contact-sheet.jpg")] if has_sheet else []),
    ]
    for what, path in outputs:
        console.print(f"{what:<12} {printable(path)}", markup=False)


def _describe_bad(summary: Summary) -> str:
    """Return one line that names the first unusable files and counts the rest."""
    more = len(summary.bad) - NUM_BAD
    named = "; ".join([*summary.bad[:NUM_BAD], *([f"and {more:,} more"] if more > 0 else [])])
    counts = [(summary.num_images, "image"), (summary.num_videos, "video")]
    done = ", ".join(_count(number, noun) for number, noun in counts if number)
    end = f"; {done} done" if done else ""
    return f"{_count(len(summary.bad), 'source')} cannot be used: {printable(Path(named))}{end}"


def describe_network(recognizer: Recognizer, path: Path | None) -> dict[str, Any]:
    """Return the description of a network that is written with its predictions.

    Its ``temperature`` is the one that the predictions were made with.
    """
    settings = asdict(recognizer.preprocessing)
    del settings["view_temperatures"]
    settings["temperature"] = recognizer.preprocessing.temperature_for(recognizer.tta)
    return {"network_file": "default" if path is None else str(path), "tta": recognizer.tta} | settings
