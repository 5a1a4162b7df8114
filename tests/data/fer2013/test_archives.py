"""Archives and image files: what is damaged is named, and memory stays bounded."""

import bz2
import itertools
import tracemalloc
from pathlib import Path

import pytest
from fer2013_forms import (
    as_tar,
    as_zip_of_csv,
    assert_same,
    csv_bytes,
    csv_lines,
    image_files,
    save_image,
    tar_bytes,
    write_folder,
    write_zip,
)

from fer.data.fer2013 import Fer2013Rows, read_fer2013, reading
from fer.errors import InputError
from fer.labels import EXPRESSIONS


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
        as_zip_of_csv(root, rows)
    else:
        as_tar(name.removeprefix("f.tar").removeprefix("."), name)(root, rows)
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
        InputError, match=rf"{name}.*(cannot be read and may be truncated or damaged|line \d+)"
    ):
        read_fer2013(root)


def test_a_damaged_checksum_at_the_end_of_a_packed_tar_is_told(root: Path, rows: Fer2013Rows) -> None:
    as_tar("gz", "fer2013.tar.gz")(root, rows)
    path = root / "fer2013.tar.gz"
    content = bytearray(path.read_bytes())
    content[-8] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"fer2013\.tar\.gz cannot be read"):
        read_fer2013(root)


def test_an_unknown_class_folder_is_named(root: Path, rows: Fer2013Rows) -> None:
    write_folder(root, rows)
    save_image(root, "train/bored/Training_500.png")
    with pytest.raises(
        InputError, match=r"train/bored/Training_500\.png: unknown expression 'bored'.*rename"
    ):
        read_fer2013(root)


@pytest.mark.parametrize(
    "name", ["train/sad/face.png", "test/sad/Training_7.png", "train/sad/PublicTest_7.png"]
)
def test_a_file_name_that_hides_its_usage_is_named(name: str, root: Path, rows: Fer2013Rows) -> None:
    write_folder(root, rows)
    save_image(root, name)
    with pytest.raises(
        InputError, match=rf"{name}: a file in {name.split('/')[0]}/ must be named .*Test|Training"
    ):
        read_fer2013(root)


def test_an_image_of_another_size_is_named(root: Path, rows: Fer2013Rows) -> None:
    write_folder(root, rows)
    save_image(root, "train/sad/Training_500.png", (48, 50))
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


COPIES = 20
"""Of the tiny data set in the large one: 4.5 MB of images, more than what the buffers take."""


def _many_lines(rows: Fer2013Rows) -> bytes:
    header, *lines = csv_lines(rows)
    return "\n".join([header, *(lines * COPIES)]).encode()


def _many_images(rows: Fer2013Rows) -> list[tuple[str, bytes]]:
    files = list(image_files(rows))
    return [(name.replace(".png", f"{copy:02d}.png"), data) for copy in range(COPIES) for name, data in files]


@pytest.mark.parametrize("form", ["csv", "zip of a csv", "tar of a csv", "folder", "zip", "tar"])
@pytest.mark.slow
def test_reading_takes_less_than_twice_the_memory_of_the_data(
    form: str, root: Path, rows: Fer2013Rows
) -> None:
    if form == "csv":
        (source := root / "fer2013.csv").write_bytes(_many_lines(rows))
    elif form == "folder":
        source = root
        for name, data in _many_images(rows):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(data)
    else:
        members = [("fer2013.csv", _many_lines(rows))] if "csv" in form else _many_images(rows)
        source = root / ("f.zip" if "zip" in form else "f.tar.gz")
        if "zip" in form:
            write_zip(source, *members)
        else:
            source.write_bytes(tar_bytes("gz", *members))
        del members
    tracemalloc.start()
    found = reading._parse(source)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found.images) == COPIES * len(rows.images)
    assert found.images[::COPIES].tobytes() == rows.images.tobytes() or "csv" in form
    assert peak < 1.9 * found.images.nbytes


@pytest.mark.parametrize("name", ["fer2013.zip", "fer2013.tar.gz"])
@pytest.mark.slow
def test_an_image_file_that_is_far_too_large_is_refused_unread(
    name: str, root: Path, rows: Fer2013Rows
) -> None:
    huge = ("train/sad/Training_500.jpg", bytes(64 << 20))
    if name.endswith("zip"):
        write_zip(root / name, *image_files(rows), huge)
    else:
        (root / name).write_bytes(tar_bytes("gz", *image_files(rows), huge))
    tracemalloc.start()
    with pytest.raises(InputError, match=r"Training_500\.jpg is larger than 1,048,576 bytes"):
        read_fer2013(root)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


def test_a_tar_compressed_in_several_streams_is_read_whole(root: Path, rows: Fer2013Rows) -> None:
    """As pbzip2 and pixz compress."""
    content = tar_bytes("", ("fer2013/fer2013.csv", csv_bytes(rows)))
    parts = [content[start : start + 100_000] for start in range(0, len(content), 100_000)]
    (root / "fer2013.tar.bz2").write_bytes(b"".join(map(bz2.compress, parts)))
    assert_same(read_fer2013(root), rows)
