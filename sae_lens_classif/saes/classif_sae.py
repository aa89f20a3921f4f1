"""``ClassifSAE``: a TopK sparse autoencoder whose first latents feed a linear classification head."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
import torch.nn.functional as F
from sae_lens import TopKSAE, TopKSAEConfig, register_sae_class
from sae_lens.registry import SAE_CLASS_REGISTRY
from sae_lens.saes.topk_sae import act_times_W_dec
from torch import nn
from typing_extensions import override

from sae_lens_classif.errors import UserError
from sae_lens_classif.saes.saving import check_weights, explain_loading, note_weights

if TYPE_CHECKING:
    from sae_lens_classif.saes.training_sae import ClassifTrainingSAE

ARCHITECTURE = "classifsae"


@dataclass(kw_only=True)
class ClassifSAEConfig(TopKSAEConfig):
    """Configuration of a ``ClassifSAE``.

    Args:
        n_classes: Number of classes C of the language model's task.
        n_concepts: The first so many latents are the concepts (z_class) that feed the head.
        k: Latents that are active on one text at most.
        normalize_activations: ``constant_norm_rescale`` gives every hidden state the norm sqrt(d_in).
        apply_b_dec_to_input: Whether ``b_dec`` is subtracted from the input; the paper does not.

    Raises:
        UserError: If ``n_concepts`` or ``k`` exceed ``d_sae``, or there are fewer than two classes.
    """

    n_classes: int
    n_concepts: int = 20
    k: int = 10
    apply_b_dec_to_input: bool = False
    normalize_activations: str = "constant_norm_rescale"  # type: ignore[assignment]  # SAELens' list lacks it

    def __post_init__(self) -> None:
        super().__post_init__()  # type: ignore[no-untyped-call]  # SAELens left it without
        check_sizes(self.d_in, self.d_sae, self.k, self.n_concepts, self.n_classes)

    @override
    @classmethod
    def architecture(cls) -> str:
        return ARCHITECTURE


def check_sizes(d_in: int, d_sae: int, k: int, n_concepts: int, n_classes: int) -> None:
    """Refuse sizes that cannot go together.

    Raises:
        UserError: Naming the size, its value and what it may be.
    """
    for name, value in (("d_in", d_in), ("d_sae", d_sae)):
        if value < 1:
            raise UserError(f"{name} is {value}; it must be at least 1")
    for name, value in (("k", k), ("n_concepts", n_concepts)):
        if not 1 <= value <= d_sae:
            raise UserError(f"{name} is {value}; it must be 1..{d_sae}, the number of latents d_sae")
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

    def __init__(self, cfg: ClassifSAEConfig, use_error_term: bool = False) -> None:
        """
        Args:
            cfg: Sizes and normalisation.
            use_error_term: See ``sae_lens.SAE``.
        """
        super().__init__(cfg, use_error_term)

    @override
    def initialize_weights(self) -> None:
        super().initialize_weights()
        initialize_head(self)

    def classify(self, z: torch.Tensor) -> torch.Tensor:
        """Class logits of the head.

        Args:
            z: float (..., d_sae), what ``encode`` gives; or (..., n_concepts), the concepts alone.

        Returns:
            float (..., C).
        """
        return classify(z, self.classifier_weight, self.classifier_bias)

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
        """Note the format and the weights' checksum in ``cfg.metadata``, which is written after the weights."""
        super().process_state_dict_for_saving(state_dict)
        note_weights(self.cfg.metadata, state_dict)

    @override
    def process_state_dict_for_loading(self, state_dict: dict[str, Any]) -> None:
        """Refuse weights that are not those that were saved, whichever of SAELens' ways they came.

        Raises:
            UserError: Saying what is wrong with them.
        """
        super().process_state_dict_for_loading(state_dict)
        check_weights(self.cfg.metadata, state_dict, self.state_dict())

    @override
    @classmethod
    def load_from_disk(cls, path: str | Path, *args: Any, **kwargs: Any) -> Self:
        """``SAE.load_from_disk``, with errors that say what to do.

        Args:
            path: Folder with ``cfg.json`` and ``sae_weights.safetensors``.
            args: See ``sae_lens.SAE.load_from_disk``.
            kwargs: As well.

        Raises:
            UserError: If a file is missing, cut off or changed.
        """
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
        own = torch.arange(n_concepts, device=sae.device) % n_classes
        others = math.sqrt(2 / (n_concepts * (n_classes - 1)))
        weight = torch.full_like(weight, -others)
        weight[own, torch.arange(n_concepts, device=sae.device)] = (n_classes - 1) * others
    sae.classifier_weight = nn.Parameter(weight)
    sae.classifier_bias = nn.Parameter(torch.zeros(n_classes, dtype=sae.dtype, device=sae.device))


def classify(z: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Logits of a linear head on the first latents.

    Args:
        z: float (..., d_sae) or (..., n_concepts).
        weight: float (C, n_concepts).
        bias: float (C,).

    Returns:
        float (..., C).
    """
    return F.linear(z[..., : weight.shape[1]], weight, bias)


if ARCHITECTURE not in SAE_CLASS_REGISTRY:
    register_sae_class(ARCHITECTURE, ClassifSAE, ClassifSAEConfig)

# Whoever imports this module alone can load checkpoints of trainings too.
import sae_lens_classif.saes.training_sae  # noqa: E402, F401  (it needs the names above)
