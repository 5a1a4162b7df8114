"""Onghena and Belo's numbers: O4."""

from typing import Final

from fer.studies.papers.facts import Papers
from fer.studies.papers.finding import Check, Finding, numerators

DIGITS: Final = 4


def split_sizes(papers: Papers) -> tuple[int, int]:
    """Return the numbers of training and validation images, from the printed share."""
    num = papers["s1"]["split"].value("all")
    num_train = int(num * papers["s1"]["share"].value("training") / 100)
    return num_train, int(num) - num_train


def settings(papers: Papers) -> Finding:
    """O4: two learning rates, a layer of 1,028, and the layout of Fig. 7."""
    paper = papers["s1"]
    rates = paper["learning_rate"].cells()
    filters = paper["filters"]
    meant = filters.read()["best, layer 3"]
    figure = paper["figure7"]
    public = int(papers["data"]["fer2013"].row("PublicTest").sum())
    possible = {
        label: bool(numerators(value, public, digits=DIGITS)) for label, value in figure.cells().items()
    }
    impossible = [
        f"{figure.cells()[label]:.4f}" for label, is_possible in possible.items() if not is_possible
    ]
    train = figure.value("above", "left")
    gaps = [100 * (train - figure.value(*cell)) for cell in (("below", "left"), ("above", "right"))]
    train_images, val_images = split_sizes(papers)
    return Finding(
        printed=f"learning rates {', '.join(f'{rate:g} ({place})' for place, rate in rates.items())}; "
        f"a layer of {filters.value('best', 'layer 3'):.0f}; accuracies "
        f"{', '.join(f'{value:.4f}' for value in figure.cells().values())}, a small gap",
        recomputed=f"{train_images:,} images train, {val_images:,} select; of {public:,} images no share is "
        f"{' or '.join(impossible)}; the gap is {gaps[0]:.1f} points if val is below train, {gaps[1]:.1f} "
        "if it "
        "is beside train",
        verdict=f"the repository it is built on has {rates['base repository']:g}, which is used here, and "
        f"{meant:.0f} filters. The labels of Fig. 7 are lost: read by columns, train and val come before "
        "PublicTest and PrivateTest, but 0.5696 cannot be an accuracy on 3,589 images. Read by rows all four "
        "can be: train 0.6945, val 0.5696, PublicTest and PrivateTest 0.5946 and 0.5715. Either way the gap "
        "is "
        "not small.",
        holds=rates["introduction"] == 10 * rates["section 3.4.3"] == 10 * rates["base repository"]
        and filters.value("best", "layer 3") != meant == 1024
        and (train_images, val_images) == (20096, 8613)
        and impossible == ["0.6945", "0.5696"]
        and min(gaps) > 9,
    )


CHECKS: Final = (Check("O4", "Onghena and Belo, sections 2 and 3.4, Fig. 7: settings and layout", settings),)
