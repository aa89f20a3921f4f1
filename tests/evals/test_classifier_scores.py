"""Scores of the classifier itself, held against scikit-learn and numbers worked out by hand."""

import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, f1_score

from sae_lens_classif.decisions import LABEL_SETS, ONE_CLASS
from sae_lens_classif.evals.classifier_scores import calibration, classifier_scores, share_ci95


def test_scores_of_one_class_a_text_are_scikit_learn_s() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 4, (300,), generator=generator)
    others = torch.randint(0, 4, (300,), generator=generator)
    predicted = labels.where(torch.rand(300, generator=generator) < 0.7, others)
    scores = classifier_scores(predicted, labels, 4, ONE_CLASS)
    assert scores.balanced_accuracy == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert scores.macro_f1 == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert scores.confusion is not None and scores.confusion.tolist() == confusion_matrix(labels, predicted).tolist()
    for of_class in scores.by_class:
        assert of_class.recall is not None and of_class.recall_ci95 is not None
        assert of_class.recall_ci95[0] < of_class.recall < of_class.recall_ci95[1]


def test_a_class_without_texts_has_no_recall_and_does_not_count_in_the_means() -> None:
    scores = classifier_scores(torch.tensor([0, 0, 1]), torch.tensor([0, 0, 0]), 3, ONE_CLASS)
    none, never = scores.by_class[1], scores.by_class[2]
    assert (none.n_texts, none.recall, none.recall_ci95, none.precision) == (0, None, None, 0.0)
    assert never.precision is None
    assert scores.balanced_accuracy == pytest.approx(2 / 3)
    assert scores.macro_f1 == pytest.approx(2 * (2 / 3) / (1 + 2 / 3))


def test_of_several_labels_there_is_no_confusion_and_a_decision_is_right_where_all_of_it_is() -> None:
    scores = classifier_scores(torch.tensor([0b01, 0b11, 0b00]), torch.tensor([0b01, 0b01, 0b00]), 2, LABEL_SETS)
    assert scores.confusion is None
    assert scores.accuracy == pytest.approx(2 / 3)
    assert scores.by_class[0].recall == 1
    assert scores.by_class[1].recall is None


def test_wilson_s_interval_is_that_of_the_formula() -> None:
    hits, n, z = 17, 20, 1.959964
    centre = (hits + z**2 / 2) / (n + z**2)
    half = z / (n + z**2) * (hits * (n - hits) / n + z**2 / 4) ** 0.5
    assert share_ci95(hits, n) == pytest.approx((centre - half, centre + half))
    assert share_ci95(0, 5)[0] == 0 and share_ci95(5, 5)[1] == 1


def test_calibration_is_counted_bin_by_bin() -> None:
    sureness = torch.tensor([0.55, 0.57, 0.95, 0.97, 1.0])
    found = calibration(sureness, torch.tensor([True, False, True, True, False]))
    low, high = found.bins
    assert (low.n_texts, low.accuracy, low.sureness) == pytest.approx((2, 0.5, 0.56))
    assert (high.n_texts, high.accuracy, high.sureness) == pytest.approx((3, 2 / 3, 2.92 / 3))
    assert found.error == pytest.approx((2 * 0.06 + 3 * abs(2 / 3 - 2.92 / 3)) / 5)


def test_one_text_has_scores_too() -> None:
    scores = classifier_scores(torch.tensor([1]), torch.tensor([1]), 2, ONE_CLASS, torch.tensor([0.9]))
    assert scores.accuracy == scores.balanced_accuracy == scores.macro_f1 == 1
    assert scores.calibration is not None and len(scores.calibration.bins) == 1
