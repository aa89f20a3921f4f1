"""A training step whose cost grows with the active latents: SAELens' ``SAETrainer._train_step``, in other operations.

SAELens' own step looks at all latents of every text several times: it counts those that fire from the dense
activations, clips each gradient whether its norm is too large or not, and its Adam goes over the weights once an
operation. Here the counts come from the k active latents of each text, gradients are clipped where they must be, and
Adam is fused. The order of events and the results are SAELens' (tests/training/test_fast_step.py runs both).
"""

from typing import Any

import torch
from sae_lens import SAETrainer
from sae_lens.training.optim import get_lr_scheduler
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Adam

from sae_lens_classif.errors import UserError
from sae_lens_classif.saes.classif_sae import (
    ClassifTrainingSAE,
    ClassifTrainingSAEConfig,
    ClassifTrainStepInput,
    ClassifTrainStepOutput,
    RunModel,
)

_Trainer = SAETrainer[ClassifTrainingSAE, ClassifTrainingSAEConfig]
_MAX_GRADIENT_NORM = 1.0  # SAELens' own


def use_decoder_lr(trainer: _Trainer, decoder_lr: float) -> None:
    """Let decoder and head learn at a rate of their own, on the schedule that the encoder has.

    Args:
        trainer: Gets a new optimizer and scheduler; it must not have trained yet.
        decoder_lr: Their learning rate at the start.
    """
    cfg, sae = trainer.cfg, trainer.sae
    encoder = [sae.W_enc, sae.b_enc]
    others = [weight for weight in sae.parameters() if not any(weight is own for own in encoder)]
    groups: list[dict[str, Any]] = [{"params": encoder}, {"params": others, "lr": decoder_lr}]
    trainer.optimizer = Adam(groups, lr=cfg.lr, betas=(cfg.adam_beta1, cfg.adam_beta2))
    trainer.lr_scheduler = get_lr_scheduler(
        cfg.lr_scheduler_name,
        optimizer=trainer.optimizer,
        training_steps=cfg.total_training_steps,
        lr=cfg.lr,
        warm_up_steps=cfg.lr_warm_up_steps,
        decay_steps=cfg.lr_decay_steps,
        lr_end=cfg.lr_end if cfg.lr_end is not None else cfg.lr / 10,
        num_cycles=cfg.n_restart_cycles,
    )


def use_fused_adam(trainer: _Trainer) -> None:
    """Let a trainer's Adam go over the weights in one pass."""
    W_enc = trainer.sae.W_enc
    for group in trainer.optimizer.param_groups:
        group["fused"] = True
    # It copies what is not contiguous, as W_enc and its gradient are: their transposes are.
    trainer.optimizer.register_step_pre_hook(lambda *_: _transpose(W_enc))
    trainer.optimizer.register_step_post_hook(lambda *_: _transpose(W_enc))


def _transpose(weight: torch.nn.Parameter) -> None:
    """Transpose a weight and its gradient without moving them in memory."""
    gradient, weight.grad = weight.grad, None
    weight.data = weight.data.T
    weight.grad = gradient.T if gradient is not None else None


def fast_step(
    trainer: _Trainer, hidden: torch.Tensor, predicted: torch.Tensor, run_model: RunModel | None = None
) -> ClassifTrainStepOutput:
    """Change the weights once, and count which latents fired.

    Args:
        trainer: Its SAE, optimizer, schedulers and counters are used and changed as ``_train_step`` does.
        hidden: float32 (B, d_in).
        predicted: int64 (B,), the class that the language model predicted on each text, or the set of labels.
        run_model: Runs the language model from the concepts, where the loss asks it.

    Raises:
        UserError: If the loss is not finite.
    """
    with trainer.autocast_if_enabled:
        output = trainer.sae.training_forward_pass(
            ClassifTrainStepInput(
                sae_in=hidden,
                coefficients=trainer.get_coefficients(),
                dead_neuron_mask=trainer.dead_neurons,
                n_training_steps=trainer.n_training_steps,
                is_logging_step=False,
                predicted=predicted,
                run_model=run_model,
            )
        )
    if not output.loss.isfinite():
        if not hidden.isfinite().all():
            raise UserError("a batch holds hidden states that are not finite; run `cache` again")
        raise diverged(trainer.n_training_steps)
    _count_firing(trainer, output.active.firing_counts())
    output.loss.backward()
    if trainer.sae.cfg.unit_norm_decoder:
        trainer.sae.remove_gradient_parallel_to_decoder_directions()
    _clip_gradients(trainer.sae)
    trainer.optimizer.step()
    trainer.optimizer.zero_grad()
    trainer.lr_scheduler.step()
    for scheduler in trainer.coefficient_schedulers.values():
        scheduler.step()
    return output


def diverged(step: int) -> UserError:
    """The error for a training that has left the finite numbers at a step."""
    return UserError(
        f"the loss or a weight is no finite number any more at step {step}; lower train.lr, "
        "or use sae.normalize_activations constant_norm_rescale or sae.dead_latent_loss none"
    )


def _count_firing(trainer: _Trainer, counts: torch.Tensor) -> None:
    trainer.n_forward_passes_since_fired.add_(1).masked_fill_(counts > 0, 0)
    trainer.act_freq_scores += counts
    trainer.n_frac_active_samples += trainer.cfg.train_batch_size_samples


def _clip_gradients(sae: ClassifTrainingSAE) -> None:
    norm = get_total_norm([weight.grad for weight in sae.parameters() if weight.grad is not None])
    if norm > _MAX_GRADIENT_NORM:
        clip_grads_with_norm_(sae.parameters(), _MAX_GRADIENT_NORM, norm)
