"""Single rows of a safetensors file, read through a memory map that gives its pages back."""

import json
import mmap
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sae_lens_classif.errors import UserError
from sae_lens_classif.store.shuffle import Rows

_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64}
# A page fault may map 2 MiB of the file at once, however small the row.
_ROWS_AT_ONCE = 64
_WORDS = {2: np.uint16, 4: np.uint32, 8: np.uint64}


class SafetensorsMap:
    """A safetensors file whose tensors are read by row, in any order.

    ``safetensors.safe_open`` reads only slices, and keeps every page it touched resident.
    """

    def __init__(self, path: Path) -> None:
        """
        Args:
            path: The file.

        Raises:
            UserError: If it is missing, cut short or no safetensors file.
        """
        try:
            with path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            n_header = int.from_bytes(self._map[:8], "little")
            header = json.loads(self._map[8 : 8 + n_header])
            header.pop("__metadata__", None)
            self._columns = {name: self._column(entry, 8 + n_header) for name, entry in header.items()}
            if 8 + n_header + max(entry["data_offsets"][1] for entry in header.values()) != len(self._map):
                raise ValueError("longer than its header says")
        except FileNotFoundError as error:
            raise UserError(f"{path} is missing; delete its folder and run `cache` again") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path} is cut short or damaged; delete its folder and run `cache` again") from error
        if hasattr(mmap, "MADV_RANDOM"):
            self._map.madvise(mmap.MADV_RANDOM)

    def _column(self, entry: dict[str, Any], base: int) -> tuple[npt.NDArray[np.unsignedinteger], torch.dtype]:
        dtype = _DTYPES[entry["dtype"]]
        begin, end = entry["data_offsets"]
        words = np.frombuffer(
            self._map, _WORDS[dtype.itemsize], count=(end - begin) // dtype.itemsize, offset=base + begin
        )
        return words.reshape(entry["shape"]), dtype

    def has(self, name: str) -> bool:
        """Whether it holds a tensor."""
        return name in self._columns

    def rows(self, name: str, rows: Rows) -> torch.Tensor:
        """Copy some rows of a tensor.

        Args:
            name: The tensor's name.
            rows: int64 (m,).

        Returns:
            (m, ...) in the tensor's own dtype.
        """
        words, dtype = self._columns[name]
        out = np.empty((len(rows), *words.shape[1:]), words.dtype)
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            out[part] = words[rows[part]]
            if hasattr(mmap, "MADV_DONTNEED"):  # gives the pages that were read back to the system
                self._map.madvise(mmap.MADV_DONTNEED)
        return torch.from_numpy(out).view(dtype)
