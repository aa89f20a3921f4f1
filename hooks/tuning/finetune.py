"""Bring a model to the task (HF Trainer): a decoder's label tokens after a prompt, or a classification head."""

import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase, ProgressCallback

from sae_lens_classif.artifacts import settings_that_matter
from sae_lens_classif.config.classifier import FinetuneConfig, PromptConfig
from sae_lens_classif.data.texts import TextData
from sae_lens_classif.errors import require
from sae_lens_classif.hooks.tuning.checkpoints import Checkpoints
from sae_lens_classif.hooks.tuning.parts import part_to_tune
from sae_lens_classif.hooks.tuning.task import Task, task_of
from sae_lens_classif.hooks.tuning.trainer import ClassTrainer, QuietProgress, training_arguments
from sae_lens_classif.hub import packaged_model

_TOGETHER = 1000  # texts that are read at once


def finetune(
    cfg: FinetuneConfig, prompt: PromptConfig, data: TextData, device: torch.device, folder: Path | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Fine-tune a model, or train a small decoder from scratch, on labelled texts.

    Args:
        cfg: Model and hyper-parameters.
        prompt: Template and label words; of a model with a head its ``max_tokens`` alone.
        data: Training texts.
        device: Where to train.
        folder: Gets the checkpoints; a killed training goes on from there. Default: none are kept.

    Returns:
        The model, on the CPU and in evaluation mode, and its tokenizer. With ``cfg.adapter`` PEFT's model, of which
        ``save_pretrained`` writes the adapter alone.

    Raises:
        UserError: If the base model cannot be loaded, a label word is not one token, the folder is of another training,
            the disk is full, or the extra ``finetune`` is not installed.
    """
    require("finetune", "accelerate", *(["peft"] if cfg.adapter is not None else []))
    with tempfile.TemporaryDirectory() as nowhere:
        n_checkpoints = cfg.n_checkpoints if folder is not None else 0
        checkpoints = Checkpoints(folder or Path(nowhere), made_from(cfg, prompt, data), n_checkpoints)
        cfg = replace(cfg, base_model=packaged_model(cfg.base_model))
        tuned, task = part_to_tune(task_of(cfg, prompt, data), cfg)
        _train(tuned, task, cfg, data, device, checkpoints)
    tuned.cpu().eval().requires_grad_(True)
    return tuned, task.tokenizer


def made_from(cfg: FinetuneConfig, prompt: PromptConfig, data: TextData) -> dict[str, Any]:
    """Everything that the weights of a tuning depend on, as JSON can hold it."""
    return {"data": data.fingerprint(), "prompt": asdict(prompt), "finetune": settings_that_matter(cfg)}


def _train(
    tuned: PreTrainedModel,
    task: Task,
    cfg: FinetuneConfig,
    data: TextData,
    device: torch.device,
    checkpoints: Checkpoints,
) -> None:
    parts = range(0, len(data), _TOGETHER)
    read = (
        ids
        for start in tqdm(parts, desc="Reading texts", unit_scale=_TOGETHER, unit=" texts", delay=1)
        for ids in task.inputs(data.texts[start : start + _TOGETHER])
    )
    examples = [{"input_ids": ids, "labels": int(label)} for ids, label in zip(read, data.labels, strict=True)]
    trainer = ClassTrainer(
        logits=task.logits,
        rule=data.rule,
        pad_token_id=task.tokenizer.pad_token_id or 0,
        model=tuned,
        args=training_arguments(cfg, len(examples), str(checkpoints.partial), device),
        train_dataset=examples,
    )
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(checkpoints)
    trainer.add_callback(QuietProgress)
    with checkpoints.cleared():
        trainer.train(resume_from_checkpoint=str(checkpoints.newest) if checkpoints.newest else None)
