"""Completeness: can the model's decisions be had from the concepts alone?

Run on a run folder: ``python -m sae_lens_classif.evals.completeness --run RUN``.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch

from sae_lens_classif.evals.bootstrap import mean_of, resample
from sae_lens_classif.evals.results import Measures

FIRES = 1e-6


def completeness(
    predicted: torch.Tensor,
    bottleneck_logits: torch.Tensor,
    labels: torch.Tensor,
    concepts: torch.Tensor,
    *,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> Measures:
    """Compare the model with itself when it sees nothing but the concepts.

    Args:
        predicted: int64 (N,), the model's classes.
        bottleneck_logits: float (N, C), its logits from the concepts' reconstruction.
        labels: int64 (N,), gold labels.
        concepts: float (N, n), activations.
        n_bootstrap: Resamplings behind each interval.
        seed: Seed of the resampling.

    Returns:
        Metrics ``recovery_accuracy``, ``original_accuracy``, ``bottleneck_accuracy``, ``mean_activation_rate``,
        ``max_activation_rate`` (all shares, each with ``_ci95``); details a class and a concept.
    """
    recovered_class = bottleneck_logits.argmax(dim=-1)
    fires = concepts.abs() > FIRES
    rates = fires.double().mean(dim=0)
    correct = {
        "recovery_accuracy": recovered_class == predicted,
        "original_accuracy": predicted == labels,
        "bottleneck_accuracy": recovered_class == labels,
    }
    metrics: dict[str, Any] = {name: float(values.double().mean()) for name, values in correct.items()}
    metrics["mean_activation_rate"] = float(rates.mean())
    metrics["max_activation_rate"] = float(rates.max())
    means = [mean_of(values) for values in (*correct.values(), fires.float().mean(dim=1))]

    def statistic(weights: torch.Tensor) -> torch.Tensor:
        largest = (weights @ fires.float()).amax(dim=1) / weights.sum(dim=1)
        return torch.stack([*(mean(weights) for mean in means), largest], dim=1)

    n_classes = bottleneck_logits.shape[1]
    details = {
        "activation_rate": rates.tolist(),
        "by_class_original": class_scores(predicted, labels, n_classes),
        "by_class_bottleneck": class_scores(recovered_class, labels, n_classes),
    }
    measures = Measures(metrics, details)
    names = (*correct, "mean_activation_rate", "max_activation_rate")
    measures.add_intervals(names, resample(statistic, len(labels), n_bootstrap, seed))
    return measures


def class_scores(predicted: torch.Tensor, labels: torch.Tensor, n_classes: int) -> list[dict[str, float]]:
    """Recall, precision and F1 of each class; 0 where there is nothing to divide by.

    Args:
        predicted: int64 (N,).
        labels: int64 (N,).
        n_classes: Number of classes C.
    """
    from sklearn.metrics import precision_recall_fscore_support

    precision, recall, f1, support = precision_recall_fscore_support(
        labels.numpy(), predicted.numpy(), labels=list(range(n_classes)), zero_division=0.0
    )
    return [
        {"recall": float(r), "precision": float(p), "f1": float(f), "n_texts": int(n)}
        for r, p, f, n in zip(recall, precision, f1, support, strict=True)
    ]


def reconstruction_quality(
    batches: Iterator[torch.Tensor],
    encode: Callable[[torch.Tensor], torch.Tensor],
    reconstruct: Callable[[torch.Tensor], torch.Tensor],
) -> dict[str, float]:
    """How well an SAE reconstructs, from all its latents.

    Args:
        batches: Hidden states, float (m, d_in) each.
        encode: From hidden states to latents (m, d_sae).
        reconstruct: From hidden states to reconstructions (m, d_in).

    Returns:
        ``explained_variance`` (a share, at most 1), ``mse`` (mean over elements), ``l0`` (active latents a
        text) and ``dead_latents`` (share of latents that fire on no text).
    """
    n_texts, squared, active = 0, 0.0, 0.0
    total: torch.Tensor | float = 0.0
    total_squared, fired = 0.0, torch.zeros(0, dtype=torch.bool)
    width = 1
    with torch.no_grad():
        for hidden in batches:
            latents, reconstruction = encode(hidden), reconstruct(hidden)
            fires = latents.abs() > FIRES
            fired = fires.any(dim=0) | (fired if len(fired) else False)
            n_texts, width = n_texts + len(hidden), hidden.shape[1]
            squared += float((hidden - reconstruction).double().pow(2).sum())
            active += float(fires.sum())
            total = total + hidden.double().sum(dim=0)
            total_squared += float(hidden.double().pow(2).sum())
    variance = total_squared - float(torch.as_tensor(total).pow(2).sum()) / n_texts
    return {
        "explained_variance": 1.0 - squared / max(variance, 1e-12),
        "mse": squared / (n_texts * width),
        "l0": active / n_texts,
        "dead_latents": float((~fired).double().mean()),
    }


if __name__ == "__main__":
    from sae_lens_classif.cli.parser import evaluate_main

    evaluate_main("completeness")
