"""Checkpoints of a tuning: the newest state of HF's Trainer, whole or absent, in a folder that says what it is of."""

import contextlib
import logging
import math
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from typing_extensions import override

from sae_lens_classif.artifacts import Artifact, first_damage, going_on_from, note_files
from sae_lens_classif.checksums import read_json, write_json
from sae_lens_classif.files import explain_full_disk, replace_folder

_EPOCH_START = "epoch_start.safetensors"
_FILES = "files.json"  # written last

logger = logging.getLogger(__name__)


def unfinished(folder: Path, made_from: Mapping[str, Any]) -> Artifact:
    """The checkpoints in a folder, and what they are to be of.

    Args:
        folder: Need not exist.
        made_from: Everything that the tuned weights depend on, as JSON can hold it.
    """
    return Artifact(folder, folder / "settings.json", made_from)


class Checkpoints(TrainerCallback):
    """Keeps the newest state of a training, so that a killed one goes on.

    HF's Trainer writes a checkpoint file by file; here it gets its place once it is whole. The Trainer draws the order
    of the texts at the start of each epoch, and once more where it goes on within one: from the same random numbers,
    which are kept for that.

    Attributes:
        newest: The checkpoint of a killed training, or None.
        partial: Where the Trainer writes.
    """

    def __init__(self, folder: Path, made_from: Mapping[str, Any], n_checkpoints: int) -> None:
        """
        Args:
            folder: Gets each checkpoint under the number of its steps, in place of the one before.
            made_from: Everything that the tuned weights depend on, as JSON can hold it.
            n_checkpoints: At most so many; there is none after the last step.

        Raises:
            UserError: If the folder holds checkpoints of something else.
        """
        self._artifact = unfinished(folder, made_from)
        self._artifact.is_current("it is an unfinished training; delete it, or use another folder")
        self._n_checkpoints = n_checkpoints
        self.partial = folder / "partial"
        self._drop_damaged()
        self.newest = max(self._whole(), key=lambda path: int(path.name), default=None)
        self._epoch_start = torch.get_rng_state()
        if self.newest is not None:
            with going_on_from(self.newest):
                self._epoch_start = load_file(self.newest / _EPOCH_START)["rng"]

    def _whole(self) -> list[Path]:
        return [path for path in self._artifact.path.glob("*") if path.name.isdecimal()]

    def _drop_damaged(self) -> None:
        for checkpoint in self._whole():
            note = checkpoint / _FILES
            noted = read_json(note) if note.is_file() else None
            damaged = first_damage(checkpoint, noted, must_list=True)
            if damaged is not None:
                logger.warning("%s: the tuning begins anew", damaged)
                shutil.rmtree(checkpoint)

    @contextlib.contextmanager
    def cleared(self) -> Iterator[None]:
        """Leave nothing that is not whole; say what to do where the disk is full."""
        shutil.rmtree(self.partial, ignore_errors=True)
        try:
            with explain_full_disk(self._artifact.path):
                yield
        finally:
            shutil.rmtree(self.partial, ignore_errors=True)

    @override
    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Make the order of the texts be drawn as it was, where a training goes on."""
        if self.newest is not None:
            logger.info("classifier: going on at step %d of %d", state.global_step, state.max_steps)
            torch.set_rng_state(self._epoch_start)

    @override
    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Note what the order of the texts is drawn from."""
        self._epoch_start = torch.get_rng_state()

    @override
    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Ask for a checkpoint where it is time."""
        every = math.ceil(state.max_steps / (self._n_checkpoints + 1))
        control.should_save = state.global_step % every == 0 and state.global_step < state.max_steps

    @override
    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Complete what the Trainer wrote, give it its place and drop the one before."""
        written, before = self.partial / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}", self._whole()
        is_between_epochs = float(state.epoch or 0).is_integer()
        save_file({"rng": torch.get_rng_state() if is_between_epochs else self._epoch_start}, written / _EPOCH_START)
        note_files(written / _FILES)
        write_json(self._artifact.note, self._artifact.made_from)
        replace_folder(written, self._artifact.path / str(state.global_step))
        for older in before:
            shutil.rmtree(older)
