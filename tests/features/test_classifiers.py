"""Classifiers on features: what is selected is what a loop selects; nothing leaks; mistakes are told."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.sparse import csr_array
from sklearn.metrics import f1_score

from sae_lens_classif.errors import UserError
from sae_lens_classif.features.classifiers import ClassifierSettings, fit_classifier, fit_tfidf
from sae_lens_classif.features.selection import SELECTIONS, mean_difference, mutual_information

KINDS = ("logistic", "tree", "prototype")


def drawn(n_texts: int, seed: int, n_classes: int = 3) -> tuple[csr_array, npt.NDArray[np.int64]]:
    """Features of which three tell the classes apart, and forty do not."""
    random = np.random.default_rng(seed)
    labels = np.arange(n_texts) % n_classes
    rows = random.random((n_texts, 43)) * (random.random((n_texts, 43)) < 0.2)
    for number in range(n_classes):
        rows[:, 10 * number + 5] = (labels == number) * (random.random(n_texts) < 0.8)
    return csr_array(rows.astype(np.float32)), labels


@pytest.mark.parametrize("is_sparse", [True, False])
def test_the_mean_difference_is_what_a_loop_gives(is_sparse: bool) -> None:
    rows, labels = drawn(60, seed=0)
    dense = rows.toarray()
    expected = [
        max(abs(dense[labels == one, f].mean() - dense[labels != one, f].mean()) for one in range(3)) for f in range(43)
    ]
    np.testing.assert_allclose(mean_difference(rows if is_sparse else dense, labels), expected, rtol=1e-5)


@pytest.mark.parametrize("is_sparse", [True, False])
def test_the_mutual_information_is_what_a_loop_gives(is_sparse: bool) -> None:
    rows, labels = drawn(60, seed=1)
    dense = rows.toarray()
    expected = []
    for feature in range(43):
        total = 0.0
        for is_active in (True, False):
            for one in range(3):
                active = (dense[:, feature] > 0) == is_active
                p = np.mean(active & (labels == one))
                total += p * math.log(p / (active.mean() * np.mean(labels == one))) if p else 0.0
        expected.append(total)
    np.testing.assert_allclose(mutual_information(rows if is_sparse else dense, labels), expected, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_features_as_the_store_gives_them_with_places_of_64_bits_are_classified_alike(kind: Any) -> None:
    rows, labels = drawn(60, seed=4)
    wide = csr_array((rows.data, rows.indices.astype(np.int64), rows.indptr.astype(np.int64)), shape=rows.shape)
    assert wide.indices.dtype == np.int64
    one, other = (fit_classifier(given, labels, ClassifierSettings(kind)) for given in (rows, wide))
    np.testing.assert_array_equal(one.predict(rows), other.predict(wide))
    assert one.macro_f1_of_all == other.macro_f1_of_all


@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_features_that_tell_the_classes_apart_are_found_and_used(kind: Any, selection: str) -> None:
    rows, labels = drawn(150, seed=2)
    fitted = fit_classifier(rows, labels, ClassifierSettings(kind, n_features=3, selection=selection))
    assert sorted(fitted.features) == [5, 15, 25]
    test, gold = drawn(150, seed=3)
    assert f1_score(gold, fitted.predict(test), average="macro") > 0.8
    assert max(fitted.macro_f1_of_all) == fitted.macro_f1 > 0.8
    assert len(fitted.macro_f1_of_all) == {"logistic": 4, "tree": 36, "prototype": 1}[kind]


@pytest.mark.parametrize("n_features", [None, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_permuted_training_labels_give_chance_on_the_test_texts(kind: Any, n_features: int | None) -> None:
    """A selection outside of the folds, or a look at the test texts, would be above it."""
    scores, within = [], []
    for seed in range(6):
        rows, labels = drawn(90, seed)
        permuted = np.random.default_rng(seed).permutation(labels)
        fitted = fit_classifier(rows, permuted, ClassifierSettings(kind, n_features, seed=seed))
        test, gold = drawn(300, seed + 100)
        scores.append(float(np.mean(fitted.predict(test) == gold)))
        within.append(fitted.macro_f1_of_all[0])
    assert abs(np.mean(scores) - 1 / 3) < 0.1
    assert abs(np.mean(within) - 1 / 3) < 0.12


def test_dense_features_are_standardised_and_the_same_seed_gives_the_same() -> None:
    rows, labels = drawn(90, seed=4)
    dense = rows.toarray() * np.float32(1e4) + np.float32(3)
    one, other = (fit_classifier(dense, labels, ClassifierSettings()) for _ in range(2))
    assert one.macro_f1 > 0.8 and one.macro_f1_of_all == other.macro_f1_of_all and one.picked == other.picked
    assert one.picked.keys() == {"C"}


def test_a_rare_class_gets_fewer_folds_and_one_text_is_too_few() -> None:
    rows, labels = drawn(60, seed=5)
    few = np.where(np.arange(60) < 3, 2, labels % 2)
    assert fit_classifier(rows, few, ClassifierSettings("prototype")).macro_f1 > 0
    with pytest.raises(UserError, match="a class has 1 training text; 2 at least"):
        fit_classifier(rows, np.where(np.arange(60) < 1, 2, labels % 2))
    with pytest.raises(UserError, match="one class alone"):
        fit_classifier(rows, np.zeros(60, np.int64))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kind": "logistics"}, "did you mean 'logistic'"),
        ({"selection": "mean_diference"}, "did you mean 'mean_difference'"),
        ({"n_features": 0}, "0 features are none"),
        ({"n_folds": 1}, "2 folds at least, not 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        ClassifierSettings(**settings)


def test_words_are_found_in_each_fold_and_no_language_has_stop_words() -> None:
    texts = [("el perro y la lluvia", "the dog and the rain")[row % 2] + f" w{row}" for row in range(40)]
    labels = np.arange(40) % 2
    fitted = fit_tfidf(texts, labels)
    assert fitted.predict(["y la lluvia", "and the rain"]).tolist() == [0, 1]
    words = fitted.pipeline.named_steps["words"].vocabulary_
    assert {"the", "and", "la", "the dog"} <= words.keys() and len(fitted.features) == len(words)
    permuted = np.random.default_rng(0).permutation(labels)
    assert fit_tfidf(texts, permuted).macro_f1 < 0.7
    with pytest.raises(UserError, match="hold no words"):
        fit_tfidf(["!", "?"] * 5, np.arange(10) % 2)


@pytest.mark.parametrize("n_features", [None, 3])
def test_settings_picked_elsewhere_are_fitted_as_if_they_had_been_picked_here(n_features: int | None) -> None:
    random = np.random.default_rng(0)
    labels = np.arange(60) % 2
    rows = random.normal(size=(60, 8)) + 0.5 * labels[:, None]
    settings = ClassifierSettings(n_features=n_features)
    searched = fit_classifier(rows, labels, settings)
    given = fit_classifier(rows, labels, settings, picked=searched.picked)
    other = fit_classifier(rows, labels, settings, picked={"C": 123.0})
    assert np.array_equal(given.predict(rows), searched.predict(rows))
    assert np.array_equal(given.features, searched.features)
    assert (given.picked, given.macro_f1_of_all) == (searched.picked, ())
    assert other.pipeline.named_steps["classify"].C == 123.0
    texts = [f"{'dog' if label else 'cat'} runs {row}" for row, label in enumerate(labels)]
    words = fit_tfidf(texts, labels, ClassifierSettings())
    assert words.picked["C"] == fit_tfidf(texts, labels, picked=words.picked).pipeline.named_steps["classify"].C
