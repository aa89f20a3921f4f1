"""Causality: what a decision becomes without a concept."""

from typing import Any, Literal

import torch
from pydantic import Field

from sae_lens_classif.decisions import ONE_CLASS, DecisionRule
from sae_lens_classif.evals.base import EvaluationSpec, Exact, TestPass, interval_settings
from sae_lens_classif.evals.bootstrap import Statistic, resample
from sae_lens_classif.evals.measures import OTHER_CONTEXT, RANDOM, Change, Count, Limit, Measure, Share
from sae_lens_classif.evals.results import Measures, finite
from sae_lens_classif.evals.segments import Segments, leading_concepts
from sae_lens_classif.hooks.interventions import InterventionLogits

_EFFECTS = ("tvd", "label_flip_rate", "accuracy_change")
OVER_CHANCE = "influence_over_chance"
_NAMES = (*(f"conditional_{effect}" for effect in _EFFECTS), "median_tvd", "influence")


def effects(
    before: torch.Tensor, after: torch.Tensor, labels: torch.Tensor, rule: DecisionRule = ONE_CLASS
) -> torch.Tensor:
    """What an ablation does to single texts, from their class logits before and after it.

    Args:
        before: float (m, C).
        after: float (m, C).
        labels: int64 (m,), gold labels.
        rule: What the model decides, given logits.

    Returns:
        float (3, m): total variation distance of the class probabilities, 0..1; 1 where the class changes; change of
        accuracy, -1, 0 or 1: right after minus right before.
    """
    class_before, class_after = rule.decide(before), rule.decide(after)
    tvd = rule.distance(rule.probabilities(before), rule.probabilities(after))
    accuracy_change = (class_after == labels).float() - (class_before == labels).float()
    return torch.stack([tvd, (class_before != class_after).float(), accuracy_change])


def conditional_causality(
    logits: InterventionLogits, labels: torch.Tensor, n_concepts: int, *, n_bootstrap: int = 1000, seed: int = 0
) -> Measures:
    """Effect of zeroing each concept alone, over the texts where it is active.

    Args:
        logits: Without ablation, and with the concept of each pair zeroed.
        labels: int64 (N,), gold labels.
        n_concepts: Number of concepts n.
        n_bootstrap: Resamplings behind each interval.
        seed: Seed of the resampling.

    Returns:
        Metrics, each with ``_ci95``: ``conditional_tvd``, ``conditional_label_flip_rate``,
        ``conditional_accuracy_change``, means over the concepts that are active somewhere (None where none is); and
        over all concepts, those that are never active counting 0: ``median_tvd``, and ``influence``, the mean TVD over
        all texts, which a concept that fires seldom can move but little. Details ``concepts``.
    """
    text, concept = logits.pair_text, logits.pair_concept
    values = torch.zeros(3, len(labels), n_concepts)
    values[:, text, concept] = effects(logits.bottleneck[text], logits.pair, labels[text], logits.rule)
    active = torch.zeros(len(labels), n_concepts)
    active[text, concept] = 1
    everything = torch.ones(1, len(labels), dtype=torch.float64)
    counts, sums = active.double().sum(dim=0), values.double().sum(dim=1)
    most, raises = effects_by_class(logits, n_concepts).max(dim=1)
    concepts = [
        {
            "concept": number,
            "n_texts": int(counts[number]),
            "raises": int(raises[number]) if counts[number] and most[number] >= 0 else None,
            **_named(means),
        }
        for number, means in enumerate((sums / counts.clamp(min=1)).T.tolist())
    ]
    statistic = _mean_effects(values, active)
    measures = Measures(
        finite(dict(zip(_NAMES, statistic(everything)[0].tolist(), strict=True))), {"concepts": concepts}
    )
    measures.add_intervals(_NAMES, resample(statistic, len(labels), n_bootstrap, seed))
    return measures


def effects_by_class(logits: InterventionLogits, n_concepts: int) -> torch.Tensor:
    """Change of each class's probability that a concept brings about, mean over the texts where it is active.

    Args:
        logits: Without ablation, and with the concept of each pair zeroed.
        n_concepts: Number of concepts n.

    Returns:
        float32 (n, C); 0 for a concept that is active nowhere.
    """
    change = logits.pair_change
    total = torch.zeros(n_concepts, change.shape[1]).index_add_(0, logits.pair_concept, change)
    return total / logits.pair_concept.bincount(minlength=n_concepts).clamp(min=1)[:, None]


def _named(effect: list[float]) -> dict[str, float]:
    return dict(zip(_EFFECTS, effect, strict=True))


def _mean_effects(values: torch.Tensor, active: torch.Tensor) -> Statistic:
    """The metrics of conditional causality from float (3, N, n) and float (N, n); NaN for means over no concept."""

    def statistic(weights: torch.Tensor) -> torch.Tensor:
        counts = weights @ active.to(weights)
        sums = torch.stack([weights @ value.to(weights) for value in values], dim=1)
        means = sums / counts[:, None].clamp(min=1e-12)
        of_living = means.sum(dim=2) / (counts > 0).sum(dim=1, keepdim=True)
        median = means[:, 0].quantile(0.5, dim=1)
        influence = (sums[:, 0] / weights.sum(dim=1, keepdim=True)).mean(dim=1)
        return torch.cat([of_living, torch.stack([median, influence], dim=1)], dim=1)

    return statistic


def global_causality(logits: InterventionLogits, labels: torch.Tensor, segments: Segments) -> list[dict[str, Any]]:
    """Effect of zeroing the first 25, 50, 75 and 100 % of each class's concepts, over all texts.

    Args:
        logits: Without ablation, and first among the groups those of ``leading_concepts``, in their order.
        labels: int64 (N,), gold labels.
        segments: Concepts by class.

    Returns:
        One entry an ablation, with ``percent``, ``class``, ``concepts``, ``tvd``, ``label_flip_rate`` and
        ``accuracy_change``.
    """
    entries = []
    leading = leading_concepts(segments.by_class)
    for (percent, number, concepts), ablated in zip(leading, logits.groups[: len(leading)], strict=True):
        means = effects(logits.bottleneck, ablated, labels, logits.rule).double().mean(dim=1).tolist()
        entries.append({"percent": percent, "class": number, "concepts": list(concepts), **_named(means)})
    return entries


def measure(texts: TestPass) -> Measures:
    """All of it for one method."""
    n_concepts = texts.concepts.shape[1]

    def of(logits: InterventionLogits, rows: torch.Tensor | slice = slice(None)) -> Measures:
        return conditional_causality(logits, texts.labels[rows], n_concepts, **interval_settings(texts))

    measures = of(texts.logits)
    if texts.in_other_context is not None:
        measures.add_beside(of(texts.in_other_context, texts.few), ("influence",), OTHER_CONTEXT)
    measures.add_beside(of(texts.by_chance), ("conditional_tvd", "influence"), RANDOM)
    own, chance = (measures.metrics[f"influence{suffix}"] for suffix in ("", RANDOM))
    measures.metrics[OVER_CHANCE] = own - chance
    beyond = measures.resamples["influence"] - measures.resamples[f"influence{RANDOM}"]  # of the same texts
    measures.add_intervals((OVER_CHANCE,), beyond[:, None])
    measures.details["segments"] = list(map(list, texts.segments.by_class))
    measures.details["global"] = global_causality(texts.logits, texts.labels, texts.segments)
    return measures


class ConceptEffect(Exact):
    """Of one concept's removal where it is active."""

    concept: Count
    n_texts: Count
    raises: Count | None = Field(
        description="Class whose probability it raises most; null for one that never fires, or lowers every label's."
    )
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


_TVD = Measure(
    "conditional_tvd", "Shift of the probabilities without a concept (TVD)",
    "Probability that moves to other classes without a concept (total variation distance), on the texts where it is "
    "active; mean over concepts.", "share",
    better=1, column="TVD", headline=15, has_interval=True, is_essential=True, limits=(Limit(
        "below", 0.005, "TVD is below {limit}",
        "Removing a concept moves the class probabilities by {value:.2%} on average (below {limit}): the "
        "concepts hardly cause the decisions.",
        "Use fewer concepts (sae.n_concepts) or another layer (classifier.hook).",
    ),),
)  # fmt: skip
_INFLUENCE = Measure(
    "influence", "Shift without a concept over all texts (influence)",
    "Total variation distance over all texts, also those where the concept is silent; mean over all concepts.",
    "share", better=1, column="influence", headline=18, has_interval=True, is_essential=True,
)  # fmt: skip

EVALUATION = EvaluationSpec(
    about="What happens when one concept is removed from the texts on which it is active, mean over concepts.",
    measure=measure,
    details=CausalityDetails,
    needs=frozenset({"ablations"}),
    measures=(
        _TVD, _TVD.beside(RANDOM, column="TVD, random", headline=16),
        Measure(
            "median_tvd", "  the same, median over all concepts",
            "Median of the TVD over all concepts, those that are never active counting 0.", "share",
            better=1, column="median TVD", headline=17, has_interval=True,
        ),
        _INFLUENCE,
        _INFLUENCE.beside(
            OTHER_CONTEXT, presence="optional", better=1, column="influence, other context", headline=19
        ),
        _INFLUENCE.beside(RANDOM, column="influence, random", headline=20),
        Measure(
            OVER_CHANCE, "  the same, beyond that of random directions",
            "Influence less that of random directions that are active as often: what the concepts do beyond what any "
            "directions would.", "change", better=1, column="influence over chance", headline=21, has_interval=True,
        ),
        Measure(
            "conditional_label_flip_rate", "Decisions flipped without a concept",
            "Texts whose class changes without a concept that is active on them; mean over concepts.", "share",
            better=1, column="flips", headline=22, has_interval=True,
        ),
        Measure(
            "conditional_accuracy_change", "Change of accuracy without a concept",
            "Accuracy without a concept less that with it, on the texts where it is active; mean over concepts.",
            "change", better=-1, column="accuracy change", headline=23, has_interval=True, uses_labels=True,
        ),
    ),
)  # fmt: skip
