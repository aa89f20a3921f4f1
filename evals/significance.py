"""Is a difference more than chance: p-values from resampled values, corrected for the number of questions."""

import math
from collections.abc import Sequence

import torch

ALPHA = 0.05  # a corrected p-value up to it is called a difference


def p_value(values: torch.Tensor) -> float:
    """Two-sided bootstrap p-value of a difference: how well 0 would fit its resampled values.

    ``2 (1 + min(#{values <= 0}, #{values >= 0})) / (R + 1)``, at most 1: with R resamplings, never less than
    ``2 / (R + 1)`` (Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 4.2).

    Args:
        values: The resampled differences, float64 (R,); NaN where a resampling gave none, which does not count.
    """
    known = values[~values.isnan()]
    beyond = min(int((known <= 0).sum()), int((known >= 0).sum()))
    return min(1.0, 2 * (1 + beyond) / (len(known) + 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number, so that the chance of any false alarm among them stays what it is called.

    Holm's step-down correction (Scandinavian Journal of Statistics 6, 1979): the smallest of m times m, the next
    times m - 1 and so on, none less than the one before.

    Args:
        p_values: Of one question each, 0..1.
    """
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected


def resamplings_needed(n_questions: int) -> int:
    """How many resamplings it takes for one of so many questions to be a difference after the correction."""
    return math.ceil(2 * n_questions / ALPHA - 1e-9) - 1
