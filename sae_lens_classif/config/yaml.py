"""Settings from outside: YAML files, plain values by section, options of a command line."""

import hashlib
import re
from argparse import SUPPRESS, Action
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin, get_type_hints

import yaml
from jsonargparse import ArgumentError, ArgumentParser
from typing_extensions import override

from sae_lens_classif.config.checks import check
from sae_lens_classif.config.extent import TooMuch, check_extent
from sae_lens_classif.config.methods import check_cells
from sae_lens_classif.config.run import RunConfig
from sae_lens_classif.errors import UserError, nearest
from sae_lens_classif.reading import read_text

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_Kind = TypeVar("_Kind", bound="DataclassInstance")
_HEAD = "# Written by a run; the last line is the checksum of the others."
_CHECKSUM = "# sha256 of the lines above: "
Settings = dict[str, dict[str, Any]]
SECTIONS: dict[str, Any] = get_type_hints(RunConfig)
SETTINGS: dict[str, Any] = {  # the type of every setting, by its full name
    f"{section}.{name}": kind
    for section, settings in SECTIONS.items()
    for name, kind in get_type_hints(settings).items()
}
_MOST_BYTES = 2**20  # of a file of settings
_SHOWN = 40  # characters of a word


def load_config(path: str | Path) -> RunConfig:
    """Read a run's settings, such as ``runs/demo/config.yaml``; what is missing has its default.

    Args:
        path: A YAML file with the sections of ``RunConfig``.

    Raises:
        UserError: If the file is missing or no YAML, or a key is unknown.
    """
    return config_of((str(path), read_yaml(path)))


def config_of(*layers: tuple[str, Any], options: Sequence[str] = ()) -> RunConfig:
    """A run's settings from layers of plain values, each over the ones before; what is missing has its default.

    Args:
        layers: Where they are from, for the message of an error, and values by section, as YAML and JSON hold them.
        options: Words of a command line, as ``["--train.lr", "1e-4"]``; they win over the layers.

    Raises:
        UserError: If a section or setting is unknown, or a value cannot be.
    """
    parser, parsed = _known_parser(), None
    for where, settings in layers:
        known = check_settings(settings, where)
        _check_words(known, where)
        check_cells(known["sweep"].get("grid") if isinstance(known.get("sweep"), dict) else None)
        with _in_one_line(f"{where}: "):
            parsed = parser.parse_object(known, parsed)
    _check_words([*options, *(word.partition("=")[2] for word in options)], "the command line")
    for word, following in pairwise([*options, ""]):
        if word.startswith("--sweep.grid"):
            check_cells(yaml_value(word.partition("=")[2] or following))
    with _in_one_line():
        parsed = parser.parse_args(options, parsed)
    return RunConfig(**vars(parser.instantiate(parsed)))


def _check_words(value: Any, where: str) -> None:
    """Refuse words that jsonargparse, which reads each of them as YAML, would not come to the end of."""
    if isinstance(value, str):
        try:
            check_extent(value)
        except TooMuch as error:
            raise UserError(f"{where} holds {value[:_SHOWN]!r} …, which is {error}") from error
        except yaml.YAMLError:
            return  # words as they are
    elif isinstance(value, Mapping | Sequence):
        for inside in (*value, *value.values()) if isinstance(value, Mapping) else value:
            _check_words(inside, where)


@contextmanager
def _in_one_line(where: str = "") -> Iterator[None]:
    try:
        yield
    except ArgumentError as error:
        raise UserError(where + " ".join(str(error).split())) from error


class _SettingsParser(ArgumentParser):
    """Takes lists without brackets: ``--compare.seeds 0,1`` for ``--compare.seeds [0,1]``."""

    @override
    def _get_values(self, action: Action, arg_strings: list[str]) -> Any:
        kind = SETTINGS.get(action.dest)
        if tuple in {get_origin(kind), *map(get_origin, get_args(kind))}:
            arg_strings = [word if word[:1] == "[" or word == "null" else f"[{word}]" for word in arg_strings]
        return super()._get_values(action, arg_strings)


def settings_parser() -> ArgumentParser:
    """Parser of every setting of a run, ``--section.name``."""
    parser = _SettingsParser(exit_on_error=False, allow_abbrev=False, add_help=False, usage=SUPPRESS)
    parser.add_class_arguments(RunConfig)
    return parser


_known_parser = cache(settings_parser)  # to parse with: it takes as long to build as to use


def settings_from(kind: type[_Kind], values: Mapping[str, Any], where: str) -> _Kind:
    """A dataclass of settings from plain values; what is missing has its default.

    Args:
        kind: The dataclass.
        values: As YAML and JSON hold them.
        where: Where they stand, for the message of an error.

    Raises:
        UserError: If a setting is unknown, or a value cannot be.
    """
    _check_keys(values, [entry.name for entry in fields(kind)], where)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind)
    with _in_one_line(f"{where}: "):
        settings = kind(**vars(parser.instantiate(parser.parse_object(dict(values)))))
    check(where, settings)
    return settings


def write_settings(settings: Settings) -> str:
    """YAML that ``read_settings`` reads as it was."""
    return yaml.dump(settings, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """Quotes a string that YAML 1.2 takes for a number."""


class _Loader(yaml.SafeLoader):
    """YAML 1.2's numbers: ``1e-4`` is one, and not a string as in YAML 1.1; no dates, which no setting is."""

    @override
    def construct_document(self, node: yaml.Node) -> Any:
        try:
            return super().construct_document(node)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            # As of a number with more digits than Python reads, or of a tag that does not go with its value.
            raise yaml.YAMLError(f"a value cannot be read ({error})") from error


def _load(text: str) -> Any:
    """What a YAML text holds.

    Raises:
        yaml.YAMLError: If it is no YAML, or holds more than any settings.
    """
    check_extent(text)
    return yaml.load(text, _Loader)


_Loader.yaml_implicit_resolvers = {
    first: [entry for entry in entries if entry[0] != "tag:yaml.org,2002:timestamp"]
    for first, entries in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _kind in (_Loader, _Dumper):
    _kind.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
    )


def read_settings(path: str | Path) -> Settings:
    """Read the sections of a YAML file; those without any setting are left out.

    Raises:
        UserError: If the file is missing or no YAML, or a key is unknown.
    """
    return check_settings(read_noted(path), str(path))


def read_noted(path: str | Path) -> Any:
    """Content of the settings that a run noted, which are never empty.

    Raises:
        UserError: As ``read_yaml``, and if there are none.
    """
    try:
        settings = read_yaml(path)
    except UserError as error:
        raise UserError(f"{error}; or delete it and give the run's settings anew") from error
    if not settings:
        raise UserError(f"{path} is empty, and a run noted its settings there; delete it and give them anew")
    return settings


def read_yaml(path: str | Path) -> Any:
    """Content of a YAML file; an empty one holds no settings.

    Raises:
        UserError: If the file is missing, no file, no YAML, too large, or was changed after a run wrote it.
    """
    text = read_text(path, _MOST_BYTES)
    try:
        _check_unchanged(text, path)
        return _load(text) or {}
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {error}; mend it") from error


def with_checksum(text: str) -> str:
    """YAML that says its own SHA-256 in a last line, and so in the first, so that damage is found when it is read."""
    text = f"{_HEAD}\n{text}"
    return f"{text}{_CHECKSUM}{hashlib.sha256(text.encode()).hexdigest()}\n"


def _check_unchanged(text: str, path: str | Path) -> None:
    before, found, checksum = text.rstrip().rpartition(_CHECKSUM)
    is_cut = text.startswith(_HEAD) and not found
    if is_cut or (found and hashlib.sha256(before.encode()).hexdigest() != checksum):
        raise UserError(
            f"{path} was changed since the run wrote it (its checksum is another); where you mean the change, delete "
            "the file's first and last line"
        )


def yaml_value(text: str) -> Any:
    """A single value as YAML 1.2 reads it: a number, true, null, or the text itself."""
    try:
        return _load(text)
    except yaml.YAMLError:
        return text


def check_settings(settings: Any, where: str) -> Settings:
    """Refuse sections and settings that do not exist, naming the nearest that do.

    Args:
        settings: Plain values by section.
        where: Where they are from.

    Returns:
        The sections that hold a setting.

    Raises:
        UserError: If a key is unknown.
    """
    _check_keys(settings, list(SECTIONS), where)
    for section, values in settings.items():
        names = [field.name for field in fields(SECTIONS[section])]
        _check_keys(values or {}, names, f"{where}, section {section}")
    return {section: values for section, values in settings.items() if values}


def _check_keys(content: Any, valid: list[str], where: str) -> None:
    if not isinstance(content, dict):
        raise UserError(f"{where} holds {type(content).__name__}, not settings by name; {nearest('', valid)}")
    for name in content:
        if name not in valid:
            inside = [f"{section}.{name}" for section in valid if f"{section}.{name}" in SETTINGS]
            hint = f"did you mean {inside[0]!r}?" if inside else nearest(str(name), valid)
            raise UserError(f"{where} has the unknown key {name!r}; {hint}")
