"""Cached features of the frozen part of a network, which replace the network's inputs.

They are computed once for each sample and kept in memory and in the cache. The name of the cache file is a
hash of all inputs and of the frozen part, so that features of another network, image or setting are never
loaded by mistake.
"""

import hashlib
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, Protocol

import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from fer.checkpoints import read_any_checkpoint
from fer.data.cache import cache_dir
from fer.data.draws import Draw
from fer.errors import InputError
from fer.files import atomic_write, describe_size

MOST_BYTES: Final = 4 * 2**30
"""Largest size in bytes at which the features of a split are kept."""

BATCH_SIZE: Final = 64
"""Samples computed at once, independent of the training's batch size, which would change rounding errors."""

log = logging.getLogger("fer.data")


class ComputesFeatures(Protocol):
    """The frozen part of a network."""

    @property
    def identity(self) -> str:
        """A name that changes with everything besides the inputs that the features depend on."""

    @property
    def versions(self) -> int:
        """Number of augmented versions of each training sample to keep; 0: do not cache training samples."""

    def compute(self, inputs: Tensor) -> Tensor:
        """Return the features (N, …) of inputs (N, …), on the CPU."""


class FeatureDataset(Dataset[tuple[Tensor, Tensor]]):
    """Features of N samples with their targets.

    If there are several versions of a sample, the seed of its :class:`fer.data.draws.Draw` selects one.

    Args:
        features: Shape ``(V, N, …)``, for V versions.
        targets: Shape ``(N,)`` or ``(N, K)``.
    """

    def __init__(self, features: Tensor, targets: Tensor) -> None:
        self.features, self.targets = features, targets

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        version = index.seed % len(self.features) if isinstance(index, Draw) else 0
        return self.features[version, index], self.targets[index]


class KeptFeatures:
    """Features of datasets, kept in memory and in the cache.

    Args:
        **loading: Settings of the ``DataLoader`` of the inputs, such as ``num_workers``.
    """

    def __init__(self, **loading: Any) -> None:
        self.loading = {"batch_size": BATCH_SIZE, **loading}
        self.in_memory: dict[str, Tensor] = {}
        """Features of shape ``(V * N, …)`` by their name in the cache."""
        self.is_writable = True

    # Lightning evaluates in inference mode, but training needs normal tensors of the features.
    @torch.inference_mode(mode=False)
    def of(
        self, dataset: Dataset[Any], part: ComputesFeatures, *, title: str, versions: int | None = None
    ) -> Dataset[Any]:
        """Return a dataset of features, or the dataset itself if they would be too large.

        Args:
            dataset: The samples, pairs of inputs and target.
            part: The frozen part of the network.
            title: Name of the samples, for messages.
            versions: Number of augmented versions of each sample, each with its own seed; None: one version
                without a seed.
        """
        num: int = len(dataset)  # type: ignore[arg-type]
        rows = range(num) if versions is None else _draw(num, versions)
        first, _ = next(self._batches(dataset, rows))
        computed = part.compute(first)
        if (size := computed[0].nbytes * len(rows)) > MOST_BYTES:
            log.warning(
                "the features of %s are computed in each epoch: they take %s, more than the limit of %s",
                *(title, describe_size(size), describe_size(MOST_BYTES)),
            )
            return dataset
        key, targets = self._identify(dataset, rows, part)
        features = self.in_memory.get(key)
        if features is None:
            features = self._load(key)
        # The first batch is compared too, since the name does not cover everything, such as changed code.
        if features is None or len(features) != len(rows) or not _is_equal(features[: len(first)], computed):
            features = self._compute(dataset, rows, part, title)
            self._store(key, features)
        self.in_memory[key] = features
        of_versions = features.view(versions or 1, num, *features.shape[1:])
        return FeatureDataset(of_versions, targets[:num])

    def _batches(self, dataset: Dataset[Any], rows: Iterable[int]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches of the rows; the loader's own generator leaves the global random state unchanged."""
        yield from DataLoader(
            dataset, sampler=rows, generator=torch.Generator().manual_seed(0), **self.loading
        )

    def _identify(
        self, dataset: Dataset[Any], rows: Iterable[int], part: ComputesFeatures
    ) -> tuple[str, Tensor]:
        """Return the name of the features in the cache, and the targets of the rows."""
        digest = hashlib.blake2b(part.identity.encode(), digest_size=16)
        targets = []
        for inputs, of_batch in self._batches(dataset, rows):
            digest.update(f"{inputs.dtype} {tuple(inputs.shape)}".encode())
            digest.update(inputs.cpu().contiguous().numpy().data)
            targets.append(of_batch.cpu())
        return digest.hexdigest(), torch.cat(targets)

    def _compute(
        self, dataset: Dataset[Any], rows: Iterable[int], part: ComputesFeatures, title: str
    ) -> Tensor:
        console = Console(stderr=True)
        with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
            batches = progress.track(self._batches(dataset, rows), description=f"Features of {title}")
            return torch.cat([part.compute(inputs) for inputs, _ in batches])

    def _load(self, key: str) -> Tensor | None:
        """Return the features in the cache; None if there are none, or the file is damaged."""
        path = _path(key)
        if not path.is_file():
            return None
        try:
            features = read_any_checkpoint(path).get("features")
        except InputError as e:
            log.info("%s; the features are computed again", e)
            return None
        return features if isinstance(features, Tensor) else None

    def _store(self, key: str, features: Tensor) -> None:
        if not self.is_writable:
            return
        try:
            with atomic_write(_path(key)) as file:
                torch.save({"features": features}, file)
        except OSError as e:
            self.is_writable = False
            log.warning(
                "the cache cannot be written (%s), so features are computed again in every run; set "
                "FER_CACHE_DIR to a folder that can be written",
                e,
            )


def _draw(num: int, versions: int) -> list[Draw]:
    """Return the rows of N samples once for each version, with seeds that depend on the run's seed."""
    generator = torch.Generator().manual_seed(torch.initial_seed() % 2**63)
    seeds = torch.randint(2**63 - 1, (versions, num), generator=generator)
    return [Draw(row, seed) for of_version in seeds.tolist() for row, seed in enumerate(of_version)]


def _path(key: str) -> Path:
    return cache_dir() / "features" / f"{key}.pt"


def _is_equal(kept: Tensor, computed: Tensor) -> bool:
    return kept.dtype == computed.dtype and torch.equal(kept, computed)
