"""Files and folders that are whole or absent, also where a run is killed or the disk is full, and are what was written.

JSON objects and safetensors files hold a checksum of their own content, which is compared when they are read. One
without it, of an earlier version or of somebody else, is taken as it is.
"""

import contextlib
import errno
import glob
import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sae_lens_classif.errors import UserError

if TYPE_CHECKING:
    import torch

_OWN = "own_sha256"  # of the rest of a JSON object, or of a safetensors file
_NOTES = "notes"  # safetensors writes several entries of its header in an order that varies: all are in one
_SAEBENCH_S_ROOM = "eval_result_unstructured"  # the one place in files of SAEBench's shape for what is ours
_LEFT = re.compile(r"(?P<name>.+)\.(?P<process>\d+)\.(?P<what>partial|old)")
_PICKLES = (".bin", ".ckpt", ".joblib", ".pickle", ".pkl", ".pt", ".pth")
_MOST_BYTES = 2**30
_LONGEST_NAME, _LONGEST_PATH = 235, 3800  # bytes: a file system's 255 and 4,095, less what we add to a name
_DEEPEST = 50  # objects and lists in one another


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Write a file under a temporary name; it gets its own name when the block ends without an error.

    Raises:
        UserError: If something else than a regular file is there, or the folder cannot be written to.
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


def write_json(path: Path, content: Any, *, with_checksum: bool = True) -> None:
    """Write strict JSON (no NaN), indented, whole or not at all.

    Args:
        path: Where to.
        content: What JSON can hold.
        with_checksum: Whether an object says its own checksum, ``own_sha256``; False for what others read strictly.
    """
    if with_checksum and isinstance(content, Mapping):
        content = json.loads(json.dumps(content, allow_nan=False))
        place = _place_of_checksum(content)
        place.pop(_OWN, None)
        place[_OWN] = sha256_of_json(content)
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path, step: str = "") -> Any:
    """Read a JSON file, without its checksum.

    Args:
        path: The file.
        step: The command that makes it anew, for the error. Default: it is not named.

    Raises:
        UserError: If it is missing, no file, no JSON, nested too deep, or not what was written.
    """
    try:
        content = parse_json(read_text(path))
    except UserError as error:
        raise UserError(f"{error}; {made_anew(step)}") from error
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error}); {made_anew(step)}") from error
    if isinstance(content, dict):
        noted = _place_of_checksum(content).pop(_OWN, None)
        if noted not in (None, sha256_of_json(content)):
            raise altered(path, step)
    return content


def _place_of_checksum(content: dict[str, Any]) -> dict[str, Any]:
    room = content.get(_SAEBENCH_S_ROOM)
    return room if isinstance(room, dict) else content


def made_anew(step: str) -> str:
    """What to do about a damaged file, in words.

    Args:
        step: The command that makes it; empty where that is not known.
    """
    return f"delete it and run {f'`{step}`' if step else 'the step'} again"


def altered(path: Path, step: str = "") -> UserError:
    """The error that a file is not what was written.

    Args:
        path: The file.
        step: The command that makes it anew.
    """
    return UserError(f"{path} was altered since it was written (its checksum is another); {made_anew(step)}")


def write_tensors(path: Path, tensors: "Mapping[str, torch.Tensor]", notes: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file with notes and a checksum in its header, whole or not at all."""
    from safetensors.torch import save

    whole = {name: value.detach().contiguous() for name, value in tensors.items()}
    header = json.dumps({**(notes or {}), _OWN: _of_tensors_and_notes(whole, notes or {})}, sort_keys=True)
    with new_file(path) as temporary:
        # Not by save_file: killed, it leaves a file of another name; and only the owner may read what it writes.
        temporary.write_bytes(save(whole, {_NOTES: header}))


def read_tensors(path: Path, step: str = "") -> "tuple[dict[str, torch.Tensor], dict[str, str]]":
    """Read a safetensors file and its notes.

    Args:
        path: The file.
        step: The command that makes it anew, for the error.

    Raises:
        UserError: If it is missing, no safetensors file, or not what was written.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no dict)
            notes = json.loads((file.metadata() or {}).get(_NOTES, "{}"))
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist") from error
    except (SafetensorError, ValueError, OSError) as error:
        raise UserError(f"{path} cannot be read ({error}); {made_anew(step)}") from error
    noted = notes.pop(_OWN, None) if isinstance(notes, dict) else ""
    if noted is not None and noted != _of_tensors_and_notes(tensors, notes):
        raise altered(path, step)
    return tensors, notes


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


def refuse_devices(folder: Path) -> None:
    """Refuse a folder that holds what is neither file nor folder, for those who open whatever is in it.

    Raises:
        UserError: If it holds a pipe or a device.
    """
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.exists() and not path.is_dir():
            check_file(path)


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
        if path.resolve().is_relative_to(_root_of_links(folder.resolve())):
            return path
    raise UserError(f"{folder} names the file {name!r}, which is not inside it; nothing outside is read: make it anew")


def _root_of_links(folder: Path) -> Path:
    """The folder, or, in huggingface_hub's cache, that of the repository, in which files are links to its blobs."""
    snapshot = next((parent for parent in (folder, *folder.parents) if parent.parent.name == "snapshots"), None)
    return folder if snapshot is None else snapshot.parent.parent


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
        UserError: If it is something else, or its folder cannot be written to.
    """
    path = Path(path)
    try:
        is_taken = not stat.S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        is_taken = False
    except (OSError, ValueError) as error:  # a name too long, NUL
        raise UserError(f"{str(path)!r} cannot be written ({error}); give another name") from error
    if is_taken:
        raise UserError(
            f"{path} is {'a folder' if path.is_dir() else 'a pipe or a device'}, no regular file; give the path of one"
        )
    there = next(parent for parent in path.absolute().parents if parent.exists())
    if not there.is_dir():
        raise UserError(f"{there} is a file, and {path} would be below it; give another path")
    if not os.access(there, os.W_OK):
        raise UserError(f"{path} cannot be written: {there} is not writable; give another path")
    return path


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


def sha256_of_tensors(tensors: "Mapping[str, torch.Tensor]") -> str:
    """SHA-256 of names, dtypes, shapes and values, whatever the order."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _of_tensors_and_notes(tensors: "Mapping[str, torch.Tensor]", notes: Mapping[str, str]) -> str:
    return sha256_of_json([sha256_of_tensors(tensors), dict(notes)])


def sha256_of_files(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, by relative path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256_of_file(path) for path in files}


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
