"""Keep each finished round of a pruning on disk, so that an interrupted pruning can be completed."""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from fer.checkpoints import read_any_checkpoint
from fer.errors import InputError
from fer.files import atomic_write, read_json, write_json
from fer.neurons import Measurement, PrunePlan, resize
from fer.neurons.groups import PrunableLayers
from fer.pruning.limits import Target
from fer.pruning.once import Pruning
from fer.pruning.rounds import Round, RoundResult
from fer.pruning.settings import PruneSettings
from fer.pruning.tuning import Tuning

WAY_OUT: Final = "move this folder away, and prune again"


@dataclass(frozen=True)
class KeptRounds:
    """The folder ``rounds`` in the folder of a pruning, which exists until the pruning is complete.

    Attributes:
        folder: Path of the folder.
    """

    folder: Path

    @classmethod
    def of(cls, run_dir: Path) -> "KeptRounds":
        """Return the rounds in the folder of a run."""
        return cls(run_dir / "rounds")

    @property
    def is_cut_off(self) -> bool:
        """Whether a pruning started here and is not complete."""
        return self._settings_path.is_file()

    @property
    def num_finished(self) -> int:
        """Number of finished rounds."""
        return len(self._paths())

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Write the settings of a pruning that starts."""
        write_json(self._settings_path, settings)

    def check(self, settings: Mapping[str, Any]) -> None:
        """Check that the rounds are completed with the same settings.

        Raises:
            InputError: A setting differs.
        """
        before, now = read_json(self._settings_path, WAY_OUT), json.loads(json.dumps(settings))
        for name in sorted(before.keys() | now.keys()):
            if before.get(name) != now.get(name):
                msg = (
                    f"--{name} {now.get(name)}: {self.folder.parent} holds an interrupted pruning with "
                    f"{before.get(name)}; give the same value to complete it, or choose another --run_name"
                )
                raise InputError(msg)

    def write(self, number: int, each: Round) -> None:
        """Write a finished round; numbers start at 1."""
        pruning = each.pruning
        tuning = pruning.tuning
        content = {
            "state_dict": pruning.network.state_dict(),
            "untuned": None if tuning is None else tuning.before.state_dict(),
            "bare": None if each.bare is None else each.bare.state_dict(),
            "widths": dict(pruning.widths),
            "plans": {name: plan.to_json() for name, plan in pruning.plans.items()},
            "refused": dict(pruning.refused),
            "together": {name: list(others) for name, others in pruning.together.items()},
            "settings": json.dumps(pruning.settings.to_dict()),
            "result": json.dumps(each.result.to_dict()),
            "target": json.dumps(pruning.target and asdict(pruning.target)),
            "tuning": None if tuning is None else json.dumps(tuning.numbers),
        }
        with atomic_write(self._path(number)) as file:
            torch.save(content, file)

    def read(self, network: nn.Module) -> list[Round]:
        """Return the finished rounds, in order.

        Args:
            network: Network before pruning; it does not change.

        Raises:
            InputError: A file is damaged.
        """
        return [self._read(path, network) for path in self._paths()]

    def _read(self, path: Path, network: nn.Module) -> Round:
        content = read_any_checkpoint(path)
        try:
            networks: dict[str, Any] = {
                name: content[name] and _rebuild(network, content["widths"], content[name])
                for name in ("state_dict", "untuned", "bare")
            }
            small, untuned, bare = networks.values()
            result = RoundResult(**json.loads(content["result"]))
            settings = PruneSettings(**json.loads(content["settings"]))
            plans = {name: PrunePlan.from_json(text) for name, text in content["plans"].items()}
            refused, together = dict(content["refused"]), dict(content.get("together", {}))
            target = json.loads(content.get("target", "null"))
            numbers = json.loads(content["tuning"] or "null")
            tuning = None if untuned is None else Tuning.of(small, untuned, numbers)
        except (KeyError, TypeError, ValueError, RuntimeError) as e:
            msg = f"{path} is damaged: {e}; {WAY_OUT}"
            raise InputError(msg) from e
        pruning = Pruning(
            network=small,
            widths=content["widths"],
            plans=plans,
            measurement=Measurement(PrunableLayers((), {}), {}, settings.method.pattern_minmax),
            layers=result.layers,
            blocks=result.blocks,
            refused=refused,
            together=together,
            settings=settings,
            target=target and Target.read(target),
            tuning=tuning,
        )
        return Round(pruning, result, bare)

    def complete(self) -> None:
        """Remove the folder."""
        self._settings_path.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Lock the folder against other processes; the lock is released when the process ends.

        Raises:
            InputError: Another process holds the lock.
        """
        try:
            import fcntl  # not at the top: Windows has no such module
        except ImportError:
            yield
            return
        with (self.folder / ".lock").open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as e:
                msg = (
                    f"{self.folder.parent}: another process is pruning into it; wait, or choose another "
                    "--run_name"
                )
                raise InputError(msg) from e
            yield

    @property
    def _settings_path(self) -> Path:
        return self.folder / "settings.json"

    def _path(self, number: int) -> Path:
        return self.folder / f"round-{number:03d}.ckpt"

    def _paths(self) -> Sequence[Path]:
        return sorted(self.folder.glob("round-*.ckpt"))


def _rebuild(network: nn.Module, widths: Mapping[str, int], state: Mapping[str, Any]) -> nn.Module:
    small = resize(network, widths)
    # Assigned, so that tensors keep their memory format, which affects how convolutions round.
    small.load_state_dict(state, assign=True)
    return small.eval()


def find_cut_off(folder: Path, *, is_named: bool) -> KeptRounds | None:
    """Return an interrupted pruning in a folder or, unless the user named it, in one with a number appended.

    Args:
        folder: The folder of a pruning.
        is_named: Whether the user chose the folder's name.

    Raises:
        InputError: Another process holds the lock of the named folder.
    """
    folders = [folder] if is_named else [folder, *sorted(folder.parent.glob(f"{folder.name}-[0-9]*"))]
    for each in map(KeptRounds.of, folders):
        if not each.is_cut_off:
            continue
        try:
            with each.alone():
                return each
        except InputError:
            if is_named:
                raise
    return None
