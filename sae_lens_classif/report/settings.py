"""Settings as a report shows them: without the folders of the machine it was made on."""

from pathlib import Path
from typing import Any

from sae_lens_classif.config import RunConfig
from sae_lens_classif.config_file import write_settings
from sae_lens_classif.run_folder import to_plain


def shown_settings(cfg: RunConfig) -> str:
    """All settings as YAML; of a path that leads out of the run's own folder, the last part is left.

    Args:
        cfg: Settings of the run.
    """
    return write_settings({section: _without_folders(own) for section, own in to_plain(cfg).items()})


def _without_folders(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_folders(own) for name, own in value.items()}
    if isinstance(value, list):
        return [_without_folders(own) for own in value]
    if isinstance(value, str):
        prefix = "sae:" if value.startswith("sae:") else ""  # a guest among compare.methods
        path = value.removeprefix(prefix)
        if Path(path).is_absolute() or path.startswith(("~", "..")):
            return f"{prefix}…/{Path(path).name}"
    return value
