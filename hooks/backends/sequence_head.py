"""Decoders with a classification head, such as ``LlamaForSequenceClassification``: it reads the last token."""

import torch
from typing_extensions import override

from sae_lens_classif.hooks.backends import ModelRequest
from sae_lens_classif.hooks.block_classifier import BlockClassifier
from sae_lens_classif.hooks.heads import head_logits, open_head

ARCHITECTURES = (
    "BloomForSequenceClassification", "FalconForSequenceClassification", "GPT2ForSequenceClassification",
    "GPTJForSequenceClassification", "GPTNeoForSequenceClassification", "GPTNeoXForSequenceClassification",
    "Gemma2ForSequenceClassification", "Gemma3TextForSequenceClassification", "GemmaForSequenceClassification",
    "LlamaForSequenceClassification", "MistralForSequenceClassification", "MixtralForSequenceClassification",
    "OPTForSequenceClassification", "Phi3ForSequenceClassification", "PhiForSequenceClassification",
    "Qwen2ForSequenceClassification", "Qwen3ForSequenceClassification", "Qwen3MoeForSequenceClassification",
    "StableLmForSequenceClassification", "Starcoder2ForSequenceClassification",
)  # fmt: skip


def open_model(request: ModelRequest) -> "SequenceHeadClassifier":
    """Open a decoder with a classification head.

    Raises:
        UserError: If the model or its tokenizer cannot be loaded, its head is of other classes, or the hook does not
            exist.
    """
    return SequenceHeadClassifier(*open_head(request), request)


class SequenceHeadClassifier(BlockClassifier):
    """A decoder whose head reads the last token."""

    read_at = "the last token of the text"

    @override
    def class_logits(self, tokens: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        return head_logits(self._model, tokens, lengths)
