"""The timeline: bounded in points, faces and frames; what it shows is the mean of what was seen."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from drawn_videos import make_face

from fer.figures.timeline import Panel, timeline_figure
from fer.labels import EXPRESSIONS
from fer.palette import class_colours
from fer.predict import timeline as module
from fer.predict.timeline import MAX_FRAMES, MAX_POINTS, MAX_TRACKS, Timeline, bands
from fer.predict.timeline_page import BUDGET, write_timeline
from fer.predict.tracks import TrackedFace

BOX = (10.0, 10.0, 40.0, 40.0)
IMAGE = np.full((48, 64, 3), 90, np.uint8)
HAPPY = EXPRESSIONS.index("happy")


def watched(times, faces_at, class_names=EXPRESSIONS):
    timeline = Timeline(class_names, 10)
    for time in times:
        timeline.add(time, IMAGE, faces_at(time), [])
    return timeline


def one_face(time):
    return [TrackedFace(1, make_face(BOX, happy=time / 100))]


def test_a_short_video_is_shown_frame_by_frame():
    timeline = watched([0, 0.1, 0.2], one_face)
    ((times, values),) = [track.curve(timeline.gap) for track in timeline.longest(99)]
    assert times.tolist() == [0, 0.1, 0.2]
    assert values[:, HAPPY].tolist() == pytest.approx([0, 0.001, 0.002])
    assert [frame.time for frame in timeline.frames] == [0, 0.1, 0.2]


def test_a_long_video_takes_no_more_memory():
    timeline = watched(np.arange(0, 100, 0.05), one_face)
    (track,) = timeline.longest(99)
    assert MAX_POINTS / 2 < len(track.points) <= MAX_POINTS
    assert MAX_FRAMES / 3 < len(timeline.frames) <= MAX_FRAMES
    times, values = track.curve(timeline.gap)
    assert values[:, HAPPY] == pytest.approx(times / 100)  # means of a straight line lie on it
    assert sum(point.num for point in track.points.values()) == track.num_frames == 2000
    between = np.diff([frame.time for frame in timeline.frames])
    assert between.max() <= 2.01 * between.min()


def test_a_face_that_was_away_has_a_gap():
    timeline = watched(np.arange(0, 5, 0.1), lambda time: one_face(time) if not 1 < time < 3 else [])
    times, values = timeline.longest(99)[0].curve(timeline.gap)
    away = np.isnan(values).all(axis=1)
    assert away.sum() == 1
    assert 1 < times[away][0] < 3


def test_of_very_many_faces_the_longest_are_kept(monkeypatch):
    monkeypatch.setattr(module, "_portrait", lambda *_: b"")
    monkeypatch.setattr(Timeline, "_keep", lambda *_: None)

    def faces(time):
        return [TrackedFace(1, make_face(BOX)), TrackedFace(2 + int(time * 10), make_face(BOX))]

    timeline = watched(np.arange(0, 10, 0.1) + 0.05, faces)
    assert len(timeline.longest(99)) == MAX_TRACKS
    assert timeline.num_dropped == 101 - MAX_TRACKS
    assert timeline.longest(99)[0].num_frames == 100


@pytest.mark.parametrize(
    ("most", "expected"),
    [
        pytest.param(3, [("a", [0]), ("b", [1]), ("c", [2])], id="all"),
        pytest.param(2, [("c", [2]), ("2 others", [0, 1])], id="the most probable"),
    ],
)
def test_bands(most, expected):
    curves = [np.array([[0.2, 0.1, 0.7], [np.nan] * 3])]
    assert bands(["a", "b", "c"], curves, most) == expected


@pytest.mark.parametrize("num", [1, 7, 8, 100])
def test_colours_of_any_number_of_classes_differ(num):
    colours = class_colours(num)
    assert len(set(colours)) == num
    assert colours == class_colours(num + 5)[:num]
    assert all(re.fullmatch("#[0-9A-F]{6}", colour) for colour in colours)


def test_the_figure_names_the_classes_that_lead():
    times = np.linspace(0, 10, 50)
    happy = np.clip(times / 10, 0, 1)
    values = np.stack([happy, 1 - happy], axis=1)
    values[20:30] = np.nan
    figure = timeline_figure([Panel("face 1", times, values)], [("happy", "#0072b2"), ("sad", "#e69f00")], 10)
    (axes,) = figure.axes
    assert sorted(text.get_text() for text in axes.texts) == ["happy", "sad"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["happy", "sad"]
    with pytest.raises(ValueError, match="one face or more"):
        timeline_figure([], [], 1)


class Page(HTMLParser):
    """The addresses in a page, and its data."""

    def __init__(self, html):
        super().__init__()
        self.addresses, self.data, self.inside = [], "", False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.addresses += [value for name, value in attrs if name in ("src", "href", "action", "srcset")]
        self.inside = ("id", "content") in attrs

    def handle_data(self, data):
        self.data += data if self.inside else ""


def write(timeline, folder, name="clip.mp4"):
    write_timeline(timeline, folder / "t.png", folder / "t.html", name=name, notes=["A note."])
    return (folder / "t.html").read_text()


def test_the_page_loads_nothing_and_holds_what_was_seen(tmp_path):
    name = "</script><b>&amp; ✓.mp4"
    html = write(watched([0, 0.1, 0.2], one_face), tmp_path, name)
    page = Page(html)
    assert all(address.startswith(("#", "data:")) for address in page.addresses)
    assert set(re.findall(r"https?://[^\"'\s)]+", html)) == {"http://www.w3.org/2000/svg"}
    content = json.loads(page.data)
    assert content["name"] == name
    assert "<b>" not in html.replace("&lt;b>", "")
    (track,) = content["tracks"]
    assert track["times"] == [0, 0.1, 0.2]
    assert [sum(row) for row in track["values"]] == [1000] * 3
    assert all(each["src"].startswith("data:image/jpeg;base64,") for each in content["frames"])
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")


def test_a_video_without_a_face_has_a_page_and_no_figure(tmp_path):
    page = Page(write(watched([0, 0.1], lambda _: []), tmp_path))
    assert json.loads(page.data)["summary"] == "2 frames (2 without a face) in 0.2 s, 0 tracked faces"
    assert not (tmp_path / "t.png").exists()


def test_the_largest_page_is_within_its_budget(tmp_path, monkeypatch):
    monkeypatch.setattr("fer.figures.timeline.timeline_figure", lambda *_, **__: None)  # nobody looks at it
    monkeypatch.setattr("fer.figures.style.write_figure", lambda *_: None)
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    timeline = Timeline(EXPRESSIONS, 10)
    for time in range(MAX_FRAMES):
        faces = [
            TrackedFace(n, make_face((20.0 * n, 10, 20.0 * n + 15, 40), happy=0.3)) for n in range(1, 13)
        ]
        timeline.add(time, noise, faces, [])
    write(timeline, tmp_path)
    assert (tmp_path / "t.html").stat().st_size < BUDGET
