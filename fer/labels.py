"""Class names: the default vocabulary, its aliases, and the label table of each data set."""

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from fer.errors import InputError, did_you_mean

EXPRESSIONS: Final = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
"""The default vocabulary in canonical order: a label is an index into this tuple.

The order is alphabetical, as in SFEW (Dhall et al., 2011) and in the image folders of FER2013.
"""

NUM_EXPRESSIONS: Final = len(EXPRESSIONS)

KNOWN_NAMES: Final = (*EXPRESSIONS, "contempt")
"""All names that have aliases, in canonical order. Contempt is last, so that the labels of the other seven do
not depend on whether a data set has it."""

ALIASES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "anger": "angry",
        "disgusted": "disgust",
        "fearful": "fear",
        "afraid": "fear",
        "scared": "fear",
        "happiness": "happy",
        "joy": "happy",
        "joyful": "happy",
        "neutrality": "neutral",
        "normal": "neutral",
        "sadness": "sad",
        "surprised": "surprise",
        "contemptuous": "contempt",
    }
)
"""Other names of the expressions, in lower case."""

FER2013_CSV: Final = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""Meaning of the integers 0 to 6 in FER2013's CSV (Goodfellow et al., 2013): not the canonical order."""

LABEL_TABLES: Final[Mapping[str, Mapping[int, str]]] = MappingProxyType(
    {
        "affectnet": dict(
            enumerate(("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry", "contempt"))
        ),
        "fer2013": dict(enumerate(FER2013_CSV)),
        "rafdb": dict(
            enumerate(("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral"), start=1)
        ),
        "sfew": dict(enumerate(("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"), start=1)),
    }
)
"""Meaning of each data set's integer labels, by the data set's name; ``data.classes`` takes these names.

Sources: AffectNet (Mollahosseini et al., 2017), FER2013 (Goodfellow et al., 2013), RAF-DB (Li et al., 2017),
SFEW (Dhall et al., 2011).
"""


def canonical_name(name: str) -> str:
    """Return a class name in its form for comparisons: lower case, no aliases, no leading zeros.

    >>> canonical_name(" Happiness"), canonical_name("Cats"), canonical_name("03")
    ('happy', 'cats', '3')
    """
    plain = name.strip().casefold()
    return str(int(plain)) if re.fullmatch("[0-9]+", plain) else ALIASES.get(plain, plain)


def ordered_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return class names in the order of their labels, each once.

    If all names are known, also as aliases, they are returned in the order of :data:`KNOWN_NAMES`, so that
    data sets with the same expressions have the same labels. Otherwise their order and spelling are kept.

    >>> ordered_names(["sadness", "Anger"]), ordered_names(["dog", "Anger"])
    (('angry', 'sad'), ('dog', 'Anger'))
    """
    given = tuple(dict.fromkeys(names))
    known = {canonical_name(name) for name in given}
    if known <= set(KNOWN_NAMES):
        return tuple(name for name in KNOWN_NAMES if name in known)
    return given


def default_class_names(num_classes: int) -> tuple[str, ...]:
    """Return names for unnamed classes: the seven expressions if there are seven, else ``class_0`` and so on.

    >>> default_class_names(2)
    ('class_0', 'class_1')
    """
    if num_classes == NUM_EXPRESSIONS:
        return EXPRESSIONS
    return tuple(f"class_{label}" for label in range(num_classes))


def expression_label(name: str) -> int:
    """Return the label of an expression of the default vocabulary.

    Args:
        name: A name of :data:`EXPRESSIONS` or :data:`ALIASES`, in any case.

    Returns:
        Index into :data:`EXPRESSIONS`, 0 to 6.

    Raises:
        InputError: The name is unknown.

    >>> expression_label("Happiness")
    3
    """
    plain = canonical_name(name)
    if plain not in EXPRESSIONS:
        hint = did_you_mean(plain, EXPRESSIONS)
        msg = f"unknown expression {name!r}; {hint}it must be one of {', '.join(EXPRESSIONS)}"
        raise InputError(msg)
    return EXPRESSIONS.index(plain)
