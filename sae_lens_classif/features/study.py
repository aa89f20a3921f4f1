"""Which features classify texts: every pooling of every source, beside baselines, picked on training texts alone."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

from tqdm.auto import tqdm

from sae_lens_classif.data.texts import TextData
from sae_lens_classif.errors import UserError
from sae_lens_classif.evals.base import Exact
from sae_lens_classif.evals.significance import resamplings_needed
from sae_lens_classif.features.baselines import commonest, random_like
from sae_lens_classif.features.classifiers import (
    ClassifierSettings,
    FittedClassifier,
    Labels,
    fit_classifier,
    fit_tfidf,
)
from sae_lens_classif.features.fits import Fit, FitsFolder
from sae_lens_classif.features.pooling import above
from sae_lens_classif.features.scores import Score, score_all
from sae_lens_classif.features.store import Column, FeatureStore

logger = logging.getLogger(__name__)
WORDS, COMMONEST, RANDOM = "words (TF-IDF)", "the commonest class", "random features"
CLASSIFIER = "the classifier itself"
Stores: TypeAlias = tuple[FeatureStore, FeatureStore]


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


@dataclass(frozen=True, eq=False)
class OtherFeatures:
    """Features that are no language model's of the study, such as sentence embeddings: a baseline.

    Attributes:
        name: What they are.
        rows: float32 (N, F), of the training and of the test texts.
        fingerprint: SHA-256 of what they were made from.
    """

    name: str
    rows: tuple[Any, Any]
    fingerprint: str


@dataclass(frozen=True)
class Approach:
    """One way to classify texts.

    Attributes:
        features: ``SOURCE/POOLING``, or a baseline's name.
        threshold: Above which they are binarised; None: as they are.
        n_features: So many best ones; None: all.
        is_baseline: Whether others are held against it.
        model: Whose features they are, where a study has several models.
    """

    features: str
    threshold: float | None = None
    n_features: int | None = None
    is_baseline: bool = False
    model: str | None = None

    @property
    def name(self) -> str:
        """In words."""
        words = [self.features if self.model is None else f"{self.model}: {self.features}"]
        words += [f"above {self.threshold:g}"] if self.threshold is not None else []
        words += [f"best {self.n_features}"] if self.n_features is not None else []
        return ", ".join(words)


class StudyRow(Exact):
    """What one approach reached.

    Attributes:
        features: The features.
        model: Whose they are, where the study has several models.
        source: The SAE, or ``hidden:HOOK``; None of what no language model gives, as of the next three.
        hook: Residual stream that it reads.
        width: How many features it has.
        pooling: How a text's tokens became one row.
        threshold: Above which they were binarised.
        n_features: How many best ones were used; None: all.
        is_baseline: Whether it is a baseline.
        picked: The classifier's settings, picked by cross-validation on the training texts.
        cv_macro_f1: Their macro F1 there; None of a baseline that learns nothing.
        cv_range: The lowest and highest of all settings there.
        cv_standard_error: Of ``cv_macro_f1``, by how far the folds are apart.
        score: On the test texts; its difference is from the best baseline.
    """

    features: str
    model: str | None = None
    source: str | None = None
    hook: str | None = None
    width: int | None = None
    pooling: str | None = None
    threshold: float | None
    n_features: int | None
    is_baseline: bool
    picked: dict[str, Any]
    cv_macro_f1: float | None
    cv_range: tuple[float, float] | None
    cv_standard_error: float | None = None
    score: Score


class Study(Exact):
    """What all approaches reached.

    Attributes:
        rows: By the name of the approach.
        best: The approach that was best in cross-validation, baselines aside.
        best_baseline: The baseline that was best there.
        ceiling: What the run's own classifier reaches on the test texts, where there is one: it competes with nothing.
        n_texts: Training and test texts.
        n_duplicates: Test texts that are training texts, too: what is reached on them is no proof.
    """

    rows: dict[str, StudyRow]
    best: str
    best_baseline: str
    ceiling: Score | None = None
    n_texts: tuple[int, int]
    n_duplicates: int


def study(
    stores: Mapping[str, Stores],
    data: tuple[TextData, TextData],
    folder: str | Path,
    settings: StudySettings | None = None,
    baselines: Sequence[str] = (),
    others: Sequence[OtherFeatures] = (),
    decided: Labels | None = None,
) -> Study:
    """Fit a classifier on every set of features of training texts, and score it on test texts.

    Args:
        stores: For each language model, by its name, features of the training and of the test texts, of the same
            sources and poolings.
        data: The texts.
        folder: Keeps each fit: a study that was killed goes on.
        settings: What is tried.
        baselines: Sources that are baselines, as an untrained SAE; hidden states are always.
        others: Baselines that no language model of these gives.
        decided: int64 (N,), the run's own classifier's classes of the test texts, if it has one.

    Raises:
        UserError: If the stores are not of these texts or of the same features, or no features but baselines are there.
    """
    settings = settings or StudySettings()
    _check(stores, data)
    approaches = list(_approaches(stores, settings, baselines, others))
    if all(approach.is_baseline for approach in approaches):
        raise UserError("there are no features but baselines to study; give an SAE")
    maker = _Maker(stores, data, settings, Path(folder), others)
    fits = {one.name: maker.fit(one) for one in tqdm(approaches, desc="Classifying", unit=" approaches")}
    chosen = {one.name: one for one in approaches}
    best = _best(fits, [name for name, one in chosen.items() if not one.is_baseline])
    like_best = Approach(
        f"{RANDOM} as many as {replace(chosen[best], threshold=None, n_features=None).name}",
        chosen[best].threshold, chosen[best].n_features, is_baseline=True,
    )  # fmt: skip
    chosen[like_best.name], fits[like_best.name] = like_best, maker.random_fit(chosen[best], like_best)
    best_baseline = _best(fits, [name for name, one in chosen.items() if one.is_baseline and fits[name].cv])
    scores, ceiling = _scores(fits, data[1], best_baseline, settings, decided)
    n_duplicates = len(set(data[0].texts) & set(data[1].texts))
    if n_duplicates:
        logger.warning("%d test texts are training texts, too: what is reached on them is no proof", n_duplicates)
    return Study(
        rows={name: _row(one, maker.column(one), fits[name], scores[name]) for name, one in chosen.items()},
        best=best, best_baseline=best_baseline, ceiling=ceiling, n_texts=(len(data[0]), len(data[1])),
        n_duplicates=n_duplicates,
    )  # fmt: skip


def _check(stores: Mapping[str, Stores], data: tuple[TextData, TextData]) -> None:
    for train, test in stores.values():
        for store, texts in zip((train, test), data, strict=True):
            store.check_texts(texts)
        if train.plan.columns != test.plan.columns or train.plan.model != test.plan.model:
            raise UserError(f"{train.folder} and {test.folder} hold features of other models or SAEs; make both alike")
    if data[0].class_names != data[1].class_names or data[0].multi_label or data[1].multi_label:
        raise UserError("training and test texts must have the same classes, one a text")


def _approaches(
    stores: Mapping[str, Stores],
    settings: StudySettings,
    baselines: Sequence[str],
    others: Sequence[OtherFeatures],
) -> Iterator[Approach]:
    for name in (COMMONEST, WORDS, *(other.name for other in others)):
        yield Approach(name, is_baseline=True)
    for model, (store, _) in stores.items():
        of = model if len(stores) > 1 else None
        for column in store.plan.columns:
            is_baseline = not column.is_sparse or column.source in baselines
            for threshold in (None, *(settings.thresholds if column.is_sparse else ())):
                for number in (None, *(number for number in settings.n_features if number < column.width)):
                    yield Approach(column.name, threshold, number, is_baseline, of)


def _scores(
    fits: Mapping[str, Fit], data: TextData, against: str, settings: StudySettings, decided: Labels | None
) -> tuple[dict[str, Score], Score | None]:
    """Of every approach on the test texts; and of the classifier itself, which is held against nothing."""
    predicted = {name: one.predicted for name, one in fits.items()}
    n_bootstrap = max(settings.n_bootstrap, resamplings_needed(len(predicted)))  # with fewer nothing could differ
    given = data.labels, len(data.class_names)
    scores = score_all(predicted, *given, against, n_bootstrap, settings.classifier.seed)
    if decided is None:
        return scores, None
    of_it = score_all({CLASSIFIER: decided}, *given, CLASSIFIER, n_bootstrap, settings.classifier.seed)
    return scores, of_it[CLASSIFIER]


class _Maker:
    """Fits approaches, or reads what was fitted before."""

    def __init__(
        self,
        stores: Mapping[str, Stores],
        data: tuple[TextData, TextData],
        settings: StudySettings,
        folder: Path,
        others: Sequence[OtherFeatures],
    ) -> None:
        self._stores, self._data, self._settings, self._fits = stores, data, settings, FitsFolder(folder)
        self._others = {other.name: other for other in others}
        self._of_data = [of_split.fingerprint() for of_split in data]
        self._known: tuple[tuple[str | None, str], tuple[Any, Any]] | None = None  # the features that were read last

    def fit(self, approach: Approach) -> Fit:
        """One approach."""
        if approach.features == COMMONEST:
            return Fit(commonest(self._labels, len(self._data[1])), {}, ())
        if approach.features == WORDS:
            texts = tuple(list(of_split.texts) for of_split in self._data)
            return self._kept(
                approach, WORDS, lambda: (fit_tfidf(texts[0], self._labels, self._of(approach)), texts[1])
            )
        return self._kept(approach, self._made_from(approach), lambda: self._fitted(approach, self._rows(approach)))

    def random_fit(self, of: Approach, approach: Approach) -> Fit:
        """Random features, as many of each text as an approach has."""

        def fitted() -> tuple[FittedClassifier, Any]:
            seed = self._settings.classifier.seed
            rows = tuple(random_like(one, seed + place) for place, one in enumerate(self._rows(of)))
            return self._fitted(approach, (rows[0], rows[1]))

        return self._kept(approach, [RANDOM, self._made_from(of)], fitted)

    def column(self, approach: Approach) -> Column | None:
        """What is known of its features; None of what no language model gives."""
        train, _ = self._stores_of(approach)
        return next((column for column in train.plan.columns if column.name == approach.features), None)

    @property
    def _labels(self) -> Labels:
        labels: Labels = self._data[0].labels
        return labels

    def _stores_of(self, approach: Approach) -> Stores:
        return self._stores[approach.model] if approach.model is not None else next(iter(self._stores.values()))

    def _of(self, approach: Approach) -> ClassifierSettings:
        return replace(self._settings.classifier, n_features=approach.n_features)

    def _made_from(self, approach: Approach) -> Any:
        """What its features are, however model and SAE are called, and whatever else lies beside them."""
        if approach.features in self._others:
            return self._others[approach.features].fingerprint
        return [store.origin(approach.features) for store in self._stores_of(approach)]

    def _fitted(self, approach: Approach, rows: tuple[Any, Any]) -> tuple[FittedClassifier, Any]:
        return fit_classifier(rows[0], self._labels, self._of(approach)), rows[1]

    def _rows(self, approach: Approach) -> tuple[Any, Any]:
        if approach.features in self._others:
            return self._others[approach.features].rows
        of = approach.model, approach.features
        if self._known is None or self._known[0] != of:
            of_train, of_test = (store.read(approach.features) for store in self._stores_of(approach))
            self._known = of, (of_train, of_test)
        train, test = self._known[1]
        return above(train, approach.threshold), above(test, approach.threshold)

    def _kept(self, approach: Approach, of: Any, fit: Callable[[], tuple[FittedClassifier, Any]]) -> Fit:
        made_from = {
            "features": of,
            "threshold": approach.threshold,
            "classifier": asdict(self._of(approach)),
            "data": self._of_data,
        }
        return self._fits.kept(made_from, fit)


def _best(fits: dict[str, Fit], names: Sequence[str]) -> str:
    """Of some approaches the one with the highest macro F1 in cross-validation; of equal ones the first."""
    return max(names, key=lambda name: max(fits[name].cv))


def _row(approach: Approach, column: Column | None, fit: Fit, score: Score) -> StudyRow:
    known = () if column is None else ("source", "hook", "width", "pooling")
    return StudyRow(
        **asdict(approach),
        **{name: getattr(column, name) for name in known},
        picked=fit.picked,
        cv_macro_f1=max(fit.cv) if fit.cv else None,
        cv_range=(min(fit.cv), max(fit.cv)) if fit.cv else None,
        cv_standard_error=fit.standard_error if fit.cv else None,
        score=score,
    )
