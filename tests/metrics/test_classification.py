"""The classification report: hand-computed tables, identities, scikit-learn as oracle."""

import math
from pathlib import Path

import pytest
import torch
from forked import Forked
from sklearn.metrics import accuracy_score, balanced_accuracy_score, classification_report, confusion_matrix
from torch import Tensor

from fer.labels import EXPRESSIONS
from fer.metrics import (
    ClassificationMetrics,
    ClassificationReport,
    predicted_classes,
    report,
    wilson_interval,
)

NAN = math.nan

ALEXNET = (
    (417, 6, 152, 67, 112, 180, 24),
    (25, 48, 11, 6, 4, 17, 0),
    (76, 2, 467, 63, 131, 197, 88),
    (59, 2, 69, 1386, 132, 92, 34),
    (100, 2, 115, 104, 662, 233, 17),
    (112, 0, 192, 113, 208, 606, 16),
    (29, 1, 96, 40, 40, 22, 603),
)
"""Confusion matrix of Sutton's AlexNet-like network on FER2013's 7,178 test images, second Fig. 5."""


def close(values: Tensor, expected: list[float]) -> None:
    torch.testing.assert_close(
        values, torch.tensor(expected, dtype=torch.float64), equal_nan=True, atol=1e-12, rtol=0
    )


def random_predictions(
    num_classes: int, n: int, seed: int, *, classes_seen: int | None = None
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    seen = classes_seen or num_classes
    labels = torch.randint(0, seen, (n,), generator=generator)
    is_guess = torch.rand(n, generator=generator) < 0.6
    guesses = torch.randint(0, seen, (n,), generator=generator)
    return torch.where(is_guess, guesses, labels), labels


# Logits that are not finite


@pytest.mark.parametrize(
    ("logits", "expected"),
    [
        pytest.param([[0.0, 1.0], [2.0, 1.0]], [1, 0], id="finite"),
        pytest.param([[NAN, NAN], [0.0, 1.0]], [-1, 1], id="NaN"),
        pytest.param([[0.0, NAN], [NAN, 0.0]], [-1, -1], id="one NaN"),
        pytest.param([[math.inf, 0.0], [-math.inf, 0.0]], [-1, -1], id="overflow"),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_logits_that_are_not_finite_have_no_class(
    logits: list[list[float]], expected: list[int], dtype: torch.dtype
) -> None:
    assert predicted_classes(torch.tensor(logits, dtype=dtype)).tolist() == expected


def test_samples_without_finite_logits_count_as_wrong_by_hand() -> None:
    metrics = ClassificationMetrics(2, ("no", "yes"))
    logits = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [NAN, 0.0], [1.0, -math.inf]])
    metrics.update(logits, torch.tensor([0, 0, 1, 1, 0]))
    result = metrics.compute()

    assert result.confusion.tolist() == [[1, 1], [0, 1]]
    assert result.non_finite.tolist() == [1, 1]
    assert (result.n, result.num_non_finite, result.accuracy) == (5, 2, 2 / 5)
    assert result.interval == wilson_interval(2, 5)
    assert result.support.tolist() == [3, 2]
    close(result.precision, [1 / 1, 1 / 2])
    close(result.recall, [1 / 3, 1 / 2])
    close(result.specificity, [1 / 2, 1 / 3])
    close(result.f1, [2 / 4, 2 / 4])
    close(result.ovr_accuracy, [2 / 5, 2 / 5])
    assert result.table().splitlines()[-1] == "logits not finite: 2 of 5 samples, counted as wrong"
    assert result.scalars()["num_non_finite"] == 2.0


def test_a_network_of_nan_has_no_accuracy() -> None:
    metrics = ClassificationMetrics()
    metrics.update(torch.full((4, 7), NAN), torch.tensor([0, 1, 2, 3]))
    result = metrics.compute()

    assert (result.n, result.num_non_finite, result.interval) == (4, 4, (0.0, 1.0))
    fractions = {key: value for key, value in result.scalars().items() if "/" not in key}
    of_counts = {"n", "num_non_finite", "undefined", "acc_low", "acc_high"}
    assert {key for key, value in fractions.items() if not math.isnan(value)} == of_counts
    assert "logits not finite: 4 of 4" in result.table()


def test_finite_logits_are_not_mentioned() -> None:
    assert "finite" not in report(torch.tensor(ALEXNET)).table()


# By hand


def test_two_classes_by_hand() -> None:
    result = report(torch.tensor([[3, 1], [2, 4]]), ("no", "yes"))

    assert result.n == 10
    assert result.accuracy == 7 / 10
    assert result.support.tolist() == [4, 6]
    close(result.precision, [3 / 5, 4 / 5])
    close(result.recall, [3 / 4, 4 / 6])
    close(result.specificity, [4 / 6, 3 / 4])
    close(result.f1, [6 / 9, 8 / 11])
    close(result.ovr_accuracy, [7 / 10, 7 / 10])
    assert result.balanced_accuracy == pytest.approx((3 / 4 + 4 / 6) / 2)
    assert set(result.undefined.values()) == {0}


def test_three_classes_by_hand() -> None:
    result = report(torch.tensor([[5, 0, 1], [2, 3, 0], [1, 1, 7]]))

    assert result.accuracy == 15 / 20
    close(result.precision, [5 / 8, 3 / 4, 7 / 8])
    close(result.recall, [5 / 6, 3 / 5, 7 / 9])
    close(result.specificity, [11 / 14, 14 / 15, 10 / 11])
    close(result.f1, [10 / 14, 6 / 9, 14 / 17])
    close(result.ovr_accuracy, [16 / 20, 17 / 20, 17 / 20])
    assert result.macro_precision == pytest.approx(0.75)
    assert result.macro_ovr_accuracy == pytest.approx(1 - 2 * 0.25 / 3)


@pytest.mark.parametrize(
    ("confusion", "precision", "recall", "specificity", "f1", "macro_precision", "macro_recall"),
    [
        pytest.param(
            [[2, 0, 0], [1, 3, 0], [1, 1, 0]],
            [2 / 4, 3 / 4, NAN],
            [1, 3 / 4, 0],
            [4 / 6, 3 / 4, 1],
            [4 / 6, 6 / 8, 0],
            5 / 8,
            7 / 12,
            id="never predicted",
        ),
        pytest.param(
            [[2, 0, 1], [1, 3, 0], [0, 0, 0]],
            [2 / 3, 1, 0],
            [2 / 3, 3 / 4, NAN],
            [3 / 4, 1, 6 / 7],
            [4 / 6, 6 / 7, 0],
            5 / 9,
            17 / 24,
            id="never true",
        ),
        pytest.param(
            [[2, 1, 0], [1, 3, 0], [0, 0, 0]],
            [2 / 3, 3 / 4, NAN],
            [2 / 3, 3 / 4, NAN],
            [3 / 4, 2 / 3, 1],
            [4 / 6, 6 / 8, NAN],
            17 / 24,
            17 / 24,
            id="neither",
        ),
        pytest.param(
            [[4, 0], [0, 0]], [1, NAN], [1, NAN], [NAN, 1], [1, NAN], 1.0, 1.0, id="only one class there"
        ),
        pytest.param(
            [[0, 0], [0, 0]], [NAN] * 2, [NAN] * 2, [NAN] * 2, [NAN] * 2, NAN, NAN, id="no sample at all"
        ),
    ],
)
def test_undefined_is_nan_and_counted_and_kept_out_of_the_mean(
    confusion: list[list[int]],
    precision: list[float],
    recall: list[float],
    specificity: list[float],
    f1: list[float],
    macro_precision: float,
    macro_recall: float,
) -> None:
    result = report(torch.tensor(confusion))

    close(result.precision, precision)
    close(result.recall, recall)
    close(result.specificity, specificity)
    close(result.f1, f1)
    assert result.macro_precision == pytest.approx(macro_precision, nan_ok=True)
    assert result.macro_recall == pytest.approx(macro_recall, nan_ok=True)
    assert result.undefined == {
        name: sum(math.isnan(value) for value in values)
        for name, values in (
            ("precision", precision),
            ("recall", recall),
            ("specificity", specificity),
            ("f1", f1),
        )
    }
    assert result.scalars()["undefined"] == sum(result.undefined.values())


def test_no_pattern_at_all_has_no_accuracy() -> None:
    result = report(torch.zeros(7, 7, dtype=torch.int64))

    assert result.n == 0
    assert math.isnan(result.accuracy)
    assert result.interval == (0.0, 1.0)
    assert math.isnan(result.macro_ovr_accuracy)
    assert result.table().endswith("accuracy - % [0.00, 100.00] of n = 0")


def test_one_versus_rest_accuracy_of_a_published_matrix() -> None:
    result = report(torch.tensor(ALEXNET))

    assert result.n == 7178
    assert [round(value, 2) for value in result.ovr_accuracy.tolist()] == [
        0.87,
        0.99,
        0.83,
        0.89,
        0.83,
        0.81,
        0.94,
    ]
    assert round(100 * result.accuracy, 2) == 58.36
    assert result.macro_ovr_accuracy > 0.88


# Identities


@pytest.mark.parametrize("seed", range(8))
def test_class_figures_imply_the_accuracy(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    num_classes = 2 + seed
    confusion = torch.randint(0, 40, (num_classes, num_classes), generator=generator) + torch.eye(
        num_classes, dtype=torch.int64
    )

    result = report(confusion)

    by_recall = (result.recall * result.support).sum() / result.n
    by_specificity = ((1 - result.specificity) * (result.n - result.support)).sum() / result.n
    assert float(by_recall) == pytest.approx(result.accuracy)
    assert float(by_specificity) == pytest.approx(1 - result.accuracy)
    assert result.macro_ovr_accuracy == pytest.approx(1 - 2 * (1 - result.accuracy) / num_classes)


def test_renaming_the_classes_permutes_the_figures() -> None:
    order = [3, 0, 6, 1, 5, 2, 4]
    confusion = torch.tensor(ALEXNET)

    result, permuted = report(confusion), report(confusion[order][:, order])

    torch.testing.assert_close(permuted.f1, result.f1[order])
    assert permuted.macro_f1 == pytest.approx(result.macro_f1)
    assert permuted.interval == result.interval


# Oracle


@pytest.mark.parametrize(("num_classes", "classes_seen"), [(2, 2), (7, 7), (7, 5)])
@pytest.mark.parametrize("seed", [0, 1])
def test_agrees_with_scikit_learn(num_classes: int, classes_seen: int, seed: int) -> None:
    predictions, labels = random_predictions(num_classes, 400, seed, classes_seen=classes_seen)
    truth, predicted = labels.numpy(), predictions.numpy()
    classes = list(range(num_classes))
    expected = classification_report(
        truth, predicted, labels=classes, output_dict=True, zero_division=math.nan
    )

    metrics = ClassificationMetrics(num_classes)
    metrics.update(predictions, labels)
    result = metrics.compute()

    assert result.confusion.tolist() == confusion_matrix(truth, predicted, labels=classes).tolist()
    assert result.accuracy == pytest.approx(accuracy_score(truth, predicted))
    assert result.balanced_accuracy == pytest.approx(balanced_accuracy_score(truth, predicted))
    close(result.precision, [expected[str(label)]["precision"] for label in classes])
    close(result.recall, [expected[str(label)]["recall"] for label in classes])
    close(result.f1, [expected[str(label)]["f1-score"] for label in classes])
    assert result.support.tolist() == [expected[str(label)]["support"] for label in classes]
    assert result.macro_f1 == pytest.approx(expected["macro avg"]["f1-score"])


# Wilson's interval


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    [
        pytest.param(81, 263, 0.2553, 0.3662, id="Newcombe 1998, 81 of 263"),
        pytest.param(15, 148, 0.0624, 0.1605, id="Newcombe 1998, 15 of 148"),
        pytest.param(0, 20, 0.0, 0.1611, id="Newcombe 1998, none of 20"),
        pytest.param(1, 29, 0.0061, 0.1718, id="Newcombe 1998, 1 of 29"),
    ],
)
def test_wilson_interval_as_published(correct: int, n: int, low: float, high: float) -> None:
    assert [round(end, 4) for end in wilson_interval(correct, n)] == [low, high]


@pytest.mark.parametrize(("correct", "n"), [(1, 3), (27, 55), (2373, 3589), (54, 55)])
def test_wilson_ends_solve_the_score_equation(correct: int, n: int) -> None:
    z = 1.959964

    for end in wilson_interval(correct, n):
        assert abs(correct / n - end) == pytest.approx(z * math.sqrt(end * (1 - end) / n))


@pytest.mark.parametrize("n", [1, 55, 3589])
def test_wilson_interval_stays_within_0_and_1_and_mirrors(n: int) -> None:
    low, high = wilson_interval(n, n)

    assert high == 1.0
    assert 0 < low < 1
    assert wilson_interval(0, n) == pytest.approx((0.0, 1 - low))


@pytest.mark.parametrize(("correct", "n"), [(-1, 5), (6, 5)])
def test_wilson_refuses_impossible_counts(correct: int, n: int) -> None:
    with pytest.raises(ValueError, match="impossible"):
        wilson_interval(correct, n)


# What is logged and printed


def test_scalars_are_flat_floats_with_a_key_for_each_class() -> None:
    scalars = report(torch.tensor(ALEXNET)).scalars()

    assert list(scalars)[:12] == [
        "acc",
        "acc_low",
        "acc_high",
        "n",
        "num_non_finite",
        "balanced_acc",
        "ovr_acc",
        "precision",
        "recall",
        "specificity",
        "f1",
        "undefined",
    ]
    figures = ("ovr_acc", "precision", "recall", "specificity", "f1")
    assert set(list(scalars)[12:]) == {f"{figure}/{name}" for figure in figures for name in EXPRESSIONS}
    assert all(type(value) is float for value in scalars.values())
    assert scalars["acc_low"] < scalars["acc"] < scalars["acc_high"]
    assert scalars["recall/disgust"] == pytest.approx(48 / 111)


def test_table_is_aligned_and_ends_with_accuracy_interval_and_n() -> None:
    result = report(torch.tensor([[2373, 0], [1216, 0]]), ("right", "wrong"))

    lines = result.table().splitlines()

    assert lines == [
        "                  n     P %     R %  spec %    F1 %",
        "right         2,373   66.12  100.00    0.00   79.60",
        "wrong         1,216       -    0.00  100.00    0.00",
        "macro mean    3,589   66.12   50.00   50.00   39.80",
        "accuracy 66.12 % [64.55, 67.65] of n = 3,589",
    ]


# The metric


@pytest.mark.parametrize("batch_size", [1, 7, 64, 400])
def test_streaming_is_the_same_as_the_whole(batch_size: int) -> None:
    predictions, labels = random_predictions(7, 400, seed=3)
    whole, streamed = ClassificationMetrics(), ClassificationMetrics()

    whole.update(predictions, labels)
    for some_predictions, some_labels in zip(
        predictions.split(batch_size), labels.split(batch_size), strict=True
    ):
        streamed.update(some_predictions, some_labels)

    assert streamed.compute().scalars() == whole.compute().scalars()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_logits_count_as_their_largest(dtype: torch.dtype) -> None:
    predictions, labels = random_predictions(7, 50, seed=4)
    logits = (torch.nn.functional.one_hot(predictions, 7) * 3.0 - 1.0).to(dtype)
    by_logits, by_labels = ClassificationMetrics(), ClassificationMetrics()

    by_logits.update(logits, labels)
    by_labels.update(predictions, labels)

    assert by_logits.compute().confusion.tolist() == by_labels.compute().confusion.tolist()


def test_rows_are_the_truth() -> None:
    metrics = ClassificationMetrics(3)

    metrics.update(torch.tensor([2, 2]), torch.tensor([0, 0]))

    assert metrics.compute().confusion.tolist() == [[0, 0, 2], [0, 0, 0], [0, 0, 0]]


def test_forward_reports_on_the_batch_and_adds_it_up() -> None:
    metrics = ClassificationMetrics(2)

    first = metrics(torch.tensor([0, 1]), torch.tensor([0, 1]))
    second = metrics(torch.tensor([0, 1]), torch.tensor([1, 0]))

    assert isinstance(first, ClassificationReport)
    assert (first.accuracy, second.accuracy, metrics.compute().accuracy) == (1.0, 0.0, 0.5)


def test_reset_forgets() -> None:
    metrics = ClassificationMetrics(2)
    metrics.update(torch.tensor([0, 1]), torch.tensor([1, 0]))

    metrics.reset()
    metrics.update(torch.tensor([1]), torch.tensor([1]))

    assert metrics.compute().confusion.tolist() == [[0, 0], [0, 1]]


def test_an_empty_batch_adds_nothing() -> None:
    metrics = ClassificationMetrics(2)

    metrics.update(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64))

    assert metrics.compute().n == 0


def test_state_stays_out_of_checkpoints() -> None:
    assert ClassificationMetrics().state_dict() == {}


@pytest.mark.parametrize(
    ("predictions", "labels", "message"),
    [
        pytest.param([0, 1], [0, 3], "outside 0 to 2", id="label beyond the classes"),
        pytest.param([0, 3], [0, 1], "outside 0 to 2", id="prediction beyond the classes"),
        pytest.param([0, -2], [0, 1], "outside 0 to 2", id="negative prediction"),
        pytest.param([0, 1, 1], [0, 1], "do not fit", id="more predictions than labels"),
        pytest.param([[0.1, 0.2, 0.7]], [0, 1], "do not fit", id="fewer logits than labels"),
        pytest.param([[0.1, 0.9]], [1], "expected logits", id="logits of another number of classes"),
        pytest.param([0.1, 0.9], [1, 0], "expected logits", id="one logit a sample"),
    ],
)
def test_update_refuses_what_does_not_fit(predictions: list[float], labels: list[int], message: str) -> None:
    metrics = ClassificationMetrics(3)

    with pytest.raises(ValueError, match=message):
        metrics.update(torch.tensor(predictions), torch.tensor(labels))

    assert int(metrics.confusion.sum()) == 0


@pytest.mark.parametrize(
    "confusion",
    [
        pytest.param(torch.zeros(2, 3, dtype=torch.int64), id="not square"),
        pytest.param(torch.zeros(4, dtype=torch.int64), id="not a matrix"),
        pytest.param(torch.zeros(1, 1, dtype=torch.int64), id="one class"),
        pytest.param(torch.rand(3, 3), id="fractions"),
        pytest.param(torch.tensor([[1, -1], [0, 2]]), id="negative"),
    ],
)
def test_report_refuses_what_is_no_confusion_matrix(confusion: Tensor) -> None:
    with pytest.raises(ValueError, match="confusion matrix"):
        report(confusion)


def test_names_must_be_as_many_as_classes() -> None:
    with pytest.raises(ValueError, match="2 class names for 3 classes"):
        report(torch.eye(3, dtype=torch.int64), ("a", "b"))
    with pytest.raises(ValueError, match="2 classes or more"):
        ClassificationMetrics(1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_adds_up_on_cuda() -> None:
    predictions, labels = random_predictions(7, 400, seed=5)
    on_cpu, on_cuda = ClassificationMetrics(), ClassificationMetrics().to("cuda")

    on_cpu.update(predictions, labels)
    on_cuda.update(predictions.cuda(), labels.cuda())

    assert on_cuda.confusion.device.type == "cuda"
    assert on_cuda.compute().scalars() == on_cpu.compute().scalars()


REPORT_ON_A_SHARE = """
import sys
import torch
from fer.metrics import ClassificationMetrics

rank = int(sys.argv[1])
torch.distributed.init_process_group("gloo", init_method="file://" + sys.argv[2], rank=rank, world_size=2)
metrics = ClassificationMetrics()
metrics.update(*torch.load(f"share_{rank}.pt"))
torch.save(metrics.compute().confusion, f"confusion_{rank}.pt")
torch.distributed.destroy_process_group()
"""
"""What a process does that sees an uneven share of the batches."""


@pytest.mark.slow
def test_processes_are_added_up(tmp_path: Path) -> None:
    predictions, labels = random_predictions(7, 100, seed=6)
    whole = ClassificationMetrics()
    whole.update(predictions, labels)

    processes = []
    for rank, share in enumerate((slice(0, 70), slice(70, 100))):
        torch.save((predictions[share], labels[share]), tmp_path / f"share_{rank}.pt")
        processes.append(Forked(["-c", REPORT_ON_A_SHARE, rank, tmp_path / "meeting"], cwd=tmp_path))

    for rank, process in enumerate(processes):
        _, err = process.communicate()
        assert process.returncode == 0, err
        confusion = torch.load(tmp_path / f"confusion_{rank}.pt", weights_only=True)
        assert confusion.tolist() == whole.compute().confusion.tolist()


@pytest.mark.parametrize(("correct", "n"), [(0, 1), (1, 3), (27, 55), (2373, 3589), (3589, 3589)])
def test_wilson_interval_is_the_closed_form(correct: int, n: int) -> None:
    z, p = 1.959964, correct / n
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert wilson_interval(correct, n) == pytest.approx((centre - half, centre + half), abs=1e-12)
