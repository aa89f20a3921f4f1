"""Models with a classification head: what it says of its classes, and its logits."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from sae_lens_classif.config.classifier import MOST_LABELS
from sae_lens_classif.errors import UserError
from sae_lens_classif.hooks.backends import ModelRequest
from sae_lens_classif.hooks.batching import mask_of
from sae_lens_classif.hooks.huggingface import (
    MULTI_LABEL,
    check_tokens,
    load_sequence_classifier,
    load_tokenizer,
    model_context,
)
from sae_lens_classif.hooks.inputs import PlainTexts

_NO_NAME = re.compile(r"(LABEL_)?\d+")


def open_head(request: ModelRequest) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, PlainTexts]:
    """A model with a classification head, its tokenizer, and what reads texts for it.

    Raises:
        UserError: If the model or its tokenizer cannot be loaded, or its head is of other classes.
    """
    tokenizer = load_tokenizer(request.model)
    model = load_sequence_classifier(request.model, request.dtype, request.class_names)
    if request.multi_label and model.config.problem_type is None:
        model.config.problem_type = MULTI_LABEL
    check_head(model.config, request)
    check_tokens(model, tokenizer)
    return model, tokenizer, PlainTexts(tokenizer, request.prompt, model_context(model))


def check_head(config: PreTrainedConfig, request: ModelRequest) -> None:
    """Refuse a head that does not tell the classes apart that are asked for.

    Raises:
        UserError: If it gives one number, has another number of classes, or calls them otherwise.
    """
    n_labels = config.num_labels or 0
    if is_multi_label(config) and n_labels > MOST_LABELS:
        raise UserError(f"the head of {request.name} has {n_labels} labels; at most {MOST_LABELS} can be explained")
    if n_labels < 2 or config.problem_type == "regression":
        raise UserError(
            f"the head of {request.name} gives one number and no class; give a model of at least two classes"
        )
    own, asked = names_in_config(config.id2label or {}), request.class_names
    if len(asked) != n_labels:
        raise UserError(
            f"the head of {request.name} has {n_labels} classes, asked for are {len(asked)} ({', '.join(asked)}); give "
            "data of the same classes"
        )
    if own is not None and not is_nameless(asked) and list(map(_plain, asked)) != list(map(_plain, own)):
        raise UserError(
            f"the head of {request.name} calls its classes {', '.join(own)}, in this order; asked for are "
            f"{', '.join(asked)}; give these names in that order (data.class_names), or a model of your classes"
        )


def is_multi_label(config: PreTrainedConfig) -> bool:
    """Whether a model's head gives a text any number of labels at once."""
    return getattr(config, "problem_type", None) == MULTI_LABEL


def _plain(name: str) -> str:
    """A name as letters alone: ``Sci/Tech`` and ``sci_tech`` are the same."""
    return re.sub(r"[\W_]+", "", name).casefold()


def names_in_config(id2label: Mapping[Any, str]) -> tuple[str, ...] | None:
    """Names of classes as a ``config.json`` has them; None where they are numbers or transformers' ``LABEL_0``."""
    names = tuple(str(name) for _, name in sorted((int(number), name) for number, name in id2label.items()))
    return None if is_nameless(names) else names


def is_nameless(names: Sequence[str]) -> bool:
    """Whether these are no names, but numbers, or transformers' ``LABEL_0``."""
    return all(_NO_NAME.fullmatch(name) for name in names)


def head_logits(
    model: nn.Module, tokens: torch.Tensor, lengths: torch.Tensor, second_after: int | None = None
) -> torch.Tensor:
    """Class logits of a model with a classification head.

    transformers looks for the last token of a decoder by ``pad_token_id``, and takes an earlier one where a text
    contains that token; here it is the last of what the tokenizer gave.

    Args:
        model: An encoder, or a decoder, which has ``score``.
        tokens: int64 (B, T), padded on the right.
        lengths: int64 (B,), tokens of each text.
        second_after: Token after whose first place the second text of a pair begins; see ``PlainTexts``.

    Returns:
        float (B, C).
    """
    mask = mask_of(lengths, tokens.shape[1])
    score: nn.Module | None = getattr(model, "score", None)
    if score is None:
        types = {} if second_after is None else {"token_type_ids": _of_second(tokens == second_after)}
        logits: torch.Tensor = model(input_ids=tokens, attention_mask=mask, **types).logits
        return logits
    base: nn.Module = model.base_model  # type: ignore[assignment]  # a model of transformers has one
    stream: torch.Tensor = base(input_ids=tokens, attention_mask=mask, use_cache=False)[0]
    return cast(torch.Tensor, score(stream[torch.arange(len(tokens), device=tokens.device), lengths - 1]))


def _of_second(is_separator: torch.Tensor) -> torch.Tensor:
    """Token types, int64 (B, T): 1 after the first separator, 0 up to it."""
    separators = is_separator.long()
    return (separators.cumsum(dim=1) - separators).clamp(max=1)
