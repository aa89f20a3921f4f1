"""A sparse linear probe: which latents of an SAE tell the model's classes apart?"""

import warnings

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

from sae_lens_classif.config.run import BaselineConfig
from sae_lens_classif.errors import UserError

STRENGTHS = (0.01, 0.1, 1.0)
FOLDS = 3


def probe_latents(
    latents: torch.Tensor, predicted: torch.Tensor, n_concepts: int, cfg: BaselineConfig, seed: int
) -> tuple[torch.Tensor, tuple[str, ...]]:
    """Choose the latents with the largest coefficients of an L1 multinomial logistic regression.

    Standardised activations, balanced class weights, strength by stratified 3-fold cross-validation.

    Args:
        latents: float (N, d_sae), activations.
        predicted: int64 (N,), the model's classes.
        n_concepts: How many latents to choose, n.
        cfg: ``probe_max_iter``.
        seed: Seed of folds and solver.

    Returns:
        The latents, int64 (n,), the largest norm over classes first; and notes about the fit.

    Raises:
        UserError: If a class has fewer texts than folds.
    """
    counts = torch.bincount(predicted)
    if int(counts[counts > 0].min()) < FOLDS:
        raise UserError(
            f"the probe needs {FOLDS} texts of every predicted class, the rarest has {int(counts[counts > 0].min())}; "
            "use more training texts, or raise baselines.probe_max_texts"
        )
    regression = LogisticRegressionCV(
        Cs=list(STRENGTHS),
        cv=StratifiedKFold(FOLDS, shuffle=True, random_state=seed),
        l1_ratios=(1.0,),
        solver="saga",
        class_weight="balanced",
        max_iter=cfg.probe_max_iter,
        random_state=seed,
        scoring="accuracy",
        use_legacy_attributes=False,
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        regression.fit(StandardScaler().fit_transform(latents.double().numpy()), predicted.numpy())
    norms = torch.from_numpy(np.linalg.norm(regression.coef_, axis=0))
    chosen = norms.argsort(descending=True, stable=True)[:n_concepts]
    return chosen, _notes(caught, int((norms > 0).sum()), n_concepts, cfg)


def _notes(caught: list[warnings.WarningMessage], n_used: int, n_concepts: int, cfg: BaselineConfig) -> tuple[str, ...]:
    notes = []
    if any(issubclass(warning.category, ConvergenceWarning) for warning in caught):
        notes.append(f"the probe did not converge in {cfg.probe_max_iter} passes (baselines.probe_max_iter)")
    if n_used < n_concepts:
        notes.append(f"the probe uses {n_used} latents, fewer than the {n_concepts} concepts asked for")
    return tuple(notes)
