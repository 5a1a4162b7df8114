"""Compare several runs side by side, as numbers, as text and as CSV."""

import csv
import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final, NamedTuple

from fer.cells import text_cell
from fer.compare.answers import Answers, pair, why_not_paired
from fer.compare.folders import ComparedRun
from fer.compare.networks import ComparedNetwork, Cost, hold_same_weights
from fer.metrics import wilson_interval
from fer.pruning.size import BATCH_SIZES
from fer.report.gather import read_reports
from fer.report.parts import plain
from fer.report.repeat import PLACE, as_word

UNKNOWN: Final = "\N{EN DASH}"
"""Cell for a value that a run does not have."""

NEURON_CLASSES: Final = ("dead", "constant", "non_finite", "similar", "complementary", "distinct")
"""Classes of neurons; each neuron is in exactly one."""

Values = dict[str, Any]
"""Known values of a run, by names such as ``test/acc``."""


class Row(NamedTuple):
    """A line of the table: its name, and a cell for each run."""

    name: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """Several runs side by side.

    Attributes:
        values: All numbers and facts, by run.
        tables: Lines of each table, by its title.
        notes: What is missing or not comparable, and why.
        paired: Predictions for the test samples that the paired runs share, by run; empty if none are paired.
    """

    values: Mapping[str, Values]
    tables: Mapping[str, Sequence[Row]]
    notes: Sequence[str]
    paired: Mapping[str, Answers]

    def text(self) -> str:
        """Return all tables with one column for each run, then the notes."""
        runs = list(self.values)
        rows = [row for table in self.tables.values() for row in table]
        first = max(len(row.name) for row in rows) + 4
        widths = [
            max(len(run), *(len(row.cells[place]) for row in rows)) + 2 for place, run in enumerate(runs)
        ]

        def line(name: str, cells: Sequence[str]) -> str:
            columns = (f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True))
            return f"{name:<{first}}{''.join(columns)}".rstrip()

        lines = [line("", runs)]
        for title, table in self.tables.items():
            lines += ["", title, *(line(f"  {row.name}", row.cells) for row in table)]
        return "\n".join([*lines, *([""] if self.notes else []), *self.notes])

    def csv(self) -> str:
        """Return all values as CSV: one line per name, one column per run."""
        names = dict.fromkeys(name for values in self.values.values() for name in values)
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["name", *map(text_cell, self.values)])
        for name in names:
            cells = (values.get(name) for values in self.values.values())
            writer.writerow([name, *("" if cell is None else text_cell(str(cell)) for cell in cells)])
        return file.getvalue()


def compare_runs(
    runs: Sequence[ComparedRun], networks: Mapping[str, ComparedNetwork], costs: Mapping[str, Cost]
) -> Comparison:
    """Compare runs side by side; McNemar's test compares each of them with the first.

    Args:
        runs: Two runs or more.
        networks: Networks by run, for runs that have one.
        costs: Size and speed of the networks by run, where they are known.
    """
    names = [run.name for run in runs]
    answers = {
        run.name: (networks[run.name].answers if run.name in networks else run.answers) for run in runs
    }
    values = {run.name: _facts(run, answers[run.name]) for run in runs}
    for name, cost in costs.items():
        values[name] |= {"parameters": cost.parameters, "macs": cost.macs}
        for size, times in cost.milliseconds.items():
            keys = (f"latency_ms/{size}{end}" for end in ("_q25", "", "_q75"))
            values[name] |= dict(zip(keys, (round(time, 4) for time in times), strict=True))
    for name, network in networks.items():
        values[name] |= _neurons(network.neurons)
    notes = [f"{run.name}: not tested, {run.untested}." for run in runs if run.untested]
    notes += [
        f"{run.name}: it has no checkpoint." for run in runs if run.name not in networks and not run.seeds
    ]
    notes += [
        f"{run.name}: a repeat, mean \N{PLUS-MINUS SIGN} standard deviation of {len(run.seeds)} seeds; "
        "fer repeat --against compares two."
        for run in runs
        if run.seeds
    ]
    notes += [f"{name}: {note}." for name, network in networks.items() for note in network.notes]
    notes += _recomputed(values, answers)
    notes += [
        f"{one} and {other} hold the same weights."
        for one, other in combinations(networks, 2)
        if hold_same_weights(networks[one].task, networks[other].task)
    ]
    single = [run.name for run in runs if not run.seeds]
    if names[0] in single:
        notes += [note for other in single[1:] for note in _pair(names[0], other, answers, values)]
    paired = [name for name in names if "mcnemar/test/p" in values[name]]
    if len(paired) > 1:
        notes.append(f"The {len(paired)} p-values are not corrected for multiple comparisons.")
    settings = settings_that_differ({run.name: run.settings for run in runs})
    tables = {title: _rows(values, lines) for title, lines in TABLES.items()}
    tables["settings that differ"] = [
        Row(name, tuple(cells.get(run, UNKNOWN) for run in names)) for name, cells in settings.items()
    ]
    for name, cells in settings.items():
        for run, cell in cells.items():
            values[run][f"setting/{name}"] = cell
    return Comparison(
        values=values,
        tables={title: table for title, table in tables.items() if table},
        notes=notes,
        paired={name: answers[name]["test"] for name in (names[0], *paired)} if paired else {},
    )


def settings_that_differ(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Return the settings that differ between runs: by name and by run, as on the command line.

    Settings for where a run is stored and shown are left out. A run without a setting has no entry.

    >>> settings_that_differ({"a": {"model.lr": 0.1, "run_name": "a"}, "b": {"model.lr": 0.2, "data.k": 1}})
    {'model.lr': {'a': '0.1', 'b': '0.2'}, 'data.k': {'b': '1'}}
    """
    names = dict.fromkeys(name for each in settings.values() for name in each if not name.startswith(PLACE))
    words = {
        name: {run: as_word(plain(each[name])) for run, each in settings.items() if name in each}
        for name in names
    }
    return {
        name: cells
        for name, cells in words.items()
        if len(cells) < len(settings) or len({*cells.values()}) > 1
    }


def _facts(run: ComparedRun, answers: Mapping[str, Answers]) -> Values:
    """Return the facts in a run's files, and the accuracy of its predictions if the files lack it."""
    results, settings = run.results, run.settings
    # A training that was tested and then pruned is compared by its unpruned network, as its checkpoint is.
    pruned = {} if results else run.pruned
    values: Values = {
        "network": settings.get("network", results.get("network")),
        "data": settings.get("dataset", results.get("data")),
        "protocol": results.get("protocol", pruned.get("protocol")),
        "state": "not tested" if run.untested else "pruned" if pruned else "tested",
        "epochs": results.get("epochs"),
        "seed": settings.get("seed_everything", results.get("seed")),
        "fit_seconds": results.get("fit_seconds"),
        "parameters": results.get("parameters"),
    }
    if run.seeds:
        values |= {"state": "repeat", "seed": ", ".join(map(str, run.seeds)), **run.scalars}
    for split, report in read_reports(run.run, results).items():
        values |= _accuracy(split, int(report.confusion.trace()), report.n)
        values[f"{split}/balanced_acc"] = plain(report.balanced_accuracy)
    after = pruned.get("after", {})
    if "acc" in after and "interval" in after:
        low, high = after["interval"]
        values |= {
            "val/acc": after["acc"],
            "val/acc_low": low,
            "val/acc_high": high,
            "val/n": pruned["n"],
        }
    for split, each in answers.items():
        if f"{split}/acc" not in values:
            values |= _accuracy(split, int(each.right.sum()), len(each.right))
    return {name: value for name, value in values.items() if value is not None}


def _accuracy(split: str, num_right: int, n: int) -> Values:
    low, high = wilson_interval(num_right, n)
    acc = num_right / n if n else math.nan
    return {f"{split}/acc": acc, f"{split}/acc_low": low, f"{split}/acc_high": high, f"{split}/n": n}


def _neurons(layers: Mapping[str, Mapping[str, int]]) -> Values:
    """Return the number of neurons of each class, in each layer and in all layers together."""
    names = dict.fromkeys(name for counts in layers.values() for name in counts)
    totals = {
        name: sum(counts[name] for counts in layers.values())
        for name in names
        if all(name in counts for counts in layers.values())
    }
    return {
        f"neurons/{layer}/{name}": count
        for layer, counts in {"all": totals, **layers}.items()
        for name, count in counts.items()
    }


def _recomputed(values: Mapping[str, Values], answers: Mapping[str, Mapping[str, Answers]]) -> Iterator[str]:
    """Yield a note for each run whose predictions have another accuracy than its results."""
    for run, found in answers.items():
        if "test" in found and (n := values[run].get("test/n")):
            here, there = int(found["test"].right.sum()), round(values[run]["test/acc"] * n)
            if (here, len(found["test"].right)) != (there, n):
                yield (
                    f"{run}: McNemar's test uses predictions in float32, of which {here:,} of "
                    f"{len(found['test'].right):,} are correct; in its results.json {there:,} of {n:,} are."
                )


def _pair(
    first: str, other: str, answers: Mapping[str, Mapping[str, Answers]], values: Mapping[str, Values]
) -> Iterator[str]:
    """Add McNemar's test of two runs to the values of the second one, or yield why there is none."""
    if not answers[first] or not answers[other]:
        yield f"{first} and {other}: no McNemar's test, which needs test predictions of both."
        return
    data, others = (values[run].get("data") for run in (first, other))
    if data != others:
        yield f"{first} and {other}: no McNemar's test, one is on {data} and the other on {others}."
        return
    for split in dict.fromkeys([*answers[first], *answers[other]]):
        if split not in answers[first] or split not in answers[other]:
            yield f"{first} and {other}: no McNemar's test on {split}, which only one of them has."
        elif problem := why_not_paired(answers[first][split], answers[other][split]):
            yield f"{first} and {other}: no McNemar's test on {split}, {problem}."
        else:
            found = pair(answers[first][split], answers[other][split])
            numbers = {**found._asdict(), "n": len(answers[first][split].labels)}
            values[other] |= {f"mcnemar/{split}/{key}": number for key, number in numbers.items()}


Cell = Callable[[Values], str | None]
"""Returns the cell of a run; None if the run has no value."""


def _fact(name: str, form: str = "{}") -> Cell:
    return lambda values: form.format(values[name]) if name in values else None


def _share(split: str) -> Cell:
    def cell(values: Values) -> str | None:
        if f"{split}/acc" not in values:
            return None
        if f"{split}/acc_std" in values:
            mean, std = (100 * values[f"{split}/{name}"] for name in ("acc", "acc_std"))
            return f"{mean:.2f} % \N{PLUS-MINUS SIGN} {std:.2f} n = {values[f'{split}/n']:,.0f}"
        acc, low, high = (100 * values[f"{split}/{name}"] for name in ("acc", "acc_low", "acc_high"))
        return f"{acc:.2f} % [{low:.2f}, {high:.2f}] n = {values[f'{split}/n']:,}"

    return cell


def _mcnemar(values: Values) -> str | None:
    if "mcnemar/test/p" not in values:
        return None
    lost, won, p = (values[f"mcnemar/test/{name}"] for name in ("lost", "won", "p"))
    return f"{lost} wrong only here, {won} right only here, p = {p:.2g}"


def _latency(size: int) -> Cell:
    def cell(values: Values) -> str | None:
        if f"latency_ms/{size}" not in values:
            return None
        low, middle, high = (values[f"latency_ms/{size}{end}"] for end in ("_q25", "", "_q75"))
        shown = [f"{each:,.0f}" if each >= 100 else f"{each:.3g}" for each in (middle, low, high)]
        return f"{shown[0]} ms [{shown[1]}, {shown[2]}]"

    return cell


def _minutes(values: Values) -> str | None:
    return f"{values['fit_seconds'] / 60:.1f} min" if "fit_seconds" in values else None


TABLES: Final[Mapping[str, Mapping[str, Cell]]] = {
    "run": {
        **{name: _fact(name) for name in ("network", "data", "protocol", "state", "epochs", "seed")},
        "training time": _minutes,
    },
    "accuracy, Wilson 95 %": {
        "val": _share("val"),
        "test": _share("test"),
        "clean: test without duplicates": _share("clean"),
        "test, against the first (McNemar)": _mcnemar,
    },
    "size; latency here, in turn, median [quartiles]": {
        "parameters": _fact("parameters", "{:,}"),
        "multiply-adds per sample": _fact("macs", "{:,}"),
        **{f"latency, batch of {size}": _latency(size) for size in BATCH_SIZES},
    },
    "neurons of all layers, on up to 1,024 training samples": {
        "neurons": _fact("neurons/all/neurons", "{:,}"),
        **{name.replace("_", "-"): _fact(f"neurons/all/{name}", "{:,}") for name in NEURON_CLASSES},
        "reproducible by the others": _fact("neurons/all/reproducible", "{:,}"),
    },
}
"""The tables: for each line, the function that returns its cells."""


def _rows(values: Mapping[str, Values], lines: Mapping[str, Cell]) -> list[Row]:
    """Return the lines in which at least one run has a value."""
    rows = [(name, [cell(each) for each in values.values()]) for name, cell in lines.items()]
    return [
        Row(name, tuple(UNKNOWN if cell is None else cell for cell in cells))
        for name, cells in rows
        if any(cell is not None for cell in cells)
    ]
