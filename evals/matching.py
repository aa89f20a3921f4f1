"""Which concepts of one training are found again in another: a one-to-one assignment."""

from dataclasses import dataclass
from typing import Literal, Self

import torch
from scipy.optimize import linear_sum_assignment

from sae_lens_classif.evals.interpretability import activating_sets
from sae_lens_classif.evals.overlap import SAME_DIRECTION, SAME_TEXTS, cosines, jaccard

By = Literal["both", "direction", "texts"]


@dataclass(frozen=True)
class ConceptSet:
    """The concepts of one training, as far as matching needs them.

    Attributes:
        member: bool (N, n), the activating texts of each.
        directions: float (n, d), their directions; None where there are none, or none that can be compared.
    """

    member: torch.Tensor
    directions: torch.Tensor | None

    @classmethod
    def of(cls, activations: torch.Tensor, directions: torch.Tensor | None) -> Self:
        """The concepts of a method on some texts.

        The sign of a component of ICA is arbitrary: a concept whose activations have both signs is turned to the side
        of its strongest texts (positive third moment), its direction too.

        Args:
            activations: float (N, n).
            directions: float (n, d), or None.
        """
        side = torch.where(activations.double().pow(3).sum(dim=0) < 0, -1.0, 1.0)
        return cls(activating_sets(activations * side), None if directions is None else directions * side[:, None])

    @property
    def is_alive(self) -> torch.Tensor:
        """Which concepts have an activating text, bool (n,)."""
        return self.member.any(dim=0)


@dataclass(frozen=True)
class Matching:
    """The n concepts of one training held against the m of another.

    Attributes:
        partner: int64 (n,), the concept of the other training that each is matched with; -1 where it does not come
            back.
        nearest: int64 (n,), the concept of the other training that is most like each, whether it is matched or not.
        jaccard: float64 (n, m), overlap of activating texts.
        cosine: float64 (n, m), of directions; None where these cannot be compared.
    """

    partner: torch.Tensor
    nearest: torch.Tensor
    jaccard: torch.Tensor
    cosine: torch.Tensor | None

    @property
    def comes_back(self) -> torch.Tensor:
        """Which concepts come back, bool (n,)."""
        return self.partner >= 0


def match(own: ConceptSet, other: ConceptSet, by: By = "both") -> Matching:
    """Match two sets of concepts one to one.

    Only concepts that are alike are matched: cosine of their directions at least 0.7, and Jaccard of their activating
    texts at least 0.5. Of all ways to pair those, the one with the largest sum of cosines and Jaccards is taken
    (Hungarian method): one assignment by both numbers, so that the match that points the same way is the one that
    fires on the same texts, and no pair that is alike gives way to one that is not.

    Args:
        own: The concepts that are looked for.
        other: Those among which they are looked for, on the same texts.
        by: What must be alike, and is summed: ``both``, or one of the two.

    Raises:
        ValueError: If they are of other texts, or are to be matched by directions that do not compare.
    """
    if len(own.member) != len(other.member):
        raise ValueError(
            f"one set of concepts is of {len(own.member)} texts, {len(other.member)} are those of the other"
        )
    overlap, cosine = jaccard(own.member, other.member), _cosines(own, other)
    if cosine is None and by != "texts":
        raise ValueError(f"there are no directions to match by (by={by!r}); use by='texts'")
    is_alike = own.is_alive[:, None] & other.is_alive
    score = torch.zeros_like(overlap)
    if by != "direction":
        is_alike, score = is_alike & (overlap >= SAME_TEXTS), score + overlap
    if by != "texts" and cosine is not None:
        is_alike, score = is_alike & (cosine >= SAME_DIRECTION), score + cosine
    rows, columns = map(torch.from_numpy, linear_sum_assignment(torch.where(is_alike, score, 0.0), maximize=True))
    partner = torch.full((len(score),), -1)
    partner[rows] = torch.where(is_alike[rows, columns], columns, -1)
    return Matching(partner, score.argmax(dim=1), overlap, cosine)


def _cosines(own: ConceptSet, other: ConceptSet) -> torch.Tensor | None:
    if own.directions is None or other.directions is None:
        return None
    widths = own.directions.shape[1], other.directions.shape[1]
    if widths[0] != widths[1]:
        raise ValueError(f"one set of directions has {widths[0]} numbers, the other {widths[1]}")
    return cosines(own.directions, other.directions)
