"""What disks, editors and people do to a file: each way leaves other bytes than were there."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

_BLOCK = 4096
Damage = Callable[[Path, Sequence[Path], np.random.Generator], None]


def flip(path: Path, _: Sequence[Path], random: np.random.Generator) -> None:
    """One bit of one byte."""
    content = bytearray(path.read_bytes())
    content[random.integers(len(content))] ^= 1 << random.integers(8)
    path.write_bytes(content)


def shorten(path: Path, _: Sequence[Path], __: np.random.Generator) -> None:
    """The last byte is lost."""
    os.truncate(path, path.stat().st_size - 1)


def empty(path: Path, _: Sequence[Path], __: np.random.Generator) -> None:
    """Nothing is left."""
    os.truncate(path, 0)


def zero_block(path: Path, _: Sequence[Path], random: np.random.Generator) -> None:
    """A block of a disk is zero."""
    content = path.read_bytes()
    start = int(random.integers(len(content))) // _BLOCK * _BLOCK
    n_zeros = len(content[start : start + _BLOCK])
    path.write_bytes(content[:start] + bytes(n_zeros) + content[start + n_zeros :])


def swap(path: Path, others: Sequence[Path], random: np.random.Generator) -> None:
    """It and another of its kind have changed places."""
    content = path.read_bytes()
    unlike = [other for other in others if other.suffix == path.suffix and other.read_bytes() != content]
    if unlike:
        other = unlike[random.integers(len(unlike))]
        path.write_bytes(other.read_bytes())
        other.write_bytes(content)


def lose(path: Path, _: Sequence[Path], __: np.random.Generator) -> None:
    """It is gone."""
    path.unlink()


DAMAGES: dict[str, Damage] = {
    "flip": flip,
    "shorten": shorten,
    "empty": empty,
    "zero_block": zero_block,
    "swap": swap,
    "lose": lose,
}
OLD = "old"  # an earlier version is put back, which lies elsewhere
