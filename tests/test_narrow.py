"""The bench that compares pruned networks with narrow ones of as many multiply-adds."""

import json

import pytest
from bench.narrow import Result, draw, macs_of, main, narrowed


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("conv6", {}),
        ("vgg", {"widths": (8, 16, 32, 64)}),
        ("resnet", {"depth": 18, "stem": "half", "width": 16}),
    ],
)
def test_a_narrow_network_has_nearly_as_many_multiply_adds_and_no_more(name, settings):
    most = macs_of(name, settings) / 2
    assert 0.7 * most < macs_of(name, narrowed(name, settings, most)) <= most


@pytest.mark.drawn
def test_the_figure_has_a_panel_for_each_network():
    results = [
        Result(config, seed, share, (9, 9), (0.6 * share, 0.5 * share))
        for config in ("a", "b")
        for seed in range(2)
        for share in (1.0, 0.5)
    ]
    assert [axes.get_title() for axes in draw(results).axes] == ["a", "b"]


@pytest.mark.slow
def test_the_whole_bench_on_tiny_settings(tmp_path):
    words = [
        *(
            "--dataset",
            "synthetic",
            "--data.num_train",
            "140",
            "--data.num_val",
            "70",
            "--data.num_test",
            "70",
        ),
        *("--trainer.accelerator", "cpu", "--wandb.mode", "disabled", "--stages.enabled", "false"),
    ]
    settings = json.dumps({"conv6": {"widths": [4, 4, 6, 6, 8]}})
    of_bench = [
        *("--configs", "conv6", "--shares", "0.5", "--epochs", "1", "--tune_epochs", "1", "--seeds", "1"),
        *("--runs_dir", str(tmp_path), "--settings", settings, "--", *words),
    ]
    whole, half = main(of_bench)
    assert (whole.share, half.share) == (1.0, 0.5)
    assert all(macs <= 0.5 * whole.macs[0] for macs in half.macs)
    assert (tmp_path / "narrow.png").stat().st_size > 0
    assert len(json.loads((tmp_path / "narrow.json").read_text())["results"]) == 2
