"""Bring a model to the task (HF Trainer): a decoder's label tokens after a prompt, or a classification head."""

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import nn
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase, ProgressCallback, Trainer, TrainingArguments
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from sae_lens_classif.config.classifier import FinetuneConfig, PromptConfig
from sae_lens_classif.data.texts import TextData
from sae_lens_classif.decisions import DecisionRule
from sae_lens_classif.errors import UserError, require
from sae_lens_classif.hooks.adapters import embedded_after
from sae_lens_classif.hooks.batching import pad_right
from sae_lens_classif.hooks.blocks import block_stack
from sae_lens_classif.hooks.heads import head_logits
from sae_lens_classif.hooks.huggingface import (
    architecture_of,
    load_causal_lm,
    load_tokenizer,
    model_context,
    new_sequence_classifier,
)
from sae_lens_classif.hooks.inputs import PlainTexts, PromptTokenizer, TextInputs, label_words
from sae_lens_classif.hooks.tuning.scratch import new_gpt_neox, train_tokenizer
from sae_lens_classif.hub import packaged_model

_TOGETHER = 1000  # texts that are read at once
ClassLogits = Callable[[torch.nn.Module, torch.Tensor, torch.Tensor], torch.Tensor]


def finetune(
    cfg: FinetuneConfig, prompt: PromptConfig, data: TextData, device: torch.device
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Fine-tune a model, or train a small decoder from scratch, on labelled texts.

    Args:
        cfg: Model and hyper-parameters.
        prompt: Template and label words; of a model with a head its ``max_tokens`` alone.
        data: Training texts.
        device: Where to train.

    Returns:
        The model, on the CPU and in evaluation mode, and its tokenizer. With ``cfg.adapter`` PEFT's model, of which
        ``save_pretrained`` writes the adapter alone.

    Raises:
        UserError: If the base model cannot be loaded, a label word is not one token, or the extra ``finetune`` is
            not installed.
    """
    require("finetune", "accelerate", *(["peft"] if cfg.adapter is not None else []))
    cfg = replace(cfg, base_model=packaged_model(cfg.base_model))
    if data.multi_label and not has_head(cfg):
        raise UserError(
            "the texts have several labels, which a head alone can give; set finetune.head classification and "
            "finetune.base_model"
        )
    task = _head_task(cfg, prompt, data) if has_head(cfg) else _label_token_task(cfg, prompt, data)
    tuned = task.model
    if cfg.adapter == "lora":
        tuned, task = with_lora(task, cfg)
    elif cfg.adapter == "soft_prompt":
        tuned, task = with_soft_prompt(task, cfg)
    elif cfg.train_blocks is not None:
        freeze_below(task.model, cfg.train_blocks)
    parts = range(0, len(data), _TOGETHER)
    read = (
        ids
        for start in tqdm(parts, desc="Reading texts", unit_scale=_TOGETHER, unit=" texts", delay=1)
        for ids in task.inputs(data.texts[start : start + _TOGETHER])
    )
    examples = [{"input_ids": ids, "labels": int(label)} for ids, label in zip(read, data.labels, strict=True)]
    with tempfile.TemporaryDirectory() as scratch:
        trainer = ClassTrainer(
            logits=task.logits,
            rule=data.rule,
            pad_token_id=task.tokenizer.pad_token_id or 0,
            model=tuned,
            args=training_arguments(cfg, len(examples), scratch, device),
            train_dataset=examples,
        )
        trainer.remove_callback(ProgressCallback)
        trainer.add_callback(QuietProgress)
        trainer.train()
    tuned.cpu().eval().requires_grad_(True)
    return tuned, task.tokenizer


@dataclass(frozen=True)
class _Task:
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


def _label_token_task(cfg: FinetuneConfig, prompt: PromptConfig, data: TextData) -> _Task:
    if cfg.base_model == "scratch":
        tokenizer = train_tokenizer(data.texts, cfg.vocab_size, label_words(prompt, data.class_names))
        model: PreTrainedModel = new_gpt_neox(cfg, tokenizer)
    else:
        model, tokenizer = load_causal_lm(cfg.base_model, torch.float32), load_tokenizer(cfg.base_model)
    prompts = PromptTokenizer(tokenizer, prompt, data.class_names, model_context(model))
    labels = torch.tensor(prompts.label_token_ids)
    return _Task(model, tokenizer, prompts, lambda model, tokens, lengths: label_logits(model, tokens, lengths, labels))


def _head_task(cfg: FinetuneConfig, prompt: PromptConfig, data: TextData) -> _Task:
    if cfg.base_model == "scratch":
        raise UserError("finetune.head is classification, but a model from scratch has label tokens; give a base model")
    tokenizer = load_tokenizer(cfg.base_model)
    model = new_sequence_classifier(cfg.base_model, data.class_names, cfg.seed, data.multi_label)
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id
    inputs = PlainTexts(tokenizer, prompt, model_context(model))
    return _Task(model, tokenizer, inputs, partial(head_logits, second_after=inputs.second_after))


def with_lora(task: _Task, cfg: FinetuneConfig) -> tuple[PreTrainedModel, _Task]:
    """Put low-rank matrices beside all linear layers of a model, in place, and leave all else but a head as it is.

    Args:
        task: The model's.
        cfg: Their rank, and the seed of their weights.

    Returns:
        PEFT's model, and the task with them.
    """
    from peft import LoraConfig

    rank, kind = cfg.lora_rank or 8, "SEQ_CLS" if has_head(cfg) else "CAUSAL_LM"
    settings = LoraConfig(task_type=kind, r=rank, lora_alpha=2 * rank, target_modules="all-linear")
    # PEFT's model has the same blocks as the one inside, which alone has its head at hand.
    logits = task.logits
    within = replace(task, logits=lambda _, tokens, lengths: logits(task.model, tokens, lengths))
    return _adapted(task.model, cfg, settings), within


def with_soft_prompt(task: _Task, cfg: FinetuneConfig) -> tuple[PreTrainedModel, _Task]:
    """Put virtual tokens before the prompts of a decoder, which stays as it is.

    They start at the embeddings of tokens drawn from the vocabulary.

    Args:
        task: The decoder's.
        cfg: How many, and the seed of their start.

    Returns:
        PEFT's model, and the task with them.
    """
    from peft import PromptTuningConfig

    if has_head(cfg):
        raise UserError("finetune.adapter is soft_prompt, which goes with label tokens alone; leave finetune.head out")
    n_tokens = cfg.virtual_tokens or 10
    settings = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=n_tokens, prompt_tuning_init="SAMPLE_VOCAB")
    adapted: Any = _adapted(task.model, cfg, settings)
    soft_prompt: nn.Embedding = adapted.prompt_encoder[adapted.active_adapter].embedding

    def logits(_: torch.nn.Module, tokens: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        embedded = embedded_after(soft_prompt.weight, task.model, tokens)
        return task.logits(task.model, embedded, lengths + n_tokens)

    return adapted, replace(task, logits=logits)


def _adapted(model: PreTrainedModel, cfg: FinetuneConfig, settings: Any) -> PreTrainedModel:
    from peft import get_peft_model

    if cfg.base_model == "scratch":
        raise UserError("finetune.adapter is set, but a model from scratch has nothing to adapt; give a base model")
    if Path(cfg.base_model).is_dir():
        model.name_or_path = str(Path(cfg.base_model).resolve())  # the adapter names it
    torch.manual_seed(cfg.seed)
    return cast(PreTrainedModel, get_peft_model(model, settings))


def freeze_below(model: PreTrainedModel, n_blocks: int) -> None:
    """Leave embeddings and blocks as they are, but for the last blocks and what stands above them.

    Args:
        model: The model.
        n_blocks: How many blocks are tuned.
    """
    stack = block_stack(model)
    tuned = {id(weight) for block in stack[max(0, len(stack) - n_blocks) :] for weight in block.parameters()}
    in_stack, is_above = {id(weight) for weight in stack.parameters()}, False
    for weight in model.parameters():  # in the model's order: embeddings, blocks, what stands above them
        is_above |= id(weight) in in_stack
        weight.requires_grad_(id(weight) in tuned or (is_above and id(weight) not in in_stack))


def training_arguments(cfg: FinetuneConfig, n_examples: int, folder: str, device: torch.device) -> TrainingArguments:
    """What HF's Trainer is told.

    Args:
        cfg: Hyper-parameters.
        n_examples: Training texts.
        folder: Where the Trainer may write.
        device: Where to train.
    """
    steps = cfg.max_steps or math.ceil(cfg.epochs * n_examples / cfg.batch_size)
    straight = {"lr_end": cfg.lr_end, "power": 1.0}
    return TrainingArguments(
        output_dir=folder,
        max_steps=steps,
        per_device_train_batch_size=cfg.batch_size,
        learning_rate=cfg.lr,
        lr_scheduler_type="cosine" if cfg.lr_end is None else "polynomial",
        lr_scheduler_kwargs={} if cfg.lr_end is None else straight,
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


class ClassTrainer(Trainer):
    """HF ``Trainer`` whose loss looks at nothing but the logits of the classes."""

    def __init__(self, logits: ClassLogits, rule: DecisionRule, pad_token_id: int, **kwargs: Any) -> None:
        """
        Args:
            logits: From the model, token ids and lengths to class logits.
            rule: What a label is.
            pad_token_id: Fills up shorter inputs on the right.
            **kwargs: Passed on to ``Trainer``.
        """
        super().__init__(data_collator=self._collate, **kwargs)
        self._logits, self._rule = logits, rule
        self._pad_token_id = pad_token_id

    def _collate(self, examples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        input_ids, last = pad_right([example["input_ids"] for example in examples], self._pad_token_id)
        labels = torch.tensor([example["labels"] for example in examples])
        return {"input_ids": input_ids, "lengths": last + 1, "labels": labels}

    def compute_loss(self, model: torch.nn.Module, inputs: dict[str, torch.Tensor], *_: Any, **__: Any) -> torch.Tensor:
        """Cross-entropy of the class logits; see ``transformers.Trainer.compute_loss``."""
        logits = self._logits(model, inputs["input_ids"], inputs["lengths"])
        return self._rule.loss(logits, inputs["labels"], self.args.label_smoothing_factor)


class QuietProgress(ProgressCallback):
    """HF Trainer's progress bar with a name, and without the dictionary it prints at the end."""

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        """Begins the bar."""
        super().on_train_begin(*args, **kwargs)  # type: ignore[no-untyped-call]
        if self.training_bar is not None:
            self.training_bar.set_description("Fine-tuning")

    def on_log(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the numbers are in the log."""


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
