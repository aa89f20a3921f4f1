"""Is a result current, and of what was it made? Whatever a step leaves on disk is asked here.

An artifact is a file or folder beside a note of what it was made from: fingerprints of its inputs, and the settings
that matter to it. The note is written last, so an artifact without one was never finished.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from sae_lens_classif.checksums import read_json, sha256_of_file, sha256_of_files, sha256_of_json, write_json
from sae_lens_classif.errors import UserError
from sae_lens_classif.reading import inside

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_INCIDENTAL = "incidental"
_LONGEST_VALUE = 60
_FINGERPRINT = re.compile("[0-9a-f]{64}")


class Difference(NamedTuple):
    """Something that an artifact was made from otherwise than is asked for now."""

    name: str
    noted: Any
    asked: Any

    def __str__(self) -> str:
        if all(isinstance(value, str) and _FINGERPRINT.fullmatch(value) for value in (self.noted, self.asked)):
            return f"another {self.name} (its fingerprint was {self.noted[:16]}, now it is {self.asked[:16]})"
        return f"{self.name} = {_short(self.noted)}, now {self.name} = {_short(self.asked)} is asked for"


@dataclass(frozen=True)
class Status:
    """What is known of an artifact.

    Attributes:
        state: ``absent``: to be made. ``current``: made from what is asked for. ``stale``: made from something else.
            ``damaged``: its note cannot be read, or a file is missing or altered.
        different: Of a stale one, what it was made from otherwise.
        reason: Of a damaged one, what is wrong and what to do.
    """

    state: Literal["absent", "current", "stale", "damaged"]
    different: tuple[Difference, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Artifact:
    """A result on disk, and what it is to be made from.

    Attributes:
        path: The file or folder.
        note: JSON file that says what it was made from; it may hold the SHA-256 of ``files`` beside it, by name.
        made_from: Fingerprints of inputs and settings that matter, as JSON can hold them; or their fingerprint.
        place: Keys that lead to what the note says of it: all of ``made_from``, or its fingerprint. Default: the whole.
    """

    path: Path
    note: Path
    made_from: Mapping[str, Any] | str
    place: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what it is to be made from."""
        return self.made_from if isinstance(self.made_from, str) else sha256_of_json(self.made_from)

    def is_current(self, remedy: str = "") -> bool:
        """Whether it is there, made from what is asked for; False where it is absent.

        Args:
            remedy: What to do where it was made from something else. Default: delete it.

        Raises:
            UserError: If it was made from something else, naming the first difference, or is damaged.
        """
        status = self.status()
        if status.state == "damaged":
            raise UserError(status.reason)
        if status.state == "stale":
            remedy = remedy or f"ask for the same, or delete {self.path} to make it anew"
            raise UserError(f"{self.path} was made with {status.different[0]}; {remedy}")
        return status.state == "current"

    def status(self) -> Status:
        """Look at the note, and at the files beside it whose checksums it holds."""
        if not self.note.is_file():
            return Status("absent")
        try:
            content = read_json(self.note)
        except UserError as error:
            return Status("damaged", reason=str(error))
        noted = content
        for key in self.place:
            noted = noted.get(key) if isinstance(noted, dict) else None
        different = tuple(_different(noted, self.made_from if isinstance(noted, dict) else self.fingerprint))
        if different:
            return Status("stale", different)
        damaged = first_damage(self.note.parent, content)
        if damaged is not None:
            return Status("damaged", reason=f"{damaged}; delete {self.path} and run the same command again")
        return Status("current")


@contextmanager
def going_on_from(checkpoint: Path) -> Iterator[None]:
    """Say what to do where a checkpoint is whole and yet none of this training, as after a change by hand.

    Args:
        checkpoint: Its folder, which is read within.

    Raises:
        UserError: Instead of what torch or transformers say.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # of all kinds
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise UserError(
            f"{checkpoint} is no checkpoint of this training ({reason}); delete it and run the same command again"
        ) from error


def note_files(note: Path, content: Mapping[str, Any] | None = None) -> None:
    """Write a note with the SHA-256 of all files beside it and below; it comes last.

    Args:
        note: The JSON file.
        content: What else it says.
    """
    files = sha256_of_files(note.parent)
    files.pop(note.name, None)  # one of before
    write_json(note, {**(content or {}), "files": files})


def first_damage(folder: Path, note: Any, must_list: bool = False) -> str | None:
    """The first file that is not what was written, in words; None where all are.

    Args:
        folder: Where they are.
        note: May hold their SHA-256 by relative path, as ``files``.
        must_list: Whether a note that holds none is damaged itself.
    """
    files = note.get("files", {}) if isinstance(note, dict) else {}
    if must_list and not files:
        return f"the note of the files in {folder} was altered"
    checksums = files if isinstance(files, dict) else dict.fromkeys(files)  # earlier versions noted the names alone
    for name, noted in checksums.items():
        try:
            path = inside(folder, name)
        except UserError as error:
            return str(error)
        if not path.is_file():
            return f"{path} is missing"
        if noted not in (None, sha256_of_file(path)):
            return f"{path} was altered since it was written (its checksum is another)"
    return None


def _short(value: Any) -> str:
    words = repr(value)
    return words if len(words) <= _LONGEST_VALUE else f"{words[:16]} …"


def _different(noted: Any, asked: Any, name: str = "settings") -> Iterator[Difference]:
    """What is asked for otherwise than was noted, ``baselines.epochs`` for one that is in a section."""
    if isinstance(noted, dict) and isinstance(asked, Mapping):
        for key, value in asked.items():
            yield from _different(noted.get(key), value, f"{name}.{key}".removeprefix("settings."))
    elif sha256_of_json(noted) != sha256_of_json(asked):
        yield Difference(name, noted, asked)


def incidental(default: Any) -> Any:
    """A setting that changes how fast a result comes, or how much is said meanwhile, and not the result.

    Args:
        default: Default of the dataclass' field.
    """
    return field(default=default, metadata={_INCIDENTAL: True})


def settings_that_matter(settings: "DataclassInstance") -> dict[str, Any]:
    """The settings of a section that results depend on: all but the incidental ones."""
    incidental_ones = {entry.name for entry in fields(settings) if _INCIDENTAL in entry.metadata}
    return {name: value for name, value in asdict(settings).items() if name not in incidental_ones}
