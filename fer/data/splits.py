"""Split samples into train, val and test: stratified hold-outs and folds, by sample or by group."""

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
"""Largest number of folds from which a grouped hold-out is joined."""

Indices = NDArray[np.intp]
"""Row numbers of samples, sorted, from 0."""


@dataclass(frozen=True)
class Protocol:
    """How samples are split: a hold-out or a cross-validation.

    Attributes:
        sizes: Sizes of train and test, or of train, val and test, for a hold-out. They are percentages if
            they add up to 100, else numbers of samples.
        num_folds: Number of folds of a cross-validation, 2 or more; 0 for a hold-out.
    """

    sizes: tuple[int, ...] = ()
    num_folds: int = 0


def parse_protocol(text: str) -> Protocol:
    """Parse a protocol as papers write it.

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
    """Split samples into disjoint, stratified train, val and test splits.

    In a cross-validation, the given fold is the test split, and every sample is in the test split of exactly
    one fold. If the protocol does not name a validation split, it is drawn from the remaining samples. The
    epoch, the network and its settings are selected on the validation split, and the test split is evaluated
    once: if they were selected on the test split, its accuracy would be the best of many tries. The test
    split depends on the seed, but not on ``val_share``.

    Without groups, a hold-out has exactly the requested size, and its class counts are within one of the
    proportional count. With groups, no group is divided between splits, so sizes and class shares are only
    approximate: a hold-out is the union of some of K stratified folds of whole groups, with K at most 10 and
    chosen to match the share (20 %: one of 5; 30 %: 3 of 10). Its size differs from the requested one by at
    most about 3 % of the samples plus the largest group, and is at least about 10 % of the samples. A class
    that occurs in few groups may be missing from a split, and another seed only swaps similar groups.

    Args:
        labels: Shape (N,), 0 to K - 1.
        protocol: See :func:`parse_protocol`.
        fold: Fold that is the test split, from 0; 0 for a hold-out.
        groups: Group of each sample, such as its clip, shape (N,).
        val_share: Share of the samples outside the test split that forms val, 0 to 1, if the protocol names
            no val.
        seed: Seed of the draws.
        class_names: K names, for messages.

    Returns:
        Rows of ``train``, ``val`` and ``test``, each sorted.

    Raises:
        InputError: The protocol does not fit the data: the sizes do not match the number of samples, there
            are more folds than groups or than samples of a class, there is no such fold, or a split would be
            empty.
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
        there = f"0 to {num_folds - 1}" if num_folds else "0, since it is a single hold-out"
        msg = f"data.fold is {fold}: with data.protocol={protocol} it must be {there}"
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
    """Return the number of samples of val, None if the protocol names no val, and of test."""
    if sum(sizes) == 100:
        sizes = tuple(round(num_samples * size / 100) for size in sizes)
    elif sum(sizes) != num_samples:
        msg = (
            f"data.protocol={protocol} adds up to {sum(sizes):,} samples, but there are {num_samples:,}: "
            "use numbers that add up to the number of samples, or percentages that add up to 100"
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
    """Return the rows of a stratified sample, sorted.

    Args:
        labels: Labels of the samples to draw from, shape (N,).
        size: Number of samples to draw; approximate if there are groups.
        groups: Group of each sample, or None.
        seed: Seed of the draw.
        name: Name of the split that is drawn, for messages.
        class_names: K names, for messages.
    """
    if not 0 < size < len(labels):
        msg = (
            f"{name} would have {size:,} of {len(labels):,} samples, which leaves a split empty: "
            "choose another data.protocol or data.val_share"
        )
        raise InputError(msg)
    if groups is None:
        return _stratified(labels, size, seed=seed, name=name, class_names=class_names)
    most_folds = min(MOST_GROUP_FOLDS, len(np.unique(groups)), int(np.bincount(labels).max()))
    if most_folds < 2:
        msg = (
            f"{name} cannot be drawn by group: there is only one group, or only one sample of each class; "
            "use smaller groups, or set data.group_by=null"
        )
        raise InputError(msg)
    # Use the smallest number of folds that matches the share: class shares are preserved best in large folds.
    share = Fraction(size, len(labels)).limit_denominator(most_folds)
    num_folds = most_folds if share.denominator == 1 else share.denominator
    folds = [rows for rows in _grouped_folds(labels, num_folds, groups, seed=seed) if rows.size]
    totals = np.cumsum([rows.size for rows in folds])[:-1]
    joined = int(np.abs(totals - size).argmin()) + 1
    return np.sort(np.concatenate(folds[:joined]))


def _stratified(
    labels: NDArray[np.int64], size: int, *, seed: int, name: str, class_names: Sequence[str]
) -> Indices:
    """Return ``size`` rows with the same class shares as all samples, sorted."""
    from sklearn.model_selection import train_test_split  # not at the top: slow, and few data sets need it

    _check_classes(labels, 2, f"{name} cannot be drawn by class", class_names)
    num_classes = len(np.unique(labels))
    if min(size, len(labels) - size) < num_classes:
        msg = (
            f"{name} would have {size:,} of {len(labels):,} samples: one side would be too small to have all "
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
            f"data.protocol={num_folds}-fold needs at least {num_folds} groups, but there are {num_groups}: "
            "use fewer folds, or smaller groups"
        )
        raise InputError(msg)
    folds = _grouped_folds(labels, num_folds, groups, seed=seed)
    if not all(rows.size for rows in folds):
        msg = (
            f"data.protocol={num_folds}-fold leaves a fold empty, since the {num_groups} groups differ "
            "too much in size: use fewer folds, or smaller groups"
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
        # A class with fewer samples than there are folds is missing from some; joining folds compensates.
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        return [rows for _, rows in splitter.split(labels, labels, groups)]


def _check_classes(labels: NDArray[np.int64], least: int, what: str, class_names: Sequence[str]) -> None:
    """Raise an error if a class has samples, but fewer than ``least``."""
    counts = np.bincount(labels, minlength=len(class_names))
    rarest = int(np.where(counts > 0, counts, counts.max() + 1).argmin())
    if counts[rarest] < least:
        msg = (
            f"{what}: at least {least} samples of each class are needed, but {class_names[rarest]} has "
            f"{counts[rarest]}; add some, leave the class out, or choose another data.protocol"
        )
        raise InputError(msg)
