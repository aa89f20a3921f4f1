"""Files and folders that are whole or absent, also where a run is killed or the disk is full."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sae_lens_classif.errors import UserError

if TYPE_CHECKING:
    import torch

_PARTIAL = ".partial"
_PICKLES = (".bin", ".ckpt", ".joblib", ".pickle", ".pkl", ".pt", ".pth")


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Write a file under a temporary name; it gets its own name when the block ends without an error.

    Raises:
        UserError: If something else than a regular file is there.
    """
    check_output(path).parent.mkdir(parents=True, exist_ok=True)
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


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        UserError: If it is missing or no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid JSON ({error}); delete it and run the step again") from error


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


def inside(folder: Path, name: object) -> Path:
    """The path of a file that a manifest names; it has to lie in the manifest's own folder.

    Args:
        folder: Where the manifest lies.
        name: As the manifest has it.

    Raises:
        UserError: If the name leads out of the folder, by itself or by a link.
    """
    with contextlib.suppress(TypeError, ValueError, OSError):  # no string, NUL, links in a circle
        path = folder / name  # type: ignore[operator]  # whatever JSON may hold
        if path.resolve().is_relative_to(folder.resolve()):
            return path
    raise UserError(f"{folder} names the file {name!r}, which is not inside it; nothing outside is read: make it anew")


def refuse_pickles(folder: Path) -> None:
    """Refuse a folder whose weights are nothing but a pickle, which is never opened: that can run code of its own.

    Raises:
        UserError: If it is one.
    """
    held = sorted(folder.iterdir()) if folder.is_dir() else []
    pickles = [path.name for path in held if path.name.removesuffix(".index.json").endswith(_PICKLES)]
    if pickles and not any(path.suffix == ".safetensors" for path in held):
        raise UserError(
            f"the weights in the folder {folder} are a pickle ({pickles[0]}): reading one can run code of its own, so "
            "only safetensors are read. Where you trust it, open it once with what made it and write it as safetensors"
        )


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
        raise UserError(f"{path} is there and is no regular file; give the path of a file")
    return path


def sha256_of_file(path: Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal digits."""
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
