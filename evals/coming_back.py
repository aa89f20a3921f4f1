"""How much of one training's concepts comes back in others, beside what chance gives and what is possible."""

from collections.abc import Sequence
from statistics import fmean

import torch
from pydantic import Field

from sae_lens_classif.evals.base import Exact
from sae_lens_classif.evals.matching import By, ConceptSet, match
from sae_lens_classif.evals.measures import Share

_DRAWS = 20  # of what chance gives


class Shares(Exact):
    """How much comes back, of the concepts that are active on some text."""

    mean: Share = Field(description="Share of the other trainings in which a concept comes back, mean over concepts.")
    mean_by_influence: Share | None = Field(description="The same, concepts weighted by their influence.")
    every: Share = Field(description="Share of the concepts that come back in every other training.")
    every_by_influence: Share | None = Field(description="Their share of the influence of all.")


class ComesBack(Exact):
    """What was measured, and between what it lies."""

    measured: Shares
    floor: Shares = Field(description="With the texts of the other trainings permuted and their directions random.")
    ceiling: Shares = Field(description="Did as many come back as the other trainings have concepts with any text.")


def comes_back(own: ConceptSet, others: Sequence[ConceptSet], by: By, influence: torch.Tensor, seed: int) -> ComesBack:
    """Match one training with each of the others.

    Args:
        own: Its n concepts.
        others: Those of the other trainings, on the same texts.
        by: What must be alike.
        influence: float (n,), of each concept; all 0 where it was not measured.
        seed: Of what chance gives.
    """
    generator = torch.Generator().manual_seed(seed)
    living = own.is_alive

    def shares(found: Sequence[torch.Tensor]) -> Shares:
        return shares_of(torch.stack(list(found))[:, living], influence[living])

    by_chance = [
        shares([match(own, _at_random(other, generator), by).comes_back for other in others]) for _ in range(_DRAWS)
    ]
    return ComesBack(
        measured=shares([match(own, other, by).comes_back for other in others]),
        floor=_mean(by_chance),
        ceiling=shares([_possible(own, other, influence) for other in others]),
    )


def shares_of(found: torch.Tensor, influence: torch.Tensor) -> Shares:
    """Sum up which concepts come back where.

    Args:
        found: bool (t, n), whether each of n concepts comes back in each of t other trainings.
        influence: float (n,), of each concept.
    """
    weights = influence.double()
    total = float(weights.sum())

    def weighted(values: torch.Tensor) -> float | None:
        return float((values * weights).sum()) / total if total > 0 else None

    mean, every = found.double().mean(dim=0), found.all(dim=0).double()
    return Shares(
        mean=float(mean.mean()),
        mean_by_influence=weighted(mean),
        every=float(every.mean()),
        every_by_influence=weighted(every),
    )


def back_in_every_other(sets: Sequence[ConceptSet], influences: Sequence[torch.Tensor]) -> tuple[float | None, ...]:
    """Of each of several trainings the share of the influence whose concepts come back in all others.

    Args:
        sets: Their concepts, on the same texts; two at least.
        influences: For each training, float (n,), of each concept.

    Returns:
        One share a training; None where no concept has any influence.
    """
    shares = []
    for number, (own, influence) in enumerate(zip(sets, influences, strict=True)):
        found = [match(own, other).comes_back for place, other in enumerate(sets) if place != number]
        shares.append(shares_of(torch.stack(found), influence).every_by_influence)
    return tuple(shares)


def _at_random(concepts: ConceptSet, generator: torch.Generator) -> ConceptSet:
    """As many concepts with as large sets of texts, which overlap each other as much, that mean nothing."""
    rows = torch.randperm(len(concepts.member), generator=generator)
    directions = concepts.directions
    if directions is not None:
        directions = torch.randn(directions.shape, generator=generator)
    return ConceptSet(concepts.member[rows], directions)


def _possible(own: ConceptSet, other: ConceptSet, influence: torch.Tensor) -> torch.Tensor:
    """The most influential concepts, as many as the other training could give back; bool (n,)."""
    living = own.is_alive.nonzero()[:, 0]
    first = living[influence[living].argsort(descending=True, stable=True)][: int(other.is_alive.sum())]
    found = torch.zeros_like(own.is_alive)
    found[first] = True
    return found


def _mean(draws: Sequence[Shares]) -> Shares:
    """Of each share the mean."""
    values = {name: [getattr(draw, name) for draw in draws] for name in Shares.model_fields}
    return Shares.model_validate({name: None if None in found else fmean(found) for name, found in values.items()})
