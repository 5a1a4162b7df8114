"""The audit's page shows every group with its captions, in order, on the page, and conflicts framed."""

import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from fer.figures.audit import PAGE_WIDTH, ImageGroup, Section, audit_figure
from fer.labels import EXPRESSIONS

pytestmark = pytest.mark.drawn

COUNTS = {"train": (3995, 436, 4097, 7215, 4965, 4830, 3171), "test": (0, 0, 0, 0, 0, 0, 0)}


def draw(figure: Figure) -> list[str]:
    """Draw a figure to a PNG in memory and return every text that is seen on it."""
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=40)
    assert image.getvalue().startswith(b"\x89PNG")
    return [text.get_text() for text in figure.findobj(Text) if text.get_visible() and text.get_text()]


def group(count: int, *shape: int, caption: str = "first\nsecond", stands_out: bool = False) -> ImageGroup:
    images = np.random.default_rng(0).integers(256, size=(count, *(shape or (48, 48))), dtype=np.uint8)
    return ImageGroup(list(images), [caption] * count, stands_out)


def test_balance_shows_counts_and_shares() -> None:
    texts = draw(audit_figure(COUNTS, [], "Audit: official"))

    assert {"Audit: official", "train: 28,709 samples", "test: 0 samples", *EXPRESSIONS} <= set(texts)
    assert "436  1.5%" in texts
    assert texts.count("0") == 7


def test_the_longest_bar_is_of_the_largest_share() -> None:
    figure = audit_figure({"train": (3, 1), "val": (1, 1)}, [], class_names=("no", "yes"))

    bars = [patch.get_width() for patch in figure.axes[0].patches]
    full = bars[0]
    # A pale bar of full width behind each.
    assert bars == pytest.approx([full, full, full, full / 3, full, full * 2 / 3, full, full * 2 / 3])


@pytest.mark.slow
def test_every_image_is_shown_with_its_caption_within_the_page() -> None:
    groups = [group(count) for count in (2, 3, 6, 5, 1, 4)]
    figure = audit_figure(COUNTS, [Section("Identical: 6", groups), Section("Blank: 1", [group(1)])])

    texts = draw(figure)

    assert texts.index("Identical: 6") < texts.index("Blank: 1")
    assert texts.count("first") == texts.count("second") == 22
    shown = figure.axes[0].get_images()
    assert len(shown) == 22
    width, height = figure.get_size_inches()
    assert width == PAGE_WIDTH
    for image in shown:
        left, right, bottom, top = image.get_extent()
        assert 0 < left < right <= width
        assert 0 < top < bottom < height


def test_no_image_covers_another() -> None:
    groups = [group(2, 90, 48), group(1, 20, 60, 3), group(40), group(3)]
    figure = audit_figure(COUNTS, [Section("All", groups), Section("Again", groups[:1])])

    boxes = [image.get_extent() for image in figure.axes[0].get_images()]

    assert len(boxes) == 48
    for index, (left, right, bottom, top) in enumerate(boxes):
        for other_left, other_right, other_bottom, other_top in boxes[:index]:
            is_beside = right <= other_left or other_right <= left
            assert is_beside or bottom <= other_top or other_bottom <= top


def test_a_conflict_is_framed() -> None:
    groups = [group(2, stands_out=True), group(3)]
    figure = audit_figure(COUNTS, [Section("All", groups)])

    edges = [patch for patch in figure.axes[0].patches if not patch.get_fill()]

    assert len(edges) == 1
    first, second = (image.get_extent() for image in figure.axes[0].get_images()[:2])
    box = edges[0].get_bbox()
    assert (box.x0, box.x1) == pytest.approx((first[0], second[1]))


def test_long_names_are_wrapped_and_their_ends_shown() -> None:
    name = "HarryPotter_Deathly_Hallows_1_001610960_00000028.png"
    figure = audit_figure(COUNTS, [Section("All", [group(1, caption=f"first\n{name}")])])

    texts = draw(figure)
    lines = texts[texts.index("first") + 1 :][:3]

    assert lines[0].startswith("…")
    assert name.endswith("".join(lines)[1:])
    assert len("".join(lines)) > 30


def test_a_name_is_no_formula() -> None:
    assert "$x_$" in draw(audit_figure(COUNTS, [Section("All", [group(1, caption="$x_$")])]))


@pytest.mark.parametrize(
    ("counts", "sections", "message"),
    [
        pytest.param({}, [], "do not fit", id="no splits"),
        pytest.param({"train": (1, 2)}, [], "7 class names do not fit", id="two classes"),
        pytest.param(
            COUNTS, [Section("All", [ImageGroup([], [])])], "0 captions for 0 images", id="an empty group"
        ),
        pytest.param(
            COUNTS,
            [Section("All", [group(2)._replace(captions=["a"])])],
            "All: 1 captions for 2 images",
            id="a caption is missing",
        ),
    ],
)
def test_what_does_not_fit_is_refused(counts, sections, message) -> None:
    with pytest.raises(ValueError, match=message):
        audit_figure(counts, sections)
