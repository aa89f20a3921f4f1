"""Classifiers on features of texts. Settings are picked by cross-validation on the training texts, never on others."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MaxAbsScaler, Normalizer, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from sae_lens_classif.errors import UserError, nearest
from sae_lens_classif.features.selection import SELECTIONS

Kind = Literal["logistic", "tree", "prototype"]
Labels: TypeAlias = npt.NDArray[np.int64]
_FEWEST_FOLDS = 2
_STRENGTHS = (0.001, 0.01, 0.1, 1.0)
_MOST_ITERATIONS = 2000


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
        if self.n_folds < _FEWEST_FOLDS:
            raise UserError(f"a cross-validation has {_FEWEST_FOLDS} folds at least, not {self.n_folds}")


@dataclass(frozen=True)
class FittedClassifier:
    """A classifier with the settings that were best in cross-validation.

    Attributes:
        pipeline: scikit-learn's, fitted on all training texts.
        picked: The settings.
        macro_f1: Their macro F1 in cross-validation, mean over folds.
        macro_f1_of_all: The same of each combination of settings.
        features: int64 (m,), the features that are used, the best first.
    """

    pipeline: Any
    picked: Mapping[str, Any]
    macro_f1: float
    macro_f1_of_all: tuple[float, ...]
    features: npt.NDArray[np.int64]

    def predict(self, rows: Any) -> Labels:
        """Classes, int64 (N,), of texts given their features, float (N, F)."""
        predicted: Labels = self.pipeline.predict(rows)
        return predicted


def fit_classifier(rows: Any, labels: Labels, settings: ClassifierSettings | None = None) -> FittedClassifier:
    """Fit a classifier on features.

    Args:
        rows: float (N, F) of the training texts, sparse or dense.
        labels: int64 (N,), their classes.
        settings: What to fit.

    Raises:
        UserError: If there is one class alone, or one has a single text.
    """
    settings = settings or ClassifierSettings()
    n_folds = _folds(labels, settings.n_folds)
    estimator, grid = _KINDS[settings.kind](settings)
    n_all = rows.shape[1]
    score = SELECTIONS[settings.selection]
    chosen = SelectKBest(score, k=min(settings.n_features or n_all, n_all))
    # What is sparse stays sparse: it is not centred.
    scaler = MaxAbsScaler() if issparse(rows) else StandardScaler()
    steps: list[tuple[str, BaseEstimator]] = [("scale", scaler), *estimator]
    if settings.n_features is not None and settings.n_features < n_all:
        steps.insert(1, ("choose", chosen))
    folds = StratifiedKFold(n_folds, shuffle=True, random_state=settings.seed)
    search = GridSearchCV(Pipeline(steps), grid, scoring="f1_macro", cv=folds, error_score="raise")
    search.fit(rows, labels)
    pipeline = search.best_estimator_
    features = np.arange(n_all)
    if "choose" in pipeline.named_steps:
        scores = pipeline.named_steps["choose"].scores_
        best = np.flatnonzero(pipeline.named_steps["choose"].get_support())
        features = best[np.argsort(-scores[best], kind="stable")]
    return FittedClassifier(
        pipeline,
        {name.partition("__")[2]: value for name, value in search.best_params_.items()},
        float(search.best_score_),
        tuple(map(float, search.cv_results_["mean_test_score"])),
        features,
    )


def _folds(labels: Labels, n_folds: int) -> int:
    counts = np.unique(labels, return_counts=True)[1]
    if len(counts) < 2:
        raise UserError("the training texts have one class alone; two are needed to classify")
    if counts.min() < _FEWEST_FOLDS:
        raise UserError(
            f"a class has {counts.min()} training text; {_FEWEST_FOLDS} at least are needed, one to learn from and one "
            "to pick settings by"
        )
    return int(min(n_folds, counts.min()))


Steps: TypeAlias = tuple[Sequence[tuple[str, BaseEstimator]], dict[str, Sequence[Any]]]


def _logistic(settings: ClassifierSettings) -> Steps:
    weight = "balanced" if settings.balanced else None
    model = LogisticRegression(class_weight=weight, max_iter=_MOST_ITERATIONS)
    return [("classify", model)], {"classify__C": _STRENGTHS}


def _tree(settings: ClassifierSettings) -> Steps:
    model = DecisionTreeClassifier(class_weight="balanced" if settings.balanced else None, random_state=settings.seed)
    grid = {"max_depth": (3, 5, 7, 9), "min_samples_split": (2, 5, 10), "min_samples_leaf": (1, 2, 4)}
    return [("classify", model)], {f"classify__{name}": values for name, values in grid.items()}


def _prototype(_: ClassifierSettings) -> Steps:
    return [("unit", Normalizer()), ("classify", NearestCentroid())], {}


_KINDS: dict[str, Callable[[ClassifierSettings], Steps]] = {
    "logistic": _logistic, "tree": _tree, "prototype": _prototype,
}  # fmt: skip
