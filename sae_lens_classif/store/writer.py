"""Write an activations store: the hidden states of texts, checked, shard by shard."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from sae_lens_classif.errors import UserError
from sae_lens_classif.store.mmap import SafetensorsMap
from sae_lens_classif.store.shards import ShardWriter
from sae_lens_classif.store.store import FORMAT, StorePlan


class StoreWriter(ShardWriter):
    """Writes the shards of one store."""

    def __init__(self, folder: Path, plan: StorePlan) -> None:
        """
        Args:
            folder: Where the store will be.
            plan: What it will hold.

        Raises:
            UserError: If an unfinished store is there that was begun from something else.
        """
        self.plan = plan
        manifest = {"format": FORMAT, **asdict(plan), "class_names": list(plan.class_names)}
        super().__init__(folder, manifest, plan.n_texts, plan.shard_size)

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
        self.write_shard(number, tensors)

    def finish(self) -> None:
        """Write the manifest and give the store its name."""
        n_texts = self.plan.n_texts
        columns: dict[str, Any] = {"hidden": {"dtype": self.plan.dtype, "shape": [n_texts, self.plan.d_in]}}
        columns |= {name: {"dtype": "int64", "shape": [n_texts]} for name in ("predicted", "label", "text_index")}
        if all(SafetensorsMap(path).has("sureness") for path in self.shards()):
            columns["sureness"] = {"dtype": "float32", "shape": [n_texts]}
        self.finish_with(columns)
