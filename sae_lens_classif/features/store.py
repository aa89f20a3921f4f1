"""Pooled features of texts on disk: shards of compressed sparse rows, one set of rows for each source and pooling."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open
from scipy.sparse import csr_array
from scipy.sparse import vstack as stacked

from sae_lens_classif.checksums import sha256_of_json
from sae_lens_classif.data.texts import TextData
from sae_lens_classif.errors import UserError, nearest
from sae_lens_classif.features.pooling import Pooling
from sae_lens_classif.shapes import in_shape, read_shape
from sae_lens_classif.store.shards import MANIFEST, ShardFiles, ShardWriter

FORMAT = 1
Rows: TypeAlias = "csr_array | npt.NDArray[np.float32]"


@dataclass(frozen=True)
class Column:
    """One set of features of every text.

    Attributes:
        source: The SAE, or ``hidden:HOOK``.
        hook: Residual stream it reads.
        pooling: How a row is made of a text's tokens.
        width: Features F.
        is_sparse: Whether the rows are kept compressed.
        fingerprint: SHA-256 of the SAE, hook and pooling.
    """

    source: str
    hook: str
    pooling: str
    width: int
    is_sparse: bool
    fingerprint: str

    @property
    def name(self) -> str:
        """How it is asked for: ``SOURCE/POOLING``."""
        return f"{self.source}/{self.pooling}"


@dataclass(frozen=True)
class FeaturePlan:
    """All that is known of features before the first is computed, and the beginning of their manifest.

    Attributes:
        model_name: How the language model is called.
        model: SHA-256 of its weights, configuration and tokenizer.
        data: SHA-256 of the texts and labels.
        reading: How texts are read: longest input, special tokens, precision.
        columns: What is kept of each text.
        n_texts: Number of texts.
        shard_size: Texts a file.
    """

    model_name: str
    model: str
    data: str
    reading: dict[str, Any]
    columns: tuple[Column, ...]
    n_texts: int
    shard_size: int

    def manifest(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {"format": FORMAT, **asdict(self), "columns": [asdict(column) for column in self.columns]}


class FeatureWriter(ShardWriter):
    """Writes the shards of features; a killed run goes on."""

    def __init__(self, folder: Path, plan: FeaturePlan) -> None:
        """
        Args:
            folder: Where the features will be.
            plan: What they will be.

        Raises:
            UserError: If an unfinished folder is there that was begun from something else.
        """
        self.plan = plan
        super().__init__(folder, {"made_from": plan.manifest()}, plan.n_texts, plan.shard_size)

    def write(self, number: int, rows: Sequence[Rows], n_tokens: npt.NDArray[np.int64]) -> None:
        """Write one shard.

        Args:
            number: Its number.
            rows: For each column float32 (n, F), of the shard's n texts in order.
            n_tokens: int64 (n,), tokens of each text that were read.

        Raises:
            UserError: If the disk is full.
        """
        tensors = {"n_tokens": torch.from_numpy(n_tokens)}
        for place, own in enumerate(rows):
            if isinstance(own, np.ndarray):
                tensors[f"{place}.values"] = torch.from_numpy(own)
                continue
            tensors[f"{place}.values"] = torch.from_numpy(own.data)
            tensors[f"{place}.indices"] = torch.from_numpy(own.indices.astype(np.int64))
            tensors[f"{place}.indptr"] = torch.from_numpy(own.indptr.astype(np.int64))
        self.write_shard(number, tensors)

    def finish(self) -> None:
        """Write the manifest and give the features their name."""
        self.finish_with({column.name: {"shape": [self.plan.n_texts, column.width]} for column in self.plan.columns})


class FeatureStore:
    """Read-only view of the features of some texts; a file that is not what was written is refused when it is read.

    Attributes:
        folder: Where they lie.
        plan: What they are and were made from.
    """

    def __init__(self, folder: str | Path) -> None:
        """
        Args:
            folder: A folder that ``cache_features`` made.

        Raises:
            UserError: If there are no finished features, or the manifest is not what was written.
        """
        self.folder = Path(folder)
        file, remedy = self.folder / MANIFEST, f"delete {self.folder} and run `features` again"
        if not file.is_file():
            raise UserError(f"{self.folder} holds no finished features; run `features` first")
        manifest = read_shape(dict[str, Any], file, "`features`", remedy)
        made_from = in_shape(dict[str, Any], manifest.get("made_from"), file, "`features`", remedy)
        if made_from.pop("format", None) != FORMAT:
            raise UserError(f"{self.folder} has features of another version; {remedy}")
        self.plan: FeaturePlan = in_shape(FeaturePlan, made_from, file, "`features`", remedy)
        checksums: dict[str, str] = in_shape(dict[str, str], manifest.get("sha256"), file, "`features`", remedy)
        self._shards = ShardFiles(self.folder, checksums, "features")

    def __len__(self) -> int:
        return self.plan.n_texts

    def __repr__(self) -> str:
        return f"FeatureStore({len(self):,} texts × {len(self.plan.columns)} sets of features, {str(self.folder)!r})"

    def fingerprint(self) -> str:
        """SHA-256 over what the features were made from and the checksums of their files."""
        return sha256_of_json([self.plan.manifest(), self._shards.checksums])

    def check_texts(self, data: TextData) -> None:
        """Refuse features of other texts than those given.

        Raises:
            UserError: If they are.
        """
        if self.plan.data != data.fingerprint():
            raise UserError(f"{self.folder} holds features of other texts than these; run `features` again")

    def origin(self, name: str) -> list[Any]:
        """All that a text's features depend on but the text, as JSON can hold it; errors as of ``column``."""
        return [self.column(name).fingerprint, self.plan.model, self.plan.reading]

    def column(self, name: str) -> Column:
        """What is known of a set of features.

        Raises:
            UserError: If there is none of this name.
        """
        names = [column.name for column in self.plan.columns]
        if name not in names:
            raise UserError(f"{self.folder} has no features {name!r}; {nearest(name, names)}")
        return self.plan.columns[names.index(name)]

    def read(self, name: str) -> Rows:
        """All rows of a set of features.

        Args:
            name: ``SOURCE/POOLING``.

        Returns:
            float32 (N, F), compressed sparse rows where they are kept so.

        Raises:
            UserError: If there is none of this name, or a file is not what was written.
        """
        column = self.column(name)
        place, parts = self.plan.columns.index(column), list[Rows]()
        for shard in self._shards.checksums:
            with safe_open(self._shards.verified(shard), "np") as file:
                values = file.get_tensor(f"{place}.values")
                if column.is_sparse:
                    indices, indptr = (file.get_tensor(f"{place}.{part}") for part in ("indices", "indptr"))
                    parts.append(csr_array((values, indices, indptr), shape=(len(indptr) - 1, column.width)))
                else:
                    parts.append(values)
        rows: Rows = stacked(parts, format="csr") if column.is_sparse else np.concatenate(parts)
        return rows

    def n_tokens(self) -> npt.NDArray[np.int64]:
        """int64 (N,), tokens of each text that its rows are made of."""
        parts = []
        for shard in self._shards.checksums:
            with safe_open(self._shards.verified(shard), "np") as file:
                parts.append(file.get_tensor("n_tokens"))
        return np.concatenate(parts)


def column_of(source: str, hook: str, pooling: Pooling, width: int, is_sparse: bool, fingerprint: str) -> Column:
    """A column's description.

    Args:
        source: Name of the SAE, or ``hidden:HOOK``.
        hook: Residual stream it reads.
        pooling: How a row is made of a text's tokens.
        width: Features F.
        is_sparse: Whether rows are kept compressed.
        fingerprint: SHA-256 of the source.
    """
    return Column(source, hook, str(pooling), width, is_sparse, sha256_of_json([fingerprint, str(pooling)]))
