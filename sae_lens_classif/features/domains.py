"""Texts of several languages or data sets, and classifiers that are trained on some of them and tested on others."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.sparse import vstack as stacked

from sae_lens_classif.data.texts import TextData
from sae_lens_classif.errors import UserError
from sae_lens_classif.features.classifiers import (
    ClassifierSettings,
    FittedClassifier,
    can_be_fitted,
    fit_classifier,
    fit_tfidf,
)
from sae_lens_classif.features.fits import Fit, FitsFolder
from sae_lens_classif.features.pooling import above
from sae_lens_classif.features.store import FeatureStore
from sae_lens_classif.features.study import WORDS, Approach, Stores

Rows: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Domain:
    """Texts of one language or of one data set, and where their features are.

    Attributes:
        name: How it is called.
        data: Its training and its test texts; one of them may be none.
        stores: Features of them, and maybe of other texts, too.
        rows: int64, which rows of these stores are its own, of training and test texts.
    """

    name: str
    data: tuple[TextData, TextData]
    stores: Stores
    rows: tuple[Rows, Rows]

    @property
    def can_be_trained_on(self) -> bool:
        """Whether it has two classes at least, and two training texts of each that it has."""
        return can_be_fitted(self.data[0].labels)

    @property
    def can_be_tested_on(self) -> bool:
        """Whether it has test texts."""
        return len(self.data[1]) > 0


Sample: TypeAlias = "Sequence[tuple[Domain, Rows]]"  # training texts: of each domain some rows of its own


def whole(*domains: Domain) -> Sample:
    """All training texts of some domains."""
    return [(domain, np.arange(len(domain.data[0]))) for domain in domains]


def domains_by_value(
    data: tuple[TextData, TextData], stores: Stores, values: tuple[Sequence[Any], Sequence[Any]]
) -> list[Domain]:
    """Tell texts apart by a value of each, as its language.

    Args:
        data: Training and test texts.
        stores: Features of them.
        values: One a text; ``None`` is none.

    Raises:
        UserError: If a text has no value, or the features are of other texts.
    """
    for split, of_split in zip(("training", "test"), values, strict=True):
        n_unknown = sum(value is None or not str(value).strip() for value in of_split)
        if n_unknown:
            raise UserError(f"{n_unknown} {split} texts say nothing of their language; fill the column, or remove them")
    words = tuple(np.asarray([str(value) for value in of_split]) for of_split in values)
    found = []
    for name in sorted({*words[0].tolist(), *words[1].tolist()}):
        train, test = (np.flatnonzero(own == name) for own in words)
        found.append(Domain(name, (_some(data[0], train), _some(data[1], test)), stores, (train, test)))
    _check(data, stores)
    return found


def whole_domain(name: str, data: tuple[TextData, TextData], stores: Stores) -> Domain:
    """A data set.

    Args:
        name: How it is called.
        data: Its training and test texts.
        stores: Features of them.

    Raises:
        UserError: If the features are of other texts.
    """
    _check(data, stores)
    return Domain(name, data, stores, (np.arange(len(data[0])), np.arange(len(data[1]))))


def draw(labels: Rows, n: int, seed: Sequence[int]) -> Rows:
    """Draw texts, of each class alike as far as there are any; a smaller draw of the same seed is part of a larger one.

    Args:
        labels: int64 (N,), classes.
        n: How many, at most N.
        seed: Of the draw.

    Returns:
        int64 (n,), sorted.
    """
    order = np.random.default_rng(list(seed)).permutation(len(labels))
    place = np.zeros(len(labels), np.int64)  # of each text among those of its class
    for one in np.unique(labels):
        own = order[labels[order] == one]
        place[own] = np.arange(len(own))
    chosen: Rows = order[np.argsort(place[order], kind="stable")][:n]
    return np.sort(chosen)


def together(sample: Sample) -> TextData:
    """The training texts of a sample, one domain after the other."""
    parts = [_some(domain.data[0], rows) for domain, rows in sample]
    labels = np.concatenate([part.labels for part in parts])
    return TextData(tuple(text for part in parts for text in part.texts), labels, parts[0].class_names)


def read_as(approach: Approach, store: FeatureStore) -> list[Any] | None:
    """All that a text's features depend on but the text; None of words, which depend on nothing else.

    Args:
        approach: Which features.
        store: Has them.

    Raises:
        UserError: If it has not.
    """
    if approach.features == WORDS:
        return None
    return store.origin(approach.features)


class DomainFits:
    """Fits approaches on training texts of some domains, to be tested on others; what was fitted is kept.

    Of the texts that are tested on, a fit knows the words alone, never a label.
    """

    def __init__(self, folder: FitsFolder, settings: ClassifierSettings) -> None:
        """
        Args:
            folder: Keeps the fits.
            settings: What is fitted.
        """
        self._folder, self._settings = folder, settings
        self._read: tuple[str, dict[str, Any]] = "", {}  # the features that were read last, by folder

    def fit(
        self, approach: Approach, sample: Sample, targets: Sequence[Domain], picked: Mapping[str, Any] | None = None
    ) -> tuple[Fit, dict[str, Rows]]:
        """Fit on a sample.

        Args:
            approach: Which features, and how.
            sample: The training texts.
            targets: Whose test texts are classified.
            picked: Settings that were picked on other texts. Default: by cross-validation on the sample.

        Returns:
            The fit, and for each target int64 (N,), the classes of its test texts.
        """
        train, settings = together(sample), replace(self._settings, n_features=approach.n_features)
        texts = [text for target in targets for text in target.data[1].texts]
        made_from = {
            "approach": {**asdict(approach), "is_baseline": None},
            "classifier": asdict(settings),
            "picked": None if picked is None else dict(picked),
            "features": read_as(approach, sample[0][0].stores[0]),
            "train": train.fingerprint(),
            "test": replace(train, texts=tuple(texts), labels=np.zeros(len(texts), np.int64)).fingerprint(),
        }

        def fitted() -> tuple[FittedClassifier, Any]:
            if approach.features == WORDS:
                return fit_tfidf(train.texts, train.labels, settings, picked), texts
            rows = self._rows(approach, [(domain.stores[0], domain.rows[0][own]) for domain, own in sample])
            tested = self._rows(approach, [(target.stores[1], target.rows[1]) for target in targets])
            return fit_classifier(rows, train.labels, settings, picked), tested

        fit = self._folder.kept(made_from, fitted)
        ends = np.cumsum([len(target.data[1]) for target in targets])[:-1]
        by_target = np.split(fit.predicted, ends)
        return fit, {target.name: own for target, own in zip(targets, by_target, strict=True)}

    def _rows(self, approach: Approach, wanted: Sequence[tuple[FeatureStore, Rows]]) -> Any:
        if self._read[0] != approach.features:
            self._read = approach.features, {}
        known = self._read[1]
        for store, _ in wanted:
            if str(store.folder) not in known:
                known[str(store.folder)] = store.read(approach.features)
        parts = [known[str(store.folder)][rows] for store, rows in wanted]
        if isinstance(parts[0], np.ndarray):
            return np.concatenate(parts)
        return above(stacked(parts, format="csr"), approach.threshold)


def _some(data: TextData, rows: Rows) -> TextData:
    return replace(data, texts=tuple(data.texts[row] for row in rows), labels=data.labels[rows])


def _check(data: tuple[TextData, TextData], stores: Stores) -> None:
    for store, texts in zip(stores, data, strict=True):
        store.check_texts(texts)
