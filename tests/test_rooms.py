"""The order of the rooms: what imports what, imports inside functions counted."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

_ROOT = Path(__file__).parents[1]
_PACKAGE = "sae_lens_classif"
# From the ground up: a room may import those before it.
_ROOMS = (
    "_version",
    "errors",
    "reading",
    "files",
    "checksums",
    "artifacts",
    "shapes",
    "plugins",
    "hub",
    "wording",
    "decisions",
    "tables",
    "config",
    "data",
    "hooks",
    "store",
    "saes",
    "training",
    "methods",
    "evals",
    "features",
    "templates",
    "explaining",
    "figures",
    "runs",
    "plot",
    "audit",
    "report",
    "publishing",
    "cli",
    "__main__",
)
_MOST_UPWARD = 4


def _modules() -> dict[str, Path]:
    """Every module of the package by its full name; the root's ``hooks`` and ``evals`` are part of it."""
    found = {}
    for top in (_ROOT / _PACKAGE, _ROOT / "hooks", _ROOT / "evals"):
        for path in top.rglob("*.py"):
            parts = path.relative_to(_ROOT).with_suffix("").parts
            names = parts if parts[0] == _PACKAGE else (_PACKAGE, *parts)
            found[".".join(names).removesuffix(".__init__")] = path
    return found


def _imports(name: str, path: Path, modules: dict[str, Path]) -> set[str]:
    """Modules of the package that a module imports, anywhere in its text; packages above it are loaded anyway."""
    wanted = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            wanted |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            parts = {f"{node.module}.{alias.name}" for alias in node.names}
            wanted |= (parts & modules.keys()) or {node.module}
    parents = {name.rsplit(".", depth)[0] for depth in range(1, name.count(".") + 1)}
    return {other for other in wanted if other in modules and other != name and other not in parents}


def _graph() -> dict[str, set[str]]:
    modules = _modules()
    graph = {name: _imports(name, path, modules) for name, path in modules.items()}
    assert sum(map(len, graph.values())) > len(graph)  # the walk found imports
    return graph


def _room(name: str) -> str:
    return name.split(".")[1] if "." in name else ""


def test_no_module_imports_itself_through_others() -> None:
    try:
        TopologicalSorter(_graph()).prepare()
    except CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from error


def test_every_room_has_a_place_in_the_order() -> None:
    assert {_room(name) for name in _graph()} - {"", *_ROOMS} == set()


def test_imports_point_to_rooms_further_down() -> None:
    height = {room: number for number, room in enumerate(_ROOMS)}
    upward = sorted(
        f"{name} -> {other}"
        for name, others in _graph().items()
        for other in others
        if name != _PACKAGE and height[_room(name)] < height.get(_room(other), len(_ROOMS))
    )
    assert len(upward) <= _MOST_UPWARD, "\n".join(upward)
