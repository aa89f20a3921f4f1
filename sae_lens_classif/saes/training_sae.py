"""``ClassifTrainingSAE``: the training form of ``ClassifSAE`` and its loss."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import torch
from sae_lens import TopKTrainingSAE, TopKTrainingSAEConfig, register_sae_training_class
from sae_lens.registry import SAE_TRAINING_CLASS_REGISTRY
from sae_lens.saes.sae import TrainStepInput, TrainStepOutput
from torch import nn
from typing_extensions import override

from sae_lens_classif.errors import UserError
from sae_lens_classif.saes.classif_sae import ARCHITECTURE, check_sizes, classify, initialize_head
from sae_lens_classif.saes.losses import (
    activation_rate_loss,
    classifier_loss,
    distance_from_mean,
    ghost_gradient_loss,
    reconstruction_loss,
    unnormalised,
)
from sae_lens_classif.saes.saving import note_weights
from sae_lens_classif.saes.schedules import coefficients, detaches_concepts
from sae_lens_classif.saes.sparse import ActiveLatents, decode, encode

_NORMALISERS = {"dense_batch": distance_from_mean, "none": unnormalised}


@dataclass(kw_only=True)
class ClassifTrainingSAEConfig(TopKTrainingSAEConfig):
    """Configuration of a ``ClassifTrainingSAE``; see ``sae_lens_classif.config.run.SAESettings`` for the terms.

    Args:
        n_classes: Number of classes C of the language model's task.
        total_training_steps: Steps that the schedule spreads over.
        n_concepts: The first so many latents are the concepts (z_class) that feed the head.
        k: Latents that are active on one text at most.
        gamma: Activation rate that costs nothing, in (0, 1].
        mse_coefficient: Weight of the reconstruction and of the dead-latent term.
        activation_rate_coefficient: Weight of the activation-rate term.
        classifier_coefficient: Weight of the head's cross-entropy.
        schedule: ``reference`` or ``paper``; see ``sae_lens_classif.saes.schedules``.
        head_init: ``by_class`` or ``kaiming``; see ``sae_lens_classif.saes.classif_sae.initialize_head``.
        dead_latent_loss: ``ghost`` gradients, SAELens' own ``aux`` loss, or ``none``.
        mse_normalization: ``dense_batch``, or ``none`` for SAELens' own error.
        unit_norm_decoder: Keep the decoder's rows at norm 1.

    Raises:
        UserError: If sizes cannot go together, gamma is outside (0, 1], a coefficient is negative, or SAELens' aux
            loss is asked for together with a normalisation it cannot work with.
    """

    n_classes: int
    total_training_steps: int
    n_concepts: int = 20
    k: int = 10
    gamma: float = 0.1
    mse_coefficient: float = 0.02
    activation_rate_coefficient: float = 0.02
    classifier_coefficient: float = 1.0
    schedule: Literal["reference", "paper"] = "reference"
    head_init: Literal["by_class", "kaiming"] = "by_class"
    dead_latent_loss: Literal["ghost", "aux", "none"] = "ghost"
    mse_normalization: Literal["dense_batch", "none"] = "dense_batch"
    unit_norm_decoder: bool = True
    apply_b_dec_to_input: bool = False
    normalize_activations: str = "constant_norm_rescale"  # type: ignore[assignment]  # SAELens' list lacks it
    rescale_acts_by_decoder_norm: bool = False
    decoder_init_norm: float | None = None

    def __post_init__(self) -> None:
        check_sizes(self.d_in, self.d_sae, self.k, self.n_concepts, self.n_classes)
        if not 0 < self.gamma <= 1:
            raise UserError(f"gamma is {self.gamma}; it must be above 0 and at most 1")
        for name in ("mse_coefficient", "activation_rate_coefficient", "classifier_coefficient"):
            if not getattr(self, name) >= 0:
                raise UserError(f"{name} is {getattr(self, name)}; it must be at least 0")
        if self.total_training_steps < 1:
            raise UserError(f"total_training_steps is {self.total_training_steps}; it must be at least 1")
        if self.normalize_activations not in ("none", "constant_norm_rescale"):
            raise UserError(
                f"normalize_activations is {self.normalize_activations}; valid: none, constant_norm_rescale"
            )
        if self.use_sparse_activations or self.reshape_activations != "none":
            raise UserError("use_sparse_activations and reshape_activations cannot be used with a ClassifSAE")
        if self.dead_latent_loss == "aux" and self.normalize_activations != "none":
            raise UserError(
                "dead_latent_loss is aux, SAELens' own, which works only with normalize_activations none "
                f"(it is {self.normalize_activations}); use dead_latent_loss ghost"
            )
        super().__post_init__()  # type: ignore[no-untyped-call]  # SAELens left it without

    @override
    @classmethod
    def architecture(cls) -> str:
        return ARCHITECTURE

    @override
    def get_inference_sae_cfg_dict(self) -> dict[str, Any]:
        # SAELens collects the fields in a set, whose order is another in every process.
        return dict(sorted(super().get_inference_sae_cfg_dict().items()))


@dataclass
class ClassifTrainStepOutput(TrainStepOutput):
    """SAELens' output of a training step, and the active latents by themselves."""

    active: ActiveLatents = field(kw_only=True)


class ClassifTrainingSAE(TopKTrainingSAE):
    """Trains the sparse autoencoder together with a head that imitates the language model.

    The class that the language model predicted on each text of the next batch is given by ``set_predicted``,
    since SAELens' training step knows no labels.
    """

    cfg: ClassifTrainingSAEConfig
    classifier_weight: nn.Parameter
    classifier_bias: nn.Parameter

    def __init__(self, cfg: ClassifTrainingSAEConfig, use_error_term: bool = False) -> None:
        """
        Args:
            cfg: Sizes, loss and schedule.
            use_error_term: See ``sae_lens.SAE``.
        """
        super().__init__(cfg, use_error_term)
        self._predicted: torch.Tensor | None = None

    @override
    def initialize_weights(self) -> None:
        super().initialize_weights()
        initialize_head(self, self.cfg.head_init)
        # In memory the transpose, since the gradient comes that way; see sae_lens_classif.saes.sparse.
        self.W_enc.data = self.W_enc.data.T.contiguous().T

    @override
    def process_state_dict_for_saving(self, state_dict: dict[str, Any]) -> None:
        """Put ``W_enc`` into the order of memory that safetensors writes."""
        super().process_state_dict_for_saving(state_dict)
        state_dict["W_enc"] = state_dict["W_enc"].contiguous()

    @override
    def process_state_dict_for_saving_inference(self, state_dict: dict[str, Any]) -> None:
        """Note what ``ClassifSAE`` checks when it is loaded."""
        super().process_state_dict_for_saving_inference(state_dict)
        note_weights(self.cfg.metadata, state_dict)

    def classify(self, z: torch.Tensor) -> torch.Tensor:
        """Class logits of the head; see ``ClassifSAE.classify``."""
        return classify(z, self.classifier_weight, self.classifier_bias)

    def set_predicted(self, predicted: torch.Tensor | None) -> None:
        """Give the predicted classes of the next batch.

        Args:
            predicted: int64 (B,), each in 0..C-1; None to forget the last ones.
        """
        self._predicted = predicted

    @override
    def training_forward_pass(self, step_input: TrainStepInput) -> ClassifTrainStepOutput:
        """Loss = c_mse (MSE + dead-latent term) + c_rate RATE + c_cls CE.

        Args:
            step_input: ``sae_in`` float (B, d_in); the predicted classes come from ``set_predicted``.

        Returns:
            The total loss, its unweighted terms, and the head's accuracy as a metric.
        """
        cfg, step = self.cfg, step_input.n_training_steps
        c = coefficients(cfg, step)
        dead = self._dead(step_input)
        active, dead_hidden_pre, hidden_pre = self._encode_sparse(step_input.sae_in, dead)
        sae_out = self._decode_sparse(active.detached_below(cfg.n_concepts) if detaches_concepts(cfg, step) else active)
        mse = reconstruction_loss(sae_out, step_input.sae_in, _NORMALISERS[cfg.mse_normalization])
        output = ClassifTrainStepOutput(
            step_input.sae_in,
            sae_out,
            active.dense(),
            hidden_pre,
            loss=c.mse * mse,
            losses={"mse_loss": mse},
            active=active,
        )
        for name, term in self._dead_latent_loss(step_input, output, dead, dead_hidden_pre).items():
            _add(output, name, term, c.mse)
        if cfg.activation_rate_coefficient > 0:
            _add(output, "activation_rate_loss", activation_rate_loss(active, cfg.gamma), c.activation_rate)
        if cfg.classifier_coefficient > 0:
            self._add_classifier_loss(output, c.classifier)
        return output

    def _encode_sparse(self, x: torch.Tensor, dead: torch.Tensor) -> tuple[ActiveLatents, torch.Tensor, torch.Tensor]:
        sae_in = self.process_sae_in(x)
        if not self.cfg.apply_b_dec_to_input:
            sae_in = sae_in.detach()  # SAELens subtracts 0 times the bias
        W_enc, b_enc = self.W_enc, self.b_enc
        if self.cfg.rescale_acts_by_decoder_norm:
            norms = self.W_dec.norm(dim=-1)
            W_enc, b_enc = W_enc * norms, b_enc * norms
        return encode(sae_in, W_enc, b_enc, self.cfg.k, dead)

    def _decode_sparse(self, active: ActiveLatents) -> torch.Tensor:
        W_dec = self.W_dec
        if self.cfg.rescale_acts_by_decoder_norm:
            W_dec = W_dec / W_dec.norm(dim=-1, keepdim=True)
        sae_out = decode(active, W_dec) + self.b_dec
        # SAELens sets this function in a method, where mypy does not look for its type.
        return cast(torch.Tensor, self.run_time_activation_norm_fn_out(sae_out))  # type: ignore[has-type]

    def _add_classifier_loss(self, output: ClassifTrainStepOutput, coefficient: float) -> None:
        if self._predicted is None:
            raise RuntimeError("call set_predicted before each training step: the head needs the classes")
        logits, predicted = self.classify(output.active.first(self.cfg.n_concepts)), self._predicted
        _add(output, "classifier_loss", classifier_loss(logits, predicted), coefficient)
        output.metrics["classifier_accuracy"] = (logits.argmax(dim=-1) == predicted).float().mean()

    def _dead(self, step_input: TrainStepInput) -> torch.Tensor:
        """int64 (m,), the latents that ghost gradients are for."""
        mask = step_input.dead_neuron_mask
        if self.cfg.dead_latent_loss != "ghost" or mask is None:
            return torch.empty(0, dtype=torch.int64, device=self.device)
        return mask.nonzero()[:, 0]

    def _dead_latent_loss(
        self, step_input: TrainStepInput, output: TrainStepOutput, dead: torch.Tensor, dead_hidden_pre: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """The dead-latent term that the configuration names; empty where there is none."""
        if self.cfg.dead_latent_loss == "aux":
            acts, hidden_pre = self.encode_with_hidden_pre(step_input.sae_in)  # SAELens' loss is of the dense ones
            return self.calculate_aux_loss(step_input, acts, hidden_pre, output.sae_out)
        if not len(dead):
            return {}
        loss = ghost_gradient_loss(
            output.sae_out,
            step_input.sae_in,
            dead_hidden_pre,
            self.W_dec.index_select(0, dead),
            _NORMALISERS[self.cfg.mse_normalization],
        )
        return {"ghost_gradient_loss": loss}

    @torch.no_grad()
    def set_decoder_norm_to_unit_norm(self) -> None:
        """Give every decoder row norm 1."""
        self.W_dec.div_(self.get_W_dec_norm()[:, None])

    @torch.no_grad()
    def remove_gradient_parallel_to_decoder_directions(self) -> None:
        """Take from each decoder row's gradient its component along the row, which only changes the norm."""
        gradient = self.W_dec.grad
        if gradient is not None:
            parallel = torch.linalg.vecdot(gradient, self.W_dec)[:, None]
            gradient.addcmul_(parallel, self.W_dec, value=-1)

    def save(self, folder: str | Path) -> None:
        """Write the inference form, which ``SAE.load_from_disk`` reads as a ``ClassifSAE``.

        Args:
            folder: Gets ``cfg.json`` and ``sae_weights.safetensors``.
        """
        self.save_inference_model(folder)


def _add(output: TrainStepOutput, name: str, term: torch.Tensor, coefficient: float) -> None:
    """Put a term into the total loss, and unweighted into what is logged."""
    output.losses[name] = term
    output.loss = output.loss + coefficient * term


if ARCHITECTURE not in SAE_TRAINING_CLASS_REGISTRY:
    register_sae_training_class(ARCHITECTURE, ClassifTrainingSAE, ClassifTrainingSAEConfig)
