"""Independent component analysis of the hidden states."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.decomposition import FastICA
from sklearn.exceptions import ConvergenceWarning
from tqdm.auto import tqdm
from typing_extensions import override

from sae_lens_classif.config.methods import ICASettings
from sae_lens_classif.errors import UserError
from sae_lens_classif.methods.base import ConceptMethod, FitTask

Array = npt.NDArray[np.float64]
Contrast = Callable[[Array], tuple[Array, Array]]
_SEED = 42  # of the paper; a task's seed is added to it


def logcosh(projected: Array) -> tuple[Array, Array]:
    """FastICA's contrast function, scikit-learn's own default, which alone is asked once an iteration.

    Args:
        projected: float64 (n, N), is written over.

    Returns:
        Its hyperbolic tangent, and the mean derivative of each row, float64 (n,).
    """
    tanh = np.tanh(projected, projected)
    return tanh, np.array([(1 - row**2).mean() for row in tanh])


def _counted(contrast: Contrast, count: Callable[[], object]) -> Contrast:
    def counting(projected: Array) -> tuple[Array, Array]:
        count()
        return contrast(projected)

    return counting


@dataclass
class ICAConcepts(ConceptMethod, name="ica", title="ICA", settings=ICASettings, trains_sae=False):
    """Components of scikit-learn's FastICA; their activations have both signs and are hardly ever zero.

    Attributes:
        unmixing: float64 (n, d_in).
        mixing: float64 (d_in, n).
        mean: float64 (d_in,).
    """

    unmixing: torch.Tensor
    mixing: torch.Tensor
    mean: torch.Tensor

    @override
    @classmethod
    def fit(cls, task: FitTask) -> Self:
        n_texts, d_in = task.hidden.shape
        if task.n_concepts > min(n_texts, d_in):
            raise UserError(
                f"ICA cannot find {task.n_concepts} components in {n_texts} hidden states of width {d_in}; "
                f"set sae.n_concepts to at most {min(n_texts, d_in)}"
            )
        limit = task.baselines.ica_max_iter
        with (
            tqdm(total=limit, desc="Fitting ica", unit=" iterations", delay=1) as progress,
            warnings.catch_warnings(record=True) as caught,
        ):
            warnings.simplefilter("always")
            ica = FastICA(
                task.n_concepts,
                whiten="unit-variance",
                max_iter=limit,
                random_state=_SEED + task.seed,
                fun=_counted(logcosh, progress.update),
            ).fit(task.hidden.double().numpy())
        method = cls(*(torch.from_numpy(matrix.copy()) for matrix in (ica.components_, ica.mixing_, ica.mean_)))
        if any(issubclass(warning.category, ConvergenceWarning) for warning in caught):
            method.notes = (f"FastICA did not converge in {limit} iterations (baselines.ica_max_iter)",)
        return method

    @override
    def encode(self, hidden: torch.Tensor) -> torch.Tensor:
        return ((hidden.double() - self.mean) @ self.unmixing.T).float()

    @override
    def decode(self, concepts: torch.Tensor) -> torch.Tensor:
        return (concepts.double() @ self.mixing.T + self.mean).float()

    @override
    def directions(self) -> torch.Tensor:
        return self.mixing.T.float()
