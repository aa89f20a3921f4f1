"""What each concept does to the decisions, class by class, and which mistakes it leads the model to."""

from dataclasses import dataclass

import torch

from sae_lens_classif.evals.base import FIRES
from sae_lens_classif.hooks.interventions import InterventionLogits

_LEAST = 0.005  # that a concept adds to the probability of a class, to be called a push


@dataclass(frozen=True)
class MisledText:
    """A wrong decision and a concept behind it.

    Attributes:
        row: Number of the text.
        concept: The concept that does most for the wrong class rather than the right one.
        for_wrong: What the concept adds to the probability of the wrong class that the text got, -1..1.
        for_right: What it adds to that of the right class.
        is_righted: Whether the class through the concepts is the right one without this one, and not with it.
    """

    row: int
    concept: int
    for_wrong: float
    for_right: float
    is_righted: bool


@dataclass(frozen=True)
class ConceptEffects:
    """Of n concepts on the decisions about N texts and C classes.

    Attributes:
        by_class: float32 (n, C), mean change of each class's probability that a concept brings about where it is
            active; 0 for one that is active nowhere.
        rate_on_wrong: float32 (n,), share of the wrongly decided texts on which it fires.
        rate_on_right: float32 (n,), share of the rightly decided texts on which it fires.
        misled: Wrong decisions with the concept that pushes most towards them, the strongest push first; only those
            where it adds at least half a point to the wrong class, and more than to the right one.
    """

    by_class: torch.Tensor
    rate_on_wrong: torch.Tensor
    rate_on_right: torch.Tensor
    misled: tuple[MisledText, ...]


def concept_effects(
    concepts: torch.Tensor, logits: InterventionLogits, predicted: torch.Tensor, labels: torch.Tensor
) -> ConceptEffects:
    """Effects of each concept, from the interventions that the evaluation of causality makes.

    Args:
        concepts: float32 (N, n), activations.
        logits: Of the bottleneck and without each active concept, for the same texts.
        predicted: int64 (N,), classes that the model predicts.
        labels: int64 (N,), gold labels.
    """
    change = logits.bottleneck.softmax(dim=1)[logits.pair_text] - logits.pair.softmax(dim=1)
    n_concepts, n_classes = concepts.shape[1], change.shape[1]
    total = torch.zeros(n_concepts, n_classes).index_add_(0, logits.pair_concept, change)
    counts = torch.bincount(logits.pair_concept, minlength=n_concepts)
    is_wrong, fires = predicted != labels, (concepts.abs() > FIRES).float()
    return ConceptEffects(
        by_class=total / counts.clamp(min=1)[:, None],
        rate_on_wrong=_mean(fires[is_wrong]),
        rate_on_right=_mean(fires[~is_wrong]),
        misled=_misled(change, logits, predicted, labels),
    )


def _mean(fires: torch.Tensor) -> torch.Tensor:
    return fires.sum(dim=0) / max(len(fires), 1)


def _misled(
    change: torch.Tensor, logits: InterventionLogits, predicted: torch.Tensor, labels: torch.Tensor
) -> tuple[MisledText, ...]:
    text = logits.pair_text
    pair = torch.arange(len(text))
    for_wrong, for_right = change[pair, predicted[text]], change[pair, labels[text]]
    push = for_wrong - for_right
    righted = (logits.pair.argmax(dim=1) == labels[text]) & (logits.bottleneck.argmax(dim=1) != labels)[text]
    wrong = (predicted[text] != labels[text]) & (for_wrong >= _LEAST) & (push > 0)
    strongest: dict[int, MisledText] = {}
    for number in wrong.nonzero()[:, 0][push[wrong].argsort(descending=True, stable=True)].tolist():
        row = int(text[number])
        if row not in strongest:
            concept = int(logits.pair_concept[number])
            strongest[row] = MisledText(
                row, concept, float(for_wrong[number]), float(for_right[number]), bool(righted[number])
            )
    return tuple(strongest.values())
