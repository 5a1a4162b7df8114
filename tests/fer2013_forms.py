"""A tiny FER2013 and every form in which it is stored, for tests."""

import io
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from fer.data.fer2013 import USAGES, Fer2013Rows
from fer.labels import EXPRESSIONS, FER2013_CSV

NUM_ROWS = 98
"""Of the tiny data set: for each class 10 images for training, 2 public, 2 private, in mixed order."""


def tiny_rows() -> Fer2013Rows:
    """Return a tiny FER2013 in the order that image folders have too: by usage."""
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


def as_csv(root: Path, rows: Fer2013Rows) -> None:
    (root / "fer2013.csv").write_bytes(csv_bytes(rows))


def as_csv_below(root: Path, rows: Fer2013Rows) -> None:
    (root / "fer2013").mkdir()
    as_csv(root / "fer2013", rows)


def as_csv_of_windows(root: Path, rows: Fer2013Rows) -> None:
    quoted = [line.replace(",", ',"', 1).replace(",T", '",T') for line in csv_lines(rows)[1:71]]
    lines = ["\ufeffemotion,pixels,Usage", *quoted, "", *csv_lines(rows)[71:], ""]
    (root / "fer2013.csv").write_text("\n".join(lines), newline="\r\n")


def as_icml(root: Path, rows: Fer2013Rows) -> None:
    (root / "icml_face_data.csv").write_bytes(icml_bytes(rows))


def as_folder(root: Path, rows: Fer2013Rows) -> None:
    write_folder(root, rows)


def as_folder_below(root: Path, rows: Fer2013Rows) -> None:
    write_folder(root / "fer2013", rows)


def as_zip_of_csv(root: Path, rows: Fer2013Rows) -> None:
    write_zip(root / "archive.zip", ("a/b/fer2013.csv", csv_bytes(rows)))


def as_zip_of_folder(root: Path, rows: Fer2013Rows) -> None:
    write_zip(root / "archive.zip", ("about.txt", b"text"), *image_files(rows))


def as_zip_of_the_contest(root: Path, rows: Fer2013Rows) -> None:
    packed = tar_bytes("gz", ("fer2013/fer2013.csv", csv_bytes(rows)))
    others = (("train.csv", b"emotion,pixels\n"), ("test.csv", b"pixels\n"))
    write_zip(root / "challenges.zip", ("fer2013.tar.gz", packed), *others)


def as_zip_of_the_contest_with_icml(root: Path, rows: Fer2013Rows) -> None:
    packed = tar_bytes("gz", ("fer2013/fer2013.csv", b"junk"))
    write_zip(root / "challenges.zip", ("fer2013.tar.gz", packed), ("icml_face_data.csv", icml_bytes(rows)))


def as_tar(mode: str, name: str) -> Callable[[Path, Fer2013Rows], None]:
    def make(root: Path, rows: Fer2013Rows) -> None:
        (root / name).write_bytes(tar_bytes(mode, ("fer2013/fer2013.csv", csv_bytes(rows))))

    return make


def as_tar_of_folder(root: Path, rows: Fer2013Rows) -> None:
    (root / "faces.tgz").write_bytes(tar_bytes("gz", *image_files(rows)))


FORMS = {
    "csv": as_csv,
    "csv one level down": as_csv_below,
    "csv with quotes, a BOM, CRLF and blank lines": as_csv_of_windows,
    "icml_face_data": as_icml,
    "folder": as_folder,
    "folder one level down": as_folder_below,
    "zip of a csv": as_zip_of_csv,
    "zip of a folder": as_zip_of_folder,
    "zip of the contest": as_zip_of_the_contest,
    "zip of the contest, icml_face_data before the tar": as_zip_of_the_contest_with_icml,
    "tar": as_tar("", "fer2013.tar"),
    "tar.gz": as_tar("gz", "fer2013.tar.gz"),
    "tar.xz": as_tar("xz", "fer2013.tar.xz"),
    "tar.bz2": as_tar("bz2", "fer2013.tar.bz2"),
    "tar of a folder": as_tar_of_folder,
}


def save_image(folder: Path, name: str, size: tuple[int, int] = (48, 48)) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size).save(path)
    return path
