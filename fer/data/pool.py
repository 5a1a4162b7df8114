"""Base class of data sets without their own splits, which a protocol splits."""

from abc import abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer.data.base import ExpressionDataModule, Split
from fer.data.splits import parse_protocol, split_indices
from fer.errors import InputError, did_you_mean


class PooledDataModule(ExpressionDataModule):
    """Samples in one pool, split by a protocol.

    Args:
        protocol: Sizes of train and test, or of train, val and test, in percent or samples: ``80/20``,
            ``346/329``, ``80/10/10``. Or a cross-validation: ``5-fold``.
        fold: Fold that is the test split in a cross-validation, from 0.
        val_share: Share of the training samples that forms the validation split if the protocol has none,
            0 to 1.
        group_by: Kind of group that is never divided between splits, such as ``clip`` or ``movie``;
            null: samples are drawn individually.
        **kwargs: See :class:`fer.data.base.ExpressionDataModule`.

    Raises:
        InputError: A setting is out of its range, or does not fit the data.
    """

    def __init__(
        self,
        *,
        protocol: str = "80/10/10",
        fold: int = 0,
        val_share: float = 0.1,
        group_by: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        parse_protocol(protocol)  # raises if it is invalid, before the data is read
        self.protocol = protocol
        self.fold = fold
        self.val_share = val_share
        self.group_by = group_by

    @abstractmethod
    def load_pool(self) -> Any:
        """Return all samples, as the module's subclass of :class:`fer.data.base.Split`."""

    @property
    def protocol_name(self) -> str:
        """How the splits were made, in words."""
        fold = f", fold {self.fold}" if self.protocol.endswith("-fold") else ""
        val = "" if self.protocol.count("/") == 2 else f", val {self.val_share:.0%} of train"
        return f"{self.protocol}{fold}{val}, {self.drawn}"

    @property
    def drawn(self) -> str:
        """How samples are drawn, in words: at random, or by group."""
        return f"grouped by {self.group_by}" if self.group_by else "random"

    def groups_of(self, split: Split) -> NDArray[np.str_] | None:
        """Return the group of each sample, of the kind ``group_by``; None if samples are drawn individually.

        Raises:
            InputError: The data has no such kind of group.
        """
        if self.group_by is None:
            return None
        if self.group_by not in split.groups:
            there = f"there are {', '.join(split.groups)}" if split.groups else "this data has none"
            hint = did_you_mean(self.group_by, split.groups)
            msg = f"data.group_by is {self.group_by!r}: no such kind of group; {hint}{there}"
            raise InputError(msg)
        return split.groups[self.group_by]

    def load_splits(self) -> dict[str, Any]:
        """Return the splits of the protocol."""
        pool = self.load_pool()
        indices = split_indices(
            pool.labels,
            self.protocol,
            fold=self.fold,
            groups=self.groups_of(pool),
            val_share=self.val_share,
            seed=self.seed,
            class_names=self.class_names,
        )
        return {name: pool.take(rows) for name, rows in indices.items()}
