"""Match the classes of a data set with those of a trained network, by name."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fer.errors import InputError
from fer.labels import canonical_name

UNKNOWN = -1
"""Label of a class that the network does not know."""


@dataclass(frozen=True)
class ClassMatch:
    """Mapping from the labels of a data set to those of a network.

    Attributes:
        names: The network's classes, in the order of its logits.
        labels: The network's label for each class of the data set, or :data:`UNKNOWN`.
        unknown: Classes of the data set that the network does not know.
        absent: Classes of the network that the data set does not have.
    """

    names: tuple[str, ...]
    labels: tuple[int, ...]
    unknown: tuple[str, ...]
    absent: tuple[str, ...]

    @property
    def is_complete(self) -> bool:
        """Whether both have the same classes, in any order."""
        return not (self.unknown or self.absent)

    def relabel(self, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Convert labels of the data set, shape (N,), to the network's; some may be :data:`UNKNOWN`."""
        relabelled: NDArray[np.int64] = np.array(self.labels, np.int64)[labels]
        return relabelled

    def relabel_targets(self, targets: NDArray[np.float32]) -> NDArray[np.float32]:
        """Reorder class probabilities of the data set, shape (N, K), to match the network's classes."""
        ordered = np.zeros((len(targets), len(self.names)), np.float32)
        known = [label for label in range(len(self.labels)) if self.labels[label] != UNKNOWN]
        ordered[:, [self.labels[label] for label in known]] = targets[:, known]
        return ordered

    def lines(self) -> list[str]:
        """Return a line for each kind of mismatch; empty if all classes match."""
        lines = []
        if self.unknown:
            lines.append(f"not known to the network, left out: {', '.join(self.unknown)}")
        if self.absent:
            lines.append(f"not in the data, wrong if predicted: {', '.join(self.absent)}")
        return lines


def match_classes(data: Sequence[str], network: Sequence[str]) -> ClassMatch:
    """Match the classes of a data set with those of a network by name, aliases included.

    Args:
        data: Names of the data set's classes, in the order of its labels.
        network: Names of the network's classes, in the order of its logits.

    Raises:
        InputError: They share fewer than two.

    >>> match_classes(["happiness", "sad", "amused"], ["sad", "happy", "fear"])
    ClassMatch(names=('sad', 'happy', 'fear'), labels=(1, 0, -1), unknown=('amused',), absent=('fear',))
    """
    by_name = {canonical_name(name): label for label, name in enumerate(network)}
    labels = tuple(by_name.get(canonical_name(name), UNKNOWN) for name in data)
    if len(set(labels) - {UNKNOWN}) < 2:
        msg = (
            f"the checkpoint's classes ({', '.join(network)}) and the data's ({', '.join(data)}) share fewer "
            "than 2 names: choose another checkpoint, or rename the data's classes with --data.classes"
        )
        raise InputError(msg)
    return ClassMatch(
        names=tuple(network),
        labels=labels,
        unknown=tuple(name for name, label in zip(data, labels, strict=True) if label == UNKNOWN),
        absent=tuple(name for label, name in enumerate(network) if label not in labels),
    )
