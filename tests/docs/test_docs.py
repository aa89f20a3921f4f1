"""The documentation is built without a warning, is whole, needs no other machine, and its links lead somewhere."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from sphinx.util.inventory import InventoryFile

import sae_lens_classif

_ROOT = Path(__file__).parents[2]
_LOADS = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src", "object": "data"}
_LINKING = [
    path.relative_to(_ROOT)
    for pattern in ("*.md", "docs/**/*.md", "examples/*.md", "examples/*.ipynb", "benchmarks/*.md")
    for path in sorted(_ROOT.glob(pattern))
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built pages; a warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", str(_ROOT / "docs"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def described(site: Path) -> dict[str, set[str]]:
    """What the reference describes: the Python names of each kind."""
    inventory = InventoryFile.loads((site / "objects.inv").read_bytes(), uri="")
    kinds = ("module", "class", "exception", "function", "method", "property", "attribute")
    return {kind: set(inventory.data.get(f"py:{kind}", {})) for kind in kinds}


def test_every_public_name_is_in_the_reference(described: dict[str, set[str]]) -> None:
    names = set.union(*described.values())
    assert [name for name in sae_lens_classif.__all__ if f"sae_lens_classif.{name}" not in names] == []


def test_every_module_of_hooks_evaluations_and_methods_is_in_the_reference(described: dict[str, set[str]]) -> None:
    folders = {"hooks": _ROOT / "hooks", "evals": _ROOT / "evals", "methods": _ROOT / "sae_lens_classif" / "methods"}
    modules = {
        ".".join((f"sae_lens_classif.{name}", *path.relative_to(folder).with_suffix("").parts))
        for name, folder in folders.items()
        for path in folder.rglob("*.py")
    }
    assert {name.removesuffix(".__init__") for name in modules} <= described["module"]


def test_no_private_name_is_in_the_reference(described: dict[str, set[str]]) -> None:
    assert [name for name in set.union(*described.values()) if "._" in name] == []


class _Loaded(HTMLParser):
    """Addresses of everything that a page loads by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name == _LOADS.get(tag)]


def test_no_page_loads_anything_from_another_machine(site: Path) -> None:
    elsewhere = re.compile(r"(https?:)?//")
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 10
    for page in pages:
        parser = _Loaded()
        parser.feed(page.read_text(encoding="utf-8"))
        assert parser.addresses
        assert [address for address in parser.addresses if elsewhere.match(address)] == [], page.name
    for style in site.rglob("*.css"):
        loaded = re.findall(r"(?:url\(|@import)\s*['\"]?([^'\")\s]+)", style.read_text(encoding="utf-8"))
        assert [address for address in loaded if elsewhere.match(address)] == [], style.name


@pytest.mark.parametrize("file", _LINKING, ids=str)
def test_every_link_leads_to_a_file_that_exists(file: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", (_ROOT / file).read_text(encoding="utf-8"))
    inside = [link for link in links if not re.match(r"[a-z]+:", link)]
    assert [link for link in inside if not (_ROOT / file.parent / link).exists()] == []
