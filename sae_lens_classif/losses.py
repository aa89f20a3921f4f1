"""The terms of ClassifSAE's loss, as pure functions of tensors (Le Bail et al., arXiv 2506.23951)."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F

_EPSILON = 1e-6

ElementwiseError = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def dense_batch_error(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Squared error of each element over the distance of its text from the batch's mean.

    Args:
        prediction: float (B, d).
        target: float (B, d).

    Returns:
        float (B, d); its sum over d, averaged over B, is the MSE term.
    """
    distance: torch.Tensor = (target - target.mean(dim=0, keepdim=True)).norm(dim=-1, keepdim=True)
    return squared_error(prediction, target) / (distance + _EPSILON)


def squared_error(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Squared error of each element, as SAELens has it.

    Args:
        prediction: float (B, d).
        target: float (B, d).

    Returns:
        float (B, d).
    """
    error: torch.Tensor = (prediction - target).pow(2)
    return error


def activation_rate_loss(feature_acts: torch.Tensor, gamma: float) -> torch.Tensor:
    """Activation-rate sparsity: what a latent's activations sum to beyond its share of the batch.

    For every latent the ``floor(gamma * B)`` largest activations of the batch are free; the rest is
    summed over texts and latents and divided by B (paper, section on sparsity).

    Args:
        feature_acts: Non-negative float (B, d_sae).
        gamma: Activation rate that costs nothing, in (0, 1].

    Returns:
        Scalar.
    """
    batch_size = feature_acts.shape[0]
    n_free = math.floor(gamma * batch_size + _EPSILON)  # 0.29 of 100 is 29, whatever floats say
    free = feature_acts.topk(n_free, dim=0, sorted=False).values.sum()
    return (feature_acts.sum() - free) / batch_size


def classifier_loss(logits: torch.Tensor, predicted: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the head against the class that the language model predicted.

    Args:
        logits: float (B, C).
        predicted: int64 (B,).

    Returns:
        Scalar.
    """
    return F.cross_entropy(logits, predicted)


def ghost_gradient_loss(
    residual: torch.Tensor,
    dead_hidden_pre: torch.Tensor,
    dead_W_dec: torch.Tensor,
    reconstruction_error: torch.Tensor,
    elementwise_error: ElementwiseError,
) -> torch.Tensor:
    """Ghost gradients: dead latents, with an exponential in place of the ReLU, learn the residual.

    Args:
        residual: float (B, d_in), hidden state minus reconstruction; a constant for the gradient.
        dead_hidden_pre: float (B, n_dead), pre-activations of the dead latents.
        dead_W_dec: float (n_dead, d_in), their decoder rows.
        reconstruction_error: float (B, d_in), the reconstruction's error element by element; a constant.
        elementwise_error: The error that the MSE term uses.

    Returns:
        Scalar, of the size of the reconstruction's mean error.
    """
    residual, reconstruction_error = residual.detach(), reconstruction_error.detach()
    ghost = dead_hidden_pre.exp() @ dead_W_dec
    scale = residual.norm(dim=-1, keepdim=True) / (_EPSILON + 2 * ghost.norm(dim=-1, keepdim=True))
    error = elementwise_error(ghost * scale.detach(), residual)
    return (error * (reconstruction_error / (error + _EPSILON)).detach()).mean()
