"""Where concepts start: at clusters of the texts of each class, found without chance, so that seeds agree on them."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans
from tqdm.auto import tqdm

_POWER_STEPS = 30
_LLOYD_STEPS = 20
_SAME = 1e-6  # of the centre's norm


@dataclass(frozen=True)
class ConceptStart:
    """Directions from which concepts start; there may be fewer than asked for, where the texts are too alike.

    Attributes:
        directions: float32 (m, d), of norm 1: from the centre of all texts to each cluster.
        groups: int64 (m,), the group of each cluster's texts.
        centre: float32 (d,), mean of all texts.
    """

    directions: torch.Tensor
    groups: torch.Tensor
    centre: torch.Tensor


def cluster_start(states: torch.Tensor, groups: torch.Tensor, n_concepts: int) -> ConceptStart:
    """Directions of clusters, each of texts of one group, as they are seen from the centre of all texts.

    A group is the texts of a predicted class. Each is split in two along its principal direction, and the part with the
    largest squared distances from its own centre again, until it has its share of the concepts; k-means goes on from
    there (principal direction divisive partitioning, Boley 1998). A group's share grows with the square root of its
    texts, so that a rare one is not forgotten; each has one concept at least. Where there are fewer concepts than
    groups, all texts are taken together.

    Args:
        states: float32 (N, d), as the SAE sees them.
        groups: int64 (N,), the model's classes (see ``DecisionRule.groups``), 0 and more.
        n_concepts: How many directions are wanted, n.
    """
    group = groups if n_concepts >= len(groups.unique()) else torch.zeros_like(groups)
    centre = states.mean(dim=0)
    away = states - centre
    apart = away.norm(dim=1) > _SAME * centre.norm()  # where all texts are the same there is no direction
    away, group, groups = F.normalize(away[apart], dim=1), group[apart], groups[apart]
    directions, of_clusters = [states.new_zeros(0, states.shape[1])], [groups.new_zeros(0)]
    given = enumerate(shares(group.bincount(minlength=1), n_concepts))
    for number, share in tqdm(list(given), desc="Clustering texts", unit=" classes", delay=1):
        own = (group == number).nonzero()[:, 0]
        labels = _split(away[own], share)
        for label in labels.unique():
            members = own[labels == label]
            directions.append(F.normalize(away[members].mean(dim=0, keepdim=True), dim=1))
            of_clusters.append(groups[members].mode(keepdim=True).values)
    return ConceptStart(torch.cat(directions), torch.cat(of_clusters), centre)


def shares(n_texts: torch.Tensor, n_concepts: int) -> list[int]:
    """How many concepts each class with texts gets: by the root of their number (Webster's method), one at least.

    Args:
        n_texts: int64 (C,), texts of each class; at most as many are above 0 as there are concepts.
        n_concepts: Concepts to share out.
    """
    weights = n_texts.double().sqrt()
    given = (n_texts > 0).long()
    for _ in range(n_concepts - int(given.sum())):
        given[(weights / (2 * given + 1)).argmax()] += 1
    return [int(share) for share in given]


def _split(states: torch.Tensor, n_parts: int) -> torch.Tensor:
    """Number of the cluster of each text, int64 (N,); fewer clusters where texts are the same."""
    labels = torch.zeros(len(states), dtype=torch.int64)
    for number in range(1, min(n_parts, len(states))):
        scatter = torch.stack([_scatter(states[labels == part]) for part in range(number)])
        largest = (labels == scatter.argmax()).nonzero()[:, 0]
        labels[largest[_is_beyond(states[largest])]] = number
    if not labels.any():
        return labels
    centres = torch.stack([states[labels == part].mean(dim=0) for part in labels.unique()])
    lloyd = KMeans(len(centres), init=centres.numpy(), n_init=1, max_iter=_LLOYD_STEPS).fit(states.numpy())
    return torch.from_numpy(lloyd.labels_).long()


def _scatter(states: torch.Tensor) -> torch.Tensor:
    """Sum of squared distances from the mean, a scalar."""
    return (states - states.mean(dim=0)).square().sum() if len(states) else states.new_zeros(())


def _is_beyond(states: torch.Tensor) -> torch.Tensor:
    """Which texts lie beyond the mean along the principal direction, bool (N,)."""
    centred = states - states.mean(dim=0)
    direction = centred[centred.norm(dim=1).argmax()]
    for _ in range(_POWER_STEPS):
        direction = F.normalize(centred.T @ (centred @ direction), dim=0)
    return centred @ direction > 0
