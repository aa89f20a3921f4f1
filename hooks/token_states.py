"""A language model that reads texts: its residual stream at every token, at any number of hooks in one pass."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import torch
from transformer_lens import HookedTransformer
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from typing_extensions import override

from sae_lens_classif.errors import UserError, nearest
from sae_lens_classif.hooks.backends import RunsOtherwiseError, hooked_transformer
from sae_lens_classif.hooks.batching import batch_tokens, batches_by_length, mask_of, pad_right
from sae_lens_classif.hooks.blocks import HOOK, Blocks
from sae_lens_classif.hooks.huggingface import (
    load_causal_lm,
    load_language_model,
    load_tokenizer,
    model_context,
    model_fingerprint,
    pick_device,
)
from sae_lens_classif.hooks.inputs import PlainTexts

_TEXT = "The quick brown fox jumps over the lazy dog."
_BACKENDS = ("hooked_transformer", "transformers")


class TokenStates(NamedTuple):
    """Residual streams of some texts.

    Attributes:
        texts: Numbers of the m texts.
        streams: For each hook float32 (T, d_model), the states of the texts' own tokens, one text after the other.
        lengths: int64 (m,), own tokens of each text, T together.
    """

    texts: list[int]
    streams: list[torch.Tensor]
    lengths: torch.Tensor


class TokenReader(ABC):
    """A language model without a head, read at the tokens of texts.

    Attributes:
        name: How the model is called.
        n_layers: Number of blocks.
        d_model: Width of the residual stream.
        device: Where the model is.
        inputs: From texts to token ids, with the tokenizer's special tokens.
        fingerprint: SHA-256 of weights, configuration and tokenizer.
        dtype: Precision the model runs in.
    """

    name: str
    n_layers: int
    d_model: int
    device: torch.device
    inputs: PlainTexts
    fingerprint: str
    dtype: str

    @abstractmethod
    def streams(self, tokens: torch.Tensor, lengths: torch.Tensor, layers: Sequence[int]) -> list[torch.Tensor]:
        """Run the model as far as it must be.

        Args:
            tokens: int64 (B, T), padded on the right.
            lengths: int64 (B,), tokens of each text.
            layers: The input of each of these blocks is wanted; at ``n_layers`` the output of the last.

        Returns:
            float (B, T, d_model) each.
        """

    def layer_of(self, hook_name: str) -> int:
        """The block whose input a hook is; ``n_layers`` for the output of the last.

        Raises:
            UserError: If there is no such hook.
        """
        match = HOOK.fullmatch(hook_name)
        if match is None or int(match[1]) >= self.n_layers:
            raise UserError(
                f"{self.name} has no hook {hook_name!r} in its residual stream; valid: blocks.L.hook_resid_pre and "
                f"blocks.L.hook_resid_post with L = 0..{self.n_layers - 1}"
            )
        return int(match[1]) + (match[2] == "post")

    @cached_property
    def _special(self) -> torch.Tensor:
        tokenizer = self.inputs.tokenizer  # not all_special_ids, among which is what an unknown word becomes
        ids = (getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "cls", "sep", "pad"))
        return torch.tensor(sorted({one for one in ids if one is not None}), dtype=torch.int64, device=self.device)

    def pieces(self, text: str, *, special_tokens: bool = False) -> list[tuple[str, str]]:
        """The text as its own tokens, those whose states ``read`` gives, in their order.

        Args:
            text: The text.
            special_tokens: As ``read`` has it.

        Returns:
            For each token what stands between it and the one before, and what it is of the text: nothing where several
            tokens share a character. Where the tokenizer does not say its places, each is decoded by itself.
        """
        (ids,) = self.inputs([text])
        special, found, end = set(self._special.tolist()), list[tuple[str, str]](), 0
        for token, span in zip(ids, self._spans(text, ids), strict=True):
            if token in special and not special_tokens:
                continue
            if span is None or (token in special and span[0] == span[1]):
                found.append(("", str(self.inputs.tokenizer.decode([token]))))
                continue
            start = max(span[0], end)
            found.append((text[end:start], text[start : span[1]]))
            end = max(end, span[1])
        return found

    def _spans(self, text: str, ids: list[int]) -> "list[tuple[int, int]] | list[None]":
        tokenizer = self.inputs.tokenizer
        if tokenizer.is_fast:
            encoded = tokenizer(text, truncation=True, max_length=self.inputs.max_tokens, return_offsets_mapping=True)
            if encoded["input_ids"] == ids:
                return list(map(tuple, encoded["offset_mapping"]))
        return [None] * len(ids)

    @torch.no_grad()
    def read(
        self,
        texts: Sequence[str],
        hooks: Sequence[str],
        *,
        special_tokens: bool = False,
        max_batch_tokens: int | None = None,
    ) -> Iterator[TokenStates]:
        """Read texts, the longest first, some at a time.

        Args:
            texts: The texts.
            hooks: ``blocks.L.hook_resid_pre`` or ``blocks.L.hook_resid_post``, any number of them.
            special_tokens: Whether BOS, ``[CLS]`` and the like are a text's own tokens, too; padding never is.
            max_batch_tokens: Tokens of one pass, padding included. Default: ``batch_tokens``.

        Raises:
            UserError: If there is no such hook, or a state is not finite.
        """
        layers = [self.layer_of(hook) for hook in hooks]
        ids = self.inputs(texts)
        at_most = max_batch_tokens or batch_tokens(self.device)
        for rows in batches_by_length([len(one) for one in ids], at_most):
            tokens, last = pad_right([ids[row] for row in rows], pad_token_id=0)
            tokens, lengths = tokens.to(self.device), last.to(self.device) + 1
            own = mask_of(lengths, tokens.shape[1]).bool()
            if not special_tokens:
                own &= ~torch.isin(tokens, self._special)
            streams = [stream[own].float() for stream in self.streams(tokens, lengths, layers)]
            for hook, stream in zip(hooks, streams, strict=True):
                if not stream.isfinite().all():
                    raise UserError(
                        f"a state of {self.name} is not finite at {hook}; check the model's weights, or use float32"
                    )
            yield TokenStates(rows, streams, own.sum(dim=1).cpu())


class TransformersReader(TokenReader):
    """Any encoder or decoder of transformers, run by its own code."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str, device: torch.device
    ) -> None:
        """
        Args:
            model: Without a head; it is put on the device.
            tokenizer: Its tokenizer.
            name: How the model is called.
            device: Where it runs.

        Raises:
            UserError: If the model is not one stack of blocks.
        """
        self.name, self.device, self.dtype = name, device, str(model.dtype).removeprefix("torch.")
        self.inputs = PlainTexts(tokenizer, None, model_context(model))
        self.fingerprint = model_fingerprint(model, tokenizer)
        self._model = model.to(device).eval().requires_grad_(False)  # type: ignore[arg-type]  # takes a device
        self._blocks = Blocks(model)
        self.n_layers, self.d_model = self._blocks.n, int(model.config.get_text_config().hidden_size)

    @override
    def streams(self, tokens: torch.Tensor, lengths: torch.Tensor, layers: Sequence[int]) -> list[torch.Tensor]:
        mask = mask_of(lengths, tokens.shape[1])
        return self._blocks.read_at(layers, lambda: self._model(input_ids=tokens, attention_mask=mask), stop=True)[0]


class HookedTransformerReader(TokenReader):
    """A decoder that TransformerLens knows."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str, device: torch.device
    ) -> None:
        """See ``TransformersReader``.

        Args:
            model: With its language-model head; it is not kept.

        Raises:
            RunsOtherwiseError: If TransformerLens does not know the architecture, or gives other states than the model.
        """
        self.name, self.device, self.dtype = name, device, str(model.dtype).removeprefix("torch.")
        self.inputs = PlainTexts(tokenizer, None, model_context(model))
        self.fingerprint = model_fingerprint(model, tokenizer)
        self._model: HookedTransformer = hooked_transformer.to_hooked_transformer(model, self.inputs.max_tokens, device)
        self.n_layers, self.d_model = int(self._model.cfg.n_layers), int(self._model.cfg.d_model)
        self._check_against(model)

    @torch.no_grad()
    def _check_against(self, model: PreTrainedModel) -> None:
        """Compare the deepest states that have not met the final norm: a wrong conversion must not pass unseen."""
        ids = torch.tensor(self.inputs([_TEXT]))
        expected = model(input_ids=ids.to(model.device), output_hidden_states=True).hidden_states[-2].float().cpu()
        lengths = torch.tensor([ids.shape[1]], device=self.device)
        (found,) = self.streams(ids.to(self.device), lengths, [self.n_layers - 1])
        tolerance = 1e-3 if model.dtype == torch.float32 else 0.1
        if not torch.allclose(found.float().cpu(), expected, atol=tolerance * float(expected.abs().max() + 1)):
            raise RunsOtherwiseError(
                f"TransformerLens gives other states than {self.name} itself; features.backend transformers runs it by "
                "its own code"
            )

    @override
    def streams(self, tokens: torch.Tensor, lengths: torch.Tensor, layers: Sequence[int]) -> list[torch.Tensor]:
        last, kept = max(layers), dict[int, torch.Tensor]()
        hooks: list[tuple[str | Callable[..., Any], Callable[..., Any]]] = [
            (f"blocks.{layer}.hook_resid_pre", lambda stream, hook: kept.update({hook.layer(): stream}))
            for layer in layers
            if layer < last
        ]
        # Padding is on the right, where causal attention never looks.
        with self._model.hooks(fwd_hooks=hooks):
            kept[last] = self._model(tokens, stop_at_layer=last)
        return [kept[layer] for layer in layers]


def open_reader(
    model: str, dtype: torch.dtype = torch.float32, device: str | None = None, backend: str | None = None
) -> TokenReader:
    """Open a language model to read texts.

    Args:
        model: A local folder or a name on the Hub.
        dtype: Precision it runs in.
        device: ``cpu``, ``cuda`` ... Default: a GPU if there is one.
        backend: ``hooked_transformer`` or ``transformers``. Default: the second, which is faster and runs any model.

    Raises:
        UserError: If there is no such model or backend, or it cannot be opened.
    """
    if backend not in (None, *_BACKENDS):
        raise UserError(f"features.backend is {backend!r}; {nearest(str(backend), list(_BACKENDS))}")
    tokenizer, target = load_tokenizer(model), pick_device(device)
    if backend == "hooked_transformer":
        return HookedTransformerReader(load_causal_lm(model, dtype), tokenizer, model, target)
    return TransformersReader(load_language_model(model, dtype), tokenizer, model, target)
