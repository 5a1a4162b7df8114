"""FER2013 as a table: what Excel and pandas write is read; what cannot be read is named."""

import io
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from fer2013_forms import as_tar, assert_same, csv_bytes, csv_lines, tar_bytes, write_zip

from fer.data.fer2013 import NUM_PIXELS, REMAP, Fer2013Rows, read_fer2013
from fer.errors import InputError
from fer.labels import EXPRESSIONS

Change = Callable[[Fer2013Rows], bytes]


@pytest.mark.parametrize(
    ("csv_label", "name"),
    [(0, "angry"), (1, "disgust"), (2, "fear"), (3, "happy"), (4, "sad"), (5, "surprise"), (6, "neutral")],
)
def test_labels_of_the_csv_become_canonical(csv_label: int, name: str) -> None:
    assert EXPRESSIONS[REMAP[csv_label]] == name


def _saved_again(separator: str, encoding: str, newline: str, *, quoted: bool = False) -> Change:
    def save(rows: Fer2013Rows) -> bytes:
        lines = [line.split(",") for line in csv_lines(rows)]
        if quoted:
            lines = [[f'"{cell}"' for cell in cells] for cells in lines]
        return newline.join([separator.join(cells) for cells in lines] + [""]).encode(encoding)

    return save


def _by_pandas(**options: object) -> Change:
    def save(rows: Fer2013Rows) -> bytes:
        frame = pd.read_csv(io.BytesIO(csv_bytes(rows)))
        frame["emotion"] = frame["emotion"].astype(options.get("dtype", int))
        frame.columns = [options.get("case", str)(name) for name in frame.columns]
        text = frame.to_csv(index=options.get("index", False), sep=options.get("sep", ","))
        return text.encode(options.get("encoding", "utf-8"))

    return save


@pytest.mark.parametrize(
    "save",
    [
        pytest.param(_saved_again(";", "utf-8", "\r\n"), id="semicolons"),
        pytest.param(_saved_again(";", "utf-8-sig", "\r\n", quoted=True), id="semicolons, BOM, quotes"),
        pytest.param(_saved_again("\t", "utf-16", "\r\n"), id="Excel's Unicode text"),
        pytest.param(_saved_again(",", "utf-16-be", "\n"), id="UTF-16 without a BOM"),
        pytest.param(_saved_again(",", "utf-8", "\r"), id="old Mac lines"),
        pytest.param(
            lambda rows: b"sep=;\r\n" + _saved_again(";", "utf-8", "\r\n")(rows), id="Excel's line sep="
        ),
        pytest.param(_by_pandas(dtype=float), id="labels as floats"),
        pytest.param(_by_pandas(index=True), id="an index column"),
        pytest.param(_by_pandas(case=str.lower), id="columns in lower case"),
        pytest.param(_by_pandas(case=str.title, sep="\t", encoding="utf-16"), id="columns in title case"),
        pytest.param(_by_pandas(case=lambda name: f" {name}"), id="columns with leading blanks"),
        pytest.param(
            lambda rows: csv_bytes(rows).replace(b"Training", b"training"), id="usages in lower case"
        ),
        pytest.param(lambda rows: csv_bytes(rows).replace(b",Training", b", Training "), id="blanks"),
    ],
)
@pytest.mark.parametrize("name", ["fer2013.csv", "FER2013.CSV"])
def test_what_excel_and_pandas_save_is_read(name: str, save: Change, root: Path, rows: Fer2013Rows) -> None:
    (root / name).write_bytes(save(rows))
    assert_same(read_fer2013(root), rows)


def test_a_line_without_an_end_is_refused_before_it_fills_the_memory(root: Path) -> None:
    packed = zipfile.ZipFile(root / "fer2013.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1)
    with packed as archive, archive.open("fer2013.csv", "w") as member:
        member.write(b"emotion,pixels,Usage\n0,")
        for _ in range(64):
            member.write(b"1 " * (1 << 19))
    tracemalloc.start()
    with pytest.raises(InputError, match=r"fer2013\.csv, line 2: longer than 65,536 characters"):
        read_fer2013(root)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20, "of 64 MiB in the line"


def _broken(rows: Fer2013Rows, number: int, change: Callable[[str], str]) -> bytes:
    lines = list(csv_lines(rows))
    lines[number - 1] = change(lines[number - 1])
    return ("\n".join(lines) + "\n").encode()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            lambda line: line.replace(" ", " 1 ", 1),
            "column pixels: 2305 pixels instead of 2304",
            id="too many",
        ),
        pytest.param(
            lambda line: line.replace(" ", "", 5), "column pixels: .*(2299 pixels|outside)", id="too few"
        ),
        pytest.param(lambda line: "3,,Training", "column pixels: 0 pixels instead of 2304", id="none"),
        pytest.param(
            lambda line: line.replace(" ", " x", 1),
            "column pixels: pixel 'x.*' is not a whole number",
            id="letter",
        ),
        pytest.param(
            lambda line: line.replace(" ", ".5 ", 1), "column pixels: .* is not a whole number", id="fraction"
        ),
        pytest.param(
            lambda line: f"3,256{' 0' * (NUM_PIXELS - 1)},Training",
            "column pixels: pixel 256 is outside 0 to 255",
            id="256",
        ),
        pytest.param(
            lambda line: f"3,{'9' * 30}{' 0' * (NUM_PIXELS - 1)},Training",
            "column pixels: .* outside 0 to 255",
            id="huge",
        ),
        pytest.param(
            lambda line: f"3,{'9' * 9000}{' 0' * (NUM_PIXELS - 1)},Training",
            "column pixels: .* outside 0 to 255",
            id="more digits than Python converts",
        ),
        pytest.param(
            lambda line: f"3,-1{' 0' * (NUM_PIXELS - 1)},Training",
            "column pixels: pixel -1 is outside",
            id="negative",
        ),
        pytest.param(
            lambda line: "7" + line[1:], "column emotion: emotion '7' is none of 0 to 6", id="label 7"
        ),
        pytest.param(
            lambda line: "happy" + line[1:],
            r"column emotion: emotion 'happy' is none of 0 to 6 \(0 angry, 1 disgust, .*6 neutral\)",
            id="label by name",
        ),
        pytest.param(
            lambda line: "3.5" + line[1:], "column emotion: emotion '3.5' is none of 0 to 6", id="half"
        ),
        pytest.param(lambda line: line[1:], "column emotion: emotion '' is none of 0 to 6", id="no label"),
        pytest.param(
            lambda line: line + "s",
            "column Usage: Usage 'Trainings' is none of Training, PublicTest",
            id="usage",
        ),
        pytest.param(lambda line: line.rpartition(",")[0], "2 cells instead of 3", id="no usage"),
    ],
)
def test_a_bad_row_is_named_with_file_line_column_and_reason(
    change: Callable[[str], str], message: str, root: Path, rows: Fer2013Rows
) -> None:
    (root / "fer2013.csv").write_bytes(_broken(rows, 5, change))
    with pytest.raises(InputError, match=rf"fer2013\.csv, line 5(, |: ){message}.*; correct this line"):
        read_fer2013(root)


def test_a_bad_row_in_an_archive_is_named_with_all_its_wrappings(root: Path, rows: Fer2013Rows) -> None:
    bad = _broken(rows, 4, lambda line: "9" + line[1:])
    write_zip(root / "c.zip", ("fer2013.tar.gz", tar_bytes("gz", ("fer2013/fer2013.csv", bad))))
    with pytest.raises(
        InputError, match=r"c\.zip/fer2013\.tar\.gz/fer2013/fer2013\.csv, line 4, column emotion: emotion '9'"
    ):
        read_fer2013(root)


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        pytest.param(
            5_000,
            r"line 99: .*the file ends here, so it may be truncated; replace it with a complete copy",
            id="within the pixels",
        ),
        pytest.param(
            4,
            r"line 99, column Usage: Usage 'Private.*' is none of .*may be truncated",
            id="within the usage",
        ),
    ],
)
def test_a_truncated_csv_is_told(cut: int, message: str, root: Path, rows: Fer2013Rows) -> None:
    (root / "fer2013.csv").write_bytes(csv_bytes(rows)[:-cut])
    with pytest.raises(InputError, match=message):
        read_fer2013(root)


@pytest.mark.parametrize("missing", ["emotion", "pixels"])
def test_a_missing_column_is_named(missing: str, root: Path, rows: Fer2013Rows) -> None:
    order = ",".join(name for name in ("emotion", "pixels", "Usage") if name != missing)
    (root / "fer2013.csv").write_text("\n".join(csv_lines(rows, order)))
    with pytest.raises(InputError, match=rf"fer2013\.csv, line 1: no column {missing} in .*'usage'"):
        read_fer2013(root)


@pytest.mark.parametrize("name", ["train.csv", "Train.csv", "fer2013.csv", "z.zip"])
def test_a_file_without_usage_is_told_to_be_the_training_part(
    name: str, root: Path, rows: Fer2013Rows
) -> None:
    content = "\n".join(csv_lines(rows, "emotion,pixels")).encode()
    if name == "z.zip":
        write_zip(root / name, ("data/train.csv", content))
    else:
        (root / name).write_bytes(content)
    with pytest.raises(
        InputError, match=r"\.csv has no column Usage: .*Training images, .*needs PublicTest.*icml_face_data"
    ):
        read_fer2013(root)


def test_the_training_part_beside_a_whole_fer2013_does_not_matter(root: Path, rows: Fer2013Rows) -> None:
    (root / "train.csv").write_text("\n".join(csv_lines(rows, "emotion,pixels")))
    as_tar("gz", "fer2013.tar.gz")(root, rows)
    assert_same(read_fer2013(root), rows)


def test_a_train_csv_of_something_else_is_passed_over(root: Path) -> None:
    (root / "train.csv").write_text("id,price\n1,100\n")
    write_zip(root / "houses.zip", ("train.csv", b"id,price\n1,100\n"))
    with pytest.raises(InputError, match="no FER2013 in"):
        read_fer2013(root)


def test_a_table_without_a_header_is_told(root: Path, rows: Fer2013Rows) -> None:
    (root / "fer2013.csv").write_text("\n".join(csv_lines(rows)[1:]))
    with pytest.raises(InputError, match=r"line 1: no column emotion and .*the first line must name"):
        read_fer2013(root)


@pytest.mark.parametrize(("content", "message"), [("", "is empty"), ("emotion,pixels,Usage\n", "no rows")])
def test_an_empty_csv_is_told(content: str, message: str, root: Path) -> None:
    (root / "fer2013.csv").write_text(content)
    with pytest.raises(InputError, match=message):
        read_fer2013(root)
