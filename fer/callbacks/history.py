"""What measurements leave: a history for each layer, the losses, and the last angles."""

import math
from collections.abc import Mapping
from typing import Any, Final

from lightning.pytorch import Callback
from torch import Tensor

from fer.callbacks.layer_values import NUM_VALUES, LayerValues, keys_of, over_layers
from fer.callbacks.measuring import Measured
from fer.neurons.angles import angular_speed

LOSSES: Final = {"train/loss": "train", "val/loss": "val"}
"""By name in :attr:`HistoryCallback.losses` the split."""

SAMPLE_LOSS: Final = "sample/{}_loss"
"""How the loss on the samples of a split is called in logs; with a network ``sample/<network>/…``."""

OWN_KEY: Final = "DistinctivenessCallback"
"""What the keys of such states in a checkpoint begin with."""

KEPT: Final = ("epoch", "time", "rows", "history", "losses", "collapse", "num_classes")
"""Attributes that a checkpoint keeps as they are."""


class HistoryCallback(Callback):
    """A callback that keeps what its measurements gave."""

    def __init__(self) -> None:
        self.epoch = -1
        """The last epoch, from 0, whose angles are stored; -1 if there is none."""
        self.time = 0.0
        """The time of the last measurement, in epochs trained."""
        self.degrees: dict[str, Tensor] = {}
        """By layer: the angles at the last measurement, degrees."""
        self.rows: dict[str, Tensor] = {}
        """By layer: one row of activations an image at the last measurement."""
        self.history: dict[str, dict[str, list[float]]] = {}
        """By layer: ``epoch``, the time of each measurement, and the logged values, as lists of equal length;
        NaN where a value is not known."""
        self.losses: dict[str, list[float]] = {name: [] for name in ("epoch", *LOSSES)}
        """``epoch`` and the losses on the samples at each measurement, NaN where they are not known."""
        self.collapse: dict[str, list[float]] = {}
        """``epoch`` and the neural collapse at the end of each measured epoch; empty without classes."""
        self.num_classes = 0
        """Number of classes of the samples; 0 without any."""

    @property
    def widths(self) -> dict[str, int]:
        """By layer: the number of neurons; empty before the first measurement."""
        return {layer: len(matrix) for layer, matrix in self.degrees.items()}

    @property
    def num_measurements(self) -> int:
        """Number of measurements."""
        return len(self.losses["epoch"])

    def forget_after(self, now: float) -> None:
        """Forget measurements after a time, which an earlier training with this callback has left."""
        for columns in (*self.history.values(), self.losses, self.collapse):
            num = sum(each <= now for each in columns.get("epoch", ()))
            columns.update({name: values[:num] for name, values in columns.items()})
        self.history = {layer: columns for layer, columns in self.history.items() if columns["epoch"]}
        if self.time > now:
            self.epoch, self.time, self.degrees, self.rows = -1, 0.0, {}, {}

    def append(
        self, now: float, measured: Measured, values: Mapping[str, LayerValues], network: str | None = None
    ) -> dict[str, float]:
        """Append a measurement, and return by key what is logged of it.

        Args:
            now: Its time, in epochs trained.
            measured: The measurement.
            values: By layer the numbers that it gave.
            network: The network that a callback was told to work on: it follows the keys of the means, and is
                in those of the losses.
        """
        logged: dict[str, float] = {}
        rows: dict[str, dict[str, float]] = {}
        for layer, of_layer in values.items():
            row = of_layer.values | {"speed": math.nan}
            if layer in self.degrees:
                before, num_epochs = self.degrees[layer], now - self.time
                row["speed"] = angular_speed(before, of_layer.degrees, num_epochs=num_epochs)
            _append(self.history.setdefault(layer, {}), {"epoch": now} | row)
            logged |= {key: row[name] for name, key in keys_of(layer).items()}
            rows[layer] = row
        means = over_layers(rows, {layer: len(of_layer.degrees) for layer, of_layer in values.items()})
        logged |= {key if network is None else f"{key}/{network}": mean for key, mean in means.items()}
        losses = {name: measured.losses[split] for name, split in LOSSES.items()}
        _append(self.losses, {"epoch": now} | losses)
        prefix = "" if network is None else f"{network}/"
        logged |= {SAMPLE_LOSS.format(prefix + split): measured.losses[split] for split in LOSSES.values()}
        self.time, self.rows = now, measured.rows
        self.num_classes = 0 if measured.labels is None else len(set(measured.labels.tolist()))
        self.degrees = {layer: of_layer.degrees for layer, of_layer in values.items()}
        return {key: value for key, value in logged.items() if value == value}

    def append_collapse(self, values: Mapping[str, float], network: str | None) -> dict[str, float]:
        """Append the neural collapse at the time of the last measurement, and return what is logged of it.

        Where ``network`` names one network of the module, the keys hold its name, so that callbacks for
        several networks do not overwrite each other's values.
        """
        _append(self.collapse, {"epoch": self.time} | dict(values))
        prefix = "collapse" if network is None else f"collapse/{network}"
        return {f"{prefix}/{name}": value for name, value in values.items() if value == value}

    def state_dict(self) -> dict[str, Any]:
        """Return the histories and the last angles, so that a resumed run continues them."""
        kept = {name: getattr(self, name) for name in KEPT}
        return {**kept, "degrees": {layer: matrix.float() for layer, matrix in self.degrees.items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore them."""
        state = state_dict if "time" in state_dict else _renewed(state_dict)
        for name in KEPT:
            setattr(self, name, state[name])
        self.degrees = {layer: matrix.double() for layer, matrix in state["degrees"].items()}


def history_bytes(num_measurements: float, num_layers: int) -> float:
    """Return the size of a history, as a checkpoint holds it."""
    return num_measurements * num_layers * NUM_VALUES * 9


def measured_until(checkpoint: Mapping[str, Any]) -> float:
    """Return the time of the last measurement in a checkpoint, in epochs trained; 0 if there is none."""
    states = checkpoint.get("callbacks", {}).items()
    return max(
        (float(state["time"]) for key, state in states if key.startswith(OWN_KEY) and "time" in state),
        default=0.0,
    )


def _append(columns: dict[str, list[float]], row: Mapping[str, float]) -> None:
    num = len(columns.get("epoch", ()))
    for name, value in row.items():
        columns.setdefault(name, [math.nan] * num).append(value)


def _renewed(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state of a version that measured epochs, by their indices, in the present form."""
    history = {
        layer: columns | {"epoch": [epoch + 1.0 for epoch in columns["epoch"]]}
        for layer, columns in state["history"].items()
    }
    times: list[float] = next((columns["epoch"] for columns in history.values()), [])
    return {
        **state,
        "time": state["epoch"] + 1.0,
        "rows": {},
        "history": history,
        "losses": {"epoch": [*times]} | {name: [math.nan] * len(times) for name in LOSSES},
        "collapse": {},
        "num_classes": 0,
    }
