"""Sufficiency and necessity: how few concepts of a text carry its decision, and how soon it falls without them."""

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch
from pydantic import Field
from tqdm.auto import tqdm

from sae_lens_classif.evals.base import Bottleneck, EvaluationSpec, Exact, TestPass
from sae_lens_classif.evals.bootstrap import resample
from sae_lens_classif.evals.measures import RANDOM, Measure, Share
from sae_lens_classif.evals.results import Measures
from sae_lens_classif.hooks.interventions import ACTIVE, InterventionLogits, TextBatch, text_batches


def ranks(strength: torch.Tensor, active: torch.Tensor) -> torch.Tensor:
    """Places of each text's concepts in an order: 0 for the strongest active one; the silent ones come last.

    Args:
        strength: float (N, n).
        active: bool (N, n).

    Returns:
        int64 (N, n).
    """
    order = strength.where(active, -torch.inf).argsort(dim=1, descending=True, stable=True)
    return order.argsort(dim=1, stable=True)


class Curve(NamedTuple):
    """Which concepts are kept, or ablated, one more at a time.

    Attributes:
        of: The concepts.
        ranked: int64 (N, n), places of each text's concepts; the silent ones last.
        keep: Whether the first m are kept and the other active ones ablated; or the first m ablated.
    """

    of: Bottleneck
    ranked: torch.Tensor
    keep: bool


def decisions(
    batch: TextBatch, concepts: torch.Tensor, replacements: torch.Tensor, ranked: torch.Tensor, *, keep: bool
) -> torch.Tensor:
    """Classes of a batch of texts with only their first m active concepts, or without these, for m = 0..n.

    Args:
        batch: Runs the rest of the model.
        concepts: float (b, n), activations.
        replacements: float (b, n), what takes the place of those that are ablated.
        ranked: int64 (b, n), places of the concepts; the silent ones last.
        keep: Whether the first m are kept; or ablated.

    Returns:
        int64 (n + 1, b).
    """
    n_texts, n_concepts = concepts.shape
    n_active = (concepts.abs() > ACTIVE).sum(dim=1)  # from there on nothing changes
    found = torch.empty(n_concepts + 1, n_texts, dtype=torch.int64)
    for m in range(n_concepts + 1):
        changed = (n_active >= m).nonzero()[:, 0]
        if m > 0:
            found[m] = found[m - 1]
        if len(changed) > 0:
            places = ranked[changed]
            stays = (places >= n_active[changed, None]) | ((places < m) == keep)
            left = concepts[changed].where(stays, replacements[changed])
            found[m, changed] = batch.classifier.rule.decide(batch.run(left, changed))
    return found


def by_effect(logits: InterventionLogits, concepts: torch.Tensor) -> torch.Tensor:
    """Places of each text's concepts, int64 (N, n): first the one that alone moves its probabilities most."""
    strength = torch.zeros(concepts.shape)
    strength[logits.pair_text, logits.pair_concept] = logits.pair_change.abs().sum(dim=1)
    return ranks(strength, concepts.abs() > ACTIVE)


def curves_of(texts: TestPass) -> dict[str, Curve]:
    """Both curves in the order of each concept's effect and in a random one; the first of the control, too."""
    own, chance = texts.bottleneck, texts.chance
    any_order = torch.rand(own.concepts.shape, generator=torch.Generator().manual_seed(texts.cfg.seed))
    strongest, random = by_effect(texts.logits, own.concepts), ranks(any_order, own.concepts.abs() > ACTIVE)
    return {
        "sufficiency": Curve(own, strongest, True),
        "sufficiency_random": Curve(own, random, True),
        f"sufficiency{RANDOM}": Curve(chance, by_effect(texts.by_chance, chance.concepts), True),
        "necessity": Curve(own, strongest, False),
        "necessity_random": Curve(own, random, False),
    }


def measure(texts: TestPass) -> Measures:
    """The curves and the areas under them."""
    n_texts, n_concepts = texts.concepts.shape
    curves = curves_of(texts)
    counted = {name: torch.empty(n_concepts + 1, n_texts) for name in curves}
    decode, size = texts.method.decode, texts.cfg.batch_size
    batches = text_batches(texts.classifier, decode, texts.hidden, texts.kept_texts, size)
    progress = tqdm(total=n_texts, desc="Keeping few concepts", unit=" texts", delay=1)
    for batch in batches:
        rows = batch.rows
        for name, (of, ranked, keep) in curves.items():
            own = replace(batch, decode=of.decode, rescale=of.rescale)
            decided = decisions(own, of.concepts[rows], of.replacements[rows], ranked[rows], keep=keep)
            counted[name][:, rows] = ((decided == texts.predicted[rows]) == keep).float()
        progress.update(len(rows))
    progress.close()
    areas = torch.stack([values.mean(dim=0) for values in counted.values()], dim=1)
    details = {f"{name}_curve": values.double().mean(dim=1).tolist() for name, values in counted.items()}
    measures = Measures(dict(zip(counted, areas.double().mean(dim=0).tolist(), strict=True)), details)

    def statistic(weights: torch.Tensor) -> torch.Tensor:
        return weights @ areas / weights.sum(dim=1, keepdim=True)

    measures.add_intervals(tuple(counted), resample(statistic, n_texts, texts.cfg.n_bootstrap, texts.cfg.seed))
    return measures


class SufficiencyDetails(Exact):
    """The curves, a value for each number of concepts from 0 on."""

    sufficiency_curve: list[Share] = Field(description="Decisions that stay with the most influential concepts alone.")
    sufficiency_random_curve: list[Share] = Field(description="The same with as many concepts at random.")
    sufficiency_random_directions_curve: list[Share] = Field(
        description="The same of random directions at the same activation rates."
    )
    necessity_curve: list[Share] = Field(description="Decisions that change without the most influential concepts.")
    necessity_random_curve: list[Share] = Field(description="The same without as many concepts at random.")


_area = partial(Measure, unit="share", has_interval=True, presence="always")

_SUFFICIENCY = _area(
    "sufficiency", "Decisions kept by the m most influential concepts alone, mean over m (sufficiency)",
    "Texts whose class stays with only their m most influential concepts, mean over m = 0..n.",
    better=1, column="sufficiency", headline=24,
)  # fmt: skip

EVALUATION = EvaluationSpec(
    about="How few concepts of a text carry its decision, and how soon it changes without them.",
    measure=measure,
    details=SufficiencyDetails,
    needs=frozenset({"ablations"}),
    measures=(
        _SUFFICIENCY, _SUFFICIENCY.beside(RANDOM, column="sufficiency, random", headline=25),
        _area("sufficiency_random", "  the same with m at random", "The same with m active ones at random."),
        _area(
            "necessity", "Decisions changed without the m most influential concepts, mean over m (necessity)",
            "Texts whose class changes without their m most influential concepts, mean over m = 0..n.",
            better=1, column="necessity", headline=26,
        ),
        _area("necessity_random", "  the same without m at random", "The same without m active ones at random."),
    ),
)  # fmt: skip
