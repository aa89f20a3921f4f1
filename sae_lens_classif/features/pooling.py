"""From the activations of a text's tokens to one row a text.

Sums are taken in float32, in the order of the tokens: how tokens are put together in batches changes no bit.
"""

import re
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from sae_lens_classif.errors import UserError

How = Literal["last", "mean", "max", "sum", "counts"]
Lengths = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
_HOWS = get_args(How)
_WORDS = re.compile(rf"({'|'.join(_HOWS)})(\d+)?")


@dataclass(frozen=True)
class Pooling:
    """One way to make a row of a text of the activations of its tokens.

    Attributes:
        how: ``last`` token's; ``mean``, ``max`` or ``sum`` over tokens; ``counts``: on how many tokens a feature is
            among the most active ones.
        top: Of ``counts``: so many features of a token count, those with the largest positive activations, of equal
            ones the first. Default: all that are positive.
    """

    how: How
    top: int | None = None

    def __post_init__(self) -> None:
        if self.top is not None and (self.how != "counts" or self.top < 1):
            raise UserError(
                f"the pooling {self.how}{self.top} is none: a number of features, 1 or more, goes with counts alone, "
                "as in counts20"
            )

    @classmethod
    def of(cls, words: str) -> "Pooling":
        """A pooling by its name, as ``str`` gives it: ``mean``, ``counts20``.

        Raises:
            UserError: If there is no such pooling.
        """
        match = _WORDS.fullmatch(words)
        if match is None:
            raise UserError(f"there is no pooling {words!r}; valid: {', '.join(_HOWS)}, counts20 (any number)")
        return cls(cast(How, match[1]), int(match[2]) if match[2] else None)

    def __str__(self) -> str:
        return f"{self.how}{self.top or ''}"


def pool(tokens: csr_array, lengths: Lengths, pooling: Pooling) -> csr_array:
    """Make a row a text of sparse activations.

    Args:
        tokens: float32 (T, F), activations of the tokens of N texts, one text after the other.
        lengths: int64 (N,), tokens of each text, T together. A text without any gets a row of zeros.
        pooling: How.

    Returns:
        float32 (N, F), sorted, without stored zeros.
    """
    if pooling.how == "counts":
        tokens = _top(tokens, pooling.top)
    rows = _max(tokens, lengths) if pooling.how == "max" else _chosen(lengths, pooling.how == "last") @ tokens
    if pooling.how == "mean":
        rows.data /= np.repeat(lengths, np.diff(rows.indptr)).astype(np.float32)
    rows.sort_indices()
    rows.eliminate_zeros()
    return rows


def pool_dense(tokens: Floats, lengths: Lengths, pooling: Pooling) -> Floats:
    """Make a row a text of hidden states; see ``pool``.

    Raises:
        UserError: If counts are asked for, which are of features that are active or not.
    """
    if pooling.how == "counts":
        raise UserError("counts are of an SAE's features; hidden states are pooled by last, mean, max or sum")
    if pooling.how == "max":
        largest, at = np.zeros((len(lengths), tokens.shape[1]), np.float32), np.flatnonzero(lengths)
        if len(at):
            largest[at] = np.maximum.reduceat(tokens, (np.cumsum(lengths) - lengths)[at], axis=0)
        return largest
    rows: Floats = _chosen(lengths, pooling.how == "last") @ tokens
    if pooling.how == "mean":
        rows /= np.maximum(lengths, 1).astype(np.float32)[:, None]
    return rows


def _chosen(lengths: Lengths, only_last: bool) -> csr_array:
    """float32 (N, T): ones at each text's tokens, or at its last one; its products are sums in the tokens' order."""
    ends = np.cumsum(lengths)
    n_tokens = int(lengths.sum())
    if only_last:
        at = np.flatnonzero(lengths)
        return csr_array((np.ones(len(at), np.float32), (at, ends[at] - 1)), shape=(len(lengths), n_tokens))
    parts = np.ones(n_tokens, np.float32), np.arange(n_tokens), np.concatenate([[0], ends])
    return csr_array(parts, shape=(len(lengths), n_tokens))


def above(rows: Any, threshold: float | None) -> Any:
    """Rows as they are, or ones above a threshold; see ``binarised``.

    Args:
        rows: float32 (N, F); sparse where there is a threshold.
        threshold: None: as they are.
    """
    return rows if threshold is None else binarised(rows, threshold)


def binarised(rows: csr_array, threshold: float = 0.0) -> csr_array:
    """Ones where a row's value is above a threshold, and nothing elsewhere.

    Args:
        rows: float32 (N, F).
        threshold: 0 or more: what is not stored is 0, and not above it.

    Raises:
        UserError: If the threshold is below 0 or no number.
    """
    if not threshold >= 0:
        raise UserError(f"the threshold of binarised features is {threshold}; it must be 0 or more")
    ones = rows.copy()
    ones.data = (rows.data > threshold).astype(np.float32)
    ones.eliminate_zeros()
    return ones


def _max(tokens: csr_array, lengths: Lengths) -> csr_array:
    """The largest over tokens; where a feature is stored for fewer tokens than a text has, zeros are among them."""
    shape = (len(lengths), tokens.shape[1])
    text = np.repeat(np.repeat(np.arange(len(lengths)), lengths), np.diff(tokens.indptr))
    order = np.lexsort((tokens.indices, text))
    text, feature, value = text[order], tokens.indices[order], tokens.data[order]
    starts = np.flatnonzero(np.diff(text, prepend=-1) | np.diff(feature, prepend=-1))
    if not len(starts):
        return csr_array(shape, dtype=np.float32)
    largest = np.maximum.reduceat(value, starts)
    is_everywhere = np.diff(starts, append=len(value)) == lengths[text[starts]]
    largest = np.where(is_everywhere, largest, np.maximum(largest, 0)).astype(np.float32)
    return csr_array((largest, (text[starts], feature[starts])), shape=shape)


def _top(tokens: csr_array, top: int | None) -> csr_array:
    """Ones at each token's most active features."""
    row = np.repeat(np.arange(tokens.shape[0]), np.diff(tokens.indptr))
    order = np.lexsort((tokens.indices, -tokens.data, row))
    order = order[tokens.data[order] > 0]
    if top is not None:
        n_before = np.searchsorted(row[order], np.arange(tokens.shape[0]))  # entries of the tokens before each
        order = order[np.arange(len(order)) - n_before[row[order]] < top]
    ones = np.ones(len(order), np.float32)
    return csr_array((ones, (row[order], tokens.indices[order])), shape=tokens.shape)
