"""HF's Trainer, given the loss of the classes, checkpoints of the tuned weights alone, and a quiet progress bar."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file, save_file
from transformers import ProgressCallback, Trainer, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME
from typing_extensions import override

from sae_lens_classif.artifacts import going_on_from
from sae_lens_classif.config.classifier import FinetuneConfig
from sae_lens_classif.decisions import DecisionRule
from sae_lens_classif.hooks.batching import pad_right

ClassLogits = Callable[[torch.nn.Module, torch.Tensor, torch.Tensor], torch.Tensor]
_WEIGHTS = "tuned.safetensors"


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

    # --- of a checkpoint: the tuned weights alone, and no pickled settings beside them (buffers of text models never
    # change); the rest, tensors and numbers, the Trainer reads with torch.load(weights_only=True)

    def _tuned(self) -> dict[str, torch.Tensor]:
        weights = cast(torch.nn.Module, self.model).named_parameters()
        return {name: weight.data for name, weight in weights if weight.requires_grad}

    @override
    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        folder = Path(output_dir or str(self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: weight.contiguous() for name, weight in self._tuned().items()}, folder / _WEIGHTS)

    @override
    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: torch.nn.Module | None = None) -> None:
        tuned = self._tuned()
        with going_on_from(Path(resume_from_checkpoint)):
            TrainerState.load_from_json(str(Path(resume_from_checkpoint) / TRAINER_STATE_NAME))  # read again by HF
            for name, weight in load_file(Path(resume_from_checkpoint) / _WEIGHTS).items():
                tuned[name].copy_(weight)

    @override
    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        with going_on_from(Path(checkpoint or ".")):
            super()._load_optimizer_and_scheduler(checkpoint)

    @override
    def _load_rng_state(self, checkpoint: str | None) -> None:
        with going_on_from(Path(checkpoint or ".")):
            super()._load_rng_state(checkpoint)


class QuietProgress(ProgressCallback):
    """HF Trainer's progress bar, begun where a training goes on, without the dictionary it prints at the end."""

    @override
    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Show what is done already, and leave it out of the speed."""
        super().on_train_begin(args, state, control)  # type: ignore[no-untyped-call]  # transformers has no types there
        self.current_step = state.global_step
        if self.training_bar is not None:
            self.training_bar.set_description("Training classifier", refresh=False)
            self.training_bar.initial = self.training_bar.n = self.training_bar.last_print_n = state.global_step
            self.training_bar.refresh()

    def on_log(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the numbers are in the log."""
