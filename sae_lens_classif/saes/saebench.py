"""Give an SAE the shape that SAEBench (``sae-bench`` 0.6) and ``sae-probes`` (0.4) expect.

Neither is a dependency: their evaluations take any object with these names. ``examples/saebench.py`` shows how, and
``benchmarks/saebench.md`` what came out.
"""

import copy
import re
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import torch
from sae_lens import SAE
from torch import nn
from typing_extensions import override

from sae_lens_classif.errors import UserError


@dataclass
class SAEBenchConfig:
    """What SAEBench reads of an SAE's configuration, and writes more into.

    Attributes:
        model_name: The language model.
        d_in: Width of the hidden states.
        d_sae: Number of latents.
        hook_name: Where the hidden states are read; see ``SAEBenchAdapter``.
        hook_layer: Number of its block.
        architecture: Name of the SAE's architecture.
        dtype: Precision of the weights, as ``float32``.
        device: Where they are.
        apply_b_dec_to_input: Whether ``b_dec`` is subtracted from the input.
        prepend_bos: Whether texts begin with a special token.
        context_size: Tokens of a text.
        hook_head_index: None: the whole state.
        normalize_activations: ``none``: nothing is left for them to do.
        model_from_pretrained_kwargs: Nothing special.
    """

    model_name: str
    d_in: int
    d_sae: int
    hook_name: str
    hook_layer: int
    architecture: str
    dtype: str
    device: str
    apply_b_dec_to_input: bool
    prepend_bos: bool
    context_size: int | None = None
    hook_head_index: int | None = None
    normalize_activations: str = "none"
    model_from_pretrained_kwargs: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return asdict(self)


class SAEBenchAdapter(nn.Module):
    """An SAE as SAEBench and sae-probes use one: a copy, the given one stays as it is.

    They zero the states of padding, where ``constant_norm_rescale`` would divide by zero, and decode more than once
    after one ``encode``, which SAELens forbids. Here a state of zeros stays one, and ``decode`` gives the states of
    the last ``encode`` back their norms as often as it is called.

    Some of their evaluations read ``blocks.L.hook_resid_post`` whatever the SAE says, so ``blocks.L.hook_resid_pre``
    is called ``blocks.(L-1).hook_resid_post`` here, which is the same tensor.

    Attributes:
        cfg: What they read of the configuration.
    """

    def __init__(self, sae: SAE[Any], model_name: str | None = None) -> None:
        """
        Args:
            sae: A ClassifSAE, or any SAE of one layer.
            model_name: Name of the language model. Default: the one in the SAE's metadata.

        Raises:
            UserError: If the SAE does not say which hook or model it is for.
        """
        super().__init__()
        metadata = sae.cfg.metadata
        name = model_name or metadata.model_name
        if not metadata.hook_name or not name:
            missing = "hook_name" if not metadata.hook_name else "model_name"
            raise UserError(f"the SAE's metadata has no {missing}; set sae.cfg.metadata.{missing}")
        self.sae = copy.deepcopy(sae)
        self._rescales = sae.cfg.normalize_activations == "constant_norm_rescale"
        self._scale: torch.Tensor | None = None
        if self._rescales:
            for point in ("run_time_activation_norm_fn_in", "run_time_activation_norm_fn_out"):
                setattr(self.sae, point, lambda x: x)
        hook_name, hook_layer = _hook(metadata.hook_name)
        self.cfg = SAEBenchConfig(
            model_name=name,
            d_in=sae.cfg.d_in,
            d_sae=sae.cfg.d_sae,
            hook_name=hook_name,
            hook_layer=hook_layer,
            architecture=sae.cfg.architecture(),
            dtype=str(sae.dtype).removeprefix("torch."),
            device=str(sae.device),
            apply_b_dec_to_input=sae.cfg.apply_b_dec_to_input,
            prepend_bos=bool(metadata.prepend_bos),
            context_size=metadata.context_size,
        )

    @property
    def W_enc(self) -> torch.Tensor:
        """Float (d_in, d_sae)."""
        return self.sae.W_enc

    @property
    def W_dec(self) -> torch.Tensor:
        """Float (d_sae, d_in)."""
        return self.sae.W_dec

    @property
    def b_enc(self) -> torch.Tensor:
        """Float (d_sae,)."""
        bias: torch.Tensor = self.sae.b_enc  # type: ignore[assignment]  # SAELens declares it in subclasses alone
        return bias

    @property
    def b_dec(self) -> torch.Tensor:
        """Float (d_in,)."""
        return self.sae.b_dec

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.W_dec.device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the weights."""
        return self.W_dec.dtype

    @override
    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Bring the weights to a device or precision, as ``torch.nn.Module.to`` does."""
        self.sae.to(*args, **kwargs)
        self.cfg.dtype, self.cfg.device = str(self.dtype).removeprefix("torch."), str(self.device)
        return self

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """All latents of hidden states.

        Args:
            x: float (..., d_in); states of zeros are padding.

        Returns:
            float (..., d_sae).
        """
        if self._rescales:
            norm = x.norm(dim=-1, keepdim=True)
            self._scale = torch.where(norm > 0, self.cfg.d_in**0.5 / norm, 1.0).detach()
            x = x * self._scale
        latents: torch.Tensor = self.sae.encode(x)
        return latents

    def decode(self, feature_acts: torch.Tensor) -> torch.Tensor:
        """Reconstruct the states of the last ``encode``, also from latents that were changed since.

        Args:
            feature_acts: float (..., d_sae), of that batch.

        Returns:
            float (..., d_in).

        Raises:
            ValueError: If the batch has another shape than the last one that was encoded.
        """
        out: torch.Tensor = self.sae.decode(feature_acts)
        if not self._rescales:
            return out
        if self._scale is None or self._scale.shape[:-1] != out.shape[:-1]:
            encoded = None if self._scale is None else tuple(self._scale.shape[:-1])
            raise ValueError(
                f"decode got a batch of shape {tuple(out.shape[:-1])}, encoded last was {encoded}: the norms of the "
                "hidden states come from there"
            )
        return out / self._scale

    @override
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Reconstruction of hidden states, float (..., d_in)."""
        return self.decode(self.encode(x))


def _hook(name: str) -> tuple[str, int]:
    match = re.fullmatch(r"blocks\.(\d+)\.(\w+)", name)
    if match is None:
        raise UserError(f"the SAE's hook is {name!r}; expected one as blocks.L.hook_resid_pre")
    layer, point = int(match[1]), match[2]
    if point == "hook_resid_pre" and layer > 0:
        return f"blocks.{layer - 1}.hook_resid_post", layer - 1
    return name, layer
