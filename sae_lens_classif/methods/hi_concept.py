"""HI-Concept: concept vectors whose absence changes the model's decisions (Zhao et al. 2024)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from typing_extensions import override

from sae_lens_classif.errors import UserError
from sae_lens_classif.hooks.classifier import TextClassifier
from sae_lens_classif.methods.base import FitTask
from sae_lens_classif.methods.concept_vectors import (
    Batch,
    ConceptVectors,
    Scores,
    closeness_loss,
    concept_scores,
    distinctness_loss,
    shares_of_sum,
    threshold_scores,
)

_DROP = 0.2


def draw_kept(n_texts: int, n_concepts: int, generator: torch.Generator) -> torch.Tensor:
    """Which concepts stay for the causal term, bool (n_texts, n_concepts - 1), each with probability 0.8."""
    return torch.rand(n_texts, n_concepts - 1, generator=generator) >= _DROP


def drop_scores(raw: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """What is left of the concepts' scores when some concepts are dropped.

    Args:
        raw: float (B, n), scores before any threshold.
        kept: bool (B, n - 1), False where a score is dropped; the last concept's never is.

    Returns:
        float (B, n), shares of the kept scores' sum; the others are 0.
    """
    return shares_of_sum(raw.where(F.pad(kept, (0, 1), value=True), 0))


def causal_loss(logits: torch.Tensor, perturbed_logits: torch.Tensor) -> torch.Tensor:
    """Dropped concepts should change the decision (Zhao et al. 2024).

    Args:
        logits: float (B, C), from the reconstruction.
        perturbed_logits: float (B, C), from what is left when some concepts are dropped.

    Returns:
        Scalar in [-2, 0], minus the L1 distance of the class distributions, averaged over texts.
    """
    return -(logits.softmax(dim=-1) - perturbed_logits.softmax(dim=-1)).abs().sum(dim=-1).mean()


@dataclass
class HIConcept(ConceptVectors, name="hi_concept"):
    """Concepts are there where the softmax of their cosines is above 1/n.

    Loss = cross-entropy of the classes that the model gives to the reconstruction + MSE of the reconstruction against
    the unit-norm hidden state + 0.1·R1 + 0.5·R2 + in the second half of the epochs the causal term (Zhao et al. 2024,
    "Explaining Language Model Predictions with High-Impact Concepts").
    """

    weights: ClassVar[Mapping[str, float]] = {
        "prediction": 1.0,
        "reconstruction": 1.0,
        "R1": 0.1,
        "R2": 0.5,
        "causal": 1.0,
    }

    @classmethod
    @override
    def fit(cls, task: FitTask) -> Self:
        if task.n_concepts < 2:
            raise UserError(f"hi_concept compares concepts, but n_concepts is {task.n_concepts}; take 2 or more")
        return super().fit(task)

    @override
    def scores(self, hidden: torch.Tensor) -> Scores:
        raw, cosine = concept_scores(hidden, self.concept)
        normalized = cosine.softmax(dim=-1)
        return Scores(raw, normalized, threshold_scores(raw, normalized, 1 / normalized.shape[-1]))

    @override
    def loss_terms(self, classifier: TextClassifier, batch: Batch) -> dict[str, torch.Tensor]:
        scores = self.scores(batch.hidden)
        activations = [scores.activations]
        if batch.second_half:
            n_texts, n_concepts = scores.raw.shape
            kept = draw_kept(n_texts, n_concepts, batch.generator).to(scores.raw.device)
            activations.append(drop_scores(scores.raw, kept))
        # Whole and perturbed go through the model together: one large pass is quicker than two small ones.
        states = self.decode(torch.cat(activations))
        logits = classifier.logits_from(states).to(states.device).split(len(batch.hidden))
        terms = {
            "prediction": F.cross_entropy(logits[0], batch.predicted),
            "reconstruction": F.mse_loss(states[: len(batch.hidden)], F.normalize(batch.hidden, dim=-1)),
            "R1": closeness_loss(scores.normalized),
            "R2": distinctness_loss(self.concept),
        }
        return {**terms, "causal": causal_loss(*logits)} if batch.second_half else terms
