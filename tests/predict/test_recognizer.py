"""Find the faces of images and recognise them, with detectors and networks of the tests' own."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_onnx import DARK_OR_BRIGHT, SIZE

from fer.data.detectors import Face as FoundFace
from fer.errors import InputError
from fer.predict import Preprocessing, Recognizer
from fer.predict.notes import notes_on
from fer.predict.recognizer import as_rgb, recognize_each
from fer.predict.sources import Frame, SourceFile, chunks

SETTINGS = replace(DARK_OR_BRIGHT, margin=0.0)


def brightness(crops: np.ndarray) -> np.ndarray:
    means = crops.mean(axis=(1, 2, 3)) / 255
    return np.stack([-means, means], axis=1).astype(np.float32)


class Squares:
    """Finds the squares of :func:`image_of`, and notes what it is given."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def find(self, images: np.ndarray) -> list[list[FoundFace]]:
        self.shapes.append(images.shape)
        found = []
        for image in images:
            if image[0, 0, 0] == 77:
                raise RuntimeError("out of memory")
            corners = np.argwhere(image[..., 0] == 254).tolist()
            found.append([FoundFace((x, y, x + 10, y + 10), 0.95 - 0.1 * (x > 50)) for y, x in corners])
        return found


def image_of(*corners: tuple[int, int], shape: tuple[int, int] = (40, 60)) -> np.ndarray:
    """Return white squares of 10 pixels on black, the first pixel of each a little darker."""
    image = np.zeros((*shape, 3), np.uint8)
    for x, y in corners:
        image[y : y + 10, x : x + 10] = 255
        image[y, x] = 254
    return image


@pytest.fixture
def recognizer() -> Recognizer:
    made = Recognizer(SETTINGS, brightness)
    made.detectors = {"viola_jones": Squares()}
    return made


def test_all_faces_of_images_of_several_sizes_are_found_in_their_order(recognizer):
    images = [image_of((3, 4), (20, 8)), image_of(), image_of((7, 1), shape=(30, 30)), image_of((0, 0))]
    found = recognizer.recognize(images)
    assert [[face.box[:2] for face in faces] for faces in found] == [
        [(3, 4), (20, 8)],
        [],
        [(7, 1)],
        [(0, 0)],
    ]
    assert {face.label for faces in found for face in faces} == {"bright"}
    assert recognizer.detectors["viola_jones"].shapes == [(3, 40, 60, 3), (1, 30, 30, 3)]


def test_a_face_that_the_detector_doubts_does_not_count(recognizer):
    (faces,) = recognizer.recognize([image_of((3, 4), (51, 4), shape=(40, 70))])
    assert [face.detected for face in faces] == [0.95]


def test_a_detector_that_fails_on_one_image_does_not_take_the_others_with_it(recognizer):
    images = [image_of((3, 4)), np.full((40, 60, 3), 77, np.uint8)]
    with pytest.raises(InputError, match="the face detector fails on it"):
        recognizer.recognize(images)
    good, bad = recognize_each(recognizer, images)
    assert len(good) == 1
    assert "fails" in str(bad)


def test_probabilities_are_the_mean_over_views_of_calibrated_ones():
    def left_half(crops: np.ndarray) -> np.ndarray:
        return brightness(crops[:, :, : SIZE // 2])

    crops = np.zeros((1, SIZE, SIZE, 3), np.uint8)
    crops[:, :, : SIZE // 2] = 255  # its left half is bright, that of its mirrored view dark
    settings = replace(SETTINGS, temperature=0.5, view_temperatures={"flip": 2.0})
    sure = 1 / (1 + math.exp(-2 / 0.5))
    plain = Recognizer(settings, left_half, tta="none").probabilities(crops)
    assert plain == pytest.approx(np.array([[1 - sure, sure]]), abs=1e-6)
    half_sure = (1 / (1 + math.exp(-2 / 2.0)) + 0.5) / 2
    both = Recognizer(settings, left_half, tta="flip").probabilities(crops)
    assert both == pytest.approx(np.array([[1 - half_sure, half_sure]]), abs=1e-6)


def test_outputs_that_are_not_finite_are_an_error(recognizer):
    recognizer.network = lambda crops: np.full((len(crops), 2), np.nan, np.float32)
    with pytest.raises(InputError, match="not finite"):
        recognizer(image_of((3, 4)))


def test_a_whole_image_is_one_face():
    made = Recognizer(replace(SETTINGS, detector="mtcnn", align=True), brightness, whole=True)
    (face,) = made(np.full((30, 20), 255, np.uint8))
    assert (face.box, face.landmarks, face.label) == ((0, 0, 20, 30), None, "bright")
    assert math.isnan(face.detected)


def test_an_image_comes_as_array_as_pil_image_or_as_file(tmp_path):
    image = image_of((3, 4))
    Image.fromarray(image).save(tmp_path / "x.png")
    for given in (image, Image.fromarray(image), tmp_path / "x.png", str(tmp_path / "x.png")):
        np.testing.assert_array_equal(as_rgb(given), image)
    for wrong in (image.astype(float), image[..., :2], image[None], image[:0], 5):
        with pytest.raises(InputError, match="RGB as uint8"):
            as_rgb(wrong)


@pytest.mark.parametrize(
    ("size", "margin", "note"),
    [
        pytest.param(20, 0.0, "", id="as large as half the input"),
        pytest.param(21, 0.0, "small face", id="enlarged more than twice"),
        pytest.param(23, 0.1, "", id="the margin counts"),
    ],
)
def test_a_small_face_is_said_to_be_small(recognizer, size, margin, note):
    recognizer.preprocessing = replace(SETTINGS, image_size=size, margin=margin)
    image = image_of((3, 4))
    assert notes_on(image, recognizer.recognize([image])[0], recognizer) == [note]


def test_frames_are_read_in_parts_of_some_pixels_and_some_frames():
    file = SourceFile(Path("x"), Path("x"))
    small, large = np.zeros((1, 1, 3), np.uint8), np.zeros((4000, 4000, 3), np.uint8)
    frames = [Frame(file, image) for image in [small, large, small] + [small] * 70]
    assert [len(chunk) for chunk in chunks(frames)] == [2, 64, 7]


# Preprocessing


def test_preprocessing_is_read_as_it_was_written():
    settings = replace(SETTINGS, view_temperatures={"flip": 1.25}, align=False)
    assert Preprocessing.from_json(settings.to_json()) == settings


@pytest.mark.parametrize(
    ("change", "part"),
    [
        pytest.param({"mean": []}, "is inconsistent", id="no mean"),
        pytest.param({"std": [0]}, "is inconsistent", id="no deviation"),
        pytest.param({"temperature": 0}, "is inconsistent", id="no temperature"),
        pytest.param({"class_names": ["one"]}, "is inconsistent", id="one class"),
        pytest.param({"detector": "eyes"}, "eyes", id="unknown detector"),
        pytest.param({"image_size": "48"}, "image_size is str", id="text for a number"),
    ],
)
def test_preprocessing_that_does_not_fit_together_is_refused(change, part):
    content = json.loads(SETTINGS.to_json()) | change
    with pytest.raises(InputError, match=part):
        Preprocessing.from_json(json.dumps(content))


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_what_is_no_preprocessing_is_refused(text):
    with pytest.raises(InputError, match=r"preprocessing\.json"):
        Preprocessing.from_json(text)


@pytest.mark.parametrize("channels", [1, 3])
def test_crops_are_prepared_as_images_are_for_training(channels):
    from fer.data.images import ImageDataset, ImageSplit

    crops = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), np.uint8)
    mean, std = (0.4,) * channels, (0.2,) * channels
    split = ImageSplit(images=crops, labels=np.zeros(3, np.int64), names=np.array(["a", "b", "c"]))
    items = ImageDataset(
        split,
        image_size=SIZE,
        channels=channels,
        mean=np.array(mean, np.float32),
        std=np.array(std, np.float32),
    )
    prepared = replace(SETTINGS, channels=channels, mean=mean, std=std).prepare(crops)
    for row in range(3):
        np.testing.assert_array_equal(prepared[row], items[row][0].numpy())
