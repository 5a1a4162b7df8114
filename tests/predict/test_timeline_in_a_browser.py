"""The page of a timeline in a real browser: drawn without a complaint, in light and dark, on any screen."""

import pytest
from browser import CHROMIUM, browser
from drawn_videos import draw_change, make_face

from fer.labels import EXPRESSIONS
from fer.predict.timeline import Timeline
from fer.predict.timeline_page import write_timeline
from fer.predict.tracks import TrackedFace

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium"),
]

NOW = "[...document.querySelectorAll('.now')].map((each) => each.textContent)"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    timeline = Timeline(EXPRESSIONS, 10)
    for number, image in enumerate(draw_change(21)):
        faces = [TrackedFace(1, make_face((0.0, 0.0, 40.0, 50.0), happy=number / 20, sad=1 - number / 20))]
        if number >= 10:
            faces.append(TrackedFace(2, make_face((42.0, 0.0, 60.0, 50.0), fear=0.8)))
        timeline.add(number / 10, image, faces, [])
    name = f"<b>{'a_very_long_name_' * 6}</b>.mp4"
    write_timeline(timeline, folder / "t.png", folder / "t.html", name=name)
    return folder / "t.html"


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def test_the_frame_and_the_probabilities_follow_the_slider(tab, path):
    tab.open(path)
    assert tab.requests == [path.as_uri()]
    assert tab.run("document.querySelector('h1').textContent").startswith("<b>a_very")
    assert tab.run("document.querySelectorAll('.bands path').length") == 2 * len(EXPRESSIONS)
    assert tab.run(NOW) == ["sad 100 %angry 0 %disgust 0 %", "not seen"]
    tab.run("document.querySelector('input').focus()")
    first = tab.run("document.querySelector('.viewer img').src")
    tab.press("ArrowRight")
    assert tab.run("document.querySelector('output').textContent") == "0.1 s"
    assert tab.run("document.querySelector('.viewer img').src") != first
    tab.press("End")
    assert tab.run("document.querySelector('input').getAttribute('aria-valuetext')") == (
        "2.0 s: face 1 happy 100 %; face 2 fear 80 %"
    )
    assert [words[:9] for words in tab.run(NOW)] == ["happy 100", "fear 80 %"]
    assert tab.complaints == []


def test_a_touch_on_a_band_chooses_the_time(tab, path):
    tab.open(path)
    tab.run(
        "(() => { const box = document.querySelector('.bands').getBoundingClientRect();"
        " const at = { clientX: box.left + box.width / 2, clientY: box.top + 5, pointerType: 'touch' };"
        " document.querySelector('.bands').dispatchEvent(new PointerEvent('pointerdown', at)); })()"
    )
    assert tab.run("document.querySelector('output').textContent") == "1.1 s"  # half of 2.1 s
    assert tab.run("document.querySelector('input').value") in ("10", "11")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_it_fits_its_screen_and_is_readable(tab, path, width, scheme):
    tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    tab.open(path, width=width)
    assert tab.run("document.documentElement.scrollWidth <= innerWidth")
    ink, paper = (
        sum(map(int, tab.run(f"getComputedStyle(document.body).{what}")[4:-1].split(",")))
        for what in ("color", "backgroundColor")
    )
    assert (ink < 150 and paper > 600) if scheme == "light" else (ink > 600 and paper < 150)
    assert tab.complaints == []
