"""Settings from a YAML file, without the command line."""

import dataclasses
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from sae_lens_classif.config import RunConfig
from sae_lens_classif.errors import UserError, nearest


def load_config(path: str | Path) -> RunConfig:
    """Read a run's settings, such as ``runs/demo/config.yaml``; what is missing has its default.

    Args:
        path: A YAML file with the sections of ``RunConfig``.

    Raises:
        UserError: If the file is missing or no YAML, or a key is unknown.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {error}") from error
    kinds = get_type_hints(RunConfig)
    _check_keys(content, list(kinds), str(path))
    sections: dict[str, Any] = {}
    for section, settings in content.items():
        names = [field.name for field in dataclasses.fields(kinds[section])]
        _check_keys(settings or {}, names, f"{path}, section {section}")
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in (settings or {}).items()}
        sections[section] = kinds[section](**values)
    return RunConfig(**sections)


def _check_keys(content: Any, valid: list[str], where: str) -> None:
    if not isinstance(content, dict):
        raise UserError(f"{where} holds {type(content).__name__}, not settings by name; {nearest('', valid)}")
    unknown = [name for name in content if name not in valid]
    if unknown:
        raise UserError(f"{where} has the unknown key {unknown[0]!r}; {nearest(str(unknown[0]), valid)}")
