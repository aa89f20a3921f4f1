"""One table of texts as training and test texts."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def held_out_rows(labels: Sequence[int] | npt.NDArray[np.int64], share: float, seed: int = 0) -> npt.NDArray[np.int64]:
    """Rows to test on, in their order: of each label the same share, rounded up, but all of them only for a share of 1.

    Labels with a single row are taken together.

    Args:
        labels: Of each text.
        share: Of the texts that are held out, above 0; 1 for all.
        seed: Chooses them.
    """
    random, groups = np.random.default_rng(seed), dict[int, list[int]]()
    for row, label in enumerate(labels):
        groups.setdefault(int(label), []).append(row)
    single = [row for rows in groups.values() for row in rows if len(rows) == 1]
    chosen: list[int] = []
    for rows in [*(rows for rows in groups.values() if len(rows) > 1), single]:
        n_test = int(np.ceil(share * len(rows) - 1e-9))
        n_test = n_test if share == 1 else min(max(len(rows) - 1, 0), n_test)
        chosen += random.permutation(rows)[:n_test].tolist()
    return np.sort(np.array(chosen, dtype=np.int64))
