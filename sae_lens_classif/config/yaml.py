"""Settings from a YAML file, without the command line."""

import dataclasses
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_type_hints

import yaml
from jsonargparse import ArgumentError, ArgumentParser

from sae_lens_classif.config.run import RunConfig
from sae_lens_classif.errors import UserError, nearest

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


_Settings = TypeVar("_Settings", bound="DataclassInstance")


def load_config(path: str | Path) -> RunConfig:
    """Read a run's settings, such as ``runs/demo/config.yaml``; what is missing has its default.

    Args:
        path: A YAML file with the sections of ``RunConfig``.

    Raises:
        UserError: If the file is missing or no YAML, or a key is unknown.
    """
    return config_of(read_settings(path), str(path))


def config_of(settings: dict[str, dict[str, Any]], where: str) -> RunConfig:
    """A run's settings from plain values by section; what is missing has its default.

    Args:
        settings: As YAML and JSON hold them.
        where: Where they are from, for the message of an error.

    Raises:
        UserError: If a section or setting is unknown, or a value is not of its type.
    """
    check_settings(settings, where)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(RunConfig, None)
    try:
        parsed = parser.parse_object(settings)
    except ArgumentError as error:
        raise UserError(f"{where}: {' '.join(str(error).split())}") from error
    kinds = get_type_hints(RunConfig)
    return RunConfig(**{name: section_of(kind, name, vars(parsed[name])) for name, kind in kinds.items()})


def section_of(kind: type, name: str, values: Mapping[str, Any]) -> Any:
    """One section of the settings from its parsed values.

    Raises:
        UserError: If a value cannot be, or is null where one is needed; the parser lets that through.
    """
    for setting, hint in get_type_hints(kind).items():
        if values.get(setting, 0) is None and type(None) not in get_args(hint):
            raise UserError(f"{name}.{setting} is null; it needs a value")
    return kind(**values)


def settings_from(kind: type[_Settings], values: Mapping[str, Any], where: str) -> _Settings:
    """A dataclass of settings from plain values; what is missing has its default.

    Args:
        kind: The dataclass.
        values: As YAML and JSON hold them.
        where: Where they stand, for the message of an error.

    Raises:
        UserError: If a setting is unknown, or a value is not of its type.
    """
    _check_keys(values, [field.name for field in dataclasses.fields(kind)], where)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind, None)
    try:
        parsed = parser.parse_object(dict(values))
    except ArgumentError as error:
        raise UserError(f"{where}: {' '.join(str(error).split())}") from error
    settings: _Settings = section_of(kind, where, vars(parsed))
    return settings


def write_settings(settings: dict[str, dict[str, Any]]) -> str:
    """YAML that ``read_settings`` reads as it was."""
    return yaml.dump(settings, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def write_settings_in_line(settings: dict[str, dict[str, Any]]) -> str:
    """The same as one line of ASCII, for a command line."""
    return yaml.dump(settings, Dumper=_Dumper, default_flow_style=True, width=math.inf, sort_keys=False).strip()


class _Dumper(yaml.SafeDumper):
    """Quotes a string that YAML 1.2 takes for a number."""


class _Loader(yaml.SafeLoader):
    """YAML 1.2's numbers: ``1e-4`` is one, and not a string as in YAML 1.1; no dates, which no setting is."""


_Loader.yaml_implicit_resolvers = {
    first: [entry for entry in entries if entry[0] != "tag:yaml.org,2002:timestamp"]
    for first, entries in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _kind in (_Loader, _Dumper):
    _kind.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
    )


def read_settings(path: str | Path) -> dict[str, dict[str, Any]]:
    """Read the sections of a YAML file; those without any setting are left out.

    Raises:
        UserError: If the file is missing or no YAML, or a key is unknown.
    """
    content = read_yaml(path)
    check_settings(content, str(path))
    return {section: settings for section, settings in content.items() if settings}


def read_yaml(path: str | Path) -> Any:
    """Content of a YAML file; an empty one holds no settings.

    Raises:
        UserError: If the file is missing or no YAML.
    """
    try:
        return yaml.load(Path(path).read_text(encoding="utf-8"), _Loader) or {}
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {error}") from error


def check_settings(settings: Any, where: str) -> None:
    """Refuse sections and settings that do not exist, naming the nearest that do.

    Args:
        settings: Plain values by section.
        where: Where they are from.

    Raises:
        UserError: If a key is unknown.
    """
    kinds = get_type_hints(RunConfig)
    _check_keys(settings, list(kinds), where)
    for section, values in settings.items():
        names = [field.name for field in dataclasses.fields(kinds[section])]
        _check_keys(values or {}, names, f"{where}, section {section}")


def yaml_value(text: str) -> Any:
    """A single value as YAML 1.2 reads it: a number, true, null, or the text itself."""
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError:
        return text


def _check_keys(content: Any, valid: list[str], where: str) -> None:
    if not isinstance(content, dict):
        raise UserError(f"{where} holds {type(content).__name__}, not settings by name; {nearest('', valid)}")
    unknown = [name for name in content if name not in valid]
    if unknown:
        inside = [f"{section}.{unknown[0]}" for section in valid if unknown[0] in _names(section)]
        hint = f"did you mean {inside[0]!r}?" if inside else nearest(str(unknown[0]), valid)
        raise UserError(f"{where} has the unknown key {unknown[0]!r}; {hint}")


def _names(section: str) -> list[str]:
    kind = get_type_hints(RunConfig).get(section)
    return [field.name for field in dataclasses.fields(kind)] if kind else []
