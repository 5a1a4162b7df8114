"""The printed numbers: read and validated; every table and figure is listed and has one answer."""

import pytest

from fer.errors import InputError
from fer.labels import LABEL_TABLES
from fer.studies.papers.facts import all_items, find_item, read_paper, read_papers
from fer.studies.papers.protocols import PROTOCOLS, how

PAPERS = read_papers()
GOOD = """
paper: p
authors: A
title: T
facts:
  f: {place: Table 1, unit: share, columns: [a, b], rows: {r: [0.1, null]}}
items:
  table1: {place: Table 1, shows: something, facts: [f]}
"""


def test_every_table_and_figure_is_an_item():
    numbers = {"s0": (4, 10), "s1": (0, 13), "s2": (0, 20), "s3": (1, 2), "s4": (5, 6)}
    twice = {"s2-fig5-classes", "s2-fig19-affectnet"}  # two numbers are used twice
    expected = {
        f"{paper}-{kind}{number}"
        for paper, counts in numbers.items()
        for kind, count in zip(("table", "fig"), counts, strict=True)
        for number in range(1, count + 1)
    }
    assert set(all_items(PAPERS)) == expected | twice


def test_an_item_is_replayed_or_says_why_not():
    items = all_items(PAPERS)
    assert set(PROTOCOLS) == {name for name, item in items.items() if not item.why}
    for item in items.values():
        assert len(how(item)) > 10


@pytest.mark.parametrize(
    ("name", "protocol"),
    [pytest.param(name, each, id=name) for name, each in PROTOCOLS.items() if each.recompute is not None],
)
def test_what_is_recomputed_stands_beside_what_is_printed(name, protocol):
    from fer.studies.papers.replay import printed_values

    item = find_item(PAPERS, name)
    printed, _ = printed_values(PAPERS[name[:2]], item)
    recomputed = protocol.recompute(PAPERS)
    assert recomputed
    if name != "s0-table2":  # weights are not printed
        assert recomputed.keys() & printed.keys()


def test_a_run_of_one_name_has_one_command():
    words = {}
    for protocol in PROTOCOLS.values():
        for step in protocol.steps:
            assert words.setdefault(step.name, step.words) == step.words


def test_cells_have_labels_and_misprints_a_reading(tmp_path):
    angles = PAPERS["s4"]["angles"]
    assert (angles.value("6 13"), angles.read()["6 13"]) == (918, 27.18)
    path = tmp_path / "p.yaml"
    path.write_text(GOOD)
    paper = read_paper(path)
    assert paper["f"].cells() == {"r, a": 0.1}
    assert paper.items["p-table1"].facts == ("f",)


def test_the_labels_of_sfew_are_those_that_markou_prints():
    printed = {int(number): name.lower() for name, number in PAPERS["s0"]["labels"].cells().items()}
    assert printed == LABEL_TABLES["sfew"]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        pytest.param("0.1", "1.1", "'r, a' is 1.1, which is outside", id="range"),
        pytest.param("[0.1, null]", "[0.1]", "row 'r' has 1 values for 2 columns", id="columns"),
        pytest.param("[0.1, null]", "[0.1, x]", "a value is not a number", id="text"),
        pytest.param("share", "metres", "unit 'metres' is not one of", id="unit"),
        pytest.param("facts: [f]", "facts: [g]", "no fact 'g'", id="fact"),
        pytest.param("authors: A\n", "", "authors is missing", id="missing"),
        pytest.param(
            "unit: share,", "unit: share, misprints: {x: 1},", "misprint 'x' is not a cell", id="misprint"
        ),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(tmp_path, old, new, problem):
    path = tmp_path / "p.yaml"
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(InputError, match=r"p\.yaml: .*; correct the file") as raised:
        read_paper(path)
    assert problem in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_unknown_item_is_named_with_a_suggestion():
    with pytest.raises(InputError, match="did you mean 's0-table3'"):
        find_item(PAPERS, "s0-tabel3")
