"""FER2013 is stored in many forms, and is the same in each; it is found, read and cached."""

import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fer2013_forms import (
    FORMS,
    as_csv,
    as_csv_below,
    as_folder,
    as_icml,
    as_tar,
    as_zip_of_csv,
    assert_same,
    csv_bytes,
    image_files,
    save_image,
    tar_bytes,
    write_folder,
    write_zip,
)
from PIL import Image

from fer.data.fer2013 import PRIVATE, PUBLIC, TRAINING, Fer2013Rows, read_fer2013, reading
from fer.errors import InputError


@pytest.mark.parametrize("make", FORMS.values(), ids=FORMS.keys())
def test_every_form_gives_the_same_rows_parsed_and_cached(
    make: Callable[[Path, Fer2013Rows], None], root: Path, rows: Fer2013Rows
) -> None:
    make(root, rows)
    before = sorted(root.rglob("*"))
    assert_same(read_fer2013(root), rows)
    assert_same(read_fer2013(root), rows)
    assert sorted(root.rglob("*")) == before, "nothing is unpacked to disk"


@pytest.mark.parametrize("name", ["fer2013.csv", "archive.zip", "fer2013.tar.xz"])
def test_the_file_itself_can_be_given(name: str, root: Path, rows: Fer2013Rows) -> None:
    as_csv(root, rows)
    as_zip_of_csv(root, rows)
    as_tar("xz", "fer2013.tar.xz")(root, rows)
    assert_same(read_fer2013(root / name), rows)


@pytest.mark.parametrize("suffix", ["jpg", "jpeg"])
def test_jpeg_folders_give_what_pillow_decodes(suffix: str, root: Path, rows: Fer2013Rows) -> None:
    write_folder(root, rows, suffix)
    found = read_fer2013(root)
    files = dict(image_files(rows, suffix))
    for number in (0, 69, 70, 97):
        (content,) = (data for name, data in files.items() if name.endswith(f"_{number}.{suffix}"))
        np.testing.assert_array_equal(found.images[number], np.asarray(Image.open(io.BytesIO(content))))
    np.testing.assert_array_equal(found.labels, rows.labels)
    np.testing.assert_array_equal(found.usage, rows.usage)


@pytest.mark.slow
def test_forms_take_precedence_in_their_documented_order(root: Path, rows: Fer2013Rows) -> None:
    def part(count: int) -> Fer2013Rows:
        return Fer2013Rows(rows.images[:count], rows.labels[:count], rows.usage[:count])

    as_csv(root, part(90))
    as_csv_below(root, part(91))
    as_icml(root, part(92))
    write_folder(root, part(93))
    write_folder(root / "fer2013", part(94))
    as_tar("gz", "z_fer2013.tar.gz")(root, part(95))
    as_zip_of_csv(root, part(96))
    found = []
    for name in ("fer2013.csv", "fer2013/fer2013.csv", "icml_face_data.csv", "train", "fer2013/train"):
        found.append(len(read_fer2013(root).labels))
        path = root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    found.append(len(read_fer2013(root).labels))
    (root / "z_fer2013.tar.gz").unlink()
    found.append(len(read_fer2013(root).labels))
    assert found == [90, 91, 92, 93, 94, 95, 96]


def test_an_archive_of_something_else_is_passed_over(root: Path, rows: Fer2013Rows) -> None:
    write_zip(root / "a.zip", ("holiday/photo.jpg", b"junk"))
    (root / "b.tar.gz").write_bytes(tar_bytes("gz", ("notes.txt", b"text")))
    write_zip(root / "c.zip", ("fer2013.csv", csv_bytes(rows)))
    assert_same(read_fer2013(root), rows)


def test_nothing_found_says_what_was_looked_for_and_the_way_out(root: Path) -> None:
    (root / "train").mkdir()
    write_zip(root / "holiday.zip", ("photo.jpg", b"junk"))
    with pytest.raises(InputError) as caught:
        read_fer2013(root)
    for part in (
        str(root),
        "fer2013.csv",
        "icml_face_data.csv",
        "train/",
        ".tar.xz",
        "--data.root",
        "FER_DATA_DIR",
        "make data-fer2013",
    ):
        assert part in str(caught.value)


def test_empty_image_folders_are_nothing(root: Path) -> None:
    (root / "train" / "happy").mkdir(parents=True)
    (root / "test" / "happy").mkdir(parents=True)
    with pytest.raises(InputError, match="no FER2013 in"):
        read_fer2013(root)


def test_a_missing_root_is_named(root: Path) -> None:
    with pytest.raises(InputError, match=r"no FER2013 in .*/absent"):
        read_fer2013(root / "absent")


def test_a_file_of_another_kind_is_refused(root: Path) -> None:
    (root / "fer2013.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"fer2013\.parquet is neither a CSV nor an archive"):
        read_fer2013(root / "fer2013.parquet")


def test_counts_other_than_the_official_ones_are_logged(
    root: Path, rows: Fer2013Rows, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_csv(root, rows)
    read_fer2013(root)
    assert "has 70/14/14 images" in caplog.text
    assert "28,709/3,589/3,589" in caplog.text
    assert {record.name for record in caplog.records} == {"fer.data"}
    caplog.clear()
    monkeypatch.setattr(reading, "OFFICIAL_COUNTS", rows.counts)
    read_fer2013(root)
    assert not caplog.records


# Cache


def cache_files(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache").iterdir())


def _refuse(*_: object) -> None:
    pytest.fail("the source was parsed again")


@pytest.mark.parametrize("make", [as_csv, as_folder, as_zip_of_csv], ids=["csv", "folder", "zip"])
def test_a_second_read_does_not_parse(
    make: Callable[[Path, Fer2013Rows], None],
    root: Path,
    rows: Fer2013Rows,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make(root, rows)
    read_fer2013(root)
    assert len(cache_files(tmp_path)) == 1
    monkeypatch.setattr(reading, "_parse", _refuse)
    assert_same(read_fer2013(root), rows)


def test_the_cache_folder_can_be_given(root: Path, rows: Fer2013Rows, tmp_path: Path) -> None:
    as_csv(root, rows)
    read_fer2013(root, cache=tmp_path / "elsewhere")
    assert len(list((tmp_path / "elsewhere").iterdir())) == 1
    assert not (tmp_path / "cache").exists()


def test_a_changed_csv_is_parsed_again(root: Path, rows: Fer2013Rows) -> None:
    as_csv(root, rows)
    read_fer2013(root)
    fewer = Fer2013Rows(rows.images[1:], rows.labels[1:], rows.usage[1:])
    as_csv(root, fewer)
    assert_same(read_fer2013(root), fewer)


def test_a_changed_image_folder_is_parsed_again(root: Path, rows: Fer2013Rows) -> None:
    write_folder(root, rows)
    read_fer2013(root)
    save_image(root, "train/sad/Training_500.png")
    assert read_fer2013(root).counts == (71, 14, 14)


def test_files_beside_the_image_folders_do_not_matter(
    root: Path, rows: Fer2013Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(root, rows)
    read_fer2013(root)
    (root / "notes.txt").write_text("new")
    monkeypatch.setattr(reading, "_parse", _refuse)
    assert_same(read_fer2013(root), rows)


def _npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda content: content[: len(content) // 2], id="truncated"),
        pytest.param(lambda content: content[:40_000] + bytes(99) + content[40_099:], id="overwritten"),
        pytest.param(lambda content: b"", id="empty"),
        pytest.param(lambda content: b"not a cache file", id="text"),
        pytest.param(lambda content: _npz(weights=np.zeros(3)), id="other arrays"),
        pytest.param(
            lambda content: _npz(
                images=np.zeros((2, 9, 9), np.uint8),
                labels=np.zeros(2, np.int64),
                usage=np.zeros(2, np.uint8),
            ),
            id="other shapes",
        ),
        pytest.param(
            lambda content: _npz(
                images=np.zeros((1, 48, 48), np.uint8), labels=np.array([7]), usage=np.zeros(1, np.uint8)
            ),
            id="labels out of range",
        ),
        pytest.param(
            lambda content: _npz(images=np.array([{}], dtype=object), labels=np.zeros(1), usage=np.zeros(1)),
            id="pickled",
        ),
    ],
)
def test_a_damaged_cache_file_is_made_again(
    damage: Callable[[bytes], bytes],
    root: Path,
    rows: Fer2013Rows,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    as_csv(root, rows)
    read_fer2013(root)
    (kept,) = cache_files(tmp_path)
    kept.write_bytes(damage(kept.read_bytes()))
    assert_same(read_fer2013(root), rows)
    assert "is replaced" in caplog.text
    monkeypatch.setattr(reading, "_parse", _refuse)
    assert_same(read_fer2013(root), rows)


@pytest.mark.parametrize("names", [("pictures", "labels", "usage"), ("images", "labels", "usage")])
def test_a_cache_file_of_an_older_format_is_ignored_without_a_word(
    names: tuple[str, ...],
    root: Path,
    rows: Fer2013Rows,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    as_csv(root, rows)
    read_fer2013(root)
    (cached,) = cache_files(tmp_path)
    wrong = (rows.images[::-1], rows.labels, rows.usage)
    older = cached.with_name(cached.name.replace("-v2-", "-v1-"))
    older.write_bytes(_npz(**dict(zip(names, wrong, strict=True))))
    cached.unlink()
    monkeypatch.setattr(reading, "OFFICIAL_COUNTS", rows.counts)
    caplog.clear()
    assert_same(read_fer2013(root), rows)
    assert not caplog.records


def test_a_disk_that_fills_up_leaves_no_file_behind(
    root: Path,
    rows: Fer2013Rows,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fill(file: io.BufferedWriter, **_: object) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    as_csv(root, rows)
    monkeypatch.setattr(reading.np, "savez", fill)
    assert_same(read_fer2013(root), rows)
    assert "cache cannot be written" in caplog.text
    assert "No space left" in caplog.text
    assert cache_files(tmp_path) == []


def test_a_cache_folder_that_cannot_be_made_is_done_without(
    root: Path, rows: Fer2013Rows, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    as_csv(root, rows)
    (tmp_path / "file").write_text("in the way")
    for _ in range(2):
        assert_same(read_fer2013(root, cache=tmp_path / "file" / "cache"), rows)
    assert "FER_CACHE_DIR" in caplog.text


def test_a_failed_parse_is_not_cached(root: Path, rows: Fer2013Rows, tmp_path: Path) -> None:
    (root / "fer2013.csv").write_bytes(csv_bytes(rows)[:-4])
    with pytest.raises(InputError):
        read_fer2013(root)
    assert not (tmp_path / "cache").exists()


# The real data

REAL_ROOT = os.environ.get("FER_DATA_DIR")


@pytest.fixture(scope="module")
def real_rows(tmp_path_factory: pytest.TempPathFactory) -> Fer2013Rows:
    if not REAL_ROOT:
        pytest.skip("FER_DATA_DIR is not set: it names the folder with FER2013")
    try:
        return read_fer2013(Path(REAL_ROOT), cache=tmp_path_factory.mktemp("cache"))
    except InputError as e:
        if str(e).startswith("no FER2013"):
            pytest.skip(f"FER_DATA_DIR lacks FER2013: {e}")
        raise


@pytest.mark.slow
@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        pytest.param(TRAINING, [3995, 436, 4097, 7215, 4965, 4830, 3171], id="Training"),
        pytest.param(PUBLIC, [467, 56, 496, 895, 607, 653, 415], id="PublicTest"),
        pytest.param(PRIVATE, [491, 55, 528, 879, 626, 594, 416], id="PrivateTest"),
    ],
)
def test_real_class_counts(usage: int, counts: list[int], real_rows: Fer2013Rows) -> None:
    assert np.bincount(real_rows.labels[real_rows.usage == usage]).tolist() == counts


@pytest.mark.slow
def test_real_mean_and_deviation_of_training(real_rows: Fer2013Rows) -> None:
    training = real_rows.images[real_rows.usage == TRAINING]
    assert training.mean() / 255 == pytest.approx(0.5077, abs=5e-5)
    assert training.std() / 255 == pytest.approx(0.2550, abs=5e-5)
