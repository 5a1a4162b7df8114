"""What is known of a public data set beside its images: for the model card of what was trained on it."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class DataCard:
    """What a model card says of a data set.

    Attributes:
        about: What the samples are, and where their labels come from: sentences.
        limits: What the data set lacks: sentences.
        misuse: What a network that was trained on it must not be used for: sentences.
    """

    about: tuple[str, ...]
    limits: tuple[str, ...] = ()
    misuse: tuple[str, ...] = ()


FACES: Final = (
    "It does not measure what a person feels. A label is an annotator's impression of a face, and the "
    "network learns to repeat such impressions.",
    "It must not be used for decisions about people: not in hiring, at work, in education, policing, "
    "border control, health care, insurance, lending or advertising. The EU's AI Act (Regulation "
    "2024/1689, article 5) prohibits emotion recognition at the workplace and in education, but for "
    "medical or safety reasons.",
    "It must not be used to watch people who did not agree to it.",
)
"""What no network that was trained on facial expressions must be used for."""

FER2013: Final = DataCard(
    about=(
        "FER2013 (Goodfellow et al., 2013) has 35,887 grey images of faces, 48 x 48 pixels, found by an "
        "image search on the web for words of emotions, combined with words of gender, age and ethnicity; "
        "faces were cropped by a detector.",
        "Labels are the words that were searched for, checked by annotators: impressions of posed faces "
        "and of faces that were searched for, not what anyone felt. In a test by its authors people "
        "agreed with 65 % (plus or minus 5) of the labels.",
        "The images were published for research. They come from the web; the people in them were not "
        "asked, and rights of others may lie on the images. So these weights are for research and "
        "teaching: who wants to use them for more must clear that for themselves.",
    ),
    limits=(
        "Age, gender, skin colour and origin of the people are not recorded, so the network's accuracy for "
        "groups of people cannot be measured on it. An image search of 2013 with English words shows whom "
        "the web showed then, often in stock photos: others are rare or missing, and nobody has counted "
        "whom.",
        "Faces are small and grey, and mostly frontal, since a detector of frontal faces cropped them.",
        "Disgust has only 547 images. Some images occur twice, in train and test or with two labels, and "
        "some are no faces: fer audit lists them.",
    ),
    misuse=FACES,
)

SFEW: Final = DataCard(
    about=(
        "SFEW (Dhall et al., 2011) has stills of feature films. The expressions are acted; labels are "
        "annotators' impressions of them, not what anyone felt.",
        "The stills were published for research: the films belong to others. So these weights are for "
        "research and teaching: who wants to use them for more must clear that for themselves.",
    ),
    limits=(
        "It shows the actors of 37 films, several stills of one scene: a few hundred images of few people. "
        "Who is not cast in such films is missing.",
    ),
    misuse=FACES,
)

DRAWN: Final = DataCard(
    about=("The images are synthetic faces, for trying things out: no person is in them.",),
    limits=("A network that was trained on them knows nothing of photos.",),
)

CARDS: Final = {"Fer2013": FER2013, "Sfew": SFEW, "SfewFeatures": SFEW, "SyntheticFaces": DRAWN}
"""The cards by the title of a data set, with which begins what a network was trained on."""


def card_of(trained_on: str | None) -> DataCard | None:
    """Return what is known of the data that a network was trained on.

    >>> card_of("SyntheticFaces, any protocol") is DRAWN, card_of("FaceFolder (mine), 80/20"), card_of(None)
    (True, None, None)
    """
    return CARDS.get((trained_on or "").split(",")[0].split(" ")[0])
