"""Files and folders that are whole or absent, also where a run is killed or the disk is full."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sae_lens_classif.errors import UserError

if TYPE_CHECKING:
    import torch

_PARTIAL = ".partial"
_MOST_BYTES = 2**30
_LONGEST_NAME, _LONGEST_PATH = 240, 3800  # bytes: a file system's 255 and 4,095, less what we add to a name
_DEEPEST = 50  # objects and lists in one another


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Write a file under a temporary name; it gets its own name when the block ends without an error."""
    folder_is_writable(path.parent)
    temporary = path.with_name(path.name + _PARTIAL)
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


def write_json(path: Path, content: Any) -> None:
    """Write strict JSON (no NaN), indented, whole or not at all."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_tensors(path: Path, tensors: "dict[str, torch.Tensor]", notes: dict[str, str] | None = None) -> None:
    """Write a safetensors file, with notes in its header, whole or not at all."""
    from safetensors.torch import save_file

    with new_file(path) as temporary:
        save_file(tensors, temporary, notes)


def check_path(path: str | Path) -> None:
    """Refuse what no file can be called, before a file of that name is looked for.

    Raises:
        UserError: If it holds a NUL or half a character, or is too long.
    """
    name = str(path)
    check_characters(name)
    longest = max((len(os.fsencode(part)) for part in Path(name).parts), default=0)
    if longest > _LONGEST_NAME or len(os.fsencode(name)) > _LONGEST_PATH:
        raise UserError(
            f"the path {name!r} is too long: a path may have {_LONGEST_PATH:,} bytes, and the name of a file or "
            f"folder {_LONGEST_NAME}"
        )


def check_characters(words: str) -> None:
    """Refuse what cannot be written into a text file, or be the name of one.

    Raises:
        UserError: If it holds a NUL or half a character (a surrogate).
    """
    if "\0" in words:
        raise UserError(f"{words[:60]!a} holds a NUL character, which no name or text may; leave it out")
    if not is_text(words):
        raise UserError(
            f"{words[:60]!a} is no UTF-8; rename the file, or, where the names of this machine's files are read "
            "otherwise, set PYTHONUTF8=1"
        )


def is_text(words: str) -> bool:
    """Whether words can be written as UTF-8: they hold no half of a character (a surrogate), as JSON may."""
    try:
        words.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_text(path: str | Path, most_bytes: int = _MOST_BYTES) -> str:
    """Read a text file; nothing else is opened, since a pipe or a device may have no end.

    Args:
        path: A regular file, UTF-8.
        most_bytes: It may have so many at most.

    Raises:
        UserError: If it is missing, something else than a file, too large, cannot be read, or is no UTF-8.
    """
    path = Path(path)
    try:
        check_file(path)
        if (size := path.stat().st_size) > most_bytes:
            raise UserError(f"{path} has {size:,} bytes; it may have {most_bytes:,} at most")
        return path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{path} does not exist") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {str(error.strerror).lower()}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no UTF-8 text ({error}); save it as UTF-8") from error


def check_file(path: Path) -> None:
    """Refuse to open what is no regular file: a pipe or a device may have no end.

    Raises:
        UserError: If it is there and is none.
        OSError: If it cannot be looked at.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        raise UserError(
            f"{path} is {'a folder' if stat.S_ISDIR(mode) else 'a pipe or a device'}; a file is needed there"
        )


def check_folder(folder: Path) -> None:
    """Refuse a folder that holds what is neither file nor folder, for those who open whatever is in it.

    Raises:
        UserError: If it holds a pipe or a device.
    """
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.exists() and not path.is_dir():
            check_file(path)


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        UserError: If it is missing, no file, no JSON, or nested too deep.
    """
    text = read_text(path)
    try:
        return parse_json(text)
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error}); delete it and run the step again") from error


def parse_json(text: str) -> Any:
    """What a JSON text holds.

    Raises:
        ValueError: If it is no JSON, or nested deeper than any of ours: what is made of it calls itself as often.
    """
    try:
        content = json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    inside = [content]
    for _ in range(_DEEPEST):
        inside = [value for one in inside for value in _held(one) if isinstance(value, dict | list)]
        if not inside:
            return content
    raise ValueError(f"nested deeper than {_DEEPEST}")


def _held(content: Any) -> Iterable[Any]:
    return content.values() if isinstance(content, dict) else content if isinstance(content, list) else ()


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Fill a folder under a temporary name; it gets its own name when the block ends without an error.

    What an earlier, killed attempt left under the temporary name is removed; a folder that is there
    already is replaced only at the end.
    """
    temporary = folder.with_name(folder.name + _PARTIAL)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        with explain_full_disk(folder):
            yield temporary
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    replace_folder(temporary, folder)


def replace_folder(source: Path, target: Path) -> None:
    """Rename a folder, in place of one that may be there."""
    if target.exists():
        old = target.with_name(target.name + ".old")
        shutil.rmtree(old, ignore_errors=True)
        target.replace(old)
        source.replace(target)
        shutil.rmtree(old)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        source.replace(target)


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


def sha256_of_file(path: Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal digits.

    Raises:
        UserError: If it is no regular file.
    """
    check_file(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_json(content: Any) -> str:
    """SHA-256 of something JSON can hold, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


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
