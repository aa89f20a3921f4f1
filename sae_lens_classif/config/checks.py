"""Checks that the settings share."""

from typing import Literal, get_args, get_origin, get_type_hints

from sae_lens_classif.errors import UserError, nearest


def require(condition: bool, message: str) -> None:
    """Raise a ``UserError`` with a message where a condition does not hold."""
    if not condition:
        raise UserError(message)


def require_choices(section: str, settings: object) -> None:
    """Check every setting that is one of several words; YAML and the command line are checked before."""
    for name, kind in get_type_hints(type(settings)).items():
        value, valid = getattr(settings, name), get_args(kind)
        if get_origin(kind) is Literal:
            require(value in valid, f"{section}.{name} is {value!r}; {nearest(str(value), list(valid))}")


def require_not_negative(section: str, **values: float) -> None:
    """Refuse numbers below 0; ``section`` is only for the message."""
    for name, value in values.items():
        require(value >= 0, f"{section}.{name} is {value}; it must be at least 0")


def require_positive(section: str, **values: float | None) -> None:
    """Refuse numbers that are not above 0; None stands for no number."""
    for name, value in values.items():
        require(value is None or value > 0, f"{section}.{name} is {value}; it must be above 0")
