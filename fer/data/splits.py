"""Which samples train, select and test: stratified hold-outs and folds, by sample or by group."""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fer.errors import InputError
from fer.labels import EXPRESSIONS

MOST_GROUP_FOLDS: Final = 10
"""A grouped hold-out is joined from so many folds at most."""

Indices = NDArray[np.intp]
"""Rows of the data, sorted, from 0."""


@dataclass(frozen=True)
class Protocol:
    """How samples are split: a hold-out or folds.

    Attributes:
        sizes: Of a hold-out: train and test, or train, val and test. Percents if they add up to 100, else
            numbers of samples.
        num_folds: Of a cross-validation, 2 or more; 0 for a hold-out.
    """

    sizes: tuple[int, ...] = ()
    num_folds: int = 0


def parse_protocol(text: str) -> Protocol:
    """Read a protocol as papers write it.

    Args:
        text: ``80/20``, ``70/30`` (train and test, in percent), ``346/329`` (in samples), ``80/10/10``
            (train, val, test), ``4-fold``, ``5-fold``.

    Raises:
        InputError: It is none of these.

    >>> parse_protocol("80/10/10")
    Protocol(sizes=(80, 10, 10), num_folds=0)
    >>> parse_protocol("5-fold").num_folds
    5
    """
    if match := re.fullmatch(r"([0-9]+)-fold", text):
        if (num_folds := int(match[1])) >= 2:
            return Protocol(num_folds=num_folds)
    elif re.fullmatch(r"[1-9][0-9]*(/[1-9][0-9]*){1,2}", text):
        return Protocol(sizes=tuple(map(int, text.split("/"))))
    msg = (
        f"data.protocol is {text!r}: it must be train/test or train/val/test, in percent (80/20, 80/10/10) "
        "or in samples (346/329), or a cross-validation of 2 folds or more (5-fold)"
    )
    raise InputError(msg)


def split_indices(
    labels: NDArray[np.int64],
    protocol: str,
    *,
    fold: int = 0,
    groups: NDArray[np.str_] | None = None,
    val_share: float = 0.1,
    seed: int = 0,
    class_names: Sequence[str] = EXPRESSIONS,
) -> dict[str, Indices]:
    """Draw train, val and test: disjoint, together all samples, the classes' shares kept.

    In a cross-validation the fold is the test, and val is drawn from the rest; so it is where the protocol
    names train and test alone. The epoch, the network and its settings are chosen on val, so that the test
    is seen once: chosen on the fold itself, they would make its accuracy the best of many tries. Over the
    folds every sample is tested exactly once. The test depends on the seed, not on ``val_share``.

    Without groups a hold-out has exactly the size asked for, and its class counts are within one of their
    share. With groups no group stands on both sides. Groups are kept whole, so that sizes and class shares
    are only near: a hold-out is one or more of K stratified folds of whole groups, K being 10 at most and
    such that some make up the share (20 %: one of 5; 30 %: 3 of 10). It misses its size by about 3 % of the
    samples and the largest group at most, and is never less than about 10 % of them. A class that is in
    few groups may be missing in a split, and another seed only changes which of groups that are alike goes
    where.

    Args:
        labels: Shape (N,), 0 to K - 1.
        protocol: See :func:`parse_protocol`.
        fold: Which fold is the test, from 0; 0 for a hold-out.
        groups: Group of each sample, such as its clip, shape (N,).
        val_share: Part of what is not the test that is val, 0 to 1, where the protocol names no val.
        seed: The only thing that the draw depends on beside the data and the settings.
        class_names: K names, for messages.

    Returns:
        Rows of ``train``, ``val`` and ``test``, each sorted.

    Raises:
        InputError: The protocol does not fit the data: other counts, more folds than groups or than
            samples of a class, no such fold, or a split would be empty.
    """
    parsed = parse_protocol(protocol)
    num_folds = parsed.num_folds
    if groups is not None and groups.shape != labels.shape:
        msg = f"groups of shape {groups.shape} do not fit labels of shape {labels.shape}"
        raise ValueError(msg)
    if not 0 < val_share < 1:
        msg = f"data.val_share is {val_share}: it must be more than 0 and less than 1"
        raise InputError(msg)
    if not 0 <= fold < max(num_folds, 1):
        there = f"0 to {num_folds - 1}" if num_folds else "0, as there is one hold-out"
        msg = f"data.fold is {fold}: by data.protocol={protocol} it must be {there}"
        raise InputError(msg)

    if num_folds:
        test = _folds(labels, num_folds, groups=groups, seed=seed, class_names=class_names)[fold]
        num_val = None
    else:
        num_val, num_test = _counts(parsed.sizes, len(labels), protocol=protocol)
        test = hold_out(labels, num_test, groups=groups, seed=seed, name="test", class_names=class_names)
    rest = np.setdiff1d(np.arange(len(labels)), test)
    rest_groups = None if groups is None else groups[rest]
    if num_val is None:
        num_val = round(val_share * len(rest))
    chosen = hold_out(
        labels[rest], num_val, groups=rest_groups, seed=seed, name="val", class_names=class_names
    )
    return {"train": np.delete(rest, chosen), "val": rest[chosen], "test": test}


def _counts(sizes: tuple[int, ...], num_samples: int, *, protocol: str) -> tuple[int | None, int]:
    """Return the numbers of samples of val, None if it is not named, and of test."""
    if sum(sizes) == 100:
        sizes = tuple(round(num_samples * size / 100) for size in sizes)
    elif sum(sizes) != num_samples:
        msg = (
            f"data.protocol={protocol} names {sum(sizes):,} samples, and there are {num_samples:,}: "
            "name as many as there are, or give shares, which add up to 100"
        )
        raise InputError(msg)
    return (sizes[1] if len(sizes) == 3 else None), sizes[-1]


def hold_out(
    labels: NDArray[np.int64],
    size: int,
    *,
    groups: NDArray[np.str_] | None,
    seed: int,
    name: str,
    class_names: Sequence[str] = EXPRESSIONS,
) -> Indices:
    """Return the rows of a stratified part of the samples, sorted.

    Args:
        labels: Of the samples to draw from, shape (N,).
        size: Samples to draw: met exactly, with groups nearly.
        groups: Group of each sample, or None.
        seed: Of the draw.
        name: Of the split that is drawn, for messages.
        class_names: K names, for messages.
    """
    if not 0 < size < len(labels):
        msg = (
            f"{name} would have {size:,} of {len(labels):,} samples, so that a split is empty: "
            "choose another data.protocol or data.val_share"
        )
        raise InputError(msg)
    if groups is None:
        return _stratified(labels, size, seed=seed, name=name, class_names=class_names)
    most_folds = min(MOST_GROUP_FOLDS, len(np.unique(groups)), int(np.bincount(labels).max()))
    if most_folds < 2:
        msg = (
            f"{name} cannot be drawn by group: the samples to draw from are all of one group, or each of "
            "another class; take smaller groups, or none"
        )
        raise InputError(msg)
    # The fewest folds of which some make up the share: few folds hold the classes' shares best.
    share = Fraction(size, len(labels)).limit_denominator(most_folds)
    num_folds = most_folds if share.denominator == 1 else share.denominator
    folds = [rows for rows in _grouped_folds(labels, num_folds, groups, seed=seed) if rows.size]
    totals = np.cumsum([rows.size for rows in folds])[:-1]
    joined = int(np.abs(totals - size).argmin()) + 1
    return np.sort(np.concatenate(folds[:joined]))


def _stratified(
    labels: NDArray[np.int64], size: int, *, seed: int, name: str, class_names: Sequence[str]
) -> Indices:
    """Return ``size`` rows, the classes' shares kept, sorted."""
    from sklearn.model_selection import train_test_split  # not above: few data sets need it, and it is slow

    _check_classes(labels, 2, f"{name} cannot be drawn by class", class_names)
    num_classes = len(np.unique(labels))
    if min(size, len(labels) - size) < num_classes:
        msg = (
            f"{name} would have {size:,} of {len(labels):,} samples: too few on one side for each of "
            f"{num_classes} classes; choose another data.protocol or data.val_share"
        )
        raise InputError(msg)
    _, chosen = train_test_split(np.arange(len(labels)), test_size=size, stratify=labels, random_state=seed)
    return np.sort(chosen)


def _folds(
    labels: NDArray[np.int64],
    num_folds: int,
    *,
    groups: NDArray[np.str_] | None,
    seed: int,
    class_names: Sequence[str],
) -> list[Indices]:
    """Return the rows of each fold."""
    from sklearn.model_selection import StratifiedKFold

    _check_classes(labels, num_folds, f"data.protocol={num_folds}-fold", class_names)
    if groups is None:
        splitter = StratifiedKFold(num_folds, shuffle=True, random_state=seed)
        return [rows for _, rows in splitter.split(labels, labels)]
    if (num_groups := len(np.unique(groups))) < num_folds:
        msg = (
            f"data.protocol={num_folds}-fold needs {num_folds} groups or more, and there are {num_groups}: "
            "take fewer folds, or smaller groups"
        )
        raise InputError(msg)
    folds = _grouped_folds(labels, num_folds, groups, seed=seed)
    if not all(rows.size for rows in folds):
        msg = (
            f"data.protocol={num_folds}-fold leaves a fold empty, since its {num_groups} groups differ "
            "much in size: take fewer folds, or smaller groups"
        )
        raise InputError(msg)
    return folds


def _grouped_folds(
    labels: NDArray[np.int64], num_folds: int, groups: NDArray[np.str_], *, seed: int
) -> list[Indices]:
    """Return the rows of each fold of whole groups; one may be empty."""
    from sklearn.model_selection import StratifiedGroupKFold

    splitter = StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # A class rarer than the folds is missing in some, which joined folds make up for.
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        return [rows for _, rows in splitter.split(labels, labels, groups)]


def _check_classes(labels: NDArray[np.int64], least: int, what: str, class_names: Sequence[str]) -> None:
    """Refuse a class that has samples, but too few."""
    counts = np.bincount(labels, minlength=len(class_names))
    rarest = int(np.where(counts > 0, counts, counts.max() + 1).argmin())
    if counts[rarest] < least:
        msg = (
            f"{what} needs {least} samples of each class or more, and {class_names[rarest]} has "
            f"{counts[rarest]}: add some, leave the class out, or choose another data.protocol"
        )
        raise InputError(msg)
