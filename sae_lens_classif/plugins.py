"""What a room holds that declares itself: its own modules, and those of other packages by an entry point."""

import importlib
import importlib.util
import pkgutil
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from sae_lens_classif.errors import UserError

_PACKAGE = __name__.rpartition(".")[0]


@cache
def modules_that_declare(room: str, constant: str) -> dict[str, str]:
    """Find the modules that declare something, by name; none is imported, so that it takes no time.

    Args:
        room: Sub-package whose modules are looked at; also the last part of the entry points' group.
        constant: What such a module assigns at the beginning of a line. The module's name is that of what it declares;
            in another package, the entry point's.

    Returns:
        For each name, in alphabetical order, the module's full name.
    """
    package = importlib.util.find_spec(f"{_PACKAGE}.{room}")
    places = (package.submodule_search_locations if package else None) or ()
    built_in = {
        module.name: f"{_PACKAGE}.{room}.{module.name}"
        for module in pkgutil.iter_modules(places)
        if any(f"\n{constant} = " in _source(Path(place), module.name) for place in places)
    }
    outside = {point.name: point.module for point in entry_points(group=f"{_PACKAGE}.{room}")}
    return dict(sorted({**outside, **built_in}.items()))


def _source(place: Path, module: str) -> str:
    path = place / f"{module}.py"
    return path.read_text(encoding="utf-8") if path.is_file() else ""


@cache
def declared(room: str, constant: str) -> dict[str, Any]:
    """Import them.

    Args:
        room: As above.
        constant: As above.

    Returns:
        For each name, what its module declares.

    Raises:
        UserError: If a module cannot be imported, or declares nothing.
    """
    found = {}
    for name, module in modules_that_declare(room, constant).items():
        try:
            found[name] = getattr(importlib.import_module(module), constant)
        except Exception as error:  # whatever somebody else's module does
            raise UserError(
                f"{name!r} of the entry points {_PACKAGE}.{room} is not to be had from {module} "
                f"({type(error).__name__}: {error}); mend or uninstall its package"
            ) from error
    return found
