"""What ``stability`` finds out: its file, typed, and its words."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from sae_lens_classif.audit.described import DescribedConcept
from sae_lens_classif.checksums import read_json
from sae_lens_classif.evals.base import Exact
from sae_lens_classif.evals.coming_back import ComesBack
from sae_lens_classif.evals.matching import By
from sae_lens_classif.evals.measures import Cosine, Count, Share
from sae_lens_classif.runs.folder import METHOD, RunFolder
from sae_lens_classif.runs.results import read_summary
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


class StableConcept(DescribedConcept):
    """A concept of the run's own training, in the others.

    Attributes:
        comes_back: Share of the other trainings in which it comes back.
        same_texts: The same where texts alone must be alike.
        meetings: One an other training.
    """

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
    influential = {concept["index"] for concept in read_summary(run)["methods"][method]["concepts"]}
    if not influential <= {concept.index for concept in found.concepts}:
        logger.warning("%s lacks some of the run's concepts, and is left out: run `stability` again", file)
        return None
    return found


_MOST = 0.6  # of the influence
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


def what_matters(stability: Stability) -> tuple[float, float, float, float]:
    """How much comes back, weighted by influence where that is known, each 0..1.

    Args:
        stability: What was found.

    Returns:
        In another training on average; the same by chance; in every training; on average by texts alone.
    """
    measured, floor = stability.main.measured, stability.main.floor
    weighted, chance, every = measured.mean_by_influence, floor.mean_by_influence, measured.every_by_influence
    if weighted is None or chance is None or every is None:
        weighted, chance, every = measured.mean, floor.mean, measured.every
    on_texts = stability.shares["texts"].measured
    by_texts = on_texts.mean if on_texts.mean_by_influence is None else on_texts.mean_by_influence
    return weighted, chance, every, by_texts


def does_it_come_back(stability: Stability) -> tuple[Literal["yes", "partly", "no"], str]:
    """Whether other trainings find the same concepts: in one word, and in a few.

    Args:
        stability: What was found.
    """
    weighted, _, every, by_texts = what_matters(stability)
    if every >= _MOST:
        return "yes", "Yes: most of what matters comes back each time"
    if weighted >= _MOST:
        return "partly", "In part: most of what matters comes back, not each time"
    if by_texts >= _MOST:
        return "partly", "In part: on the same texts, but in other directions"
    return "no", "No: much of what matters comes out otherwise"


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
