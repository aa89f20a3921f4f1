"""Hidden states brought into the plane of their two principal components."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Places = NDArray[np.float64]


@dataclass(frozen=True)
class Plane:
    """The first two principal components of unit vectors that were then standardised.

    Attributes:
        scaler: Fitted ``StandardScaler``.
        pca: Fitted ``PCA``.
        explained: Shares of the variance along both components, 0 to 1.
    """

    scaler: Any
    pca: Any
    explained: tuple[float, float]

    def project(self, vectors: Floats) -> Places:
        """Bring vectors into the plane.

        Args:
            vectors: float (m, d), of any length.

        Returns:
            float64 (m, 2); NaN for vectors that have no direction (zero or not finite).
        """
        unit, usable = _unit_norm(vectors)
        places = np.full((len(vectors), 2), np.nan)
        if usable.any():
            found = self.pca.transform(self.scaler.transform(unit[usable]))
            places[usable] = _two_columns(found)
        return places


def fit_plane(hidden: Floats) -> Plane | None:
    """Find the plane in which hidden states differ most.

    Args:
        hidden: float (N, d).

    Returns:
        The plane; None where fewer than two states differ.
    """
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    unit, usable = _unit_norm(hidden)
    unit = unit[usable]
    if len(unit) < 2:
        return None
    scaler = StandardScaler().fit(unit)
    standardised = scaler.transform(unit)
    if not standardised.any():
        return None
    pca = PCA(min(2, *standardised.shape), random_state=0).fit(standardised)
    first, second = _two_columns(pca.explained_variance_ratio_[None])[0]
    return Plane(scaler, pca, (float(first), float(second)))


def _unit_norm(vectors: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    largest = np.abs(vectors).max(axis=1, keepdims=True, initial=0)
    usable = np.isfinite(largest[:, 0]) & (largest[:, 0] > 0)
    scaled = np.divide(vectors, largest, out=np.zeros_like(vectors), where=usable[:, None])  # so no square overflows
    norms = np.linalg.norm(scaled, axis=1, keepdims=True)
    return np.divide(scaled, norms, out=scaled, where=usable[:, None]), usable


def _two_columns(found: Floats) -> Places:
    return np.pad(found, ((0, 0), (0, 2 - found.shape[1]))).astype(np.float64)
