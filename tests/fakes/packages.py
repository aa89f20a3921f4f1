"""Another package, installed as far as Python can tell: modules in a folder, and entry points that name them."""

from collections.abc import Mapping
from pathlib import Path


def install(folder: Path, name: str, modules: Mapping[str, str], group: str, entry_points: Mapping[str, str]) -> Path:
    """Fill a folder as a package manager does.

    Args:
        folder: Is made; it must be put on Python's path.
        name: Name of the package.
        modules: Text of each module by its path below the folder.
        group: Group of the entry points.
        entry_points: What each names.

    Returns:
        The folder.
    """
    about = folder / f"{name}-1.0.dist-info"
    points = "".join(f"{point} = {named}\n" for point, named in entry_points.items())
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
    files = {about / "METADATA": metadata, about / "entry_points.txt": f"[{group}]\n{points}"}
    for path, text in {**files, **{folder / module: text for module, text in modules.items()}}.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder
