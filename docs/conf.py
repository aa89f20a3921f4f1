"""Settings of the documentation: ``make docs`` builds it."""

import importlib
import pkgutil
import re

from sphinx.application import Sphinx

import sae_lens_classif
import sae_lens_classif.runs.results  # autodoc writes into BaseModel, of which no model can be made then

project = "sae_lens_classif"
release = sae_lens_classif.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["schemas"]

html_theme = "furo"
html_title = f"{project} {release}"
toc_object_entries_show_parents = "hide"

autoclass_content = "both"  # a class's own words, then the arguments of its constructor
autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
maximum_signature_line_length = 100
napoleon_use_ivar = True


def list_modules(_app: Sphinx, _page: str, source: list[str]) -> None:
    """Write a part about each module of a room where a page says ``<!-- modules of ROOM -->``."""
    source[0] = re.sub("<!-- modules of (.*) -->", lambda found: _parts(f"{project}.{found[1]}"), source[0])


def _parts(package: str) -> str:
    path = importlib.import_module(package).__path__
    modules = [package, *(module.name for module in pkgutil.walk_packages(path, f"{package}."))]
    return "\n".join(
        f"## {name.removeprefix(f'{project}.')}\n\n```{{eval-rst}}\n.. automodule:: {name}\n```\n" for name in modules
    )


def skip(_app: Sphinx, kind: str, name: str, value: object, skipped: bool, _options: object) -> bool:
    """What the package exports is described under that name alone; a named tuple's fields say nothing of their own."""
    is_exported = kind == "module" and name in sae_lens_classif.__all__
    return skipped or is_exported or type(value).__name__ == "_tuplegetter"


def shorten(_app: Sphinx, _kind: str, _name: str, _value: object, _options: object, lines: list[str]) -> None:
    """Drop what Python says of a named tuple's constructor."""
    lines[:] = [line for line in lines if not line.startswith("Create new instance of ")]


def plain_defaults(
    _app: Sphinx, _kind: str, _name: str, _value: object, _: object, *shown: str | None
) -> tuple[str | None, ...]:
    """Write a setting that is made anew each time as ``...``; Sphinx cannot read Python's own words for it."""
    return tuple(part and part.replace("<factory>", "...") for part in shown)


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", list_modules)
    app.connect("autodoc-skip-member", skip)
    app.connect("autodoc-process-docstring", shorten)
    app.connect("autodoc-process-signature", plain_defaults)
