"""Files and folders that are whole or absent, also where a run is killed or the disk is full."""

import contextlib
import errno
import glob
import os
import re
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from sae_lens_classif.errors import UserError

_LEFT = re.compile(r"(?P<name>.+)\.(?P<process>\d+)\.(?P<what>partial|old)")


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Write a file under a temporary name; it gets its own name when the block ends without an error.

    Raises:
        UserError: If something else than a regular file is there.
    """
    check_output(path)
    folder_is_writable(path.parent)
    _clear_leftovers_of(path)
    temporary = _beside(path, "partial")
    try:
        with explain_full_disk(path):
            yield temporary
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    temporary.replace(path)


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with new_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Fill a folder under a temporary name; it gets its own name when the block ends without an error.

    What an earlier, killed attempt left under its temporary name is removed; a folder that is there
    already is replaced only at the end.
    """
    _clear_leftovers_of(folder)
    temporary = _beside(folder, "partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        with explain_full_disk(folder):
            yield temporary
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _give_usual_modes(temporary)
    replace_folder(temporary, folder)


def replace_folder(source: Path, target: Path) -> None:
    """Rename a folder, in place of one that may be there."""
    if target.exists():
        old = _beside(target, "old")
        shutil.rmtree(old, ignore_errors=True)
        target.replace(old)
        source.replace(target)
        shutil.rmtree(old)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        source.replace(target)


def clear_leftovers(folder: Path) -> None:
    """Remove what killed processes left half-written in a folder; what they were replacing comes back.

    Args:
        folder: All that is below it is looked at; need not exist.
    """
    for path in sorted(folder.rglob("*"), reverse=True):  # what is inside comes first
        _clear(path)


def _clear_leftovers_of(path: Path) -> None:
    for sibling in path.parent.glob(f"{glob.escape(path.name)}.*"):
        _clear(sibling)


def _clear(path: Path) -> None:
    left = _LEFT.fullmatch(path.name)
    if left is None or _is_running(int(left["process"])):
        return
    target = path.with_name(left["name"])
    if left["what"] == "old" and not target.exists():
        path.replace(target)
    elif path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _beside(path: Path, what: str) -> Path:
    """A name for the time being, that says whose it is."""
    return path.with_name(f"{path.name}.{os.getpid()}.{what}")


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _give_usual_modes(folder: Path) -> None:
    """Let others read files that safetensors wrote for their owner alone, as far as the umask does."""
    probe = folder / ".mode"
    probe.touch()
    mode = probe.stat().st_mode
    probe.unlink()
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(mode)


@contextlib.contextmanager
def explain_full_disk(path: Path) -> Iterator[None]:
    """Turn "no space left on device" into an error that says what to do.

    safetensors reports a failed write as its own error with the system's words in it.
    """
    try:
        yield
    except Exception as error:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        words = ("No space left on device", "StorageFull", "inline_container.cc", "PytorchStreamWriter failed")
        if full or any(word in str(error) for word in words):
            raise UserError(
                f"the disk is full while writing {path}; make room and run the same command again"
            ) from error
        raise


def check_output(path: str | Path) -> Path:
    """Refuse to write to what is there and is no regular file: a folder, a device, a pipe. Asked before any work.

    Raises:
        UserError: If it is something else, or the name cannot be that of a file.
    """
    path = Path(path)
    try:
        is_taken = not stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        is_taken = False
    except (OSError, ValueError) as error:  # a name too long, in a file, NUL
        raise UserError(f"{str(path)!r} cannot be written ({error}); give another name") from error
    if is_taken:
        raise UserError(
            f"{path} is {'a folder' if path.is_dir() else 'a pipe or a device'}, no regular file; give the path of one"
        )
    there = next(parent for parent in path.absolute().parents if parent.exists())
    if not os.access(there, os.W_OK):
        raise UserError(f"{path} cannot be written: {there} is not writable; give another path")
    return path


def folder_is_writable(folder: Path) -> None:
    """Refuse a run folder that cannot be written to before any work is done.

    Raises:
        UserError: If it is a file or not writable.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f"{folder} is a file; give the path of a folder") from error
    except OSError as error:
        raise UserError(f"{folder} cannot be created: {str(error.strerror).lower()}; give another folder") from error
    if not os.access(folder, os.W_OK):
        raise UserError(f"{folder} is not writable; give another folder")


def sizes(folder: Path) -> list[tuple[str, int]]:
    """Every file of a folder with its size in bytes, in order of their names."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [(path.relative_to(folder).as_posix(), path.stat().st_size) for path in files]
