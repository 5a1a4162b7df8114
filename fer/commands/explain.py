"""The command ``explain``: show which parts of each face of a photo a prediction depends on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from fer.commands.parsing import CONSOLE, add_recognizer_options, load_recognizer, make_parser, parse
from fer.errors import InputError
from fer.explain import distinctness_of, explain_photo, write_explanation
from fer.explain.images import answer_of
from fer.explain.photo import ExplainedFace
from fer.predict.recognizer import as_rgb

HELP: Final = "show which parts of each face a prediction depends on, and which neurons respond"
SECTION: Final = "evaluate"

EXAMPLES: Final = """\
examples:
  fer explain photo.jpg --ckpt_path runs/latest
  fer explain crop.png --whole --ckpt_path runs/NAME/checkpoints/best.ckpt --out why
"""


def explain(words: Sequence[str]) -> None:
    """Show which parts of each face of a photo a network's prediction depends on.

    Raises:
        InputError: An argument is invalid, the photo has no face, or the network has no feature maps.
    """
    parser = make_parser(
        "fer explain",
        "For each face of a photo, show which parts the prediction depends on: Grad-CAM at the last layer "
        "with feature maps, and occlusion (the drop in the class's probability where a patch hides a part). "
        "Also show the feature maps of the neurons that respond most strongly, among the most distinct ones "
        "of each layer by the angles measured in training. Write one HTML page, which loads nothing from "
        "the network, and one PNG. The page contains the photo: check that you may publish it.",
        epilog=EXAMPLES,
    )
    parser.usage = "fer explain PHOTO [--ckpt_path CHECKPOINT|RUN] [--out DIR] [--whole]"
    parser.add_argument("photo", type=Path, metavar="PHOTO", help="image file")
    add_recognizer_options(parser, "checkpoint, or folder of a run", whole="the image")
    parser.add_argument(
        "--out",
        type=Path | None,
        default=None,
        help="folder for explanation.html and explanation.png; null: PHOTO-explained",
    )
    given = parse(parser, words)
    if given.ckpt_path is not None and given.ckpt_path.suffix.lower() == ".onnx":
        msg = (
            f"--ckpt_path {given.ckpt_path}: the gradients of an ONNX file's layers cannot be computed; give "
            "the checkpoint that it was exported from"
        )
        raise InputError(msg)
    image = as_rgb(given.photo)
    recognizer = load_recognizer(given)
    distinct = distinctness_of(given.ckpt_path)
    with CONSOLE.status("explaining"):
        explanation = explain_photo(recognizer, image, distinct)
    for number, each in enumerate(explanation.faces, 1):
        CONSOLE.print(f"face {number:<7} {_line(each)}", markup=False)
    for note in explanation.notes:
        CONSOLE.print(note, markup=False)
    settings = recognizer.preprocessing
    facts = [
        ("Network", settings.network or "unknown"),
        ("Trained on", settings.trained_on or "unknown data"),
        ("Checkpoint", "the one that ships with fer" if given.ckpt_path is None else str(given.ckpt_path)),
        ("Grad-CAM at", explanation.layer),
    ]
    out = given.out or Path(f"{given.photo.stem}-explained")
    for path in write_explanation(out, explanation, given.photo.name, facts):
        CONSOLE.print(f"wrote        {path}", markup=False)


def _line(each: ExplainedFace) -> str:
    """Return a face's class, the largest drop by occlusion, and its most responsive neurons."""
    neurons = [
        f"{layer} {', '.join(str(one.index) for one in some[:3])}" for layer, some in each.neurons.items()
    ]
    cost = 100 * float(each.occlusion.max())
    drop = f"hiding a part lowers the probability by up to {cost:.1f} points"
    return f"{answer_of(each)}; {drop}; neurons: {'; '.join(neurons)}"
