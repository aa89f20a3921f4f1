"""Where texts and model lie as seen from a run folder: one that is moved along with them finds them there."""

import os
from dataclasses import replace
from pathlib import Path

from sae_lens_classif.checksums import read_json, write_json
from sae_lens_classif.config.run import RunConfig

_FILE = "places.json"
_SETTINGS = (("data", "source"), ("classifier", "model"))
PLACES = frozenset(".".join(names) for names in _SETTINGS)


def note_places(folder: Path, cfg: RunConfig) -> None:
    """Note the way from a run folder to the local folders and files that its settings name.

    Args:
        folder: The run folder.
        cfg: Its settings.
    """
    named = {f"{section}.{name}": getattr(getattr(cfg, section), name) for section, name in _SETTINGS}
    here = {name: value for name, value in named.items() if value and not is_gone(value)}
    ways = {name: {"named": value, "way": os.path.relpath(value, folder)} for name, value in here.items()}
    write_json(folder / _FILE, ways)


def found_places(folder: Path, cfg: RunConfig) -> RunConfig:
    """Settings in which what is no longer where they say is looked for where it lay as seen from the run folder.

    Args:
        folder: The run folder; need not exist.
        cfg: Its settings.
    """
    for section, name in _SETTINGS:
        settings = getattr(cfg, section)
        value = getattr(settings, name)
        way = _way(folder, f"{section}.{name}", value) if is_gone(value) else None
        if way and not is_gone(str(folder / way)):
            cfg = replace(cfg, **{section: replace(settings, **{name: os.path.normpath(folder / way)})})
    return cfg


def was_moved(folder: Path, name: str, value: str) -> bool:
    """Whether a setting named a local folder or file when a run was made, and names none now.

    Args:
        folder: The run folder.
        name: The setting's full name.
        value: Its value.
    """
    return is_gone(value) and _way(folder, name, value) is not None


def _way(folder: Path, name: str, value: object) -> str | None:
    """The way that was noted to where a setting leads; None where another value was noted, or none."""
    file = folder / _FILE
    content = read_json(file) if os.path.isfile(file) else None  # noqa: PTH113  (a name too long is none)
    noted = content.get(name) if isinstance(content, dict) else None
    return str(noted.get("way")) if isinstance(noted, dict) and noted.get("named") == value else None


def is_gone(value: object) -> bool:
    """Whether a setting that named a local folder or file names none any more.

    Args:
        value: The setting.
    """
    return isinstance(value, str) and not os.path.exists(value)  # noqa: PTH110  (a name too long is none)
