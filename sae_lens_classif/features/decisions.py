"""Do features of one model tell what another decides? Sets of features against classifiers, each with each."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from sae_lens_classif.checksums import sha256_of_json
from sae_lens_classif.errors import UserError
from sae_lens_classif.evals.base import Exact
from sae_lens_classif.evals.significance import resamplings_needed
from sae_lens_classif.features.baselines import commonest
from sae_lens_classif.features.classifiers import (
    FEWEST_TEXTS,
    ClassifierSettings,
    FittedClassifier,
    Labels,
    can_be_fitted,
    fit_classifier,
    fit_tfidf,
)
from sae_lens_classif.features.fits import FitsFolder
from sae_lens_classif.features.paired import Interval, Resampled, corrected, macro_f1_of
from sae_lens_classif.features.scores import Difference

logger = logging.getLogger(__name__)
COMMONEST = "the commonest decision"


@dataclass(frozen=True)
class View:
    """What is known of every text.

    Attributes:
        name: How it is called.
        about: What it is in detail.
        made_from: All that it depends on, texts included, as JSON can hold it.
        read: Gives the rows of training and test texts, float (N, F) each; or the texts themselves.
        n_features: So many best ones are used. Default: all.
        are_words: Whether it gives the texts themselves.
    """

    name: str
    about: str
    made_from: Any
    read: Callable[[], tuple[Any, Any]]
    n_features: int | None = None
    are_words: bool = False


@dataclass(frozen=True)
class Decisions:
    """What a classifier decides.

    Attributes:
        of: How it is called.
        class_names: Its C classes.
        decided: int64 (N,), of training and of test texts.
    """

    of: str
    class_names: tuple[str, ...]
    decided: tuple[Labels, Labels]


@dataclass(frozen=True)
class DecisionSettings:
    """What is fitted.

    Attributes:
        classifier: On each view.
        n_bootstrap: Resamplings of the test texts behind each interval.
    """

    classifier: ClassifierSettings = field(default_factory=ClassifierSettings)
    n_bootstrap: int = 1000


class DecisionCell(Exact):
    """How well a view tells what a classifier decides.

    Attributes:
        macro_f1: Over the classes that it decides on the test texts.
        accuracy: Share of the test texts whose decision is told.
        picked: Settings, picked by cross-validation on the training texts.
        difference: Of the first view from this one, corrected for all of them; None of the first itself.
    """

    macro_f1: Interval
    accuracy: float
    picked: dict[str, Any]
    difference: Difference | None


class DecisionStudy(Exact):
    """What tells the decisions of classifiers.

    Attributes:
        views: Sets of features, and what they are in detail; the first is what the others are held against.
        classifiers: Whose decisions, with their classes.
        cells: By view and classifier; the commonest decision among the views.
        n_texts: Training and test texts.
    """

    views: dict[str, str]
    classifiers: dict[str, list[str]]
    cells: dict[str, dict[str, DecisionCell]]
    n_texts: tuple[int, int]


def decision_study(
    views: Sequence[View], decisions: Sequence[Decisions], folder: str | Path, settings: DecisionSettings | None = None
) -> DecisionStudy:
    """Fit a classifier on every view to tell what each of some models decides.

    Args:
        views: Of the same texts, in the same order.
        decisions: Of classifiers on these texts.
        folder: Keeps each fit.
        settings: What is fitted.

    Raises:
        UserError: If none of the models decides differently of different texts.
    """
    settings, fits = settings or DecisionSettings(), FitsFolder(folder)
    usable = [one for one in decisions if _decides(one)]
    if not usable:
        raise UserError("every classifier of features.decisions_of decides the same of all training texts; give others")
    predicted: dict[str, dict[str, tuple[Labels, dict[str, Any]]]] = {
        COMMONEST: {one.of: (commonest(one.decided[0], len(one.decided[1])), {}) for one in usable}
    }
    for view in tqdm(views, desc="Telling decisions", unit=" views"):
        predicted[view.name] = _told(view, usable, fits, settings.classifier)
    return DecisionStudy(
        views={view.name: view.about for view in views},
        classifiers={one.of: list(one.class_names) for one in usable},
        cells=_cells(views[0].name, predicted, usable, settings),
        n_texts=(len(usable[0].decided[0]), len(usable[0].decided[1])),
    )


def _decides(decisions: Decisions) -> bool:
    own = decisions.decided[0]
    decides = can_be_fitted(own[_known(own)])
    if not decides:
        logger.warning("%s decides the same of (nearly) all training texts; it is left out", decisions.of)
    return decides


def _known(decided: Labels) -> Labels:
    """Texts whose decision is that of another, too."""
    counts = np.bincount(decided)
    known: Labels = np.flatnonzero(counts[decided] >= FEWEST_TEXTS)
    return known


def _told(
    view: View, decisions: Sequence[Decisions], fits: FitsFolder, settings: ClassifierSettings
) -> dict[str, tuple[Labels, dict[str, Any]]]:
    """What a view says of each classifier's test texts, and the settings picked."""
    settings, read = replace(settings, n_features=view.n_features), list[tuple[Any, Any]]()
    found = {}
    for one in decisions:
        known = _known(one.decided[0])

        def fitted(labels: Labels = one.decided[0], known: Labels = known) -> tuple[FittedClassifier, Any]:
            read[:] = read or [view.read()]
            train, test = read[0]
            if view.are_words:
                return fit_tfidf([train[row] for row in known], labels[known], settings), test
            return fit_classifier(train[known], labels[known], settings), test

        made_from = {
            "view": view.made_from,
            "classifier": asdict(settings),
            "decided": sha256_of_json(one.decided[0].tolist()),
        }
        fit = fits.kept(made_from, fitted)
        found[one.of] = fit.predicted, fit.picked
    return found


def _cells(
    first: str,
    predicted: Mapping[str, Mapping[str, tuple[Labels, dict[str, Any]]]],
    decisions: Sequence[Decisions],
    settings: DecisionSettings,
) -> dict[str, dict[str, DecisionCell]]:
    n_bootstrap = max(settings.n_bootstrap, resamplings_needed(len(predicted) * len(decisions)))
    scores = dict[tuple[str, str], tuple[Resampled, float]]()
    for one in decisions:
        of_views = {(name, one.of): found[one.of][0] for name, found in predicted.items()}
        # The same seed: all are on the same texts.
        scores |= macro_f1_of(of_views, one.decided[1], len(one.class_names), n_bootstrap, settings.classifier.seed)
    differences = corrected(
        {(name, of): scores[first, of][0] - macro_f1 for (name, of), (macro_f1, _) in scores.items() if name != first}
    )
    return {
        name: {
            of: DecisionCell(
                macro_f1=scores[name, of][0].interval(),
                accuracy=scores[name, of][1],
                picked=picked,
                difference=differences.get((name, of)),
            )
            for of, (_, picked) in found.items()
        }
        for name, found in predicted.items()
    }
