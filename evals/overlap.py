"""How far two concepts are one and the same: on the same texts, or of the same direction."""

from collections.abc import Sequence

import torch

from sae_lens_classif.evals.base import Exact
from sae_lens_classif.evals.measures import Cosine, Count, Share

SAME_TEXTS = 0.5  # Jaccard of activating texts, at least
SAME_DIRECTION = 0.7  # cosine, at least


def jaccard(some: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Overlap of two sets of texts: texts in both over texts in either.

    Args:
        some: bool (N, n), which texts are in each of n sets.
        others: bool (N, m), the same of m sets.

    Returns:
        float64 (n, m), 0..1; 0 for two empty sets.
    """
    ours, theirs = some.double(), others.double()
    shared = ours.T @ theirs
    union = ours.sum(dim=0)[:, None] + theirs.sum(dim=0) - shared
    return shared / union.clamp(min=1)


def cosines(some: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Cosines of directions.

    Args:
        some: float (n, d).
        others: float (m, d).

    Returns:
        float64 (n, m), -1..1; 0 where one has no length, or is not finite.
    """
    ours, theirs = (torch.nn.functional.normalize(directions.double(), dim=1) for directions in (some, others))
    return (ours @ theirs.T).nan_to_num(0)


class Twins(Exact):
    """Two concepts of one training that say the same.

    Attributes:
        concepts: Their numbers, the smaller first.
        jaccard: Overlap of their activating texts.
        cosine: Of their directions; None for a method that has none.
    """

    concepts: tuple[Count, Count]
    jaccard: Share
    cosine: Cosine | None

    @property
    def fires_with(self) -> bool:
        """Whether they fire on the same texts."""
        return self.jaccard >= SAME_TEXTS

    @property
    def points_with(self) -> bool:
        """Whether they point the same way."""
        return self.cosine is not None and self.cosine >= SAME_DIRECTION


def twins(member: torch.Tensor, directions: torch.Tensor | None) -> list[Twins]:
    """Pairs of concepts that fire on the same texts or point the same way; a concept without a text is in none.

    Args:
        member: bool (N, n), the activating texts of each concept.
        directions: float (n, d), or None for a method that has none.
    """
    overlap = jaccard(member, member)
    cosine = None if directions is None else cosines(directions, directions)
    living = member.any(dim=0).nonzero()[:, 0]
    pairs = (
        Twins(concepts=(i, j), jaccard=float(overlap[i, j]), cosine=None if cosine is None else float(cosine[i, j]))
        for i, j in torch.combinations(living).tolist()
    )
    return [pair for pair in pairs if pair.fires_with or pair.points_with]


def share_with_twin(pairs: Sequence[Twins], n_concepts: int) -> float | None:
    """Share of the concepts that have a twin.

    Args:
        pairs: The twins.
        n_concepts: How many concepts have an activating text.

    Returns:
        0..1, or None where there is no such concept.
    """
    found = {concept for pair in pairs for concept in pair.concepts}
    return len(found) / n_concepts if n_concepts else None


def twins_by_concept(pairs: Sequence[Twins]) -> dict[int, tuple[tuple[int, ...], tuple[int, ...]]]:
    """For each concept that has a twin: those that fire on the same texts, and those that point the same way.

    Args:
        pairs: The twins.
    """
    found: dict[int, tuple[list[int], list[int]]] = {}
    for pair in pairs:
        for one, other in (pair.concepts, pair.concepts[::-1]):
            fires, points = found.setdefault(one, ([], []))
            fires += [other] * pair.fires_with
            points += [other] * pair.points_with
    return {one: (tuple(sorted(fires)), tuple(sorted(points))) for one, (fires, points) in found.items()}
