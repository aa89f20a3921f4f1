"""How much each feature tells of the classes, by the training texts: what the best m are chosen by."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array, issparse

Scores: TypeAlias = npt.NDArray[np.float64]
Labels: TypeAlias = npt.NDArray[np.int64]


def mean_difference(rows: Any, labels: Labels) -> Scores:
    """Largest distance, over classes, of a feature's mean on a class from its mean on the others.

    With two classes what k-sparse probing chooses by (Gurnee et al. 2023, as sae-probes has it).

    Args:
        rows: float (N, F), sparse or dense.
        labels: int64 (N,).

    Returns:
        float64 (F,).
    """
    largest: Scores = np.abs(class_differences(rows, labels)).max(axis=0)
    return largest


def class_differences(rows: Any, labels: Labels) -> Scores:
    """How far a feature's mean on the texts of each class that occurs is above its mean on all others.

    Args:
        rows: float (N, F), sparse or dense.
        labels: int64 (N,).

    Returns:
        float64 (C, F).
    """
    inside, outside = class_means(rows, labels)
    return inside - outside


def class_means(rows: Any, labels: Labels) -> tuple[Scores, Scores]:
    """A feature's mean on the texts of each class that occurs, and on all others.

    Args:
        rows: float (N, F), sparse or dense.
        labels: int64 (N,).

    Returns:
        float64 (C, F) each.
    """
    of_class, counts = class_sums(rows, labels)
    others, n_others = of_class.sum(axis=0) - of_class, counts.sum() - counts
    return of_class / counts[:, None], others / np.maximum(n_others, 1)[:, None]


def mutual_information(rows: Any, labels: Labels) -> Scores:
    """Mutual information, in nats, of whether a feature is above 0 and the class.

    Args:
        rows: float (N, F), sparse or dense.
        labels: int64 (N,).

    Returns:
        float64 (F,).
    """
    active, counts = class_sums(_above_zero(rows), labels)
    n, p_class = counts.sum(), counts / counts.sum()
    together = np.stack([active, counts[:, None] - active]) / n  # (2, C, F): above 0, or not
    alone = together.sum(axis=1, keepdims=True) * p_class[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(together > 0, together * np.log(together / alone), 0.0)
    found: Scores = terms.sum(axis=(0, 1))
    return found


def l1(rows: Any, labels: Labels) -> Scores:
    """Largest coefficient, over classes, of linear classifiers with an L1 penalty, one class against the others each.

    Args:
        rows: float (N, F), sparse or dense, of like scale.
        labels: int64 (N,).

    Returns:
        float64 (F,).
    """
    from sklearn.svm import LinearSVC

    found: Scores = np.abs(LinearSVC(penalty="l1", dual=False, C=1.0, max_iter=10_000).fit(rows, labels).coef_).max(
        axis=0
    )
    return found


def class_sums(rows: Any, labels: Labels) -> tuple[Scores, Scores]:
    """Sums over the texts of each class that occurs.

    Args:
        rows: float (N, F), sparse or dense.
        labels: int64 (N,).

    Returns:
        Of each feature, float64 (C, F), and the number of texts, float64 (C,).
    """
    classes, own = np.unique(labels, return_inverse=True)
    texts = np.arange(len(labels))
    members = csr_array((np.ones(len(labels)), (own, texts)), shape=(len(classes), len(labels)))
    sums = members @ rows
    return np.asarray(sums.toarray() if issparse(sums) else sums, dtype=np.float64), np.bincount(own).astype(np.float64)


SELECTIONS: dict[str, Callable[[Any, Labels], Scores]] = {
    "mean_difference": mean_difference,
    "mutual_information": mutual_information,
    "l1": l1,
}


def _above_zero(rows: Any) -> Any:
    if issparse(rows):
        above = rows.copy()
        above.data = (rows.data > 0).astype(np.float64)
        return above
    return (rows > 0).astype(np.float64)
