"""The last-token activations store: hidden state, predicted class, label and index of every text, on disk."""

import copy
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sae_lens_classif.checksums import sha256_of_json
from sae_lens_classif.decisions import DecisionRule, decision_rule
from sae_lens_classif.errors import UserError
from sae_lens_classif.reading import inside
from sae_lens_classif.shapes import in_shape, read_shape
from sae_lens_classif.store.mmap import SafetensorsMap
from sae_lens_classif.store.shards import MANIFEST, ShardFiles
from sae_lens_classif.store.shuffle import Rows, permute

FORMAT = 1


@dataclass(frozen=True)
class Fingerprints:
    """What hidden states depend on; SHA-256 each.

    Attributes:
        model: Weights, configuration and tokenizer of the language model.
        data: Texts, labels and class names.
        prompt: Template, label words, cut, and the hook.
    """

    model: str
    data: str
    prompt: str


@dataclass(eq=False)
class StorePlan:
    """What a store is: all that is known of it before its first state, and the beginning of its manifest.

    Attributes:
        fingerprints: What the states are made from.
        model_name: How the model is called.
        hook_name: Residual stream the states are taken from.
        class_names: Names of the C classes.
        n_texts: Number of texts.
        d_in: Width of a hidden state.
        context_size: Longest prompt, in tokens.
        prepend_bos: Whether each prompt begins with a BOS token.
        dtype: Precision of the states on disk.
        shard_size: Texts a file.
        multi_label: Whether a text may have several of the classes, or none.
    """

    fingerprints: Fingerprints
    model_name: str
    hook_name: str
    class_names: tuple[str, ...]
    n_texts: int
    d_in: int
    context_size: int
    prepend_bos: bool
    dtype: str
    shard_size: int
    multi_label: bool = False

    @property
    def n_classes(self) -> int:
        """Number of classes C."""
        return len(self.class_names)

    @property
    def rule(self) -> DecisionRule:
        """What a decision of it is."""
        return decision_rule(self.multi_label)


class ActivationStore(StorePlan):
    """Read-only view of the hidden states of one split, memory-mapped.

    Nothing is loaded before it is asked for, and pages that were read are given back, so ten million
    states need no more memory than a hundred thousand. A file whose checksum is another is refused when it is first
    read.

    Attributes:
        folder: Where the store lies.
        fingerprints: What its states were made from.
        d_in: Width of a hidden state.
        hook_name: Residual stream the states were taken from.
        class_names: Names of the C classes.
        model_name: How the model is called.
        context_size: Longest prompt, in tokens.
        prepend_bos: Whether each prompt begins with a BOS token.
        dtype: Precision of the states on disk.
    """

    def __init__(self, folder: str | Path) -> None:
        """
        Args:
            folder: A folder that ``cache`` made.

        Raises:
            UserError: If there is no finished store, or a file of it is missing, outside or has changed
                its size.
        """
        self.folder = Path(folder)
        if not (self.folder / MANIFEST).is_file():
            raise UserError(f"{self.folder} holds no finished activations store; run the step `cache` first")
        file, remedy = self.folder / MANIFEST, f"delete {self.folder} and run `cache` again"
        manifest = read_shape(dict[str, Any], file, "`cache`", remedy)
        if manifest.get("format") != FORMAT:
            raise UserError(
                f"{self.folder} has format {manifest.get('format')!r}, this version reads {FORMAT}; run `cache` again"
            )
        plan: StorePlan = in_shape(StorePlan, manifest, file, "`cache`", remedy)
        super().__init__(**{entry.name: getattr(plan, entry.name) for entry in fields(StorePlan)})
        checksums: dict[str, str] = in_shape(dict[str, str], manifest.get("sha256"), file, "`cache`", remedy)
        self._predicted: torch.Tensor | None = None
        self._chosen: Rows | None = None
        self._names = list(checksums)
        self._files = ShardFiles(self.folder, checksums, "cache")  # of a store and of what is taken from it
        self._shards = [SafetensorsMap(inside(self.folder, name)) for name in self._names]

    def __len__(self) -> int:
        return self.n_texts

    def __repr__(self) -> str:
        return f"ActivationStore({len(self):,} texts × {self.d_in} at {self.hook_name}, {str(self.folder)!r})"

    def fingerprint(self) -> str:
        """SHA-256 over the store's fingerprints and the checksums of its files."""
        content = [asdict(self.fingerprints), self._files.checksums]
        if self._predicted is not None:
            content.append({"predicted": sha256_of_json(self._predicted.tolist())})
        if self._chosen is not None:
            content.append({"rows": sha256_of_json(self._chosen.tolist())})
        return sha256_of_json(content)

    def verify(self) -> None:
        """Compare every file with its checksum, before work begins; else it is done where a file is first read.

        Raises:
            UserError: If one differs.
        """
        for number in range(len(self._shards)):
            self._shard(number)

    def _shard(self, number: int) -> SafetensorsMap:
        """A file, when it was found to be what was written."""
        self._files.verified(self._names[number])
        return self._shards[number]

    def has(self, name: str) -> bool:
        """Whether it holds a column: stores of earlier versions do not hold ``sureness``."""
        return all(shard.has(name) for shard in self._shards)

    def rows(self, name: str, rows: Rows) -> torch.Tensor:
        """Read some rows.

        Args:
            name: ``hidden`` (dtype of the store), ``predicted``, ``label`` or ``text_index`` (int64), ``sureness``
                (float32) where it is kept.
            rows: int64 (m,), each in 0..len-1, in any order.

        Returns:
            (m, d_in) for ``hidden``, (m,) for the others.
        """
        if name == "predicted" and self._predicted is not None:
            return self._predicted[torch.from_numpy(rows)]
        if self._chosen is not None:
            rows = self._chosen[rows]
        shard_of = rows // self.shard_size
        out: torch.Tensor | None = None
        for shard in np.unique(shard_of):
            here = np.flatnonzero(shard_of == shard)
            values = self._shard(int(shard)).rows(name, rows[here] - shard * self.shard_size)
            if out is None:
                out = torch.empty((len(rows), *values.shape[1:]), dtype=values.dtype)
            out[torch.from_numpy(here)] = values
        if out is None:
            raise UserError("no rows were asked for")
        return out

    def read(self, name: str, start: int = 0, stop: int | None = None) -> torch.Tensor:
        """Read consecutive rows; see ``rows``."""
        return self.rows(name, np.arange(start, len(self) if stop is None else stop))

    def relabelled(self, predicted: torch.Tensor) -> "ActivationStore":
        """The same states with other classes in the place of the predicted ones, for a control.

        Args:
            predicted: int64 (N,).
        """
        other = copy.copy(self)
        other._predicted = predicted
        return other

    def subset(self, rows: Rows) -> "ActivationStore":
        """Some of the texts as a store of their own, in the order given.

        Args:
            rows: int64 (m,), each in 0..len-1.
        """
        other = copy.copy(self)
        other.n_texts = len(rows)
        other._chosen = rows if self._chosen is None else self._chosen[rows]
        other._predicted = None if self._predicted is None else self._predicted[torch.from_numpy(rows)]
        return other

    def training_rows(self, validation_share: float, seed: int, share: float = 1.0) -> "RowSplit":
        """Split the rows at random into training rows and held-out ones.

        Args:
            validation_share: Share of the rows that is held out.
            seed: Chooses both, and the order.
            share: Share of the other rows that is trained on.

        Raises:
            UserError: If no row is left to train on.
        """
        n_held_out = int(validation_share * len(self))
        n_training = int(share * (len(self) - n_held_out) + 1e-9)
        if n_training < 1:
            raise UserError(f"{self.folder} has {len(self)} texts; none is left to train on")
        return RowSplit(len(self), n_held_out, n_training, seed)

    def batches(self, batch_size: int, split: "RowSplit", start: int = 0) -> Iterator[torch.Tensor]:
        """Serve shuffled batches of the training rows for ever.

        Every row comes once an epoch, in a new order each; a batch may straddle two epochs, so none is short.

        Args:
            batch_size: Rows a batch, B.
            split: Which rows are for training, and the seed of the order.
            start: Number of rows served before, to go on where an earlier run stopped.

        Yields:
            float32 (B, d_in + m): the hidden state and, last, the predicted class in one column, or each label in one.
        """
        while True:
            rows = split.training(np.arange(start, start + batch_size))
            yield self._with_predicted(rows)
            start += batch_size

    def held_out_batches(self, batch_size: int, split: "RowSplit", n_rows: int | None = None) -> Iterator[torch.Tensor]:
        """Serve held-out rows once, in a fixed random order, in batches of like size, none larger than B.

        Args:
            batch_size: Rows a batch at most, B.
            split: Which rows are held out.
            n_rows: How many of them; default: all.
        """
        n_rows = split.n_held_out if n_rows is None else n_rows
        n_batches = -(-n_rows // batch_size)
        for positions in np.array_split(np.arange(n_rows), max(1, n_batches)):
            if len(positions):
                yield self._with_predicted(split.held_out(positions))

    def _with_predicted(self, rows: Rows) -> torch.Tensor:
        predicted = self.rule.columns(self.rows("predicted", rows), self.n_classes)
        return torch.cat([self.rows("hidden", rows).to(torch.float32), predicted], dim=1)


@dataclass(frozen=True)
class RowSplit:
    """Which rows are trained on, in which order, and which are held out; takes no memory.

    Attributes:
        n_rows: Rows in all.
        n_held_out: How many of them are held out.
        n_training: How many of the others are trained on.
        seed: Chooses both.
    """

    n_rows: int
    n_held_out: int
    n_training: int
    seed: int

    def held_out(self, positions: Rows) -> Rows:
        """Rows at positions 0..n_held_out-1 of the held-out ones."""
        return permute(positions, self.n_rows, self.seed)

    def training(self, positions: Rows) -> Rows:
        """Rows at positions 0, 1, ... of the endless stream of training epochs."""
        epochs, offsets = np.divmod(positions, self.n_training)
        shuffled = np.empty_like(offsets)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            shuffled[here] = permute(offsets[here], self.n_training, self.seed, int(epoch) + 1)
        return permute(self.n_held_out + shuffled, self.n_rows, self.seed)
