"""The page for the first hour and its notebook: their lines, one after the other, on real tweets with a rare class."""

import os
import runpy
import sys
from pathlib import Path
from unittest import mock

import nbformat
import pandas as pd
import pytest
from nbclient import NotebookClient

from sae_lens_classif.config.classifier import DataConfig
from sae_lens_classif.data.texts import load_text_data

_ROOT = Path(__file__).parents[2]
_PAGE, _NOTEBOOK = _ROOT / "docs" / "first_hour.md", _ROOT / "examples" / "first_hour.ipynb"
_SCRIPT = runpy.run_path(str(_ROOT / "docs" / "notebook_of_page.py"))
_TWEETS = _ROOT.parent / "shared" / "data" / "tweeteval_sentiment"


def test_the_notebook_is_the_page() -> None:
    assert _NOTEBOOK.read_text(encoding="utf-8") == _SCRIPT["notebook_of_page"](_PAGE.read_text(encoding="utf-8")), (
        "python docs/notebook_of_page.py docs/first_hour.md examples/first_hour.ipynb"
    )


@pytest.mark.slow
@pytest.mark.skipif(not _TWEETS.is_dir(), reason=f"the tweets are not in {_TWEETS.parent.name}/{_TWEETS.name}")
def test_every_line_of_page_and_notebook_runs(tmp_path: Path) -> None:
    data = load_text_data(DataConfig(source=str(_TWEETS), class_names=("negative", "neutral", "positive")), "train")
    frame = pd.DataFrame({"tweet": data.texts, "mood": [data.class_names[label] for label in data.labels]})
    shares = {"negative": 200, "neutral": 1200, "positive": 1600}
    parts = [frame[frame["mood"] == name].head(number) for name, number in shares.items()]
    pd.concat(parts).to_csv(tmp_path / "tweets.csv", index=False)
    notebook = nbformat.read(_NOTEBOOK, as_version=4)
    with mock.patch.dict(os.environ):
        os.environ.pop("PYTHONWARNINGS", None)
        os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    printed = "".join(output.text for cell in code for output in cell.outputs if output.get("name") == "stdout")
    assert "negative" in printed and "Evaluation(20 concepts" in printed and "error:" not in printed
    (drawn,) = [cell.outputs for cell in code if "concept_map" in cell.source]
    assert any("image/png" in output.get("data", {}) for output in drawn)
    scored = pd.read_csv(tmp_path / "scored.csv")
    assert len(scored) == 100 and set(scored["predicted"]) <= set(shares)
    page = (tmp_path / "runs/tweets/report.html").read_text(encoding="utf-8")
    assert "what I call it" in page
