"""Draw synthetic faces: data for trying the toolkit without a download."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from fer.errors import InputError
from fer.labels import EXPRESSIONS, NUM_EXPRESSIONS

Array: TypeAlias = NDArray[Any]
Faces: TypeAlias = Mapping[str, Array]
"""Actions and looks of N faces: each one's name and its values, shape ``(N, 1)``."""


@dataclass(frozen=True)
class FacialActions:
    """Muscle movements of a face, independent of the person; all zero is a face at rest.

    A value is a share of the strongest movement: -1 to 1 if the movement has an opposite,
    else 0 to 1. AU numbers are the action units that a field represents.

    Source: Ekman and Friesen, "Facial Action Coding System", 1978.
    """

    brow_inner: float = 0.0
    """Inner ends of the brows, raised (AU1) or lowered (AU4), -1 to 1."""
    brow_outer: float = 0.0
    """Outer ends of the brows, raised (AU2) or lowered, -1 to 1."""
    brow_furrow: float = 0.0
    """Brows drawn together, with a furrow between them (AU4), 0 to 1."""
    lid_upper: float = 0.0
    """Upper lids, raised (AU5) or drooping (AU43), -1 to 1."""
    lid_lower: float = 0.0
    """Lower lids tightened (AU7), 0 to 1."""
    cheek_raise: float = 0.0
    """Cheeks pushed up under the eyes (AU6), 0 to 1."""
    nose_wrinkle: float = 0.0
    """Wrinkles across the nose (AU9), 0 to 1."""
    upper_lip: float = 0.0
    """Upper lip raised (AU10), 0 to 1."""
    mouth_corners: float = 0.0
    """Lip corners, pulled up (AU12) or down (AU15), -1 to 1."""
    mouth_width: float = 0.0
    """Mouth, stretched (AU20) or puckered (AU18), -1 to 1."""
    mouth_open: float = 0.0
    """Lips parted, jaw dropped (AU25 to AU27), 0 to 1."""
    lip_press: float = 0.0
    """Lips pressed to a line (AU23, AU24), 0 to 1."""


EXPRESSION_ACTIONS: Final[Mapping[str, FacialActions]] = MappingProxyType(
    {
        "angry": FacialActions(
            brow_inner=-1.0, brow_outer=0.3, brow_furrow=1.0, lid_upper=0.1, lid_lower=0.6, nose_wrinkle=0.2,
            mouth_corners=-0.45, mouth_width=-0.1, lip_press=0.9,
        ),
        "disgust": FacialActions(
            brow_inner=-0.6, brow_outer=-0.3, brow_furrow=0.5, lid_upper=-0.4, lid_lower=0.9,
            cheek_raise=0.5, nose_wrinkle=1.0, upper_lip=1.0, mouth_corners=-0.5, mouth_open=0.2,
        ),
        "fear": FacialActions(
            brow_inner=1.0, brow_outer=0.3, brow_furrow=0.6, lid_upper=0.9, lid_lower=0.2,
            mouth_corners=-0.4, mouth_width=0.6, mouth_open=0.5,
        ),
        "happy": FacialActions(
            brow_outer=0.1, lid_lower=0.5, cheek_raise=1.0,
            mouth_corners=1.0, mouth_width=0.6, mouth_open=0.4,
        ),
        "neutral": FacialActions(),
        "sad": FacialActions(
            brow_inner=0.8, brow_outer=-0.7, brow_furrow=0.3, lid_upper=-0.6, mouth_corners=-0.9,
            mouth_width=-0.15,
        ),
        "surprise": FacialActions(
            brow_inner=0.9, brow_outer=1.0, lid_upper=0.9, mouth_width=-0.4, mouth_open=0.9,
        ),
    }
)  # fmt: skip
"""Mean actions of each expression, at full strength."""

LOOK_RANGES: Final[Mapping[str, tuple[float, float]]] = MappingProxyType(
    {
        "width": (0.68, 0.82), "square": (0.0, 0.25), "jaw": (0.02, 0.24), "skin": (0.0, 1.0),
        "hair_tone": (0.0, 1.0), "hair_style": (0.0, 1.0), "hair_volume": (1.04, 1.17),
        "hairline": (-0.76, -0.64), "parting": (-0.14, 0.14), "beard": (0.0, 1.0), "glasses": (0.0, 1.0),
        "clothes": (0.0, 1.0), "age": (0.3, 1.0), "red": (0.1, 0.6), "iris": (0.0, 1.0),
        "eye_apart": (0.29, 0.36), "eye_size": (0.17, 0.215), "gaze": (-0.25, 0.25),
        "brow_lift": (-0.03, 0.03), "brow_weight": (0.06, 0.11), "brow_arch": (0.0, 0.06),
        "nose_length": (0.24, 0.33), "nose_width": (0.09, 0.14),
        "mouth_size": (0.26, 0.33), "mouth_y": (0.5, 0.57), "lip": (0.035, 0.065),
        "shift_x": (-0.06, 0.06), "shift_y": (-0.05, 0.05), "scale": (0.4, 0.48),
        "roll": (-0.2, 0.2), "yaw": (-0.3, 0.3), "pitch": (-0.15, 0.15),
        "light_x": (-0.32, 0.32), "light_y": (-0.32, 0.32), "exposure": (0.75, 1.1), "noise": (2.0, 20.0),
    }
)  # fmt: skip
"""Ranges of the uniform distributions of identity, pose and light.

Lengths are in face units (half the height of the head is 1). Rotations are sines. Shifts and scale are
fractions of the image's side. Noise is in grey levels, peak to peak. All others are shares.
"""

_LOWS, _SPANS = np.array([(low, high - low) for low, high in LOOK_RANGES.values()]).T
_ACTION_NAMES: Final = tuple(field.name for field in fields(FacialActions))
_MEAN_ACTIONS: Final = np.array([astuple(EXPRESSION_ACTIONS[name]) for name in EXPRESSIONS])
_ACTION_FLOOR: Final = np.where(_MEAN_ACTIONS.min(axis=0) < 0, -1.0, 0.0)
_ACTION_SPREAD: Final = np.array([0.14 if name.startswith("mouth") else 0.1 for name in _ACTION_NAMES])
_INTENSITY: Final = (0.3, 1.1)
_LABEL_STREAM: Final = 7  # separates the random order of the labels from the images' random numbers

# Colour scales, RGB: the colours of a face are interpolated along them.
_SKINS: Final = np.array(((248, 218, 196), (226, 180, 146), (188, 136, 100), (132, 90, 66)))
_HAIRS: Final = np.array(((26, 20, 18), (80, 52, 34), (146, 94, 50), (206, 174, 116), (180, 176, 172)))
_IRISES: Final = np.array(((30, 20, 16), (84, 56, 30), (70, 104, 120)))
_CLOTHES: Final = np.array(((40, 52, 84), (150, 60, 60), (90, 120, 90), (220, 216, 206)))
_BLACK, _WHITE, _LIPS = np.array(((20.0, 12.0, 12.0), (248.0, 246.0, 242.0), (168.0, 52.0, 58.0)))
_LUMA: Final = np.array((0.299, 0.587, 0.114))  # weights of R, G and B, ITU-R BT.601

_MAX_ROWS, _MAX_PIXELS = 64, 2**20  # largest batch that is drawn at once
_SUPERSAMPLING: Final = 3
_FRACTION_BITS: Final = 4  # fractional bits of OpenCV's coordinates
_EYE_Y: Final = -0.04
_BROW_Y: Final = -0.33
_U: Final = np.linspace(-1.0, 1.0, 11)  # along an eye or a mouth
_BELLY: Final = 1.0 - _U**2
_ROUND: Final = np.sqrt(1.0 - np.abs(_U) ** 3)
_BOW: Final = _ROUND * np.minimum(0.8 + np.abs(_U), 1.0)  # an upper lip, which dips in the middle
_V: Final = np.linspace(0.0, 1.0, 7)  # along a brow, from its inner end
_INNER: Final = (1.0 - _V) ** 1.3
_ARCH: Final = np.sin(np.pi * _V)
_TURN: Final = np.linspace(0.0, 2 * np.pi, 33)[:-1]
_COS, _SIN = np.cos(_TURN), np.sin(_TURN)
_DOT_COS, _DOT_SIN = _COS[::2], _SIN[::2]
_RIM_X, _RIM_Y = np.append(_DOT_COS, 1.0), np.append(_DOT_SIN, 0.0)
_JAW, _CROWN = slice(0, 17), slice(16, 32)  # the lower half of a turn and the upper


class Stroke(NamedTuple):
    """One shape on each of N faces, in face units: (0, 0) is mid-face, (0, 1) the chin."""

    x: Array
    """Points, shape ``(N, points)``, or ``(points,)`` where all faces share them."""
    y: Array
    colour: Array
    """RGB, shape ``(N, 3)`` or ``(3,)``."""
    width: float = 0.0
    """Line width; 0 fills the shape."""
    relief: float = 1.0
    """How the shape turns with the head: 1 on the front of the face, 0 on its outline, below 0 behind."""
    shown: Array | bool = True
    """Mask of the faces that have this shape, shape ``(N, 1)``, or True for all."""


def _mirror(stroke: Stroke) -> Iterator[Stroke]:
    """Yield a stroke and its mirror image."""
    yield stroke
    yield stroke._replace(x=-stroke.x)


def _band(x: Array, top: Array, bottom: Array, inset: Array | float = 1.0) -> tuple[Array, Array]:
    """Return the outline of the area between two curves, the second one narrowed to ``inset``."""
    top, bottom = np.broadcast_arrays(top, bottom)
    return np.concatenate((x, inset * x[:, ::-1]), axis=1), np.concatenate((top, bottom[:, ::-1]), axis=1)


def _mix(first: Array, second: Array, share: Array | float) -> Array:
    return first + share * (second - first)


def _pick(scale: Array, place: Array) -> Array:
    """Return the colours at ``place``, from 0 to below 1, along a scale."""
    low = (place * (len(scale) - 1)).astype(np.int64)
    return _mix(scale[low[:, 0]], scale[low[:, 0] + 1], place * (len(scale) - 1) - low)


def _head(face: Faces) -> Iterator[Stroke]:
    """Yield hair, shoulders, ears, head and beard."""
    skin, hair = _pick(_SKINS, face["skin"]), _pick(_HAIRS, face["hair_tone"])
    shadow, stubble = _mix(skin, _BLACK, 0.3), _mix(skin, _mix(hair, _BLACK, 0.3), 0.6)
    bald, long = face["hair_style"] < 0.12, face["hair_style"] > 0.55
    down, volume = np.maximum(_SIN, 0.0), face["hair_volume"]
    x = face["width"] * _COS * (1.0 + face["square"] * (1.0 - np.abs(_COS))) * (1.0 - face["jaw"] * down**2)
    y = _SIN * (1.0 + 0.1 * face["mouth_open"] * down)
    yield Stroke(1.15 * volume * x, 0.15 + 1.12 * y, _mix(hair, _BLACK, 0.25), relief=-0.1, shown=long)
    yield Stroke(1.3 * _COS, 1.75 + 0.6 * _SIN, _pick(_CLOTHES, face["clothes"]), relief=0.0)
    yield Stroke(0.36 * _COS, 1.0 + 0.45 * _SIN, shadow, relief=0.0)
    ear = Stroke(face["width"] + 0.1 * _DOT_COS, 0.05 + 0.19 * _DOT_SIN, shadow, relief=-0.15, shown=~long)
    yield from _mirror(ear)
    yield Stroke(x, y, shadow, relief=0.0)
    yield Stroke(0.95 * x + 0.1 * face["light_x"], 0.97 * y, skin, relief=0.05)
    bearded = (face["beard"] > 0.75) & ~long
    beard = _band(x[:, _JAW], y[:, _JAW], 0.1 + 0.28 * _SIN[_JAW], inset=0.8)
    yield Stroke(*beard, stubble, relief=0.1, shown=bearded)
    hairline = face["hairline"] + 0.25 * _COS[_CROWN] ** 4 + face["parting"] * _COS[_CROWN]
    cap = _band(volume * x[:, _CROWN], volume * y[:, _CROWN], hairline, inset=0.95 / volume)
    yield Stroke(*cap, hair, relief=0.1, shown=~bald)


def _eyes(face: Faces) -> Iterator[Stroke]:
    """Yield both eyes, their lids, and the folds below them if the cheeks are raised."""
    skin, size, apart, cheek = (
        _pick(_SKINS, face["skin"]),
        face["eye_size"],
        face["eye_apart"],
        face["cheek_raise"],
    )
    upper = size * np.maximum(0.62 + 0.45 * face["lid_upper"] - 0.12 * cheek, 0.12)
    lower = size * (0.5 - 0.34 * np.maximum(face["lid_lower"], 0.8 * cheek))
    x = apart + size * _U
    middle = _EYE_Y - 0.05 * np.minimum(face["lid_upper"], 0.0) * _U
    top, bottom = middle - upper * _BELLY, middle + lower * _BELLY
    yield from _mirror(Stroke(*_band(x, top, bottom), _WHITE))
    iris_x = face["gaze"] + 0.56 * _DOT_COS
    opening = 1.0 - iris_x**2
    iris_y = _EYE_Y + np.maximum(np.minimum(0.54 * size * _DOT_SIN, lower * opening), -upper * opening)
    for side in (-apart, apart):
        yield Stroke(side + size * iris_x, iris_y, _pick(_IRISES, face["iris"]))
    yield from _mirror(Stroke(x, bottom, _mix(skin, _BLACK, 0.4), width=0.02))
    yield from _mirror(Stroke(x, top, _mix(skin, _BLACK, 0.8), width=0.05))
    fold = _mix(skin, _BLACK, 0.4 * cheek)
    yield from _mirror(Stroke(x, 0.05 + 0.12 * _BELLY, fold, width=0.03, shown=cheek > 0.2))


def _brows(face: Faces) -> Iterator[Stroke]:
    """Yield both brows, and the wrinkles of the forehead above them."""
    skin, furrow = _pick(_SKINS, face["skin"]), face["brow_furrow"]
    inner = face["eye_apart"] - 1.05 * face["eye_size"] - 0.06 * furrow
    outer = face["eye_apart"] + 1.2 * face["eye_size"]
    lift = face["brow_arch"] * _ARCH + 0.15 * face["brow_outer"] * _V + 0.17 * face["brow_inner"] * _INNER
    middle, half = _BROW_Y + face["brow_lift"] - lift, face["brow_weight"] * (0.5 - 0.27 * _V)
    brow = _band(inner + (outer - inner) * _V, middle - half, middle + half)
    yield from _mirror(Stroke(*brow, _mix(_pick(_HAIRS, face["hair_tone"]), _BLACK, 0.45)))
    line = np.array((0.05, 0.06)), np.array((-0.32, -0.14))
    yield from _mirror(Stroke(*line, _mix(skin, _BLACK, 0.5 * furrow), width=0.03, shown=furrow > 0.25))
    raised = 0.5 * face["age"] * (face["brow_inner"] + np.maximum(face["brow_outer"], 0.0))
    for y in (-0.6, -0.68):
        wrinkle = _mix(skin, _BLACK, 0.4 * raised)
        yield Stroke(0.36 * _U, y + 0.03 * _U**2, wrinkle, width=0.025, shown=raised > 0.25)


def _nose(face: Faces) -> Iterator[Stroke]:
    """Yield the nose, its wrinkles, and the folds from it to the mouth."""
    skin, wrinkled = _pick(_SKINS, face["skin"]), face["nose_wrinkle"]
    line = _mix(skin, _BLACK, 0.3)
    wide, tip = face["nose_width"] * (1.0 + 0.25 * wrinkled), face["nose_length"] - 0.07 * wrinkled
    ridge = np.where(face["light_x"] > 0, -1.0, 1.0) * (
        np.array((0.06, 0.06, 0.0)) + wide * np.array((0, 0, 1))
    )
    yield Stroke(ridge, np.array((-0.1, 0.0, -0.05)) + tip * np.array((0.0, 0.6, 1.0)), line, width=0.03)
    yield Stroke(wide * _U, tip + 0.02 * _BELLY, line, width=0.035)
    nostril = 0.6 * wide + 0.035 * _DOT_COS, tip + 0.01 + 0.022 * _DOT_SIN
    yield from _mirror(Stroke(*nostril, _mix(skin, _BLACK, 0.65)))
    depth = np.maximum(np.maximum(wrinkled, face["upper_lip"]), 0.8 * face["mouth_corners"])
    fold = wide + np.array((0.03, 0.14, 0.2)), tip + np.array((-0.04, 0.07, 0.22))
    yield from _mirror(Stroke(*fold, _mix(skin, _BLACK, 0.4 * depth), width=0.035, shown=depth > 0.2))
    for y in (-0.06, 0.03, 0.12):
        wrinkle = np.array((-0.14, 0.0, 0.14)), np.array((y + 0.06, y, y + 0.06))
        yield Stroke(*wrinkle, _mix(skin, _BLACK, 0.6 * wrinkled), width=0.03, shown=wrinkled > 0.2)


def _mouth(face: Faces) -> Iterator[Stroke]:
    """Yield the mouth: lips, the dark between them, teeth."""
    skin, corners = _pick(_SKINS, face["skin"]), face["mouth_corners"]
    lips = _mix(_mix(skin, _BLACK, 0.3), _LIPS, face["red"])
    thick = face["lip"] * (1.0 - 0.75 * face["lip_press"])
    x = face["mouth_size"] * (1.0 + 0.32 * face["mouth_width"]) * _U
    rest = face["mouth_y"] - 0.19 * corners * (_U**2 - 0.4)
    top = rest - (0.09 * face["mouth_open"] + 0.09 * face["upper_lip"]) * _ROUND
    bottom = rest + (0.27 * face["mouth_open"] - 0.02 * face["upper_lip"]) * _ROUND
    yield Stroke(*_band(x, top - thick * _BOW, bottom + 1.25 * thick * _BELLY), lips)
    yield Stroke(*_band(x, top, bottom), _mix(_BLACK, _LIPS, 0.2))
    bared = np.maximum(np.maximum(corners, face["upper_lip"]), np.maximum(0.8 * face["mouth_width"], 0.25))
    yield Stroke(*_band(0.9 * x, top, np.minimum(top + 0.1 * bared * _ROUND, bottom)), _WHITE)
    yield Stroke(x, bottom, _mix(lips, _BLACK, 0.7), width=0.035)
    dent = bottom[:, 5:6] + 2.6 * thick + 0.04 + 0.03 * _BELLY
    yield Stroke(0.5 * x, dent, _mix(skin, _BLACK, 0.2), width=0.03)


def _glasses(face: Faces) -> Iterator[Stroke]:
    """Yield glasses, which some faces wear."""
    worn = face["glasses"] > 0.88
    lens = Stroke(face["eye_apart"] + 0.25 * _RIM_X, _EYE_Y + 0.03 + 0.22 * _RIM_Y, _BLACK, 0.035, shown=worn)
    yield from _mirror(lens)
    yield Stroke(np.array((-0.09, 0.0, 0.09)), np.array((0.0, -0.03, 0.0)), _BLACK, width=0.035, shown=worn)


def _place(x: Array, y: Array, relief: Array, face: Faces) -> Array:
    """Return points ``(N, points, 2)``, rotated and shifted by the pose, in fractions of the image's side."""
    bulge = 0.7 * np.sqrt(np.maximum(1.0 - (x / 0.9) ** 2 - (y / 1.3) ** 2, 0.0))
    depth = np.where(relief < 0, relief, relief * bulge)
    x, y = x + depth * face["yaw"], y + depth * face["pitch"]
    sin, cos = face["roll"], np.sqrt(1.0 - face["roll"] ** 2)
    across = 0.5 + face["shift_x"] + face["scale"] * (cos * x - sin * y)
    down = 0.5 + face["shift_y"] + face["scale"] * (sin * x + cos * y)
    return np.stack((across, down), axis=2)


def _background(rng: np.random.Generator, side: int, channels: int) -> NDArray[np.uint8]:
    """Return a background: a gradient of greyish colours with a few random shapes."""
    chance = rng.random((11, 9))
    colours = 20 + 175 * chance[:, :1] + 40 * chance[:, 1:4]
    if channels == 1:
        colours = colours @ _LUMA[:, np.newaxis]
    corners = colours[:4].astype(np.uint8).reshape(2, 2, channels)
    canvas = np.asarray(cv2.resize(corners, (side, side), interpolation=cv2.INTER_LINEAR), np.uint8)
    shapes = (side * chance[4:, 4:]).astype(np.int64).tolist()
    for (kind, x, y, to_x, to_y), colour in zip(shapes, colours[4:].tolist(), strict=True):
        if 4 * kind < side:
            cv2.rectangle(canvas, (x, y), (to_x, to_y), colour, cv2.FILLED)
        elif 4 * kind < 2 * side:
            cv2.circle(canvas, (x, y), to_x // 4, colour, cv2.FILLED)
        elif 4 * kind < 3 * side:
            cv2.line(canvas, (x, y), (to_x, to_y), colour, max(side // 16, 1))
    return canvas


def _expose(images: Array, noise: Array, face: Faces) -> NDArray[np.uint8]:
    """Return images ``(N, H, W, C)`` with exposure, light from one side, and camera noise."""
    cells = {name: column.astype(np.float32)[:, :, np.newaxis, np.newaxis] for name, column in face.items()}
    ramp = np.linspace(-1.0, 1.0, images.shape[1], dtype=np.float32)[:, np.newaxis]
    light = 1.0 + cells["light_x"] * ramp + cells["light_y"] * ramp[:, np.newaxis]
    lit = images * (cells["exposure"] * light) + cells["noise"] * (noise - np.float32(0.5))
    return np.asarray(np.minimum(np.maximum(lit, 0.0), 255.0), np.uint8)


def _draw(
    actions: Sequence[FacialActions], rngs: Sequence[np.random.Generator], *, image_size: int, channels: int
) -> NDArray[np.uint8]:
    """Draw N faces at once: NumPy computes all of them together, OpenCV draws each on its own."""
    num_faces, side, shape = len(rngs), _SUPERSAMPLING * image_size, (image_size, image_size, channels)
    looks = np.stack([_LOWS + _SPANS * rng.random(_LOWS.size) for rng in rngs])
    values = np.concatenate(([list(vars(each).values()) for each in actions], looks), axis=1)
    face = dict(zip((*_ACTION_NAMES, *LOOK_RANGES), values.T[:, :, np.newaxis], strict=True))
    # From here on the values are only added, multiplied, divided and square-rooted. These operations are
    # correctly rounded, so a face does not depend on the others in its batch.
    strokes = [stroke for part in (_head, _nose, _eyes, _brows, _mouth, _glasses) for stroke in part(face)]
    lengths = [stroke.x.shape[-1] for stroke in strokes]
    x, y = (
        np.concatenate([np.broadcast_to(a, (num_faces, n)) for a, n in zip(arrays, lengths, strict=True)], 1)
        for arrays in ([stroke.x for stroke in strokes], [stroke.y for stroke in strokes])
    )
    points = side * _place(x, y, np.repeat([stroke.relief for stroke in strokes], lengths), face)
    corners = np.rint(points * 2**_FRACTION_BITS).astype(np.int32)
    cuts = [slice(end - n, end) for end, n in zip(np.cumsum(lengths).tolist(), lengths, strict=True)]
    shown = np.concatenate([np.broadcast_to(stroke.shown, (num_faces, 1)) for stroke in strokes], axis=1)
    tones = np.stack([np.broadcast_to(stroke.colour, (num_faces, 3)) for stroke in strokes], axis=1)
    if channels == 1:
        tones = (tones * _LUMA).sum(axis=2, keepdims=True)
    widths = face["scale"] * side * [stroke.width for stroke in strokes]
    widths = np.where(widths > 0, np.maximum(np.rint(widths), 1), 0).astype(np.int64)
    images = np.empty((num_faces, *shape), np.uint8)
    for row, rng in enumerate(rngs):
        canvas = _background(rng, side, channels)
        plan = zip(cuts, shown[row].tolist(), tones[row].tolist(), widths[row].tolist(), strict=True)
        for cut, visible, tone, width in plan:
            if visible and width:
                cv2.polylines(canvas, [corners[row, cut]], False, tone, width, cv2.LINE_8, _FRACTION_BITS)
            elif visible:
                cv2.fillPoly(canvas, [corners[row, cut]], tone, cv2.LINE_AA, _FRACTION_BITS)
        small = cv2.resize(canvas, (image_size, image_size), interpolation=cv2.INTER_AREA)
        images[row] = small.reshape(shape)
    noise = np.stack([rng.random(shape, np.float32) for rng in rngs])
    exposed = _expose(images, noise, face)
    return exposed if channels == 3 else np.squeeze(exposed, axis=3)


def draw_face(
    actions: FacialActions, rng: np.random.Generator, *, image_size: int = 48, channels: int = 1
) -> NDArray[np.uint8]:
    """Draw one face.

    Identity, pose, light and background depend on ``rng`` alone: with two generators of the same seed,
    two calls draw the same person with two expressions.

    Args:
        actions: Muscle movements.
        rng: Random numbers for everything else.
        image_size: Height and width in pixels.
        channels: 1 for grey, 3 for RGB.

    Returns:
        The image, uint8, shape ``(H, W)`` or ``(H, W, 3)``.
    """
    image: NDArray[np.uint8] = _draw([actions], [rng], image_size=image_size, channels=channels)[0]
    return image


def draw_actions(label: int, rng: np.random.Generator) -> FacialActions:
    """Sample the actions of one face with the expression of a label, from subtle to full strength."""
    faint, full = _INTENSITY
    values = (faint + (full - faint) * rng.random()) * _MEAN_ACTIONS[label]
    values += _ACTION_SPREAD * rng.standard_normal(values.size)
    return FacialActions(*np.minimum(np.maximum(values, _ACTION_FLOOR), 1.0).tolist())


def draw_faces(
    count: int, *, image_size: int = 48, channels: int = 1, seed: int = 0, offset: int = 0
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Draw images ``offset`` to ``offset + count - 1`` of a seed's endless sequence of faces.

    An image depends only on the seed and on its position in the sequence. Each block of seven images that
    starts at a multiple of seven contains all seven expressions, in random order.

    Args:
        count: Number of images, N.
        image_size: Height and width in pixels.
        channels: 1 for grey, 3 for RGB.
        seed: Seed of the sequence.
        offset: Position of the first image in the sequence.

    Returns:
        Images, uint8, shape ``(N, H, W)`` or ``(N, H, W, 3)``; and labels, int64, shape ``(N,)``.

    Raises:
        InputError: A number is out of its range.
    """
    for name, value, least in (
        ("count", count, 1), ("image_size", image_size, 1), ("seed", seed, 0), ("offset", offset, 0)
    ):  # fmt: skip
        if value < least:
            msg = f"{name} is {value}: it must be {least} or more"
            raise InputError(msg)
    if channels not in (1, 3):
        msg = f"channels is {channels}: it must be 1 (grey) or 3 (RGB)"
        raise InputError(msg)
    block, start = divmod(offset, NUM_EXPRESSIONS)
    orders = [
        np.random.default_rng([seed, place, _LABEL_STREAM]).permutation(NUM_EXPRESSIONS)
        for place in range(block, (offset + count - 1) // NUM_EXPRESSIONS + 1)
    ]
    labels = np.concatenate(orders).astype(np.int64)[start : start + count]
    images = np.empty((count, image_size, image_size, channels)[: 3 + channels // 3], np.uint8)
    at_once = max(min(_MAX_ROWS, _MAX_PIXELS // images[0].size), 1)
    for first in range(0, count, at_once):
        rows = range(first, min(first + at_once, count))
        rngs = [np.random.default_rng([seed, offset + row]) for row in rows]
        actions = [draw_actions(int(labels[row]), rng) for row, rng in zip(rows, rngs, strict=True)]
        images[first : rows.stop] = _draw(actions, rngs, image_size=image_size, channels=channels)
    return images, labels
