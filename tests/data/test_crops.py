"""Crops are made once, kept, shared, and accounted for."""

import csv
import io
import logging
import math
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

import fer.data.crops
from fer.data.crop_report import count_policies, policy_table, write_crops_csv
from fer.data.crops import CropRecord, KeptDetector, crop_images
from fer.data.detectors import Face
from fer.data.faces import Crop, CropSettings, crop_face, crop_without_face
from fer.errors import InputError

SETTINGS = CropSettings(size=8)
POINTS = tuple((float(x), float(x + 1)) for x in range(5))


class Cropper:
    """Finds a face in every image whose first pixel is not black, and counts what it is shown."""

    batches: list[tuple[int, ...]]
    fails_on: int | None

    def __init__(self, settings: CropSettings, detectors: object) -> None:
        del detectors
        self.settings = settings

    def crop(self, images):
        if any(image[0, 0, 0] == Cropper.fails_on for image in images):
            raise IndexError("a face beside the image")
        Cropper.batches.append(images.shape)
        face = Face((1.25, 2, 9, 10), 0.875, POINTS)
        return [
            Crop("mtcnn", crop_face(image, face, self.settings), face)
            if image[0, 0, 0]
            else crop_without_face(image, self.settings)
            for image in images
        ]


@pytest.fixture(autouse=True)
def cropper(monkeypatch: pytest.MonkeyPatch) -> type[Cropper]:
    Cropper.batches, Cropper.fails_on = [], None
    monkeypatch.setattr(fer.data.crops, "FaceCropper", Cropper)
    return Cropper


def write(path: Path, grey: int, size: tuple[int, int] = (12, 16)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(size, grey, np.uint8)).save(path)
    return path


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Thirty images of two sizes in two classes; the first of each class has no face."""
    return [
        write(tmp_path / "src" / name / f"{number} é.png", 5 * number, (12, 16) if number % 3 else (20, 10))
        for name in ("happy", "sad")
        for number in range(15)
    ]


def policies(crops) -> list[str]:
    return [record.policy for record in crops.records]


def test_each_file_has_a_record_and_each_kept_file_a_crop_in_order(paths: list[Path]) -> None:
    crops = crop_images(paths, SETTINGS)
    assert [record.path for record in crops.records] == paths
    assert policies(crops) == (["centre"] + ["mtcnn"] * 14) * 2
    assert crops.images.shape == (30, 8, 8, 3)
    assert crops.images[:, 0, 0, 0].tolist() == [5 * number for number in range(15)] * 2
    assert crops.kept.all()


def test_batches_are_of_one_size_and_no_source_is_made_twice(paths: list[Path], cropper) -> None:
    crop_images(paths, SETTINGS, batch_size=4)
    # The two classes hold the same bytes: 5 of 20x10 and 10 of 12x16.
    assert sorted(cropper.batches) == sorted(
        [(4, 20, 10, 3), (1, 20, 10, 3), (4, 12, 16, 3), (4, 12, 16, 3), (2, 12, 16, 3)]
    )


def test_large_images_come_in_smaller_batches(paths, cropper, monkeypatch) -> None:
    monkeypatch.setattr(fer.data.crops, "DETECTOR_PIXELS", 2 * 12 * 16 + 1)
    crop_images(paths, SETTINGS)
    assert {shape[0] for shape in cropper.batches if shape[1] == 12} == {2}


def test_a_second_run_is_served_from_the_cache_and_gives_the_same(paths: list[Path], cropper) -> None:
    first = crop_images(paths, SETTINGS)
    cropper.batches.clear()
    second = crop_images(paths, SETTINGS)
    assert cropper.batches == []
    assert second.records == first.records
    np.testing.assert_array_equal(second.images, first.images)


def test_a_source_is_found_again_by_its_bytes_wherever_it_is(paths: list[Path], cropper) -> None:
    crop_images(paths, SETTINGS)
    cropper.batches.clear()
    moved = paths[3].rename(paths[3].with_name("moved.png"))
    crop_images([moved], SETTINGS)
    assert cropper.batches == []
    write(moved, 200)
    crop_images([moved], SETTINGS)
    assert len(cropper.batches) == 1


@pytest.mark.parametrize(
    "change",
    [{"size": 9}, {"margin": 0.3}, {"align": True}, {"select": "central"}, {"fallback": "keep"}],
    ids=lambda change: next(iter(change)),
)
def test_other_settings_are_other_crops(paths: list[Path], cropper, change) -> None:
    crop_images(paths[:1], SETTINGS)
    crop_images(paths[:1], CropSettings(**{"size": 8} | change))
    assert len(cropper.batches) == 2


def test_a_killed_run_goes_on_where_it_was(paths: list[Path], cropper, monkeypatch) -> None:
    make = cropper.crop

    def killed(self, images):
        if len(cropper.batches) == 2:
            raise KeyboardInterrupt
        return make(self, images)

    monkeypatch.setattr(cropper, "crop", killed)
    with pytest.raises(KeyboardInterrupt):
        crop_images(paths, SETTINGS, batch_size=4)
    monkeypatch.setattr(cropper, "crop", make)
    num_made = sum(shape[0] for shape in cropper.batches)
    cropper.batches.clear()
    assert len(crop_images(paths, SETTINGS, batch_size=4).images) == 30
    assert sum(shape[0] for shape in cropper.batches) == 15 - num_made


def test_what_another_process_made_meanwhile_is_taken_over(paths: list[Path], cropper, monkeypatch) -> None:
    make, is_first = cropper.crop, [True]

    def crop(self, images):
        if is_first.pop() if is_first else False:  # the other one overtakes during the first batch
            crop_images(paths, SETTINGS, batch_size=4)
        return make(self, images)

    monkeypatch.setattr(cropper, "crop", crop)
    assert len(crop_images(paths, SETTINGS, batch_size=4).images) == 30
    assert sum(shape[0] for shape in cropper.batches) == 15 + 4


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:-30]), id="cut off"),
        pytest.param(lambda path: path.write_bytes(b""), id="empty"),
        pytest.param(lambda path: path.write_bytes(b"not an archive"), id="text"),
        pytest.param(lambda path: np.savez(path, policy="mtcnn"), id="arrays missing"),
        pytest.param(
            lambda path: np.savez(
                path,
                policy="mtcnn",
                images=np.zeros((1, 4, 4, 3), np.uint8),
                faces=np.ones((1, 5)),
                landmarks=np.ones((0, 2)),
            ),
            id="another size",
        ),
        pytest.param(
            lambda path: path.write_bytes(path.read_bytes().replace(b"\x05" * 20, b"\x06" * 20)), id="changed"
        ),
    ],
)
def test_a_damaged_cache_file_is_made_again_with_a_warning(paths, cropper, caplog, damage) -> None:
    first = crop_images(paths[1:2], SETTINGS)
    (kept,) = (Path(os.environ["FER_CACHE_DIR"]) / "crops").iterdir()
    cropper.batches.clear()
    damage(kept)
    again = crop_images(paths[1:2], SETTINGS)
    assert "is replaced" in caplog.text
    np.testing.assert_array_equal(again.images, first.images)
    caplog.clear()
    crop_images(paths[1:2], SETTINGS)
    assert len(cropper.batches) == 1
    assert "is replaced" not in caplog.text


def test_a_cache_that_cannot_be_written_is_one_warning(paths: list[Path], tmp_path: Path, caplog) -> None:
    (tmp_path / "file").touch()
    assert len(crop_images(paths, SETTINGS, cache=tmp_path / "file", batch_size=2).images) == 30
    assert caplog.text.count("FER_CACHE_DIR") == 1


@pytest.mark.parametrize(
    ("policy", "settings"),
    [
        pytest.param("mtcnn", SETTINGS, id="a face"),
        pytest.param("drop", CropSettings(size=8, fallback="drop"), id="nothing"),
    ],
)
def test_what_is_kept_is_read_back_as_it_was(paths: list[Path], policy: str, settings) -> None:
    index = 1 if policy == "mtcnn" else 0
    for _ in range(2):
        crops = crop_images(paths[index : index + 1], settings)
        (record,) = crops.records
        assert record.policy == policy
        if record.kept:
            assert record.face == Face((1.25, 2, 9, 10), 0.875, POINTS)
        else:
            assert record.face is None
            assert crops.images.shape == (0, 8, 8, 3)


def test_dropped_images_are_left_out_and_recorded(paths: list[Path]) -> None:
    crops = crop_images(paths, CropSettings(size=8, fallback="drop"))
    assert crops.images[:, 0, 0, 0].tolist() == [5 * number for number in range(1, 15)] * 2
    assert np.flatnonzero(~crops.kept).tolist() == [0, 15]


def test_no_face_is_an_error_where_that_is_asked_for(paths: list[Path]) -> None:
    for _ in range(2):  # from the cache, too
        with pytest.raises(InputError, match="no face was found in 2 of 30") as caught:
            crop_images(paths, CropSettings(size=8, fallback="error"))
        assert str(paths[0]) in str(caught.value)
        assert str(paths[15]) in str(caught.value)


# Bad files


def test_one_bad_image_does_not_stop_the_others(paths: list[Path], caplog) -> None:
    paths[7].write_bytes(paths[7].read_bytes()[:45])
    crops = crop_images(paths, SETTINGS)
    assert len(crops.images) == 29
    record = crops.records[7]
    assert (record.policy, record.kept, record.face) == ("bad", False, None)
    assert "not a whole image" in record.reason
    assert str(paths[7]) in caplog.text


def test_too_many_bad_images_are_an_error_that_names_the_first(paths: list[Path]) -> None:
    paths[0].unlink()
    paths[20].write_bytes(b"")
    with pytest.raises(InputError, match="2 of 30 images cannot be used, more than 5%") as caught:
        crop_images(paths, SETTINGS)
    assert f"{paths[0]}: there is no such file" in str(caught.value)
    assert f"{paths[20]}: an empty file" in str(caught.value)
    assert len(crop_images(paths, SETTINGS, max_bad_share=0.1).images) == 28


def test_no_bad_image_passes_where_that_is_asked_for(paths: list[Path]) -> None:
    paths[0].unlink()
    with pytest.raises(InputError, match="1 of 30"):
        crop_images(paths, SETTINGS, max_bad_share=0)


def test_a_image_on_which_the_detector_fails_is_bad_and_its_batch_is_not(paths, cropper) -> None:
    cropper.fails_on = 35
    crops = crop_images(paths, SETTINGS, max_bad_share=0.1)
    bad = [record for record in crops.records if record.policy == "bad"]
    assert [record.path for record in bad] == [paths[7], paths[22]]
    assert bad[0].reason == "the face detector failed (a face beside the image)"
    assert len(crops.images) == 28


def test_nothing_is_no_error() -> None:
    crops = crop_images([], SETTINGS)
    assert crops.images.shape == (0, 8, 8, 3)
    assert crops.records == ()


def test_what_was_done_is_logged(paths: list[Path], caplog) -> None:
    with caplog.at_level(logging.INFO, "fer.data"):
        crop_images(paths, SETTINGS)
    assert "crops of 30 images: mtcnn 28, centre 2" in caplog.text


# Accounts


RECORDS = (
    CropRecord(Path("/d/sad/1.png"), "mtcnn", Face((1.004, 2, 3, 4), 0.99999, POINTS)),
    CropRecord(Path("/d/sad/2, ü.png"), "viola_jones", Face((1, 2, 3, 4))),
    CropRecord(Path("/d/happy/3.png"), "centre"),
    CropRecord(Path("/d/happy/4.png"), "bad", reason="an empty file"),
)
CLASSES = ["sad", "sad", "happy", "happy"]


def test_the_csv_has_a_row_for_each_file(tmp_path: Path) -> None:
    names = ["sad/1.png", "sad/2, ü.png", "happy/3.png", "happy/4.png"]
    write_crops_csv(tmp_path / "crops.csv", RECORDS, root=Path("/d"), names=names)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "crops.csv").read_text("utf-8"), newline="")))
    assert [row["path"] for row in rows] == names
    assert [row["policy"] for row in rows] == ["mtcnn", "viola_jones", "centre", "bad"]
    assert [row["crop"] for row in rows] == [*names[:3], ""]
    assert [row["probability"] for row in rows] == ["1.0000", "", "", ""]
    assert [row["left"] for row in rows] == ["1.00", "1.00", "", ""]
    assert (rows[0]["left_eye_x"], rows[0]["mouth_right_y"], rows[1]["nose_x"]) == ("0.00", "5.00", "")
    assert rows[3]["reason"] == "an empty file"
    assert not any(None in row or None in row.values() for row in rows)


def test_a_name_that_is_no_text_is_written_byte_by_byte(tmp_path: Path) -> None:
    write_crops_csv(tmp_path / "crops.csv", [CropRecord(Path(os.fsdecode(b"a\xff.png")), "centre")])
    assert b"\na\xff.png,centre" in (tmp_path / "crops.csv").read_bytes()


def test_policies_are_counted_by_class() -> None:
    assert count_policies(RECORDS, CLASSES) == {
        "happy": Counter(centre=1, bad=1),
        "sad": Counter(mtcnn=1, viola_jones=1),
    }


def test_the_table_shows_the_policies_that_were_met_and_their_sums() -> None:
    console = Console(file=io.StringIO(), width=100)
    console.print(policy_table(count_policies(RECORDS, ["[b]sad"] * 2 + ["happy"] * 2)))
    lines = [line.split() for line in console.file.getvalue().splitlines() if line.strip(" ─")]
    assert lines == [
        ["class", "mtcnn", "viola_jones", "centre", "bad", "images"],
        ["[b]sad", "1", "1", "0", "0", "2"],
        ["happy", "0", "0", "1", "1", "2"],
        ["all", "1", "1", "1", "1", "4"],
    ]


def test_a_record_without_probability_has_none() -> None:
    assert math.isnan(Face((0, 0, 1, 1)).probability)


# Faces that were found before


class Finder:
    """Finds as many faces as the first pixel says, and counts what it is shown."""

    shown = 0

    def find(self, images):
        Finder.shown += len(images)
        return [[Face((1.5, 2, 9, 10), math.nan, POINTS)] * int(image[0, 0, 0]) for image in images]


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> KeptDetector:
    Finder.shown = 0
    monkeypatch.setattr(fer.data.crops, "make_detector", lambda name: Finder())
    return KeptDetector("mtcnn", tmp_path / "faces")


def images_of(*greys: int):
    return np.stack([np.full((6, 5, 3), grey, np.uint8) for grey in greys])


def test_a_image_is_looked_at_once(kept) -> None:
    first = kept.find(images_of(0, 2))
    assert [len(faces) for faces in first] == [0, 2]
    again = KeptDetector("mtcnn", kept.folder).find(images_of(2, 1, 0))
    assert [len(faces) for faces in again] == [2, 1, 0]
    assert Finder.shown == 3
    # repr, since NaN is not equal to itself
    assert repr(again[0]) == repr(first[1])


def test_another_detector_and_another_shape_are_looked_at_anew(kept) -> None:
    kept.find(images_of(1))
    KeptDetector("viola_jones", kept.folder).find(images_of(1))
    kept.find(images_of(1).transpose(0, 2, 1, 3))
    assert Finder.shown == 3


@pytest.mark.parametrize("content", [b"", b"[{}]", b"[1]", b"\xff"])
def test_damaged_faces_are_looked_for_again_with_a_warning(kept, content, caplog) -> None:
    kept.find(images_of(1))
    (path,) = kept.folder.iterdir()
    path.write_bytes(content)
    logging.getLogger("fer.data").propagate = True
    assert [len(faces) for faces in kept.find(images_of(1))] == [1]
    assert f"the cache file {path} cannot be read" in caplog.text
    assert Finder.shown == 2


def test_faces_are_found_where_nothing_can_be_kept(kept, tmp_path: Path) -> None:
    (tmp_path / "faces").touch()
    assert [len(faces) for faces in kept.find(images_of(1))] == [1]
