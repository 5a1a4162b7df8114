"""Say which pass over the samples a command is in."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

from torch import nn

from fer.commands.parsing import CONSOLE
from fer.neurons.batches import InputBatches
from fer.neurons.inputs import Batches, Inputs


@dataclass(frozen=True, eq=False)
class AnnouncedBatches(InputBatches):
    """Batches whose passes are announced by a progress bar on a terminal, elsewhere by a line for each title.

    Attributes:
        announced: Titles that a line was written for; shared with the batches that :meth:`titled` returns.
    """

    announced: set[str] = field(default_factory=set)

    def __iter__(self) -> Iterator[Inputs]:
        """Yield the network's inputs for each batch."""
        if self.title and not self.progress and self.title not in self.announced:
            self.announced.add(self.title)
            CONSOLE.print(self.title)
        yield from super().__iter__()


def announced(batches: Batches, network: nn.Module) -> InputBatches:
    """Return batches for a network whose passes are announced, by a bar if there is a terminal."""
    return AnnouncedBatches(batches, network, progress=sys.stderr.isatty())
