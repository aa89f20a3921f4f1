"""Bring a decoder to the task: cross-entropy over the label tokens at the last prompt token (HF Trainer)."""

import math
import tempfile
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerBase, ProgressCallback, Trainer, TrainingArguments

from sae_lens_classif.config.classifier import FinetuneConfig, PromptConfig
from sae_lens_classif.data.texts import TextData
from sae_lens_classif.errors import require
from sae_lens_classif.hooks.batching import pad_right
from sae_lens_classif.hooks.huggingface import load_causal_lm, load_tokenizer, model_context
from sae_lens_classif.hooks.inputs import PromptTokenizer, label_words
from sae_lens_classif.hooks.tuning.scratch import new_gpt_neox, train_tokenizer


def finetune(
    cfg: FinetuneConfig, prompt: PromptConfig, data: TextData, device: torch.device
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Fine-tune a decoder, or train a small one from scratch, on labelled texts.

    Args:
        cfg: Model and hyper-parameters.
        prompt: Template and label words.
        data: Training texts.
        device: Where to train.

    Returns:
        The model, on the CPU and in evaluation mode, and its tokenizer.

    Raises:
        UserError: If the base model cannot be loaded, a label word is not one token, or the extra ``finetune`` is
            not installed.
    """
    require("finetune", "accelerate")
    model, tokenizer = _base_model(cfg, prompt, data)
    prompts = PromptTokenizer(tokenizer, prompt, data.class_names, model_context(model))
    examples = [
        {"input_ids": ids, "labels": int(label)} for ids, label in zip(prompts(data.texts), data.labels, strict=True)
    ]
    with tempfile.TemporaryDirectory() as scratch:
        trainer = LabelTokenTrainer(
            label_token_ids=prompts.label_token_ids,
            pad_token_id=tokenizer.pad_token_id or 0,
            model=model,
            args=_training_arguments(cfg, len(examples), scratch, device),
            train_dataset=examples,
        )
        trainer.remove_callback(ProgressCallback)
        trainer.add_callback(QuietProgress)
        trainer.train()
    model.cpu().eval()
    return model, tokenizer


def _base_model(
    cfg: FinetuneConfig, prompt: PromptConfig, data: TextData
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    if cfg.base_model == "scratch":
        tokenizer = train_tokenizer(data.texts, cfg.vocab_size, label_words(prompt, data.class_names))
        return new_gpt_neox(cfg, tokenizer), tokenizer
    return load_causal_lm(cfg.base_model, torch.float32), load_tokenizer(cfg.base_model)


def _training_arguments(cfg: FinetuneConfig, n_examples: int, folder: str, device: torch.device) -> TrainingArguments:
    steps = cfg.max_steps or math.ceil(cfg.epochs * n_examples / cfg.batch_size)
    return TrainingArguments(
        output_dir=folder,
        max_steps=steps,
        per_device_train_batch_size=cfg.batch_size,
        learning_rate=cfg.lr,
        lr_scheduler_type="cosine",
        warmup_steps=round(cfg.warmup_share * steps),
        weight_decay=cfg.weight_decay,
        label_smoothing_factor=cfg.label_smoothing,
        train_sampling_strategy="group_by_length",
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=False,
        remove_unused_columns=False,
        use_cpu=device.type == "cpu",
        seed=cfg.seed,
    )


class LabelTokenTrainer(Trainer):
    """HF ``Trainer`` whose loss looks at nothing but the label tokens' logits after the prompt."""

    def __init__(self, label_token_ids: Sequence[int], pad_token_id: int, **kwargs: Any) -> None:
        """
        Args:
            label_token_ids: Token of each class.
            pad_token_id: Fills up shorter prompts on the right, where causal attention never sees it.
            **kwargs: Passed on to ``Trainer``.
        """
        super().__init__(data_collator=self._collate, **kwargs)
        self._label_token_ids = torch.tensor(label_token_ids)
        self._pad_token_id = pad_token_id

    def _collate(self, examples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        input_ids, last = pad_right([example["input_ids"] for example in examples], self._pad_token_id)
        labels = torch.tensor([example["labels"] for example in examples])
        return {"input_ids": input_ids, "last": last, "labels": labels}

    def compute_loss(self, model: torch.nn.Module, inputs: dict[str, torch.Tensor], *_: Any, **__: Any) -> torch.Tensor:
        """Cross-entropy of the class logits; see ``transformers.Trainer.compute_loss``."""
        logits = label_logits(model, inputs["input_ids"], inputs["last"], self._label_token_ids)
        return F.cross_entropy(logits, inputs["labels"], label_smoothing=self.args.label_smoothing_factor)


class QuietProgress(ProgressCallback):
    """HF Trainer's progress bar without the dictionary it prints at the end."""

    def on_log(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the numbers are in the log."""


def label_logits(
    model: torch.nn.Module, input_ids: torch.Tensor, last: torch.Tensor, label_token_ids: torch.Tensor
) -> torch.Tensor:
    """Logits of the label tokens after each prompt, without unembedding anything else.

    Args:
        model: A Hugging Face decoder.
        input_ids: int64 (B, T), padded on the right.
        last: int64 (B,), position of each prompt's last token.
        label_token_ids: int64 (C,).

    Returns:
        float (B, C).
    """
    # Both are there on every Hugging Face decoder; a torch.nn.Module may have anything by these names.
    states = model.base_model(input_ids=input_ids).last_hidden_state  # type: ignore[operator]
    state = states[torch.arange(len(last), device=last.device), last]
    unembedding = model.get_output_embeddings()  # type: ignore[operator]
    ids = label_token_ids.to(state.device)
    bias = unembedding.bias[ids] if getattr(unembedding, "bias", None) is not None else None
    return F.linear(state, unembedding.weight[ids], bias)
