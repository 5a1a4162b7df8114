"""Write faces and their probabilities as CSV and JSON, one by one, so that memory does not grow."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from fer.cells import path_cell, text_cell
from fer.data.crop_report import LANDMARKS
from fer.files import atomic_write
from fer.predict.recognizer import Face
from fer.predict.sources import OUTPUTS, Frame

POSITION: Final = (
    "left",
    "top",
    "right",
    "bottom",
    *(f"{name}_{axis}" for name in LANDMARKS for axis in "xy"),
)


class PredictionWriter:
    """Writes ``predictions.csv`` and ``predictions.json`` into a folder; both appear when they are complete.

    The CSV has one row per face, and one per image without a face. The JSON has one object per image.

    Args:
        folder: The folder; created if missing.
        class_names: Classes in the order of the probabilities.
        about: Description of the network for the JSON, by name.
    """

    def __init__(self, folder: Path, class_names: Sequence[str], about: Mapping[str, Any]) -> None:
        self.folder = folder
        self.class_names = class_names
        self.about = about
        self.num_images = 0
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        self._csv, self._json = (
            self._opened.enter_context(atomic_write(self.folder / name)) for name in OUTPUTS
        )
        names = [text_cell(name) for name in self.class_names]
        self._write_row(
            ["file", "frame", "time", "face", *POSITION, "detected", "label", *names, "entropy", "note"]
        )
        head = json.dumps(dict(self.about), indent=1, ensure_ascii=False).rstrip("}\n")
        self._json.write(f'{head},\n "images": ['.encode(errors="backslashreplace"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._json.write(b"\n ]\n}\n")
        self._opened.__exit__(kind, error, trace)

    def write(
        self, frame: Frame, faces: Sequence[Face], notes: Sequence[str], numbers: Sequence[int] | None = None
    ) -> None:
        """Write the faces of an image.

        Args:
            frame: The image.
            faces: The faces in it.
            notes: A note on each face, or one on the image if there is no face.
            numbers: Numbers of faces that are tracked in a video; None: 1, 2, ….
        """
        name = frame.file.name.as_posix()
        frame_number = "" if frame.number is None else frame.number
        time = "" if frame.time is None else f"{frame.time:.3f}"
        start = [path_cell(name), frame_number, time]
        if not faces:
            empty = [""] * (len(POSITION) + 2 + len(self.class_names) + 1)
            self._write_row([*start, "", *empty, *notes])
        rows = list(zip(numbers or range(1, len(faces) + 1), faces, notes, strict=True)) if faces else []
        for number, face, note in rows:
            self._write_row([*start, number, *self._cells(face), note])
        about = {
            "file": name,
            "frame": frame.number,
            "time": frame.time,
            "faces": [{"face": number} | self._object(face, note) for number, face, note in rows],
            "note": "" if faces else "; ".join(notes),
        }
        comma = "," if self.num_images else ""
        line = json.dumps(about, ensure_ascii=False, allow_nan=False)
        self._json.write(f"{comma}\n  {line}".encode(errors="backslashreplace"))
        self.num_images += 1

    def _cells(self, face: Face) -> list[str]:
        points = [value for point in face.landmarks or () for value in point]
        position = [f"{value:.2f}" for value in (*face.box, *points)]
        position += [""] * (len(POSITION) - len(position))
        detected = "" if math.isnan(face.detected) else f"{face.detected:.4f}"
        shares = [f"{face.probabilities[name]:.6f}" for name in self.class_names]
        return [*position, detected, text_cell(face.label), *shares, f"{face.entropy:.4f}"]

    def _object(self, face: Face, note: str) -> dict[str, Any]:
        return {
            "box": [round(value, 2) for value in face.box],
            "landmarks": None
            if face.landmarks is None
            else dict(zip(LANDMARKS, ([round(x, 2), round(y, 2)] for x, y in face.landmarks), strict=True)),
            "detected": None if math.isnan(face.detected) else round(face.detected, 4),
            "label": face.label,
            "probabilities": {name: round(value, 6) for name, value in face.probabilities.items()},
            "entropy": round(face.entropy, 4),
            "note": note,
        }

    def _write_row(self, cells: Sequence[object]) -> None:
        text = io.StringIO(newline="")
        csv.writer(text).writerow(cells)
        # A file name need not be UTF-8.
        self._csv.write(text.getvalue().encode(errors="surrogateescape"))
