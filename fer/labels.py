"""The seven expressions, their one canonical order, and each data set's way of writing them."""

from typing import Final

from fer.errors import InputError

EXPRESSIONS: Final = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
"""Class names in canonical order: a label is an index into this tuple.

It is the alphabetical order, which is also that of SFEW (Dhall et al., 2011) and of the image
folders in which FER2013 is passed around.
"""

NUM_EXPRESSIONS: Final = len(EXPRESSIONS)

FER2013_CSV: Final = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""Meaning of the integers 0 to 6 in FER2013's CSV (Goodfellow et al., 2013): not the canonical order."""

ALIASES: Final = {
    "anger": "angry",
    "disgusted": "disgust",
    "fearful": "fear",
    "afraid": "fear",
    "happiness": "happy",
    "sadness": "sad",
    "surprised": "surprise",
}
"""Other names that data sets give to the expressions."""


def default_class_names(num_classes: int) -> tuple[str, ...]:
    """Return names for classes that have none: the seven expressions, else ``class_0`` and so on.

    >>> default_class_names(2)
    ('class_0', 'class_1')
    """
    if num_classes == NUM_EXPRESSIONS:
        return EXPRESSIONS
    return tuple(f"class_{label}" for label in range(num_classes))


def expression_label(name: str) -> int:
    """Return the canonical label of an expression's name.

    Args:
        name: A name of :data:`EXPRESSIONS` or :data:`ALIASES`, in any case.

    Returns:
        Index into :data:`EXPRESSIONS`, 0 to 6.

    Raises:
        InputError: The name is none of them.

    >>> expression_label("Happiness")
    3
    """
    plain = name.strip().lower()
    plain = ALIASES.get(plain, plain)
    if plain not in EXPRESSIONS:
        msg = f"unknown expression {name!r}: it must be one of {', '.join(EXPRESSIONS)}"
        raise InputError(msg)
    return EXPRESSIONS.index(plain)
