"""Encoders with a classification head, such as BERT: the head reads the first token, or the mean of all."""

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from typing_extensions import override

from sae_lens_classif.errors import UserError
from sae_lens_classif.hooks.backends import ModelRequest
from sae_lens_classif.hooks.block_classifier import BlockClassifier, ModelClassifier
from sae_lens_classif.hooks.classifier import Context, StatesAndLogits, TextClassifier
from sae_lens_classif.hooks.heads import head_logits, open_head
from sae_lens_classif.hooks.inputs import PlainTexts

ARCHITECTURES = (
    "AlbertForSequenceClassification", "BertForSequenceClassification", "CamembertForSequenceClassification",
    "DebertaForSequenceClassification", "DebertaV2ForSequenceClassification", "DistilBertForSequenceClassification",
    "ElectraForSequenceClassification", "MPNetForSequenceClassification", "ModernBertForSequenceClassification",
    "RobertaForSequenceClassification", "XLMRobertaForSequenceClassification",
)  # fmt: skip
POOLED = "hook_pooled"


def open_model(request: ModelRequest) -> TextClassifier:
    """Open an encoder with a classification head.

    Raises:
        UserError: If the model or its tokenizer cannot be loaded, its head is of other classes, or the hook does not
            exist.
    """
    model, tokenizer, texts = open_head(request)
    kind = PooledClassifier if getattr(model.config, "classifier_pooling", "cls") == "mean" else EncoderClassifier
    return kind(model, tokenizer, texts, request)


class EncoderClassifier(BlockClassifier):
    """An encoder whose head reads the first token, after the last block."""

    inputs: PlainTexts
    read_at = "the first token"

    @override
    def default_layer(self, n_layers: int) -> int:
        return n_layers

    @override
    def positions(self, lengths: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(lengths)

    @override
    def class_logits(self, tokens: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        return head_logits(self._model, tokens, lengths, self.inputs.second_after)


class PooledClassifier(ModelClassifier):
    """An encoder whose head reads the mean over all tokens (ModernBERT): that mean is the state.

    No single token decides, so there is nothing to explain at a block; and after the mean no other token is read, so
    that a state alone and in context are the same.
    """

    inputs: PlainTexts
    read_at = "the mean over all tokens"
    hook_name = POOLED
    n_blocks_after_hook = 0

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        inputs: PlainTexts,
        request: ModelRequest,
    ) -> None:
        """See ``ModelClassifier``.

        Raises:
            UserError: If a block's hook is asked for.
        """
        if request.hook not in (None, POOLED):
            raise UserError(
                f"{request.name} decides by the mean over all tokens, so that no single one can be explained at "
                f"{request.hook!r}; valid: {POOLED}"
            )
        super().__init__(model, tokenizer, inputs, request)

    @override
    @torch.no_grad()
    def states_and_logits(self, inputs: list[list[int]]) -> StatesAndLogits:
        tokens, lengths = self._padded(inputs)
        pooled: list[torch.Tensor] = []
        head: nn.Module = self._model.get_submodule("head")
        with head.register_forward_pre_hook(lambda _, args: pooled.append(args[0])):
            logits = head_logits(self._model, tokens, lengths, self.inputs.second_after)
        return StatesAndLogits(pooled[0].float().cpu(), logits.float().cpu())

    @override
    def context(self, inputs: list[list[int]]) -> Context:
        pooled = self.states_and_logits(inputs).hidden
        return Context(pooled[:, None].to(self.device), torch.zeros(len(inputs), dtype=torch.int64, device=self.device))

    @override
    def logits_from(self, hidden: torch.Tensor, context: Context | None = None) -> torch.Tensor:
        pooled = self._model.get_submodule("head")(hidden.to(self.device, self._model.dtype))
        logits: torch.Tensor = self._model.get_submodule("classifier")(pooled)
        return logits.float().cpu()
