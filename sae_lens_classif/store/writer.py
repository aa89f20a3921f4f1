"""Write a store shard by shard; a killed run goes on where it stopped, a finished store is whole."""

import logging
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from sae_lens_classif.artifacts import Artifact
from sae_lens_classif.checksums import read_tensors, sha256_of_file, write_json, write_tensors
from sae_lens_classif.errors import UserError
from sae_lens_classif.files import replace_folder
from sae_lens_classif.store.mmap import SafetensorsMap
from sae_lens_classif.store.store import FORMAT, MANIFEST, StorePlan

_UNFINISHED = ".unfinished"
logger = logging.getLogger(__name__)


class StoreWriter:
    """Writes the shards of one store into an unfinished folder, and renames it when all are there."""

    def __init__(self, folder: Path, plan: StorePlan) -> None:
        """
        Args:
            folder: Where the store will be.
            plan: What it will hold.

        Raises:
            UserError: If an unfinished store is there that was begun from something else.
        """
        self.folder = folder
        self.plan = plan
        self._unfinished = folder.with_name(folder.name + _UNFINISHED)
        self._unfinished.mkdir(parents=True, exist_ok=True)
        self._note = self._unfinished / MANIFEST
        Artifact(self._unfinished, self._note, self._manifest()).is_current()
        write_json(self._note, self._manifest())

    def _manifest(self) -> dict[str, Any]:
        return {"format": FORMAT, **asdict(self.plan), "class_names": list(self.plan.class_names)}

    def _shard(self, number: int) -> Path:
        return self._unfinished / f"shard_{number:05d}.safetensors"

    def missing(self) -> Iterator[tuple[int, range]]:
        """Shards that are still to be written: their numbers and text indices."""
        for number, start in enumerate(range(0, self.plan.n_texts, self.plan.shard_size)):
            if not self._is_whole(self._shard(number)):
                yield number, range(start, min(start + self.plan.shard_size, self.plan.n_texts))

    def _is_whole(self, shard: Path) -> bool:
        """Whether a killed run wrote a shard, and it is still what that wrote."""
        if not shard.is_file():
            return False
        try:
            read_tensors(shard)
        except UserError as error:
            logger.warning("%s: it is made anew", error)
            return False
        return True

    def write(
        self,
        number: int,
        hidden: torch.Tensor,
        predicted: torch.Tensor,
        label: torch.Tensor,
        texts: range,
        sureness: torch.Tensor | None = None,
    ) -> None:
        """Write one shard.

        Args:
            number: Its number.
            hidden: float (n, d_in).
            predicted: int64 (n,), the class the model predicted.
            label: int64 (n,), the gold label.
            texts: The n text indices.
            sureness: float (n,), the model's probability of what it predicted. Default: it is not kept; all shards
                or none.

        Raises:
            UserError: If a state is not finite in the store's precision or all zero, or the disk is full.
        """
        hidden = hidden.to(getattr(torch, self.plan.dtype))
        infinite = (~hidden.isfinite().all(dim=-1)).nonzero()
        if len(infinite):
            raise UserError(
                f"the hidden state of text {texts[int(infinite[0])]} is not finite in {self.plan.dtype} at "
                f"{self.plan.hook_name} ({len(infinite)} such in this shard); check the model's weights, or set "
                "classifier.dtype and cache.dtype to float32"
            )
        zero = (~hidden.any(dim=-1)).nonzero()
        if len(zero):
            raise UserError(
                f"the hidden state of text {texts[int(zero[0])]} is all zero at {self.plan.hook_name}, and "
                "cannot be brought to a norm; check the model's weights"
            )
        tensors = {
            "hidden": hidden.contiguous(),
            "predicted": predicted.to(torch.int64),
            "label": label.to(torch.int64),
            "text_index": torch.arange(texts.start, texts.stop),
        }
        if sureness is not None:
            tensors["sureness"] = sureness.to(torch.float32).contiguous()
        write_tensors(self._shard(number), tensors)

    def finish(self) -> None:
        """Write the manifest and give the store its name."""
        n_texts = self.plan.n_texts
        shards = [self._shard(number) for number in range(-(-n_texts // self.plan.shard_size))]
        columns: dict[str, Any] = {"hidden": {"dtype": self.plan.dtype, "shape": [n_texts, self.plan.d_in]}}
        columns |= {name: {"dtype": "int64", "shape": [n_texts]} for name in ("predicted", "label", "text_index")}
        if all(SafetensorsMap(path).has("sureness") for path in shards):
            columns["sureness"] = {"dtype": "float32", "shape": [n_texts]}
        checksums = {path.name: sha256_of_file(path) for path in shards}
        write_json(self._note, {**self._manifest(), "columns": columns, "sha256": checksums})
        for leftover in set(self._unfinished.iterdir()) - {*shards, self._note}:
            leftover.unlink()  # of a killed run
        replace_folder(self._unfinished, self.folder)
