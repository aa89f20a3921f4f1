"""Which method is ahead over several data sets: ranks."""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import rankdata


def mean_ranks(values: Mapping[str, Sequence[float | None]], better: int) -> tuple[dict[str, float], int]:
    """Mean rank of each method over the data sets on which every one of them has a value, as in Friedman's test.

    Args:
        values: For each method its value on each of d data sets; None where it has none.
        better: 1 where more is better, -1 where less is.

    Returns:
        For each method its mean rank, 1 being best and equal values sharing theirs; and over how many data sets.
        Nothing where that is none, or there are not two methods.
    """
    whole = [column for column in zip(*values.values(), strict=True) if None not in column]
    if len(values) < 2 or not whole:
        return {}, 0
    ranks = rankdata(-better * np.array(whole, dtype=np.float64), axis=1).mean(axis=0)
    return dict(zip(values, ranks.tolist(), strict=True)), len(whole)
