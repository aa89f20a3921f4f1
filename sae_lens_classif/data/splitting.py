"""One table of texts as training and test texts."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


def held_out_rows(labels: Sequence[Any], share: float, seed: int = 0) -> npt.NDArray[np.int64]:
    """Rows to test on, in their order: of each label the same share, rounded up, but never all of them.

    Args:
        labels: Of each text, anything; those of the same ``repr`` are the same.
        share: Of the texts that are held out, above 0 and below 1.
        seed: Chooses them.
    """
    random, groups = np.random.default_rng(seed), dict[str, list[int]]()
    for row, label in enumerate(labels):
        groups.setdefault(repr(label), []).append(row)
    chosen: list[int] = []
    for rows in groups.values():
        n_test = min(len(rows) - 1, int(np.ceil(share * len(rows) - 1e-9)))
        chosen += random.permutation(rows)[:n_test].tolist()
    return np.sort(np.array(chosen, dtype=np.int64))
