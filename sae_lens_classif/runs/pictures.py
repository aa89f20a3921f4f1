"""Which pictures are in a folder of figures, and whether they are what was drawn; nothing here draws."""

from pathlib import Path

from pydantic import BaseModel, Field

from sae_lens_classif.artifacts import first_damage
from sae_lens_classif.checksums import sha256_of_file, write_json
from sae_lens_classif.errors import UserError
from sae_lens_classif.reading import inside
from sae_lens_classif.shapes import read_shape

MADE_FROM = "made_from.json"  # beside the pictures: what they were made from, and their checksums


def note_figures(folder: Path) -> None:
    """Note the checksums of the pictures in a folder itself, after all are drawn.

    Args:
        folder: The figures of a comparison; in the folders below it are those of each method, with notes of their own.
    """
    drawn = sorted(path for path in folder.iterdir() if path.is_file() and path.name != MADE_FROM)
    write_json(folder / MADE_FROM, {"files": {path.name: sha256_of_file(path) for path in drawn}})


def pictures(folder: Path, step: str, settings: str | None = None) -> list[Path]:
    """The PNG files in a folder of figures.

    Args:
        folder: The figures of a comparison, or of a method; need not exist.
        step: The command that draws them.
        settings: Only those of these results, the SHA-256 of everything that matters to them. Default: any.

    Raises:
        UserError: If one is not what was drawn.
    """
    note = folder / MADE_FROM
    if not note.is_file():
        return []
    drawn: _Drawn = read_shape(_Drawn, note, f"`{step}`", f"delete it and run `{step}` again")
    if settings is not None and drawn.settings_sha256 != settings:
        return []
    damaged = first_damage(folder, drawn.model_dump())
    if damaged is not None:
        raise UserError(f"{damaged}; run `{step}` again, which draws it anew")
    return sorted(inside(folder, name) for name in drawn.files if Path(name).suffix == ".png")


class _Drawn(BaseModel):
    """What counts of the note beside figures; earlier versions noted the names alone."""

    settings_sha256: str | None = None
    files: dict[str, str] | list[str] = Field(default_factory=dict)
