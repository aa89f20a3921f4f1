"""The notebook of the tour runs on a fresh demo, and is committed as a real run left it."""

import os
import re
from pathlib import Path
from unittest import mock

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

_FILE = Path(__file__).parents[2] / "examples" / "tour.ipynb"


def _read() -> NotebookNode:
    notebook: NotebookNode = nbformat.read(_FILE, as_version=4)
    return notebook


def _code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _outputs_of(notebook: NotebookNode, source: str) -> list[NotebookNode]:
    """What the one cell with these words gave."""
    (cell,) = [cell for cell in _code_cells(notebook) if source in cell.source]
    outputs: list[NotebookNode] = cell.outputs
    return outputs


@pytest.mark.slow
@pytest.mark.parametrize("folder", [".", "examples"])
def test_the_tour_runs_beside_the_run_or_in_the_examples_and_no_cell_warns(folder: str, demo_run: Path) -> None:
    place = demo_run.parents[1] / folder
    place.mkdir(exist_ok=True)
    notebook = _read()
    with mock.patch.dict(os.environ):
        os.environ.pop("PYTHONWARNINGS", None)
        NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(place)}}).execute()
    outputs = [output for cell in _code_cells(notebook) for output in cell.outputs]
    assert [output.text for output in outputs if output.get("name") == "stderr"] == []
    (explained,) = _outputs_of(notebook, "slc.explain(")
    assert "slc-explanation" in explained.data["text/html"]
    assert all(
        _outputs_of(notebook, words) for words in ("headlines():", "without concept", "misled[0]", "concept_map")
    )


def test_the_notebook_is_committed_with_the_outputs_of_one_run_and_nothing_of_the_machine() -> None:
    notebook, text = _read(), _FILE.read_text(encoding="utf-8")
    cells = _code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert all(cell.outputs for cell in cells[1:]), "the first one imports"
    assert {output.output_type for cell in cells for output in cell.outputs} == {"stream", "execute_result"}
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert not any(cell.metadata for cell in notebook.cells)
    assert len(text) < 400_000
    assert not re.search(r'"/(?:home|root|tmp|work|usr)/|stderr|Warning', text)
