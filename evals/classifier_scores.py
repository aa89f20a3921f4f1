"""How good the classifier itself is: class by class, and whether its probabilities can be believed."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.stats import binomtest

from sae_lens_classif.decisions import DecisionRule
from sae_lens_classif.evals.completeness import class_scores

_N_BINS = 10


@dataclass(frozen=True)
class ClassScores:
    """How well a model knows a class.

    Attributes:
        n_texts: Number of its texts.
        recall: Share of them that get it; None where there are none.
        recall_ci95: Its 95 % interval; None where there are none.
        precision: Share of the texts that get it to which it belongs; None where no text gets it.
        f1: Harmonic mean of both; 0 where a text has or gets it and none both, None where none has it.
    """

    n_texts: int
    recall: float | None
    recall_ci95: tuple[float, float] | None
    precision: float | None
    f1: float | None


@dataclass(frozen=True)
class SurenessBin:
    """Texts on which a model is about equally sure.

    Attributes:
        n_texts: How many.
        sureness: Mean probability of what it decides.
        accuracy: Share of them that it decides rightly.
        accuracy_ci95: Its 95 % interval.
    """

    n_texts: int
    sureness: float
    accuracy: float
    accuracy_ci95: tuple[float, float]


@dataclass(frozen=True)
class Calibration:
    """Whether a model is as often right as it is sure.

    Attributes:
        bins: Texts by the probability of what is decided, in tenths; those that are empty are left out.
        sureness: Mean probability of what is decided.
        error: Expected calibration error: mean distance of accuracy and sureness of a bin, weighted by its texts, 0..1.
    """

    bins: tuple[SurenessBin, ...]
    sureness: float
    error: float


@dataclass(frozen=True)
class ClassifierScores:
    """How good a model is on some texts.

    Attributes:
        accuracy: Share that is decided rightly.
        balanced_accuracy: Mean recall of the classes that have texts.
        macro_f1: Mean F1 of the same classes.
        by_class: One a class.
        confusion: int64 (C, C), texts of each class (row) by what is decided (column); None of several labels a text.
        calibration: None where it is not known how sure the model was.
    """

    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    by_class: tuple[ClassScores, ...]
    confusion: torch.Tensor | None
    calibration: Calibration | None


def share_ci95(n_hits: int, n_texts: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share (Journal of the American Statistical Association 22, 1927).

    Args:
        n_hits: Number of texts that count.
        n_texts: Number of all, at least 1.
    """
    interval = binomtest(n_hits, n_texts).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def classifier_scores(
    predicted: torch.Tensor,
    labels: torch.Tensor,
    n_classes: int,
    rule: DecisionRule,
    sureness: torch.Tensor | None = None,
) -> ClassifierScores:
    """Scores of a model's decisions.

    Args:
        predicted: int64 (N,), decisions.
        labels: int64 (N,), what they should be.
        n_classes: Number of classes C.
        rule: What a decision is.
        sureness: float (N,), probability of each decision. Default: not known.
    """
    by_class = _by_class(predicted, labels, n_classes, rule)
    is_right = predicted == labels
    return ClassifierScores(
        accuracy=float(is_right.double().mean()),
        balanced_accuracy=_mean([scores.recall for scores in by_class]),
        macro_f1=_mean([scores.f1 for scores in by_class]),
        by_class=by_class,
        confusion=_confusion(predicted, labels, n_classes) if rule.n_columns(n_classes) == 1 else None,
        calibration=None if sureness is None else calibration(sureness, is_right),
    )


def _by_class(
    predicted: torch.Tensor, labels: torch.Tensor, n_classes: int, rule: DecisionRule
) -> tuple[ClassScores, ...]:
    is_said = rule.holds(predicted, n_classes).any(dim=0).tolist()
    return tuple(
        ClassScores(
            n_texts=(n_texts := int(scores["n_texts"])),
            recall=scores["recall"] if n_texts else None,
            recall_ci95=share_ci95(round(scores["recall"] * n_texts), n_texts) if n_texts else None,
            precision=scores["precision"] if said else None,
            f1=scores["f1"] if n_texts else None,
        )
        for said, scores in zip(is_said, class_scores(predicted, labels, n_classes, rule), strict=True)
    )


def _mean(scores: Sequence[float | None]) -> float:
    """Mean of those that are known; 0 where none is."""
    known = [score for score in scores if score is not None]
    return sum(known) / len(known) if known else 0.0


def _confusion(predicted: torch.Tensor, labels: torch.Tensor, n_classes: int) -> torch.Tensor:
    return (labels * n_classes + predicted).bincount(minlength=n_classes**2).reshape(n_classes, n_classes)


def calibration(sureness: torch.Tensor, is_right: torch.Tensor) -> Calibration:
    """Whether a model is as often right as it is sure (Guo et al., arXiv 1706.04599), by ten bins of equal width.

    Args:
        sureness: float (N,), 0..1.
        is_right: bool (N,).
    """
    sureness = sureness.double()
    bin_of = (sureness * _N_BINS).long().clamp(max=_N_BINS - 1)
    bins = []
    for number in range(_N_BINS):
        own = bin_of == number
        if n_texts := int(own.sum()):
            hits = int(is_right[own].sum())
            bins.append(SurenessBin(n_texts, float(sureness[own].mean()), hits / n_texts, share_ci95(hits, n_texts)))
    error = sum(part.n_texts * abs(part.accuracy - part.sureness) for part in bins) / max(len(sureness), 1)
    return Calibration(tuple(bins), float(sureness.mean()), error)
