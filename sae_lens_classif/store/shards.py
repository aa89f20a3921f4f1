"""Rows in shards, whatever a row holds: a killed run goes on, a folder is whole or absent, what is read is checked."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from sae_lens_classif.artifacts import Artifact
from sae_lens_classif.checksums import read_tensors, sha256_of_file, write_json, write_tensors
from sae_lens_classif.errors import UserError
from sae_lens_classif.files import replace_folder
from sae_lens_classif.reading import inside

MANIFEST = "manifest.json"
_UNFINISHED = ".unfinished"
logger = logging.getLogger(__name__)


class ShardWriter:
    """Writes shards into an unfinished folder, and renames it when all are there.

    Attributes:
        folder: Where they will be.
    """

    def __init__(self, folder: Path, manifest: Mapping[str, Any], n_rows: int, shard_size: int) -> None:
        """
        Args:
            folder: Where the shards will be.
            manifest: What they are made from, as JSON can hold it.
            n_rows: Rows of all shards.
            shard_size: Rows of a shard; the last may have fewer.

        Raises:
            UserError: If an unfinished folder is there that was begun from something else.
        """
        self.folder = folder
        self._manifest, self._n_rows, self._shard_size = dict(manifest), n_rows, shard_size
        self._unfinished = folder.with_name(folder.name + _UNFINISHED)
        self._unfinished.mkdir(parents=True, exist_ok=True)
        self._note = self._unfinished / MANIFEST
        Artifact(self._unfinished, self._note, self._manifest).is_current()
        write_json(self._note, self._manifest)

    def shards(self) -> list[Path]:
        """The files, in order, also of those that are not there yet."""
        n_shards = -(-self._n_rows // self._shard_size)
        return [self._unfinished / f"shard_{number:05d}.safetensors" for number in range(n_shards)]

    def missing(self) -> Iterator[tuple[int, range]]:
        """Shards that are still to be written: their numbers and rows."""
        for number, path in enumerate(self.shards()):
            if not self._is_whole(path):
                start = number * self._shard_size
                yield number, range(start, min(start + self._shard_size, self._n_rows))

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

    def write_shard(self, number: int, tensors: Mapping[str, torch.Tensor]) -> None:
        """Write one shard.

        Raises:
            UserError: If the disk is full.
        """
        write_tensors(self.shards()[number], tensors)

    def finish_with(self, columns: Mapping[str, Any]) -> None:
        """Write the manifest and give the folder its name.

        Args:
            columns: What the shards hold, for the manifest.
        """
        shards = self.shards()
        checksums = {path.name: sha256_of_file(path) for path in shards}
        write_json(self._note, {**self._manifest, "columns": dict(columns), "sha256": checksums})
        for leftover in set(self._unfinished.iterdir()) - {*shards, self._note}:
            leftover.unlink()  # of a killed run
        replace_folder(self._unfinished, self.folder)


class ShardFiles:
    """Shards of a finished folder; each is compared with its checksum when it is first read.

    Attributes:
        checksums: SHA-256 of each file, by its name, in order.
    """

    def __init__(self, folder: Path, checksums: Mapping[str, str], step: str) -> None:
        """
        Args:
            folder: Where they lie.
            checksums: SHA-256 of each file, by its name, in order.
            step: The command that wrote them.
        """
        self.checksums = dict(checksums)
        self._folder, self._step = folder, step
        self._verified: dict[str, Path] = {}

    def verified(self, name: str) -> Path:
        """A file that is what was written.

        Raises:
            UserError: If it is not, is missing, or lies outside the folder.
        """
        if name not in self._verified:
            file, remedy = inside(self._folder, name), f"delete {self._folder} and run `{self._step}` again"
            if not file.is_file():
                raise UserError(f"{file} is missing; {remedy}")
            if sha256_of_file(file) != self.checksums[name]:
                raise UserError(f"{file} is not what `{self._step}` wrote; {remedy}")
            self._verified[name] = file
        return self._verified[name]
