"""File operations of a process as Python announces them (``sys.addaudithook``): counted, and one of them its last."""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

How = Literal["before", "cut"]
_WRITES = ("append", "write")


class Operation(NamedTuple):
    """A change to a file or folder that is about to happen."""

    kind: str
    path: str

    def __str__(self) -> str:
        return f"{self.kind} {self.path}"


def count(folder: Path, note: Path) -> Callable[[], None]:
    """What a child does first so that all its operations below a folder are noted.

    Args:
        folder: The folder.
        note: JSON lines, one an operation.
    """

    def begin() -> None:
        descriptor = os.open(note, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        _watch(folder, lambda operation: os.write(descriptor, (json.dumps(operation) + "\n").encode()))

    return begin


def read_counted(note: Path) -> list[Operation]:
    """What ``count`` noted."""
    return [Operation(*json.loads(line)) for line in note.read_text(encoding="utf-8").splitlines()]


def die_at(folder: Path, number: int, how: How) -> Callable[[], None]:
    """What a child does first so that it is killed before one of its operations.

    Args:
        folder: Operations below it are counted.
        number: Which one, from 0.
        how: ``before``: with all the others done. ``cut``: with half of what it was still writing, too.
    """
    seen, size_before = list[Operation](), 0

    def is_last(operation: Operation) -> None:
        nonlocal size_before
        if len(seen) == number:
            if how == "cut":
                _cut(folder / unfinished(seen, operation), size_before)
            os.kill(os.getpid(), signal.SIGKILL)
        seen.append(operation)
        # What is added to a file leaves what was there as it is.
        size_before = (folder / operation.path).stat().st_size if operation.kind == "append" else 0

    return lambda: _watch(folder, is_last)


def _cut(path: Path, size_before: int) -> None:
    if path.is_file():
        os.truncate(path, size_before + (path.stat().st_size - size_before) // 2)


def unfinished(seen: list[Operation], coming: Operation) -> str:
    """The file that a kill could have left half-written: the one that was written to last; empty if there is none.

    Args:
        seen: Operations so far.
        coming: The next one.
    """
    if seen and seen[-1].kind in _WRITES:
        return seen[-1].path
    # A library in another language opens files without an announcement; then they are renamed.
    is_known = any(operation.kind in _WRITES and operation.path == coming.path for operation in seen)
    return coming.path if coming.kind == "rename" and not is_known else ""


def _watch(folder: Path, each: Callable[[Operation], object]) -> None:
    is_inside = False  # what is done here is no operation

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal is_inside
        if is_inside or event not in _CHANGES:
            return
        is_inside = True
        try:
            path = _CHANGES[event](*arguments)
            if path is not None and path.startswith(f"{folder}{os.sep}"):
                kind = event.removeprefix("os.")
                if event == "open":
                    kind = "append" if arguments[2] & os.O_APPEND and os.path.lexists(path) else "write"
                each(Operation(kind, os.path.relpath(path, folder)))
        finally:
            is_inside = False

    sys.addaudithook(hook)


def _full(path: Any, folder: int = -1) -> str | None:
    """A path in full, also where it is relative to an open folder."""
    if isinstance(path, int):
        return None
    # os.path, since pathlib leaves a `..` as it is.
    start = f"/proc/self/fd/{folder}" if folder != -1 else "."
    return os.path.normpath(os.path.join(os.path.realpath(start), os.fsdecode(path)))  # noqa: PTH118


def _opened(path: Any, _: Any, flags: int) -> str | None:
    return _full(path) if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND) else None


def _if_there(path: Any, *rest: Any) -> str | None:
    full = _full(path, rest[-1])
    return full if full is not None and os.path.lexists(full) else None


def _if_not_there(path: Any, _: Any, folder: int) -> str | None:
    full = _full(path, folder)
    return full if full is not None and not os.path.lexists(full) else None


# Each with what of its arguments is changed; what changes nothing is none.
_CHANGES: dict[str, Callable[..., str | None]] = {
    "open": _opened,
    "os.chmod": _if_there,
    "os.link": lambda _, target, __, folder: _full(target, folder),
    "os.mkdir": _if_not_there,
    "os.remove": _if_there,
    "os.rename": lambda source, _, folder, __: _full(source, folder),
    "os.rmdir": _if_there,
    "os.symlink": lambda _, target, folder: _full(target, folder),
    "os.truncate": lambda path, _: _full(path),
    "os.utime": lambda path, _, __, folder: _full(path, folder),
}
