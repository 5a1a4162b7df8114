"""FER2013 comes in six wrappings, and is the same in each; what is wrong with one is said."""

import io
import itertools
import os
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from jsonargparse import ArgumentParser
from PIL import Image

import fer.data.fer2013 as module
from fer.data.fer2013 import (
    NUM_PIXELS,
    OFFICIAL_COUNTS,
    PRIVATE,
    PUBLIC,
    REMAP,
    TRAINING,
    USAGES,
    Fer2013DataModule,
    Fer2013Rows,
    download,
    read_fer2013,
)
from fer.errors import InputError
from fer.labels import EXPRESSIONS, FER2013_CSV

REAL_ROOT = os.environ.get("FER_DATA_DIR")

NUM_ROWS = 98
"""Of the tiny data set: for each class 10 images for training, 2 public, 2 private, in mixed order."""


@pytest.fixture(autouse=True)
def _own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FER_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("FER_DATA_DIR", raising=False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture(scope="session")
def rows() -> Fer2013Rows:
    """A tiny FER2013 in the order that image folders have too: by usage."""
    random = np.random.default_rng(0)
    labels = [random.permutation(np.repeat(np.arange(7), count)) for count in (10, 2, 2)]
    return Fer2013Rows(
        images=random.integers(0, 256, (NUM_ROWS, 48, 48), dtype=np.uint8),
        labels=np.concatenate(labels).astype(np.int64),
        usage=np.repeat(np.arange(3), (70, 14, 14)).astype(np.uint8),
    )


@cache
def csv_lines(rows: Fer2013Rows, order: str = "emotion,pixels,Usage") -> tuple[str, ...]:
    lines = [order]
    for image, label, usage in zip(rows.images, rows.labels, rows.usage, strict=True):
        cells = {
            "emotion": str(FER2013_CSV.index(EXPRESSIONS[label])),
            "pixels": " ".join(map(str, image.ravel().tolist())),
            "Usage": USAGES[usage],
        }
        lines.append(",".join(cells[name.strip()] for name in order.split(",")))
    return tuple(lines)


def csv_bytes(rows: Fer2013Rows) -> bytes:
    return ("\n".join(csv_lines(rows)) + "\n").encode()


def icml_bytes(rows: Fer2013Rows) -> bytes:
    return ("\n".join(csv_lines(rows, "emotion, Usage, pixels")) + "\n").encode()


def image_files(rows: Fer2013Rows, suffix: str = "png") -> Iterator[tuple[str, bytes]]:
    # Backwards and with numbers of different lengths: their order must come from the names.
    for number in reversed(range(len(rows.labels))):
        buffer = io.BytesIO()
        Image.fromarray(rows.images[number]).save(buffer, "png" if suffix == "png" else "jpeg")
        usage = USAGES[rows.usage[number]]
        part = "train" if usage == "Training" else "test"
        yield f"{part}/{EXPRESSIONS[rows.labels[number]]}/{usage}_{number}.{suffix}", buffer.getvalue()


def write_folder(folder: Path, rows: Fer2013Rows, suffix: str = "png") -> None:
    for name, content in image_files(rows, suffix):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (folder / "train" / ".DS_Store").write_bytes(b"junk")
    (folder / "train" / "happy" / "._Training_1.png").write_bytes(b"junk")
    (folder / "train" / "happy" / "readme.txt").write_bytes(b"not an image")


def write_zip(path: Path, *members: tuple[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("__MACOSX/fer2013.csv", b"junk")
        archive.writestr(".hidden/train/happy/Training_1.png", b"junk")
        for name, content in members:
            archive.writestr(name, content)


def tar_bytes(mode: str, *members: tuple[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    fast = {"xz": {"preset": 0}, "gz": {"compresslevel": 1}}.get(mode, {})
    with tarfile.open(fileobj=buffer, mode=f"w:{mode}", **fast) as archive:
        for name, content in (("fer2013/._fer2013.csv", b"junk"), ("fer2013/README", b"about"), *members):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def assert_same(found: Fer2013Rows, expected: Fer2013Rows) -> None:
    for name in ("images", "labels", "usage"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
        assert getattr(found, name).dtype == getattr(expected, name).dtype


# Every form is the same


def _csv(root: Path, rows: Fer2013Rows) -> None:
    (root / "fer2013.csv").write_bytes(csv_bytes(rows))


def _csv_below(root: Path, rows: Fer2013Rows) -> None:
    (root / "fer2013").mkdir()
    _csv(root / "fer2013", rows)


def _csv_of_windows(root: Path, rows: Fer2013Rows) -> None:
    quoted = [line.replace(",", ',"', 1).replace(",T", '",T') for line in csv_lines(rows)[1:71]]
    lines = ["\ufeffemotion,pixels,Usage", *quoted, "", *csv_lines(rows)[71:], ""]
    (root / "fer2013.csv").write_text("\n".join(lines), newline="\r\n")


def _icml(root: Path, rows: Fer2013Rows) -> None:
    (root / "icml_face_data.csv").write_bytes(icml_bytes(rows))


def _folder(root: Path, rows: Fer2013Rows) -> None:
    write_folder(root, rows)


def _folder_below(root: Path, rows: Fer2013Rows) -> None:
    write_folder(root / "fer2013", rows)


def _zip_of_csv(root: Path, rows: Fer2013Rows) -> None:
    write_zip(root / "archive.zip", ("a/b/fer2013.csv", csv_bytes(rows)))


def _zip_of_folder(root: Path, rows: Fer2013Rows) -> None:
    write_zip(root / "archive.zip", ("about.txt", b"text"), *image_files(rows))


def _zip_of_the_contest(root: Path, rows: Fer2013Rows) -> None:
    packed = tar_bytes("gz", ("fer2013/fer2013.csv", csv_bytes(rows)))
    others = (("train.csv", b"emotion,pixels\n"), ("test.csv", b"pixels\n"))
    write_zip(root / "challenges.zip", ("fer2013.tar.gz", packed), *others)


def _zip_of_the_contest_with_icml(root: Path, rows: Fer2013Rows) -> None:
    packed = tar_bytes("gz", ("fer2013/fer2013.csv", b"junk"))
    write_zip(root / "challenges.zip", ("fer2013.tar.gz", packed), ("icml_face_data.csv", icml_bytes(rows)))


def _tar(mode: str, name: str) -> Callable[[Path, Fer2013Rows], None]:
    def make(root: Path, rows: Fer2013Rows) -> None:
        (root / name).write_bytes(tar_bytes(mode, ("fer2013/fer2013.csv", csv_bytes(rows))))

    return make


def _tar_of_folder(root: Path, rows: Fer2013Rows) -> None:
    (root / "faces.tgz").write_bytes(tar_bytes("gz", *image_files(rows)))


FORMS = {
    "csv": _csv,
    "csv one level down": _csv_below,
    "csv with quotes, a BOM, CRLF and blank lines": _csv_of_windows,
    "icml_face_data": _icml,
    "folder": _folder,
    "folder one level down": _folder_below,
    "zip of a csv": _zip_of_csv,
    "zip of a folder": _zip_of_folder,
    "zip of the contest": _zip_of_the_contest,
    "zip of the contest, icml_face_data before the tar": _zip_of_the_contest_with_icml,
    "tar": _tar("", "fer2013.tar"),
    "tar.gz": _tar("gz", "fer2013.tar.gz"),
    "tar.xz": _tar("xz", "fer2013.tar.xz"),
    "tar.bz2": _tar("bz2", "fer2013.tar.bz2"),
    "tar of a folder": _tar_of_folder,
}


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
    _csv(root, rows)
    _zip_of_csv(root, rows)
    _tar("xz", "fer2013.tar.xz")(root, rows)
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


def test_forms_take_precedence_in_their_documented_order(root: Path, rows: Fer2013Rows) -> None:
    def part(count: int) -> Fer2013Rows:
        return Fer2013Rows(rows.images[:count], rows.labels[:count], rows.usage[:count])

    _csv(root, part(90))
    _csv_below(root, part(91))
    _icml(root, part(92))
    write_folder(root, part(93))
    write_folder(root / "fer2013", part(94))
    _tar("gz", "z_fer2013.tar.gz")(root, part(95))
    _zip_of_csv(root, part(96))
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


@pytest.mark.parametrize(
    ("csv_label", "name"),
    [(0, "angry"), (1, "disgust"), (2, "fear"), (3, "happy"), (4, "sad"), (5, "surprise"), (6, "neutral")],
)
def test_labels_of_the_csv_become_canonical(csv_label: int, name: str) -> None:
    assert EXPRESSIONS[REMAP[csv_label]] == name


# What is wrong is said


def _broken(rows: Fer2013Rows, number: int, change: Callable[[str], str]) -> bytes:
    lines = list(csv_lines(rows))
    lines[number - 1] = change(lines[number - 1])
    return ("\n".join(lines) + "\n").encode()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(lambda line: line.replace(" ", " 1 ", 1), "2305 pixels instead of 2304", id="too many"),
        pytest.param(lambda line: line.replace(" ", "", 5), "(2299 pixels|outside)", id="too few"),
        pytest.param(lambda line: "3,,Training", "0 pixels instead of 2304", id="none"),
        pytest.param(
            lambda line: line.replace(" ", " x", 1), "pixel 'x.*' is not a whole number", id="letter"
        ),
        pytest.param(lambda line: line.replace(" ", ".5 ", 1), "is not a whole number", id="fraction"),
        pytest.param(
            lambda line: f"3,256{' 0' * (NUM_PIXELS - 1)},Training", "pixel 256 is outside 0 to 255", id="256"
        ),
        pytest.param(
            lambda line: f"3,{'9' * 30}{' 0' * (NUM_PIXELS - 1)},Training", "outside 0 to 255", id="huge"
        ),
        pytest.param(
            lambda line: f"3,-1{' 0' * (NUM_PIXELS - 1)},Training", "pixel -1 is outside", id="negative"
        ),
        pytest.param(lambda line: "7" + line[1:], "emotion '7' is none of 0 to 6", id="label 7"),
        pytest.param(
            lambda line: "happy" + line[1:], "emotion 'happy' is none of 0 to 6", id="label by name"
        ),
        pytest.param(lambda line: line[1:], "emotion '' is none of 0 to 6", id="no label"),
        pytest.param(
            lambda line: line + "s", "Usage 'Trainings' is none of Training, PublicTest", id="usage"
        ),
        pytest.param(lambda line: line.rpartition(",")[0], "only 2 of the columns", id="no usage"),
    ],
)
def test_a_bad_row_is_named_with_file_and_line(
    change: Callable[[str], str], message: str, root: Path, rows: Fer2013Rows
) -> None:
    (root / "fer2013.csv").write_bytes(_broken(rows, 5, change))
    with pytest.raises(
        InputError, match=rf"fer2013\.csv, row 5: .*{message}.*; replace it with a whole copy"
    ):
        read_fer2013(root)


def test_a_bad_row_in_an_archive_is_named_with_all_its_wrappings(root: Path, rows: Fer2013Rows) -> None:
    bad = _broken(rows, 4, lambda line: "9" + line[1:])
    write_zip(root / "c.zip", ("fer2013.tar.gz", tar_bytes("gz", ("fer2013/fer2013.csv", bad))))
    with pytest.raises(InputError, match=r"c\.zip/fer2013\.tar\.gz/fer2013/fer2013\.csv, row 4: emotion '9'"):
        read_fer2013(root)


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        pytest.param(
            5_000, r"row 99: .*the file ends there, so that it may be truncated", id="within the pixels"
        ),
        pytest.param(4, r"row 99: Usage 'Private.*' is none of .*may be truncated", id="within the usage"),
    ],
)
def test_a_truncated_csv_is_told(cut: int, message: str, root: Path, rows: Fer2013Rows) -> None:
    (root / "fer2013.csv").write_bytes(csv_bytes(rows)[:-cut])
    with pytest.raises(InputError, match=message):
        read_fer2013(root)


@pytest.mark.parametrize("missing", ["emotion", "pixels", "Usage"])
def test_a_missing_column_is_named(missing: str, root: Path, rows: Fer2013Rows) -> None:
    order = ",".join(name for name in ("emotion", "pixels", "Usage") if name != missing)
    (root / "fer2013.csv").write_text("\n".join(csv_lines(rows, order)))
    with pytest.raises(InputError, match=rf"fer2013\.csv, row 1: no column {missing.lower()} in the header"):
        read_fer2013(root)


@pytest.mark.parametrize(
    ("content", "message"), [("", "no column emotion"), ("emotion,pixels,Usage\n", "no rows")]
)
def test_an_empty_csv_is_told(content: str, message: str, root: Path) -> None:
    (root / "fer2013.csv").write_text(content)
    with pytest.raises(InputError, match=message):
        read_fer2013(root)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *itertools.product(
            ("archive.zip", "f.tar.gz", "f.tar.xz", "f.tar.bz2"),
            ("truncated", "overwritten", "empty", "not an archive"),
        ),
        # A plain tar has no checksum that would tell that it was overwritten.
        *itertools.product(("f.tar",), ("truncated", "empty", "not an archive")),
    ],
)
def test_a_damaged_archive_is_named(name: str, damage: str, root: Path, rows: Fer2013Rows) -> None:
    path = root / name
    if name.endswith("zip"):
        _zip_of_csv(root, rows)
    else:
        _tar(name.removeprefix("f.tar").removeprefix("."), name)(root, rows)
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(
        {
            "truncated": content[:middle],
            "overwritten": content[:middle] + bytes(200) + content[middle + 200 :],
            "empty": b"",
            "not an archive": b"<html>Please sign in</html>" * 100,
        }[damage]
    )
    with pytest.raises(
        InputError, match=rf"{name}.*(cannot be read, it may be truncated or damaged|row \d+: )"
    ):
        read_fer2013(root)


def test_a_damaged_checksum_at_the_end_of_a_packed_tar_is_told(root: Path, rows: Fer2013Rows) -> None:
    _tar("gz", "fer2013.tar.gz")(root, rows)
    path = root / "fer2013.tar.gz"
    content = bytearray(path.read_bytes())
    content[-8] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"fer2013\.tar\.gz cannot be read"):
        read_fer2013(root)


def _save(folder: Path, name: str, size: tuple[int, int] = (48, 48)) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size).save(path)
    return path


def test_an_unknown_class_folder_is_named(root: Path, rows: Fer2013Rows) -> None:
    write_folder(root, rows)
    _save(root, "train/bored/Training_500.png")
    with pytest.raises(
        InputError, match=r"train/bored/Training_500\.png: unknown expression 'bored'.*rename"
    ):
        read_fer2013(root)


@pytest.mark.parametrize(
    "name", ["train/sad/face.png", "test/sad/Training_7.png", "train/sad/PublicTest_7.png"]
)
def test_a_file_name_that_hides_its_usage_is_named(name: str, root: Path, rows: Fer2013Rows) -> None:
    write_folder(root, rows)
    _save(root, name)
    with pytest.raises(
        InputError, match=rf"{name}: a file in {name.split('/')[0]}/ must be called .*Test|Training"
    ):
        read_fer2013(root)


def test_an_image_of_another_size_is_named(root: Path, rows: Fer2013Rows) -> None:
    write_folder(root, rows)
    _save(root, "train/sad/Training_500.png", (48, 50))
    with pytest.raises(InputError, match=r"Training_500\.png: 48x50 pixels instead of 48x48"):
        read_fer2013(root)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5])
def test_a_broken_image_is_named(suffix: str, share: float, root: Path, rows: Fer2013Rows) -> None:
    write_folder(root, rows, suffix)
    path = root / "test" / EXPRESSIONS[rows.labels[-1]] / f"PrivateTest_97.{suffix}"
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match=rf"PrivateTest_97\.{suffix} is not a whole image"):
        read_fer2013(root)


def test_a_broken_image_in_a_zip_is_named(root: Path, rows: Fer2013Rows) -> None:
    write_zip(root / "faces.zip", *image_files(rows), ("train/sad/Training_500.jpg", b"junk"))
    with pytest.raises(InputError, match=r"faces\.zip/train/sad/Training_500\.jpg is not a whole image"):
        read_fer2013(root)


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
    _csv(root, rows)
    read_fer2013(root)
    assert "holds 70/14/14 images" in caplog.text
    assert "28,709/3,589/3,589" in caplog.text
    assert {record.name for record in caplog.records} == {"fer.data"}
    caplog.clear()
    monkeypatch.setattr(module, "OFFICIAL_COUNTS", rows.counts)
    read_fer2013(root)
    assert not caplog.records


# Cache


def cache_files(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache").iterdir())


def _refuse(*_: object) -> None:
    pytest.fail("the source was parsed again")


@pytest.mark.parametrize("make", [_csv, _folder, _zip_of_csv], ids=["csv", "folder", "zip"])
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
    monkeypatch.setattr(module, "_parse", _refuse)
    assert_same(read_fer2013(root), rows)


def test_the_cache_folder_can_be_given(root: Path, rows: Fer2013Rows, tmp_path: Path) -> None:
    _csv(root, rows)
    read_fer2013(root, cache=tmp_path / "elsewhere")
    assert len(list((tmp_path / "elsewhere").iterdir())) == 1
    assert not (tmp_path / "cache").exists()


def test_a_changed_csv_is_parsed_again(root: Path, rows: Fer2013Rows) -> None:
    _csv(root, rows)
    read_fer2013(root)
    fewer = Fer2013Rows(rows.images[1:], rows.labels[1:], rows.usage[1:])
    _csv(root, fewer)
    assert_same(read_fer2013(root), fewer)


def test_a_changed_image_folder_is_parsed_again(root: Path, rows: Fer2013Rows) -> None:
    write_folder(root, rows)
    read_fer2013(root)
    _save(root, "train/sad/Training_500.png")
    assert read_fer2013(root).counts == (71, 14, 14)


def test_files_beside_the_image_folders_do_not_matter(
    root: Path, rows: Fer2013Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(root, rows)
    read_fer2013(root)
    (root / "notes.txt").write_text("new")
    monkeypatch.setattr(module, "_parse", _refuse)
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
    _csv(root, rows)
    read_fer2013(root)
    (kept,) = cache_files(tmp_path)
    kept.write_bytes(damage(kept.read_bytes()))
    assert_same(read_fer2013(root), rows)
    assert "made again" in caplog.text
    monkeypatch.setattr(module, "_parse", _refuse)
    assert_same(read_fer2013(root), rows)


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

    _csv(root, rows)
    monkeypatch.setattr(module.np, "savez", fill)
    assert_same(read_fer2013(root), rows)
    assert "cache cannot be written" in caplog.text
    assert "No space left" in caplog.text
    assert cache_files(tmp_path) == []


def test_a_cache_folder_that_cannot_be_made_is_done_without(
    root: Path, rows: Fer2013Rows, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _csv(root, rows)
    (tmp_path / "file").write_text("in the way")
    for _ in range(2):
        assert_same(read_fer2013(root, cache=tmp_path / "file" / "cache"), rows)
    assert "FER_CACHE_DIR" in caplog.text


def test_a_failed_parse_is_not_cached(root: Path, rows: Fer2013Rows, tmp_path: Path) -> None:
    (root / "fer2013.csv").write_bytes(csv_bytes(rows)[:-4])
    with pytest.raises(InputError):
        read_fer2013(root)
    assert not (tmp_path / "cache").exists()


# Protocols


def data_module(root: Path, protocol: str, *, seed: int = 0) -> Fer2013DataModule:
    data = Fer2013DataModule(root=str(root), protocol=protocol, seed=seed, batch_size=4)  # type: ignore[arg-type]
    data.prepare_data()
    data.setup()
    return data


@pytest.mark.parametrize(
    ("protocol", "sizes", "name"),
    [
        ("official", {"train": 70, "val": 14, "test": 14}, "official: Training / PublicTest / PrivateTest"),
        (
            "merged",
            {"train": 63, "val": 7, "test": 28},
            "merged: 90% of Training / 10% / PublicTest + PrivateTest",
        ),
        (
            "holdout",
            {"train": 49, "val": 21, "public": 14, "private": 14},
            "holdout: 70% of Training / 30% / PublicTest, PrivateTest",
        ),
    ],
)
def test_splits_share_no_image_and_leave_none_out(
    protocol: str, sizes: dict[str, int], name: str, root: Path, rows: Fer2013Rows
) -> None:
    _csv(root, rows)
    data = data_module(root, protocol)
    assert {key: len(split) for key, split in data.splits.items()} == sizes
    assert data.test_names == tuple(sizes)[2:]
    assert data.protocol_name == name
    found = {image.tobytes() for split in data.splits.values() for image in split.images}
    assert len(found) == NUM_ROWS == sum(sizes.values())
    usage = {image.tobytes(): part for image, part in zip(rows.images, rows.usage, strict=True)}
    label = {image.tobytes(): part for image, part in zip(rows.images, rows.labels, strict=True)}
    allowed = {
        "train": {TRAINING},
        "val": {PUBLIC} if protocol == "official" else {TRAINING},
        "test": {PRIVATE} if protocol == "official" else {PUBLIC, PRIVATE},
        "public": {PUBLIC},
        "private": {PRIVATE},
    }
    for key, split in data.splits.items():
        assert {usage[image.tobytes()] for image in split.images} == allowed[key]
        assert [label[image.tobytes()] for image in split.images] == split.labels.tolist()


@pytest.mark.parametrize(("protocol", "per_class"), [("merged", (9, 1)), ("holdout", (7, 3))])
def test_drawn_splits_keep_the_shares_of_the_classes(
    protocol: str, per_class: tuple[int, int], root: Path, rows: Fer2013Rows
) -> None:
    _csv(root, rows)
    splits = data_module(root, protocol).splits
    for name, count in zip(("train", "val"), per_class, strict=True):
        assert np.bincount(splits[name].labels).tolist() == [count] * 7


@pytest.mark.parametrize("protocol", ["merged", "holdout"])
def test_drawn_splits_depend_on_the_seed_alone(protocol: str, root: Path, rows: Fer2013Rows) -> None:
    _csv(root, rows)
    first, again, other = (data_module(root, protocol, seed=seed).splits for seed in (1, 1, 2))
    np.testing.assert_array_equal(first["val"].images, again["val"].images)
    assert not np.array_equal(first["val"].images, other["val"].images)


def test_holdout_of_the_official_counts_has_the_printed_sizes() -> None:
    """20,096 and 8,613 (Onghena and Belo)."""
    labels = np.repeat(np.arange(7), (3995, 436, 4097, 7215, 4965, 4830, 3171))
    data = Fer2013DataModule(protocol="holdout")
    train, val = data._draw(np.arange(OFFICIAL_COUNTS[TRAINING]), labels, module.HOLDOUT_VAL_SHARE)
    assert (train.size, val.size) == (20_096, 8_613)


def test_the_environment_names_the_root(
    root: Path, rows: Fer2013Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    _csv_below(root, rows)
    monkeypatch.setenv("FER_DATA_DIR", str(root))
    data = Fer2013DataModule(batch_size=7)
    data.prepare_data()
    data.setup()
    inputs, labels = next(iter(data.val_dataloader()))
    assert inputs.shape == (7, 1, 48, 48)
    assert labels.tolist() == rows.labels[70:77].tolist()


def test_no_root_at_all_is_told() -> None:
    with pytest.raises(InputError, match=r"no folder was given for FER2013; .*--data\.root.*FER_DATA_DIR"):
        Fer2013DataModule().prepare_data()


def test_an_unknown_protocol_is_refused() -> None:
    with pytest.raises(InputError, match=r"data\.protocol is 'kaggle': it must be one of official, merged"):
        Fer2013DataModule(protocol="kaggle")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("protocol", "missing", "empty"),
    [
        ("official", PRIVATE, "test"),
        ("official", PUBLIC, "val"),
        ("official", TRAINING, "train"),
        ("holdout", PUBLIC, "public"),
    ],
)
def test_an_empty_split_is_named(
    protocol: str, missing: int, empty: str, root: Path, rows: Fer2013Rows
) -> None:
    kept = rows.usage != missing
    _csv(root, Fer2013Rows(rows.images[kept], rows.labels[kept], rows.usage[kept]))
    with pytest.raises(InputError, match=rf"leaves nothing for {empty} by data\.protocol={protocol}"):
        data_module(root, protocol)


@pytest.mark.parametrize("usage", ["none", "too few"])
def test_too_few_images_to_draw_from_are_told(usage: str, root: Path, rows: Fer2013Rows) -> None:
    kept = rows.usage != TRAINING
    kept[:3] = usage == "too few"
    _csv(root, Fer2013Rows(rows.images[kept], rows.labels[kept], rows.usage[kept]))
    with pytest.raises(
        InputError, match=r"data\.protocol=holdout cannot draw 30% of the [03] Training images"
    ):
        data_module(root, "holdout")


def test_drawing_without_scikit_learn_names_it(
    root: Path, rows: Fer2013Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    _csv(root, rows)
    monkeypatch.setitem(sys.modules, "sklearn.model_selection", None)
    with pytest.raises(InputError, match="pip install scikit-learn"):
        data_module(root, "merged")
    data_module(root, "official")


def test_the_command_line_sees_every_option() -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Fer2013DataModule, "data")
    given = parser.parse_args(
        ["--data.protocol=merged", "--data.root=x", "--data.batch_size=8", "--data.seed=3"]
    )
    assert (given.data.protocol, given.data.root, given.data.batch_size, given.data.seed) == (
        "merged",
        "x",
        8,
        3,
    )
    assert {"image_size", "channels", "num_workers", "normalise", "augment"} <= set(vars(given.data))


# Download


class RefusalError(Exception):
    """Stands for Kaggle's own exceptions."""


def fake_kagglehub(monkeypatch: pytest.MonkeyPatch, fetch: Callable[[str], str]) -> None:
    names = ("Backend", "Credential", "DataCorruption", "KaggleEnvironment", "NotFound", "Unauthenticated")
    hub = ModuleType("kagglehub")
    hub.dataset_download = fetch  # type: ignore[attr-defined]
    hub.exceptions = SimpleNamespace(**{f"{name}Error": RefusalError for name in names})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "kagglehub", hub)


def test_download_copies_the_folders_once(
    root: Path, rows: Fer2013Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path / "hub", rows)
    asked: list[str] = []

    def fetch(handle: str) -> str:
        asked.append(handle)
        return str(tmp_path / "hub")

    fake_kagglehub(monkeypatch, fetch)
    assert download(root) == root / "fer2013"
    assert sorted(path.name for path in (root / "fer2013").iterdir()) == ["test", "train"]
    assert_same(read_fer2013(root), rows)
    download(root)
    assert asked == ["msambare/fer2013"]
    shutil.rmtree(root / "fer2013" / "test")
    download(root)
    assert_same(read_fer2013(root), rows)


def test_a_copy_that_fails_leaves_no_half(
    root: Path, rows: Fer2013Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path / "hub", rows)
    fake_kagglehub(monkeypatch, lambda handle: str(tmp_path / "hub"))

    def fill(source: Path, target: Path) -> None:
        target.mkdir()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.shutil, "copytree", fill)
    with pytest.raises(InputError, match=r"cannot be copied to .*No space left"):
        download(root)
    assert list((root / "fer2013").iterdir()) == []


@pytest.mark.parametrize("failure", [ConnectionError("no route to host"), RefusalError("sign in first")])
def test_a_failed_download_says_where_to_get_it_by_hand(
    failure: Exception, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(handle: str) -> str:
        raise failure

    fake_kagglehub(monkeypatch, fetch)
    with pytest.raises(InputError, match=rf"{failure}.*by hand from https://www\.kaggle\.com/.*--data\.root"):
        download(root)
    assert list(root.iterdir()) == []


def test_a_download_of_something_else_is_told(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_kagglehub(monkeypatch, lambda handle: str(tmp_path))
    with pytest.raises(InputError, match="does not hold the folders train and test"):
        download(root)


def test_download_without_kagglehub_names_the_extra(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(InputError, match=r"pip install 'fer-neurons\[kaggle\]'"):
        download(root)


# The real data


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
