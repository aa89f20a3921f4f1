"""How deep JSON is nested, found out before it is parsed: what reads tables calls itself as often, and falls over."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sae_lens_classif.errors import UserError

_DEEPEST = 100  # objects and lists in one another; texts and labels need three
_CHUNK = 2**24  # bytes
_STEPS = np.zeros(256, dtype=np.int64)
_STEPS[list(b"[{")], _STEPS[list(b"]}")] = 1, -1


def check_nesting(file: Path) -> None:
    """Refuse JSON, or JSON lines, that is nested deeper than any table.

    Args:
        file: The file; it is read in pieces.

    Raises:
        UserError: If it is.
    """
    depth, is_quoted = 0, False
    for piece in _pieces(file):
        # Whatever stands after a backslash ends no string.
        plain = np.frombuffer(piece.replace(b"\\\\", b"").replace(b'\\"', b""), dtype=np.uint8)
        quotes = np.cumsum(plain == ord('"')) + is_quoted
        quoted = (
            quotes - np.maximum.accumulate(np.where(plain == ord("\n"), quotes, 0))
        ) % 2  # no string has two lines
        depths = depth + np.cumsum(np.where(quoted, 0, _STEPS[plain]))
        if depths.size and depths.max() > _DEEPEST:
            raise UserError(f"{file} is nested deeper than {_DEEPEST}; give texts and labels in a table")
        if depths.size:
            depth, is_quoted = int(depths[-1]), bool(quoted[-1])


def _pieces(file: Path) -> Iterator[bytes]:
    """The bytes of a file; no piece ends between a backslash and what it stands before."""
    with file.open("rb") as opened:
        rest = b""
        while piece := opened.read(_CHUNK):
            piece = rest + piece
            n_open = (len(piece) - len(piece.rstrip(b"\\"))) % 2
            rest, piece = piece[len(piece) - n_open :], piece[: len(piece) - n_open]
            yield piece
