"""Encoding and decoding with k active latents a text: the dense results, from products that touch only those.

Only the pre-activations need a dense product. The decoding and the gradients of both weights need the k latents of
each text, so their cost grows with k instead of d_sae.
"""

from dataclasses import dataclass, replace
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable


@dataclass(frozen=True)
class Places:
    """How the k places of a text are given to latents.

    Attributes:
        k: Latents that are active on one text at most.
        of_concepts: So many of the places are kept for the concepts, the others for the other latents; 0: all latents
            compete for all places, which is plain TopK.
        n_concepts: The first so many latents are the concepts.
    """

    k: int
    of_concepts: int = 0
    n_concepts: int = 0

    def largest(self, hidden_pre: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The latents that get a place, in no order.

        Args:
            hidden_pre: float (..., d_sae), pre-activations.

        Returns:
            Their pre-activations, float (..., k), and which they are, int64 (..., k).
        """
        if self.of_concepts == 0:
            values, latents = hidden_pre.topk(self.k, dim=-1, sorted=False)
            return values, latents
        n = self.n_concepts
        concepts = hidden_pre[..., :n].topk(self.of_concepts, dim=-1, sorted=False)
        others = hidden_pre[..., n:].topk(self.k - self.of_concepts, dim=-1, sorted=False)
        values = torch.cat([concepts.values, others.values], dim=-1)
        return values, torch.cat([concepts.indices, others.indices + n], dim=-1)


class TopKWithKeptPlaces(nn.Module):
    """The activation function of an SAE whose concepts have places of their own: ``ReLU`` of what gets a place."""

    def __init__(self, places: Places) -> None:
        super().__init__()
        self.places = places

    def forward(self, hidden_pre: torch.Tensor) -> torch.Tensor:
        """From float (..., d_sae) to float (..., d_sae), 0 for every latent without a place."""
        values, latents = self.places.largest(hidden_pre)
        return torch.zeros_like(hidden_pre).scatter(-1, latents, values.relu())


@dataclass(frozen=True)
class ActiveLatents:
    """The k largest latents of each text.

    Attributes:
        values: float (B, k), activations; 0 where fewer than k pre-activations are above 0.
        latents: int64 (B, k), which latents they are.
        order: int64 (B*k,), the flattened entries grouped by latent.
        counts: int64 (d_sae,), how many entries each latent has.
    """

    values: torch.Tensor
    latents: torch.Tensor
    order: torch.Tensor
    counts: torch.Tensor

    def dense(self) -> torch.Tensor:
        """Float (B, d_sae), all activations; no gradient flows back."""
        acts = self.values.new_zeros(len(self.values), len(self.counts))
        return acts.scatter_(1, self.latents, self.values.detach())

    def firing_counts(self) -> torch.Tensor:
        """float32 (d_sae,): on how many texts each latent is above 0."""
        fires = (self.values > 0).flatten().float()
        return torch.zeros(len(self.counts), device=fires.device).index_add_(0, self.latents.flatten(), fires)

    def first(self, n: int) -> torch.Tensor:
        """Float (B, n), activations of the first n latents; differentiable."""
        padded = self.values.new_zeros(len(self.values), n + 1)
        return padded.scatter(1, self.latents.clamp(max=n), self.values)[:, :n]

    def detached_below(self, n: int) -> "ActiveLatents":
        """The same, but no gradient flows through the first n latents."""
        values = torch.where(self.latents < n, self.values.detach(), self.values)
        return replace(self, values=values)

    def beyond(self, n: int) -> torch.Tensor:
        """Float (m,), activations of each latent but its n largest; differentiable."""
        is_crowded = self.counts > n
        if not is_crowded.any():
            return self.values.new_zeros(0)
        crowded = self.order[is_crowded[self.latents.flatten()[self.order]]]
        crowded = crowded[self.values.detach().flatten()[crowded].argsort(descending=True)]
        of_latent = self.latents.flatten()[crowded]
        by_latent = of_latent.argsort(stable=True)
        starts = _starts(torch.where(is_crowded, self.counts, 0))
        rank = torch.arange(len(crowded), device=crowded.device) - starts[of_latent[by_latent]]
        return self.values.flatten()[crowded[by_latent[rank >= n]]]


def encode(
    sae_in: torch.Tensor, W_enc: torch.Tensor, b_enc: torch.Tensor, places: Places, wanted: torch.Tensor
) -> tuple[ActiveLatents, torch.Tensor, torch.Tensor]:
    """``ReLU(top-k(sae_in @ W_enc + b_enc))``.

    Args:
        sae_in: float (B, d_in).
        W_enc: float (d_in, d_sae).
        b_enc: float (d_sae,).
        places: How many latents a text has, and which may take them.
        wanted: int64 (m,), latents whose pre-activations are wanted too.

    Returns:
        The active latents; the pre-activations of the wanted ones, float (B, m); all pre-activations, float (B, d_sae),
        through which no gradient flows.
    """
    # PyTorch's apply has no annotations.
    outputs = _TopK.apply(sae_in, W_enc, b_enc, places, wanted)  # type: ignore[no-untyped-call]
    top, latents, order, counts, of_wanted, hidden_pre = cast(tuple[torch.Tensor, ...], outputs)
    return ActiveLatents(top.relu(), latents, order, counts), of_wanted, hidden_pre


def decode(active: ActiveLatents, W_dec: torch.Tensor) -> torch.Tensor:
    """``feature_acts @ W_dec``.

    Args:
        active: Of B texts.
        W_dec: float (d_sae, d_in).

    Returns:
        float (B, d_in).
    """
    # PyTorch's apply has no annotations.
    out = _Decode.apply(active.values, W_dec, active.latents, active.order, active.counts)  # type: ignore[no-untyped-call]
    return cast(torch.Tensor, out)


class _TopK(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, sae_in: torch.Tensor, W_enc: torch.Tensor, b_enc: torch.Tensor, places: Places, wanted: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        hidden_pre = torch.addmm(b_enc, sae_in, W_enc)
        top, latents = places.largest(hidden_pre)
        order, counts = _group_by_latent(latents, hidden_pre.shape[1])
        ctx.save_for_backward(sae_in, W_enc, latents, order, counts, wanted)
        ctx.mark_non_differentiable(latents, order, counts, hidden_pre)
        ctx.set_materialize_grads(False)  # zeros in the place of the pre-activations' gradient would cost most
        return top, latents, order, counts, hidden_pre.index_select(1, wanted), hidden_pre

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, of_top: torch.Tensor | None, *others: torch.Tensor | None
    ) -> tuple[torch.Tensor | None, ...]:
        sae_in, W_enc, latents, order, counts, wanted = ctx.saved_tensors
        of_wanted = others[3]
        if of_top is None:
            of_top = torch.zeros_like(latents, dtype=sae_in.dtype)
        of_W_enc = _transposed_product(of_top, sae_in, order, counts)
        of_b_enc = of_top.new_zeros(len(counts)).index_add_(0, latents.flatten(), of_top.flatten())
        if of_wanted is not None:
            of_W_enc.index_add_(0, wanted, of_wanted.T @ sae_in)
            of_b_enc.index_add_(0, wanted, of_wanted.sum(dim=0))
        of_sae_in = None
        if ctx.needs_input_grad[0]:
            of_sae_in = F.embedding_bag(latents, W_enc.T.contiguous(), per_sample_weights=of_top, mode="sum")
            if of_wanted is not None:
                of_sae_in += of_wanted @ W_enc[:, wanted].T
        return of_sae_in, of_W_enc.T, of_b_enc, None, None


class _Decode(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        values: torch.Tensor,
        W_dec: torch.Tensor,
        latents: torch.Tensor,
        order: torch.Tensor,
        counts: torch.Tensor,
    ) -> torch.Tensor:
        # PyTorch gives the scalar products of chosen rows as the gradient of this product alone.
        with torch.enable_grad():
            ctx.leaf = values.detach().requires_grad_()
            ctx.out = F.embedding_bag(latents, W_dec.detach(), per_sample_weights=ctx.leaf, mode="sum")
        ctx.save_for_backward(order, counts)
        return cast(torch.Tensor, ctx.out.detach())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_out: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (of_values,) = torch.autograd.grad(ctx.out, ctx.leaf, of_out, retain_graph=True)
        return of_values, _transposed_product(ctx.leaf.detach(), of_out, *ctx.saved_tensors), None, None, None


def _group_by_latent(latents: torch.Tensor, d_sae: int) -> tuple[torch.Tensor, torch.Tensor]:
    flat = latents.flatten()
    if flat.device.type == "cpu" and d_sae <= 2**15:  # NumPy sorts 16-bit numbers by radix, five times as fast
        order = torch.from_numpy(flat.to(torch.int16).numpy().argsort(kind="stable"))
    else:
        order = flat.argsort(stable=True)
    return order, torch.bincount(flat, minlength=d_sae)


def _transposed_product(
    values: torch.Tensor, rows: torch.Tensor, order: torch.Tensor, counts: torch.Tensor
) -> torch.Tensor:
    """``feature_acts.T @ rows``: float (d_sae, d) from values (B, k) and rows (B, d)."""
    text = order // values.shape[1]
    return F.embedding_bag(text, rows, _starts(counts), per_sample_weights=values.flatten()[order], mode="sum")


def _starts(counts: torch.Tensor) -> torch.Tensor:
    """Where each group begins when groups of these sizes follow one another."""
    return counts.cumsum(0) - counts
