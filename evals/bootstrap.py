"""95 % intervals by resampling texts."""

from collections.abc import Callable

import torch

Statistic = Callable[[torch.Tensor], torch.Tensor]
_CHUNK = 2**24


def bootstrap_interval(statistic: Statistic, n_texts: int, n_resamples: int, seed: int) -> list[float]:
    """Percentile interval of a statistic over resampled texts.

    Args:
        statistic: From how often each text was drawn, float32 (r, N), to its values, float (r,) or (r, s).
        n_texts: Number of texts N.
        n_resamples: Number of resamplings.
        seed: Seed of the resampling.

    Returns:
        ``[low, high]``, the 2.5 % and 97.5 % quantiles; for s statistics a list of s such pairs.
    """
    generator = torch.Generator().manual_seed(seed)
    chunk = max(1, _CHUNK // n_texts)
    values = []
    for start in range(0, n_resamples, chunk):
        drawn = torch.randint(n_texts, (min(chunk, n_resamples - start), n_texts), generator=generator)
        weights = torch.zeros(drawn.shape).scatter_add_(1, drawn, torch.ones(drawn.shape))
        values.append(statistic(weights))
    quantiles = torch.cat(values).double().nanquantile(torch.tensor([0.025, 0.975], dtype=torch.float64), dim=0)
    intervals: list[float] = quantiles.movedim(0, -1).tolist()
    return intervals


def mean_of(values: torch.Tensor) -> Statistic:
    """The mean over texts, as a statistic.

    Args:
        values: float or bool (N,); NaN where a text has no value.
    """
    known = ~values.float().isnan()
    filled = values.float().nan_to_num()
    return lambda weights: (weights @ filled) / (weights @ known.float())
