"""The benches of reliability as a whole: each is run, with options that it has, and counted if it fails."""

import subprocess
import sys
from pathlib import Path

import pytest
from bench import reliability

BENCH = Path(__file__).parent / "bench"


def test_each_bench_has_the_smallest_numbers_that_it_takes():
    benches = {path.stem.removeprefix("reliability_"): path for path in BENCH.glob("reliability_*.py")}
    assert benches.keys() == reliability.QUICK.keys()
    for part, options in reliability.QUICK.items():
        for option in options:
            assert f'add_argument("{option.partition("=")[0]}"' in benches[part].read_text()


@pytest.mark.parametrize("words", [[], ["--quick"]])
def test_a_table_ends_it_also_where_a_part_fails(words, monkeypatch, capsys):
    commands = []

    def run(command, *, check):
        assert not check
        commands.append(command)
        return subprocess.CompletedProcess(command, 3 if command[1].stem == "reliability_disk" else 0)

    monkeypatch.setattr(subprocess, "run", run)
    assert reliability.main([*words, "--only", "crop", "disk"]) == 1
    options = ["--times=1"] if words else []
    assert commands[0] == [sys.executable, BENCH / "reliability_crop.py", *options]
    rows = [line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines()[-3:]]
    assert [(part, result) for part, _, result in rows] == [
        ("part", "result"),
        ("crop", "as promised"),
        ("disk", "FAILED, exit status 3"),
    ]
