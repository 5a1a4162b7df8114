"""The command ``predict``: classify the faces in photos and videos, or predict a run's test split."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from fer.commands.parsing import (
    CONSOLE,
    add_recognizer_options,
    load_recognizer,
    make_parser,
    parse,
    positional,
)
from fer.errors import InputError
from fer.predict import Recognizer
from fer.predict.films import predict_camera
from fer.predict.photos import describe_network, predict_files
from fer.predict.sources import Sources, find_sources
from fer.predict.tracks import check_smooth
from fer.views import Tta

HELP: Final = "classify the faces in photos and videos, or write the test split's class probabilities"
SECTION: Final = "evaluate"

DESCRIPTION: Final = """\
Find the faces in photos and videos, and print the class probabilities that a trained network gives each of
them. Detector, crop, size and normalisation are those that the network was trained with.

In a video (.mp4, .avi, .mov, .mkv, .webm, animated .gif) and from a camera, faces are tracked from frame to
frame by the overlap of their boxes. With --out, the folder videos/ gets an annotated copy of each video (VP8
in WebM, which browsers and VLC play) and a timeline of the probabilities, as PNG and as an HTML page.

Without SOURCE, the class probabilities of a run's test split are written as CSV; for its options see
fer predict --ckpt_path RUN --help.
"""

EXAMPLES: Final = """\
examples:
  fer predict photo.jpg                              with the network that ships with fer
  fer predict photos --out answers                   a folder: CSV, JSON, annotated photos, contact sheet
  fer predict 'photos/**/*.png' --ckpt_path runs/latest
  fer predict clip.mp4 --smooth 0.5 --out answers    rows, annotated copy and timeline of a video
  fer predict --camera 0 --out answers               a camera, until Ctrl-C
  fer predict crops --whole --ckpt_path best.onnx    images that are already cropped to one face
  fer predict --ckpt_path runs/latest                the test split of a run
"""

RUN_OPTIONS: Final = ("--ckpt_path", "--config", "-c", "--network", "--dataset")
"""Options that select a run's test split. Without them and without SOURCE, the photo was forgotten."""


def predict(words: Sequence[str]) -> None:
    """Classify the faces in photos; without a photo, predict a run's test split.

    Raises:
        InputError: An argument is invalid, or some photos cannot be read; the other photos are done.
    """
    flags = {word.partition("=")[0] for word in words}
    if not positional(words) and "--camera" not in flags and flags & set(RUN_OPTIONS):
        from fer.commands.predict_split import predict_split  # not above: Lightning is slow to import

        predict_split(words)
        return
    if not positional(words) and not flags & {"-h", "--help", "--camera"}:
        msg = (
            "nothing to predict: give photos or videos (fer predict photo.jpg), --camera 0, or a run for its "
            "test split (--ckpt_path runs/latest)"
        )
        raise InputError(msg)
    parser = make_parser("fer predict", DESCRIPTION, epilog=EXAMPLES)
    parser.usage = (
        "fer predict SOURCE… | --camera N [--ckpt_path CHECKPOINT|RUN|MODEL.onnx] [--out DIR] [--whole] "
        "[--tta VIEWS] [--smooth SECONDS]"
    )
    parser.add_argument(
        "sources",
        nargs="*",
        type=str,
        metavar="SOURCE",
        help="photo, video, folder (searched at any depth), or glob pattern",
    )
    parser.add_argument(
        "--camera",
        type=int | None,
        default=None,
        metavar="N",
        help="number of a camera, from 0, to read instead of files; prints one line per second until Ctrl-C",
    )
    kinds = "checkpoint, folder of a run, or ONNX file of fer export"
    add_recognizer_options(parser, kinds, whole="each image")
    parser.add_argument(
        "--out",
        type=Path | None,
        default=None,
        help="new or empty folder for CSV, JSON, annotated photos and videos, contact sheet and timelines; "
        "null: write no files",
    )
    parser.add_argument(
        "--tta",
        type=Tta,
        default="flip",
        help="views of a face whose probabilities are averaged: none, flip (also mirrored), or ten_crop",
    )
    parser.add_argument(
        "--smooth",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="time constant of a causal exponential moving average of each tracked face's probabilities; "
        "after this time, 63 percent of a change is shown; 0: no smoothing",
    )
    given = parse(parser, words)
    check_smooth(given.smooth)
    sources = _sources(given.sources, given.camera)
    out = None if given.out is None else _new_folder(given.out.expanduser())
    recognizer = load_recognizer(given, tta=given.tta)
    about = describe_network(recognizer, given.ckpt_path)
    CONSOLE.print("\n".join(_header(recognizer)), markup=False)
    if sources is None:
        predict_camera(recognizer, given.camera, out, CONSOLE, about, smooth=given.smooth)
    else:
        predict_files(recognizer, sources, out, CONSOLE, about, smooth=given.smooth)


def _sources(words: Sequence[str], camera: int | None) -> Sources | None:
    """Return the files to look at; None for a camera.

    Raises:
        InputError: Both are given, or a file cannot be found.
    """
    if camera is None:
        return find_sources(words)
    if words:
        msg = f"--camera {camera} and {words[0]}: give either a camera or files"
        raise InputError(msg)
    if camera < 0:
        msg = f"--camera is {camera}: it must be 0 or more"
        raise InputError(msg)
    return None


def _header(recognizer: Recognizer) -> list[str]:
    """Return lines on the network, its training data, face detection and calibration."""
    settings = recognizer.preprocessing
    temperature = settings.temperature_for(recognizer.tta)
    calibration = "not calibrated" if temperature == 1 else f"calibrated, temperature {temperature:.2f}"
    return [
        f"network      {settings.network or 'unknown'}, trained on {settings.trained_on or 'unknown data'}",
        f"faces        {_faces(recognizer)}",
        f"probability  {calibration}; views: {recognizer.tta}",
    ]


def _faces(recognizer: Recognizer) -> str:
    settings = recognizer.preprocessing
    if settings.detector == "none":
        return f"no detection: each image is one face, at {settings.image_size}x{settings.image_size}"
    aligned = ", upright" if settings.align else ""
    size = f"{settings.image_size}x{settings.image_size}"
    return f"{settings.detector}, margin {100 * settings.margin:.0f} %{aligned}, at {size}"


def _new_folder(folder: Path) -> Path:
    """Return a folder to write to, after checking that it is new or empty.

    Raises:
        InputError: It is not empty, or is a file.
    """
    if folder.exists() and not folder.is_dir():
        msg = f"--out {folder} is a file: name a new folder"
        raise InputError(msg)
    if folder.is_dir() and any(folder.iterdir()):
        msg = f"--out {folder} is not empty: name a new folder, or remove what it holds"
        raise InputError(msg)
    return folder
