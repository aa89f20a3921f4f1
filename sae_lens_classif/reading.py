"""What is opened at all: names, regular files, text that is UTF-8, nothing outside a folder, no pickle."""

import contextlib
import os
import stat
from pathlib import Path

from sae_lens_classif.errors import UserError

_PICKLES = (".bin", ".ckpt", ".joblib", ".pickle", ".pkl", ".pt", ".pth")
_MOST_BYTES = 2**30
_LONGEST_NAME, _LONGEST_PATH = 235, 3800  # bytes: a file system's 255 and 4,095, less what we add to a name


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
