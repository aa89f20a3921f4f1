"""JSON files of a known shape: pydantic checks what is read, so that what a hand changed is told."""

from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from sae_lens_classif.checksums import read_json
from sae_lens_classif.errors import UserError


def read_shape(kind: Any, file: Path, writer: str, remedy: str) -> Any:
    """Content of a JSON file, as what it has to be.

    Args:
        kind: A pydantic model, or whatever else pydantic knows.
        file: The file.
        writer: What wrote it, for the error.
        remedy: How it is made anew.

    Raises:
        UserError: If it is no JSON, or something else.
    """
    return in_shape(kind, read_json(file), file, writer, remedy)


def in_shape(kind: Any, content: Any, file: Path, writer: str, remedy: str) -> Any:
    """The same of what was read before.

    Raises:
        UserError: If it is something else.
    """
    try:
        return TypeAdapter(kind).validate_python(content)
    except ValidationError as error:
        raise UserError(f"{file} is not what {writer} writes ({first_mismatch(error)}); {remedy}") from error


def first_mismatch(error: ValidationError) -> str:
    """The first thing that is wrong with a content, in words."""
    first = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
