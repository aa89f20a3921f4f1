"""Which concept methods there are, without importing any: ``--help`` need not wait for torch."""

import ast
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path

GROUP = "sae_lens_classif.methods"


def titles() -> dict[str, str]:
    """Names and titles of the built-in methods, and of those that other packages offer as entry points."""
    built_in = {name: title for file in sorted(Path(__file__).parent.glob("*.py")) for name, title in _declared(file)}
    return {**{name: _title_of(entry_point) for name, entry_point in from_outside().items()}, **built_in}


def from_outside() -> dict[str, EntryPoint]:
    """Entry points of other packages by the name of their method."""
    return {entry_point.name: entry_point for entry_point in entry_points(group=GROUP)}


def _declared(file: Path) -> Iterator[tuple[str, str]]:
    """Name and title of each class or variant that a module declares; both must be written out there."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef | ast.Call):
            given = {entry.arg: entry.value.value for entry in node.keywords if isinstance(entry.value, ast.Constant)}
            if given.get("name") and given.get("title"):
                yield str(given["name"]), str(given["title"])


def _title_of(entry_point: EntryPoint) -> str:
    """The title that the module of an entry point declares; the name where it does not say."""
    package, *below = entry_point.module.split(".")
    found = find_spec(package)  # of the package above all, which imports nothing
    if found is None or found.origin is None:
        return entry_point.name
    module = Path(found.origin).parent.joinpath(*below)
    files = (module.with_suffix(".py"), module / "__init__.py") if below else (Path(found.origin),)
    declared = {
        name: title for file in files if file.suffix == ".py" and file.is_file() for name, title in _declared(file)
    }
    return declared.get(entry_point.name, entry_point.name)
