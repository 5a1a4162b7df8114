"""Base class of all data modules: splits in memory, and loaders of batches ``(inputs, labels)``."""

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from fer.data.about import DataCard, card_of
from fer.data.batches import BatchedImages, collate
from fer.data.draws import Draws, EpochLoader
from fer.data.frozen import ComputesFeatures, FeatureDataset, KeptFeatures
from fer.data.matching import UNKNOWN, ClassMatch, match_classes
from fer.errors import InputError, check_choice
from fer.labels import EXPRESSIONS

log = logging.getLogger("fer.data")

SamplerName = Literal["none", "balanced"]
"""How training samples are drawn in an epoch.

- ``none``: each sample once, in random order.
- ``balanced``: with replacement, each class equally often on average; the length of an epoch is unchanged.
"""

Item = tuple[Tensor, ...]
"""Inputs and label: two tensors, of one sample or of a batch."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Split:
    """One split of a data set, in memory: N samples.

    Attributes:
        labels: int64, shape (N,), 0 to K - 1: indices into the data module's ``class_names``.
        names: Name of each sample in its source, such as a file or a row; shape (N,).
        groups: Group of each sample, shape (N,), for each kind of group, such as the clip that a frame is
            taken from.
        targets: Class probabilities to train on instead of the labels, float32, shape (N, K); None: the
            labels.
    """

    labels: NDArray[np.int64]
    names: NDArray[np.str_]
    groups: Mapping[str, NDArray[np.str_]] = field(default_factory=dict)
    targets: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def targets_of(self, *, training: bool) -> NDArray[Any]:
        """Return the targets of the samples: soft targets for training if there are any, else the labels."""
        return self.targets if training and self.targets is not None else self.labels

    def take(self, rows: NDArray[np.integer]) -> Self:
        """Return a split with the given rows, in their order."""
        arrays = {key: value[rows] for key, value in vars(self).items() if isinstance(value, np.ndarray)}
        groups = {kind: group[rows] for kind, group in self.groups.items()}
        return replace(self, **arrays, groups=groups)


def numbered(count: int) -> NDArray[np.str_]:
    """Return names for samples that have none: their numbers, from 0, shape (count,)."""
    return np.arange(count).astype(np.str_)


class ExpressionDataModule(LightningDataModule, ABC):
    """Base class: labelled samples as batches ``(inputs, labels)``.

    A label is an index into :attr:`class_names`, by default the seven expressions.

    Args:
        batch_size: Samples per step, in each process.
        num_workers: Processes that load batches; null: none on a CPU, where they would compete with
            training, otherwise one per core, at most 8.
        seed: Seed of randomly drawn splits. (The seed of the run is ``seed_everything``.)
        sampler: How training samples are drawn: each once per epoch (none), or each class equally often
            (balanced). balanced cannot be combined with the model's ``class_weights: balanced``.

    Raises:
        InputError: A setting is out of its range, or a batch is larger than the train split.
    """

    card: DataCard | None = None
    """Description of a public data set, for model cards; None: there is none."""

    splits: dict[str, Any]
    """The splits by name, filled by :meth:`setup`; each is of the module's own subclass of :class:`Split`."""

    def __init__(
        self,
        *,
        batch_size: int = 64,
        num_workers: int | None = None,
        seed: int = 0,
        sampler: SamplerName = "none",
    ) -> None:
        super().__init__()
        if batch_size < 1:
            msg = f"data.batch_size is {batch_size}: it must be 1 or more"
            raise InputError(msg)
        if num_workers is not None and num_workers < 0:
            msg = f"data.num_workers is {num_workers}: it must be 0 (none) or more, or null"
            raise InputError(msg)
        check_choice("data.sampler", sampler, SamplerName)
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.seed = seed
        self.sampler = sampler
        self.splits = {}
        self.match: ClassMatch | None = None
        self.frozen: ComputesFeatures | None = None
        """Computes the features that loaders yield instead of inputs; None: they yield inputs."""
        self.features = KeptFeatures()
        self.save_hyperparameters(logger=False)

    @abstractmethod
    def load_splits(self) -> dict[str, Any]:
        """Return the splits: ``train``, ``val``, and one for each of :attr:`test_names`."""

    @abstractmethod
    def dataset(self, name: str, *, augmented: bool = False) -> Dataset[Item]:
        """Return a split as a dataset of network inputs, augmented for training or unchanged."""

    @property
    @abstractmethod
    def num_features(self) -> int:
        """Number of values in one network input; known before the splits are loaded."""

    @property
    def augments(self) -> bool:
        """Whether :meth:`dataset` augments a training sample anew each time it is accessed."""
        return True

    def prepare_splits(self, splits: dict[str, Any]) -> dict[str, Any]:
        """Return the loaded splits after the module's own preparation; unchanged by default."""
        return splits

    def fit(self, train: Any) -> None:
        """Fit what depends on the train split, such as the normalisation; nothing by default."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the K classes, in the order of the labels; known before the data is read."""
        return EXPRESSIONS

    @property
    def num_classes(self) -> int:
        """Number of classes K, 2 or more; known before the data is read."""
        return len(self.class_names)

    @property
    def label_names(self) -> tuple[str, ...]:
        """Class names of the labels in :attr:`splits`: :attr:`class_names`, or those of a matched network."""
        return self.class_names if self.match is None else self.match.names

    @property
    def title(self) -> str:
        """Name of the data set, as recorded with the networks that are trained on it."""
        return type(self).__name__.removesuffix("DataModule")

    def cards(self, trained_on: str | None) -> tuple[DataCard | None, ...]:
        """Return the cards of the data that a network was trained on and, if it differs, of this data.

        Args:
            trained_on: Data set and protocol of the training; None: this data.
        """
        trained = self.card if trained_on is None else card_of(trained_on)
        is_same = trained_on is None or trained_on.startswith(self.title)
        return (self.card,) if is_same else (trained, self.card)

    def match_network(self, class_names: Sequence[str]) -> ClassMatch:
        """Use the labels of a trained network; call this before the data is read.

        Classes are matched by name, aliases included. Samples of classes that the network does not know
        are left out, and counted in a log message.

        Args:
            class_names: The network's classes, in the order of its logits.

        Raises:
            InputError: Fewer than two classes are shared.
        """
        self.match = match_classes(self.class_names, class_names)
        return self.match

    @property
    def test_names(self) -> tuple[str, ...]:
        """Names of the test splits, one loader and one block of metrics each."""
        return ("test",)

    @property
    def evaluated_names(self) -> tuple[str, ...]:
        """Splits that testing reports, all from one checkpoint: train (not augmented), val, tests."""
        return ("train", "val", *self.test_names)

    @property
    def protocol_name(self) -> str:
        """How the splits were made, in words: printed beside every result."""
        return "as shipped"

    @property
    def class_counts(self) -> NDArray[np.int64]:
        """Number of training samples of each class, shape (K,)."""
        return np.bincount(self.splits["train"].labels, minlength=len(self.label_names))

    def sample(self, name: str, num_samples: int) -> NDArray[np.int64]:
        """Return a stratified sample of a split's rows; class counts are within one of their share.

        Args:
            name: Name of the split.
            num_samples: Number of rows; a smaller split is taken whole.

        Returns:
            Sorted rows, the same in every process and in every run with the same :attr:`seed`.
        """
        labels = self.splits[name].labels
        shuffled = np.random.default_rng(self.seed).permutation(len(labels))
        by_label = shuffled[np.argsort(labels[shuffled], kind="stable")]
        # Equal steps through the rows, sorted by label, select each label in proportion.
        num = min(num_samples, len(labels))
        steps = (2 * np.arange(num) + 1) * len(labels) // (2 * num)
        return np.sort(by_label[steps])

    def sample_dataloader(self, name: str, num_samples: int) -> DataLoader[Item]:
        """Return a loader of the rows of :meth:`sample`, in order, not augmented, to measure neurons on."""
        rows = self.sample(name, num_samples)
        samples = Subset(self.dataset(name), rows.tolist())
        return DataLoader(samples, batch_size=self.batch_size, collate_fn=collate)

    def setup(self, stage: str | None = None) -> None:
        """Load the splits once, and call :meth:`fit` with train."""
        del stage  # every stage needs train: what is fitted on it is applied to the others
        if self.splits:
            return
        splits = self._relabel(self.prepare_splits(self.load_splits()))
        num_train = len(splits["train"])
        if self.batch_size > num_train:
            msg = (
                f"data.batch_size is {self.batch_size}, more than the {num_train} samples "
                f"of the train split: set it to {num_train} or less"
            )
            raise InputError(msg)
        self.fit(splits["train"])
        self.splits = splits

    def _relabel(self, splits: dict[str, Any]) -> dict[str, Any]:
        """Return the splits with the labels of the matched network, if there is one.

        Raises:
            InputError: A split has no sample of a class that the network knows.
        """
        if self.match is None:
            return splits
        relabelled, left_out = {}, []
        for name, split in splits.items():
            labels = self.match.relabel(split.labels)
            rows = np.flatnonzero(labels != UNKNOWN)
            if not rows.size:
                msg = f"{name} has no sample of the checkpoint's classes ({', '.join(self.match.names)})"
                raise InputError(msg)
            kept = split.take(rows)
            targets = None if kept.targets is None else self.match.relabel_targets(kept.targets)
            relabelled[name] = replace(kept, labels=labels[rows], targets=targets)
            left_out.append(f"{name} {len(split) - rows.size:,} of {len(split):,}")
        if self.match.unknown:
            log.info("samples left out, of classes that the network does not know: %s", ", ".join(left_out))
        return relabelled

    def train_dataloader(self) -> EpochLoader:
        """Return batches in random order, drawn by :attr:`sampler`; an incomplete last batch is dropped.

        The draw depends only on the run's seed and the epoch, not on the number of workers.
        """
        dataset, labels = self._given("train", augmented=True), self.splits["train"].labels
        weights = 1 / np.maximum(self.class_counts, 1)[labels] if self.sampler == "balanced" else None
        draws = Draws(
            dataset,
            seed=torch.initial_seed(),
            weights=weights,
            num_processes=getattr(self.trainer, "world_size", 1),
            rank=getattr(self.trainer, "global_rank", 0),
        )
        return EpochLoader(
            dataset, sampler=draws, batch_size=self.batch_size, drop_last=True, **self._loading(dataset)
        )

    def val_dataloader(self) -> DataLoader[Item]:
        """Return batches of the validation split, in order."""
        return self._loader(self._given("val"))

    def test_dataloader(self) -> list[DataLoader[Item]]:
        """Return batches of each split that testing reports, in the order of :attr:`evaluated_names`."""
        return [self._loader(self._given(name)) for name in self.evaluated_names]

    def predict_dataloader(self) -> list[DataLoader[Item]]:
        """Return batches of each test split, in the order of :attr:`test_names`."""
        return [self._loader(self._given(name)) for name in self.test_names]

    def give_features(self, part: ComputesFeatures | None) -> None:
        """Make loaders yield the features of a network's frozen part; None: inputs again.

        The end of the trainer's run resets it.
        """
        self.frozen = part

    @contextmanager
    def giving_inputs(self) -> Iterator[None]:
        """Make loaders that are created in this context yield inputs."""
        part, self.frozen = self.frozen, None
        try:
            yield
        finally:
            self.frozen = part

    def teardown(self, stage: str) -> None:
        """Make loaders yield inputs again."""
        del stage
        self.give_features(None)

    def on_exception(self, exception: BaseException) -> None:
        """Make loaders yield inputs again."""
        del exception
        self.give_features(None)

    def _given(self, name: str, *, augmented: bool = False) -> Dataset[Item]:
        """Return the dataset behind a split's loader: inputs, or features instead."""
        dataset = self.dataset(name, augmented=augmented)
        if self.frozen is None or (augmented and self.frozen.versions == 0):
            return dataset
        self.features.loading |= self._loading(dataset) | {"persistent_workers": False}
        versions = self.frozen.versions if augmented and self.augments else None
        return self.features.of(dataset, self.frozen, title=name, versions=versions)

    @property
    def device(self) -> torch.device:
        """Training device; the CPU without a trainer."""
        strategy = getattr(self.trainer, "strategy", None)
        return torch.device("cpu") if strategy is None else strategy.root_device

    def _loading(self, dataset: Dataset[Item]) -> dict[str, Any]:
        """Return the ``DataLoader`` settings for a dataset."""
        on_gpu = torch.cuda.is_available()
        automatic = min(os.cpu_count() or 1, 8) if on_gpu else 0
        if isinstance(dataset, BatchedImages):
            # Data on a GPU needs neither workers, which could not use it, nor pinned memory.
            on_gpu, automatic = on_gpu and not dataset.on_gpu, 0
        num_workers = automatic if self.num_workers is None else self.num_workers
        if isinstance(dataset, FeatureDataset) or (isinstance(dataset, BatchedImages) and dataset.on_gpu):
            num_workers = 0
        return {
            "collate_fn": collate,
            "num_workers": num_workers,
            "persistent_workers": num_workers > 0,
            "pin_memory": on_gpu,
        }

    def _loader(self, dataset: Dataset[Item]) -> DataLoader[Item]:
        # A separate generator leaves the training's random state alone, which would otherwise depend on the
        # number of workers.
        generator = torch.Generator().manual_seed(0)
        return DataLoader(dataset, batch_size=self.batch_size, generator=generator, **self._loading(dataset))
