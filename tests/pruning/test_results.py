"""Results: what both networks cost, as a file, a table and logged values."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from fer.errors import InputError
from fer.figures import prune_figure
from fer.figures.style import reason_looks
from fer.metrics import Comparison
from fer.neurons import REMOVAL_REASONS, PrunePlan, Removal
from fer.neurons.plan import count_removed
from fer.pruning import NetworkResult, PruneResults, PruneSettings, compare, evaluate, prune_once
from fer.pruning.results import SCALARS

CONFUSION = [[9, 1], [1, 9]]


@pytest.fixture
def results():
    plan = PrunePlan(4, (Removal(0, "dead"), Removal(2, "similar", 1, 3.0)))
    size = {"macs": 1000, "bytes": 400, "milliseconds": {1: 2.0}}
    quality = {"loss": 1.0, "interval": [0.25, 0.75], "confusion": CONFUSION}
    return PruneResults(
        protocol="as shipped",
        n=20,
        before=NetworkResult(acc=0.5, parameters=100, **size, **quality),
        after=NetworkResult(acc=0.45, parameters=50, **size, **quality),
        mcnemar=Comparison(2, 1, 1.0),
        layers=count_removed({"conv1": plan}, {"layer1.0.conv1": 4}),
        blocks={"layer1.0": 0.005},
        refused={"conv2": "it shares weights"},
        together={"conv1": ["layer1.0.conv2"]},
        settings=PruneSettings().to_dict(),
        class_names=["no", "yes"],
    )


def test_the_table_names_reasons_and_changes(results):
    text = results.table()

    for words in (
        "50.00 %",
        "45.00 %",
        "2 now wrong, 1 now right",
        "-50.0 %",
        "conv2: not pruned: it shares weights",
        "conv1: added up with layer1.0.conv2, which lost the same neurons",
        "layer1.0: block removed with its layers",
    ):
        assert words in text
    assert text.splitlines()[0].split() == ["layer", "neurons", "left", "dead", "similar", "block"]
    assert text.splitlines()[1].split() == ["conv1", "4", "2", "1", "1", "0"]


@pytest.mark.parametrize(
    ("quartiles", "end"),
    [
        pytest.param(
            ([1.8, 2.2], [0.9, 1.1]), "multiply-adds, a batch of 1 in 50.0 % of the time", id="faster"
        ),
        pytest.param(([0.8, 2.2], [0.9, 1.1]), "multiply-adds, no clear difference in time", id="overlap"),
        pytest.param(None, "multiply-adds", id="an older file"),
    ],
)
def test_the_summary_says_what_is_left_and_the_time(quartiles, end, results):
    before, after = results.before, replace(results.after, milliseconds={1: 1.0})
    if quartiles:
        before, after = (
            replace(each, milliseconds_quartiles={1: ends})
            for each, ends in zip((before, after), quartiles, strict=True)
        )
    text = replace(results, before=before, after=after).summary()
    assert text == f"val (n = 20): 50.00 to 45.00 % with 100.0 % of the {end}"


def test_logged_values(results):
    flat = results.scalars()

    assert tuple(flat) == SCALARS
    assert flat["prune/compression"] == 0.75
    assert flat["prune/acc_after"] == 0.45


def test_results_are_read_as_they_were_written(results, tmp_path):
    results.write(tmp_path)

    assert PruneResults.read(tmp_path) == results


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(lambda content: content.pop("protocol"), "prune.json is damaged", id="key missing"),
        pytest.param(lambda content: content["before"].pop("macs"), "prune.json is damaged", id="inner key"),
        pytest.param(
            lambda content: content["after"].update(milliseconds={"one": 3}), "is damaged", id="batch size"
        ),
    ],
)
def test_a_damaged_file_is_named(change, message, results, tmp_path):
    content = results.to_dict()
    change(content)
    (tmp_path / "prune.json").write_text(json.dumps(content))

    with pytest.raises(InputError, match=message):
        PruneResults.read(tmp_path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"prune\.json does not exist"):
        PruneResults.read(tmp_path)


def test_a_new_removal_reason_is_seen_everywhere(results, monkeypatch):
    monkeypatch.setitem(REMOVAL_REASONS, "lazy", "too lazy")  # type: ignore[arg-type]
    plan = PrunePlan(8, (Removal(0, "lazy"), Removal(1, "lazy")))
    layers = count_removed({"conv1": plan}, {})

    table = PruneResults(**{**vars(results), "layers": layers}).table()
    figure = prune_figure({**results.to_dict(), "layers": layers})

    assert table.splitlines()[0].endswith("too lazy")
    assert table.splitlines()[1].split() == ["conv1", "8", "6", "2"]
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert legend == ["left", "too lazy"]
    looks = {look["name"]: look for look in reason_looks()}
    assert looks["lazy"]["label"] == "too lazy"
    assert looks["lazy"]["colour"].startswith("#")


def test_three_classes_are_pruned_and_compared(tmp_path):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 12), nn.ReLU(), nn.Linear(12, 3))
    batches = [(torch.randn(20, 5), torch.arange(20) % 3)]

    pruning = prune_once(network, batches, PruneSettings(similar_below=60, complementary_above=120))
    results = compare(network, pruning, batches, class_names=["cat", "dog", "owl"])

    assert results.class_names == ["cat", "dog", "owl"]
    assert results.n == 20
    assert results.after.parameters < results.before.parameters == 12 * 6 + 3 * 13
    assert len(results.after.confusion) == 3


@pytest.fixture
def without_classes(results):
    """Of a network that is no classifier."""
    sides = {
        when: NetworkResult(
            parameters=size, macs=10, bytes=4, milliseconds={1: 2.0}, metrics={"error": 0.5, "b": 1}
        )
        for when, size in (("before", 100), ("after", 50))
    }
    return replace(results, **sides, n=None, mcnemar=None, class_names=None, metric="b")


def test_what_is_of_classifiers_only_is_absent_without_classes(without_classes, tmp_path):
    without_classes.write(tmp_path)

    content = json.loads((tmp_path / "prune.json").read_text())
    assert not {"n", "mcnemar", "class_names", "rounds"} & content.keys()
    assert not {"acc", "interval", "loss", "confusion"} & content["after"].keys()
    assert PruneResults.read(tmp_path) == without_classes
    assert "prune/acc_before" not in without_classes.scalars()
    assert without_classes.scalars()["prune/b_after"] == 1
    rows = [line.split() for line in without_classes.table().splitlines()]
    place = rows.index(["val", "before", "after", "difference"])
    assert rows[place + 1] == ["b", "1.0000", "1.0000", "+0.0000"]  # the metric that was chosen
    assert "error" not in {row[0] for row in rows if row}  # prune.json has the others
    assert repr(without_classes) == "PruneResults(parameters 100 → 50, b 1 → 1)"


def test_the_figure_shows_metrics_where_there_are_no_classes(without_classes):
    figure = prune_figure(without_classes.to_dict())

    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert {"b", "error", "1 → 1"} <= {*texts}
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert "metrics of validation" in titles
    assert not any("recall" in title for title in titles)


def test_only_numbers_of_both_networks_are_shown(without_classes):
    after = replace(without_classes.after, metrics={"b": 2})

    assert replace(without_classes, after=after).metrics == ["b"]


def test_no_gain_of_recalibration_is_credited_to_pruning(tmp_path):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 3)).eval()
    batches = [(3 * torch.randn(200, 5), torch.arange(200) % 3)]
    settings = PruneSettings(similar_below=60, complementary_above=120)

    pruning = prune_once(network, batches, settings)
    results = compare(network, pruning, batches)
    found = results.recalibration

    assert network[1].running_mean.equal(torch.zeros(12))
    assert pruning.recalibration.before[1].running_mean.any()
    assert pruning.network[1].running_mean.any()
    evaluated = {
        "whole": (network, results.before.acc),
        "whole, recalibrated": (pruning.recalibration.before, found.before.acc),
        "pruned": (pruning.recalibration.after, found.after.acc),
        "pruned, recalibrated": (pruning.network, results.after.acc),
    }
    for name, (each, acc) in evaluated.items():
        assert evaluate(each, batches).report.accuracy == acc, name
    results.write(tmp_path)
    assert PruneResults.read(tmp_path) == results
    (line,) = (line for line in results.table().splitlines() if "by pruning alone" in line)
    assert f"{100 * found.before.acc:.2f} %" in line
    assert f"{found.mcnemar.lost} now wrong, {found.mcnemar.won} now right" in line
    assert results.scalars()["prune/acc_before_recalibrated"] == found.before.acc

    bare = prune_once(network, batches, replace(settings, recalibrate=False))
    assert bare.recalibration is None
    assert compare(network, bare, batches).recalibration is None
    pairs = zip(
        bare.network.state_dict().values(), pruning.recalibration.after.state_dict().values(), strict=True
    )
    assert all(one.equal(two) for one, two in pairs)


def test_a_network_that_loses_nothing_is_not_recalibrated():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Sigmoid(), nn.Linear(4, 3)).eval()
    batches = [(3 * torch.randn(200, 5), torch.arange(200) % 3)]

    pruning = prune_once(network, batches, PruneSettings(similar_below=0, complementary_above=180))

    assert pruning.recalibration is None
    state = network.state_dict()
    assert all(tensor.equal(state[name]) for name, tensor in pruning.network.state_dict().items())


def test_layers_that_cannot_lose_more_are_named(results):
    counts = {"before": 4, "after": 1, "dead": 3}
    found = replace(
        results, layers={"a": counts, "b": {"before": 1, "after": 1}, "c": {"before": 4, "after": 2}}
    )
    assert "one neuron is left, the fewest that a layer can have: a\n" in found.table()


def test_latency_has_its_spread_and_is_called_faster_only_if_the_ranges_are_apart(results):
    def latency(low, middle, high):
        return {"milliseconds": {1: middle}, "milliseconds_quartiles": {1: [low, high]}}

    def line_of(before, after):
        found = replace(
            results, before=replace(results.before, **before), after=replace(results.after, **after)
        )
        return next(line for line in found.table().splitlines() if line.startswith("ms, batch of 1"))

    apart = line_of(latency(1.8, 2.0, 2.2), latency(0.9, 1.0, 1.1))
    assert "2.00 [1.80, 2.20]" in apart
    assert apart.endswith("-50.0 %")
    assert "no clear difference" in line_of(latency(1.8, 2.0, 2.2), latency(1.7, 1.9, 2.1))


def test_that_nothing_was_removed_is_said_once(caplog):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))

    prune_once(network, [torch.randn(50, 5)], PruneSettings(similar_below=0, complementary_above=180))

    assert caplog.text.count("nothing was removed") == 1
