"""The terms of ClassifSAE's loss, as pure functions of tensors (Le Bail et al., arXiv 2506.23951).

And how their weights change over training: the paper's code (``reference``) and the paper's text (``paper``).
"""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

import torch
import torch.nn.functional as F

from sae_lens_classif.saes.sparse import ActiveLatents

_EPSILON = 1e-6

Normaliser = Callable[[torch.Tensor], torch.Tensor]


def distance_from_mean(target: torch.Tensor) -> torch.Tensor:
    """Distance of each text's hidden state from the batch's mean, by which its error is divided.

    Args:
        target: float (B, d).

    Returns:
        float (B, 1).
    """
    distance: torch.Tensor = (target - target.mean(dim=0, keepdim=True)).norm(dim=-1, keepdim=True)
    return distance + _EPSILON


def unnormalised(target: torch.Tensor) -> torch.Tensor:
    """1 for each text: the error as SAELens has it; float (B, 1)."""
    return torch.ones_like(target[:, :1])


def reconstruction_loss(prediction: torch.Tensor, target: torch.Tensor, normaliser: Normaliser) -> torch.Tensor:
    """Squared error of each text over its normaliser, averaged over texts.

    Args:
        prediction: float (B, d).
        target: float (B, d).
        normaliser: ``distance_from_mean`` or ``unnormalised``.

    Returns:
        Scalar.
    """
    return (_squared_error(prediction, target).sum(dim=-1) / normaliser(target)[:, 0]).mean()


def _squared_error(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return F.mse_loss(prediction, target, reduction="none")


def activation_rate_loss(feature_acts: torch.Tensor | ActiveLatents, gamma: float) -> torch.Tensor:
    """Activation-rate sparsity: what a latent's activations sum to beyond its share of the batch.

    For every latent the ``floor(gamma * B)`` largest activations of the batch are free; the rest is
    summed over texts and latents and divided by B (paper, section on sparsity).

    Args:
        feature_acts: Non-negative float (B, d_sae), or the k active latents of each text.
        gamma: Activation rate that costs nothing, in (0, 1].

    Returns:
        Scalar.
    """
    batch_size = len(feature_acts.values if isinstance(feature_acts, ActiveLatents) else feature_acts)
    n_free = math.floor(gamma * batch_size + _EPSILON)  # 0.29 of 100 is 29, whatever floats say
    if isinstance(feature_acts, ActiveLatents):
        return feature_acts.beyond(n_free).sum() / batch_size
    free = feature_acts.topk(n_free, dim=0, sorted=False).values.sum()
    return (feature_acts.sum() - free) / batch_size


def balance_loss(concept_pre: torch.Tensor, z_class: torch.Tensor) -> torch.Tensor:
    """Load balancing of concepts that share few places, so that none takes the others' texts and they die.

    ``n / L0 * sum_j f_j P_j``, with ``f_j`` the share of texts on which concept j is active, ``P_j`` its mean share of
    the softmax over concepts, and ``L0`` the mean number of active ones (Fedus et al., Switch Transformers,
    arXiv 2101.03961, equation 4, whose single expert is L0 = 1). It is 1 where all are active alike.

    Args:
        concept_pre: float (B, n), pre-activations of the concepts.
        z_class: float (B, n), their activations; only which are above 0 counts.

    Returns:
        Scalar.
    """
    active = (z_class > 0).to(concept_pre).mean(dim=0)
    share = concept_pre.softmax(dim=1).mean(dim=0)
    return len(active) * (active * share).sum() / active.sum().clamp(min=1e-6)


def ghost_gradient_loss(
    sae_out: torch.Tensor,
    sae_in: torch.Tensor,
    dead_hidden_pre: torch.Tensor,
    dead_W_dec: torch.Tensor,
    normaliser: Normaliser,
) -> torch.Tensor:
    """Ghost gradients: dead latents, with an exponential in place of the ReLU, learn the residual.

    Args:
        sae_out: float (B, d_in), reconstruction; a constant for the gradient.
        sae_in: float (B, d_in), hidden states.
        dead_hidden_pre: float (B, n_dead), pre-activations of the dead latents.
        dead_W_dec: float (n_dead, d_in), their decoder rows.
        normaliser: The one that the reconstruction's error has.

    Returns:
        Scalar, of the size of the reconstruction's mean error.
    """
    sae_out = sae_out.detach()
    residual = sae_in - sae_out
    ghost = dead_hidden_pre.exp() @ dead_W_dec
    scale = residual.norm(dim=-1, keepdim=True) / (_EPSILON + 2 * ghost.norm(dim=-1, keepdim=True))
    error = _squared_error(ghost * scale.detach(), residual) / normaliser(residual)
    reconstruction_error = _squared_error(sae_out, sae_in) / normaliser(sae_in)
    return (error * (reconstruction_error / (error + _EPSILON)).detach()).mean()


class ScheduleConfig(Protocol):
    """What a schedule needs to know of a configuration."""

    schedule: Literal["reference", "paper"]
    total_training_steps: int
    mse_coefficient: float
    activation_rate_coefficient: float
    classifier_coefficient: float


class Coefficients(NamedTuple):
    """Weights of the loss terms at one step."""

    mse: float
    activation_rate: float
    classifier: float


def coefficients(cfg: ScheduleConfig, step: int) -> Coefficients:
    """Weights of the terms after ``step`` finished steps.

    ``reference`` keeps them; ``paper`` lets those of MSE and RATE fall linearly to 0 at the last step.
    """
    remaining = 1.0 - step / cfg.total_training_steps if cfg.schedule == "paper" else 1.0
    return Coefficients(
        mse=cfg.mse_coefficient * remaining,
        activation_rate=cfg.activation_rate_coefficient * remaining,
        classifier=cfg.classifier_coefficient,
    )


def detaches_concepts(cfg: ScheduleConfig, step: int) -> bool:
    """Whether the reconstruction sends no gradient through the concepts: ``reference``, second half.

    Where nothing but the reconstruction is asked for, it never stops: the concepts would not learn at all.
    """
    only_reconstruction = cfg.activation_rate_coefficient == 0 and cfg.classifier_coefficient == 0
    return cfg.schedule == "reference" and not only_reconstruction and 2 * step >= cfg.total_training_steps
