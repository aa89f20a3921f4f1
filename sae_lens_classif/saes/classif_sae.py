"""``ClassifSAE``: a TopK sparse autoencoder whose first latents feed a linear classification head.

Its inference form, which is saved and loaded, and its training form with the loss.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, cast

import torch
import torch.nn.functional as F
from sae_lens import TopKSAE, TopKSAEConfig, TopKTrainingSAE, TopKTrainingSAEConfig
from sae_lens.constants import RUNNER_CFG_FILENAME, SAE_CFG_FILENAME, SAE_WEIGHTS_FILENAME
from sae_lens.registry import SAE_CLASS_REGISTRY, register_sae_class, register_sae_training_class
from sae_lens.saes.sae import TrainStepInput, TrainStepOutput
from sae_lens.saes.topk_sae import act_times_W_dec
from safetensors.torch import load_file
from torch import nn
from typing_extensions import override

from sae_lens_classif.artifacts import note_files
from sae_lens_classif.checksums import read_json, write_json
from sae_lens_classif.config.run import SAESettings, check_latents
from sae_lens_classif.decisions import DecisionRule, decision_rule
from sae_lens_classif.errors import UserError
from sae_lens_classif.reading import refuse_devices, refuse_pickles
from sae_lens_classif.saes import losses
from sae_lens_classif.saes.concept_start import ConceptStart
from sae_lens_classif.saes.saving import NOTED, check_saved, explain_loading, note_weights
from sae_lens_classif.saes.sparse import ActiveLatents, Places, TopKWithKeptPlaces, decode, encode

ARCHITECTURE = "classifsae"
_NORMALISERS = {"dense_batch": losses.distance_from_mean, "none": losses.unnormalised}


@dataclass(kw_only=True)
class ClassifSAEConfig(TopKSAEConfig):
    """Configuration of a ``ClassifSAE``.

    Args:
        n_classes: Number of classes C of the language model's task.
        multi_label: Whether a text may have several of them, or none.
        n_concepts: The first so many latents are the concepts (z_class) that feed the head.
        k: Latents that are active on one text at most.
        k_concepts: So many of the k places are kept for concepts, the others for the other latents; 0: all latents
            compete for all places, which is plain TopK.
        normalize_activations: ``constant_norm_rescale`` gives every hidden state the norm sqrt(d_in).
        apply_b_dec_to_input: Whether ``b_dec`` is subtracted from the input; the paper does not.

    Raises:
        UserError: If ``n_concepts`` or ``k`` exceed ``d_sae``, or there are fewer than two classes.
    """

    n_classes: int
    multi_label: bool = False
    n_concepts: int = 20
    k: int = 10
    k_concepts: int = 0
    apply_b_dec_to_input: bool = False
    normalize_activations: str = SAESettings.normalize_activations  # type: ignore[assignment]  # SAELens' list lacks it

    def __post_init__(self) -> None:
        super().__post_init__()  # type: ignore[no-untyped-call]  # SAELens left it without
        _check_task(self.d_in, self.n_classes)
        check_latents(self)

    @override
    @classmethod
    def architecture(cls) -> str:
        return ARCHITECTURE


def places_of(cfg: "ClassifSAEConfig | ClassifTrainingSAEConfig") -> Places:
    """How a configuration gives the k places of a text to latents."""
    return Places(cfg.k, cfg.k_concepts, cfg.n_concepts)


def _check_task(d_in: int, n_classes: int) -> None:
    if d_in < 1:
        raise UserError(f"d_in is {d_in}; it must be at least 1")
    if n_classes < 2:
        raise UserError(f"n_classes is {n_classes}; a classifier needs at least 2")


class ClassifSAE(TopKSAE):
    """Sparse autoencoder with a classification head on its first ``n_concepts`` latents.

    ``encode`` gives all latents z, float (..., d_sae); ``decode`` gives the reconstruction, float
    (..., d_in), as in SAELens; ``classify`` imitates the language model's class from the concepts.

    Attributes:
        classifier_weight: float (C, n_concepts).
        classifier_bias: float (C,).
    """

    cfg: ClassifSAEConfig
    classifier_weight: nn.Parameter
    classifier_bias: nn.Parameter

    @override
    def initialize_weights(self) -> None:
        super().initialize_weights()
        initialize_head(self)

    @override
    def get_activation_fn(self) -> Callable[[torch.Tensor], torch.Tensor]:
        return TopKWithKeptPlaces(places_of(self.cfg)) if self.cfg.k_concepts else super().get_activation_fn()

    @override
    def __repr__(self) -> str:
        cfg, where = self.cfg, self.cfg.metadata.hook_name
        said = f"{cfg.d_in} → {cfg.d_sae} latents, {cfg.n_concepts} concepts, {cfg.n_classes} classes"
        return f"ClassifSAE({said}{f', at {where}' if where else ''})"

    def classify(self, z: torch.Tensor) -> torch.Tensor:
        """Class logits of the head.

        Args:
            z: float (..., d_sae), what ``encode`` gives; or (..., n_concepts), the concepts alone.

        Returns:
            float (..., C).
        """
        return F.linear(z[..., : self.cfg.n_concepts], self.classifier_weight, self.classifier_bias)

    def decode_concepts(self, z_class: torch.Tensor) -> torch.Tensor:
        """Direction of the hidden state that the concepts alone stand for.

        Unlike ``decode`` it needs no ``encode`` before it, and the result has the SAE's own scale: the norm
        that ``normalize_activations`` took away is not put back.

        Args:
            z_class: float (..., n_concepts).

        Returns:
            float (..., d_in).
        """
        W_dec = self.W_dec[: self.cfg.n_concepts]
        return act_times_W_dec(z_class, W_dec, self.cfg.rescale_acts_by_decoder_norm) + self.b_dec

    @override
    def process_state_dict_for_saving(self, state_dict: dict[str, Any]) -> None:
        """Note the format and the checksums in ``cfg.metadata``, which is written after the weights."""
        super().process_state_dict_for_saving(state_dict)
        note_weights(self.cfg, state_dict)

    @override
    def process_state_dict_for_loading(self, state_dict: dict[str, Any]) -> None:
        """Refuse weights and settings that are not those that were saved, whichever of SAELens' ways they came.

        Raises:
            UserError: Saying what is wrong with them.
        """
        super().process_state_dict_for_loading(state_dict)
        check_saved(self.cfg, state_dict, self.state_dict())

    @override
    @classmethod
    def load_from_disk(cls, path: str | Path, *args: Any, **kwargs: Any) -> Self:
        """``SAE.load_from_disk``, with errors that say what to do.

        Args:
            path: Folder with ``cfg.json`` and ``sae_weights.safetensors``.
            args: See ``sae_lens.SAE.load_from_disk``.
            kwargs: As well.

        Raises:
            UserError: If a file is missing, cut off or changed, or the weights are a pickle.
        """
        refuse_devices(Path(path))
        refuse_pickles(Path(path))
        with explain_loading(Path(path)):
            return super().load_from_disk(path, *args, **kwargs)

    @override
    @torch.no_grad()
    def fold_W_dec_norm(self) -> None:
        """Fold the decoder's norms into the encoder, where that changes neither latents nor head.

        Raises:
            UserError: If the rows have not norm 1 and the latents are not scaled by it: folding would then
                change which latents are the top k.
        """
        if self.cfg.rescale_acts_by_decoder_norm:
            super().fold_W_dec_norm()
            return
        norms = self.W_dec.norm(dim=-1)
        if not torch.allclose(norms, torch.ones_like(norms), atol=1e-4):
            raise UserError(
                f"the decoder's rows have norms {norms.min():.3g}..{norms.max():.3g}; folding them would change "
                "which latents are the top k. Load without fold_W_dec_norm=True"
            )


def sign_sae(folder: str | Path) -> None:
    """Note the checksums of a ClassifSAE anew, after its author changed its settings or weights by hand.

    Args:
        folder: Holds ``cfg.json`` and ``sae_weights.safetensors``, and in a run the note of its files.

    Raises:
        UserError: If a file is missing, or weights and settings do not fit each other.
    """
    file = Path(folder) / SAE_CFG_FILENAME
    with explain_loading(Path(folder)):
        content = json.loads(file.read_text(encoding="utf-8"))
        weights = load_file(Path(folder) / SAE_WEIGHTS_FILENAME)
        content["metadata"] = {name: value for name, value in content["metadata"].items() if name not in NOTED}
        sae = ClassifSAE(ClassifSAEConfig.from_dict(content))
    check_saved(sae.cfg, weights, sae.state_dict())
    note_weights(sae.cfg, weights)
    content["metadata"] |= {name: sae.cfg.metadata[name] for name in NOTED}
    write_json(file, content, with_checksum=False)
    note = Path(folder) / RUNNER_CFG_FILENAME
    if note.is_file():
        note_files(note, read_json(note))


def initialize_head(sae: "ClassifSAE | ClassifTrainingSAE", head_init: str = "kaiming") -> None:
    """Give an SAE a fresh head, with a bias of 0.

    Args:
        sae: Gets ``classifier_weight`` (C, n_concepts) and ``classifier_bias`` (C,) in its own dtype and device.
        head_init: ``kaiming``: uniform weights, as its decoder has. ``by_class``: concept j speaks for class
            j mod C and alike against the others, with the same root mean square; as ``kaiming`` where there are
            fewer concepts than classes.
    """
    n_classes, n_concepts = sae.cfg.n_classes, sae.cfg.n_concepts
    weight = torch.empty(n_classes, n_concepts, dtype=sae.dtype, device=sae.device)
    nn.init.kaiming_uniform_(weight)
    if head_init == "by_class" and n_classes <= n_concepts:
        weight = _speaking_for(torch.arange(n_concepts, device=sae.device) % n_classes, weight)
    sae.classifier_weight = nn.Parameter(weight)
    sae.classifier_bias = nn.Parameter(torch.zeros(n_classes, dtype=sae.dtype, device=sae.device))


def _speaking_for(classes: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """A head in which each concept speaks for one class, alike against the others; the mean square is Kaiming's.

    Args:
        classes: int64 (n_concepts,); C for a concept that speaks against all.
        weight: float (C, n_concepts), for its shape.
    """
    n_classes, n_concepts = weight.shape
    others = math.sqrt(2 / (n_concepts * (n_classes - 1)))
    own = classes == torch.arange(n_classes, device=weight.device)[:, None]
    return torch.full_like(weight, -others).masked_fill(own, (n_classes - 1) * others)


@dataclass(kw_only=True)
class _TaskConfig(TopKTrainingSAEConfig):
    """What the settings of a ``ClassifTrainingSAE`` are applied to; a base, since it comes first in files."""

    n_classes: int
    total_training_steps: int
    multi_label: bool = False


# SAELens' list of normalisations is another.
@dataclass(kw_only=True)
class ClassifTrainingSAEConfig(SAESettings, _TaskConfig):  # type: ignore[misc]
    """Configuration of a ``ClassifTrainingSAE``: the settings of the SAE and its loss, and what they are applied to.

    Args:
        d_in: Width of the hidden states.
        n_classes: Number of classes C of the language model's task.
        total_training_steps: Steps that the schedule spreads over.
        multi_label: Whether a text may have several of the classes, or none.

    Raises:
        UserError: If sizes cannot go together, gamma is outside (0, 1], a coefficient is negative, or SAELens' aux
            loss is asked for together with a normalisation it cannot work with.
    """

    # Without `auto`: by itself it is the paper's.
    d_sae: int
    n_concepts: int = 20
    k_concepts: int = 0
    model_coefficient: float = 0.0
    balance_coefficient: float = 0.0
    model_every: int = 1
    apply_b_dec_to_input: bool = False
    rescale_acts_by_decoder_norm: bool = False
    decoder_init_norm: float | None = None

    def __post_init__(self) -> None:
        _check_task(self.d_in, self.n_classes)
        SAESettings.__post_init__(self)
        if self.total_training_steps < 1:
            raise UserError(f"total_training_steps is {self.total_training_steps}; it must be at least 1")
        if self.use_sparse_activations or self.reshape_activations != "none":
            raise UserError("use_sparse_activations and reshape_activations cannot be used with a ClassifSAE")
        TopKTrainingSAEConfig.__post_init__(self)

    @override
    @classmethod
    def architecture(cls) -> str:
        return ARCHITECTURE

    @override
    def get_inference_sae_cfg_dict(self) -> dict[str, Any]:
        # SAELens collects the fields in a set, whose order is another in every process.
        return dict(sorted(super().get_inference_sae_cfg_dict().items()))


# From what concepts decode to, float (m, d_in), and the states in whose place it comes, float (m, d_in), to class
# logits, float (m, C); gradients flow back.
RunModel = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass
class ClassifTrainStepInput(TrainStepInput):
    """SAELens' input of a training step, and what the language model says.

    Attributes:
        predicted: int64 (B,), the class that it predicted on each text, or the set of labels; see ``decisions``.
        run_model: Runs its rest from what concepts stand for; needed where ``model_coefficient`` is above 0.
    """

    predicted: torch.Tensor
    run_model: RunModel | None = None


@dataclass
class ClassifTrainStepOutput(TrainStepOutput):
    """SAELens' output of a training step, and the active latents by themselves."""

    active: ActiveLatents = field(kw_only=True)


class ClassifTrainingSAE(TopKTrainingSAE):
    """Trains the sparse autoencoder together with a head that imitates the language model."""

    cfg: ClassifTrainingSAEConfig
    classifier_weight: nn.Parameter
    classifier_bias: nn.Parameter

    @override
    def initialize_weights(self) -> None:
        super().initialize_weights()
        initialize_head(self, self.cfg.head_init)
        # In memory the transpose, since the gradient comes that way; see sae_lens_classif.saes.sparse.
        self.W_enc.data = self.W_enc.data.T.contiguous().T

    @override
    def get_activation_fn(self) -> Callable[[torch.Tensor], torch.Tensor]:
        return TopKWithKeptPlaces(places_of(self.cfg)) if self.cfg.k_concepts else super().get_activation_fn()

    @torch.no_grad()
    def start_concepts_at(self, start: ConceptStart) -> None:
        """Put the concepts where a start says; those it has no direction for stay where they are.

        Every latent then measures from the centre of all texts, and what stands for no concept is that centre.

        Args:
            start: In the space of normalised states.
        """
        found = len(start.directions)
        directions = start.directions.to(self.W_dec)
        self.W_dec[:found], self.W_enc[:, :found] = directions, directions.T
        self.b_dec.copy_(start.centre)
        self.b_enc.copy_(-(start.centre.to(self.W_enc) @ self.W_enc))
        n_concepts, n_classes = self.cfg.n_concepts, self.cfg.n_classes
        if self.cfg.head_init == "by_class" and n_concepts >= n_classes:
            classes = torch.arange(n_concepts, device=self.device) % n_classes
            classes[:found] = start.groups.to(self.device)
            self.classifier_weight.copy_(_speaking_for(classes, self.classifier_weight))

    @override
    def process_state_dict_for_saving(self, state_dict: dict[str, Any]) -> None:
        """Put ``W_enc`` into the order of memory that safetensors writes."""
        super().process_state_dict_for_saving(state_dict)
        state_dict["W_enc"] = state_dict["W_enc"].contiguous()

    @override
    def process_state_dict_for_saving_inference(self, state_dict: dict[str, Any]) -> None:
        """Note what ``ClassifSAE`` checks when it is loaded."""
        super().process_state_dict_for_saving_inference(state_dict)
        note_weights(self.cfg, state_dict)

    def classify(self, z: torch.Tensor) -> torch.Tensor:
        """Class logits of the head; see ``ClassifSAE.classify``."""
        return F.linear(z[..., : self.cfg.n_concepts], self.classifier_weight, self.classifier_bias)

    @override
    def training_forward_pass(self, step_input: TrainStepInput) -> ClassifTrainStepOutput:
        """Loss = c_mse (MSE + dead-latent term) + c_rate RATE + c_cls CE + c_model CE_model + c_balance BALANCE.

        Args:
            step_input: ``sae_in`` float (B, d_in). The head needs the classes of a ``ClassifTrainStepInput``, CE_model
                its model; without them (coefficients of 0) SAELens' own will do.

        Returns:
            The total loss, its unweighted terms, and the head's accuracy as a metric.
        """
        cfg, step = self.cfg, step_input.n_training_steps
        c = losses.coefficients(cfg, step)
        dead = self._dead(step_input)
        concepts = torch.arange(cfg.n_concepts if cfg.balance_coefficient > 0 else 0, device=self.device)
        active, of_wanted, hidden_pre = self._encode_sparse(step_input.sae_in, torch.cat([dead, concepts]))
        dead_hidden_pre, concept_pre = of_wanted.split([len(dead), len(concepts)], dim=1)
        decoded = active.detached_below(cfg.n_concepts) if losses.detaches_concepts(cfg, step) else active
        sae_out = self._decode_sparse(decoded)
        mse = losses.reconstruction_loss(sae_out, step_input.sae_in, _NORMALISERS[cfg.mse_normalization])
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
            _add(output, "activation_rate_loss", losses.activation_rate_loss(active, cfg.gamma), c.activation_rate)
        if cfg.classifier_coefficient > 0:
            self._add_classifier_loss(output, step_input, c.classifier)
        if cfg.balance_coefficient > 0:
            balance = losses.balance_loss(concept_pre, active.first(cfg.n_concepts).detach())
            _add(output, "balance_loss", balance, cfg.balance_coefficient)
        if cfg.model_coefficient > 0 and step % cfg.model_every == 0:
            self._add_model_loss(output, step_input)
        return output

    def _encode_sparse(self, x: torch.Tensor, wanted: torch.Tensor) -> tuple[ActiveLatents, torch.Tensor, torch.Tensor]:
        sae_in = self.process_sae_in(x)
        if not self.cfg.apply_b_dec_to_input:
            sae_in = sae_in.detach()  # SAELens subtracts 0 times the bias
        W_enc, b_enc = self.W_enc, self.b_enc
        if self.cfg.rescale_acts_by_decoder_norm:
            norms = self.W_dec.norm(dim=-1)
            W_enc, b_enc = W_enc * norms, b_enc * norms
        return encode(sae_in, W_enc, b_enc, places_of(self.cfg), wanted)

    def _decode_sparse(self, active: ActiveLatents) -> torch.Tensor:
        W_dec = self.W_dec
        if self.cfg.rescale_acts_by_decoder_norm:
            W_dec = W_dec / W_dec.norm(dim=-1, keepdim=True)
        sae_out = decode(active, W_dec) + self.b_dec
        # SAELens sets this function in a method, where mypy does not look for its type.
        return cast(torch.Tensor, self.run_time_activation_norm_fn_out(sae_out))  # type: ignore[has-type]

    @property
    def _rule(self) -> DecisionRule:
        return decision_rule(self.cfg.multi_label)

    def _add_classifier_loss(
        self, output: ClassifTrainStepOutput, step_input: TrainStepInput, coefficient: float
    ) -> None:
        predicted = _classified(step_input).predicted
        logits = self.classify(output.active.first(self.cfg.n_concepts))
        _add(output, "classifier_loss", self._rule.loss(logits, predicted), coefficient)
        output.metrics["classifier_accuracy"] = (self._rule.decide(logits) == predicted).float().mean()

    def _add_model_loss(self, output: ClassifTrainStepOutput, step_input: TrainStepInput) -> None:
        """Run the model from the concepts alone, for the first texts of the batch."""
        given, rows = _classified(step_input), slice(0, self.cfg.model_rows)
        if given.run_model is None:
            raise TypeError("the loss asks the language model: give the step's input a run_model")
        z_class = output.active.first(self.cfg.n_concepts)[rows]
        decoded = z_class @ self.W_dec[: self.cfg.n_concepts] + self.b_dec
        logits = given.run_model(decoded, given.sae_in[rows]).to(self.device)
        _add(output, "model_loss", self._rule.loss(logits, given.predicted[rows]), self.cfg.model_coefficient)

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
        dead_W_dec, normaliser = self.W_dec.index_select(0, dead), _NORMALISERS[self.cfg.mse_normalization]
        loss = losses.ghost_gradient_loss(output.sae_out, step_input.sae_in, dead_hidden_pre, dead_W_dec, normaliser)
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


def _classified(step_input: TrainStepInput) -> ClassifTrainStepInput:
    if isinstance(step_input, ClassifTrainStepInput):
        return step_input
    raise TypeError(
        f"the head needs the predicted classes: give a ClassifTrainStepInput, not {type(step_input).__name__}"
    )


def _add(output: TrainStepOutput, name: str, term: torch.Tensor, coefficient: float) -> None:
    """Put a term into the total loss, and unweighted into what is logged."""
    output.losses[name] = term
    output.loss = output.loss + coefficient * term


if ARCHITECTURE not in SAE_CLASS_REGISTRY:
    register_sae_class(ARCHITECTURE, ClassifSAE, ClassifSAEConfig)
    register_sae_training_class(ARCHITECTURE, ClassifTrainingSAE, ClassifTrainingSAEConfig)
