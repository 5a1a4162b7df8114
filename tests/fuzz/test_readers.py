"""Files of data that are mostly valid: what is read is sound, or the error is ours."""

import io
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from fer2013_forms import csv_lines, image_files, tiny_rows
from hypothesis import given
from hypothesis import strategies as st
from mutations import mutated
from PIL import Image

from fer.data.classes import make_scheme
from fer.data.fer2013 import read_fer2013
from fer.data.fer2013.ferplus import COLUMNS, read_votes
from fer.data.folder import list_images
from fer.data.layout import describe_layout, find_splits
from fer.data.reading import BadImageError, image_shape, read_image
from fer.data.sfew import read_features
from fer.errors import InputError

LINES = csv_lines(tiny_rows())[:5]
CSV = ("\n".join(LINES) + "\n").encode()
VOTES = "Usage,Image name," + ",".join(COLUMNS) + "\n" + "Training,fer1.png,4,0,0,1,3,2,0,0,0,0\n" * 3
FEATURES = "Movie_000519240_00000005,3,0.1,-0.2,1e-3,4,5,1,2,3,4,5\nOther-1_000519240_00000006,7" + ",1" * 10


@contextmanager
def folder() -> Iterator[Path]:
    """A folder for one example."""
    path = Path(tempfile.mkdtemp(dir=Path.cwd()))
    try:
        yield path
    finally:
        shutil.rmtree(path)


# Tables


@st.composite
def tables(draw: st.DrawFn, text: str) -> bytes:
    """Draw a table whose cells, separators, quotes, line ends and encoding are changed."""
    rows = [line.split(",") for line in text.splitlines()]
    for _ in range(draw(st.integers(0, 3))):
        row = draw(st.sampled_from(rows))
        place = draw(st.integers(0, max(0, len(row) - 1)))
        cells = [
            "",
            "7",
            "-1",
            "3.0",
            "3,0",
            "nan",
            "1e999",
            "PublicTest",
            "happy",
            '"',
            "x",
            "0 " * 2304,
            "٣",
        ]
        match draw(st.sampled_from(["cell", "delete", "insert", "swap"])):
            case "cell" if row:
                row[place] = draw(st.sampled_from(cells) | st.text(max_size=5))
            case "delete" if row:
                del row[place]
            case "insert":
                row.insert(place, draw(st.sampled_from(cells)))
            case "swap":
                rows.append(row)
    separator = draw(st.sampled_from(",,,;\t|"))
    end = draw(st.sampled_from(["\n", "\n", "\r\n", "\r", "\n\n"]))
    table = end.join(separator.join(row) for row in rows) + draw(st.sampled_from([end, ""]))
    encoding = draw(st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "latin-1"]))
    return table.encode(encoding, errors="replace")


@given(tables("\n".join(LINES)) | mutated(CSV))
@pytest.mark.slow
def test_fer2013_as_a_table(content: bytes) -> None:
    with folder() as path:
        (path / "fer2013.csv").write_bytes(content)
        with suppress(InputError):
            rows = read_fer2013(path, cache=path / "cache")
            assert rows.images.shape == (len(rows.labels), 48, 48)
            assert ((rows.labels >= 0) & (rows.labels < 7)).all()


@pytest.mark.slow
@given(tables(VOTES) | mutated(VOTES.encode()))
def test_votes(content: bytes) -> None:
    with folder() as path:
        (path / "fer2013new.csv").write_bytes(content)
        with suppress(InputError):
            assert (read_votes(path).counts >= 0).all()


@given(tables(FEATURES) | mutated(FEATURES.encode()))
def test_features(content: bytes) -> None:
    with folder() as path:
        (path / "SFEW.csv").write_bytes(content)
        with suppress(InputError):
            split = read_features(path / "SFEW.csv")
            assert split.features.shape == (len(split.labels), 10)
            assert not np.isinf(split.features).any()


# Archives


@pytest.fixture(scope="module", params=["zip", "tar", "tar.gz", "npz"])
def archive(request, tmp_path_factory) -> tuple[str, bytes]:
    base = tmp_path_factory.mktemp("archive")
    for name, content in list(image_files(tiny_rows()))[:6]:
        (base / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (base / "data" / name).write_bytes(content)
    form = {"zip": "zip", "tar": "tar", "tar.gz": "gztar", "npz": "zip"}[request.param]
    return request.param, Path(shutil.make_archive(str(base / "a"), form, base / "data")).read_bytes()


@given(data=st.data())
def test_archives(archive, data: st.DataObject) -> None:
    suffix, whole = archive
    with folder() as path:
        (path / f"fer2013.{suffix}").write_bytes(data.draw(mutated(whole)))
        with suppress(InputError):
            assert len(read_fer2013(path / f"fer2013.{suffix}", cache=path / "cache").labels)


# Images


def picture(form: str, mode: str) -> bytes:
    pixels = np.random.default_rng(0).integers(256, size=(9, 12, 4), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(stream, form)
    return stream.getvalue()


PICTURES = [
    *(picture("PNG", mode) for mode in ("RGB", "RGBA", "L", "LA", "P", "1", "I;16")),
    *(picture("JPEG", mode) for mode in ("RGB", "L", "CMYK")),
    *(picture("TIFF", mode) for mode in ("RGB", "F", "I;16")),
    *(picture(form, "RGB") for form in ("BMP", "GIF", "WEBP", "PPM")),
]


@given(st.sampled_from(PICTURES).flatmap(mutated))
def test_images(content: bytes) -> None:
    with folder() as base:
        path = base / "image.png"
        path.write_bytes(content)
        with suppress(BadImageError):
            image = read_image(path)
            assert image.dtype == np.uint8
            assert image.shape == (*image_shape(path), 3)


# Folders


names = st.sampled_from(
    [
        "happy",
        "Sad",
        "anger",
        "surprise",
        "suprise",
        "7",
        "train",
        "test",
        "val",
        "images",
        "x",
        "$a",
        "ü",
        "😀",
    ]
)


@given(
    st.lists(
        st.tuples(st.lists(names, min_size=1, max_size=3), st.sampled_from([".png", ".heic", ""])), max_size=8
    ),
    st.sampled_from([None, "folders", "rafdb", "sfew", {"x": "happy"}, {7: "sad", "happy": "happy"}]),
)
def test_folders(files, classes) -> None:
    with folder() as base:
        for number, (parts, suffix) in enumerate(files):
            target = base.joinpath(*parts)
            with suppress(FileExistsError, NotADirectoryError):
                target.mkdir(parents=True, exist_ok=True)
                (target / f"{number}{suffix}").write_bytes(PICTURES[0])
        with suppress(InputError):
            assert isinstance(describe_layout(base), str)
            assert set(find_splits(base)) <= {"train", "val", "test"}
            scheme = make_scheme(classes, (), [path.name for path in base.iterdir()])
            paths, labels = list_images(base, scheme)
            assert len(paths) == len(labels)
