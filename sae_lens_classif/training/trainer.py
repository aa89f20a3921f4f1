"""``ClassifSAETrainer``: SAELens' trainer, given labels, validation, an exact resume and a log."""

import json
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from sae_lens import SAETrainer
from sae_lens.config import SAETrainerConfig
from sae_lens.saes.sae import TrainStepOutput
from safetensors.torch import load_file, save_file
from tqdm.asyncio import tqdm_asyncio
from typing_extensions import override

from sae_lens_classif.artifacts import first_damage, going_on_from, note_files
from sae_lens_classif.checksums import read_json, write_json
from sae_lens_classif.decisions import decision_rule
from sae_lens_classif.errors import UserError
from sae_lens_classif.files import explain_full_disk, new_file, new_folder
from sae_lens_classif.saes.classif_sae import (
    ClassifTrainingSAE,
    ClassifTrainingSAEConfig,
    ClassifTrainStepOutput,
    RunModel,
)
from sae_lens_classif.training.fast_step import diverged, fast_step, use_decoder_lr, use_fused_adam

Validate = Callable[[ClassifTrainingSAE], dict[str, float]]
_BEST_WEIGHTS = "best.safetensors"
_BEST_SCORE = "best.json"
_LOG = "log.jsonl"
_FILES = "files.json"  # written last
_SHOWN = {  # beside the progress bar
    "EV": "metrics/explained_variance",
    "L0": "metrics/l0",
    "dead": "sparsity/dead_features",
    "head": "metrics/classifier_accuracy",
}


def damage_of(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint of ``ClassifSAETrainer``, in words; None where its files are what was written."""
    try:
        return first_damage(checkpoint, read_json(checkpoint / _FILES), must_list=True)
    except UserError as error:
        return str(error)


class ClassifSAETrainer(SAETrainer[ClassifTrainingSAE, ClassifTrainingSAEConfig]):
    """Trains a ``ClassifTrainingSAE`` on batches ``[hidden state | predicted class]``, or ``[... | each label]``.

    Attributes:
        log_file: JSON-lines log, or None.
        best_score: Lowest validation loss so far, or None.
    """

    def __init__(
        self,
        cfg: SAETrainerConfig,
        sae: ClassifTrainingSAE,
        data_provider: Iterator[torch.Tensor],
        *,
        log_file: Path | None = None,
        log_every: int = 100,
        validate: Validate | None = None,
        validate_every: int = 0,
        checkpoint_every: int = 0,
        run_model: RunModel | None = None,
        decoder_lr: float | None = None,
    ) -> None:
        """
        Args:
            cfg: SAELens' own training configuration.
            sae: What is trained.
            data_provider: Endless batches of ``ActivationStore.batches``. They must begin where the trainer does: after
                ``n_training_samples`` rows for a resumed one.
            log_file: Gets one JSON object a line.
            log_every: Steps between two lines.
            validate: Gives the measures of the present weights on held-out states; ``loss`` is the one that counts.
            validate_every: Steps between two validations; 0 for none but the last.
            checkpoint_every: Steps between two checkpoints under ``cfg.checkpoint_path``; 0 for none.
            run_model: Runs the language model from the concepts, where the loss asks it.
            decoder_lr: Learning rate of decoder and head at the start. Default: that of the encoder, ``cfg.lr``.
        """
        super().__init__(cfg, sae, data_provider)
        if decoder_lr is not None and decoder_lr != cfg.lr:
            use_decoder_lr(self, decoder_lr)
        use_fused_adam(self)
        self.log_file = log_file
        self._run_model = run_model
        self._log_every = log_every
        self._validate = validate
        self._validate_every = validate_every
        self._checkpoint_every = checkpoint_every
        self._last_metrics: dict[str, Any] = {}
        self.best_score: float | None = None
        self._best_weights: dict[str, torch.Tensor] = {}

    @override
    def step(self, batch: torch.Tensor) -> ClassifTrainStepOutput:
        """Run one training step.

        Args:
            batch: float32 (B, d_in + m): hidden states and predicted classes; see ``ActivationStore.batches``.

        Raises:
            UserError: If the width is wrong, a label is not 0..C-1 or a state is not finite.
        """
        self._between_steps()
        activations, predicted = self._split(batch.to(self.sae.device))
        self.n_training_samples += len(batch)
        output = fast_step(self, activations, predicted, self._run_model)
        self._log(output)
        return output

    def _split(self, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        cfg = self.sae.cfg
        rule = decision_rule(cfg.multi_label)
        expected = cfg.d_in + rule.n_columns(cfg.n_classes)
        if batch.shape[-1] != expected:
            raise UserError(
                f"a batch has {batch.shape[-1]} columns; expected {expected}: d_in = {cfg.d_in} and the label"
            )
        activations, predicted = batch[:, : cfg.d_in], rule.from_columns(batch[:, cfg.d_in :])
        lowest, highest = (int(label) for label in predicted.aminmax())
        if not 0 <= lowest <= highest < rule.n_decisions(cfg.n_classes):
            raise UserError(
                f"the predicted classes of a batch are {lowest}..{highest}; expected "
                f"0..{rule.n_decisions(cfg.n_classes) - 1}"
            )
        return activations, predicted

    @override
    def fit(self) -> ClassifTrainingSAE:
        """Train to the end; the decoder's rows have norm 1 then, if that was asked for."""
        sae = super().fit()
        if sae.cfg.unit_norm_decoder:
            sae.set_decoder_norm_to_unit_norm()
        self._run_validation()
        if not all(weight.isfinite().all() for weight in sae.parameters()):
            raise diverged(self.n_training_steps)
        return sae

    def load_best_weights(self) -> None:
        """Put the weights with the lowest validation loss into the SAE."""
        self.sae.load_state_dict(self._best_weights)

    # --- between two steps: n_training_steps of them are wholly done here, unlike where SAELens saves ---

    def _between_steps(self) -> None:
        # A checkpoint holds the weights as the last step left them: dividing by norms twice would change bits.
        step = self.n_training_steps
        if step and self._checkpoint_every and self._is_checkpoint_step(step):
            self.save_checkpoint(str(self.n_training_samples))
        if self.sae.cfg.unit_norm_decoder:
            self.sae.set_decoder_norm_to_unit_norm()
        if step and self._validate_every and step % self._validate_every == 0:
            self._run_validation()

    def _is_checkpoint_step(self, step: int) -> bool:
        # SAELens' sparsity window is empty right after a multiple of its length, and a run that resumes
        # there would log the histogram of nothing; one step later it is not.
        every, window = self._checkpoint_every, self.cfg.feature_sampling_window
        on_time = step % every == 0 and step % window != 0
        late = step > 1 and (step - 1) % every == 0 and (step - 1) % window == 0
        return on_time or late

    def _run_validation(self) -> None:
        if self._validate is None:
            return
        measures = self._validate(self.sae)
        if not math.isfinite(measures["loss"]):
            raise diverged(self.n_training_steps)
        self._write_log({f"validation/{name}": value for name, value in measures.items()})
        if self.best_score is None or measures["loss"] < self.best_score:
            self.best_score = measures["loss"]
            self._best_weights = {name: value.contiguous().clone() for name, value in self.sae.state_dict().items()}

    @override
    def save_checkpoint(
        self, checkpoint_name: str, base_path: Path | str | None = None, wandb_aliases: list[str] | None = None
    ) -> None:
        """Save everything a resumed run needs; the checkpoint is whole or absent."""
        base = base_path if base_path is not None else self.cfg.checkpoint_path
        if base is None:
            super().save_checkpoint(checkpoint_name, None, wandb_aliases)
            return
        with new_folder(Path(base) / checkpoint_name) as folder:
            super().save_checkpoint(folder.name, folder.parent, wandb_aliases)
            if self.best_score is not None:
                save_file(self._best_weights, folder / _BEST_WEIGHTS)
                write_json(folder / _BEST_SCORE, self.best_score)
            if self.log_file is not None and self.log_file.is_file():
                shutil.copyfile(self.log_file, folder / _LOG)
            note_files(folder / _FILES)
        for older in Path(base).iterdir():
            if older.name.isdecimal() and int(older.name) < self.n_training_samples:
                shutil.rmtree(older)

    def resume(self, checkpoint: Path) -> None:
        """Go on from a checkpoint, as if the run had never stopped.

        Args:
            checkpoint: A folder that ``save_checkpoint`` made during training, not a ``final_`` one, in which SAELens
                has already folded what normalises the activations.

        Raises:
            UserError: If it does not fit this training, which is then not to be gone on with.
        """
        with going_on_from(checkpoint):
            self.sae.load_weights_from_checkpoint(checkpoint)
            self.load_trainer_state(checkpoint)
            if (checkpoint / _BEST_WEIGHTS).is_file():
                self._best_weights = load_file(checkpoint / _BEST_WEIGHTS, device=str(self.sae.device))
                self.best_score = read_json(checkpoint / _BEST_SCORE)
        if self.log_file is not None and (checkpoint / _LOG).is_file():
            with new_file(self.log_file) as temporary:
                shutil.copyfile(checkpoint / _LOG, temporary)

    # --- what one sees of a run ---

    def _log(self, output: TrainStepOutput) -> None:
        if self.n_training_steps % self._log_every == 0:
            self._last_metrics = self.build_train_step_log_dict(output, self.n_training_samples)
            self._write_log(self._last_metrics)

    def _write_log(self, measures: dict[str, Any]) -> None:
        if self.log_file is None:
            return
        finite = {name: value if math.isfinite(value) else None for name, value in measures.items()}
        line = json.dumps({"step": self.n_training_steps, **finite}, allow_nan=False)
        with explain_full_disk(self.log_file), self.log_file.open("a", encoding="utf-8") as log:
            log.write(line + "\n")

    @override
    def _update_pbar(self, step_output: TrainStepOutput, pbar: "tqdm_asyncio[Any]", update_interval: int = 100) -> None:
        super()._update_pbar(step_output, pbar, update_interval)
        if self.n_training_steps % update_interval == 0 and self._last_metrics:
            known = self._last_metrics
            pbar.set_postfix({key: f"{known[name]:.3g}" for key, name in _SHOWN.items() if name in known})
