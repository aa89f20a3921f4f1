"""Decoders that answer a prompt with one token a class, run by transformers' own code."""

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from typing_extensions import override

from sae_lens_classif.config.classifier import PromptConfig
from sae_lens_classif.errors import UserError
from sae_lens_classif.hooks.backends import ModelRequest
from sae_lens_classif.hooks.block_classifier import BlockClassifier
from sae_lens_classif.hooks.huggingface import load_causal_lm, load_tokenizer, model_context
from sae_lens_classif.hooks.inputs import LAST_OF_PROMPT, PromptTokenizer

ARCHITECTURES = tuple(sorted(set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values())))


def open_model(request: ModelRequest) -> "PromptClassifier":
    """Open a decoder that answers a prompt with one token a class.

    Raises:
        UserError: If the model or its tokenizer cannot be loaded, a label is not one token, the hook does not exist, or
            the model is not one stack of blocks.
    """
    tokenizer = load_tokenizer(request.model)
    model = load_causal_lm(request.model, request.dtype)
    prompts = PromptTokenizer(tokenizer, request.prompt or PromptConfig(), request.class_names, model_context(model))
    return PromptClassifier(model, prompts, request)


class PromptClassifier(BlockClassifier):
    """A decoder whose next token after the prompt is the class."""

    read_at = LAST_OF_PROMPT

    def __init__(self, model: PreTrainedModel, prompts: PromptTokenizer, request: ModelRequest) -> None:
        """See ``BlockClassifier``.

        Raises:
            UserError: If the model has no language-model head.
        """
        head = model.get_output_embeddings()
        if not isinstance(head, nn.Linear):
            raise UserError(f"{request.name} has no language-model head ({type(head).__name__})")
        self._head = head
        self._label_ids = torch.tensor(prompts.label_token_ids, device=request.device)
        super().__init__(model, prompts.tokenizer, prompts, request)

    @override
    def default_layer(self, n_layers: int) -> int:
        return n_layers - 1

    @override
    def positions(self, lengths: torch.Tensor) -> torch.Tensor:
        return lengths - 1

    @override
    def class_logits(self, tokens: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        rows = torch.arange(len(lengths), device=self.device)
        mask = (torch.arange(tokens.shape[1], device=self.device) < lengths[:, None]).long()
        weight, bias = self._head.weight[self._label_ids], self._head.bias

        def of_labels(stream: torch.Tensor) -> torch.Tensor:
            return F.linear(stream[rows, lengths - 1][:, None], weight, None if bias is None else bias[self._label_ids])

        # In place of the head, so that what a model does to its logits afterwards, as Gemma's cap, is done to these.
        self._head.forward = of_labels  # type: ignore[method-assign, assignment]
        try:
            logits: torch.Tensor = self._model(input_ids=tokens, attention_mask=mask, use_cache=False).logits
        finally:
            del self._head.forward
        return logits[:, 0]
