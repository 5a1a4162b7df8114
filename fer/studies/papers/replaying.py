"""Run the protocol of an item: reuse finished runs, and write the results."""

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fer.data.features import FeatureSplit
from fer.errors import InputError
from fer.files import read_json, write_json
from fer.runs import Run
from fer.studies.papers.facts import Item, Papers
from fer.studies.papers.protocols import Protocol
from fer.studies.papers.replay import (
    Measured,
    Panel,
    Replay,
    panels_as_json,
    printed_values,
    rows_as_json,
    rows_of,
    table,
    write_csv,
)
from fer.studies.papers.run_items import Step
from fer.studies.papers.store import WAY_OUT, Store

QUICK: Final = "-quick"
MOST_QUICK: Final = 3
"""Number of runs of an item in a quick replay: the first, the middle and the last one."""

RESULTS: Final[Mapping[str, str]] = {
    "fit": "results.json",
    "crossval": "crossval.json",
    "prune": "curve.json",
}
"""The file that each command writes last."""

log = logging.getLogger("fer.studies")


@dataclass(frozen=True)
class Done:
    """A finished replay.

    Attributes:
        folder: Folder of its files.
        text: The table, and what a reader must know.
        panels: Plots to draw.
        pictures: Figures that were copied from runs.
    """

    folder: Path
    text: str
    panels: Sequence[Panel]
    pictures: Sequence[Path]


@dataclass(frozen=True)
class Replaying:
    """Runs protocols in a folder.

    Attributes:
        folder: Folder of all replays; runs are in ``runs``, results in a folder for each item.
        quick: Whether trainings are short and seeds few.
        root: Folder of the data; None: the one that the environment names.
        run: Runs a command with its arguments.
        made: Provenance that is stored with the outcome: command, commit, machine.
        out: Folder for a second copy of the outcome, such as one under version control; None: none.
    """

    folder: Path
    quick: bool
    root: str | None
    run: Callable[[str, Sequence[str]], None]
    made: Mapping[str, str] = field(default_factory=dict)
    out: Path | None = None

    @property
    def runs_dir(self) -> Path:
        """Folder of the runs, which items share."""
        return self.folder / "runs"

    def replay(
        self, papers: Papers, item: Item, protocol: Protocol, pool: FeatureSplit | None, missing: str
    ) -> Done:
        """Run the protocol of an item and write its results.

        Args:
            papers: The printed facts.
            item: The table or figure.
            protocol: How it is replayed.
            pool: SFEW's features; None if they are not there.
            missing: Why they are not there.

        Raises:
            InputError: There is a finished part with other settings.
        """
        parts = []
        steps = self._chosen(protocol.steps)
        notes = [quick_note(protocol, steps)] if self.quick else []
        if protocol.on_features is not None and pool is not None:
            store = Store(self.runs_dir / f"features{QUICK if self.quick else ''}")
            parts.append(protocol.on_features(papers, pool, store, self.quick))
        elif protocol.on_features is not None:
            notes.append(f"not run on features: {missing}")
        if protocol.read is not None:
            runs, failed = self._run_all(steps)
            notes += failed
            if runs:
                parts.append(protocol.read(runs))
        return self._conclude(papers, item, protocol, parts, notes)

    def _chosen(self, steps: Sequence[Step]) -> Sequence[Step]:
        """Return the steps to run: all, or at most :data:`MOST_QUICK` in a quick replay."""
        if not self.quick or len(steps) <= MOST_QUICK:
            return steps
        return [steps[0], steps[len(steps) // 2], steps[-1]]

    def _run_all(self, steps: Sequence[Step]) -> tuple[dict[str, Run], list[str]]:
        """Return the finished runs by label, and why the others were not run."""
        runs, failed = {}, {}
        for step in steps:
            try:
                runs[step.label] = self._run(step)
            except InputError as e:
                failed[step.label] = str(e)
        reasons = dict.fromkeys(failed.values())
        lines = [
            f"not run ({', '.join(label for label, why in failed.items() if why == reason)}): {reason}"
            for reason in reasons
        ]
        return runs, lines

    def _name(self, step: str) -> str:
        return f"{step}{QUICK if self.quick else ''}"

    def _run(self, step: Step) -> Run:
        """Return the finished run of a step, which is run now if it is not finished.

        Raises:
            InputError: It cannot be run, or was run with other settings.
        """
        name = self._name(step.name)
        run, record = Run(self.runs_dir / name), self.runs_dir / f"{name}.words.json"
        words = [*step.words, *(step.quick if self.quick else ())]
        if record.is_file() and read_json(record, WAY_OUT).get("words") != words:
            msg = f"{run.folder} has other settings than this version's protocol: remove it and {record}"
            raise InputError(msg)
        if (run.folder / RESULTS[step.command]).is_file():
            log.info("%s is finished: its results are reused", run.folder)
            return run
        write_json(record, {"words": words})
        self.run(step.command, self._words(step, words, run))
        if not (run.folder / RESULTS[step.command]).is_file():
            msg = f"{run.folder} ended without results: run the same command again"
            raise InputError(msg)
        return run

    def _words(self, step: Step, words: Sequence[str], run: Run) -> list[str]:
        """Return the arguments of a step's command; they resume a training that was begun."""
        if step.command == "fit" and run.config_path.is_file():
            return ["--resume", str(run.folder)]
        own = [
            word.format(run=self.runs_dir / self._name(step.needs)) if word == "{run}" else word
            for word in words[1:]
        ]
        own += ["--runs_dir", str(self.runs_dir), "--run_name", run.folder.name, "--wandb.mode", "disabled"]
        if self.root is not None and step.command != "prune":
            own += ["--data.root", self.root]
        return own

    def _conclude(
        self, papers: Papers, item: Item, protocol: Protocol, parts: Sequence[Replay], notes: list[str]
    ) -> Done:
        ours: dict[str, Measured] = {}
        panels: list[Panel] = []
        folder = self.folder / self._name(item.name)
        pictures: list[Path] = []
        for part in parts:
            ours |= part.ours
            panels += part.panels
            notes += part.notes
            for path in part.pictures:
                if path.is_file():
                    folder.mkdir(parents=True, exist_ok=True)
                    pictures.append(Path(shutil.copy(path, folder / f"{item.name}-{path.name}")))
                else:
                    notes.append(f"the run has no {path.name}")
        paper = papers[item.name.partition("-")[0]]
        printed, unit = printed_values(paper, item)
        recomputed = {} if protocol.recompute is None else protocol.recompute(papers)
        rows = rows_of(printed, recomputed, ours)
        outcome = {
            "item": item.name,
            "paper": f"{paper.authors}: {paper.title}",
            "place": item.place,
            "shows": item.shows,
            "unit": unit,
            "quick": self.quick,
            "notes": notes,
            "made": dict(self.made),
            "rows": rows_as_json(rows),
            "panels": panels_as_json(panels),
        }
        for place in (folder, *([self.out] if self.out else [])):
            write_json(place / f"{item.name}.json", outcome)
        write_csv(folder / f"{item.name}.csv", rows)
        heading = f"{item.name}  {paper.authors}, {item.place}: {item.shows}"
        text = "\n".join([heading, *([f"printed in {unit}"] if unit else []), table(rows), *notes])
        return Done(folder, text, panels, pictures)


def quick_note(protocol: Protocol, steps: Sequence[Step]) -> str:
    """Return how a quick replay differs from the paper's protocol, in a sentence.

    Args:
        protocol: The paper's protocol.
        steps: The steps that are run.
    """
    parts = []
    if protocol.on_features is not None:
        parts.append("small networks with a tenth of the epochs and fewer seeds")
    if steps:
        parts.append(f"{len(steps)} of {len(protocol.steps)} runs")
    parts += [
        f"fer {command} with {' '.join(words)}"
        for command, words in dict.fromkeys((step.command, step.quick) for step in steps)
        if words
    ]
    return f"--quick: {', '.join(parts)}; these numbers show that the protocol runs, no more"
