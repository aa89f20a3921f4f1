"""Macro F1 of many classifiers on the same resampled texts: means over them and differences, with intervals."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from sae_lens_classif.evals.base import Exact
from sae_lens_classif.evals.bootstrap import interval, resample
from sae_lens_classif.evals.significance import ALPHA, holm, p_value
from sae_lens_classif.features.classifiers import Labels
from sae_lens_classif.features.scores import Difference, f1_and_accuracy

_Key = TypeVar("_Key", bound=Hashable)


class Interval(Exact):
    """A number with its 95 % interval over resampled test texts."""

    value: float
    ci95: tuple[float, float]


@dataclass(frozen=True)
class Resampled:
    """A number on all texts and on resampled ones.

    Attributes:
        value: On all.
        drawn: float64 (R,).
    """

    value: float
    drawn: torch.Tensor

    def __sub__(self, other: "Resampled") -> "Resampled":
        return Resampled(self.value - other.value, self.drawn - other.drawn)

    def share_of(self, other: "Resampled") -> "Resampled | None":
        """This as a share of another number; None where that is 0."""
        return Resampled(self.value / other.value, self.drawn / other.drawn) if other.value > 0 else None

    def interval(self) -> Interval:
        """With its 95 % interval."""
        low, high = interval(self.drawn)
        return Interval(value=self.value, ci95=(low, high))


def macro_f1_of(
    predicted: Mapping[_Key, Labels], gold: Labels, n_classes: int, n_bootstrap: int, seed: int
) -> dict[_Key, tuple[Resampled, float]]:
    """Macro F1 of several classifiers, on the same resampled texts, and their accuracy.

    Args:
        predicted: int64 (N,), classes by each.
        gold: int64 (N,), the texts' classes.
        n_classes: Number of classes C.
        n_bootstrap: Resamplings R.
        seed: Of the resampling.
    """
    of_all = [f1_and_accuracy(one, gold, n_classes) for one in predicted.values()]
    if not of_all:
        return {}

    def statistic(weights: torch.Tensor) -> torch.Tensor:
        return torch.cat([one(weights) for one in of_all], dim=1)

    drawn, once = resample(statistic, len(gold), n_bootstrap, seed), statistic(torch.ones(1, len(gold)))[0].tolist()
    return {
        key: (Resampled(once[2 * place], drawn[:, 2 * place]), once[2 * place + 1])
        for place, key in enumerate(predicted)
    }


def mean_of(numbers: Sequence[Resampled]) -> Resampled | None:
    """Their mean; None where there are none."""
    if not numbers:
        return None
    drawn = torch.stack([one.drawn for one in numbers]).mean(dim=0)
    return Resampled(sum(one.value for one in numbers) / len(numbers), drawn)


def corrected(asked: Mapping[_Key, Resampled]) -> dict[_Key, Difference]:
    """Differences, with p-values corrected for their number (Holm)."""
    p_values, found = holm([p_value(one.drawn) for one in asked.values()]), {}
    for (key, one), p in zip(asked.items(), p_values, strict=True):
        low, high = interval(one.drawn)
        found[key] = Difference(one.value, (low, high), p, p <= ALPHA)
    return found
