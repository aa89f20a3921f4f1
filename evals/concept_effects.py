"""What each concept does to the decisions, class by class, and which mistakes it leads the model to."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self

import torch

from sae_lens_classif.decisions import DecisionRule
from sae_lens_classif.errors import UserError
from sae_lens_classif.evals.base import FIRES, TestPass
from sae_lens_classif.evals.causality import effects_by_class
from sae_lens_classif.hooks.interventions import InterventionLogits

_CLEARLY = 0.02  # of a class's share of the texts, were all classes alike
_LEAST = 0.005  # that a concept adds to the probability of a class, to be called a push
CLEAR_DEFAULT = 0.9  # of the texts
_N_WRONG_TEXTS = 5  # of a concept
_N_STEPS = 12  # of a histogram
_N_QUARTERS = 4


@dataclass(frozen=True)
class MisledText:
    """A wrong decision and a concept behind it.

    Attributes:
        row: Number of the text.
        concept: The concept that does most for the wrong class rather than the right one.
        for_wrong: What the concept adds to the probability of the wrong class that the text got, -1..1; of several
            wrong labels the sum.
        for_right: What it adds to that of the right class, or of the labels that the text should have got.
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
        n_texts: int64 (n,), on how many texts each concept is active.
        wrong_texts: int64 (n, m), numbers of wrongly decided texts on which each fires, at most 5, then -1: those that
            it pushes there first, then those on which it is most active.
        histogram: int64 (n, 12), texts on which each concept is active, by its activation: twelve steps of equal width
            up to ``largest``.
        largest: float32 (n,), the largest activation of each, by its amount.
        by_strength: float32 (n, 4), what each adds to the probability of the class that it raises most, over a quarter
            of the texts where it is active: where it is least active first; NaN where it is active on fewer than 4.
        default: float32 (2, C), what the model says with no concept at all: the share of the texts that get each class,
            and its mean probability; None in the context of the earlier words, which speak too.
    """

    by_class: torch.Tensor
    rate_on_wrong: torch.Tensor
    rate_on_right: torch.Tensor
    misled: tuple[MisledText, ...]
    n_texts: torch.Tensor
    wrong_texts: torch.Tensor
    histogram: torch.Tensor
    largest: torch.Tensor
    by_strength: torch.Tensor
    default: torch.Tensor | None = None

    def to_tensors(self) -> dict[str, torch.Tensor]:
        """All of it as a safetensors file can hold it."""
        kept = {name: value for name, value in vars(self).items() if isinstance(value, torch.Tensor)}
        rows = [(text.row, text.concept, text.is_righted) for text in self.misled]
        pushes = [(text.for_wrong, text.for_right) for text in self.misled]
        kept["misled"] = torch.tensor(rows, dtype=torch.int64).reshape(-1, 3)
        return {**kept, "pushes": torch.tensor(pushes, dtype=torch.float32).reshape(-1, 2)}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, torch.Tensor]) -> Self:
        """What ``to_tensors`` gave.

        Raises:
            UserError: If these are other tensors, such as those of another version.
        """
        expected = {entry.name for entry in fields(cls)} | {"pushes"}
        if not expected - {"default"} <= tensors.keys() <= expected:
            raise UserError(
                f"effects of concepts are kept as {', '.join(sorted(expected))}, not as {', '.join(sorted(tensors))}; "
                "work them out again"
            )
        kept = dict(tensors)
        both = zip(kept.pop("misled").tolist(), kept.pop("pushes").tolist(), strict=True)
        misled = (
            MisledText(row, concept, wrong, right, bool(is_righted))
            for (row, concept, is_righted), (wrong, right) in both
        )
        return cls(misled=tuple(misled), **kept)


def raised_most(adds: torch.Tensor) -> list[int | None]:
    """For each class the concept that adds most to its probability; None for a class that none clearly raises.

    Args:
        adds: float (n, C), what each concept adds to the probability of each class, mean over all texts.
    """
    if not len(adds):
        return [None] * adds.shape[1]
    most, concepts = adds.max(dim=0)
    clearly = (most >= _CLEARLY / adds.shape[1]).tolist()
    return [concept if is_clear else None for concept, is_clear in zip(concepts.tolist(), clearly, strict=True)]


def clear_default(default: torch.Tensor | None) -> int | None:
    """The class that the model says with no concept at all, where that is nearly always the same.

    Args:
        default: See ``ConceptEffects``.
    """
    if default is None or default[0].max() < CLEAR_DEFAULT:
        return None
    return int(default[0].argmax())


def unraised_classes(effects: ConceptEffects, predicted: torch.Tensor, rule: DecisionRule) -> list[int]:
    """Classes that are decided, but that no concept clearly raises; the one said with no concept needs none.

    Args:
        effects: What each concept does.
        predicted: int64 (N,), the model's decisions.
        rule: What these are.
    """
    most = raised_most(effects.by_class * (effects.n_texts / len(predicted))[:, None])
    is_said = rule.holds(predicted, len(most)).any(dim=0).tolist()
    default = clear_default(effects.default)
    return [number for number, concept in enumerate(most) if concept is None and is_said[number] and number != default]


def effects_of(texts: TestPass) -> ConceptEffects:
    """Effects of a method's concepts, once the model was run with ablations."""
    without_any = texts.logits.nothing if texts.cfg.context == "alone" else None
    return concept_effects(texts.concepts, texts.logits, texts.predicted, texts.labels, without_any)


def concept_effects(
    concepts: torch.Tensor,
    logits: InterventionLogits,
    predicted: torch.Tensor,
    labels: torch.Tensor,
    without_any: torch.Tensor | None = None,
) -> ConceptEffects:
    """Effects of each concept, from the interventions that the evaluation of causality makes.

    Args:
        concepts: float32 (N, n), activations.
        logits: Of the bottleneck and without each active concept, for the same texts.
        predicted: int64 (N,), classes that the model predicts.
        labels: int64 (N,), gold labels.
        without_any: float (N, C), logits with no concept at all. Default: not known.
    """
    n_concepts = concepts.shape[1]
    is_wrong, fires = predicted != labels, (concepts.abs() > FIRES).float()
    misled = _misled(logits.pair_change, logits, predicted, labels)
    strength, by_class = concepts.abs(), effects_by_class(logits, n_concepts)
    largest = strength.amax(dim=0) if len(strength) else torch.zeros(n_concepts)
    return ConceptEffects(
        by_class=by_class,
        rate_on_wrong=_mean(fires[is_wrong]),
        rate_on_right=_mean(fires[~is_wrong]),
        misled=misled,
        n_texts=logits.pair_concept.bincount(minlength=n_concepts),
        wrong_texts=_wrong_texts(strength, is_wrong, misled),
        histogram=_histogram(strength, largest),
        largest=largest.float(),
        by_strength=_by_strength(strength, logits, by_class.argmax(dim=1)),
        default=None if without_any is None else _default(without_any, logits.rule),
    )


def _mean(fires: torch.Tensor) -> torch.Tensor:
    return fires.sum(dim=0) / max(len(fires), 1)


def _histogram(strength: torch.Tensor, largest: torch.Tensor) -> torch.Tensor:
    step = (strength / largest.clamp(min=FIRES) * _N_STEPS).long().clamp(max=_N_STEPS - 1)
    active = (strength > FIRES).long()
    return torch.zeros(strength.shape[1], _N_STEPS, dtype=torch.int64).scatter_add_(1, step.T, active.T)


def _by_strength(strength: torch.Tensor, logits: InterventionLogits, raised: torch.Tensor) -> torch.Tensor:
    found = torch.full((strength.shape[1], _N_QUARTERS), torch.nan)
    text, concept = logits.pair_text, logits.pair_concept
    effect = logits.pair_change.gather(1, raised[concept][:, None])[:, 0]
    for number in concept.unique().tolist():
        own = (concept == number).nonzero()[:, 0]
        if len(own) >= _N_QUARTERS:
            ordered = own[strength[text[own], number].argsort(stable=True)]
            found[number] = torch.stack([part.mean() for part in effect[ordered].tensor_split(_N_QUARTERS)])
    return found


def _wrong_texts(strength: torch.Tensor, is_wrong: torch.Tensor, misled: tuple[MisledText, ...]) -> torch.Tensor:
    found = torch.full((strength.shape[1], _N_WRONG_TEXTS), -1)
    for concept, active in enumerate(strength.T):
        pushed = [text.row for text in misled if text.concept == concept]
        wrong = (is_wrong & (active > FIRES)).nonzero()[:, 0]
        by_strength = wrong[active[wrong].argsort(descending=True, stable=True)].tolist()
        rows = list(dict.fromkeys([*pushed, *by_strength]))[:_N_WRONG_TEXTS]
        found[concept, : len(rows)] = torch.tensor(rows, dtype=torch.int64)
    return found


def _default(logits: torch.Tensor, rule: DecisionRule) -> torch.Tensor:
    holds = rule.holds(rule.decide(logits), logits.shape[1])
    return torch.stack([holds.sum(dim=0) / len(logits), rule.probabilities(logits).mean(dim=0)])


def _misled(
    change: torch.Tensor, logits: InterventionLogits, predicted: torch.Tensor, labels: torch.Tensor
) -> tuple[MisledText, ...]:
    text, rule, n_classes = logits.pair_text, logits.rule, change.shape[1]
    said, right = rule.holds(predicted, n_classes), rule.holds(labels, n_classes)
    for_wrong, for_right = (change * (said & ~right)[text]).sum(dim=1), (change * (right & ~said)[text]).sum(dim=1)
    push = for_wrong - for_right
    righted = (rule.decide(logits.pair) == labels[text]) & (rule.decide(logits.bottleneck) != labels)[text]
    # Where nothing wrong was said but something right was not, what counts is what the concept takes from that.
    towards = for_wrong.where((said & ~right).any(dim=1)[text], -for_right)
    wrong = (predicted != labels)[text] & (towards >= _LEAST) & (push > 0)
    strongest: dict[int, MisledText] = {}
    for number in wrong.nonzero()[:, 0][push[wrong].argsort(descending=True, stable=True)].tolist():
        row = int(text[number])
        if row not in strongest:
            concept = int(logits.pair_concept[number])
            strongest[row] = MisledText(
                row, concept, float(for_wrong[number]), float(for_right[number]), bool(righted[number])
            )
    return tuple(strongest.values())
