"""The audit of a data module: a table or JSON on standard output, and a page."""

import json
from dataclasses import replace

import numpy as np
import pytest
from command import call
from PIL import Image

from fer.audit import audit_data
from fer.data.base import numbered
from fer.data.features import FeatureDataModule, FeatureSplit
from fer.errors import InputError


@pytest.fixture
def repeated_data(tiny_data):
    """Random images; two of train stand in test as well, one of them as another expression."""

    class RepeatedData(tiny_data):
        def load_splits(self):
            splits = super().load_splits()
            images = splits["test"].images.copy()
            images[3], images[5] = splits["train"].images[3], splits["train"].images[4]
            names = np.array([f"[bold]$x$ 日本 {row}" for row in range(len(images))])
            splits["test"] = replace(splits["test"], images=images, names=names)
            return splits

    return RepeatedData


class FeatureData(FeatureDataModule):
    def load_splits(self):
        rows = np.random.default_rng(0).normal(size=(14, 3))
        rows[2, 1] = np.nan
        split = FeatureSplit(features=rows, labels=np.arange(14) % 7, names=numbered(14))
        return {"train": split, "val": split.take(np.arange(2)), "test": split.take(np.arange(3))}

    @property
    def num_features(self):
        return 3


def test_the_table_is_printed(repeated_data, capsys):
    report = audit_data(repeated_data())
    printed = capsys.readouterr()
    assert printed.out == f"splits: as shipped\n\n{report.table()}\n"
    assert printed.err == ""
    assert "test        train          2 (14.3 %)" in printed.out


def test_the_clean_rest_of_a_test_is_no_split_of_its_own(repeated_data):
    data = repeated_data()
    report = audit_data(data)
    assert "clean" in data.splits
    assert list(report.class_counts) == ["train", "val", "test"]


def test_json_and_nothing_else_is_printed(repeated_data, capsys):
    report = audit_data(repeated_data(), as_json=True)
    content = json.loads(capsys.readouterr().out)
    assert content.pop("protocol") == "as shipped"
    assert content == json.loads(json.dumps(report.to_dict()))
    assert content["identical"][1][1]["name"] == "[bold]$x$ 日本 5"


@pytest.mark.drawn
def test_the_page_is_drawn(repeated_data, tmp_path, capsys):
    page = tmp_path / "new" / "audit.png"
    audit_data(repeated_data(), page=page)
    assert capsys.readouterr().out.endswith(f"\npage  {page}\n")
    with Image.open(page) as image:
        assert image.format == "PNG"
        assert image.width == 11 * 150
    assert list(page.parent.iterdir()) == [page]


def test_features_are_audited(capsys):
    report = audit_data(FeatureData(batch_size=7))
    assert len(report.features.missing) == 2  # one row of train stands in test
    assert "missing" in capsys.readouterr().out


def test_features_have_no_page(tmp_path):
    with pytest.raises(InputError, match="features and no images; leave --page out"):
        audit_data(FeatureData(batch_size=7), page=tmp_path / "page.png")
    assert not list(tmp_path.glob("*.png"))


def test_a_page_that_cannot_be_written_is_named(repeated_data, tmp_path):
    (tmp_path / "file").touch()
    page = tmp_path / "file" / "page.png"
    with pytest.raises(InputError, match=r"--page .*page\.png cannot be written"):
        audit_data(repeated_data(), page=page)


def test_the_command_line_audits(tmp_path):
    called = call(
        "audit",
        "--dataset",
        "synthetic",
        "--json",
        *(f"--data.num_{name}=70" for name in ("train", "val", "test")),
    )
    assert (called.status, called.err) == (0, "")
    assert set(json.loads(called.out)["class_counts"]) == {"train", "val", "test"}
