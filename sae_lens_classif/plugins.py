"""What may come from other packages: a room's own modules, and those that entry points name."""

import re
import sys
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

from sae_lens_classif.errors import UserError

_PACKAGE = __name__.rpartition(".")[0]
_OF_THE_USER = re.compile(r"(?!sae:)[^/\\]*:[^/\\]*")


def built_in(room: str) -> dict[str, EntryPoint]:
    """The modules of a room's folder by name, in alphabetical order, as if entry points named them; none is imported.

    Args:
        room: Sub-package, such as ``evals`` or ``hooks.backends``.
    """
    package = find_spec(f"{_PACKAGE}.{room}")
    names = [module.name for module in iter_modules(package.submodule_search_locations if package else ())]
    return {name: EntryPoint(name, f"{_PACKAGE}.{room}.{name}", _group(room)) for name in names}


def from_outside(room: str) -> dict[str, EntryPoint]:
    """The entry points of other packages by name, in alphabetical order: those of the group of a room's last name.

    Args:
        room: As above.
    """
    return {point.name: point for point in sorted(entry_points(group=_group(room)), key=lambda point: point.name)}


def members(room: str, constant: str) -> dict[str, EntryPoint]:
    """Both by name, the built-in ones first; they have the first right to a name.

    Args:
        room: As above.
        constant: What a built-in one assigns at the beginning of a line; a module that does not is no member.
    """
    ours = {name: point for name, point in built_in(room).items() if re.search(rf"^{constant}\b", source(point), re.M)}
    return ours | from_outside(room) | ours


def source(point: EntryPoint) -> str:
    """The text of a module, which is not imported; empty where it is not found.

    Args:
        point: Names it.
    """
    is_built_in = point.module.startswith(f"{_PACKAGE}.")
    # Of another package its first name alone is looked for: to look below would import it.
    top, *below = [point.module] if is_built_in else point.module.split(".")
    found = find_spec(top)
    if found is None or found.origin is None:
        return ""
    module = Path(found.origin).parent.joinpath(*below)
    files = (module.with_suffix(".py"), module / "__init__.py") if below else (Path(found.origin),)
    return next((file.read_text(encoding="utf-8") for file in files if file.suffix == ".py" and file.is_file()), "")


def load(point: EntryPoint, constant: str = "") -> Any:
    """Import what an entry point names.

    Args:
        point: The entry point.
        constant: Name of what its module declares. Default: what is named itself is meant, mostly the module.

    Raises:
        UserError: If it cannot be imported, or declares nothing.
    """
    try:
        return getattr(import_module(point.module), constant) if constant else point.load()
    except Exception as error:  # whatever somebody else's module does
        raise UserError(
            f"the entry point {point.name} = {point.value} cannot be loaded: {type(error).__name__}: {error}; "
            f"repair or uninstall its package (it is in the group {point.group})"
        ) from error


def names_code(name: str) -> bool:
    """Whether a name is ``module:attribute``, whose module is imported where the name is used.

    Args:
        name: Of a model or a concept method; ``sae:...`` is that of an SAE, which is data.
    """
    return _OF_THE_USER.fullmatch(name) is not None


def module_of_the_user(name: str, what: str) -> ModuleType:
    """Import the module of ``module:attribute``, also from the folder where the command was typed.

    The name is the user's own: one that a run folder holds is asked about first (``RunFolder.allowed``).

    Args:
        name: As above.
        what: What is looked for, for the error.

    Raises:
        UserError: If it cannot be imported.
    """
    module = name.partition(":")[0]
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # as `python -m` does
    try:
        return import_module(module)
    except Exception as error:  # whatever the user's module does
        raise UserError(
            f"the module of the {what} {name!r} cannot be imported: {type(error).__name__}: {error}"
        ) from error


@cache
def declared(room: str, constant: str) -> dict[str, Any]:
    """What all members of a room declare, by name.

    Args:
        room: As above.
        constant: As above.

    Raises:
        UserError: If a module cannot be imported, or declares nothing.
    """
    return {name: load(point, constant) for name, point in members(room, constant).items()}


def _group(room: str) -> str:
    return f"{_PACKAGE}.{room.rpartition('.')[2]}"
