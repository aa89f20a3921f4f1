"""Completeness: can the model's decisions be had from the concepts alone?"""

from collections.abc import Callable, Iterator
from functools import partial

import torch

from sae_lens_classif.decisions import ONE_CLASS, DecisionRule
from sae_lens_classif.evals.base import CHUNK, FIRES, EvaluationSpec, Exact, TestPass, interval_settings
from sae_lens_classif.evals.bootstrap import Statistic, resample
from sae_lens_classif.evals.measures import OTHER_CONTEXT, OTHER_NORM, RANDOM, Count, Limit, Measure, Share
from sae_lens_classif.evals.results import Measures, finite
from sae_lens_classif.hooks.interventions import InterventionLogits
from sae_lens_classif.saes.classif_sae import ClassifSAE

_RECOVERY = ("recovery_accuracy", "scaled_recovery")
_SCALE = (*_RECOVERY, "recovery_floor", "recovery_ceiling")


def completeness(
    predicted: torch.Tensor,
    logits: InterventionLogits,
    labels: torch.Tensor,
    concepts: torch.Tensor,
    *,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> Measures:
    """Compare the model with itself when it sees nothing but the concepts.

    RAcc lies between a floor, the decisions that stay the same with no concept at all, and a ceiling, those that stay
    the same when the hidden state is not touched but run on by the same protocol. The scaled RAcc is how far of the way
    between them the concepts go.

    Args:
        predicted: int64 (N,), the model's classes.
        logits: Of the model from the concepts' reconstruction, from the untouched state, and with no concept.
        labels: int64 (N,), gold labels.
        concepts: float (N, n), activations.
        n_bootstrap: Resamplings behind each interval.
        seed: Seed of the resampling.

    Returns:
        Metrics, shares of the texts: ``recovery_accuracy``, its ``recovery_ceiling`` and ``recovery_floor``,
        ``worst_class_recovery`` and ``rarest_class_recovery`` (of the predicted class with the lowest RAcc, and of the
        one with the fewest texts), ``original_accuracy``, ``bottleneck_accuracy``, ``unexplained_texts`` (on which no
        concept is active), ``mean_activation_rate``, ``max_activation_rate``; ``scaled_recovery``, which may be below 0
        and above 1, and is None where the ceiling is not above the floor; each with ``_ci95``. Details a class and a
        concept.
    """
    rule, n_classes = logits.rule, logits.bottleneck.shape[1]
    recovered, untouched, default = map(rule.decide, (logits.bottleneck, logits.untouched, logits.nothing))
    fires = (concepts.abs() > FIRES).double()
    of_texts = {
        "recovery_accuracy": recovered == predicted,
        "recovery_ceiling": untouched == predicted,
        # With no concept some methods stand for nothing that is a number.
        "recovery_floor": (default == predicted).double() + 0 * logits.nothing.sum(dim=-1),
        "original_accuracy": predicted == labels,
        "bottleneck_accuracy": recovered == labels,
        "unexplained_texts": fires.sum(dim=1) == 0,
        "mean_activation_rate": fires.mean(dim=1),
    }
    values = torch.stack([value.double() for value in of_texts.values()], dim=1)
    of_class = rule.holds(predicted, n_classes)
    stays = torch.stack([of_class & rule.holds(other, n_classes) for other in (recovered, untouched, default)]).double()
    stays[2] += 0 * logits.nothing.sum(dim=-1, keepdim=True)
    counts = of_class.sum(dim=0)
    rarest = int(counts.where(counts > 0, torch.inf).argmin())

    statistic = _statistic(values, fires, of_class.double(), stays[0], rarest)
    names = (*of_texts, "scaled_recovery", "worst_class_recovery", "rarest_class_recovery", "max_activation_rate")
    (found,) = statistic(torch.ones(1, len(labels), dtype=torch.float64)).tolist()
    details = {
        "activation_rate": fires.mean(dim=0).tolist(),
        "by_class_original": class_scores(predicted, labels, n_classes, rule),
        "by_class_bottleneck": class_scores(recovered, labels, n_classes, rule),
        "recovery_by_class": _recovery_by_class(stays, counts),
    }
    measures = Measures(finite(dict(zip(names, found, strict=True))), details)
    measures.add_intervals(names, resample(statistic, len(labels), n_bootstrap, seed))
    return measures


def _recovery_by_class(stays: torch.Tensor, counts: torch.Tensor) -> list[dict[str, float]]:
    """Number of texts of each predicted class, (C,), and shares of them that keep it: float64 (3, N, C), as below."""
    shares = torch.stack([counts.double(), *(stays.sum(dim=1) / counts)], dim=1).tolist()
    return [
        {"n_texts": int(count), "recovery": recovery, "ceiling": ceiling, "floor": floor}
        for count, recovery, ceiling, floor in shares
    ]


def _statistic(
    values: torch.Tensor, fires: torch.Tensor, of_class: torch.Tensor, stays: torch.Tensor, rarest: int
) -> Statistic:
    """The metrics of completeness as a statistic over texts.

    Args:
        values: float64 (N, v), of each text; the first are whether its decision stays through the concepts, with the
            state untouched, and with no concept.
        fires: float64 (N, n), whether each concept fires.
        of_class: float64 (N, C), 1 at the predicted class.
        stays: float64 (N, C), 1 where this class is also that through the concepts.
        rarest: Number of the class that is predicted least often.
    """

    def statistic(weights: torch.Tensor) -> torch.Tensor:
        total = weights.sum(dim=1, keepdim=True)
        means = weights @ values.to(weights) / total
        by_class = weights @ stays.to(weights) / (weights @ of_class.to(weights))
        recovered, ceiling, floor = means[:, :3].T
        worst = by_class.nan_to_num(torch.inf).amin(dim=1)  # NaN: a class that was not drawn
        scaled = ((recovered - floor) / (ceiling - floor)).where(ceiling > floor, torch.nan)
        largest = (weights @ fires.to(weights) / total).amax(dim=1)
        return torch.cat([means, torch.stack([scaled, worst, by_class[:, rarest], largest], dim=1)], dim=1)

    return statistic


def class_scores(
    predicted: torch.Tensor, labels: torch.Tensor, n_classes: int, rule: DecisionRule = ONE_CLASS
) -> list[dict[str, float]]:
    """Recall, precision and F1 of each class; 0 where there is nothing to divide by.

    Args:
        predicted: int64 (N,).
        labels: int64 (N,).
        n_classes: Number of classes C.
        rule: What these are.
    """
    from sklearn.metrics import precision_recall_fscore_support

    precision, recall, f1, support = precision_recall_fscore_support(
        rule.holds(labels, n_classes).numpy(), rule.holds(predicted, n_classes).numpy(), zero_division=0.0
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
    n_texts, n_numbers, squared, active, total_squared = 0, 0, 0.0, 0.0, 0.0
    total, fired = torch.zeros(()), torch.zeros((), dtype=torch.bool)
    with torch.no_grad():
        for hidden in batches:
            latents, reconstruction = encode(hidden), reconstruct(hidden)
            fires = latents.abs() > FIRES
            fired = fires.any(dim=0) | fired
            n_texts, n_numbers = n_texts + len(hidden), n_numbers + hidden.numel()
            squared += float((hidden - reconstruction).double().pow(2).sum())
            active += float(fires.sum())
            total = total + hidden.double().sum(dim=0)
            total_squared += float(hidden.double().pow(2).sum())
    variance = total_squared - float(total.pow(2).sum()) / n_texts
    return {
        "explained_variance": 1.0 - squared / max(variance, 1e-12),
        "mse": squared / n_numbers,
        "l0": active / n_texts,
        "dead_latents": float((~fired).double().mean()),
    }


def measure(texts: TestPass) -> Measures:
    """All of it for one method; of a sparse autoencoder how well it reconstructs, too."""

    def of(
        logits: InterventionLogits, concepts: torch.Tensor = texts.concepts, rows: torch.Tensor | slice = slice(None)
    ) -> Measures:
        return completeness(texts.predicted[rows], logits, texts.labels[rows], concepts, **interval_settings(texts))

    measures = of(texts.logits)
    if texts.in_other_context is not None:
        measures.add_beside(of(texts.in_other_context, texts.concepts[texts.few], texts.few), _SCALE, OTHER_CONTEXT)
    measures.add_beside(of(texts.in_other_norm), _RECOVERY, OTHER_NORM)
    measures.add_beside(of(texts.by_chance, texts.chance.concepts), _RECOVERY, RANDOM)
    sae = texts.method.autoencoder()
    if sae is not None:
        batches = (part.to(sae.device, sae.dtype) for part in texts.hidden.split(CHUNK))
        measures.metrics.update(reconstruction_quality(batches, sae.encode, sae))
    if isinstance(sae, ClassifSAE):
        with torch.no_grad():
            said = texts.logits.rule.decide(sae.classify(texts.concepts.to(sae.device)).cpu())
        measures.metrics["head_agreement"] = float((said == texts.predicted).double().mean())
    return measures


class ClassScores(Exact):
    """Of one class, against the gold labels."""

    recall: Share
    precision: Share
    f1: Share
    n_texts: Count


class ClassRecovery(Exact):
    """Decisions for one class that stay the same: through the concepts, with the untouched state, with no concept."""

    n_texts: Count
    recovery: Share | None
    ceiling: Share | None
    floor: Share | None


class CompletenessDetails(Exact):
    """A concept's and a class's own numbers."""

    activation_rate: list[Share]
    by_class_original: list[ClassScores]
    by_class_bottleneck: list[ClassScores]
    recovery_by_class: list[ClassRecovery]


_share = partial(Measure, unit="share", has_interval=True, presence="always")
_of_sae = partial(Measure, presence="optional")  # of other methods nothing of the kind is known

_RACC = _share(
    "recovery_accuracy", "Decisions recovered by the concepts (RAcc)",
    "Texts whose class stays the same through the concepts alone (RAcc).",
    better=1, column="RAcc", headline=3, is_essential=True,
)  # fmt: skip
_FLOOR = _share(
    "recovery_floor", "  its floor: with no concept at all", "RAcc with no concept at all: the floor.",
    column="floor", headline=5, presence="nullable",
)  # fmt: skip
_CEILING = _share(
    "recovery_ceiling", "  its ceiling: with the hidden state untouched",
    "RAcc of the untouched hidden state, run on by the same protocol: the ceiling.",
    column="ceiling", headline=6,
)  # fmt: skip
_SCALED = _share(
    "scaled_recovery", "Way from the floor to the ceiling that the concepts go (scaled RAcc)",
    "Share of the way from floor to ceiling: RAcc less its floor, divided by its ceiling less its floor.",
    unit="ratio", better=1, column="scaled", headline=7, presence="nullable", is_essential=True,
    limits=(Limit(
        "below", 0.90, "scaled RAcc is below {limit}",
        "The concepts go only {value:.1%} of the way from what no concept recovers of the model's decisions to "
        "what the untouched state does (below {limit}): they miss part of what it uses.",
        "Train longer (train.total_samples), or use more concepts (sae.n_concepts).",
        "Use more concepts (sae.n_concepts), or another method.",
    ),),
)  # fmt: skip

EVALUATION = EvaluationSpec(
    about="How much of the model's decisions the concepts alone recover.",
    measure=measure,
    details=CompletenessDetails,
    needs=frozenset({"bottleneck"}),
    measures=(
        _RACC, _RACC.beside(OTHER_CONTEXT, presence="optional", headline=4), _RACC.beside(OTHER_NORM),
        _RACC.beside(RANDOM),
        _FLOOR, _FLOOR.beside(OTHER_CONTEXT, presence="optional"),
        _CEILING, _CEILING.beside(OTHER_CONTEXT, presence="optional"),
        _SCALED,
        _SCALED.beside(OTHER_CONTEXT, presence="optional", better=1, column="scaled, other context", headline=8),
        _SCALED.beside(OTHER_NORM, better=1, column="scaled, other norm", headline=9),
        _SCALED.beside(RANDOM, column="scaled, random", headline=10),
        _share(
            "worst_class_recovery", "RAcc of the class that has least",
            "RAcc of the predicted class that has least.", better=1, column="worst class", headline=11,
        ),
        _share("rarest_class_recovery", "RAcc of the rarest class", "RAcc of the class that is predicted least often."),
        _share(
            "unexplained_texts", "Texts on which no concept is active", "Texts that no concept says anything about.",
            better=-1, column="no concept", headline=12, limits=(Limit(
                "above", 0.05, "no concept is active on more than {limit} of the texts",
                "No concept is active on {value:.1%} of the texts (above {limit}): the concepts say nothing about the "
                "decisions on them.",
                "Use more concepts (sae.n_concepts), or another seed (train.seed).",
                "Use more concepts (sae.n_concepts), or another method.",
            ),),
        ),
        _share(
            "original_accuracy", "Accuracy of the model", "Accuracy of the model against the gold labels.",
            headline=1, uses_labels=True,
        ),
        _share(
            "bottleneck_accuracy", "Accuracy through the concepts alone", "The same through the concepts alone.",
            better=1, headline=2, uses_labels=True,
        ),
        _share(
            "mean_activation_rate", "Activation rate of a concept, mean",
            "Share of the texts on which a concept fires, mean over concepts.",
            better=-1, column="mean rate", headline=13, is_essential=True,
        ),
        _share(
            "max_activation_rate", "Activation rate of a concept, largest",
            "Share of the texts on which the most frequent concept fires.",
            better=-1, column="largest rate", headline=14, limits=(
                Limit(
                    "at", 0, "no concept fires on any test text",
                    "No concept fires on any test text: there is nothing to explain the decisions with.",
                    "Check that the SAE was trained on states of this model, and train longer (train.total_samples).",
                    "Check that the method was fitted on states of this model and hook.",
                ),
                Limit(
                    "above", 0.5, "a concept is active on more than half of the texts",
                    "One concept is active on {value:.1%} of the texts (above {limit}): it says little about any of "
                    "them.",
                    "Raise sae.activation_rate_coefficient or lower sae.gamma.",
                    "Compare it with a method whose concepts fire seldom, such as ClassifSAE.",
                ),
            ),
        ),
        _of_sae(
            "explained_variance", "Explained variance of the hidden states",
            "Of an SAE's reconstruction from all latents.",
        ),
        _of_sae("mse", "Error of the reconstruction (MSE)", "Its mean squared error an element."),
        _of_sae("l0", "Active latents a text (L0)", "Latents that fire on a text, mean."),
        _of_sae(
            "dead_latents", "Latents that are never active", "Latents that fire on no test text.", "share",
            limits=(Limit(
                "above", 0.5, "more than half of the latents fire on no test text",
                "{value:.1%} of the latents fire on no test text (above half): the SAE is larger than it needs to be.",
                "Lower sae.d_sae, or train longer (train.total_samples).",
                "Use a smaller SAE, or one that was trained longer on such texts.",
            ),),
        ),
        _of_sae("head_agreement", about="Texts on which a ClassifSAE's head and the model agree.", unit="share"),
    ),
)  # fmt: skip
