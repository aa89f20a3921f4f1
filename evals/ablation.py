"""What takes an ablated concept's place, and a control: what chance gives at the same activation rates."""

from typing import Literal

import torch
import torch.nn.functional as F

from sae_lens_classif.hooks.interventions import ACTIVE
from sae_lens_classif.methods.random_directions import RandomDirections

_OTHER_THAN_METHODS = 2**31  # torch looks at 32 bits of a seed


def replacements(concepts: torch.Tensor, ablation: Literal["zero", "mean", "resample"], seed: int) -> torch.Tensor:
    """What takes the place of an activation that is ablated.

    Args:
        concepts: float (N, n), activations.
        ablation: ``zero``. ``mean``: of the concept over the texts where it is silent, over all texts where it is
            silent nowhere. ``resample``: its activation on another text, drawn at random.
        seed: Seed of the drawing.

    Returns:
        float (N, n).
    """
    if ablation == "resample":
        return permuted(concepts, seed)
    if ablation == "zero":
        return torch.zeros_like(concepts)
    silent = concepts.abs() <= ACTIVE
    counted = silent | ~silent.any(dim=0)
    return (concepts.where(counted, 0).sum(dim=0) / counted.sum(dim=0)).expand_as(concepts)


def permuted(concepts: torch.Tensor, seed: int) -> torch.Tensor:
    """Give each text, of each concept by itself, the activation on another text.

    Args:
        concepts: float (N, n), activations.
        seed: Seed of the permutations; none leaves an activation where it is, unless there is but one text.

    Returns:
        float (N, n).
    """
    order = torch.rand(concepts.shape, generator=torch.Generator().manual_seed(seed)).argsort(dim=0)
    return torch.empty_like(concepts).scatter_(0, order, concepts.gather(0, order.roll(1, dims=0)))


def at_same_rates(hidden: torch.Tensor, concepts: torch.Tensor, seed: int) -> tuple[torch.Tensor, RandomDirections]:
    """A control: random directions, each active on as many texts as one of the concepts.

    A direction's activation is the projection of the centred hidden state on it, on the texts where that is largest.

    Args:
        hidden: float32 (N, d_in), hidden states.
        concepts: float (N, n), activations.
        seed: Seed of the directions.

    Returns:
        Activations of the directions, float32 (N, n), and what decodes them.
    """
    # With the plain seed they could be those of the method ``random_directions``.
    generator = torch.Generator().manual_seed(seed + _OTHER_THAN_METHODS)
    drawn = torch.randn(concepts.shape[1], hidden.shape[1], generator=generator)
    control = RandomDirections(F.normalize(drawn, dim=1), hidden.mean(dim=0))
    projections = (hidden - control.mean) @ control.vectors.T
    places = projections.argsort(dim=0, descending=True, stable=True).argsort(dim=0, stable=True)
    return projections.where(places < (concepts.abs() > ACTIVE).sum(dim=0), 0), control
