"""The home folder in stored texts."""

import sys
from pathlib import Path

import pytest
import yaml

from fer.home import hidden_in_arguments, hide_home, show_home


@pytest.fixture(autouse=True)
def home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/ann/data", "~/data"),
        ("--data.root=/home/ann/data", "--data.root=~/data"),
        ("root: /home/ann\nlr: 1\n", "root: ~/\nlr: 1\n"),
        ("/home/anna/data", "/home/anna/data"),
        ("/home/ann-b/data", "/home/ann-b/data"),
        ("/mnt/home/ann/data", "/mnt/home/ann/data"),
        ("runs/a", "runs/a"),
    ],
)
def test_the_home_folder_is_hidden_where_it_is_one(text, expected):
    assert hide_home(text) == expected


def test_a_yaml_file_keeps_its_meaning():
    """A lone tilde would be YAML's null."""
    content = {"root": "/home/ann", "file": "/home/ann/a.csv", "lr": 0.1, "none": None}
    read = yaml.safe_load(hide_home(yaml.safe_dump(content)))
    assert show_home(read) == content


def test_nested_values_come_back():
    value = {"/home/ann/best.ckpt": 0.5, "paths": ["/home/ann/a", ("/home/ann/b", 3)], "epoch": 2}
    hidden = hide_home(value)
    assert hidden == {"~/best.ckpt": 0.5, "paths": ["~/a", ("~/b", 3)], "epoch": 2}
    assert show_home(hidden) == value


def test_a_linked_home_is_hidden_under_both_names(tmp_path, monkeypatch):
    (tmp_path / "disk" / "ann").mkdir(parents=True)
    (tmp_path / "ann").symlink_to(tmp_path / "disk" / "ann")
    monkeypatch.setenv("HOME", str(tmp_path / "ann"))
    assert hide_home([f"{tmp_path}/ann/x", f"{tmp_path}/disk/ann/x"]) == ["~/x", "~/x"]


def test_without_a_home_nothing_changes(monkeypatch):
    monkeypatch.setenv("HOME", "/")
    assert hide_home("/data/a") == "/data/a"


def test_arguments_are_hidden_for_a_while(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/home/ann/bin/fer", "fit", "--data.root", str(Path.home() / "data")])
    with hidden_in_arguments():
        assert sys.argv == ["~/bin/fer", "fit", "--data.root", "~/data"]
    assert sys.argv[0] == "/home/ann/bin/fer"
