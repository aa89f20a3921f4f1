"""Sufficiency and necessity: how few concepts of a text carry its decision, and how soon it falls without them."""

from functools import partial

import torch
from pydantic import Field
from tqdm.auto import tqdm

from sae_lens_classif.evals.base import EvaluationSpec, Exact, TestPass
from sae_lens_classif.evals.bootstrap import resample
from sae_lens_classif.evals.measures import Measure, Share
from sae_lens_classif.evals.results import Measures
from sae_lens_classif.hooks.interventions import ACTIVE, Run, text_batches

_CURVES = ("sufficiency", "necessity")


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


def decisions(
    run: Run, concepts: torch.Tensor, ranked: torch.Tensor, n_active: torch.Tensor, *, keep: bool
) -> torch.Tensor:
    """Classes of a batch of texts with only their first m concepts, or without these, for m = 0..n.

    Args:
        run: Runs the rest of the model for the batch.
        concepts: float (b, n), activations.
        ranked: int64 (b, n), places of the concepts; the silent ones last.
        n_active: int64 (b,), how many are active; from there on nothing changes.
        keep: Whether the first m are kept; or taken away.

    Returns:
        int64 (n + 1, b).
    """
    n_texts, n_concepts = concepts.shape
    found = torch.empty(n_concepts + 1, n_texts, dtype=torch.int64)
    for m in range(n_concepts + 1):
        changed = (n_active >= m).nonzero()[:, 0]
        if m > 0:
            found[m] = found[m - 1]
        if len(changed) > 0:
            is_first = ranked[changed] < m
            masked = concepts[changed].masked_fill(~is_first if keep else is_first, 0)
            found[m, changed] = run(masked, changed).argmax(dim=-1)
    return found


def measure(texts: TestPass) -> Measures:
    """Both curves, in the order of each concept's own effect on the text and in a random one."""
    logits, (n_texts, n_concepts) = texts.logits, texts.concepts.shape
    active, strength = texts.concepts.abs() > ACTIVE, torch.zeros(n_texts, n_concepts)
    strength[logits.pair_text, logits.pair_concept] = logits.pair_change.abs().sum(dim=1)
    any_order = torch.rand(strength.shape, generator=torch.Generator().manual_seed(texts.cfg.seed))
    ranked = {"": ranks(strength, active), "_random": ranks(any_order, active)}
    curves = {f"{curve}{order}": torch.empty(n_concepts + 1, n_texts) for curve in _CURVES for order in ranked}
    batches = text_batches(texts.classifier, texts.method.decode, texts.hidden, texts.kept_texts, texts.cfg.batch_size)
    for rows, run in tqdm(batches, desc="Keeping few concepts", unit=" batches", delay=1):
        n_active, predicted = active[rows].sum(dim=1), texts.predicted[rows]
        for order, places in ranked.items():
            of_batch = partial(decisions, run, texts.concepts[rows], places[rows], n_active)
            curves[f"sufficiency{order}"][:, rows] = (of_batch(keep=True) == predicted).float()
            curves[f"necessity{order}"][:, rows] = (of_batch(keep=False) != predicted).float()
    areas = torch.stack([curve.mean(dim=0) for curve in curves.values()], dim=1)
    details = {f"{name}_curve": curve.double().mean(dim=1).tolist() for name, curve in curves.items()}
    measures = Measures(dict(zip(curves, areas.double().mean(dim=0).tolist(), strict=True)), details)

    def statistic(weights: torch.Tensor) -> torch.Tensor:
        return weights @ areas / weights.sum(dim=1, keepdim=True)

    measures.add_intervals(tuple(curves), resample(statistic, n_texts, texts.cfg.n_bootstrap, texts.cfg.seed))
    return measures


class SufficiencyDetails(Exact):
    """The curves, a value for each number of concepts from 0 on."""

    sufficiency_curve: list[Share] = Field(description="Decisions that stay with the most influential concepts alone.")
    sufficiency_random_curve: list[Share] = Field(description="The same with as many concepts at random.")
    necessity_curve: list[Share] = Field(description="Decisions that change without the most influential concepts.")
    necessity_random_curve: list[Share] = Field(description="The same without as many concepts at random.")


_area = partial(Measure, unit="share", has_interval=True, presence="always")

EVALUATION = EvaluationSpec(
    about="How few concepts of a text carry its decision, and how soon it changes without them.",
    measure=measure,
    details=SufficiencyDetails,
    needs=frozenset({"ablations"}),
    measures=(
        _area(
            "sufficiency", "Decisions kept by the m most influential concepts alone, mean over m (sufficiency)",
            "Texts whose class stays with only their m most influential concepts, mean over m = 0..n.",
            better=1, column="sufficiency", headline=17,
        ),
        _area("sufficiency_random", "  the same with m at random", "The same with m active ones at random."),
        _area(
            "necessity", "Decisions changed without the m most influential concepts, mean over m (necessity)",
            "Texts whose class changes without their m most influential concepts, mean over m = 0..n.",
            better=1, column="necessity", headline=18,
        ),
        _area("necessity_random", "  the same without m at random", "The same without m active ones at random."),
    ),
)  # fmt: skip
