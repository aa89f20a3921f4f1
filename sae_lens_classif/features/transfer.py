"""What is learned on one language or data set and holds on another: a matrix, and what a few of its own texts add."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import torch
from tqdm.auto import tqdm

from sae_lens_classif.checksums import sha256_of_json
from sae_lens_classif.errors import UserError, nearest
from sae_lens_classif.evals.base import Exact
from sae_lens_classif.evals.significance import resamplings_needed
from sae_lens_classif.features.baselines import commonest
from sae_lens_classif.features.classifiers import ClassifierSettings, Labels, can_be_fitted
from sae_lens_classif.features.domains import (
    Domain,
    DomainFits,
    Sample,
    draw,
    read_as,
    together,
    whole,
)
from sae_lens_classif.features.fits import FitsFolder
from sae_lens_classif.features.paired import Interval, Resampled, corrected, macro_f1_of, mean_of
from sae_lens_classif.features.scores import Difference, f1_and_accuracy
from sae_lens_classif.features.study import Approach

logger = logging.getLogger(__name__)
ALL, ALL_BUT = "all together", "all but this one"
FEATURES = "features"  # the approach that the others are held against
Cells: TypeAlias = "dict[str, dict[str, Any]]"  # by source and target


@dataclass(frozen=True)
class TransferSettings:
    """What is tried.

    Attributes:
        classifier: What is fitted.
        shots: Numbers of the target's training texts that are added to the source's, and used alone.
        n_draws: How often so many are drawn.
        few_shot_from: Sources that they are added to. Default: all but the target.
        n_bootstrap: Resamplings of the test texts behind each interval.
    """

    classifier: ClassifierSettings = field(default_factory=ClassifierSettings)
    shots: tuple[int, ...] = (8, 32, 128)
    n_draws: int = 5
    few_shot_from: tuple[str, ...] = (ALL_BUT,)
    n_bootstrap: int = 1000


class Cell(Exact):
    """What was trained on one source reaches on one target.

    Attributes:
        macro_f1: Over the classes that the target's test texts have.
        accuracy: Share of the texts whose class is right.
        picked: Settings, picked by cross-validation on the source's training texts.
        differences: Of the features' macro F1 from each other approach's on the same texts, corrected for all of them.
    """

    macro_f1: Interval
    accuracy: float
    picked: dict[str, Any]
    differences: dict[str, Difference]


class Matrix(Exact):
    """One approach, trained on each source and tested on each target.

    Attributes:
        approach: Its name.
        cells: By source and target; none where a source could not be trained on.
        own: Mean macro F1 where a target's own training texts were trained on.
        other: Mean where another's were.
        all_but: Mean where all but the target's were.
        kept: ``other`` as a share of ``own``.
    """

    approach: str
    cells: dict[str, dict[str, Cell]]
    own: Interval | None
    other: Interval | None
    all_but: Interval | None
    kept: Interval | None


class Shots(Exact):
    """A few training texts of a target, with a source's or alone.

    Attributes:
        approach: ``features``, ``hidden`` or ``words``.
        source: What they are added to; None: alone.
        target: Whose texts.
        n: How many.
        macro_f1: On the target's test texts, of each draw.
    """

    approach: str
    source: str | None
    target: str
    n: int
    macro_f1: list[float]


class TransferStudy(Exact):
    """What holds on other languages or data sets.

    Attributes:
        what: ``languages`` or ``data``.
        sources: What was trained on, single ones.
        targets: What was tested on.
        n_texts: Training and test texts of each.
        matrices: By approach: ``features``, ``hidden``, ``words``.
        floor: Macro F1 of the commonest class of a source's training texts, by source and target.
        differences: Mean macro F1 of the features on other targets than their source, less each other approach's.
        loss: The same less what they reach on their own.
        few_shot: What a few texts of the target add.
        n_duplicates: Test texts of a target that are training texts of a source, too; where there are any.
    """

    what: str
    sources: list[str]
    targets: list[str]
    n_texts: dict[str, tuple[int, int]]
    matrices: dict[str, Matrix]
    floor: dict[str, dict[str, float]]
    differences: dict[str, Difference]
    loss: Difference | None
    few_shot: list[Shots]
    n_duplicates: dict[str, dict[str, int]]


@dataclass(frozen=True)
class _Made:
    """What was fitted: classes of a target's test texts by approach, source and target, and the settings picked."""

    predicted: Mapping[str, Cells]
    picked: Mapping[str, Cells]


def transfer_study(
    what: str,
    domains: Sequence[Domain],
    approaches: Mapping[str, Approach],
    folder: str | Path,
    settings: TransferSettings | None = None,
) -> TransferStudy:
    """Train on each domain, on all, and on all but one; test on each.

    Args:
        what: ``languages`` or ``data``.
        domains: Two at least, with the same classes.
        approaches: By name, ``features`` among them.
        folder: Keeps each fit: who was killed goes on.
        settings: What is tried.

    Raises:
        UserError: If there are not two domains, one to be trained on, another to be tested on.
    """
    settings = settings or TransferSettings()
    samples, targets = _samples(domains), [domain for domain in domains if domain.can_be_tested_on]
    names = {domain.name for domain in targets}
    if not any(source != name for source in samples for name in names if source not in (ALL, ALL_BUT)):
        known = ", ".join(domain.name for domain in domains)
        raise UserError(f"there is one of the {what} alone to train on and to test on ({known}); two are needed")
    _check_sources(settings, samples)
    _check_alike(domains, approaches.values())
    fits = DomainFits(FitsFolder(folder), settings.classifier)
    made = _fit_all(fits, approaches, samples, targets)
    others = [name for name in approaches if name != FEATURES]
    n_questions = len(samples) * len(targets) * len(others)
    n_bootstrap = max(settings.n_bootstrap, resamplings_needed(n_questions))  # with fewer nothing could differ
    scores = _Scores(made, targets, n_bootstrap, settings.classifier.seed)
    of_cells = _differences_of_cells(scores, others)
    differences, loss = _differences_of_means(scores, others)
    pairs = [(name, target) for name in approaches for target in targets]
    few_shot = [
        shots
        for name, target in tqdm(pairs, desc="Adding a few texts", unit=" targets")
        for shots in _few_shot(fits, name, approaches[name], samples, target, made, settings)
    ]
    n_duplicates = _duplicates(samples, targets)
    for source, counts in n_duplicates.items():
        if source not in (ALL, ALL_BUT):
            told = ", ".join(f"{count} of {target}" for target, count in counts.items())
            logger.warning("test texts are training texts of %s, too: %s; there it is no proof", source, told)
    return TransferStudy(
        what=what,
        sources=[name for name in samples if name not in (ALL, ALL_BUT)],
        targets=[target.name for target in targets],
        n_texts={domain.name: (len(domain.data[0]), len(domain.data[1])) for domain in domains},
        matrices={name: _matrix(name, one, made, scores, of_cells) for name, one in approaches.items()},
        floor=_floor(samples, targets),
        differences=differences,
        loss=loss,
        few_shot=few_shot,
        n_duplicates=n_duplicates,
    )


def _samples(domains: Sequence[Domain]) -> dict[str, dict[str, Sample]]:
    """Training texts by the name of a source, and of the target that they are for."""
    usable = [domain for domain in domains if domain.can_be_trained_on]
    for domain in domains:
        if domain not in usable:
            logger.warning("%s has too few training texts to be trained on: two of each of two classes", domain.name)
    targets = [domain.name for domain in domains if domain.can_be_tested_on]
    found: dict[str, dict[str, Sample]] = {one.name: dict.fromkeys(targets, whole(one)) for one in usable}
    if len(usable) > 1:
        found[ALL] = dict.fromkeys(targets, whole(*usable))
    but = {name: [domain for domain in usable if domain.name != name] for name in targets}
    found[ALL_BUT] = {name: whole(*others) for name, others in but.items() if others}
    return found


def _check_sources(settings: TransferSettings, samples: Mapping[str, Any]) -> None:
    for name in settings.few_shot_from:
        if name not in samples:
            raise UserError(f"features.few_shot_from holds {name!r}; {nearest(name, list(samples))}")


def _check_alike(domains: Sequence[Domain], approaches: Iterable[Approach]) -> None:
    """Refuse features of other models or SAEs than those that they are held against."""
    for approach in approaches:
        stores = [store for domain in domains for store in domain.stores]
        prints = {sha256_of_json(read_as(approach, store)): store for store in stores}
        if len(prints) > 1:
            one, other, *_ = (store.folder for store in prints.values())
            raise UserError(f"{one} and {other} hold features of other models or SAEs; make both alike")


def _fit_all(
    fits: DomainFits,
    approaches: Mapping[str, Approach],
    samples: Mapping[str, Mapping[str, Sample]],
    targets: Sequence[Domain],
) -> _Made:
    predicted: dict[str, Cells] = {name: {source: {} for source in samples} for name in approaches}
    picked: dict[str, Cells] = {name: {source: {} for source in samples} for name in approaches}
    jobs = [(name, source) for name in approaches for source in samples]
    for name, source in tqdm(jobs, desc="Training on each", unit=" fits"):
        # What is trained on for all targets alike is fitted once.
        groups = [[one] for one in targets] if source == ALL_BUT else [targets]
        for group in groups:
            sample = samples[source].get(group[0].name)
            if sample is None:
                continue
            fit, found = fits.fit(approaches[name], sample, group)
            predicted[name][source] |= found
            picked[name][source] |= {one.name: fit.picked for one in group}
    return _Made(predicted, picked)


def _floor(samples: Mapping[str, Mapping[str, Sample]], targets: Sequence[Domain]) -> dict[str, dict[str, float]]:
    """Macro F1 of saying the commonest class of a source always."""
    found: dict[str, dict[str, float]] = {}
    for source, of_target in samples.items():
        for target in targets:
            if target.name in of_target:
                said = commonest(together(of_target[target.name]).labels, len(target.data[1]))
                found.setdefault(source, {})[target.name] = _f1(said, target)
    return found


def _f1(predicted: Labels, target: Domain) -> float:
    gold = target.data[1]
    weights = torch.ones(1, len(gold))
    return float(f1_and_accuracy(predicted, gold.labels, len(gold.class_names))(weights)[0, 0])


def _duplicates(samples: Mapping[str, Mapping[str, Sample]], targets: Sequence[Domain]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for source, of_target in samples.items():
        for target in targets:
            known = set(together(of_target[target.name]).texts) if target.name in of_target else set()
            count = sum(text in known for text in target.data[1].texts)
            if count:
                found.setdefault(source, {})[target.name] = count
    return found


class _Scores:
    """Macro F1 of every cell; all that share a target are on the same resampled texts."""

    def __init__(self, made: _Made, targets: Sequence[Domain], n_bootstrap: int, seed: int) -> None:
        found: dict[tuple[str, str, str], tuple[Resampled, float]] = {}
        for place, target in enumerate(targets):
            predicted = {
                (name, source, target.name): of_target[target.name]
                for name, cells in made.predicted.items()
                for source, of_target in cells.items()
                if target.name in of_target
            }
            gold = target.data[1]
            found |= macro_f1_of(predicted, gold.labels, len(gold.class_names), n_bootstrap, seed + place)
        self.macro_f1 = {key: macro_f1 for key, (macro_f1, _) in found.items()}
        self.accuracy = {key: accuracy for key, (_, accuracy) in found.items()}

    def own(self, name: str) -> Resampled | None:
        """Mean of an approach where a target's own training texts were trained on."""
        return self._mean(name, lambda source, target: source == target)

    def other(self, name: str) -> Resampled | None:
        """Mean where another single source's were."""
        return self._mean(name, lambda source, target: source not in (target, ALL, ALL_BUT))

    def all_but(self, name: str) -> Resampled | None:
        """Mean where all but the target's were."""
        return self._mean(name, lambda source, _: source == ALL_BUT)

    def _mean(self, name: str, belongs: Callable[[str, str], bool]) -> Resampled | None:
        return mean_of([one for (of, *cell), one in self.macro_f1.items() if of == name and belongs(*cell)])


def _matrix(
    name: str, approach: Approach, made: _Made, scores: _Scores, differences: Mapping[Any, Difference]
) -> Matrix:
    cells: dict[str, dict[str, Cell]] = {}
    for key, macro_f1 in scores.macro_f1.items():
        of, source, target = key
        if of == name:
            cells.setdefault(source, {})[target] = Cell(
                macro_f1=macro_f1.interval(),
                accuracy=scores.accuracy[key],
                picked=made.picked[name][source][target],
                differences={other: one for (other, *cell), one in differences.items() if cell == [source, target]}
                if name == FEATURES
                else {},
            )
    own, other, all_but = scores.own(name), scores.other(name), scores.all_but(name)
    kept = other.share_of(own) if other is not None and own is not None else None
    return Matrix(
        approach=approach.name,
        cells={source: cells[source] for source in made.predicted[name] if source in cells},
        own=_interval(own), other=_interval(other), all_but=_interval(all_but), kept=_interval(kept),
    )  # fmt: skip


def _interval(number: Resampled | None) -> Interval | None:
    return None if number is None else number.interval()


def _differences_of_cells(scores: _Scores, others: Sequence[str]) -> dict[tuple[str, str, str], Difference]:
    """The features' macro F1 less each other approach's in the same cell."""
    return corrected(
        {
            (other, source, target): macro_f1 - scores.macro_f1[other, source, target]
            for (name, source, target), macro_f1 in scores.macro_f1.items()
            for other in others
            if name == FEATURES
        }
    )


def _differences_of_means(scores: _Scores, others: Sequence[str]) -> tuple[dict[str, Difference], Difference | None]:
    """Where another was trained on: the features less each other approach, and less what they reach on their own."""
    features, own = scores.other(FEATURES), scores.own(FEATURES)
    asked = {name: mean for name in others if (mean := scores.other(name)) is not None}
    asked |= {} if own is None else {FEATURES: own}
    found = corrected({} if features is None else {name: features - mean for name, mean in asked.items()})
    loss = found.pop(FEATURES, None)
    return found, loss


def _few_shot(
    fits: DomainFits,
    name: str,
    approach: Approach,
    samples: Mapping[str, Mapping[str, Sample]],
    target: Domain,
    made: _Made,
    settings: TransferSettings,
) -> Iterator[Shots]:
    """What some training texts of a target add to each source, and do alone; none at all first."""
    own = target.data[0].labels
    sources = [one for one in settings.few_shot_from if one != target.name and target.name in samples[one]]
    for source in sources:
        macro_f1 = _f1(made.predicted[name][source][target.name], target)
        yield Shots(approach=name, source=source, target=target.name, n=0, macro_f1=[macro_f1])
    for n in settings.shots:
        draws = [draw(own, n, (settings.classifier.seed, number)) for number in range(settings.n_draws)]
        if len(own) < n:
            continue
        for source in sources:
            # Nothing is picked anew: a few texts say nothing of settings.
            picked, sample = made.picked[name][source][target.name], samples[source][target.name]
            found = [_tested(fits, approach, [*sample, (target, rows)], target, picked) for rows in draws]
            yield Shots(approach=name, source=source, target=target.name, n=n, macro_f1=found)
        if all(can_be_fitted(own[rows]) for rows in draws):
            found = [_tested(fits, approach, [(target, rows)], target) for rows in draws]
            yield Shots(approach=name, source=None, target=target.name, n=n, macro_f1=found)


def _tested(
    fits: DomainFits, approach: Approach, sample: Sample, target: Domain, picked: Mapping[str, Any] | None = None
) -> float:
    return _f1(fits.fit(approach, sample, [target], picked)[1][target.name], target)
