"""Causality: what a decision becomes without a concept."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import Field

from sae_lens_classif.evals.base import EvaluationSpec, Exact, TestPass, interval_settings
from sae_lens_classif.evals.bootstrap import Statistic, resample
from sae_lens_classif.evals.measures import Change, Count, Limit, Measure, Share
from sae_lens_classif.evals.results import Measures
from sae_lens_classif.evals.segments import Segments, leading_concepts

_NAMES = ("conditional_tvd", "conditional_label_flip_rate", "conditional_accuracy_change")


@dataclass(frozen=True)
class Effects:
    """What an ablation does to single texts.

    Attributes:
        flip: float (m,), 1 where the class changes.
        tvd: float (m,), total variation distance of the class probabilities, 0..1.
        accuracy_change: float (m,), -1, 0 or 1: right after minus right before.
    """

    flip: torch.Tensor
    tvd: torch.Tensor
    accuracy_change: torch.Tensor

    def stacked(self) -> torch.Tensor:
        """float (3, m): TVD, flip, accuracy change."""
        return torch.stack([self.tvd, self.flip, self.accuracy_change])


def effects(before: torch.Tensor, after: torch.Tensor, labels: torch.Tensor) -> Effects:
    """Compare class logits before and after an ablation.

    Args:
        before: float (m, C).
        after: float (m, C).
        labels: int64 (m,), gold labels.
    """
    class_before, class_after = before.argmax(dim=-1), after.argmax(dim=-1)
    distance = (before.softmax(dim=-1) - after.softmax(dim=-1)).abs().sum(dim=-1) / 2
    return Effects(
        flip=(class_before != class_after).float(),
        tvd=distance,
        accuracy_change=(class_after == labels).float() - (class_before == labels).float(),
    )


def conditional_causality(
    bottleneck_logits: torch.Tensor,
    pair_text: torch.Tensor,
    pair_concept: torch.Tensor,
    pair_logits: torch.Tensor,
    labels: torch.Tensor,
    n_concepts: int,
    *,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> Measures:
    """Effect of zeroing each concept alone, over the texts where it is active.

    Args:
        bottleneck_logits: float (N, C), without ablation.
        pair_text: int64 (P,), text of each pair.
        pair_concept: int64 (P,), active concept of each pair.
        pair_logits: float (P, C), with the pair's concept zeroed.
        labels: int64 (N,), gold labels.
        n_concepts: Number of concepts n.
        n_bootstrap: Resamplings behind each interval.
        seed: Seed of the resampling.

    Returns:
        Metrics ``conditional_tvd``, ``conditional_label_flip_rate``, ``conditional_accuracy_change``, means over
        the concepts that are active somewhere (None where none is), with ``_ci95``; details ``concepts``.
    """
    effect = effects(bottleneck_logits[pair_text], pair_logits, labels[pair_text]).stacked()
    values = torch.zeros(3, len(labels), n_concepts)
    values[:, pair_text, pair_concept] = effect
    active = torch.zeros(len(labels), n_concepts)
    active[pair_text, pair_concept] = 1
    counts = active.double().sum(dim=0)
    by_concept = values.double().sum(dim=1) / counts.clamp(min=1)
    concepts = [
        {
            "concept": concept,
            "n_texts": int(counts[concept]),
            "tvd": tvd,
            "label_flip_rate": flip,
            "accuracy_change": change,
        }
        for concept, (tvd, flip, change) in enumerate(by_concept.T.tolist())
    ]
    of_living = by_concept[:, counts > 0]
    if of_living.shape[1] == 0:
        return Measures({key: None for name in _NAMES for key in (name, f"{name}_ci95")}, {"concepts": concepts})
    measures = Measures(dict(zip(_NAMES, of_living.mean(dim=1).tolist(), strict=True)), {"concepts": concepts})
    measures.add_intervals(_NAMES, resample(_mean_effects(values, active), len(labels), n_bootstrap, seed))
    return measures


def _mean_effects(values: torch.Tensor, active: torch.Tensor) -> Statistic:
    """Means over living concepts of means over their texts, from float (3, N, n) and float (N, n)."""

    def statistic(weights: torch.Tensor) -> torch.Tensor:
        counts = weights @ active
        ratios = torch.stack([weights @ value for value in values], dim=1) / counts[:, None].clamp(min=1e-12)
        return (ratios * (counts > 0)[:, None]).sum(dim=2) / (counts > 0).sum(dim=1, keepdim=True)

    return statistic


def global_causality(
    bottleneck_logits: torch.Tensor, group_logits: torch.Tensor, labels: torch.Tensor, segments: Segments
) -> list[dict[str, Any]]:
    """Effect of zeroing the first 25, 50, 75 and 100 % of each class's concepts, over all texts.

    Args:
        bottleneck_logits: float (N, C), without ablation.
        group_logits: float (G, N, C), in the order of ``leading_concepts``.
        labels: int64 (N,), gold labels.
        segments: Concepts by class.

    Returns:
        One entry an ablation, with ``percent``, ``class``, ``concepts``, ``tvd``, ``label_flip_rate`` and
        ``accuracy_change``.
    """
    entries = []
    for (percent, number, concepts), logits in zip(leading_concepts(segments.by_class), group_logits, strict=True):
        tvd, flip, change = effects(bottleneck_logits, logits, labels).stacked().double().mean(dim=1).tolist()
        entries.append(
            {
                "percent": percent,
                "class": number,
                "concepts": list(concepts),
                "tvd": tvd,
                "label_flip_rate": flip,
                "accuracy_change": change,
            }
        )
    return entries


def measure(texts: TestPass) -> Measures:
    """All of it for one method."""
    logits = texts.logits
    measures = conditional_causality(
        logits.bottleneck,
        logits.pair_text,
        logits.pair_concept,
        logits.pair,
        texts.labels,
        texts.concepts.shape[1],
        **interval_settings(texts),
    )
    by_class = texts.segments.by_class
    measures.details["segments"] = list(map(list, by_class))
    groups = logits.groups[: len(leading_concepts(by_class))]
    measures.details["global"] = global_causality(logits.bottleneck, groups, texts.labels, texts.segments)
    return measures


class ConceptEffect(Exact):
    """Of one concept's removal where it is active."""

    concept: Count
    n_texts: Count
    tvd: Share | None
    label_flip_rate: Share | None
    accuracy_change: Change | None


class GlobalEffect(Exact):
    """Of the removal of the first so many percent of a class's concepts, over all texts."""

    percent: Literal[25, 50, 75, 100]
    class_: Count = Field(alias="class")
    concepts: list[Count]
    tvd: Share
    label_flip_rate: Share
    accuracy_change: Change


class CausalityDetails(Exact):
    """A concept's own numbers, and which concepts belong to which class."""

    concepts: list[ConceptEffect]
    segments: list[list[Count]]
    global_: list[GlobalEffect] = Field(alias="global")


EVALUATION = EvaluationSpec(
    about="What happens when one concept is removed from the texts on which it is active, mean over concepts.",
    measure=measure,
    details=CausalityDetails,
    needs=frozenset({"ablations"}),
    measures=(
        Measure(
            "conditional_tvd", "Shift of the probabilities without a concept (TVD)",
            "Total variation distance between the class probabilities.", "share",
            better=1, column="TVD", headline=6, has_interval=True, is_essential=True, limits=(Limit(
                "below", 0.005, "TVD is below {limit}",
                "Removing a concept moves the class probabilities by {value:.2%} on average (below {limit}): the "
                "concepts hardly cause the decisions.",
                "Use fewer concepts (sae.n_concepts) or another layer (classifier.hook).",
            ),),
        ),
        Measure(
            "conditional_label_flip_rate", "Decisions flipped without a concept", "Texts whose class changes.", "share",
            better=1, column="flips", headline=7, has_interval=True, is_essential=True,
        ),
        Measure(
            "conditional_accuracy_change", "Change of accuracy without a concept",
            "Accuracy without less accuracy with the concept.", "change",
            better=-1, column="accuracy change", headline=8, has_interval=True, uses_labels=True,
        ),
    ),
)  # fmt: skip
