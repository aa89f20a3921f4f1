"""Which concept methods there are, without importing any: ``--help`` need not wait for torch."""

import ast
from collections.abc import Iterator
from importlib.metadata import EntryPoint

from sae_lens_classif.plugins import built_in, from_outside, source


def titles() -> dict[str, str]:
    """Names and titles of the built-in methods, and of those that other packages offer as entry points."""
    outside = {name: dict(_declared(point)).get(name, name) for name, point in from_outside("methods").items()}
    return outside | {name: title for point in built_in("methods").values() for name, title in _declared(point)}


def _declared(point: EntryPoint) -> Iterator[tuple[str, str]]:
    """Name and title of each class or variant that a module declares; both must be written out there."""
    for node in ast.walk(ast.parse(source(point))):
        if isinstance(node, ast.ClassDef | ast.Call):
            given = {entry.arg: entry.value.value for entry in node.keywords if isinstance(entry.value, ast.Constant)}
            if given.get("name") and given.get("title"):
                yield str(given["name"]), str(given["title"])
