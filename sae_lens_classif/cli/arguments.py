"""What is done to the words of a command line before they are parsed."""

from collections.abc import Iterator, Sequence
from dataclasses import is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

from sae_lens_classif.config.run import RunConfig
from sae_lens_classif.config.yaml import yaml_value
from sae_lens_classif.errors import UserError


def value_of(option: str, arguments: Sequence[str]) -> str | None:
    """Value of an option that must be known before the rest is parsed; the last one counts."""
    value = None
    for number, argument in enumerate(arguments):
        if argument == option and number + 1 < len(arguments):
            value = arguments[number + 1]
        elif argument.startswith(f"{option}="):
            value = argument.split("=", 1)[1]
    return value


def take(option: str, arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split the values of an option from the other arguments."""
    values, others, left = [], [], list(arguments)
    while left:
        argument = left.pop(0)
        if argument == option and left:
            values.append(left.pop(0))
        elif argument.startswith(f"{option}="):
            values.append(argument.split("=", 1)[1])
        else:
            others.append(argument)
    return values, others


def with_brackets(arguments: Sequence[str]) -> list[str]:
    """Let lists be written without brackets: ``--compare.seeds 0,1`` for ``--compare.seeds [0,1]``."""
    lists = {f"--{name}" for name, kind in settings_of(RunConfig) if _is_list(kind)}
    written, before = [], ""
    for argument in arguments:
        option, equals, value = argument.partition("=")
        if before in lists:
            argument = _bracketed(argument)
        elif equals and option in lists:
            argument = f"{option}={_bracketed(value)}"
        written.append(argument)
        before = argument
    return written


def _bracketed(value: str) -> str:
    return value if value.startswith(("[", "null", "-")) else f"[{value}]"


def settings_of(section: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Full name and type of every setting of a dataclass of settings."""
    for name, kind in get_type_hints(section).items():
        if is_dataclass(kind):
            yield from settings_of(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", kind


def _is_list(kind: Any) -> bool:
    return tuple in {get_origin(kind), *map(get_origin, get_args(kind))}


def parse_grid(entries: Sequence[str]) -> dict[str, list[Any]]:
    """``["sae.gamma=0.05,0.1"]`` as ``{"sae.gamma": [0.05, 0.1]}``."""
    grid = {}
    for entry in entries:
        name, equals, values = entry.partition("=")
        if not (name and equals and values):
            raise UserError(f"--grid is {entry!r}; write a setting and its values, as --grid sae.gamma=0.05,0.1")
        if name.strip() in grid:
            raise UserError(f"--grid names {name.strip()} twice; give all its values at once, as {name.strip()}=1,2")
        grid[name.strip()] = _values(values)
    return grid


def _values(text: str) -> list[Any]:
    """``0.05,[a, b]`` as ``[0.05, ["a", "b"]]``; a text that is no YAML is split at its commas."""
    values = yaml_value(f"[{text}]")
    return values if isinstance(values, list) else [yaml_value(value) for value in text.split(",")]
