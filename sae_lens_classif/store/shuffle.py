"""A shuffled order of n rows that needs no memory: a keyed pseudo-random permutation.

A Feistel network over the smallest even number of bits that holds n, walked until the value is below
n (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002). Any position of any epoch can be
asked for at once, so a killed training goes on exactly where it was.
"""

import numpy as np
import numpy.typing as npt

_ROUNDS = 8
Rows = npt.NDArray[np.int64]


def permute(positions: Rows, n: int, *key: int) -> Rows:
    """Rows at some positions of the order of ``range(n)`` that a key stands for.

    Args:
        positions: int64 (m,), each in 0..n-1.
        n: Number of rows.
        *key: Whole numbers, such as a seed and an epoch; another key gives another order.

    Returns:
        int64 (m,), each in 0..n-1; all n positions together give every row once.
    """
    half_bits = max(1, ((n - 1).bit_length() + 1) // 2)
    round_keys = np.random.SeedSequence(key).generate_state(_ROUNDS, np.uint64).astype(np.uint64)
    rows = _feistel(positions.astype(np.uint64), half_bits, round_keys)
    while (outside := rows >= n).any():
        rows[outside] = _feistel(rows[outside], half_bits, round_keys)
    return rows.astype(np.int64)


def _feistel(
    values: npt.NDArray[np.uint64], half_bits: int, round_keys: npt.NDArray[np.uint64]
) -> npt.NDArray[np.uint64]:
    shift, mask = np.uint64(half_bits), np.uint64((1 << half_bits) - 1)
    left, right = values >> shift, values & mask
    for round_key in round_keys:
        left, right = right, left ^ (_mix(right ^ round_key) & mask)
    return (left << shift) | right


def _mix(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of SplitMix64: every input bit reaches every output bit; arithmetic modulo 2^64."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
