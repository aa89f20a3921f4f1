"""``stability``: do the concepts of a run come back when it is trained again with other seeds?"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from pydantic import Field, ValidationError
from tqdm.auto import tqdm

from sae_lens_classif.audit.coming_back import ComesBack, comes_back
from sae_lens_classif.errors import UserError
from sae_lens_classif.evals.base import Exact, activations_of
from sae_lens_classif.evals.matching import By, ConceptSet, Matching, match
from sae_lens_classif.evals.measures import Cosine, Count, Share
from sae_lens_classif.files import folder_is_writable, read_json, write_json
from sae_lens_classif.methods.base import ConceptMethod
from sae_lens_classif.methods.find import find_method
from sae_lens_classif.runs.compare import fit_task
from sae_lens_classif.runs.fitted_methods import MethodError, fit_or_load, is_fitted
from sae_lens_classif.runs.folder import METHOD, RunFolder
from sae_lens_classif.runs.results import read_summary
from sae_lens_classif.runs.run_method import RunMethod, load_fitted
from sae_lens_classif.runs.steps import TestSplit, current_entry
from sae_lens_classif.store.store import ActivationStore
from sae_lens_classif.wording import bare_number

logger = logging.getLogger(__name__)


class Meeting(Exact):
    """What became of a concept in another training.

    Attributes:
        seed: Seed of the other training.
        concept: The concept there that it is matched with; where it does not come back, the one that is most like it.
        cosine: Of the directions of the two; None for a method that has none.
        jaccard: Overlap of their activating texts.
        comes_back: Whether they are matched.
    """

    seed: Count
    concept: Count
    cosine: Cosine | None
    jaccard: Share
    comes_back: bool


class StableConcept(Exact):
    """A concept of the run's own training, in the others.

    Attributes:
        index: Its number.
        class_name: Class whose probability it raises most, as in ``summary.json``.
        active_class_name: Class on whose texts it is most active.
        key_words: Words that set its texts apart.
        activation_rate: Share of the texts on which it fires.
        influence: Mean shift of the class probabilities over all texts when it is removed.
        comes_back: Share of the other trainings in which it comes back.
        same_texts: The same where texts alone must be alike.
        meetings: One an other training.
    """

    index: Count
    class_name: str
    active_class_name: str
    key_words: list[str]
    activation_rate: Share
    influence: Share | None
    comes_back: Share
    same_texts: Share
    meetings: list[Meeting]

    @property
    def times(self) -> str:
        """In how many of the other trainings it comes back."""
        return f"{round(self.comes_back * len(self.meetings))} of {len(self.meetings)}"

    @property
    def times_on_texts(self) -> str:
        """In how many it comes back by texts alone."""
        return f"{round(self.same_texts * len(self.meetings))} of {len(self.meetings)}"


class Pair(Exact):
    """Two trainings held against each other.

    Attributes:
        seeds: Their seeds.
        n_concepts: How many concepts of each have an activating text.
        n_shared: How many are matched.
    """

    seeds: tuple[Count, Count]
    n_concepts: tuple[Count, Count]
    n_shared: Count


class Stability(Exact):
    """``stability.json``: the concepts of a run in trainings with other seeds.

    Attributes:
        method: Name of the method.
        seed: Seed of the run's own training.
        other_seeds: Seeds of the others.
        n_test_texts: Number of the texts on which concepts are compared.
        matched_by: What must be alike where a concept comes back: ``both`` (direction and texts), or ``texts`` for a
            method that has no directions.
        shares: How much comes back, by ``matched_by`` and by direction or texts alone.
        concepts: The concepts that are active on some text, the most influential first.
        pairs: All pairs of trainings.
        settings_sha256: Of everything that the concepts' own numbers depend on, as in ``summary.json``.
    """

    method: str
    seed: Count
    other_seeds: list[Count]
    n_test_texts: Count
    matched_by: By
    shares: dict[By, ComesBack]
    concepts: list[StableConcept]
    pairs: list[Pair]
    settings_sha256: str = Field(description="Of everything that the concepts' own numbers depend on.")

    @property
    def main(self) -> ComesBack:
        """How much comes back, by all that must be alike."""
        return self.shares[self.matched_by]

    @property
    def by_index(self) -> Mapping[int, StableConcept]:
        """Concepts by their numbers."""
        return {concept.index: concept for concept in self.concepts}


def stability(
    run: str | Path | RunFolder, seeds: int = 5, method: str = METHOD, *, overwrite: bool = False
) -> Stability:
    """Train the concepts of a run again with other seeds, and find out which of them come back.

    The trainings are on the run's own hidden states; they are kept in ``RUN/methods`` and reused, as those are that
    ``compare`` fitted. Makes ``RUN/stability.json``, for another method ``RUN/stability.<method>.json``.

    Args:
        run: The run folder, trained and evaluated.
        seeds: How many trainings in all; the run's own is the first of them, the others have the seeds that follow.
        method: Whose concepts: the run's ClassifSAE, or a method that ``compare`` fitted, with the first of its seeds.
        overwrite: Whether trainings of other settings or texts are made anew; a ``RunFolder`` says so itself.

    Raises:
        UserError: If the run is not trained and evaluated as it stands now, fewer than two trainings are asked for, or
            one of them fails.
    """
    if seeds < 2:
        raise UserError(f"seeds is {seeds}; at least 2 trainings are needed, the run's own and another")
    files = run if isinstance(run, RunFolder) else RunFolder.open(run, overwrite)
    folder_is_writable(files.folder)
    of, split = load_fitted(files, method), TestSplit(files)
    entry = current_entry(files, of, split.store, read_summary(files))
    if not entry["concepts"]:
        raise UserError(f"no concept of {of.title} is active on any test text of {files.folder}: none can come back")
    others = _train_others(files, method, [of.seed + more for more in range(1, seeds)], split)
    result = _compare(of, others, split.store, entry, files.cfg.evaluate.seed)
    write_json(stability_file(files, of.name), result.model_dump(mode="json"))
    return result


def stability_file(run: RunFolder, method: str) -> Path:
    """Where the stability of a method's concepts is kept."""
    return run.folder / ("stability.json" if method == METHOD else f"stability.{method}.json")


def read_stability(run: RunFolder, method: str, settings: str) -> Stability | None:
    """Read the stability of a method's concepts.

    Args:
        run: The run folder.
        method: Name of the method.
        settings: SHA-256 of everything that its concepts' numbers depend on.

    Returns:
        None where it was not looked for, or of concepts of before.

    Raises:
        UserError: If the file is no JSON.
    """
    file = stability_file(run, method)
    if not file.is_file():
        return None
    try:
        found = Stability.model_validate(read_json(file))
    except ValidationError:
        logger.warning("%s is not what this version writes, and is left out: run `stability` again", file)
        return None
    if found.settings_sha256 != settings:
        logger.warning("%s is of concepts of before, and is left out: run `stability` again", file)
        return None
    return found


def _train_others(run: RunFolder, method: str, seeds: Sequence[int], split: TestSplit) -> dict[int, ConceptMethod]:
    """The method fitted with other seeds; all are asked about first, so that one of other settings costs no work."""
    spec, store = find_method(method), ActivationStore(run.activations("train"))
    tasks = [fit_task(run, spec, store, split.classifier, seed) for seed in seeds]
    for task in tasks:
        is_fitted(run, spec, task)
    found = {}
    for task in tqdm(tasks, desc="Other trainings", unit=" trainings"):
        try:
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
    influence = torch.zeros(own.member.shape[1])
    for concept in entry["concepts"]:
        influence[concept["index"]] = concept["influence"] or 0.0
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
    shown = ("index", "class_name", "active_class_name", "key_words", "activation_rate", "influence")
    return StableConcept(
        **{name: concept[name] for name in shown},
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


_WAYS: Mapping[By, str] = {
    "both": "by direction and texts",
    "direction": "by direction alone",
    "texts": "by texts alone",
}
_SHARES = {
    "mean": "a concept, mean over the other trainings",
    "mean_by_influence": "  weighted by influence",
    "every": "in every other training",
    "every_by_influence": "  weighted by influence",
}


def share_rows(stability: Stability) -> Iterator[tuple[str, str, str, str]]:
    """How much comes back, in percent: what, then measured, floor and ceiling; by less than both only by influence.

    Args:
        stability: What was found.
    """
    for name, said in _SHARES.items():
        yield said, *_percent(stability.main, name)
    for by in stability.shares:
        if by != stability.matched_by:
            yield f"{_WAYS[by]}, by influence", *_percent(stability.shares[by], "mean_by_influence")


def _percent(of: ComesBack, name: str) -> tuple[str, str, str]:
    measured, floor, ceiling = (
        bare_number(getattr(shares, name), True) for shares in (of.measured, of.floor, of.ceiling)
    )
    return measured, floor, ceiling


def when_it_comes_back(stability: Stability) -> str:
    """When a concept comes back, in a sentence.

    Args:
        stability: What was found.
    """
    alike = {
        "both": "points the same way (cosine at least 0.7) and fires on the same texts (Jaccard at least 0.5)",
        "direction": "points the same way (cosine at least 0.7)",
        "texts": "fires on the same texts (Jaccard at least 0.5)",
    }[stability.matched_by]
    return f"A concept comes back where another training has one that {alike}, matched one to one."


def how_to_read(stability: Stability) -> str:
    """The same, and what floor and ceiling are.

    Args:
        stability: What was found.
    """
    return (
        f"{when_it_comes_back(stability)} Floor: the same with the other trainings' texts permuted and their "
        "directions random. Ceiling: were each of their concepts that fires on any text one of these."
    )
