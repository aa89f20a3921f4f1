"""Which class each concept belongs to."""

from dataclasses import dataclass

import torch

from sae_lens_classif.decisions import ONE_CLASS, DecisionRule

_DEAD = 1e-6
SHARES = (25, 50, 75, 100)


@dataclass(frozen=True)
class Segments:
    """Concepts by class.

    Attributes:
        by_class: For each class its concepts, those with the largest mean activation first. Dead ones are left out.
        class_shares: float (n, C): mean activation of each concept over the texts of each gold class, normalised
            over classes.
        mean_activation: float (n,): mean absolute activation of each concept.
    """

    by_class: tuple[tuple[int, ...], ...]
    class_shares: torch.Tensor
    mean_activation: torch.Tensor

    def class_of(self, concept: int) -> int | None:
        """Class of a concept; None if it is dead."""
        return next((number for number, concepts in enumerate(self.by_class) if concept in concepts), None)


def segments(concepts: torch.Tensor, labels: torch.Tensor, n_classes: int, rule: DecisionRule = ONE_CLASS) -> Segments:
    """Give each concept to the class on whose texts it is most active.

    Args:
        concepts: float (N, n), activations.
        labels: int64 (N,), gold labels.
        n_classes: Number of classes C.
        rule: What a label is.
    """
    of_class = rule.holds(labels, n_classes).to(concepts.dtype)
    means = (concepts.T @ of_class) / of_class.sum(dim=0).clamp(min=1)
    shares = means / means.abs().sum(dim=1, keepdim=True).clamp(min=1e-12)
    magnitude = concepts.abs().mean(dim=0)
    best = shares.argmax(dim=1)
    order = magnitude.argsort(descending=True, stable=True).tolist()
    by_class = tuple(
        tuple(concept for concept in order if best[concept] == number and magnitude[concept] > _DEAD)
        for number in range(n_classes)
    )
    return Segments(by_class, shares, magnitude)


def leading_concepts(by_class: tuple[tuple[int, ...], ...]) -> list[tuple[int, int, tuple[int, ...]]]:
    """The first 25, 50, 75 and 100 % (rounded down) of each class's concepts.

    Returns:
        ``(percent, class, concepts)`` for each that holds a concept.
    """
    return [
        (percent, number, concepts[:count])
        for percent in SHARES
        for number, concepts in enumerate(by_class)
        if (count := len(concepts) * percent // 100)
    ]
