"""How well classes are told from features: 95 % intervals over test texts, paired tests against one approach."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from sae_lens_classif.evals.bootstrap import Statistic, interval, resample
from sae_lens_classif.evals.significance import ALPHA, holm, p_value

Labels: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Difference:
    """How far the macro F1 of one approach is from another's, on the same resampled texts.

    Attributes:
        mean: On all texts.
        ci95: 95 % interval.
        p_holm: Two-sided p-value, corrected for the number of approaches that are held against that one.
        is_real: Whether that is at most 0.05.
    """

    mean: float
    ci95: tuple[float, float]
    p_holm: float
    is_real: bool


@dataclass(frozen=True)
class Score:
    """What an approach reaches on the test texts.

    Attributes:
        macro_f1: Mean F1 over the classes that texts have, 0..1.
        macro_f1_ci95: Its 95 % interval.
        accuracy: Share of the texts whose class is right.
        accuracy_ci95: Its 95 % interval.
        f1_by_class: F1 of each class; None where no text has it.
        difference: From the approach that all are held against; None for that itself.
    """

    macro_f1: float
    macro_f1_ci95: tuple[float, float]
    accuracy: float
    accuracy_ci95: tuple[float, float]
    f1_by_class: tuple[float | None, ...]
    difference: Difference | None = None


def score_all(
    predicted: Mapping[str, Labels], gold: Labels, n_classes: int, against: str, n_bootstrap: int = 1000, seed: int = 0
) -> dict[str, Score]:
    """Score several approaches on the same texts.

    Args:
        predicted: int64 (N,), classes by each approach.
        gold: int64 (N,), the texts' classes.
        n_classes: Number of classes C.
        against: The approach that the others are held against.
        n_bootstrap: Resamplings of the texts.
        seed: Of the resampling.
    """
    of_all = {name: f1_and_accuracy(own, gold, n_classes) for name, own in predicted.items()}
    drawn = {name: resample(statistic, len(gold), n_bootstrap, seed) for name, statistic in of_all.items()}
    whole = {name: statistic(torch.ones(1, len(gold)))[0].tolist() for name, statistic in of_all.items()}
    differences = _differences(whole, drawn, against)
    found = {}
    for name, own in predicted.items():
        (f1_low, f1_high), (low, high) = (interval(drawn[name][:, place]) for place in (0, 1))
        found[name] = Score(
            macro_f1=whole[name][0],
            macro_f1_ci95=(f1_low, f1_high),
            accuracy=whole[name][1],
            accuracy_ci95=(low, high),
            f1_by_class=_f1_by_class(own, gold, n_classes),
            difference=differences.get(name),
        )
    return found


def f1_and_accuracy(predicted: Labels, gold: Labels, n_classes: int) -> Statistic:
    """Macro F1 and accuracy as a statistic: from how often each text was drawn, (r, N), to both, (r, 2).

    Args:
        predicted: int64 (N,), classes.
        gold: int64 (N,), the texts' classes.
        n_classes: Number of classes C.
    """
    said, true = (torch.nn.functional.one_hot(torch.from_numpy(one), n_classes).float() for one in (predicted, gold))
    right = said * true

    def statistic(weights: torch.Tensor) -> torch.Tensor:
        n_true = weights @ true
        f1 = 2 * (weights @ right) / (weights @ said + n_true).clamp_min(1e-9)
        macro = torch.where(n_true > 0, f1, 0.0).sum(dim=1) / (n_true > 0).sum(dim=1)
        return torch.stack([macro, (weights @ right).sum(dim=1) / weights.sum(dim=1)], dim=1)

    return statistic


def _differences(
    whole: Mapping[str, list[float]], drawn: Mapping[str, torch.Tensor], against: str
) -> dict[str, Difference]:
    less = {name: values[:, 0] - drawn[against][:, 0] for name, values in drawn.items() if name != against}
    corrected = holm([p_value(values) for values in less.values()])
    found = {}
    for (name, values), p in zip(less.items(), corrected, strict=True):
        low, high = interval(values)
        found[name] = Difference(whole[name][0] - whole[against][0], (low, high), p, p <= ALPHA)
    return found


def _f1_by_class(predicted: Labels, gold: Labels, n_classes: int) -> tuple[float | None, ...]:
    found: list[float | None] = []
    for one in range(n_classes):
        said, true = predicted == one, gold == one
        found.append(float(2 * (said & true).sum() / (said.sum() + true.sum())) if true.any() else None)
    return tuple(found)
