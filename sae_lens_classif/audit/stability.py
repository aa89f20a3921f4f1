"""``stability``: do the concepts of a run come back when it is trained again with other seeds?"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from sae_lens_classif.audit.stable_concepts import Meeting, Pair, Stability, StableConcept, stability_file
from sae_lens_classif.checksums import write_json
from sae_lens_classif.errors import UserError
from sae_lens_classif.evals.base import activations_of
from sae_lens_classif.evals.coming_back import comes_back
from sae_lens_classif.evals.matching import By, ConceptSet, Matching, match
from sae_lens_classif.methods.base import ConceptMethod
from sae_lens_classif.methods.find import find_method
from sae_lens_classif.runs.compare import fit_task
from sae_lens_classif.runs.fitted_methods import MethodError, fit_or_load, is_fitted
from sae_lens_classif.runs.folder import METHOD, RunFolder, opened_to_write
from sae_lens_classif.runs.pace import Pace
from sae_lens_classif.runs.results import influence_of, read_summary
from sae_lens_classif.runs.run_method import RunMethod, current_entry, load_fitted
from sae_lens_classif.runs.steps import TestSplit
from sae_lens_classif.store.store import ActivationStore

logger = logging.getLogger(__name__)
_MOST_SEEDS = 1000


def stability(
    run: str | Path | RunFolder,
    seeds: int = 5,
    method: str = METHOD,
    *,
    overwrite: bool = False,
    allow_code: str | Iterable[str] = (),
) -> Stability:
    """Train the concepts of a run again with other seeds, and find out which of them come back.

    The trainings are on the run's own hidden states; they are kept in ``RUN/methods`` and reused, as those are that
    ``compare`` fitted. Makes ``RUN/stability.json``, for another method ``RUN/stability.<method>.json``.

    Args:
        run: The run folder, trained and evaluated.
        seeds: How many trainings in all; the run's own is the first of them, the others have the seeds that follow.
        method: Whose concepts: the run's ClassifSAE, or a method that ``compare`` fitted, with the first of its seeds.
        overwrite: Whether trainings of other settings or texts are made anew; a ``RunFolder`` says so itself.
        allow_code: A name of code that the run's settings may name, ``module:attribute``, or several; a ``RunFolder``
            says so itself.

    Raises:
        UserError: If the run is not trained and evaluated as it stands now, fewer than two trainings are asked for, or
            one of them fails.
    """
    if seeds < 2:
        raise UserError(f"seeds is {seeds}; at least 2 trainings are needed, the run's own and another")
    if seeds > _MOST_SEEDS:
        raise UserError(f"seeds is {seeds}; at most {_MOST_SEEDS:,} trainings can be compared with each other")
    with opened_to_write(run, "stability", overwrite, allow_code) as files:
        result = _stability(files, seeds, method)
        write_json(stability_file(files, result.method), result.model_dump(mode="json"))
    return result


def _stability(run: RunFolder, seeds: int, method: str) -> Stability:
    of, split = load_fitted(run, method), TestSplit(run)
    entry = current_entry(run, of, split.store, read_summary(run))
    if not entry["concepts"]:
        raise UserError(f"no concept of {of.title} is active on any test text of {run.folder}: none can come back")
    others = _train_others(run, method, [of.seed + more for more in range(1, seeds)], split)
    return _compare(of, others, split.store, entry, run.cfg.evaluate.seed)


def _train_others(run: RunFolder, method: str, seeds: Sequence[int], split: TestSplit) -> dict[int, ConceptMethod]:
    """The method fitted with other seeds; all are asked about first, so that one of other settings costs no work."""
    spec, store = find_method(method), ActivationStore(run.activations("train"))
    tasks = [fit_task(run, spec, store, split.classifier, seed) for seed in seeds]
    missing = [not is_fitted(run, spec, task) for task in tasks]
    found, pace = {}, Pace(sum(missing), "trainings", missing.count(False))
    for task, is_missing in zip(tasks, missing, strict=True):
        logger.info("%s, seed %d", spec.title, task.seed)
        try:
            with pace.piece(is_missing):
                found[task.seed] = fit_or_load(run, spec, task).method
        except MethodError as error:
            raise UserError(f"{spec.title} cannot be fitted with seed {task.seed}: {error}") from error
    return found


def _compare(
    of: RunMethod, others: Mapping[int, ConceptMethod], store: ActivationStore, entry: Mapping[str, Any], seed: int
) -> Stability:
    """Hold the run's own training against each of the others."""
    hidden = store.read("hidden").float()
    sets = {of.seed: _concepts(of.method, hidden, of.seed)}
    sets |= {number: _concepts(method, hidden, number) for number, method in others.items()}
    own, *rest = sets.values()
    ways: tuple[By, ...] = ("texts",) if own.directions is None else ("both", "direction", "texts")
    influence = influence_of(entry, own.member.shape[1])
    matchings, by_texts = ({number: match(own, sets[number], by) for number in others} for by in (ways[0], "texts"))
    return Stability(
        method=of.name,
        seed=of.seed,
        other_seeds=list(others),
        n_test_texts=len(store),
        matched_by=ways[0],
        shares={by: comes_back(own, rest, by, influence, seed) for by in ways},
        concepts=[_stable(concept, matchings, by_texts) for concept in entry["concepts"]],
        pairs=[_pair(sets, pair, ways[0]) for pair in combinations(sets, 2)],
        settings_sha256=entry["settings_sha256"],
    )


def _concepts(method: ConceptMethod, hidden: torch.Tensor, seed: int) -> ConceptSet:
    activations, directions = activations_of(method, hidden), method.directions()
    if not all(values.isfinite().all() for values in (activations, directions) if values is not None):
        raise UserError(
            f"the training with seed {seed} gave numbers that are not finite (NaN or infinity): its concepts cannot be "
            "compared; train with a lower learning rate"
        )
    return ConceptSet.of(activations, directions)


def _stable(
    concept: Mapping[str, Any], matchings: Mapping[int, Matching], by_texts: Mapping[int, Matching]
) -> StableConcept:
    index = concept["index"]
    meetings = [_meeting(index, seed, matching) for seed, matching in matchings.items()]
    return StableConcept.of(
        concept,
        comes_back=fmean(meeting.comes_back for meeting in meetings),
        same_texts=fmean(bool(matching.comes_back[index]) for matching in by_texts.values()),
        meetings=meetings,
    )


def _meeting(index: int, seed: int, matching: Matching) -> Meeting:
    is_matched = bool(matching.comes_back[index])
    other = int((matching.partner if is_matched else matching.nearest)[index])
    return Meeting(
        seed=seed,
        concept=other,
        cosine=None if matching.cosine is None else float(matching.cosine[index, other]),
        jaccard=float(matching.jaccard[index, other]),
        comes_back=is_matched,
    )


def _pair(sets: Mapping[int, ConceptSet], seeds: tuple[int, int], by: By) -> Pair:
    one, other = (sets[seed] for seed in seeds)
    return Pair(
        seeds=seeds,
        n_concepts=(int(one.is_alive.sum()), int(other.is_alive.sum())),
        n_shared=int(match(one, other, by).comes_back.sum()),
    )
