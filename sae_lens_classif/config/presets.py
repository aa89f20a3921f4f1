"""Settings that come with the package."""

from pathlib import Path

from sae_lens_classif.errors import UserError, nearest

PRESETS = Path(__file__).parents[1] / "presets"


def preset_names() -> list[str]:
    """Names of the settings that come with the package."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def preset_file(name: str) -> Path:
    """The YAML file of a preset.

    Raises:
        UserError: If there is none of this name.
    """
    if name not in preset_names():
        raise UserError(f"there is no preset {name!r}; {nearest(name, preset_names())}")
    return PRESETS / f"{name}.yaml"
