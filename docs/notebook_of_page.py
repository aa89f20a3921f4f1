"""The notebook of a page: ``python docs/notebook_of_page.py docs/first_hour.md examples/first_hour.ipynb``.

Lines of Python are cells, those for a shell too, and the words between them. No outputs: they may hold texts.
"""

import re
import sys
from pathlib import Path

from nbformat import NotebookNode, v4, writes

_BLOCK = re.compile(r"```(python|sh)\n(.*?)```", re.DOTALL)
_LINK = re.compile(r"\]\((?!http)([^)]*)\)")


def notebook_of_page(page: str) -> str:
    """The notebook as JSON.

    Args:
        page: Markdown, in ``docs/``.
    """
    cells, start = [], 0
    for block in _BLOCK.finditer(page):
        cells += _words(page[start : block.start()])
        lines = block[2].strip()
        cells.append(v4.new_code_cell(lines if block[1] == "python" else f"!{lines}"))
        start = block.end()
    cells += _words(page[start:])
    notebook = v4.new_notebook(cells=cells)
    notebook.metadata.kernelspec = {"name": "python3", "language": "python", "display_name": "Python 3"}
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
    return f"{writes(notebook)}\n"


def _words(text: str) -> list[NotebookNode]:
    """A cell with them, if there are any; links lead to where the page's lead."""
    said = _LINK.sub(lambda link: f"]({_from_examples(link[1])})", text.strip())
    return [v4.new_markdown_cell(said)] if said else []


def _from_examples(link: str) -> str:
    return link.removeprefix("../examples/") if link.startswith("../") else f"../docs/{link}"


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    Path(sys.argv[2]).write_text(notebook_of_page(Path(sys.argv[1]).read_text(encoding="utf-8")), encoding="utf-8")
