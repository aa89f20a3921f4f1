"""What a model is tuned to do: to answer a prompt with label tokens, or to read texts with a classification head."""

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from sae_lens_classif.config.classifier import FinetuneConfig, PromptConfig
from sae_lens_classif.data.texts import TextData
from sae_lens_classif.errors import UserError
from sae_lens_classif.hooks.heads import head_logits
from sae_lens_classif.hooks.huggingface import (
    architecture_of,
    check_tokens,
    load_causal_lm,
    load_tokenizer,
    model_context,
    new_sequence_classifier,
)
from sae_lens_classif.hooks.inputs import PlainTexts, PromptTokenizer, TextInputs, label_words
from sae_lens_classif.hooks.tuning.scratch import new_gpt_neox, train_tokenizer
from sae_lens_classif.hooks.tuning.trainer import ClassLogits


@dataclass(frozen=True)
class Task:
    """What is tuned.

    Attributes:
        model: The model.
        tokenizer: Its tokenizer.
        inputs: From texts to token ids.
        logits: From the model, token ids (B, T), padded on the right, and the lengths (B,) to class logits (B, C).
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    inputs: TextInputs
    logits: ClassLogits


def has_head(cfg: FinetuneConfig) -> bool:
    """Whether a classification head is tuned: where it is asked for, or the base model writes no tokens."""
    if cfg.head is not None:
        return cfg.head == "classification"
    architecture = None if cfg.base_model == "scratch" else architecture_of(cfg.base_model)
    return architecture is not None and architecture not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()


def n_virtual(cfg: FinetuneConfig) -> int:
    """How many tokens a soft prompt has; they take the place of as many of a text's."""
    return cfg.virtual_tokens or 10


def task_of(cfg: FinetuneConfig, prompt: PromptConfig, data: TextData) -> Task:
    """Load a model, or make one from scratch, and say what it is tuned to do.

    Args:
        cfg: The model.
        prompt: Template and label words; of a model with a head its ``max_tokens`` alone.
        data: Training texts.

    Raises:
        UserError: If the base model cannot be loaded, a label word is not one token, or the texts ask another kind of
            model.
    """
    if has_head(cfg):
        return _head_task(cfg, prompt, data)
    if data.multi_label:
        raise UserError(
            "the texts have several labels, which a head alone can give; set finetune.head classification and "
            "finetune.base_model"
        )
    return _label_token_task(cfg, prompt, data)


def _label_token_task(cfg: FinetuneConfig, prompt: PromptConfig, data: TextData) -> Task:
    if cfg.base_model == "scratch":
        tokenizer = train_tokenizer(data.texts, cfg.vocab_size, label_words(prompt, data.class_names))
        model: PreTrainedModel = new_gpt_neox(cfg, tokenizer)
    else:
        model, tokenizer = load_causal_lm(cfg.base_model, torch.float32), load_tokenizer(cfg.base_model)
    context = model_context(model) - (n_virtual(cfg) if cfg.adapter == "soft_prompt" else 0)
    prompts = PromptTokenizer(tokenizer, prompt, data.class_names, context)
    check_tokens(model, tokenizer, prompts.label_token_ids)
    labels = torch.tensor(prompts.label_token_ids)
    return Task(model, tokenizer, prompts, lambda model, tokens, lengths: label_logits(model, tokens, lengths, labels))


def _head_task(cfg: FinetuneConfig, prompt: PromptConfig, data: TextData) -> Task:
    if cfg.base_model == "scratch":
        raise UserError("finetune.head is classification, but a model from scratch has label tokens; give a base model")
    tokenizer = load_tokenizer(cfg.base_model)
    model = new_sequence_classifier(cfg.base_model, data.class_names, cfg.seed, data.multi_label)
    check_tokens(model, tokenizer)
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id
    inputs = PlainTexts(tokenizer, prompt, model_context(model))
    return Task(model, tokenizer, inputs, partial(head_logits, second_after=inputs.second_after))


def label_logits(
    model: torch.nn.Module, input_ids: torch.Tensor, lengths: torch.Tensor, label_token_ids: torch.Tensor
) -> torch.Tensor:
    """Logits of the label tokens after each prompt, without unembedding anything else.

    Args:
        model: A Hugging Face decoder.
        input_ids: int64 (B, T), padded on the right, where causal attention never looks; or their embeddings, float
            (B, T, d).
        lengths: int64 (B,), tokens of each prompt.
        label_token_ids: int64 (C,).

    Returns:
        float (B, C).
    """
    # Both are there on every Hugging Face decoder; a torch.nn.Module may have anything by these names.
    given = {"inputs_embeds" if input_ids.is_floating_point() else "input_ids": input_ids}
    states = model.base_model(**given).last_hidden_state  # type: ignore[operator]
    state = states[torch.arange(len(lengths), device=lengths.device), lengths - 1]
    unembedding = model.get_output_embeddings()  # type: ignore[operator]
    ids = label_token_ids.to(state.device)
    bias = unembedding.bias[ids] if getattr(unembedding, "bias", None) is not None else None
    return F.linear(state, unembedding.weight[ids], bias)
