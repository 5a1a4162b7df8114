"""The page in a real browser: drawn without a complaint, and it does what is asked of it."""

import json
import re
from html import escape

import numpy as np
import pandas as pd
import pytest
import yaml
from browser import CHROMIUM, browser
from matplotlib.image import imsave
from old_sweep import write_old

from fer.report import write_report
from fer.studies.trials import Trial

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium"),
]

SECTIONS = "[...document.querySelectorAll('section')].map((each) => each.id)"
CELLS = (
    "[...document.querySelectorAll('#classes tbody tr')].slice(0, 7).map((row) => row.cells[0].textContent)"
)
PIXELS = "document.querySelector('canvas').toDataURL()"
TOO_WIDE = (
    "[...document.querySelectorAll('main *')].filter((each) => !each.closest('.scroll, .sr')"
    " && each.getBoundingClientRect().right > innerWidth + 1).map((each) => each.outerHTML.slice(0, 90))"
)


@pytest.fixture
def tab(tmp_path):
    with browser(tmp_path / "profile") as opened:
        yield opened


def test_a_run(tab, run_dir, settings_of):
    path = write_report(run_dir, None, settings_of)
    tab.open(path)
    assert tab.complaints == []
    assert tab.requests == [path.as_uri()]
    assert tab.run(SECTIONS) == ["results", "neurons", "classes", "training", "pruning", "run"]
    assert tab.run("document.querySelector('h1').textContent") == "made-up"
    assert "plateau: lr frozen" in tab.run("document.querySelector('#training').textContent")
    # Every chart has lines in it.
    assert (
        tab.run("[...document.querySelectorAll('.chart')].filter((c) => !c.querySelector('path')).length")
        == 0
    )

    # The slider moves by the keyboard, and the map with it.
    tab.run("document.querySelector('#epoch').focus()")
    last = tab.run(PIXELS)
    tab.press("ArrowLeft")
    assert tab.run("document.querySelector('output').textContent") == "epoch 11"
    assert tab.run("document.querySelector('#heat-words h4').textContent") == "conv1, epoch 11"
    assert tab.run(PIXELS) != last
    tab.press("End")
    assert tab.run(PIXELS) == last

    # A table sorts at a click, there and back.
    click = (
        "[...document.querySelectorAll('#classes th button')].find((b) => b.textContent === 'class').click()"
    )
    names = tab.run(CELLS)
    tab.run(click)
    assert tab.run(CELLS) == sorted(names)
    tab.run(click)
    assert tab.run(CELLS) == sorted(names, reverse=True)
    assert tab.run("document.querySelector('#classes th').getAttribute('aria-sort')") == "descending"

    # Another split is shown.
    tab.run("document.querySelectorAll('#classes input')[1].click()")
    assert "Classes of train" in tab.run("document.querySelector('#classes caption').textContent")

    # A chart's values are read by the keyboard.
    tab.run("document.querySelector('.chart').focus()")
    tab.press("Home")
    tab.press("ArrowRight")
    assert "epochs trained 2: initial" in tab.run("document.querySelector('.chart .tip').textContent")
    assert tab.complaints == []


def test_several_measurements_an_epoch(tab, measured_dir, settings_of):
    tab.open(write_report(measured_dir, None, settings_of))
    assert tab.complaints == []
    rows = "[...document.querySelectorAll('#{} tbody tr')].map((row) => row.textContent)"
    stages = ["initial0.00.8\u2013", "intermediate0.82.6angular speed, effective rank"]
    assert tab.run(rows.format("training"))[:3] == [*stages, "plateau: overfit2.64.0nothing: weak"]
    layers = ["conv184.02.012.5 %25.0 %25.0 %", "conv2168.04.012.5 %25.0 %25.0 %"]
    assert tab.run(rows.format("neurons")) == layers
    text = tab.run("document.querySelector('#neurons').textContent")
    assert "effective rank at the end: 8 of 16" in text
    assert "standard deviation of the angles between the class means, 0\u00b0 if all" in text
    assert "99.59\u00b0 for 7 classes" in text
    dashed = "document.querySelectorAll('#training .chart:first-of-type line[stroke-dasharray]').length"
    assert tab.run(dashed) > 0
    # Twenty measurements and their times; the last is that of the end.
    tab.run("document.querySelector('#neurons .chart').focus()")
    tab.press("Home")
    assert "epochs trained 0.2" in tab.run("document.querySelector('#neurons .chart .tip').textContent")
    tab.press("End")
    last = tab.run("document.querySelector('#neurons .chart .tip').textContent")
    assert last.startswith("epochs trained 4")


def test_it_is_dark_on_a_dark_screen(tab, run_dir, settings_of):
    shade = "getComputedStyle(document.body).{}"
    looks = {}
    for scheme in ("light", "dark"):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        tab.call("Emulation.setEmulatedMedia", features=[feature])
        tab.open(write_report(run_dir, None, settings_of))
        names = ("backgroundColor", "color")
        looks[scheme] = [sum(map(int, re.findall(r"\d+", tab.run(shade.format(name))))) for name in names]
    (paper, ink), (night, chalk) = looks["light"], looks["dark"]
    assert paper > 700 > 200 > ink
    assert night < 100 < 600 < chalk


def test_without_scripts_it_shows_results_and_images(tab, run_dir, settings_of, tmp_path):
    imsave(run_dir / "figures" / "predictions.png", np.zeros((40, 1600)))
    path = write_report(run_dir, None, settings_of)
    tab.open(path)
    assert tab.run("document.querySelector('#images')") is None
    assert tab.run("document.querySelector('#classes #image-predictions').complete")
    # A frame whose page may run no script.
    frame = f'<iframe sandbox="allow-same-origin" width="390" srcdoc="{escape(path.read_text())}"></iframe>'
    (tmp_path / "frame.html").write_text(f"<!doctype html>{frame}")
    tab.open(tmp_path / "frame.html")
    tab.run("page = document.querySelector('iframe').contentDocument, 1")
    assert tab.run("page.querySelector('h1').textContent") == "made-up"
    titles = tab.run("[...page.querySelectorAll('h2')].map((each) => each.textContent)")
    assert titles[:2] == ["Results", "Classes of test"]
    assert titles[-2:] == ["Settings", "Commands"]
    assert tab.run("page.querySelector('#image-predictions').getBoundingClientRect().height") > 1
    assert tab.run("page.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("width", [360, 1280])
def test_measurements_fit_the_screen(tab, measured_dir, settings_of, width):
    tab.open(write_report(measured_dir, None, settings_of), width=width)
    assert tab.run(TOO_WIDE) == []
    assert tab.run("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_it_fits_its_screen(tab, run_dir, settings_of, width):
    tab.open(write_report(run_dir, None, settings_of), width=width)
    assert tab.run(TOO_WIDE) == []
    assert tab.run("document.documentElement.scrollWidth <= innerWidth")


def test_before_and_after_are_seen_side_by_side_on_a_phone(tab, run_dir, settings_of):
    results = json.loads((run_dir / "prune.json").read_text())
    for side, scale in (("before", 1), ("after", 0.5)):
        results[side] |= {"macs": round(10_964_736 * scale), "parameters": round(409_461 * scale)}
        results[side]["metrics"] = {"val/specificity": 0.9912, "val/recall/surprise": 0.98}
    results["recalibration"] = {"before": results["before"], "after": results["after"]}
    (run_dir / "prune.json").write_text(json.dumps(results))
    tab.open(write_report(run_dir, None, settings_of), width=390)
    cells = "[...document.querySelectorAll('#pruning .scroll')].slice(0, 2).flatMap((box) => "
    cells += "[...box.querySelectorAll('thead th:not(:last-child)')].map((head) => [head.textContent, "
    cells += "head.getBoundingClientRect().right <= box.getBoundingClientRect().right]))"
    first = [["", True], ["before", True], ["after", True]]
    assert tab.run(cells) == [*first, ["network", True], ["accuracy on val", True], ["95 % interval", True]]


def test_a_layer_with_too_few_samples_says_so(tab, measured_dir, settings_of):
    metrics = pd.read_csv(measured_dir / "metrics.csv").assign(**{"neurons/conv2/redundant": np.nan})
    metrics.to_csv(measured_dir / "metrics.csv", index=False)
    tab.open(write_report(measured_dir, None, settings_of))
    assert (
        "Unknown for conv2, measured on fewer than two samples for each neuron: almost any neurons fit so "
        in (tab.run("document.querySelector('#neurons').innerText"))
    )


def test_an_image_is_shown_large_by_a_link_within_the_page(tab, run_dir, settings_of):
    imsave(run_dir / "figures" / "predictions.png", np.zeros((500, 990)))
    path = write_report(run_dir, None, settings_of)
    tab.open(path, width=390)
    width = "document.querySelector('#predictions img').getBoundingClientRect().width"
    assert tab.run(width) < 390
    tab.run("document.querySelector('#predictions figcaption a').click()")
    tab.settle()
    assert tab.run(width) >= 990
    tab.run("document.querySelector('#predictions .close').click()")
    tab.settle()
    assert tab.run(width) < 390
    assert tab.complaints == []
    assert {request.split("#")[0] for request in tab.requests} == {path.as_uri()}


def test_each_stage_of_a_chart_is_in_its_legend(tab, measured_dir, settings_of):
    tab.open(write_report(measured_dir, None, settings_of), width=390)
    names = "[...document.querySelectorAll('#{} .key li')].map((each) => each.textContent)"
    stages = {"stage: initial", "stage: intermediate", "stage: plateau"}
    assert stages <= set(tab.run(names.format("training")))


def test_a_setting_that_was_drawn_stands_on_one_line_of_a_phone(tab, run_dir, settings_of):
    config = yaml.safe_load((run_dir / "config.yaml").read_text())
    config["model"] |= {"lr": 0.0025032699681422667, "label_smoothing_of_everything": 0.5}
    (run_dir / "config.yaml").write_text(yaml.safe_dump(config))

    def settings(*words):
        return {**settings_of(*words), "model.label_smoothing_of_everything": 0}

    tab.open(write_report(run_dir, None, settings), width=390)
    code = "[...document.querySelectorAll('#run td code')].find((each) => each.textContent === '0.00250327')"
    assert tab.run(f"{code}.getClientRects().length") == 1
    assert tab.run(f"((box) => box.scrollWidth <= box.clientWidth)({code}.closest('.scroll'))")


def test_a_cross_validation(tab, study_dir, settings_of):
    tab.open(write_report(study_dir, None, settings_of))
    assert tab.complaints == []
    assert tab.run(SECTIONS) == ["members", "results", "classes", "run"]
    assert "2 of 3 folds are done." in tab.run("document.querySelector('.warn').textContent")


def test_a_repeat(tab, repeat_dir, settings_of):
    tab.open(write_report(repeat_dir, None, settings_of))
    assert tab.complaints == []
    assert tab.run(SECTIONS) == ["members", "results", "classes", "run"]
    text = tab.run("document.querySelector('#members').textContent")
    for words in ("Against runs/other", "Mean difference +10.00 percentage points", "seed 3"):
        assert words in text
    assert "for other seeds (Student" not in text  # it has no such interval


def test_what_a_folder_says_stays_text(tab, run_dir, settings_of):
    folder = run_dir.rename(run_dir.with_name("<img src=x onerror=alert(1)>"))
    tab.open(write_report(folder, None, settings_of))
    assert tab.complaints == []
    assert tab.run("document.querySelector('h1').textContent") == folder.name
    assert tab.run("document.querySelectorAll('h1 img').length") == 0


def test_a_sweep(tab, sweep_dir, settings_of):
    tab.open(write_report(sweep_dir, None, settings_of))
    assert tab.complaints == []
    assert tab.run(SECTIONS) == ["trials", "run"]
    assert tab.run("document.querySelectorAll('#trials svg path').length") == 9  # the failed one has no value
    heads = "[...document.querySelectorAll('#trials th button')]"
    first = "document.querySelector('#trials tbody th').textContent"
    last = "[...document.querySelectorAll('#trials table')[0].tBodies[0].rows].at(-1).cells[0].textContent"
    tab.run(f"{heads}.find((b) => b.textContent === 'val/acc_best').click()")
    assert (tab.run(first), tab.run(last)) == ("trial-0009", "trial-0010")
    tab.run(f"{heads}.find((b) => b.textContent === 'val/acc_best').click()")
    assert (tab.run(first), tab.run(last)) == ("trial-0001", "trial-0010")  # what is not known stays last


@pytest.mark.parametrize("width", [390, 1280])
def test_a_sweep_of_five_settings_one_of_them_a_list(tab, sweep_dir, settings_of, width):
    names = ["data.augment_strength", "model.label_smoothing", "model.lr", "model.weight_decay"]
    parameters = {name: {"min": 0.0, "max": 1.0} for name in names}
    parameters["model.widths"] = {"values": [[16, 32], [8, 16]]}
    content = yaml.safe_load((sweep_dir / "sweep.yaml").read_text()) | {"parameters": parameters}
    (sweep_dir / "sweep.yaml").write_text(yaml.safe_dump(content))
    (sweep_dir / "journal.jsonl").unlink()
    for number in range(1, 5):
        point = dict.fromkeys(names, number / 9) | {"model.widths": [[8, 16], [16, 32]][number % 2]}
        trial = Trial(number, number, point, [0.5] * 5, state="finished", value=number / 5)
        write_old(sweep_dir, trial)
    tab.open(write_report(sweep_dir, None, settings_of), width=width)
    heights = tab.run(
        "[...document.querySelectorAll('.parallels path')].map((l) => l.getAttribute('d').split('L')[4])"
    )
    assert len(set(heights)) == 2  # four trials, two lists
    marks = tab.run("[...document.querySelectorAll('.parallels .axis')].map((mark) => mark.textContent)")
    assert [mark for mark in marks if "[" in mark] == ["[8, 16]", "[16, 32]"]
    edges = "((each) => [each.left, each.right])(document.querySelector('{}').getBoundingClientRect())"
    box, svg, head = (
        tab.run(edges.format(name)) for name in ("#trials .scroll", ".parallels", ".parallels text")
    )
    assert head[0] >= box[0]
    assert svg[1] <= box[1] or width == 390  # on a phone it is scrolled


def test_tables_fit_a_large_screen(tab, study_dir, sweep_dir, settings_of):
    cut = (
        "[...document.querySelectorAll('.scroll')].filter((each) => each.scrollWidth > each.clientWidth)"
        ".length"
    )
    tab.open(write_report(study_dir, None, settings_of))
    assert tab.run(cut) == 0
    reason = "killed by SIGKILL: perhaps memory ran out, as it does where two sweeps share a machine"
    point = {"model.lr": 0.1, "model.optimizer": "adamw", "trainer.max_epochs": 6}
    failed = Trial(11, 11, point, [1, 1], state="failed", reason=reason)
    write_old(sweep_dir, failed)
    tab.open(write_report(sweep_dir, None, settings_of))
    assert tab.run(cut) == 0


def test_the_networks_that_a_pruning_is_compared_by(tab, run_dir, settings_of):
    results = json.loads((run_dir / "prune.json").read_text())
    side = {"acc": 0.7, "interval": [0.6, 0.8], "loss": 0.6}
    test = {"lost": 2, "won": 5, "p": 0.45}
    results["recalibration"] = {"before": side, "after": side, "mcnemar": test}
    results["tuning"] = {
        "before": side,
        "mcnemar": test,
        "epochs": [{}, {}, {}],
        "best": 2,
        "is_distilled": True,
    }
    accs = {"pruned": 0.5, "recalibrated": 0.6, "tuned": 0.7}
    results["rounds"] = [{"neurons": 9, "macs": 10, **accs, "is_kept": False}]
    results["size_request"] = {
        "size": "30 % of each layer removed",
        "thresholds": "the threshold of 15° to all",
    }
    results["size_request"] |= {"removed": 9, "neurons": 1496}
    (run_dir / "prune.json").write_text(json.dumps(results))

    tab.open(write_report(run_dir, None, settings_of))

    assert tab.complaints == []
    shown = tab.run("document.querySelector('#pruning').innerText")
    for words in (
        "before, batch norm recalibrated",
        "after, batch norm not recalibrated",
        "after, not fine-tuned",
        "2 became wrong and 5 became right by fine-tuning",
        "Fine-tuned on the outputs of the unpruned network for 2 epochs: epoch 2 was the best on val.",
        "beyond the tolerance: not kept",
        "30 % of each layer removed. With no size given, the threshold of 15° to all would remove 9 of 1,496",
    ):
        assert words in shown
