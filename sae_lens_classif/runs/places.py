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
    ways = {name: os.path.relpath(value, folder) for name, value in named.items() if value and not is_gone(value)}
    write_json(folder / _FILE, ways)


def found_places(folder: Path, cfg: RunConfig) -> RunConfig:
    """Settings in which what is no longer where they say is looked for where it lay as seen from the run folder.

    Args:
        folder: The run folder; need not exist.
        cfg: Its settings.
    """
    ways = _ways(folder)
    for section, name in _SETTINGS:
        settings, way = getattr(cfg, section), ways.get(f"{section}.{name}")
        if way and is_gone(getattr(settings, name)) and (folder / way).exists():
            cfg = replace(cfg, **{section: replace(settings, **{name: os.path.normpath(folder / way)})})
    return cfg


def was_moved(folder: Path, name: str, value: str) -> bool:
    """Whether a setting named a local folder or file when a run was made, and names none now.

    Args:
        folder: The run folder.
        name: The setting's full name.
        value: Its value.
    """
    return is_gone(value) and name in _ways(folder)


def _ways(folder: Path) -> dict[str, str]:
    file = folder / _FILE
    content = read_json(file) if os.path.isfile(file) else {}  # noqa: PTH113  (a name too long is none)
    return {str(name): str(way) for name, way in content.items()} if isinstance(content, dict) else {}


def is_gone(value: object) -> bool:
    """Whether a setting that named a local folder or file names none any more.

    Args:
        value: The setting.
    """
    return isinstance(value, str) and not os.path.exists(value)  # noqa: PTH110  (a name too long is none)
