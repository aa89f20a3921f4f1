"""Classifiers on features of texts. Settings are picked by cross-validation on the training texts, never on others."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array, issparse
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MaxAbsScaler, Normalizer, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from sae_lens_classif.errors import UserError, nearest
from sae_lens_classif.features.selection import SELECTIONS, class_sums

Kind = Literal["logistic", "tree", "prototype"]
Labels: TypeAlias = npt.NDArray[np.int64]
Step: TypeAlias = tuple[str, BaseEstimator]
Steps: TypeAlias = tuple[Sequence[Step], dict[str, Sequence[Any]]]
FEWEST_TEXTS = 2  # of a class, and so folds: one to learn from, one to pick settings by
_STRENGTHS = (0.001, 0.01, 0.1, 1.0)
_MOST_ITERATIONS = 2000
_MOST_WORDS = 20_000


@dataclass(frozen=True)
class ClassifierSettings:
    """What is fitted on features, and what is picked.

    Attributes:
        kind: ``logistic``: logistic regression with an L2 penalty, its strength picked; ``tree``: a decision tree, its
            depth and sizes picked; ``prototype``: the class whose mean is nearest, by the cosine.
        n_features: Only the best so many features are used. Default: all.
        selection: Which are best: ``mean_difference``, ``mutual_information`` or ``l1``; chosen anew in each fold.
        balanced: Whether texts of rare classes count more, so that all classes count alike.
        n_folds: Folds of the cross-validation, stratified; fewer where a class has fewer texts.
        seed: Of the folds and the tree.
    """

    kind: Kind = "logistic"
    n_features: int | None = None
    selection: str = "mean_difference"
    balanced: bool = True
    n_folds: int = 5
    seed: int = 42

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise UserError(f"there is no classifier {self.kind!r}; {nearest(self.kind, list(get_args(Kind)))}")
        if self.selection not in SELECTIONS:
            raise UserError(f"there is no selection {self.selection!r}; {nearest(self.selection, list(SELECTIONS))}")
        if self.n_features is not None and self.n_features < 1:
            raise UserError(f"{self.n_features} features are none to classify by; give 1 or more, or leave it out")
        if self.n_folds < FEWEST_TEXTS:
            raise UserError(f"a cross-validation has {FEWEST_TEXTS} folds at least, not {self.n_folds}")


@dataclass(frozen=True)
class FittedClassifier:
    """A classifier with the settings that were best in cross-validation.

    Attributes:
        pipeline: scikit-learn's, fitted on all training texts.
        picked: The settings.
        macro_f1: Their macro F1 in cross-validation, mean over folds; NaN where they were picked elsewhere.
        macro_f1_of_all: The same of each combination of settings; empty where none was tried.
        features: int64 (m,), the features that are used, the best first.
        standard_error: Of ``macro_f1``, by how far the folds are apart.
    """

    pipeline: Any
    picked: Mapping[str, Any]
    macro_f1: float
    macro_f1_of_all: tuple[float, ...]
    features: npt.NDArray[np.int64]
    standard_error: float = 0.0

    def predict(self, rows: Any) -> Labels:
        """Classes, int64 (N,), of texts given their features, float (N, F)."""
        predicted: Labels = self.pipeline.predict(narrowed(rows))
        return predicted


def fit_classifier(
    rows: Any,
    labels: Labels,
    settings: ClassifierSettings | None = None,
    picked: Mapping[str, Any] | None = None,
) -> FittedClassifier:
    """Fit a classifier on features.

    Args:
        rows: float (N, F) of the training texts, sparse or dense.
        labels: int64 (N,), their classes.
        settings: What to fit.
        picked: Settings that were picked on other texts; nothing is cross-validated then. Default: picked on these.

    Raises:
        UserError: If there is one class alone, or one has a single text.
    """
    settings, rows, n_all = settings or ClassifierSettings(), narrowed(rows), rows.shape[1]
    # What is sparse stays sparse: it is not centred.
    before: list[Step] = [("scale", MaxAbsScaler() if issparse(rows) else StandardScaler())]
    if settings.n_features is not None and settings.n_features < n_all:
        before.append(("choose", SelectKBest(SELECTIONS[settings.selection], k=settings.n_features)))
    fitted = _fitted(before, rows, labels, settings, picked)
    features, choose = np.arange(n_all), fitted.pipeline.named_steps.get("choose")
    if choose is not None:
        best = np.flatnonzero(choose.get_support())
        features = best[np.argsort(-choose.scores_[best], kind="stable")]
    return replace(fitted, features=features)


def narrowed(rows: Any) -> Any:
    """Sparse rows with places of 32 bits where they fit, as scikit-learn's trees ask for; all else as it is."""
    if not issparse(rows) or rows.indices.dtype == np.int32 or max(rows.nnz, *rows.shape) > np.iinfo(np.int32).max:
        return rows
    return csr_array((rows.data, rows.indices.astype(np.int32), rows.indptr.astype(np.int32)), shape=rows.shape)


def fit_tfidf(
    texts: Sequence[str],
    labels: Labels,
    settings: ClassifierSettings | None = None,
    picked: Mapping[str, Any] | None = None,
) -> FittedClassifier:
    """Fit a classifier on the words of texts: TF-IDF of single words and pairs, 20,000 at most.

    They are found in each fold anew. No stop words are left out, which would be those of one language.

    Args:
        texts: N training texts.
        labels: int64 (N,), their classes.
        settings: What to fit; its selection plays no part.
        picked: See ``fit_classifier``.

    Raises:
        UserError: As ``fit_classifier``, or if no text holds a word.
    """
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), max_features=_MOST_WORDS)
    try:
        fitted = _fitted([("words", vectorizer)], texts, labels, settings or ClassifierSettings(), picked)
    except ValueError as error:
        if "empty vocabulary" not in str(error):
            raise
        raise UserError("the texts hold no words of two letters or more to classify by") from error
    return replace(fitted, features=np.arange(len(fitted.pipeline.named_steps["words"].vocabulary_)))


class Prototypes(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """The class whose mean is nearest by the cosine; unlike scikit-learn's, sparse rows stay sparse.

    Attributes:
        classes_: int64 (C,), the classes that occur.
        prototypes_: float (C, F), their means, of norm 1.
    """

    def fit(self, rows: Any, labels: Labels) -> Self:
        """Take the means of rows of norm 1, float (N, F), given their classes, int64 (N,)."""
        self.classes_, own = np.unique(labels, return_inverse=True)
        sums, _ = class_sums(rows, own)
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        self.prototypes_ = sums / np.where(norms > 0, norms, 1)
        return self

    def predict(self, rows: Any) -> Labels:
        """Classes of rows, int64 (N,)."""
        predicted: Labels = self.classes_[np.asarray(rows @ self.prototypes_.T).argmax(axis=1)]
        return predicted


def _fitted(
    before: Sequence[Step], given: Any, labels: Labels, settings: ClassifierSettings, picked: Mapping[str, Any] | None
) -> FittedClassifier:
    """A pipeline with the settings that are best in cross-validation, or picked before, fitted on everything."""
    steps, grid = _KINDS[settings.kind](settings)
    pipeline, n_folds = Pipeline([*before, *steps]), _folds(labels, settings.n_folds)
    none_yet = np.empty(0, np.int64)
    if picked is not None:
        pipeline.set_params(**{f"classify__{name}": value for name, value in picked.items()})
        return FittedClassifier(pipeline.fit(given, labels), dict(picked), math.nan, (), none_yet)
    folds = StratifiedKFold(n_folds, shuffle=True, random_state=settings.seed)
    search = GridSearchCV(pipeline, grid, scoring="f1_macro", cv=folds, error_score="raise").fit(given, labels)
    return FittedClassifier(
        search.best_estimator_,
        {name.partition("__")[2]: value for name, value in search.best_params_.items()},
        float(search.best_score_),
        tuple(map(float, search.cv_results_["mean_test_score"])),
        none_yet,
        standard_error=float(search.cv_results_["std_test_score"][search.best_index_]) / (search.n_splits_ - 1) ** 0.5,
    )


def can_be_fitted(labels: Labels) -> bool:
    """Whether settings can be picked on texts of these classes, int64 (N,)."""
    counts = np.unique(labels, return_counts=True)[1]
    return len(counts) > 1 and bool(counts.min() >= FEWEST_TEXTS)


def _folds(labels: Labels, n_folds: int) -> int:
    counts = np.unique(labels, return_counts=True)[1]
    if len(counts) < 2:
        raise UserError("the training texts have one class alone; two are needed to classify")
    if counts.min() < FEWEST_TEXTS:
        raise UserError(
            f"a class has {counts.min()} training text; {FEWEST_TEXTS} at least are needed, one to learn from and one "
            "to pick settings by"
        )
    return int(min(n_folds, counts.min()))


def _logistic(settings: ClassifierSettings) -> Steps:
    weight = "balanced" if settings.balanced else None
    model = LogisticRegression(class_weight=weight, max_iter=_MOST_ITERATIONS)
    return [("classify", model)], {"classify__C": _STRENGTHS}


def _tree(settings: ClassifierSettings) -> Steps:
    model = DecisionTreeClassifier(class_weight="balanced" if settings.balanced else None, random_state=settings.seed)
    grid = {"max_depth": (3, 5, 7, 9), "min_samples_split": (2, 5, 10), "min_samples_leaf": (1, 2, 4)}
    return [("classify", model)], {f"classify__{name}": values for name, values in grid.items()}


def _prototype(_: ClassifierSettings) -> Steps:
    return [("unit", Normalizer()), ("classify", Prototypes())], {}


_KINDS: dict[str, Callable[[ClassifierSettings], Steps]] = {
    "logistic": _logistic, "tree": _tree, "prototype": _prototype,
}  # fmt: skip
