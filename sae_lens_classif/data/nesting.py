"""What ends a process that reads JSON as a table, found before it is parsed: deep nesting, rows that are null."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sae_lens_classif.errors import UserError

_DEEPEST = 100  # objects and lists in one another; texts and labels need three
_BEFORE = b"\xef\xbb\xbf \t\r\n"  # a byte order mark and space, which may come first
_CHUNK = 2**24  # bytes
_STEPS = np.zeros(256, dtype=np.int64)
_STEPS[list(b"[{")], _STEPS[list(b"]}")] = 1, -1


def check_json(file: Path) -> None:
    """Refuse JSON, or JSON lines, that is nested deeper than any table, or in which a row is null.

    Args:
        file: The file; it is read in pieces.

    Raises:
        UserError: If it is.
    """
    depth, is_quoted, depth_of_rows = 0, False, None
    for piece in _pieces(file):
        if depth_of_rows is None and piece.strip(_BEFORE):
            depth_of_rows = 1 if piece.lstrip(_BEFORE).startswith(b"[") else 0
        # Whatever stands after a backslash ends no string.
        plain = np.frombuffer(piece.replace(b"\\\\", b"").replace(b'\\"', b""), dtype=np.uint8)
        quotes = np.cumsum(plain == ord('"')) + is_quoted
        quoted = (
            quotes - np.maximum.accumulate(np.where(plain == ord("\n"), quotes, 0))
        ) % 2  # no string has two lines
        depths = depth + np.cumsum(np.where(quoted, 0, _STEPS[plain]))
        if depths.size and depths.max() > _DEEPEST:
            raise UserError(f"{file} is nested deeper than {_DEEPEST}; give texts and labels in a table")
        if np.any(
            (depths == depth_of_rows) & (plain == ord("n")) & (quoted == 0)
        ):  # nothing else there has this letter
            raise UserError(f"{file} has a row that is null; give texts and labels in a table")
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
