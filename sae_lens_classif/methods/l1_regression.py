"""Multinomial logistic regression with an L1 penalty, solved until it has converged.

It minimises, as scikit-learn's ``LogisticRegression(C=strength, l1_ratio=1)`` does,

    ``strength * (sum over texts of weight * cross-entropy) + sum of absolute coefficients``

with free intercepts. A coefficient is written as the difference of two numbers that are not negative: the penalty is
then their sum, and SciPy's L-BFGS-B minimises a smooth function within bounds. Where saga needs thousands of passes
over standardised activations, it needs a few hundred, and each is cheap since most activations are 0.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.optimize import Bounds, minimize
from scipy.sparse import csr_array
from scipy.special import log_softmax
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_sample_weight

Array = npt.NDArray[np.float64]
TOLERANCE = 1e-3  # of the optimality conditions, in units of the penalty's slope


@dataclass(frozen=True)
class Coefficients:
    """A solution. Two classes have one column, the second class against the first; more have one each.

    Attributes:
        slopes: float64 (p, columns), of standardised activations.
        intercepts: float64 (columns,).
        converged: Whether it fulfils the optimality conditions to ``TOLERANCE``.
    """

    slopes: Array
    intercepts: Array
    converged: bool = False


@dataclass(frozen=True)
class LabelledLatents:
    """Standardised activations and classes; the means are never subtracted, so that zeros stay zeros.

    Attributes:
        scaled: float64 (N, p), activations divided by their standard deviation.
        centre: float64 (p,), what standardising takes from each of them.
        classes: int64 (N,), 0 .. n_classes - 1.
        weights: float64 (N,), those that give each class the same sum.
        n_classes: How many classes there are.
    """

    scaled: csr_array
    centre: Array
    classes: npt.NDArray[np.int64]
    weights: Array
    n_classes: int

    @classmethod
    def of(cls, latents: npt.NDArray[np.float32], classes: npt.NDArray[np.int64]) -> Self:
        """Standardise.

        Args:
            latents: float (N, p), activations.
            classes: int64 (N,), classes by any numbers.
        """
        sparse = csr_array(latents, dtype=np.float64)
        scaler = StandardScaler(with_mean=False).fit(sparse)
        found, numbers = np.unique(classes, return_inverse=True)
        weights = compute_sample_weight("balanced", numbers)
        return cls(csr_array(scaler.transform(sparse)), scaler.mean_ / scaler.scale_, numbers, weights, len(found))

    def at(self, rows: npt.NDArray[np.int64]) -> Self:
        """Some of the texts, with the centre and the weights that all have together."""
        return replace(self, scaled=self.scaled[rows], classes=self.classes[rows], weights=self.weights[rows])

    def start(self) -> Coefficients:
        """Zeros."""
        columns = 1 if self.n_classes == 2 else self.n_classes
        return Coefficients(np.zeros((self.scaled.shape[1], columns)), np.zeros(columns))

    def logits(self, slopes: Array, intercepts: Array) -> Array:
        """Of each class, float64 (N, n_classes)."""
        logits: Array = self.scaled @ slopes + (intercepts - self.centre @ slopes)
        return logits if self.n_classes > 2 else np.pad(logits, ((0, 0), (1, 0)))

    def accuracy(self, fit: Coefficients) -> float:
        """Share of the texts that a solution puts into their class."""
        return float(np.mean(self.logits(fit.slopes, fit.intercepts).argmax(axis=1) == self.classes))

    def loss(self, slopes: Array, intercepts: Array) -> tuple[float, Array, Array]:
        """Weighted cross-entropy, summed over texts, and its gradients by slopes and intercepts."""
        log_shares = log_softmax(self.logits(slopes, intercepts), axis=1)
        rows = np.arange(len(self.classes))
        errors = np.exp(log_shares)
        errors[rows, self.classes] -= 1
        errors = (self.weights[:, None] * errors)[:, -slopes.shape[1] :]
        by_intercept = errors.sum(axis=0)
        by_slope = self.scaled.T @ errors - np.outer(self.centre, by_intercept)
        return float(-self.weights @ log_shares[rows, self.classes]), by_slope, by_intercept


def fit_l1(
    data: LabelledLatents,
    strength: float,
    start: Coefficients,
    max_iter: int,
    tolerance: float = TOLERANCE,
    on_iteration: Callable[[], object] | None = None,
) -> Coefficients:
    """Minimise the loss.

    Args:
        data: What to learn from.
        strength: Weight of the cross-entropy beside the penalty, scikit-learn's C.
        start: Where to begin; the solution of another strength saves time.
        max_iter: Iterations, at most.
        tolerance: No optimality condition may be violated by more, in units of the penalty's slope.
        on_iteration: Called after each iteration. Default: nothing is.
    """
    shape, n = start.slopes.shape, start.slopes.size

    def slopes_of(point: Array) -> Array:
        return (point[:n] - point[n : 2 * n]).reshape(shape)

    def objective(point: Array) -> tuple[float, Array]:
        loss, by_slope, by_intercept = data.loss(slopes_of(point), point[2 * n :])
        by_slope = strength * by_slope.ravel()
        gradient = np.concatenate([1 + by_slope, 1 - by_slope, strength * by_intercept])
        return strength * loss + float(point[: 2 * n].sum()), gradient

    least = np.concatenate([np.zeros(2 * n), np.full(shape[1], -np.inf)])
    first = np.concatenate([start.slopes.clip(min=0).ravel(), (-start.slopes).clip(min=0).ravel(), start.intercepts])

    def callback(_: Array) -> None:
        if on_iteration is not None:
            on_iteration()

    options = {"maxiter": max_iter, "maxfun": 10 * max_iter, "ftol": 0, "gtol": tolerance}
    found = minimize(
        objective, first, jac=True, method="L-BFGS-B", bounds=Bounds(least), options=options, callback=callback
    )
    # SciPy also calls it a success where rounding allows no further step.
    violation = np.abs(found.x - np.maximum(found.x - found.jac, least)).max()
    return Coefficients(slopes_of(found.x), found.x[2 * n :], bool(violation <= tolerance))
