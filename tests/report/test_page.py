"""The page: one file, nothing loaded, nothing of the folder taken for HTML."""

import json
import re
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pytest
import yaml

from fer.errors import InputError
from fer.neurons.plan import REMOVAL_REASONS
from fer.report import gather, write_report
from fer.report.images import MOST_BYTES, PNG
from fer.report.page import BUDGET, page, script
from fer.report.style import WEB
from fer.runs import Run


class Parts(HTMLParser):
    """The elements with their attributes, and the texts of scripts by their id."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.scripts, self.inside = [], {}, None
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.inside = dict(attrs).get("id", "code") if tag == "script" else None

    def handle_data(self, data):
        if self.inside:
            self.scripts[self.inside] = self.scripts.get(self.inside, "") + data

    def handle_endtag(self, tag):
        self.inside = None


@pytest.fixture
def html(run_dir, settings_of):
    return page(gather(run_dir, settings_of))


def test_nothing_is_loaded_from_anywhere(html):
    loading = [
        value
        for tag, attributes in Parts(html).elements
        for name, value in attributes.items()
        if name in ("src", "srcset", "href", "action", "data", "poster")
        and not value.startswith(("#", "data:"))
    ]
    assert loading == []
    # The only address is the name that SVG has.
    assert set(re.findall(r"""https?://[^"'\s)]+""", html)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(
        r"@import|url\((?!data:)|\bfetch\(|XMLHttpRequest|WebSocket|sendBeacon|import\(", html
    )
    assert "default-src 'none'" in html


def test_what_was_gathered_is_in_it_as_json(html, run_dir, settings_of):
    content = json.loads(Parts(html).scripts["content"])
    assert content["results"] == json.loads(json.dumps(gather(run_dir, settings_of)["results"]))
    assert len(content["look"]["angles"]) == 241
    assert all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in content["look"]["angles"])


def test_a_text_of_the_folder_cannot_become_a_tag(run_dir, settings_of):
    evil = '</script><script>alert("1")</script><img src=x onerror=alert(2)>&amp;\u2028'
    pruned = json.loads((run_dir / "prune.json").read_text())
    pruned["refused"] = {evil: evil}
    (run_dir / "prune.json").write_text(json.dumps(pruned))
    folder = run_dir.rename(run_dir.with_name("<img src=x>&"))
    before = Parts(page(gather(folder, settings_of)))
    assert json.loads(before.scripts["content"])["prune"]["refused"] == {evil: evil}
    assert [tag for tag, _ in before.elements].count("script") == 2
    images = [attributes for tag, attributes in before.elements if tag == "img"]
    assert all(each["src"].startswith("data:image/png;base64,") for each in images)
    assert {name for _, attributes in before.elements for name in attributes}.isdisjoint({"onerror"})
    assert json.loads(before.scripts["content"])["name"] == "<img src=x>&"


def test_it_is_written_beside_the_run_or_where_it_is_asked_for(run_dir, settings_of, tmp_path):
    assert write_report(run_dir, None, settings_of) == run_dir / "report.html"
    other = tmp_path / "new" / "page.html"
    assert write_report(run_dir, other, settings_of) == other
    assert [path.name for path in other.parent.iterdir()] == ["page.html"]
    assert gather(run_dir, settings_of)["kind"] == "Training run"  # a report is no part of the run


def test_a_place_that_cannot_be_written_to_is_named(run_dir, settings_of, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot write .*page.html.*--out"):
        write_report(run_dir, tmp_path / "file" / "page.html", settings_of)


@pytest.mark.slow
def test_a_large_run_stays_below_the_budget(run_dir, settings_of):
    rng = np.random.default_rng(0)
    for epoch in range(40):  # angles at random, which cannot be compressed
        degrees = np.triu(rng.uniform(0, 180, size=(300, 300)), 1)
        Run(run_dir).write_angles(epoch, {f"conv{layer}": degrees + degrees.T for layer in range(4)})
    for name in ("predictions", "feature-maps"):
        (run_dir / "figures" / f"{name}.png").write_bytes(PNG + rng.bytes(MOST_BYTES - len(PNG)))
    assert len(page(gather(run_dir, settings_of))) < BUDGET


def test_without_scripts_there_are_results_and_commands(run_dir, settings_of):
    content = gather(run_dir, settings_of)
    static = page(content).split("<noscript>")[2].split("</noscript>")[0]
    text = " ".join(unescape(re.sub(r"<[^>]+>", " ", static)).split())
    assert "made-up Scripts are not allowed here" in text
    test = next(split for split in content["results"] if split["name"] == "test")
    assert f"test {test['n']} {100 * test['acc']:.2f} % {100 * test['low']:.2f} %" in text
    assert content["clean"] in text
    assert f"Commands {content['repeat']['command']}" in text
    before, after = content["prune"]["before"], content["prune"]["after"]
    assert f"parameters {before['parameters']:,} {after['parameters']:,}" in text


def test_an_image_is_in_the_page_once_and_not_in_the_scripts_data(run_dir, settings_of):
    (run_dir / "figures" / "predictions.png").write_bytes(PNG + b"content")
    content = gather(run_dir, settings_of)
    source = content["images"][0]["src"]
    html = page(content)
    assert html.count(source) == 1
    sources = {each["id"]: each["src"] for tag, each in Parts(html).elements if tag == "img"}
    assert sources["image-predictions"] == source


def test_an_address_in_a_damaged_file_is_no_image(run_dir, settings_of):
    pruned = json.loads((run_dir / "prune.json").read_text())
    foreign = {"name": "far", "title": "far", "alt": "far", "src": "https://example.org/far.png"}
    (run_dir / "prune.json").write_text(json.dumps(pruned | {"settings": foreign}))
    html = page(gather(run_dir, settings_of))
    sources = [each["src"] for tag, each in Parts(html).elements if tag == "img"]
    assert sources
    assert all(source.startswith("data:image/png;base64,") for source in sources)


def test_a_run_on_a_part_of_the_data_is_not_comparable(run_dir, settings_of):
    config = yaml.safe_load((run_dir / "config.yaml").read_text())
    (run_dir / "config.yaml").write_text(yaml.safe_dump(config | {"trainer": {"limit_val_batches": 2}}))
    html = page(gather(run_dir, settings_of))
    limits = "Not comparable with runs of the whole protocol: validated on the first 2 batches."
    assert f'<p class="warn">{limits}</p>' in html
    assert json.loads(Parts(html).scripts["content"])["limits"] == limits


def test_an_image_that_is_too_large_is_named(run_dir, settings_of):
    (run_dir / "figures" / "predictions.png").write_bytes(PNG + bytes(MOST_BYTES))
    (image,) = gather(run_dir, settings_of)["images"]
    assert image["path"] == "figures/predictions.png"
    assert "src" not in image


def test_the_scripts_are_short_lines_in_files_that_are_all_in_the_page(html):
    files = [path for path in WEB.iterdir() if path.suffix in (".js", ".css", ".html")]
    assert len(files) > 10
    for path in files:
        text = path.read_text()
        assert max(map(len, text.splitlines())) <= 100, path.name
        assert path.suffix == ".html" or text in html


def test_removal_reasons_are_data_of_the_table_in_python(html):
    reasons = json.loads(Parts(html).scripts["content"])["look"]["reasons"]
    assert {each["name"]: each["label"] for each in reasons} == REMOVAL_REASONS
    assert all(re.fullmatch("#[0-9A-Fa-f]{6}", each["colour"]) for each in reasons)
    assert not any(f'"{reason}"' in script() for reason in REMOVAL_REASONS if reason != "span")  # HTML's
