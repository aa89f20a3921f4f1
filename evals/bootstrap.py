"""95 % intervals by resampling texts."""

from collections.abc import Callable

import torch
from tqdm.auto import tqdm

Statistic = Callable[[torch.Tensor], torch.Tensor]
_CHUNK = 2**24


def resample(statistic: Statistic, n_texts: int, n_resamples: int, seed: int) -> torch.Tensor:
    """Values of a statistic over resampled texts; the same seed draws the same texts for every statistic.

    Args:
        statistic: From how often each text was drawn, float32 (r, N), to its values, float (r, s).
        n_texts: Number of texts N.
        n_resamples: Number of resamplings R.
        seed: Seed of the resampling.

    Returns:
        float64 (R, s).
    """
    generator = torch.Generator().manual_seed(seed)
    chunk = max(1, _CHUNK // n_texts)
    values = []
    with tqdm(total=n_resamples, desc="Resampling texts", unit=" times", delay=1, leave=False) as progress:
        for start in range(0, n_resamples, chunk):
            drawn = torch.randint(n_texts, (min(chunk, n_resamples - start), n_texts), generator=generator)
            weights = torch.zeros(drawn.shape).scatter_add_(1, drawn, torch.ones(drawn.shape))
            values.append(statistic(weights))
            progress.update(len(drawn))
    return torch.cat(values).double()


def interval(values: torch.Tensor) -> list[float]:
    """The middle 95 % of resampled values.

    Args:
        values: float64 (R,); NaN where a resampling gave none.

    Returns:
        ``[low, high]``, the 2.5 % and 97.5 % quantiles.
    """
    low, high = values.nanquantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return [low, high]


def mean_of(values: torch.Tensor) -> Statistic:
    """The mean over texts, as a statistic.

    Args:
        values: float or bool (N,); NaN where a text has no value.
    """
    known = ~values.float().isnan()
    filled = values.float().nan_to_num()
    return lambda weights: (weights @ filled) / (weights @ known.float())
