"""Settings from a YAML file, without the command line."""

import dataclasses
import re
from pathlib import Path
from typing import Any, get_type_hints

import yaml
from jsonargparse import ArgumentError, ArgumentParser

from sae_lens_classif.config import RunConfig
from sae_lens_classif.errors import UserError, nearest


def load_config(path: str | Path) -> RunConfig:
    """Read a run's settings, such as ``runs/demo/config.yaml``; what is missing has its default.

    Args:
        path: A YAML file with the sections of ``RunConfig``.

    Raises:
        UserError: If the file is missing or no YAML, or a key is unknown.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(RunConfig, None)
    try:
        parsed = parser.parse_object(read_settings(path))
    except ArgumentError as error:
        raise UserError(f"{path}: {' '.join(str(error).split())}") from error
    kinds = get_type_hints(RunConfig)
    return RunConfig(**{name: kind(**vars(parsed[name])) for name, kind in kinds.items()})


def write_settings(settings: dict[str, dict[str, Any]]) -> str:
    """YAML that ``read_settings`` reads as it was."""
    return yaml.dump(settings, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """Quotes a string that YAML 1.2 takes for a number."""


class _Loader(yaml.SafeLoader):
    """YAML 1.2's numbers: ``1e-4`` is one, and not a string as in YAML 1.1."""


for _kind in (_Loader, _Dumper):
    _kind.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
    )


def read_settings(path: str | Path) -> dict[str, dict[str, Any]]:
    """Read the sections of a YAML file; those without any setting are left out.

    Raises:
        UserError: If the file is missing or no YAML, or a key is unknown.
    """
    try:
        content = yaml.load(Path(path).read_text(encoding="utf-8"), _Loader) or {}
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {error}") from error
    kinds = get_type_hints(RunConfig)
    _check_keys(content, list(kinds), str(path))
    for section, settings in content.items():
        names = [field.name for field in dataclasses.fields(kinds[section])]
        _check_keys(settings or {}, names, f"{path}, section {section}")
    return {section: settings for section, settings in content.items() if settings}


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
