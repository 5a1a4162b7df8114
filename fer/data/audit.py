"""Audit of a data set: duplicates, conflicting labels, leakage, blank images, missing and odd features."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from fer.data.features import FeatureSplit, far_outliers
from fer.data.near import near_pairs
from fer.labels import EXPRESSIONS

if TYPE_CHECKING:
    from fer.data.images import ImageSplit

LEARNT_FROM: Final = ("train", "val")
"""Splits that a test split must not overlap with."""


@dataclass(frozen=True)
class Member:
    """One sample.

    Attributes:
        split: Name of its split.
        row: Row in its split, from 0.
        name: Name in its source.
        label: Name of its class.
    """

    split: str
    row: int
    name: str
    label: str


Members = tuple[Member, ...]
"""Samples that belong together, in the order of their splits."""


def is_conflicting(members: Members) -> bool:
    """Return whether the samples have more than one label."""
    return len({member.label for member in members}) > 1


def is_straddling(members: Members) -> bool:
    """Return whether the samples are in more than one split."""
    return len({member.split for member in members}) > 1


@dataclass(frozen=True)
class Overlap:
    """Numbers of samples of a split that also occur in other splits.

    Attributes:
        split: The split.
        others: The other splits, taken together.
        identical: Samples with an identical copy in the others.
        alike: Samples with an identical copy or a near duplicate in the others.
        grouped: For each kind of group, samples whose group also occurs in the others.
    """

    split: str
    others: tuple[str, ...]
    identical: int
    alike: int
    grouped: dict[str, int]


@dataclass(frozen=True)
class Grouping:
    """Counts for one kind of group.

    Attributes:
        kind: Kind of group, such as ``clip``.
        groups: Number of groups.
        shared: Groups of two samples or more.
        samples: Samples in groups of two or more.
        conflicting: Groups with more than one label.
        straddling: Groups in more than one split.
    """

    kind: str
    groups: int
    shared: int
    samples: int
    conflicting: int
    straddling: int


@dataclass(frozen=True)
class Value:
    """One value of a row of features; None where it is missing."""

    member: Member
    column: int
    value: float | None


@dataclass(frozen=True)
class FeatureFindings:
    """Missing, constant and outlying feature values.

    Attributes:
        missing: Values that are missing.
        constant: Columns whose values are all the same, or all missing.
        outliers: Values far outside their column; see :func:`fer.data.features.far_outliers`.
    """

    missing: tuple[Value, ...]
    constant: tuple[int, ...]
    outliers: tuple[Value, ...]


@dataclass(frozen=True)
class AuditReport:
    """Findings of an audit.

    Attributes:
        class_names: Names of the K classes, in the order of their labels.
        class_counts: Number of samples of each class, K numbers for each split.
        blank: Images of one colour.
        identical: Groups of samples that are equal in every pixel (or feature).
        near: Groups of near duplicates that are not all identical. They are linked in pairs, so that two
            members of a group may differ by more than a pair does.
        overlaps: Val against train; each test against train, val, and both together.
        groupings: Counts for each kind of group.
        features: None for images.
    """

    class_names: tuple[str, ...]
    class_counts: dict[str, tuple[int, ...]]
    blank: Members
    identical: tuple[Members, ...]
    near: tuple[Members, ...]
    overlaps: tuple[Overlap, ...]
    groupings: tuple[Grouping, ...]
    features: FeatureFindings | None

    def to_dict(self) -> dict[str, Any]:
        """Return all findings and their counts as plain data for JSON."""
        duplicates = {"identical": self.identical, "near": self.near}
        counts = {kind: _duplicate_counts(groups) for kind, groups in duplicates.items()}
        return {"counts": {"blank": len(self.blank), **counts}, **asdict(self)}

    def table(self) -> str:
        """Return the counts as aligned text, one block for each question."""
        blocks = [self._balance(), self._duplicates()]
        if self.overlaps:
            blocks.append(self._overlaps())
        if self.groupings:
            blocks.append(self._groupings())
        if self.features is not None:
            blocks.append(self._features(self.features))
        return "\n\n".join(map(_aligned, blocks))

    def _balance(self) -> list[list[str]]:
        rows = [["split", *self.class_names, "all", "blank"]]
        for name, counts in self.class_counts.items():
            num_blank = sum(member.split == name for member in self.blank)
            rows.append([name, *(f"{count:,}" for count in (*counts, sum(counts), num_blank))])
        return rows

    def _duplicates(self) -> list[list[str]]:
        rows = [["duplicates", "groups", "samples", "surplus", "in 2+ splits", "with 2+ labels"]]
        for name, groups in (("identical", self.identical), ("near", self.near)):
            rows.append([name, *(f"{count:,}" for count in _duplicate_counts(groups).values())])
        return rows

    def _overlaps(self) -> list[list[str]]:
        kinds = [grouping.kind for grouping in self.groupings]
        rows = [["samples of", "also found in", "identical", "or near", *(f"by {kind}" for kind in kinds)]]
        for overlap in self.overlaps:
            total = sum(self.class_counts[overlap.split])
            found = (overlap.identical, overlap.alike, *(overlap.grouped[kind] for kind in kinds))
            shares = (f"{count:,} ({100 * count / max(total, 1):.1f} %)" for count in found)
            rows.append([overlap.split, " or ".join(overlap.others), *shares])
        return rows

    def _groupings(self) -> list[list[str]]:
        rows = [["groups by", "groups", "of 2+ samples", "samples there", "with 2+ labels", "in 2+ splits"]]
        for grouping in self.groupings:
            kind, *counts = asdict(grouping).values()
            rows.append([kind, *(f"{count:,}" for count in counts)])
        return rows

    def _features(self, features: FeatureFindings) -> list[list[str]]:
        rows = [["features", "values", "samples", "columns"]]
        for name, values in (("missing", features.missing), ("outliers", features.outliers)):
            num_samples = len({value.member for value in values})
            num_columns = len({value.column for value in values})
            rows.append([name, *(f"{count:,}" for count in (len(values), num_samples, num_columns))])
        rows.append(["constant", "", "", f"{len(features.constant):,}"])
        return rows


def audit(
    splits: "Mapping[str, ImageSplit | FeatureSplit]", class_names: Sequence[str] = EXPRESSIONS
) -> AuditReport:
    """Find duplicates, conflicting labels, leakage between splits, blank images and odd features.

    Identical samples are equal in every pixel, or in every feature. Near duplicates, for images only, have
    perceptual hashes within a few bits and correlated thumbnails; see :mod:`fer.data.near`.
    Memory is bounded, except for the pairs that are found.

    Args:
        splits: The splits by name; see :class:`AuditReport` for the comparisons between them.
        class_names: Names of the classes, in the order of their labels.

    Returns:
        All findings.

    Source of the hash: Krawetz, "Looks Like It", The Hacker Factor Blog, 2011, as implemented by imagehash.
    """
    members = [
        Member(name, row, str(split.names[row]), class_names[split.labels[row]])
        for name, split in splits.items()
        for row in range(len(split))
    ]
    tables = [split.features for split in splits.values() if isinstance(split, FeatureSplit)]
    images = [
        image for split in splits.values() if not isinstance(split, FeatureSplit) for image in split.images
    ]
    samples = images or [row for table in tables for row in table]

    distinct = _number([_digest(sample) for sample in samples])
    firsts = np.unique(distinct, return_index=True)[1]
    blank = np.array([bool((image == image[0, 0]).all()) for image in images], np.bool_)
    pairs = np.zeros((2, 0), np.intp)
    if images:
        shown = np.flatnonzero(~blank[firsts])
        pairs = shown[near_pairs([images[first] for first in firsts[shown]])]

    where = np.repeat(np.array(list(splits), np.str_), [len(split) for split in splits.values()])
    kinds = sorted({kind for split in splits.values() for kind in split.groups})
    groups = {
        kind: _number([str(group) for split in splits.values() for group in split.groups[kind]])
        for kind in kinds
    }
    shared = {kind: list(_gather(members, numbers)) for kind, numbers in groups.items()}
    return AuditReport(
        class_names=tuple(class_names),
        class_counts={
            name: tuple(np.bincount(split.labels, minlength=len(class_names)).tolist())
            for name, split in splits.items()
        },
        blank=tuple(members[index] for index in np.flatnonzero(blank)),
        identical=tuple(_gather(members, distinct)),
        # A group of identical images only is not a group of near duplicates.
        near=tuple(_gather(members, _components(pairs, len(firsts))[distinct], among=distinct)),
        overlaps=tuple(
            _overlap(where, split, others, distinct, pairs, groups) for split, others in _opponents(splits)
        ),
        groupings=tuple(_grouping(kind, shared[kind], groups[kind]) for kind in kinds),
        features=_feature_findings(members, np.concatenate(tables)) if tables else None,
    )


def seen_in(images: NDArray[np.uint8], others: Iterable[NDArray[np.uint8]]) -> NDArray[np.bool_]:
    """Return which images have a pixel-identical copy among others.

    Args:
        images: uint8, shape (N, H, W) or (N, H, W, 3).
        others: Arrays of images, each of any number and size.

    Returns:
        bool, shape (N,).
    """
    seen = {_digest(image) for group in others for image in group}
    return np.array([_digest(image) in seen for image in images], np.bool_)


def _digest(sample: NDArray[Any]) -> bytes:
    """Return a digest of a sample's shape and values."""
    size = str(sample.shape).encode()
    return hashlib.blake2b(sample.tobytes(), digest_size=16, salt=size[:16]).digest()


def _number(keys: Sequence[bytes] | Sequence[str]) -> NDArray[np.intp]:
    """Number the keys from 0 in order of appearance; equal keys get the same number."""
    numbers: dict[bytes | str, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.intp)


def _components(pairs: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    """Return the lowest node in the connected component of each of ``count`` nodes."""
    from scipy.sparse import coo_array  # not above: it is slow to import
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(pairs.shape[1], np.bool_), (pairs[0], pairs[1])), shape=(count, count))
    _, components = connected_components(links, directed=False)
    _, firsts, numbers = np.unique(components, return_index=True, return_inverse=True)
    return np.asarray(firsts[numbers], np.intp)


def _gather(
    members: Sequence[Member], groups: NDArray[np.intp], *, among: NDArray[np.intp] | None = None
) -> Iterator[Members]:
    """Yield the groups of two or more.

    Args:
        members: All samples.
        groups: Group of each sample.
        among: Key of each sample, of which a group must have two or more; None: two samples are enough.
    """
    order = np.argsort(groups, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
        if len(rows if among is None else set(among[rows].tolist())) > 1:
            yield tuple(members[row] for row in rows)


def _opponents(splits: Iterable[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each split with the splits that it must not overlap with, one by one and together."""
    learnt: tuple[str, ...] = ()
    for name in splits:
        yield from ((name, (other,)) for other in learnt)
        if len(learnt) > 1:
            yield name, learnt
        if name in LEARNT_FROM:
            learnt += (name,)


def _overlap(
    where: NDArray[np.str_],
    split: str,
    others: tuple[str, ...],
    distinct: NDArray[np.intp],
    pairs: NDArray[np.intp],
    groups: Mapping[str, NDArray[np.intp]],
) -> Overlap:
    """Count the samples of a split that also occur in others."""
    here, there = where == split, np.isin(where, others)
    identical = np.isin(distinct[here], distinct[there])
    is_there = np.zeros(distinct.max(initial=-1) + 1, np.bool_)
    is_there[distinct[there]] = True
    is_near = is_there.copy()
    is_near[pairs[0, is_there[pairs[1]]]] = True
    is_near[pairs[1, is_there[pairs[0]]]] = True
    return Overlap(
        split=split,
        others=others,
        identical=int(identical.sum()),
        alike=int(is_near[distinct[here]].sum()),
        grouped={kind: int(np.isin(group[here], group[there]).sum()) for kind, group in groups.items()},
    )


def _grouping(kind: str, shared: Sequence[Members], groups: NDArray[np.intp]) -> Grouping:
    """Count the groups of one kind."""
    return Grouping(
        kind=kind,
        groups=len(np.unique(groups)),
        shared=len(shared),
        samples=sum(map(len, shared)),
        conflicting=sum(map(is_conflicting, shared)),
        straddling=sum(map(is_straddling, shared)),
    )


def _feature_findings(members: Sequence[Member], features: NDArray[np.float64]) -> FeatureFindings:
    """Return the missing, constant and outlying values of features (N, F)."""
    missing = np.isnan(features)
    known = np.where(missing.all(axis=0), 0.0, features)
    constant = np.nanmin(known, axis=0) == np.nanmax(known, axis=0)

    def values(found: NDArray[np.bool_]) -> tuple[Value, ...]:
        return tuple(
            Value(members[row], column, None if missing[row, column] else float(features[row, column]))
            for row, column in np.argwhere(found).tolist()
        )

    return FeatureFindings(
        missing=values(missing),
        constant=tuple(np.flatnonzero(constant).tolist()),
        outliers=values(far_outliers(known)),
    )


def _duplicate_counts(groups: Sequence[Members]) -> dict[str, int]:
    num_samples = sum(map(len, groups))
    return {
        "groups": len(groups),
        "samples": num_samples,
        "surplus": num_samples - len(groups),
        "straddling": sum(map(is_straddling, groups)),
        "conflicting": sum(map(is_conflicting, groups)),
    }


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of cells as text, words left-aligned, numbers right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    words = [
        number == 0 or not any(character.isdigit() for cell in column[1:] for character in cell)
        for number, column in enumerate(zip(*rows, strict=True))
    ]
    lines = []
    for row in rows:
        cells = (
            cell.ljust(width) if is_word else cell.rjust(width)
            for cell, width, is_word in zip(row, widths, words, strict=True)
        )
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
