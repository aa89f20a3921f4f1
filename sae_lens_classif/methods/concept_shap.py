"""ConceptSHAP: concept vectors from which the model's decisions can be recovered (Yeh et al. 2020)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from typing_extensions import override

from sae_lens_classif.hooks.classifier import TextClassifier
from sae_lens_classif.methods.concept_vectors import (
    Batch,
    ConceptVectors,
    Scores,
    closeness_loss,
    concept_scores,
    distinctness_loss,
    threshold_scores,
)


@dataclass
class ConceptSHAP(ConceptVectors, name="concept_shap"):
    """Concepts are there where the cosine with their vector is above a threshold.

    Loss = cross-entropy of the classes that the model gives to the reconstruction + 0.1·R1 + 0.5·R2 (Yeh et al. 2020,
    "On Completeness-aware Concept-Based Explanations in Deep Neural Networks").

    Attributes:
        threshold: Cosine that a concept must exceed.
    """

    threshold: float = 0.3
    weights: ClassVar[Mapping[str, float]] = {"prediction": 1.0, "R1": 0.1, "R2": 0.5}

    @override
    def scores(self, hidden: torch.Tensor) -> Scores:
        raw, cosine = concept_scores(hidden, self.concept)
        return Scores(raw, cosine, threshold_scores(raw, cosine, self.threshold))

    @override
    def loss_terms(self, classifier: TextClassifier, batch: Batch) -> dict[str, torch.Tensor]:
        scores = self.scores(batch.hidden)
        logits = classifier.logits_from(self.decode(scores.activations)).to(batch.hidden.device)
        return {
            "prediction": F.cross_entropy(logits, batch.predicted),
            "R1": closeness_loss(scores.normalized),
            "R2": distinctness_loss(self.concept),
        }
