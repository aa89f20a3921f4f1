"""Scores of approaches: what scikit-learn and a slow bootstrap give."""

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import accuracy_score, f1_score

from sae_lens_classif.features.scores import score_all


def drawn(seed: int, share_right: float) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    random = np.random.default_rng(seed)
    gold = random.choice(4, 300, p=[0.5, 0.3, 0.2, 0.0])
    return np.where(random.random(300) < share_right, gold, random.integers(0, 4, 300)), gold


def test_the_scores_are_scikit_learn_s() -> None:
    predicted, gold = drawn(0, 0.7)
    score = score_all({"one": predicted}, gold, 4, "one", n_bootstrap=50)["one"]
    assert score.macro_f1 == pytest.approx(f1_score(gold, predicted, labels=[0, 1, 2], average="macro"), abs=1e-6)
    assert score.accuracy == pytest.approx(accuracy_score(gold, predicted), abs=1e-6)
    by_class = f1_score(gold, predicted, labels=[0, 1, 2], average=None)
    assert score.f1_by_class[:3] == pytest.approx(by_class) and score.f1_by_class[3] is None
    assert score.difference is None


def test_the_interval_is_a_slow_bootstrap_s() -> None:
    predicted, gold = drawn(1, 0.6)
    score = score_all({"one": predicted}, gold, 4, "one", n_bootstrap=2000)["one"]
    random, values = np.random.default_rng(0), []
    for _ in range(2000):
        rows = random.integers(0, 300, 300)
        values.append(f1_score(gold[rows], predicted[rows], labels=[0, 1, 2], average="macro"))
    assert score.macro_f1_ci95 == pytest.approx(np.quantile(values, [0.025, 0.975]), abs=0.01)


def test_a_better_approach_is_told_from_an_equal_one() -> None:
    reference, gold = drawn(2, 0.6)
    better = np.where(np.random.default_rng(3).random(300) < 0.5, gold, reference)
    equal = reference.copy()
    wrong = np.flatnonzero(reference != gold)[:1]
    equal[wrong] = gold[wrong]
    scores = score_all(
        {"reference": reference, "better": better, "equal": equal, "same": reference}, gold, 4, "reference"
    )
    real = {name: score.difference.is_real for name, score in scores.items() if score.difference is not None}
    assert real == {"better": True, "equal": False, "same": False}
    difference = scores["better"].difference
    assert difference is not None and difference.ci95[0] > 0
    assert difference.mean == pytest.approx(scores["better"].macro_f1 - scores["reference"].macro_f1)
