"""ConceptSHAP (Yeh et al. 2020) and HI-Concept (Zhao et al. 2024): concept vectors trained through the model.

They share the vectors, their scores, a small decoder and the training, and differ in when a concept is there and in the
loss.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Self

import torch
import torch.nn.functional as F
from tqdm.auto import tqdm
from typing_extensions import override

from sae_lens_classif.config.methods import ConceptVectorSettings
from sae_lens_classif.errors import UserError
from sae_lens_classif.hooks.classifier import TextClassifier
from sae_lens_classif.methods.base import ConceptMethod, FitTask

_EPSILON = 1e-3
_DROP = 0.2
_GRID = {"lr": (1e-4, 3e-4, 1e-3, 3e-3), "hidden_dim": (256, 512, 1024)}
_START = 0.5  # weights start uniform between minus this and this


class Batch(NamedTuple):
    """Some training texts.

    Attributes:
        hidden: float32 (B, d_in), hidden states.
        predicted: int64 (B,), classes that the model predicted.
        second_half: Whether the first half of the epochs is over.
        generator: Source of everything random, on the CPU.
    """

    hidden: torch.Tensor
    predicted: torch.Tensor
    second_half: bool
    generator: torch.Generator


class Scores(NamedTuple):
    """How much each concept is in each text.

    Attributes:
        raw: float (B, n), projections of the hidden states on the unit-norm concept vectors.
        normalized: float (B, n), what the threshold and R1 look at.
        activations: float (B, n), the scores above the threshold, as shares of their sum.
    """

    raw: torch.Tensor
    normalized: torch.Tensor
    activations: torch.Tensor


def concept_scores(hidden: torch.Tensor, concept: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Projections on the concept vectors, and cosines with them (Yeh et al. 2020).

    Args:
        hidden: float (B, d_in).
        concept: float (d_in, n), of any norm.

    Returns:
        Two tensors, float (B, n), ``hidden`` times the unit-norm vectors, and unit-norm ``hidden`` times them. A
        hidden state of zeros has zeros.
    """
    directions = F.normalize(concept, dim=0)
    return hidden @ directions, F.normalize(hidden, dim=-1) @ directions


def shares_of_sum(scores: torch.Tensor) -> torch.Tensor:
    """Divide scores by their sum over the concepts plus 1e-3, float (B, n); zeros stay zeros."""
    return scores / (scores.sum(dim=-1, keepdim=True) + _EPSILON)


def threshold_scores(raw: torch.Tensor, normalized: torch.Tensor, threshold: float) -> torch.Tensor:
    """Keep the scores of concepts that are clearly there.

    Args:
        raw: float (B, n), the scores that are kept.
        normalized: float (B, n), the scores that decide.
        threshold: A score is kept where its normalised one is larger.

    Returns:
        float (B, n), shares of the kept scores' sum; the others are 0.
    """
    return shares_of_sum(raw.where(normalized > threshold, 0))


def reconstruct(scores: torch.Tensor, rec_vector_1: torch.Tensor, rec_vector_2: torch.Tensor) -> torch.Tensor:
    """Two layers without bias, ReLU between them.

    Args:
        scores: float (B, n).
        rec_vector_1: float (n, hidden_dim).
        rec_vector_2: float (hidden_dim, d_in).

    Returns:
        float (B, d_in).
    """
    return (scores @ rec_vector_1).relu() @ rec_vector_2


def closeness_loss(normalized: torch.Tensor) -> torch.Tensor:
    """R1: concepts should be close to a quarter of the texts (Yeh et al. 2020).

    Args:
        normalized: float (B, n), normalised scores.

    Returns:
        Scalar, minus the mean of the ``floor(B / 4)`` (at least one) largest scores of each concept.
    """
    return -normalized.topk(max(1, len(normalized) // 4), dim=0, sorted=False).values.mean()


def distinctness_loss(concept: torch.Tensor) -> torch.Tensor:
    """R2: concepts should differ from each other (Yeh et al. 2020).

    Args:
        concept: float (d_in, n), of any norm.

    Returns:
        Scalar, the mean of all elements of the unit-norm vectors' Gram matrix minus the identity.
    """
    directions = F.normalize(concept, dim=0)
    gram = directions.T @ directions
    return (gram - torch.eye(len(gram), device=gram.device)).mean()


def weighted_sum(terms: Mapping[str, torch.Tensor], weights: Mapping[str, float]) -> torch.Tensor:
    """The loss: its terms, scalars, each times the weight of the same name."""
    return torch.stack([weights[name] * term for name, term in terms.items()]).sum()


@dataclass
class ConceptVectors(ConceptMethod):
    """Concept vectors and a decoder that are trained through the rest of the model.

    Attributes:
        concept: float32 (d_in, n), a vector a concept; its norm means nothing.
        rec_vector_1: float32 (n, hidden_dim), first layer of the decoder.
        rec_vector_2: float32 (hidden_dim, d_in), second layer.
        weights: Weight of each term of the loss.
    """

    concept: torch.Tensor
    rec_vector_1: torch.Tensor
    rec_vector_2: torch.Tensor
    weights: ClassVar[Mapping[str, float]]

    @abstractmethod
    def scores(self, hidden: torch.Tensor) -> Scores:
        """How much each concept is in hidden states, float (B, d_in); gradients flow to ``concept``."""

    @abstractmethod
    def loss_terms(self, classifier: TextClassifier, batch: Batch) -> dict[str, torch.Tensor]:
        """Terms of the loss on a batch, scalars without their weights.

        Args:
            classifier: The model that is explained.
            batch: Training texts, where the concept vectors are.
        """

    @classmethod
    @override
    def fit(cls, task: FitTask) -> Self:
        generator = torch.Generator().manual_seed(task.seed)
        d_in, hidden_dim = task.hidden.shape[1], task.baselines.hidden_dim
        shapes = ((d_in, task.n_concepts), (task.n_concepts, hidden_dim), (hidden_dim, d_in))
        start = [torch.empty(shape).uniform_(-_START, _START, generator=generator) for shape in shapes]
        parameters = [values.to(task.classifier.device).requires_grad_() for values in start]
        _train(cls(*parameters), parameters, task, generator)
        return cls(*(values.detach().cpu() for values in parameters))

    @override
    def encode(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.scores(hidden).activations

    @override
    def decode(self, concepts: torch.Tensor) -> torch.Tensor:
        return reconstruct(concepts, self.rec_vector_1, self.rec_vector_2)

    @override
    def directions(self) -> torch.Tensor:
        return F.normalize(self.concept, dim=0).T


def _train(method: ConceptVectors, parameters: list[torch.Tensor], task: FitTask, generator: torch.Generator) -> None:
    cfg, device = task.baselines, task.classifier.device
    n_texts = len(task.hidden)
    optimizer = torch.optim.Adam(parameters, lr=cfg.lr)
    with tqdm(total=cfg.epochs * n_texts, desc=f"Fitting {method.name}", unit=" texts") as progress:
        for epoch in range(cfg.epochs):
            for rows in torch.randperm(n_texts, generator=generator).split(cfg.batch_size):
                hidden, predicted = task.hidden[rows].to(device), task.predicted[rows].to(device)
                batch = Batch(hidden, predicted, epoch >= cfg.epochs // 2, generator)
                loss = weighted_sum(method.loss_terms(task.classifier, batch), method.weights)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                progress.update(len(rows))
    if not all(values.isfinite().all() for values in parameters):
        raise UserError(f"the training of {method.name} ended with weights that are not finite; lower baselines.lr")


@dataclass
class ConceptSHAP(
    ConceptVectors,
    name="concept_shap",
    title="ConceptSHAP",
    settings=ConceptVectorSettings,
    trains_sae=False,
    tune=_GRID,
):
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
            "prediction": classifier.rule.loss(logits, batch.predicted),
            "R1": closeness_loss(scores.normalized),
            "R2": distinctness_loss(self.concept),
        }


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


def causal_loss(probabilities: torch.Tensor, perturbed: torch.Tensor) -> torch.Tensor:
    """Dropped concepts should change the decision (Zhao et al. 2024).

    Args:
        probabilities: float (B, C), from the reconstruction.
        perturbed: float (B, C), from what is left when some concepts are dropped.

    Returns:
        Scalar in [-2, 0], minus the L1 distance of the class distributions, averaged over texts.
    """
    return -(probabilities - perturbed).abs().sum(dim=-1).mean()


@dataclass
class HIConcept(
    ConceptVectors,
    name="hi_concept",
    title="HI-Concept",
    settings=ConceptVectorSettings,
    trains_sae=False,
    tune=_GRID,
):
    """Concepts are there where the softmax of their cosines is above 1/n.

    Loss = cross-entropy of the classes that the model gives to the reconstruction + MSE of the reconstruction against
    the unit-norm hidden state + 0.1·R1 + 0.5·R2 + in the second half of the epochs the causal term (Zhao et al. 2024,
    "Explaining Language Model Predictions with High-Impact Concepts").
    """

    weights: ClassVar[Mapping[str, float]] = {**ConceptSHAP.weights, "reconstruction": 1.0, "causal": 1.0}

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
            "prediction": classifier.rule.loss(logits[0], batch.predicted),
            "reconstruction": F.mse_loss(states[: len(batch.hidden)], F.normalize(batch.hidden, dim=-1)),
            "R1": closeness_loss(scores.normalized),
            "R2": distinctness_loss(self.concept),
        }
        return (
            {**terms, "causal": causal_loss(*map(classifier.rule.probabilities, logits))}
            if batch.second_half
            else terms
        )
