"""JSON and safetensors files that are what was written.

Both hold a checksum of their own content, which is compared when they are read. One without it, of an earlier version
or of somebody else, is taken as it is.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sae_lens_classif.errors import UserError
from sae_lens_classif.files import new_file, write_text
from sae_lens_classif.reading import check_file, read_text

if TYPE_CHECKING:
    import torch

_OWN = "own_sha256"  # of the rest of a JSON object, or of a safetensors file
_NOTES = "notes"  # safetensors writes several entries of its header in an order that varies: all are in one
_SAEBENCH_S_ROOM = "eval_result_unstructured"  # the one place in files of SAEBench's shape for what is ours
_DEEPEST = 50  # objects and lists in one another


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
        UserError: If it is missing, no file, no strict JSON, nested too deep, or not what was written.
    """
    try:
        content = parse_json(read_text(path))
        # What is read is written again somewhere, where no NaN, infinity or half a character can be.
        json.dumps(content, ensure_ascii=False, allow_nan=False).encode()
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
