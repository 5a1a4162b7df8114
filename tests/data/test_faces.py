"""Faces are found, chosen, cropped; and without one what was asked for is done."""

import ast
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data

import fer.data.detectors
import fer.data.faces
from fer.data.detectors import MTCNN_GRID, Face, Mtcnn, ViolaJones, find_faces
from fer.data.faces import (
    EYES_APART,
    EYES_HEIGHT,
    MIN_EYES_APART,
    Crop,
    CropSettings,
    FaceCropper,
    crop_face,
    crop_without_face,
    select_face,
)
from fer.errors import InputError

ASTRONAUT = data.astronaut()[:256, 100:356]  # RGB; her face is at about (125, 120)
NOTHING = np.full((120, 160, 3), 90, np.uint8)
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def mtcnn() -> Mtcnn:
    return Mtcnn()


def iou(one: Face, other: Face) -> float:
    width = min(one.box[2], other.box[2]) - max(one.box[0], other.box[0])
    height = min(one.box[3], other.box[3]) - max(one.box[1], other.box[1])
    common = max(width, 0) * max(height, 0)
    return common / (math.prod(one.size) + math.prod(other.size) - common)


# Settings


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        pytest.param({"detector": "yolo"}, "data.crop ", id="detector"),
        pytest.param({"select": "best"}, "data.crop_select", id="select"),
        pytest.param({"fallback": "skip"}, "data.crop_fallback", id="fallback"),
        pytest.param({"size": 0}, "data.image_size", id="size"),
        pytest.param({"margin": -0.1}, "data.crop_margin", id="margin"),
        pytest.param({"margin": math.nan}, "data.crop_margin", id="margin is no number"),
        pytest.param({"detector": "viola_jones", "align": True}, "landmarks", id="nothing to align by"),
        pytest.param({"fallback": "mtcnn"}, "only for viola_jones", id="MTCNN after MTCNN"),
    ],
)
def test_settings_out_of_range_name_their_option(settings, named: str) -> None:
    with pytest.raises(InputError, match=named):
        CropSettings(**settings)


@pytest.mark.parametrize(
    ("detector", "fallback", "finders"),
    [
        pytest.param("mtcnn", "centre", ("mtcnn",), id="one"),
        pytest.param("narayan", "centre", ("mtcnn", "viola_jones"), id="both"),
        pytest.param("viola_jones", "mtcnn", ("viola_jones", "mtcnn"), id="MTCNN as a fallback"),
        pytest.param("none", "centre", (), id="nobody"),
    ],
)
def test_who_looks_in_turn(detector, fallback, finders) -> None:
    assert CropSettings(detector=detector, fallback=fallback).finders == finders


# Cropping


def boxed(left: float, top: float, right: float, bottom: float, **kwargs) -> Face:
    return Face((left, top, right, bottom), **kwargs)


NOISE = RNG.integers(256, size=(40, 60, 3), dtype=np.uint8)


def test_a_square_box_without_margin_is_copied_pixel_by_pixel() -> None:
    crop = crop_face(NOISE, boxed(10, 5, 30, 25), CropSettings(size=20, margin=0))
    np.testing.assert_array_equal(crop, NOISE[5:25, 10:30])


def test_the_margin_is_a_share_of_the_longer_side_on_every_side() -> None:
    # 16 high: 4 more on every side is 24, around the centre (20, 20).
    crop = crop_face(NOISE, boxed(15, 12, 25, 28), CropSettings(size=24, margin=0.25))
    np.testing.assert_array_equal(crop, NOISE[8:32, 8:32])


def test_the_border_is_repeated_beyond_the_image() -> None:
    crop = crop_face(NOISE, boxed(-4, -4, 16, 16), CropSettings(size=20, margin=0))
    np.testing.assert_array_equal(crop, np.pad(NOISE, ((4, 0), (4, 0), (0, 0)), mode="edge")[:20, :20])


def test_shrinking_averages() -> None:
    crop = crop_face(NOISE, boxed(0, 0, 40, 40), CropSettings(size=10, margin=0))
    means = NOISE[:40, :40].reshape(10, 4, 10, 4, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(crop, means, atol=0.51)


def marked(left_eye, right_eye, shape=(400, 400)) -> np.ndarray:
    """A black image with a red left eye and a blue right eye, as dots."""
    image = np.zeros((*shape, 3), np.uint8)
    for (x, y), channel in ((left_eye, 0), (right_eye, 2)):
        rows, columns = np.ogrid[: shape[0], : shape[1]]
        image[np.hypot(columns + 0.5 - x, rows + 0.5 - y) < 5, channel] = 255
    return image


def dot(image: np.ndarray, channel: int) -> np.ndarray:
    """Centre ``(x, y)`` of what is bright in a channel, as a share of the image."""
    weights = image[..., channel].astype(float)
    rows, columns = np.indices(weights.shape) + 0.5
    return np.array([(columns * weights).sum(), (rows * weights).sum()]) / weights.sum() / len(weights)


@pytest.mark.parametrize("angle", [0, 30, -75, 180])
@pytest.mark.parametrize("margin", [0.0, 0.25])
def test_aligned_eyes_are_level_and_always_at_the_same_places(angle: float, margin: float) -> None:
    half = 30 * np.array([math.cos(math.radians(angle)), math.sin(math.radians(angle))])
    left_eye, right_eye = np.array([190, 210]) - half, np.array([190, 210]) + half
    face = boxed(100, 100, 300, 300, landmarks=(tuple(left_eye), tuple(right_eye), (0, 0), (0, 0), (0, 0)))
    crop = crop_face(marked(left_eye, right_eye), face, CropSettings(size=100, margin=margin, align=True))
    apart, height = EYES_APART / (1 + 2 * margin), 0.5 - (0.5 - EYES_HEIGHT) / (1 + 2 * margin)
    np.testing.assert_allclose(dot(crop, 0), [0.5 - apart / 2, height], atol=0.01)
    np.testing.assert_allclose(dot(crop, 2), [0.5 + apart / 2, height], atol=0.01)


@pytest.mark.parametrize("apart", [0, 1, 19.9])
def test_eyes_seen_from_the_side_do_not_fill_the_crop(apart: float) -> None:
    face = boxed(0, 0, 100, 100, landmarks=((50, 40), (50 + apart, 40), (0, 0), (0, 0), (0, 0)))
    shown = crop_face(marked((50, 40), (50 + apart, 40)), face, CropSettings(size=100, margin=0, align=True))
    assert abs(dot(shown, 2)[0] - dot(shown, 0)[0]) < EYES_APART * apart / (100 * MIN_EYES_APART) + 0.01


def test_a_face_without_landmarks_is_not_turned() -> None:
    face, aligned = boxed(10, 5, 30, 25), CropSettings(size=20, margin=0, align=True)
    np.testing.assert_array_equal(crop_face(NOISE, face, aligned), NOISE[5:25, 10:30])


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 900, 3), (10, 10, 3)])
@pytest.mark.parametrize("fallback", ["centre", "keep"])
def test_a_tiny_image_still_has_a_crop(shape, fallback) -> None:
    crop = crop_without_face(np.full(shape, 7, np.uint8), CropSettings(size=12, fallback=fallback))
    np.testing.assert_array_equal(crop.image, np.full((12, 12, 3), 7))


# Which face


@pytest.mark.parametrize(
    ("select", "expected"),
    [pytest.param("largest", 0, id="largest"), pytest.param("central", 1, id="central")],
)
def test_which_of_several_faces_counts(select, expected: int) -> None:
    faces = [boxed(0, 0, 30, 30), boxed(40, 40, 60, 60), boxed(80, 80, 90, 90)]
    assert select_face(faces, (100, 100), select) == faces[expected]


# Without a face


class Finds:
    """A detector that finds faces where it is told to, by the first pixel, and notes what it was shown."""

    def __init__(self, *seen: int) -> None:
        self.seen = seen
        self.shown: list[int] = []

    def find(self, images):
        self.shown += [int(image[0, 0, 0]) for image in images]
        return [[boxed(2, 2, 6, 6)] if image[0, 0, 0] in self.seen else [] for image in images]


def cropper_of(settings: CropSettings, **detectors) -> FaceCropper:
    cropper = FaceCropper(CropSettings(detector="none"))
    cropper.settings, cropper.detectors = settings, detectors
    return cropper


FOUR = np.broadcast_to(np.arange(4, dtype=np.uint8)[:, None, None, None], (4, 8, 12, 3)).copy()


def test_the_second_detector_sees_only_what_the_first_missed() -> None:
    first, second = Finds(0, 2), Finds(1, 2)
    cropper = cropper_of(CropSettings(detector="narayan", size=4), mtcnn=first, viola_jones=second)
    crops = cropper.crop(FOUR)
    assert [crop.policy for crop in crops] == ["mtcnn", "viola_jones", "mtcnn", "centre"]
    assert second.shown == [1, 3]
    assert [int(crop.image[0, 0, 0]) for crop in crops] == [0, 1, 2, 3]


@pytest.mark.parametrize("fallback", ["centre", "keep", "drop", "error"])
def test_no_face_is_a_policy(fallback) -> None:
    cropper = cropper_of(CropSettings(size=8, fallback=fallback), mtcnn=Finds())
    wide = np.zeros((1, 8, 12, 3), np.uint8)
    wide[0, :, 6:] = 255
    (crop,) = cropper.crop(wide)
    assert (crop.policy, crop.face) == (fallback, None)
    if fallback == "centre":
        np.testing.assert_array_equal(crop.image, wide[0, :, 2:10])
    elif fallback == "keep":
        assert crop.image.shape == (8, 8, 3)
        assert crop.image[0, 0, 0] == 0
        assert crop.image[0, -1, 0] == 255
    else:
        assert crop.image is None


def test_without_a_detector_the_whole_image_is_the_crop() -> None:
    crop = FaceCropper(CropSettings(detector="none", size=16)).crop(ASTRONAUT[None])[0]
    assert isinstance(crop, Crop)
    assert (crop.policy, crop.face) == ("none", None)
    means = ASTRONAUT.reshape(16, 16, 16, 16, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(crop.image, means, atol=0.51)


# The detectors themselves, on a real photo


def test_both_detectors_find_the_astronaut(mtcnn: Mtcnn) -> None:
    ((by_mtcnn,),) = mtcnn.find(ASTRONAUT[None])
    by_viola_jones = select_face(ViolaJones().find(ASTRONAUT[None])[0], ASTRONAUT.shape, "largest")
    for face in (by_mtcnn, by_viola_jones):
        assert math.dist(face.centre, (125, 120)) < 20
        assert 60 < max(face.size) < 140
    assert by_mtcnn.probability > 0.99
    assert math.isnan(by_viola_jones.probability)
    assert by_viola_jones.landmarks is None


def test_landmarks_are_where_the_face_has_them(mtcnn: Mtcnn) -> None:
    ((face,),) = mtcnn.find(ASTRONAUT[None])
    left_eye, right_eye, nose, mouth_left, mouth_right = face.landmarks
    assert left_eye[0] < nose[0] < right_eye[0]
    assert mouth_left[0] < mouth_right[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(mouth_left[1], mouth_right[1])


@pytest.mark.slow
def test_mtcnn_finds_the_same_in_a_batch_with_a_image_without_a_face(mtcnn: Mtcnn) -> None:
    blank = np.zeros_like(ASTRONAUT)
    mirrored = ASTRONAUT[:, ::-1]
    together = mtcnn.find(np.stack([ASTRONAUT, blank, mirrored]))
    assert [len(faces) for faces in together] == [1, 0, 1]
    for faces, image in zip(together, (ASTRONAUT, blank, mirrored), strict=True):
        for face, alone in zip(faces, mtcnn.find(image[None].copy())[0], strict=True):
            assert (face.box, face.landmarks) == (alone.box, alone.landmarks)


@pytest.mark.parametrize("moved", [-3e-5, 3e-5])
def test_what_another_batch_size_moves_does_not_move_a_face(mtcnn: Mtcnn, monkeypatch, moved: float) -> None:
    found = mtcnn.network.detect(ASTRONAUT[None], landmarks=True)
    boxes, probabilities, landmarks = (np.array(part, float) for part in found)
    ((face,),) = mtcnn.find(ASTRONAUT[None])
    np.testing.assert_allclose(face.box, boxes[0][0], atol=0.51 / MTCNN_GRID)
    np.testing.assert_allclose(face.landmarks, landmarks[0][0], atol=0.51 / MTCNN_GRID)
    monkeypatch.setattr(
        mtcnn.network, "detect", lambda *_, **__: (boxes + moved, probabilities, landmarks + moved)
    )
    assert mtcnn.find(ASTRONAUT[None]) == [[face]]


@pytest.mark.parametrize("side", [1, 10, 19, 20, 48])
@pytest.mark.parametrize("detector", [Mtcnn, ViolaJones])
def test_a_small_image_has_no_face_and_does_not_raise(detector, side: int) -> None:
    noise = RNG.integers(256, size=(2, side, 3 * side, 3), dtype=np.uint8)
    assert detector().find(noise) == [[], []]


def test_mtcnn_stays_in_single_precision() -> None:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float16)
    try:
        network = Mtcnn().network
    finally:
        torch.set_default_dtype(before)
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


@pytest.mark.slow
def test_a_turned_photo_is_turned_back(mtcnn: Mtcnn) -> None:
    """The invariant of alignment: the crop does not change when the image is turned."""
    import cv2

    turn = cv2.getRotationMatrix2D((125, 120), 20, 1.0)
    turned = cv2.warpAffine(ASTRONAUT, turn, (256, 256), borderMode=cv2.BORDER_REPLICATE)
    settings = CropSettings(size=64, align=True)
    crops = [
        crop_face(image, mtcnn.find(image[None])[0][0], settings).astype(float)
        for image in (ASTRONAUT, turned)
    ]
    plain = [
        crop_face(image, mtcnn.find(image[None])[0][0], CropSettings(size=64)).astype(float)
        for image in (ASTRONAUT, turned)
    ]
    assert np.abs(crops[0] - crops[1]).mean() < 0.5 * np.abs(plain[0] - plain[1]).mean()


def test_detectors_are_imported_only_when_they_are_needed() -> None:
    files = [Path(fer.data.faces.__file__), Path(fer.data.detectors.__file__)]
    statements = [node for file in files for node in ast.parse(file.read_text()).body]
    imported = {name.name for node in statements if isinstance(node, ast.Import) for name in node.names}
    imported |= {str(node.module) for node in statements if isinstance(node, ast.ImportFrom)}
    assert not imported & {"cv2", "facenet_pytorch", "torch"}


# Large images


class Recorder:
    """A detector that finds one face, always at the same place, and notes what it is given."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def find(self, images: np.ndarray) -> list[list[Face]]:
        self.shapes.append(images.shape)
        return [[Face((10, 20, 30, 40), 0.9, ((12, 24),) * 5)] for _ in images]


@pytest.mark.parametrize(
    ("pixels", "shape"),
    [
        pytest.param(80 * 120, (80, 120), id="as many as allowed: not shrunk"),
        pytest.param(80 * 120 - 1, (57, 85), id="one more: a step of MTCNN's pyramid smaller"),
        pytest.param(2430, (40, 60), id="four times as many: two steps"),
    ],
)
def test_a_large_image_is_searched_in_a_smaller_copy_and_boxes_are_mapped_back(pixels, shape) -> None:
    detector = Recorder()
    (face,), _ = find_faces(detector, np.zeros((2, 80, 120, 3), np.uint8), pixels)
    assert detector.shapes == [(2, *shape, 3)]
    down, across = 80 / shape[0], 120 / shape[1]
    assert face.box == pytest.approx((10 * across, 20 * down, 30 * across, 40 * down))
    np.testing.assert_allclose(face.landmarks, [(12 * across, 24 * down)] * 5)
    assert face.probability == 0.9


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.9, 0.4, 0.2])
def test_mtcnn_finds_the_same_face_in_the_smaller_copy(mtcnn: Mtcnn, share) -> None:
    images = data.astronaut()[np.newaxis]
    (whole,) = find_faces(mtcnn, images)[0]
    (found,) = find_faces(mtcnn, images, round(share * 512 * 512))[0]
    assert iou(whole, found) > 0.85
    side = max(whole.size)
    for one, other in zip(whole.landmarks or (), found.landmarks or (), strict=True):
        assert math.dist(one, other) < 0.05 * side


@pytest.mark.slow
def test_a_crop_is_never_drawn_larger_than_memory_allows(monkeypatch) -> None:
    import cv2

    drawn = []
    warp = cv2.warpAffine
    monkeypatch.setattr(cv2, "warpAffine", lambda *args, **kw: drawn.append(args[2]) or warp(*args, **kw))
    crop_face(NOISE, boxed(0, 0, 30_000, 30_000), CropSettings(size=100, margin=1))
    assert max(drawn[0]) <= fer.data.faces.MAX_DRAWN
