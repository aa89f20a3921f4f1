"""Which features classify texts: every pooling of every source, beside baselines, picked on training texts alone."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from sae_lens_classif.data.texts import TextData
from sae_lens_classif.errors import UserError
from sae_lens_classif.evals.base import Exact
from sae_lens_classif.evals.significance import resamplings_needed
from sae_lens_classif.features.baselines import random_like
from sae_lens_classif.features.classifiers import (
    ClassifierSettings,
    FittedClassifier,
    Labels,
    fit_classifier,
    fit_tfidf,
)
from sae_lens_classif.features.fits import Fit, FitsFolder
from sae_lens_classif.features.pooling import binarised
from sae_lens_classif.features.scores import Score, score_all
from sae_lens_classif.features.store import FeatureStore

logger = logging.getLogger(__name__)
WORDS, COMMONEST, RANDOM = "words (TF-IDF)", "the commonest class", "random features"


@dataclass(frozen=True)
class StudySettings:
    """What is tried.

    Attributes:
        classifier: What is fitted on each set of features.
        thresholds: Sparse features are tried as they are and binarised above each of these.
        n_features: Numbers of best features that are tried beside all.
        n_bootstrap: Resamplings of the test texts behind each interval.
    """

    classifier: ClassifierSettings = field(default_factory=ClassifierSettings)
    thresholds: tuple[float, ...] = (1.0,)
    n_features: tuple[int, ...] = ()
    n_bootstrap: int = 1000


@dataclass(frozen=True)
class Approach:
    """One way to classify texts.

    Attributes:
        features: ``SOURCE/POOLING``, or a baseline's name.
        threshold: Above which they are binarised; None: as they are.
        n_features: So many best ones; None: all.
        is_baseline: Whether others are held against it.
    """

    features: str
    threshold: float | None = None
    n_features: int | None = None
    is_baseline: bool = False

    @property
    def name(self) -> str:
        """In words."""
        words = [self.features]
        words += [f"above {self.threshold:g}"] if self.threshold is not None else []
        words += [f"best {self.n_features}"] if self.n_features is not None else []
        return ", ".join(words)


class StudyRow(Exact):
    """What one approach reached.

    Attributes:
        features: The features.
        threshold: Above which they were binarised.
        n_features: How many best ones were used; None: all.
        is_baseline: Whether it is a baseline.
        picked: The classifier's settings, picked by cross-validation on the training texts.
        cv_macro_f1: Their macro F1 there; None of a baseline that learns nothing.
        cv_range: The lowest and highest of all settings there.
        score: On the test texts; its difference is from the best baseline.
    """

    features: str
    threshold: float | None
    n_features: int | None
    is_baseline: bool
    picked: dict[str, Any]
    cv_macro_f1: float | None
    cv_range: tuple[float, float] | None
    score: Score


class Study(Exact):
    """What all approaches reached.

    Attributes:
        rows: By the name of the approach.
        best: The approach that was best in cross-validation, baselines aside.
        best_baseline: The baseline that was best there.
        n_texts: Training and test texts.
        n_duplicates: Test texts that are training texts, too: what is reached on them is no proof.
    """

    rows: dict[str, StudyRow]
    best: str
    best_baseline: str
    n_texts: tuple[int, int]
    n_duplicates: int


def study(
    stores: tuple[FeatureStore, FeatureStore],
    data: tuple[TextData, TextData],
    folder: str | Path,
    settings: StudySettings | None = None,
    baselines: Sequence[str] = (),
) -> Study:
    """Fit a classifier on every set of features of training texts, and score it on test texts.

    Args:
        stores: Features of the training and of the test texts, of the same sources and poolings.
        data: The texts.
        folder: Keeps each fit: a study that was killed goes on.
        settings: What is tried.
        baselines: Sources that are baselines, as an untrained SAE; hidden states are always.

    Raises:
        UserError: If the stores are not of these texts or of the same features, or no features but baselines are there.
    """
    settings = settings or StudySettings()
    _check(stores, data)
    approaches = list(_approaches(stores[0], settings, baselines))
    if all(approach.is_baseline for approach in approaches):
        raise UserError("there are no features but baselines to study; give an SAE")
    maker = _Maker(stores, data, settings, Path(folder))
    fits = {one.name: maker.fit(one) for one in tqdm(approaches, desc="Classifying", unit=" approaches")}
    chosen = {one.name: one for one in approaches}
    best = _best(fits, [name for name, one in chosen.items() if not one.is_baseline])
    like_best = replace(chosen[best], features=f"{RANDOM} as many as {chosen[best].features}", is_baseline=True)
    chosen[like_best.name], fits[like_best.name] = like_best, maker.random_fit(chosen[best], like_best)
    best_baseline = _best(fits, [name for name, one in chosen.items() if one.is_baseline and fits[name].cv])
    n_classes, gold = len(data[1].class_names), data[1].labels
    predicted = {name: one.predicted for name, one in fits.items()}
    n_bootstrap = max(settings.n_bootstrap, resamplings_needed(len(predicted)))  # with fewer nothing could differ
    scores = score_all(predicted, gold, n_classes, best_baseline, n_bootstrap, settings.classifier.seed)
    n_duplicates = len(set(data[0].texts) & set(data[1].texts))
    if n_duplicates:
        logger.warning("%d test texts are training texts, too: what is reached on them is no proof", n_duplicates)
    rows = {name: _row(chosen[name], fits[name], score) for name, score in scores.items()}
    return Study(
        rows=rows, best=best, best_baseline=best_baseline, n_texts=(len(data[0]), len(data[1])),
        n_duplicates=n_duplicates,
    )  # fmt: skip


def _check(stores: tuple[FeatureStore, FeatureStore], data: tuple[TextData, TextData]) -> None:
    for store, texts in zip(stores, data, strict=True):
        if store.plan.data != texts.fingerprint():
            raise UserError(f"{store.folder} holds features of other texts than these; run `features` again")
    if stores[0].plan.columns != stores[1].plan.columns or stores[0].plan.model != stores[1].plan.model:
        raise UserError(
            f"{stores[0].folder} and {stores[1].folder} hold features of other models or SAEs; make both alike"
        )
    if data[0].class_names != data[1].class_names or data[0].multi_label or data[1].multi_label:
        raise UserError("training and test texts must have the same classes, one a text")


def _approaches(store: FeatureStore, settings: StudySettings, baselines: Sequence[str]) -> Iterator[Approach]:
    yield Approach(COMMONEST, is_baseline=True)
    yield Approach(WORDS, is_baseline=True)
    for column in store.plan.columns:
        is_baseline = not column.is_sparse or column.source in baselines
        for threshold in (None, *(settings.thresholds if column.is_sparse else ())):
            for number in (None, *(number for number in settings.n_features if number < column.width)):
                yield Approach(column.name, threshold, number, is_baseline)


class _Maker:
    """Fits approaches, or reads what was fitted before."""

    def __init__(
        self,
        stores: tuple[FeatureStore, FeatureStore],
        data: tuple[TextData, TextData],
        settings: StudySettings,
        folder: Path,
    ) -> None:
        self._stores, self._data, self._settings, self._fits = stores, data, settings, FitsFolder(folder)
        self._given = {
            "features": [store.fingerprint() for store in stores],
            "data": [of_split.fingerprint() for of_split in data],
        }
        self._known: tuple[str, tuple[Any, Any]] | None = None  # the features that were read last

    def fit(self, approach: Approach) -> Fit:
        """One approach."""
        if approach.features == COMMONEST:
            commonest = int(np.bincount(self._data[0].labels).argmax())
            return Fit(np.full(len(self._data[1]), commonest), {}, ())
        if approach.features == WORDS:
            texts = tuple(list(of_split.texts) for of_split in self._data)
            return self._kept(approach, lambda: (fit_tfidf(texts[0], self._labels, self._of(approach)), texts[1]))
        return self._kept(approach, lambda: self._fitted(approach, self._rows(approach)))

    def random_fit(self, of: Approach, approach: Approach) -> Fit:
        """Random features, as many of each text as an approach has."""

        def fitted() -> tuple[FittedClassifier, Any]:
            seed = self._settings.classifier.seed
            rows = tuple(random_like(one, seed + place) for place, one in enumerate(self._rows(of)))
            return self._fitted(approach, (rows[0], rows[1]))

        return self._kept(approach, fitted)

    @property
    def _labels(self) -> Labels:
        labels: Labels = self._data[0].labels
        return labels

    def _of(self, approach: Approach) -> ClassifierSettings:
        return replace(self._settings.classifier, n_features=approach.n_features)

    def _fitted(self, approach: Approach, rows: tuple[Any, Any]) -> tuple[FittedClassifier, Any]:
        return fit_classifier(rows[0], self._labels, self._of(approach)), rows[1]

    def _rows(self, approach: Approach) -> tuple[Any, Any]:
        if self._known is None or self._known[0] != approach.features:
            of_train, of_test = (store.read(approach.features) for store in self._stores)
            self._known = approach.features, (of_train, of_test)
        train, test = self._known[1]
        if approach.threshold is None:
            return train, test
        return binarised(train, approach.threshold), binarised(test, approach.threshold)

    def _kept(self, approach: Approach, fit: Callable[[], tuple[FittedClassifier, Any]]) -> Fit:
        made_from = {"approach": asdict(approach), "classifier": asdict(self._of(approach)), **self._given}
        return self._fits.kept(made_from, fit)


def _best(fits: dict[str, Fit], names: Sequence[str]) -> str:
    """Of some approaches the one with the highest macro F1 in cross-validation; of equal ones the first."""
    return max(names, key=lambda name: max(fits[name].cv))


def _row(approach: Approach, fit: Fit, score: Score) -> StudyRow:
    return StudyRow(
        **asdict(approach),
        picked=fit.picked,
        cv_macro_f1=max(fit.cv) if fit.cv else None,
        cv_range=(min(fit.cv), max(fit.cv)) if fit.cv else None,
        score=score,
    )
