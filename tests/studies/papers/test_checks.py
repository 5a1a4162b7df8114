"""The findings about the papers: each follows from the printed facts, and fails if one of them changes."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import classification_report, confusion_matrix, precision_recall_fscore_support

from fer.data.features import FeatureSplit
from fer.data.sfew import FEATURES
from fer.metrics import report
from fer.studies.papers import gedeon_harris, jain, markou, narayan, onghena, sutton
from fer.studies.papers.checks import CHECKS, describe, findings
from fer.studies.papers.facts import Papers, read_papers
from fer.studies.papers.finding import numerators

PAPERS = read_papers()
BY_CODE = {check.code: check for check in CHECKS}


def changed(paper: str, fact: str, row: str, column: int, value: float) -> Papers:
    """The facts with one number changed."""
    whole = PAPERS[paper]
    values = list(whole[fact].rows[row])
    values[column] = value
    new = replace(whole[fact], rows={**whole[fact].rows, row: tuple(values)}, misprints={})
    return {**PAPERS, paper: replace(whole, facts={**whole.facts, fact: new})}


def test_all_findings_are_there_in_order():
    assert [check.code for check in CHECKS] == [f"O{number}" for number in range(1, 24)]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.code)
def test_a_finding_holds_as_printed(check):
    for finding in findings(check, PAPERS, None):
        assert finding.holds, describe(finding)
        assert all((finding.printed, finding.recomputed, finding.verdict))


@pytest.mark.parametrize(
    ("code", "paper", "fact", "row", "column", "value"),
    [
        pytest.param("O1", "s2", "fig10_column", "sad", 0, 0.86, id="O1: a cell"),
        pytest.param("O1", "s2", "fig5_confusion", "fear", 0, 476, id="O1: a count"),
        pytest.param("O2", "s2", "fig14_confusion", "sad", 6, 18, id="O2: Fig. 14 is no copy"),
        pytest.param("O2", "s2", "fig6_total", "accuracy", 0, 58.94, id="O2: a stated accuracy fits"),
        pytest.param("O3", "s2", "test_images", "test", 0, 7178, id="O3: the number of images"),
        pytest.param("O3", "data", "fer2013", "PublicTest", 2, 497, id="O3: a class count"),
        pytest.param("O4", "s1", "learning_rate", "introduction", 0, 0.0005, id="O4: one learning rate"),
        pytest.param("O4", "s1", "figure7", "above", 1, 0.5698, id="O4: a possible accuracy"),
        pytest.param("O5", "s0", "table3", "T-Res", 0, 48.7, id="O5: the accuracy that recall implies"),
        pytest.param("O7", "s3", "spi", "SPI", 0, 43.71, id="O7: the baseline of Table 3"),
        pytest.param("O12", "s4", "before", "f1", 3, 0.57, id="O12: a cell of Table 4"),
        pytest.param("O12", "s4", "after", "recall", 6, 0.73, id="O12: a cell of Table 5"),
        pytest.param("O13", "s3", "before", "40 epochs, lr 0.0001", 0, 49.1, id="O13: no multiple of 1/55"),
        pytest.param("O14", "gh", "angles", "5 6", 0, 9.3, id="O14: an angle"),
        pytest.param("O14", "gh", "activations", "pattern 1", 1, 0.5, id="O14: an activation"),
        pytest.param("O15", "s4", "angles", "6 16", 0, 27.19, id="O15: an angle"),
        pytest.param("O16", "s4", "merge", "incoming weights added", 0, 0, id="O16: outgoing alone"),
        pytest.param("O17", "s4", "complementary", "neurons of a pair removed", 0, 1, id="O17: one is kept"),
        pytest.param("O18", "s3", "thresholds", "50 epochs, lr 0.001", 1, 165, id="O18: not symmetric"),
        pytest.param("O19", "s4", "compression", "200 hidden", 0, -26.5, id="O19: 253 are left"),
        pytest.param("O19", "s4", "compression", "500 hidden", 0, 64.6, id="O19: a whole number"),
        pytest.param(
            "O20", "s3", "test", "10 epochs, lr 0.001", 0, 21.82, id="O20: an accuracy on 55 images"
        ),
        pytest.param("O21", "s0", "stages", "intermediate for", 0, 70, id="O21: stages do not add up"),
        pytest.param("O22", "s2", "about", "ResNet", 0, 99, id="O22: full is 100 %"),
        pytest.param("O23", "gh", "logistic", "sign", 0, 1, id="O23: the right sign"),
    ],
)
def test_a_changed_fact_is_not_confirmed(code, paper, fact, row, column, value):
    papers = changed(paper, fact, row, column, value)
    assert not BY_CODE[code].from_facts(papers).holds


@pytest.fixture
def confusion() -> np.ndarray:
    labels, predicted = np.random.default_rng(0).integers(0, 7, (2, 300))
    return confusion_matrix(labels, predicted).astype(float)


def test_one_versus_rest_is_that_of_the_metrics(confusion):
    ours = report(torch.tensor(confusion, dtype=torch.int64))
    np.testing.assert_allclose(sutton.one_vs_rest(confusion), ours.ovr_accuracy)


def test_ranges_of_two_classes_are_the_whole_matrix():
    # With two classes the blocks beside each cell are all that is right.
    np.testing.assert_allclose(sutton.column_by_ranges(np.array([[3.0, 1], [2, 4]])), [0.7, 0.7])


def test_recalls_and_specificities_of_one_matrix_imply_its_accuracy(confusion):
    ours = report(torch.tensor(confusion, dtype=torch.int64))
    counts = confusion.sum(axis=1)
    assert markou.accuracy_by_recall(ours.recall.numpy(), counts) == pytest.approx(ours.accuracy)
    assert markou.accuracy_by_specificity(ours.specificity.numpy(), counts) == pytest.approx(ours.accuracy)


def test_the_counts_behind_jains_tables_give_them_in_scikit_learn():
    """Predictions with the counts found, and the arguments swapped as in the paper, print the table."""
    found = jain.tables_as_counts(PAPERS, swapped=True)
    supports = [before.support for before, _ in found.values()]
    assert supports == [9, 3, 9, 14, 8, 11, 14]
    truth, predicted = [], []
    wrong_truth, wrong_predicted = [], []
    for label, (before, _) in enumerate(found.values()):
        truth += [label] * before.right
        predicted += [label] * before.right
        wrong_truth += [label] * (before.support - before.right)
        wrong_predicted += [label] * (before.predicted - before.right)
    # Any pairing of the wrong ones will do for metrics of classes, if no pair is right.
    shift = next(
        each
        for each in range(len(wrong_truth))
        if not np.any(np.roll(wrong_predicted, each) == np.array(wrong_truth))
    )
    wrong_predicted = np.roll(wrong_predicted, shift).tolist()
    precision, recall, f1, _ = precision_recall_fscore_support(
        predicted + wrong_predicted, truth + wrong_truth
    )
    table = PAPERS["s4"]["before"]
    for metric, values in (("precision", precision), ("recall", recall), ("f1", f1)):
        assert np.abs(values - table.row(metric)).max() <= 0.005 + 1e-9
    assert "0.56" in classification_report(truth + wrong_truth, predicted + wrong_predicted)  # accuracy 38/68


def test_multiples_are_found():
    assert numerators(0.4909, 55, digits=4) == [27]
    assert narayan.smallest_set([50.0, 33.33], 10) == 6
    assert narayan.smallest_set([33.34], 10) == 0
    assert narayan.smallest_set([], 10) == 1


def test_parameters_of_markous_network_are_those_of_the_network():
    from fer.models import NETWORKS

    with torch.device("meta"):
        network = NETWORKS["conv2"](channels=3, image_size=224)
    assert markou.parameters(PAPERS)["all weights"] == sum(each.numel() for each in network.parameters())


def test_gedeon_and_harris_half_is_fers_own():
    from fer.neurons import ActivationStatistics, angles

    activations = torch.tensor(PAPERS["gh"]["activations"].table)
    degrees = angles(ActivationStatistics.of(activations), "half")
    errors = [
        abs(float(degrees[int(label.split()[0]) - 1, int(label.split()[1]) - 1]) - value)
        for label, value in PAPERS["gh"]["angles"].cells().items()
    ]
    vectors = gedeon_harris.origins(activations.numpy())["minus 0.5"]
    assert gedeon_harris.largest_error(vectors, PAPERS) == pytest.approx(max(errors))


def test_the_split_of_onghena_is_that_of_the_data():
    from fer.data.fer2013.datamodule import HOLDOUT_VAL_SHARE

    num_train, num_val = onghena.split_sizes(PAPERS)
    assert num_val == math.ceil(28709 * HOLDOUT_VAL_SHARE) == 28709 - num_train


@pytest.fixture
def pool() -> FeatureSplit:
    """Rows with the defects of SFEW: an outlier with missing values, clips of two frames, one name twice."""
    rng = np.random.default_rng(0)
    num = 140
    features = rng.normal(0, np.tile([0.01, 0.02, 0.03, 0.04, 0.05], 2), (num, len(FEATURES)))
    features[5, 0], features[5, 5:] = 0.994, np.nan
    names = np.array([f"Film{row // 14}_{row // 2:09d}_{row:08d}" for row in range(num)], "U40")
    names[5], names[1] = markou.OUTLIER, names[0]
    groups = {
        "clip": np.array([f"clip{row // 2}" for row in range(num)]),
        "movie": np.array([f"film{row // 14}" for row in range(num)]),
    }
    return FeatureSplit(features=features, labels=np.arange(num) % 7, names=names, groups=groups)


def test_leakage_and_outlier_are_found_in_rows_that_have_them(pool):
    leakage = markou.leakage(PAPERS, pool)
    assert (
        "140 images of 70 clips of 10 films; 70 clips have several frames (140 images)" in leakage.recomputed
    )
    assert leakage.holds
    assert markou.outlier(PAPERS, pool).holds
    assert markou.descriptor_scaling(PAPERS, pool).holds


def test_a_clip_whose_frames_are_spelled_apart_is_counted_both_ways(pool):
    clips = np.char.replace(pool.groups["clip"], "clip", "clip_")
    clips[1] = "clip-0"
    leakage = markou.leakage(PAPERS, replace(pool, groups={**pool.groups, "clip": clips}))
    assert "140 images of 71 clips" in leakage.recomputed
    assert "(70, 70 and 140 if a dash is read as the underscore" in leakage.recomputed


def test_clean_rows_have_neither(pool):
    clean = replace(
        pool,
        features=np.random.default_rng(1).normal(size=pool.features.shape),
        names=np.array([markou.OUTLIER, *(f"F{row}_1_1" for row in range(1, len(pool)))]),
        groups={"clip": pool.names, "movie": pool.names},
    )
    assert not markou.leakage(PAPERS, clean).holds
    assert not markou.outlier(PAPERS, clean).holds
    assert not markou.descriptor_scaling(PAPERS, clean).holds
