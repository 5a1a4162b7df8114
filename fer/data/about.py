"""Data cards: origin, limits and misuse of public data sets, for the model cards of trained networks."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class DataCard:
    """Sentences on a data set for a model card.

    Attributes:
        about: What the samples are, and where their labels come from.
        limits: What the data set lacks.
        misuse: What a network that was trained on it must not be used for.
    """

    about: tuple[str, ...]
    limits: tuple[str, ...] = ()
    misuse: tuple[str, ...] = ()


FACES: Final = (
    "It does not measure what a person feels. A label is an annotator's impression of a face, and the "
    "network learns to repeat such impressions.",
    "It must not be used for decisions about people: not in hiring, at work, in education, policing, "
    "border control, health care, insurance, lending or advertising. The EU's AI Act (Regulation "
    "2024/1689, article 5) prohibits emotion recognition at the workplace and in education, except "
    "for medical or safety reasons.",
    "It must not be used to watch people who did not agree to it.",
)
"""What no network that was trained on facial expressions must be used for."""

FER2013: Final = DataCard(
    about=(
        "FER2013 (Goodfellow et al., 2013) has 35,887 grey images of faces, 48 x 48 pixels, found by an "
        "image search on the web for emotion words, combined with words for gender, age and ethnicity; a "
        "face detector cropped them.",
        "Labels are the search words, checked by annotators. They describe impressions of faces, many of "
        "them posed, not what anyone felt. In a test by its authors, people agreed with 65 % (plus or "
        "minus 5) of the labels.",
        "The images were published for research. They come from the web: the people in them were not "
        "asked, and others may hold rights to the images. Use these weights for research and teaching; "
        "any other use is for you to clear.",
    ),
    limits=(
        "Age, gender, skin colour and origin of the people are not recorded, so the network's accuracy for "
        "groups of people cannot be measured on it. An image search of 2013 with English words finds the "
        "people who were shown on the web then, often in stock photos. Others are rare or missing, and "
        "nobody has counted them.",
        "Faces are small and grey, and mostly frontal, since a detector of frontal faces cropped them.",
        "Disgust has only 547 images. Some images occur twice, in train and test or with two labels, and "
        "some show no face: fer audit lists the duplicates and the blank images.",
    ),
    misuse=FACES,
)

SFEW: Final = DataCard(
    about=(
        "SFEW (Dhall et al., 2011) has stills of feature films. The expressions are acted; labels are "
        "annotators' impressions of them, not what anyone felt.",
        "The stills were published for research; others hold the rights to the films. Use these weights "
        "for research and teaching; any other use is for you to clear.",
    ),
    limits=(
        "It shows the actors of 58 films, often in several stills of one scene: a few hundred images of few "
        "people. People who are not cast in such films are missing.",
    ),
    misuse=FACES,
)

DRAWN: Final = DataCard(
    about=("The images are synthetic faces, for trying things out; they show no real person.",),
    limits=("A network that was trained on them does not work on photos.",),
)

CARDS: Final = {"Fer2013": FER2013, "Sfew": SFEW, "SfewFeatures": SFEW, "SyntheticFaces": DRAWN}
"""Cards by the title of a data set, the first word of a network's ``trained_on``."""


def card_of(trained_on: str | None) -> DataCard | None:
    """Return the card of the data that a network was trained on; None if there is none.

    >>> card_of("SyntheticFaces, any protocol") is DRAWN, card_of("FaceFolder (mine), 80/20"), card_of(None)
    (True, None, None)
    """
    return CARDS.get((trained_on or "").split(",")[0].split(" ")[0])
