"""The model card: what is known of the data, and nothing that is not."""

import pytest

from fer.callbacks.model_card import UNKNOWN_DATA, model_card
from fer.data import DATA_MODULES
from fer.data.about import CARDS, FACES, FER2013, SFEW, card_of

BINS = {"ece": {"before": 0.25, "after": 0.05}, "nll": {"before": 0.7, "after": 0.6}, "n": 4}
SPLIT = {"n": 4, "acc": 0.75, "interval": [0.3, 0.95], "confusion": [[2, 0], [1, 1]]}
RESULTS = {
    **{"network": "Net", "parameters": 1234, "data": "MineDataModule", "protocol": "80/20", "seed": 3},
    **{"trained_on": "Mine, 80/20", "epochs": 2, "best": {"val/acc": 0.5}, "class_names": ["a|b", "c"]},
    "calibration": {"temperature": 1.25, "n": 9, "split": "val", "views": {"flip": {"temperature": 1.1}}},
    "splits": {
        "train": SPLIT,
        "test": SPLIT | {"calibration": BINS, "tta": {"flip": {"acc": 1.0, "interval": [0.5, 1.0]}}},
    },
}


def test_a_card_of_own_data_says_nothing_of_faces():
    text = model_card(RESULTS, name="mine")
    assert UNKNOWN_DATA in text
    assert not any(word in text for word in ("face", "emotion", "feel", "people"))


@pytest.mark.parametrize(
    "expected",
    [
        "# Model card: mine",
        "Net, 1,234 parameters",
        "- Trained on: Mine, 80/20",
        "| test | plain | 75.00 % | 30.06 to 95.44 % | 4 |",
        "|  | flip | 100.00 % | 50.00 to 100.00 % | 4 |",
        "| c | 2 | 50.00 % |",
        "| a\\|b | 2 | 0 |",
        "softmax: 1.250, 1.100 for flip. It was fitted on val (n = 9)",
        "| test | 25.00 % | 5.00 % | 0.7000 | 0.6000 | 4 |",
        "right for 50.00 % of test",
    ],
)
def test_a_card_has_the_numbers_of_the_results(expected):
    assert expected in model_card(RESULTS, name="mine")


def test_a_card_without_calibration_says_so():
    assert "are not calibrated" in model_card(RESULTS | {"calibration": None}, name="mine")


def test_misuse_is_said_once_of_two_data_sets_of_faces():
    text = model_card(RESULTS, [FER2013, SFEW, None], name="mine")
    assert all(text.count(sentence) == 1 for sentence in FACES)
    assert all(sentence in text for sentence in (*FER2013.about, *SFEW.limits, UNKNOWN_DATA))


def test_every_card_belongs_to_a_data_set():
    titles = {kind.__name__.removesuffix("DataModule"): kind for kind in DATA_MODULES.values()}
    assert {title: kind.card for title, kind in titles.items() if kind.card is not None} == CARDS
    assert card_of("Fer2013, official: Training / PublicTest / PrivateTest") is FER2013


@pytest.mark.parametrize(
    ("trained_on", "expected"),
    [
        pytest.param(None, [CARDS["SyntheticFaces"]], id="nothing known of the training"),
        pytest.param("SyntheticFaces, synthetic faces", [CARDS["SyntheticFaces"]], id="the same data"),
        pytest.param("Fer2013, official", [FER2013, CARDS["SyntheticFaces"]], id="other data"),
        pytest.param("Mine, 80/20", [None, CARDS["SyntheticFaces"]], id="unknown data"),
    ],
)
def test_a_card_tells_of_the_data_of_training_and_test(trained_on, expected):
    assert list(DATA_MODULES["synthetic"]().cards(trained_on)) == expected
