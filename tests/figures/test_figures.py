"""Each figure draws typical and edge data, says what it should, and leaves nothing in pyplot's registry."""

import io
from collections.abc import Iterator
from math import nan
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text

import fer.figures
from fer.figures import (
    confusion_figure,
    curves_figure,
    gradient_figure,
    gradient_histograms,
    image_grid,
    predictions_figure,
)
from fer.figures.curves import measured_times, read_curves
from fer.figures.style import GREEN, VERMILLION, new_figure, wrap_title
from fer.labels import EXPRESSIONS

pytestmark = pytest.mark.drawn


@pytest.fixture(autouse=True)
def _leaves_matplotlib_alone() -> Iterator[None]:
    from matplotlib import pyplot

    settings = dict(matplotlib.rcParams)
    yield
    assert pyplot.get_fignums() == []
    assert dict(matplotlib.rcParams) == settings


def draw(figure: Figure) -> list[str]:
    """Draw a figure to a PNG in memory and return every text that is seen on it."""
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=50)
    assert image.getvalue().startswith(b"\x89PNG")
    return [text.get_text() for text in figure.findobj(Text) if text.get_visible() and text.get_text()]


def images(n: int, *shape: int) -> torch.Tensor:
    return torch.randint(0, 256, (n, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_no_figure_uses_pyplot() -> None:
    sources = list(Path(fer.figures.__file__).parent.glob("*.py"))

    assert len(sources) > 4
    assert [
        path.name for path in sources if "import pyplot" in path.read_text() or "plt." in path.read_text()
    ] == []


# Confusion matrix


def test_confusion_shows_counts_shares_margins_and_interval() -> None:
    figure = confusion_figure(torch.tensor([[3, 1], [2, 4]]), ("no", "yes"), title="conv2, test")

    texts = draw(figure)

    assert {"3", "1", "2", "4"} <= set(texts)
    assert {"75.0 %", "25.0 %", "33.3 %", "66.7 %", "60.0 %", "80.0 %", "70.0 %"} <= set(texts)
    assert {"conv2, test", "predicted", "truth", "recall", "precision", "no\nn = 4"} <= set(texts)
    assert "accuracy 70.00 % (95 % interval 39.68 to 89.22), n = 10" in texts


def test_a_number_stays_on_the_line_of_what_it_is() -> None:
    wrapped = wrap_title(new_figure(4.4, 3), "Calibration of three seeds of our network, n = 3,589")
    assert wrapped == "Calibration of three seeds\nof our network, n = 3,589"


@pytest.mark.drawn
@pytest.mark.slow
def test_a_long_title_of_a_confusion_leaves_the_cells_their_width() -> None:
    def cell_width(title: str) -> float:
        figure = confusion_figure(torch.eye(7, dtype=torch.int64), title=title)
        draw(figure)
        (axes,) = figure.axes
        return axes.get_window_extent().width

    assert cell_width("protocol, trained on the first 5 batches " * 4) == pytest.approx(cell_width("short"))


@pytest.mark.slow
def test_confusion_names_the_seven_expressions() -> None:
    texts = draw(confusion_figure(torch.full((7, 7), 1234)))

    assert set(EXPRESSIONS) <= set(texts)
    assert "1,234" in texts


def test_confusion_shows_a_dash_for_what_is_undefined() -> None:
    texts = draw(confusion_figure(torch.tensor([[2, 0], [0, 0]]), ("there", "missing")))

    assert texts.count("\N{EN DASH}") == 2
    assert "missing\nn = 0" in texts


def test_confusion_of_nothing_is_drawn() -> None:
    texts = draw(confusion_figure(torch.zeros(7, 7, dtype=torch.int64)))

    assert "accuracy undefined (95 % interval 0.00 to 100.00), n = 0" in texts


def test_confusion_refuses_other_names() -> None:
    with pytest.raises(ValueError, match="7 class names for 3 classes"):
        confusion_figure(torch.eye(3, dtype=torch.int64))


# Contact sheet


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param((1, 48, 48), id="one grey"),
        pytest.param((11, 48, 48), id="grey"),
        pytest.param((3, 48, 48, 1), id="grey with a channel"),
        pytest.param((9, 60, 90, 3), id="RGB, wide"),
    ],
)
@pytest.mark.parametrize("is_numpy", [False, True], ids=["tensor", "numpy"])
def test_grid_draws_every_image_with_its_caption(shape: tuple[int, ...], is_numpy: bool) -> None:
    sheet = images(*shape)
    captions = [f"no {index}" for index in range(len(sheet))]

    figure = image_grid(sheet.numpy() if is_numpy else sheet, captions, title="Sheet")

    assert {"Sheet", *captions} <= set(draw(figure))
    shown = figure.axes[0].get_images()
    assert len(shown) == len(sheet)
    np.testing.assert_array_equal(np.squeeze(shown[-1].get_array()), np.squeeze(sheet[-1].numpy()))


def test_grid_keeps_the_shape_of_the_images() -> None:
    figure = image_grid(images(2, 30, 90))

    left, right, bottom, top = figure.axes[0].get_images()[1].get_extent()
    assert (right - left) / (bottom - top) == pytest.approx(3)
    width, height = figure.get_size_inches()
    assert figure.axes[0].get_xlim() == pytest.approx((0, width))
    assert figure.axes[0].get_ylim() == pytest.approx((height, 0))
    assert right <= width


def test_grid_shortens_long_captions_to_three_lines() -> None:
    texts = draw(image_grid(images(1, 8, 8), ["a very long caption " * 20], title=""))

    assert len(texts) == 1
    assert texts[0].count("\n") == 2
    assert texts[0].endswith("…")


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(torch.zeros(2, 8, 8), id="float"),
        pytest.param(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), id="channels first"),
        pytest.param(torch.zeros(8, 8, dtype=torch.uint8), id="no batch"),
        pytest.param(torch.zeros(0, 8, 8, dtype=torch.uint8), id="none"),
    ],
)
def test_grid_refuses_what_are_no_images(wrong: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="expected one image or more, uint8"):
        image_grid(wrong)


def test_grid_refuses_captions_that_are_not_as_many() -> None:
    with pytest.raises(ValueError, match="1 captions for 2 images"):
        image_grid(images(2, 8, 8), ["one"])


# Sample predictions


def frames(figure: Figure) -> list[Rectangle]:
    return [
        patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle) and not patch.get_fill()
    ]


@pytest.mark.parametrize("shape", [(48, 48), (60, 90, 3), (8, 24)], ids=["grey", "RGB", "flat"])
@pytest.mark.parametrize("n", [1, 6])
def test_predictions_tell_right_from_wrong(n: int, shape: tuple[int, ...]) -> None:
    labels = torch.arange(n) % 7
    probabilities = torch.full((n, 7), 0.05)
    probabilities[:, 0] = 0.7

    figure = predictions_figure(images(n, *shape), labels, probabilities, title="Samples")

    texts = draw(figure)
    assert texts.count("✓ angry 70 %") == 1
    assert texts.count("✗ angry 70 %") == n - 1
    assert [text for text in texts if text.startswith("truth: ")] == [
        f"truth: {EXPRESSIONS[label]}" for label in labels.tolist()[1:]
    ]
    assert texts.count("disgust") == n
    assert len(figure.axes[0].get_images()) == n


def test_predictions_differ_without_colour() -> None:
    probabilities = torch.eye(7)[[3, 3]]

    right, wrong = frames(predictions_figure(images(2, 8, 8), [3, 5], probabilities))

    assert right.get_edgecolor() == matplotlib.colors.to_rgba(GREEN)
    assert wrong.get_edgecolor() == matplotlib.colors.to_rgba(VERMILLION)
    assert right.get_linestyle() == "solid"
    assert wrong.get_linestyle() != right.get_linestyle()
    assert wrong.get_linewidth() > right.get_linewidth()


def test_predictions_take_half_precision() -> None:
    probabilities = torch.eye(7, dtype=torch.bfloat16)[:1]

    assert "✓ angry 100 %" in draw(predictions_figure(images(1, 8, 8), [0], probabilities))


def test_predictions_refuse_shapes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="do not fit labels of shape"):
        predictions_figure(images(2, 8, 8), [0], torch.eye(7)[:2])


# Training curves

HISTORY = {
    "epoch": [0, 1, 2, 3],
    "train/loss": [1.9, 1.5, 1.2, 1.0],
    "val/loss": [1.8, 1.6, 1.5, 1.6],
    "train/acc": [0.2, 0.4, 0.5, 0.6],
    "val/acc": [0.25, 0.35, 0.5, 0.5],
    "lr": [1e-3, 1e-3, 1e-4, 1e-5],
    "angles/hidden/mean": [90.0, 88.0, 80.0, 79.0],
}


def test_curves_have_three_panels_and_mark_the_best_epochs() -> None:
    figure = curves_figure(HISTORY, title="conv2")

    texts = draw(figure)

    assert [axes.get_ylabel() for axes in figure.axes] == ["loss", "accuracy", "learning\nrate"]
    assert figure.axes[2].get_yscale() == "log"
    assert {"conv2", "train", "val", "epoch", "best 50.00 % at epochs 3, 4"} <= set(texts)


@pytest.mark.parametrize(
    ("columns", "panels"),
    [
        (["train/loss"], ["loss"]),
        (["val/acc", "train/acc"], ["accuracy"]),
        (["train/loss", "lr"], ["loss", "learning\nrate"]),
        (["lr"], ["learning\nrate"]),
    ],
)
def test_curves_leave_out_missing_columns(columns: list[str], panels: list[str]) -> None:
    figure = curves_figure({column: HISTORY[column] for column in columns})

    draw(figure)

    assert [axes.get_ylabel() for axes in figure.axes] == panels


def test_curves_skip_nan_and_keep_the_epochs_of_the_rest() -> None:
    figure = curves_figure({"epoch": [3, 4, 5, 6], "val/acc": [nan, 0.3, nan, 0.4], "val/loss": [nan] * 4})

    assert "best 40.00 % at epoch 7" in draw(figure)
    assert len(figure.axes) == 1
    line = next(line for line in figure.axes[0].get_lines() if line.get_label() == "val")
    assert line.get_xdata().tolist() == [5, 7]
    assert line.get_ydata().tolist() == [0.3, 0.4]


def test_curves_of_one_epoch_are_points() -> None:
    figure = curves_figure({column: values[:1] for column, values in HISTORY.items()})

    assert "best 25.00 % at epoch 1" in draw(figure)
    assert figure.axes[0].get_lines()[0].get_marker() == "o"


def test_curves_draw_a_learning_rate_that_reaches_zero() -> None:
    figure = curves_figure({"lr-SGD": [0.1, 0.05, 0.0]})

    draw(figure)

    assert figure.axes[0].get_yscale() == "linear"


def test_curves_refuse_a_history_without_values() -> None:
    with pytest.raises(ValueError, match="no loss, metric or learning rate has a value"):
        curves_figure({"epoch": [0], "test/acc": [0.5]})


@pytest.mark.parametrize(
    ("columns", "panels"),
    [
        pytest.param(
            ["train_loss", "val_loss"], {"loss": ["train", "val"]}, id="of train and val in one panel"
        ),
        pytest.param(["loss", "val_loss"], {"loss": ["train", "val"]}, id="no split is train"),
        pytest.param(["Loss/train", "Loss/val"], {"loss": ["train", "val"]}, id="the split comes last"),
        pytest.param(["valid_accuracy", "train_acc"], {"accuracy": ["train", "val"]}, id="two spellings"),
        pytest.param(
            ["val_f1", "val_acc", "val_loss", "kl"],
            {"loss": ["val"], "accuracy": ["val"], "f1": ["val"], "kl": ["kl"]},
            id="loss, accuracy, the rest as logged",
        ),
        pytest.param(["g_loss", "d_loss"], {"g_loss": ["g_loss"], "d_loss": ["d_loss"]}, id="two losses"),
        pytest.param(
            ["val_mse/dataloader_idx_0", "val_mse/dataloader_idx_1", "train_mse"],
            {"mse": ["train", "val 0", "val 1"]},
            id="several loaders",
        ),
        pytest.param(
            ["train_loss_step", "train_loss_epoch", "angles/fc/mean", "stage/fc", "test_loss", "step"],
            {"loss": ["train"]},
            id="no steps, no analysis, no test",
        ),
    ],
)
def test_curves_draw_what_any_project_logs(columns: list[str], panels: dict[str, list[str]]) -> None:
    figure = curves_figure({column: [0.5, 0.75] for column in columns})

    draw(figure)

    drawn = {
        axes.get_ylabel(): [
            text.get_text()
            for text in axes.get_legend().get_texts()
            if not text.get_text().startswith("best ")
        ]
        for axes in figure.axes
    }
    assert drawn == panels
    assert list(drawn) == list(panels)


def test_curves_draw_the_quantities_asked_for() -> None:
    history = {"train/loss": [1.0], "val/f1": [0.5], "val_accuracy": [0.5], "lr": [0.1]}

    figure = curves_figure(history, quantities=["accuracy", "val/f1", "absent"])

    assert [axes.get_ylabel() for axes in figure.axes] == ["accuracy", "f1", "learning\nrate"]


@pytest.mark.slow
def test_curves_of_many_metrics_are_at_most_eight() -> None:
    history = {f"val_metric{i}": [0.5] for i in range(20)} | {"train_loss": [1.0]}

    assert [axes.get_ylabel() for axes in curves_figure(history).axes][:2] == ["loss", "metric0"]
    assert len(curves_figure(history).axes) == 8


def test_measurements_within_an_epoch_are_no_curves_and_lend_no_epoch() -> None:
    """Of two epochs with two measurements each; the learning rate is logged without an epoch."""
    history = {
        "epoch": [nan, 0.5, nan, 1.0, 0, nan, 1.5, nan, 2.0, 1],
        "lr": [0.4, nan, 0.2, nan, nan, 0.1, nan, 0.05, nan, nan],
        "val/acc": [nan, nan, nan, nan, 0.5, nan, nan, nan, nan, 0.6],
    }
    for key in ("rank/fc/effective", "cka/fc", "collapse/nc1", "sample/val_loss", "neurons/fc/dormant"):
        history[key] = [nan, 3.0, nan, 3.1, nan, nan, 3.2, nan, 3.3, nan]

    assert [axes.get_ylabel() for axes in curves_figure(history).axes] == ["accuracy", "learning\nrate"]
    curves = read_curves(history)
    assert curves["val/acc"].epochs.tolist() == [1, 2]
    assert curves["lr"].epochs.tolist() == [1, 2]
    assert curves["lr"].values.tolist() == pytest.approx([0.3, 0.075])


def test_measurements_have_the_time_of_their_row_or_that_at_the_end_of_its_epoch() -> None:
    new = {
        "epoch": [0.5, 1.0, 0, nan],
        "angles/fc/mean": [80.0, 81, nan, nan],
        "val/acc": [nan, nan, 0.5, nan],
    }
    old = {"epoch": [0, 1, 2], "angles/fc/mean": [80.0, nan, 82.0], "val/acc": [0.5, 0.6, 0.7]}

    assert measured_times(new).tolist()[:2] == [0.5, 1.0]
    assert measured_times(old).tolist() == [1, 2, 3]


def test_curves_take_the_mean_of_an_epoch_whose_rows_may_lack_it() -> None:
    figure = curves_figure({"epoch": [0, nan, 1, nan], "train_loss": [1.0, 3.0, 5.0, 7.0]})

    (line,) = figure.axes[0].get_lines()
    assert line.get_xdata().tolist() == [1, 2]
    assert line.get_ydata().tolist() == [1.0, 5.0]


def test_curves_of_accuracies_in_percent() -> None:
    texts = draw(curves_figure({"val_acc": [40.0, 62.5]}))

    assert "best 62.50 % at epoch 2" in texts


def test_curves_refuse_columns_of_different_length() -> None:
    with pytest.raises(ValueError, match="val/acc has 1 rows and epoch has 2"):
        curves_figure({"epoch": [0, 1], "val/acc": [0.5]})


# Gradients


@pytest.mark.parametrize("num_layers", [1, 5, 34])
@pytest.mark.parametrize("num_epochs", [1, 12])
def test_gradient_norms_name_every_layer(num_layers: int, num_epochs: int) -> None:
    norms = {f"conv{layer}": [10.0**-layer] * num_epochs for layer in range(num_layers)}

    figure = gradient_figure(norms, range(num_epochs))

    assert {*norms, "epoch", "gradient norm", "Gradient norm by layer"} <= set(draw(figure))
    assert figure.axes[0].get_yscale() == "log"


def test_gradient_norms_of_zero_and_infinity_are_marked() -> None:
    figure = gradient_figure({"fc": [0.5, 0.0, float("nan"), float("inf")], "out": [1.0] * 4}, range(4))

    assert {"exactly zero", "infinite"} <= set(draw(figure))
    line, zero, infinite = figure.axes[0].get_lines()[:3]
    assert (line.get_xdata().tolist(), zero.get_xdata().tolist(), infinite.get_xdata().tolist()) == (
        [0],
        [1],
        [3],
    )


def test_gradient_norms_that_are_all_zero_are_drawn() -> None:
    assert "exactly zero" in draw(gradient_figure({"fc": [0.0, 0.0]}, [0, 1]))


def test_gradient_norms_must_be_as_many_as_epochs() -> None:
    with pytest.raises(ValueError, match="fc has 1 norms for 2 epochs"):
        gradient_figure({"fc": [1.0]}, [0, 1])
    with pytest.raises(ValueError, match="no layer"):
        gradient_figure({}, [0])


POSITIVE = torch.logspace(-6, 0, 13)
SYMMETRIC = torch.cat([-POSITIVE.flip(0), POSITIVE])


@pytest.mark.parametrize(
    "edges",
    [
        pytest.param(SYMMETRIC, id="symmetric powers"),
        pytest.param(torch.linspace(-1, 1, 12), id="even"),
        pytest.param(torch.linspace(-0.003, 0.003, 5), id="few"),
        pytest.param(torch.tensor([0.0, 0.5]), id="one bin"),
    ],
)
@pytest.mark.parametrize(("num_layers", "num_epochs"), [(1, 1), (2, 3)])
def test_gradient_histograms_have_a_panel_a_layer(
    edges: torch.Tensor, num_layers: int, num_epochs: int
) -> None:
    counts = torch.randint(0, 100, (num_epochs, len(edges) - 1))
    histograms = {f"conv{layer}": (counts, edges) for layer in range(num_layers)}

    figure = gradient_histograms(histograms, range(num_epochs))

    assert {*histograms, "epoch", "gradient", "share of the epoch's gradients"} <= set(draw(figure))
    panels = [axes for axes in figure.axes if axes.get_visible() and axes.get_title()]
    assert [axes.get_title() for axes in panels] == list(histograms)


@pytest.mark.slow
def test_gradient_histograms_of_many_layers_fill_a_grid() -> None:
    histograms = {f"conv{layer}": (torch.ones(3, 25), SYMMETRIC) for layer in range(10)}

    figure = gradient_histograms(histograms, range(3))

    assert set(histograms) <= set(draw(figure))
    assert sum(axes.get_visible() for axes in figure.axes) == 10 + 1


def test_gradient_histograms_show_shares_of_their_epoch() -> None:
    figure = gradient_histograms(
        {"fc": (torch.tensor([[1, 3], [0, 0]]), torch.tensor([-1.0, 0.0, 1.0]))}, [5, 9]
    )

    draw(figure)

    (mesh,) = figure.axes[0].collections
    assert np.asarray(mesh.get_array()).tolist() == [[0.25, 0.0], [0.75, 0.0]]
    assert figure.axes[0].get_xlim() == (3, 11)


@pytest.mark.parametrize("rates", [(1.2e-4, 2.9e-3), (2.1e-3, 2.15e-2), (1e-6, 0.1)])
def test_the_axis_of_the_learning_rate_has_ticks_to_read_it(rates: tuple[float, float]) -> None:
    history = {"epoch": [0, 1, 2], "train/loss": [3.0, 2.0, 1.0], "lr": [rates[0], rates[1], rates[0]]}
    figure = curves_figure(history)
    figure.draw_without_rendering()
    axes = figure.axes[-1]
    low, high = axes.get_ylim()
    assert 2 <= sum(low <= tick <= high for tick in axes.get_yticks()) <= 4


@pytest.mark.parametrize(("num_at_zero", "is_explained"), [(50, True), (0, False)])
def test_a_bar_of_gradients_at_zero_is_explained(num_at_zero: int, is_explained: bool) -> None:
    counts = torch.ones(1, len(SYMMETRIC) - 1)
    counts[0, len(POSITIVE) - 1] = num_at_zero
    texts = draw(gradient_histograms({"fc": (counts, SYMMETRIC)}, [1]))
    assert any(text.startswith("Bar at 0:") for text in texts) == is_explained


def test_gradient_histograms_refuse_counts_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="do not fit 3 epochs and 3 edges"):
        gradient_histograms({"fc": (torch.zeros(2, 2), torch.tensor([-1.0, 0.0, 1.0]))}, range(3))


@pytest.mark.slow
def test_the_legend_of_many_long_names_leaves_the_norms_their_room():
    """Matplotlib warns, and draws the axes over the legend, where they have none."""
    norms = {f"layer{index}.channel.attention.fc": [1.0, 2.0] for index in range(85)}
    figure = gradient_figure(norms, [0, 1])
    figure.draw_without_rendering()
    assert figure.axes[0].get_position().width * figure.get_figwidth() > 2.5


@pytest.mark.parametrize("num_classes", [2, 13, 50])
@pytest.mark.slow
def test_confusion_of_any_number_of_classes_is_legible(num_classes: int) -> None:
    """No two texts overlap, and the page stays printable."""
    names = [f"a longer class name {label}" for label in range(num_classes)]
    counts = torch.arange(num_classes**2).reshape(num_classes, num_classes) % 7 * 100
    figure = confusion_figure(counts, names)
    draw(figure)
    (axes,) = figure.axes
    texts = [*axes.texts, *axes.get_xticklabels(), *axes.get_yticklabels()]
    boxes = [text.get_window_extent() for text in texts if text.get_text()]
    corners = np.array([(box.x0, box.y0, box.x1, box.y1) for box in boxes])
    low, high = corners[:, None, :2] + 1, corners[None, :, 2:]
    meet = (low < high).all(axis=2)
    assert (meet & meet.T).sum() == len(boxes)  # each meets itself
    assert max(figure.get_size_inches()) < 25


@pytest.mark.slow
def test_predictions_of_many_classes_show_the_likeliest_and_the_truth() -> None:
    probabilities = np.full((1, 50), 0.5 / 49, np.float32)
    probabilities[0, 7] = 0.5
    names = [f"class {label}" for label in range(50)]
    written = draw(predictions_figure(np.zeros((1, 8, 8), np.uint8), [49], probabilities, names))
    assert sum(text in names for text in written) == 10
    assert {"class 7", "class 49", "truth: class 49"} <= set(written)
