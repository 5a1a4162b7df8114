"""Faces drawn by code: the toolkit's own data, there without a download."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from fer.data.base import PictureDataModule, Split
from fer.errors import InputError
from fer.labels import EXPRESSIONS, NUM_EXPRESSIONS

Colour: TypeAlias = tuple[float, float, float]
Curve: TypeAlias = NDArray[np.float64]
"""One coordinate of the points of a line, float64, shape ``(n,)``."""
"""One coordinate of the points of a line, float64, shape ``(n,)``."""
"""One coordinate of the points of a line, float64, shape ``(n,)``."""
"""One coordinate of the points of a line, float64, shape ``(n,)``."""
Look: TypeAlias = Mapping[str, float]
"""Who a face is, how it is held and how it is lit: a value for each name of :data:`LOOK_RANGES`."""


@dataclass(frozen=True)
class FacialActions:
    """What the muscles do, apart from whose face it is; all zero is a face at rest.

    A value is a share of the strongest movement: -1 to 1 where the movement has an opposite,
    else 0 to 1. AU numbers are the action units that a field stands for.

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
            brow_inner=-1.0, brow_outer=0.3, brow_furrow=1.0, lid_upper=0.1, lid_lower=0.6,
            mouth_corners=-0.45, mouth_width=-0.1, lip_press=0.9,
        ),
        "disgust": FacialActions(
            brow_inner=-0.6, brow_outer=-0.3, brow_furrow=0.5, lid_upper=-0.4, lid_lower=0.9,
            cheek_raise=0.5, nose_wrinkle=1.0, upper_lip=1.0, mouth_corners=-0.5, mouth_open=0.2,
        ),
        "fear": FacialActions(
            brow_inner=1.0, brow_outer=0.1, brow_furrow=0.6, lid_upper=0.9, lid_lower=0.2,
            mouth_corners=-0.4, mouth_width=0.7, mouth_open=0.4,
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
            brow_inner=0.9, brow_outer=1.0, lid_upper=0.9, mouth_width=-0.5, mouth_open=1.0,
        ),
    }
)  # fmt: skip
"""Each expression at full strength: the actions that its faces vary around."""

LOOK_RANGES: Final[Mapping[str, tuple[float, float]]] = MappingProxyType(
    {
        "width": (0.68, 0.82), "square": (0.75, 1.0), "jaw": (0.02, 0.24), "skin": (0.0, 1.0),
        "hair_tone": (0.0, 1.0), "hair_style": (0.0, 1.0), "hair_volume": (1.04, 1.17),
        "hairline": (-0.76, -0.64), "parting": (-0.14, 0.14), "beard": (0.0, 1.0), "glasses": (0.0, 1.0),
        "clothes": (0.0, 1.0), "age": (0.3, 1.0), "red": (0.1, 0.6), "iris": (0.0, 1.0),
        "eye_apart": (0.29, 0.36), "eye_size": (0.17, 0.215), "gaze": (-0.25, 0.25),
        "brow_lift": (-0.03, 0.03), "brow_weight": (0.06, 0.11), "brow_arch": (0.0, 0.06),
        "nose_length": (0.24, 0.33), "nose_width": (0.09, 0.14),
        "mouth_size": (0.26, 0.33), "mouth_y": (0.5, 0.57), "lip": (0.035, 0.065),
        "shift_x": (-0.06, 0.06), "shift_y": (-0.05, 0.05), "scale": (0.4, 0.48),
        "roll": (-0.2, 0.2), "yaw": (-0.3, 0.3), "pitch": (-0.15, 0.15),
        "light": (0.0, 0.4), "light_from": (0.0, 6.28), "exposure": (0.75, 1.1), "noise": (2.0, 20.0),
    }
)  # fmt: skip
"""What identity, pose and light are drawn from, evenly.

Lengths are in face units (half the height of the head is 1), turns in radians, shifts and scale in
sides of the picture, noise in grey levels from peak to peak; the rest are shares.
"""

_LOWS, _SPANS = np.array([(low, high - low) for low, high in LOOK_RANGES.values()]).T
_ACTION_NAMES: Final = tuple(field.name for field in fields(FacialActions))
_MEAN_ACTIONS: Final = np.array([astuple(EXPRESSION_ACTIONS[name]) for name in EXPRESSIONS])
_ACTION_FLOOR: Final = np.where(_MEAN_ACTIONS.min(axis=0) < 0, -1.0, 0.0)
_ACTION_SPREAD: Final = np.array([0.14 if name.startswith("mouth") else 0.1 for name in _ACTION_NAMES])
_INTENSITY: Final = (0.3, 1.1)
_LABEL_STREAM: Final = 7  # keeps the order of the labels apart from the pictures' random numbers
_SPLIT_SPACING: Final = 7 * 10**8  # places between the starts of two splits

# Scales of colour, RGB: a face lies anywhere along each.
_SKINS: Final = ((248, 218, 196), (226, 180, 146), (188, 136, 100), (132, 90, 66))
_HAIRS: Final = ((26, 20, 18), (80, 52, 34), (146, 94, 50), (206, 174, 116), (180, 176, 172))
_IRISES: Final = ((30, 20, 16), (84, 56, 30), (70, 104, 120))
_CLOTHES: Final = ((40, 52, 84), (150, 60, 60), (90, 120, 90), (220, 216, 206))
_BLACK: Final = (20, 12, 12)
_WHITE: Final = (248, 246, 242)
_LIPS: Final = (168, 52, 58)
_LUMA: Final = np.array((0.299, 0.587, 0.114))  # of RGB, ITU-R BT.601

_SUPERSAMPLING: Final = 3
_FRACTION_BITS: Final = 4  # of the coordinates that OpenCV draws
_EYE_Y: Final = -0.04
_BROW_Y: Final = -0.33
_U: Final = np.linspace(-1.0, 1.0, 11)  # along an eye or a mouth
_BELLY: Final = 1.0 - _U**2
_ROUND: Final = np.sqrt(1.0 - np.abs(_U) ** 3)
_BOW: Final = _ROUND * np.minimum(0.8 + np.abs(_U), 1.0)  # an upper lip, which dips in the middle
_V: Final = np.linspace(0.0, 1.0, 7)  # along a brow, from its inner end
_TURN: Final = np.linspace(0.0, 2 * np.pi, 32, endpoint=False)
_COS, _SIN = np.cos(_TURN), np.sin(_TURN)
_DOT_COS, _DOT_SIN = _COS[::2], _SIN[::2]
_JAW, _CROWN = slice(0, 17), slice(16, 32)  # the lower half of a turn and the upper


class Stroke(NamedTuple):
    """A filled shape, or a line if it has a width, in face units: (0, 0) mid-face, (0, 1) the chin."""

    x: Curve
    y: Curve
    colour: Colour
    width: float = 0.0
    relief: float = 1.0
    """How the shape turns with the head: 1 on the front of the face, 0 on its outline, below 0 behind."""


def _pair(x: Curve, y: Curve, colour: Colour, width: float = 0.0, relief: float = 1.0) -> Iterator[Stroke]:
    """Yield a stroke and its mirror image."""
    yield Stroke(x, y, colour, width, relief)
    yield Stroke(-x, y, colour, width, relief)


def _band(x: Curve, top: Curve, bottom: Curve) -> tuple[Curve, Curve]:
    """Return the outline of what lies between two curves."""
    return np.concatenate((x, x[::-1])), np.concatenate((top, bottom[::-1]))


def _mix(first: Colour, second: Colour, share: float) -> Colour:
    a, b = 1.0 - share, share
    return (a * first[0] + b * second[0], a * first[1] + b * second[1], a * first[2] + b * second[2])


def _pick(scale: Sequence[Colour], place: float) -> Colour:
    """Return the colour at ``place``, 0 to 1, along a scale."""
    low, share = divmod(place * (len(scale) - 1), 1.0)
    return _mix(scale[int(low)], scale[min(int(low) + 1, len(scale) - 1)], share)


def _head(actions: FacialActions, look: Look) -> Iterator[Stroke]:
    """Yield what lies under the features: hair, shoulders, ears, head, beard."""
    skin, hair = _pick(_SKINS, look["skin"]), _pick(_HAIRS, look["hair_tone"])
    shadow = _mix(skin, _BLACK, 0.3)
    down = np.maximum(_SIN, 0.0)
    x = look["width"] * np.sign(_COS) * np.abs(_COS) ** look["square"] * (1.0 - look["jaw"] * down**2)
    y = _SIN * (1.0 + 0.1 * actions.mouth_open * down)
    bald, long = look["hair_style"] < 0.12, look["hair_style"] > 0.55
    if long:
        volume = 1.15 * look["hair_volume"]
        yield Stroke(volume * x, 0.15 + 1.12 * y, _mix(hair, _BLACK, 0.25), relief=-0.1)
    yield Stroke(1.3 * _COS, 1.75 + 0.6 * _SIN, _pick(_CLOTHES, look["clothes"]), relief=0.0)
    yield Stroke(0.36 * _COS, 1.0 + 0.45 * _SIN, shadow, relief=0.0)
    if not long:
        yield from _pair(look["width"] + 0.1 * _DOT_COS, 0.05 + 0.19 * _DOT_SIN, shadow, relief=-0.15)
    yield Stroke(x, y, shadow, relief=0.0)
    yield Stroke(0.95 * x + 0.03 * math.cos(look["light_from"]), 0.97 * y, skin, relief=0.05)
    if look["beard"] > 0.75 and not long:
        edge_x = np.concatenate((x[_JAW], 0.8 * x[_JAW][::-1]))
        edge_y = np.concatenate((y[_JAW], 0.1 + 0.28 * _SIN[_JAW]))
        yield Stroke(edge_x, edge_y, _mix(skin, _mix(hair, _BLACK, 0.3), 0.6), relief=0.1)
    if not bald:
        hairline = look["hairline"] + 0.25 * _COS[_CROWN] ** 4 + look["parting"] * _COS[_CROWN]
        edge_x = np.concatenate((look["hair_volume"] * x[_CROWN], 0.95 * x[_CROWN][::-1]))
        edge_y = np.concatenate((look["hair_volume"] * y[_CROWN], hairline[::-1]))
        yield Stroke(edge_x, edge_y, hair, relief=0.1)


def _eyes(actions: FacialActions, look: Look) -> Iterator[Stroke]:
    """Yield both eyes, their lids, and the folds that raised cheeks push up."""
    skin, size, apart = _pick(_SKINS, look["skin"]), look["eye_size"], look["eye_apart"]
    upper = size * max(0.62 + 0.45 * actions.lid_upper - 0.12 * actions.cheek_raise, 0.12)
    lower = size * (0.5 - 0.34 * max(actions.lid_lower, 0.8 * actions.cheek_raise))
    x = apart + size * _U
    middle = _EYE_Y + 0.05 * max(-actions.lid_upper, 0.0) * _U
    top, bottom = middle - upper * _BELLY, middle + lower * _BELLY
    yield from _pair(*_band(x, top, bottom), _WHITE)
    iris_x = look["gaze"] + 0.56 * _DOT_COS
    opening = 1.0 - iris_x**2
    iris_y = _EYE_Y + np.maximum(np.minimum(0.54 * size * _DOT_SIN, lower * opening), -upper * opening)
    for side in (-apart, apart):
        yield Stroke(side + size * iris_x, iris_y, _pick(_IRISES, look["iris"]))
    yield from _pair(x, bottom, _mix(skin, _BLACK, 0.4), width=0.02)
    yield from _pair(x, top, _mix(skin, _BLACK, 0.8), width=0.05)
    if actions.cheek_raise > 0.2:
        yield from _pair(x, 0.05 + 0.12 * _BELLY, _mix(skin, _BLACK, 0.4 * actions.cheek_raise), width=0.03)


def _brows(actions: FacialActions, look: Look) -> Iterator[Stroke]:
    """Yield both brows and the lines that they fold into the forehead."""
    skin = _pick(_SKINS, look["skin"])
    inner = look["eye_apart"] - 1.05 * look["eye_size"] - 0.06 * actions.brow_furrow
    outer = look["eye_apart"] + 1.2 * look["eye_size"]
    lift = look["brow_arch"] * np.sin(np.pi * _V) + 0.15 * actions.brow_outer * _V
    middle = _BROW_Y + look["brow_lift"] - lift - 0.17 * actions.brow_inner * (1.0 - _V) ** 1.3
    half = look["brow_weight"] * (0.5 - 0.27 * _V)
    colour = _mix(_pick(_HAIRS, look["hair_tone"]), _BLACK, 0.45)
    yield from _pair(*_band(inner + (outer - inner) * _V, middle - half, middle + half), colour)
    if actions.brow_furrow > 0.25:
        furrow = _mix(skin, _BLACK, 0.5 * actions.brow_furrow)
        yield from _pair(np.array((0.05, 0.06)), np.array((-0.32, -0.14)), furrow, width=0.03)
    raised = look["age"] * (actions.brow_inner + max(actions.brow_outer, 0.0)) / 2
    if raised > 0.25:
        for y in (-0.6, -0.68):
            yield Stroke(0.36 * _U, y + 0.03 * _U**2, _mix(skin, _BLACK, 0.4 * raised), width=0.025)


def _nose(actions: FacialActions, look: Look) -> Iterator[Stroke]:
    """Yield the nose, its wrinkles, and the folds from it to the mouth."""
    skin = _pick(_SKINS, look["skin"])
    line = _mix(skin, _BLACK, 0.3)
    wide = look["nose_width"] * (1.0 + 0.25 * actions.nose_wrinkle)
    tip = look["nose_length"] - 0.07 * actions.nose_wrinkle
    shade = -1.0 if math.cos(look["light_from"]) > 0 else 1.0
    ridge = shade * np.array((0.06, 0.06, wide))
    yield Stroke(ridge, np.array((-0.1, 0.6 * tip, tip - 0.05)), line, width=0.03)
    yield Stroke(wide * _U, tip + 0.02 * _BELLY, line, width=0.035)
    yield from _pair(0.6 * wide + 0.035 * _DOT_COS, tip + 0.01 + 0.022 * _DOT_SIN, _mix(skin, _BLACK, 0.65))
    folds = max(actions.nose_wrinkle, actions.upper_lip, 0.8 * actions.mouth_corners)
    if folds > 0.2:
        x, y = wide + np.array((0.03, 0.14, 0.2)), tip + np.array((-0.04, 0.07, 0.22))
        yield from _pair(x, y, _mix(skin, _BLACK, 0.4 * folds), width=0.035)
    if actions.nose_wrinkle > 0.2:
        wrinkle = _mix(skin, _BLACK, 0.6 * actions.nose_wrinkle)
        for y in (-0.06, 0.03, 0.12):
            yield Stroke(np.array((-0.14, 0.0, 0.14)), np.array((y + 0.06, y, y + 0.06)), wrinkle, width=0.03)


def _mouth(actions: FacialActions, look: Look) -> Iterator[Stroke]:
    """Yield the mouth: lips, the dark between them, teeth."""
    skin = _pick(_SKINS, look["skin"])
    lips = _mix(_mix(skin, _BLACK, 0.3), _LIPS, look["red"])
    thick = look["lip"] * (1.0 - 0.75 * actions.lip_press)
    x = look["mouth_size"] * (1.0 + 0.32 * actions.mouth_width) * _U
    rest = look["mouth_y"] - 0.19 * actions.mouth_corners * (_U**2 - 0.4)
    top = rest - (0.09 * actions.mouth_open + 0.09 * actions.upper_lip) * _ROUND
    bottom = rest + (0.27 * actions.mouth_open - 0.02 * actions.upper_lip) * _ROUND
    yield Stroke(*_band(x, top - thick * _BOW, bottom + 1.25 * thick * _BELLY), lips)
    yield Stroke(*_band(x, top, bottom), _mix(_BLACK, _LIPS, 0.2))
    bared = max(actions.mouth_corners, actions.upper_lip, 0.8 * actions.mouth_width, 0.25)
    yield Stroke(*_band(0.9 * x, top, np.minimum(top + 0.1 * bared * _ROUND, bottom)), _WHITE)
    yield Stroke(x, bottom, _mix(lips, _BLACK, 0.7), width=0.035)
    dent = bottom[5] + 2.6 * thick + 0.04 + 0.03 * _BELLY
    yield Stroke(0.5 * x, dent, _mix(skin, _BLACK, 0.2), width=0.03)


def _glasses(actions: FacialActions, look: Look) -> Iterator[Stroke]:
    """Yield glasses, on some faces."""
    del actions  # glasses sit still
    if look["glasses"] > 0.88:
        turn = np.append(_TURN[::2], 0.0)
        x, y = look["eye_apart"] + 0.25 * np.cos(turn), _EYE_Y + 0.03 + 0.22 * np.sin(turn)
        yield from _pair(x, y, _BLACK, width=0.035)
        yield Stroke(np.array((-0.09, 0.0, 0.09)), np.array((0.0, -0.03, 0.0)), _BLACK, width=0.035)


def _paint(canvas: NDArray[np.uint8], strokes: Sequence[Stroke], look: Look) -> None:
    """Paint the strokes in their order, turned, scaled and placed as the pose says."""
    xs, ys, colours, widths, reliefs = zip(*strokes, strict=True)
    lengths = [x.size for x in xs]
    x, y, relief = np.concatenate(xs), np.concatenate(ys), np.repeat(reliefs, lengths)
    bulge = 0.7 * np.sqrt(np.maximum(1.0 - (x / 0.9) ** 2 - (y / 1.3) ** 2, 0.0))
    depth = np.where(relief < 0, relief, relief * bulge)
    x, y = x + depth * math.sin(look["yaw"]), y + depth * math.sin(look["pitch"])
    side = canvas.shape[0]
    unit = look["scale"] * side
    cos, sin = unit * math.cos(look["roll"]), unit * math.sin(look["roll"])
    points = np.empty((x.size, 2))
    points[:, 0] = (0.5 + look["shift_x"]) * side + cos * x - sin * y
    points[:, 1] = (0.5 + look["shift_y"]) * side + sin * x + cos * y
    corners = np.rint(points * 2**_FRACTION_BITS).astype(np.int32)
    tones = np.array(colours) if canvas.ndim == 3 else np.array(colours) @ _LUMA
    end = 0
    for length, tone, width in zip(lengths, tones.tolist(), widths, strict=True):
        path, end = corners[end : end + length], end + length
        if width:
            thickness = max(round(width * unit), 1)
            cv2.polylines(canvas, [path], False, tone, thickness, cv2.LINE_8, _FRACTION_BITS)
        else:
            cv2.fillPoly(canvas, [path], tone, cv2.LINE_AA, _FRACTION_BITS)


def _background(rng: np.random.Generator, side: int, channels: int) -> NDArray[np.uint8]:
    """Return a canvas of blending colours with a few shapes lying about."""
    chance = rng.random((11, 9))
    colours = 20 + 175 * chance[:, :1] + 40 * chance[:, 1:4]
    if channels == 1:
        colours = (colours @ _LUMA)[:, np.newaxis]
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


def _expose(picture: NDArray[np.uint8], rng: np.random.Generator, look: Look) -> NDArray[np.uint8]:
    """Return the picture under light from one side, with a camera's noise."""
    strength, angle = look["exposure"] * look["light"], look["light_from"]
    ramp = np.linspace(-strength, strength, picture.shape[0], dtype=np.float32).reshape(-1, 1)
    light = (look["exposure"] + math.cos(angle) * ramp.T) + math.sin(angle) * ramp
    if picture.ndim == 3:
        light = light[:, :, np.newaxis]
    lit = rng.random(picture.shape, dtype=np.float32)
    lit -= 0.5
    lit *= look["noise"]
    lit += picture * light
    return np.maximum(np.minimum(lit, 255.0), 0.0).astype(np.uint8)


def draw_face(
    actions: FacialActions, rng: np.random.Generator, *, image_size: int = 48, channels: int = 1
) -> NDArray[np.uint8]:
    """Draw one face.

    Who it is, how it is held and lit and what lies behind come from ``rng`` alone: two generators
    of one seed draw the same person with two expressions.

    Args:
        actions: What the muscles do.
        rng: Where everything else comes from.
        image_size: Height and width in pixels.
        channels: 1 for grey, 3 for RGB.

    Returns:
        The picture, uint8, shape ``(H, W)`` or ``(H, W, 3)``.
    """
    look = dict(zip(LOOK_RANGES, (_LOWS + _SPANS * rng.random(_LOWS.size)).tolist(), strict=True))
    canvas = _background(rng, _SUPERSAMPLING * image_size, channels)
    parts = (_head, _nose, _eyes, _brows, _mouth, _glasses)
    _paint(canvas, [stroke for part in parts for stroke in part(actions, look)], look)
    picture = cv2.resize(canvas, (image_size, image_size), interpolation=cv2.INTER_AREA)
    return _expose(np.asarray(picture, np.uint8), rng, look)


def draw_actions(label: int, rng: np.random.Generator) -> FacialActions:
    """Draw how one face shows the expression of a label: subtly to fully, and never twice the same."""
    faint, full = _INTENSITY
    values = (faint + (full - faint) * rng.random()) * _MEAN_ACTIONS[label]
    values += _ACTION_SPREAD * rng.standard_normal(values.size)
    return FacialActions(*np.minimum(np.maximum(values, _ACTION_FLOOR), 1.0).tolist())


def draw_faces(
    count: int, *, image_size: int = 48, channels: int = 1, seed: int = 0, offset: int = 0
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Draw pictures ``offset`` to ``offset + count - 1`` of the endless album of a seed.

    A picture depends on the seed and on its place in the album, on nothing else. Every seven
    pictures from a multiple of seven hold the seven expressions, in an order of their own.

    Args:
        count: Number of pictures, N.
        image_size: Height and width in pixels.
        channels: 1 for grey, 3 for RGB.
        seed: Which album.
        offset: First picture's place in it.

    Returns:
        Pictures, uint8, shape ``(N, H, W)`` or ``(N, H, W, 3)``; and labels, int64, shape ``(N,)``.

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
    pictures = np.empty((count, image_size, image_size, channels)[: 3 + channels // 3], np.uint8)
    for row, label in enumerate(labels.tolist()):
        rng = np.random.default_rng([seed, offset + row])
        pictures[row] = draw_face(draw_actions(label, rng), rng, image_size=image_size, channels=channels)
    return pictures, labels


class SyntheticFacesDataModule(PictureDataModule):
    """Faces drawn by code, for trying things out where no data set is at hand.

    Args:
        num_train: Pictures in the train split.
        num_val: Pictures in the validation split.
        num_test: Pictures in the test split.
        **kwargs: Settings of every data module, see :class:`PictureDataModule`; ``seed`` chooses the faces.

    Raises:
        InputError: A setting is out of its range.
    """

    def __init__(
        self, *, num_train: int = 3500, num_val: int = 700, num_test: int = 700, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.counts = {"train": num_train, "val": num_val, "test": num_test}
        for name, count in self.counts.items():
            if not 1 <= count <= _SPLIT_SPACING:
                msg = f"data.num_{name} is {count}: it must be from 1 to {_SPLIT_SPACING}"
                raise InputError(msg)

    @property
    def protocol_name(self) -> str:
        """How the splits were made, in words."""
        return "drawn by code"

    def load_splits(self) -> dict[str, Split]:
        """Draw the splits, each from its own range of places in the seed's album."""
        size, channels = self.image_size, self.channels
        return {
            name: Split(
                *draw_faces(
                    count, image_size=size, channels=channels, seed=self.seed, offset=place * _SPLIT_SPACING
                )
            )
            for place, (name, count) in enumerate(self.counts.items())
        }
