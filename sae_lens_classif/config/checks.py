"""What values a setting may have: said where it is defined, checked wherever a section of settings is made."""

import operator
from collections.abc import Iterable, Mapping
from dataclasses import Field, field, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from sae_lens_classif.errors import UserError, nearest
from sae_lens_classif.reading import check_characters, check_path

_LARGEST = 10**15  # floats count no further, and whole numbers of more digits are no size, seed or amount
_BOUNDS = {
    "above": (operator.gt, "above"),
    "least": (operator.ge, "at least"),
    "below": (operator.lt, "below"),
    "most": (operator.le, "at most"),
}


def limited(default: Any, **bounds: float) -> Any:
    """A number within bounds, as ``limited(0.1, above=0, most=1)``.

    Args:
        default: Default of the dataclass' field, or what ``incidental`` gives for it.
        bounds: ``above``, ``least``, ``below``, ``most``; of a tuple, for each of its numbers.
    """
    known = default if isinstance(default, Field) else field(default=default)
    return field(default=known.default, metadata={**known.metadata, "bounds": bounds})


def path(default: Any) -> Any:
    """A path, or the name of something that may be found at one; of a tuple, each of them.

    Args:
        default: See ``limited``.
    """
    return field(default=default, metadata={"path": True})


def positive(default: Any) -> Any:
    """A number above 0.

    Args:
        default: See ``limited``.
    """
    return limited(default, above=0)


def require(condition: bool, message: str) -> None:
    """Raise a ``UserError`` with a message where a condition does not hold."""
    if not condition:
        raise UserError(message)


def check(section: str, settings: Any, kind: Any = None) -> None:
    """Refuse null where a value is needed, a word that is none of a setting's, a number out of its bounds.

    Args:
        section: Their section, for the message.
        settings: What is checked.
        kind: The dataclass that defines them. Default: the settings' own.

    Raises:
        UserError: Naming the setting, its value and what it may be.
    """
    kinds = get_type_hints(kind or type(settings))
    for entry in fields(kind or settings):
        name, value, hint = f"{section}.{entry.name}", getattr(settings, entry.name), kinds[entry.name]
        require(value is not None or type(None) in get_args(hint), f"{name} is null; it needs a value")
        if get_origin(hint) is Literal:
            words = list(get_args(hint))
            require(value in words, f"{name} is {value!r}; {nearest(str(value), words)}")
        _check_words(name, value, "path" in entry.metadata)
        if value is not None and value != "auto":
            _check_bounds(name, value if isinstance(value, tuple) else (value,), entry.metadata.get("bounds", {}))


def _check_bounds(name: str, numbers: Iterable[float], bounds: Mapping[str, float]) -> None:
    for number in numbers:
        is_number = isinstance(number, int | float)
        require(
            not is_number or -_LARGEST <= number <= _LARGEST,  # which NaN is not
            f"{name} is {number}; it must be a number, not infinite, and of 15 digits at most",
        )
        if not all(_BOUNDS[bound][0](number, limit) for bound, limit in bounds.items()):
            words = " and ".join(f"{_BOUNDS[bound][1]} {limit:g}" for bound, limit in bounds.items())
            raise UserError(f"{name} is {number}; it must be {words}")


def _check_words(name: str, value: Any, is_path: bool) -> None:
    """Refuse words that no text and no name of a file can be."""
    if isinstance(value, str):
        try:
            (check_path if is_path else check_characters)(value)
        except UserError as error:
            raise UserError(f"{name}: {error}") from error
    elif isinstance(value, Mapping | tuple | list):
        for inside in (*value, *value.values()) if isinstance(value, Mapping) else value:
            _check_words(name, inside, is_path)
