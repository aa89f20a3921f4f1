"""One writer a run folder: who works in it is noted, and a second one waits or is told so. Readers need no lock."""

import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from sae_lens_classif.errors import UserError
from sae_lens_classif.files import clear_leftovers, explain_full_disk, folder_is_writable

logger = logging.getLogger(__name__)
_LOCK, _WRITER = ".lock", ".writer"
SECONDS = 10.0  # what a second writer waits


@contextlib.contextmanager
def only_writer(folder: Path, what: str) -> Iterator[None]:
    """Write in a run folder as the only process that does; the system takes the lock back when the process dies.

    What a killed process left half-written is removed first. Within such a block another of the same folder is free.

    Args:
        folder: The run folder; made where there is none.
        what: What is done, for whoever comes second.

    Raises:
        UserError: If another process still writes there after ten seconds, the folder cannot be written to, or
            something else than a file is in the place of what is written for that.
    """
    folder_is_writable(folder)
    _check_own_files(folder)
    file = folder.resolve() / _LOCK
    lock = FileLock(file, thread_local=False, is_singleton=True)
    if lock.is_locked:
        yield
        return
    _acquire(lock, folder)
    while not file.exists():  # the one before left nothing, and took the file along
        lock.release()
        _acquire(lock, folder)
    try:
        clear_leftovers(folder)
        with explain_full_disk(folder):
            told = f"process {os.getpid()} on {socket.gethostname()} (`{what}`)"
            (folder / _WRITER).write_text(told, encoding="utf-8")
        yield
    finally:
        (folder / _WRITER).unlink(missing_ok=True)
        if list(folder.iterdir()) == [folder / _LOCK]:  # nothing was made, as where the settings were refused
            (folder / _LOCK).unlink()
        lock.release()


def _check_own_files(folder: Path) -> None:
    """Refuse a folder where something else lies in the place of what is written here: a pipe has no end."""
    for path in (folder / _LOCK, folder / _WRITER):
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise UserError(
                f"{path} is a folder, a link, a pipe or a device, where a file says who writes in {folder}; delete it"
            )


def _acquire(lock: BaseFileLock, folder: Path) -> None:
    with contextlib.suppress(Timeout):
        lock.acquire(timeout=0)
        return
    logger.warning("%s is written to by %s: waiting for %.0f seconds", folder, _writer(folder), SECONDS)
    try:
        lock.acquire(timeout=SECONDS)
    except Timeout as error:
        raise UserError(
            f"{folder} is written to by {_writer(folder)}; wait until that has ended, or use another run folder"
        ) from error


def _writer(folder: Path) -> str:
    try:
        return (folder / _WRITER).read_text(encoding="utf-8").strip() or "another process"
    except (OSError, UnicodeDecodeError):
        return "another process"
