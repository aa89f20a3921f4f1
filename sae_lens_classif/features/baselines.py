"""What features of an SAE are held against: features that know nothing of the texts but how many are active."""

import copy
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sae_lens import SAE
from scipy.sparse import csr_array


def commonest(labels: npt.NDArray[np.int64], n_texts: int) -> npt.NDArray[np.int64]:
    """The commonest class of training texts, int64 (N,), said of each of so many others, int64 (n_texts,)."""
    return np.full(n_texts, int(np.bincount(labels).argmax()))


def random_like(rows: csr_array, seed: int) -> csr_array:
    """Random features, as many of each text as it has, with its values.

    Args:
        rows: float32 (N, F).
        seed: Draws the features.

    Returns:
        float32 (N, F), sorted.
    """
    random, (n_texts, width) = np.random.default_rng(seed), rows.shape
    counts = np.diff(rows.indptr)
    indices = [np.sort(random.choice(width, count, replace=False)) for count in counts]
    found = csr_array(
        (rows.data.copy(), np.concatenate([*indices, np.empty(0, np.int64)]).astype(np.int64), rows.indptr.copy()),
        shape=(n_texts, width),
    )
    found.has_sorted_indices = True
    return found


def untrained(sae: SAE[Any], seed: int) -> SAE[Any]:
    """An SAE of the same kind and sizes with new weights: directions of the hidden state that nothing was learned of.

    Encoder columns are random and of norm 1; biases and thresholds are 0.

    Args:
        sae: The trained one, which is left alone.
        seed: Draws the weights.
    """
    new = copy.deepcopy(sae)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in new.parameters():
            weight.zero_()
        directions = torch.randn(new.W_enc.shape, generator=generator)
        new.W_enc.copy_(directions / directions.norm(dim=0))
        new.W_dec.copy_(new.W_enc.T)
    return new
