"""Which weights of a model are tuned: all of them, those of the last blocks, or an adapter's."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel

from sae_lens_classif.config.classifier import FinetuneConfig
from sae_lens_classif.errors import UserError
from sae_lens_classif.hooks.adapters import embedded_after
from sae_lens_classif.hooks.blocks import block_stack
from sae_lens_classif.hooks.tuning.task import Task, has_head, n_virtual


def part_to_tune(task: Task, cfg: FinetuneConfig) -> tuple[PreTrainedModel, Task]:
    """Freeze what is not tuned, in place.

    Args:
        task: The model's.
        cfg: Says what is tuned.

    Returns:
        The model, with an adapter PEFT's, and the task with it.
    """
    if cfg.adapter == "lora":
        return with_lora(task, cfg)
    if cfg.adapter == "soft_prompt":
        return with_soft_prompt(task, cfg)
    if cfg.train_blocks is not None:
        freeze_below(task.model, cfg.train_blocks)
    return task.model, task


def with_lora(task: Task, cfg: FinetuneConfig) -> tuple[PreTrainedModel, Task]:
    """Put low-rank matrices beside all linear layers of a model, in place, and leave all else but a head as it is.

    Args:
        task: The model's.
        cfg: Their rank, and the seed of their weights.

    Returns:
        PEFT's model, and the task with them.
    """
    from peft import LoraConfig

    rank, kind = cfg.lora_rank or 8, "SEQ_CLS" if has_head(cfg) else "CAUSAL_LM"
    whole = _above_the_blocks(task.model) if has_head(cfg) else []
    inside = [
        name
        for name, _ in task.model.named_modules()
        if any(name == part or name.startswith(f"{part}.") for part in whole)
    ]
    settings = LoraConfig(
        task_type=kind, r=rank, lora_alpha=2 * rank, target_modules="all-linear", exclude_modules=inside or None,
        modules_to_save=whole or None,
    )  # fmt: skip
    # PEFT's model has the same blocks as the one inside, which alone has its head at hand.
    logits = task.logits
    within = replace(task, logits=lambda _, tokens, lengths: logits(task.model, tokens, lengths))
    adapted: Any = _adapted(task.model, cfg, settings)
    written = adapted.peft_config[adapted.active_adapter]
    # Sets, which every process would write in another order.
    written.target_modules = sorted(written.target_modules)
    written.exclude_modules = sorted(inside) or None
    return adapted, within


def _above_the_blocks(model: PreTrainedModel) -> list[str]:
    """Names of the head's modules and of the pooler: a base may have none of their weights, so that they are random."""
    inner = model.base_model_prefix
    heads = [name for name, part in model.named_children() if name != inner and any(True for _ in part.parameters())]
    poolers = [name for name, _ in model.named_modules() if name == f"{inner}.pooler"]
    return [*poolers, *heads]


def with_soft_prompt(task: Task, cfg: FinetuneConfig) -> tuple[PreTrainedModel, Task]:
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
    n_tokens = n_virtual(cfg)
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
