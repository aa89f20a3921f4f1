"""Decoders that answer a prompt with one token a class, run by transformers' own code."""

from hashlib import sha256

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from typing_extensions import override

from sae_lens_classif.config.classifier import PromptConfig
from sae_lens_classif.errors import UserError
from sae_lens_classif.hooks.adapters import embedded_after
from sae_lens_classif.hooks.backends import ModelRequest
from sae_lens_classif.hooks.batching import mask_of
from sae_lens_classif.hooks.block_classifier import BlockClassifier
from sae_lens_classif.hooks.huggingface import (
    check_tokens,
    load_causal_lm,
    load_tokenizer,
    model_context,
    soft_prompt_of,
)
from sae_lens_classif.hooks.inputs import LAST_OF_PROMPT, PromptTokenizer

ARCHITECTURES = tuple(sorted(set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values())))


def open_model(request: ModelRequest) -> "PromptClassifier":
    """Open a decoder that answers a prompt with one token a class.

    Raises:
        UserError: If the model or its tokenizer cannot be loaded, a label is not one token, the hook does not exist, or
            the model is not one stack of blocks.
    """
    tokenizer = load_tokenizer(request.model)
    model, soft_prompt = load_causal_lm(request.model, request.dtype), soft_prompt_of(request.model)
    context = model_context(model) - (0 if soft_prompt is None else len(soft_prompt))
    prompts = PromptTokenizer(tokenizer, request.prompt or PromptConfig(), request.class_names, context)
    check_tokens(model, tokenizer, prompts.label_token_ids)
    if soft_prompt is not None:
        return SoftPromptClassifier(model, prompts, request, soft_prompt)
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
    def class_logits(self, tokens: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        return self._answers(lengths, input_ids=tokens)

    def _answers(self, lengths: torch.Tensor, **inputs: torch.Tensor) -> torch.Tensor:
        """Logits of the label tokens after inputs of these lengths, float (B, C)."""
        (given,) = inputs.values()
        rows = torch.arange(len(lengths), device=self.device)
        mask = mask_of(lengths, given.shape[1])
        weight, bias = self._head.weight[self._label_ids], self._head.bias

        def of_labels(stream: torch.Tensor) -> torch.Tensor:
            return F.linear(stream[rows, lengths - 1][:, None], weight, None if bias is None else bias[self._label_ids])

        # In place of the head, so that what a model does to its logits afterwards, as Gemma's cap, is done to these.
        self._head.forward = of_labels  # type: ignore[method-assign, assignment]  # until the pass is over
        try:
            logits: torch.Tensor = self._model(**inputs, attention_mask=mask, use_cache=False).logits
        finally:
            del self._head.forward
        return logits[:, 0]


class SoftPromptClassifier(PromptClassifier):
    """A frozen decoder with virtual tokens before each prompt.

    In context they stay where they are; a state alone is a sequence of one token and has none before it, as in the
    paper's code.
    """

    def __init__(
        self, model: PreTrainedModel, prompts: PromptTokenizer, request: ModelRequest, soft_prompt: torch.Tensor
    ) -> None:
        """See ``PromptClassifier``.

        Args:
            soft_prompt: float (v, d), the virtual tokens' embeddings.

        Raises:
            UserError: If they are not as wide as the model's.
        """
        width = model.config.get_text_config().hidden_size
        if soft_prompt.shape[1] != width:
            raise UserError(
                f"the soft prompt is {soft_prompt.shape[1]} wide, its base {width}; give the model it was tuned with"
            )
        self._soft_prompt = soft_prompt.to(request.device, request.dtype)
        self.n_before = len(soft_prompt)
        super().__init__(model, prompts, request)
        told = soft_prompt.float().contiguous().numpy().tobytes()
        self.model_fingerprint = sha256(self.model_fingerprint.encode() + told).hexdigest()

    @override
    def text_logits(self, tokens: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        embedded = embedded_after(self._soft_prompt, self._model, tokens)
        return self._answers(lengths + self.n_before, inputs_embeds=embedded)
