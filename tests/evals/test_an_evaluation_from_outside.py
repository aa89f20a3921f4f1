"""Another package's evaluation, the module that docs/extending.md shows and an entry point, is in every result."""

import os
import re
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from sae_lens_classif.checksums import read_json
from sae_lens_classif.data.texts import TextData
from sae_lens_classif.errors import UserError
from sae_lens_classif.plugins import load
from tests.fakes.packages import install
from tests.tiny_run import make_tiny

_DOCS = (Path(__file__).parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")
_MODULE = re.findall(r"```python\n(.*?)```", _DOCS, re.DOTALL)[-1]
_MEASURE, _TITLE, _COLUMN = "strongest_recovery", "Decisions recovered by the strongest concept", "strongest, %"
_PROGRAM = """
import json, sys
from sae_lens_classif.cli.parser import main
from sae_lens_classif.runs.results import json_schemas

run, settings, schemas = sys.argv[1:]
asked = ["--run", run, "--config", settings, "--evaluate.evals", "completeness,strongest"]
main(["cache", *asked])
main(["compare", *asked, "--compare.methods", "classifsae,random_directions"])
main(["evaluate", *asked])
main(["report", run, "--explained", "0"])
open(schemas, "w").write(json.dumps(json_schemas()))
"""


@pytest.fixture
def outside(tmp_path: Path) -> dict[str, str]:
    """An environment in which the package is installed, as far as Python can tell."""
    modules, points = {"strongest_module.py": _MODULE}, {"strongest": "strongest_module"}
    folder = install(tmp_path / "installed", "strongest", modules, "sae_lens_classif.evals", points)
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])}


def _ended_well(environment: dict[str, str], *arguments: object) -> str:
    command = [sys.executable, "-W", "ignore", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_is_in_the_help_the_tables_the_report_the_summary_and_the_schemas(
    outside: dict[str, str], tmp_path: Path, classifier_folder: Path, train_data: TextData, test_data: TextData
) -> None:
    assert "strongest" in _ended_well(outside, "-m", "sae_lens_classif", "evaluate", "--help-all")
    tiny = make_tiny(tmp_path / "tiny", classifier_folder, train_data, test_data)
    run, schemas = tiny.run("run"), tmp_path / "schemas.json"
    shown = _ended_well(outside, "-c", _PROGRAM, run, tiny.settings, schemas)
    assert _TITLE in " ".join(shown.split())
    entry = read_json(run / "summary.json")["methods"]["classifsae"]
    low, high = entry[f"{_MEASURE}_ci95"]
    assert 0 <= low <= entry[_MEASURE] <= high <= 1
    result = read_json(run / "evals" / "classifsae" / "strongest.json")
    assert result["eval_type_id"] == "classif_strongest"
    assert result["eval_result_metrics"][_MEASURE] == entry[_MEASURE]
    methods = read_json(run / "comparison.json")["methods"]
    assert methods["classifsae"]["estimates"][_MEASURE]["mean"] == entry[_MEASURE]
    assert _MEASURE in methods["random_directions"]["differences"]
    assert f"| {_COLUMN} |" in (run / "comparison.md").read_text(encoding="utf-8")
    page = (run / "report.html").read_text(encoding="utf-8")
    assert _TITLE in page and f">{_COLUMN}<" in page
    found = read_json(schemas)
    assert _MEASURE in found["strongest"]["$defs"]["StrongestMetrics"]["properties"]
    assert _MEASURE in found["summary"]["$defs"]["MethodSummary"]["properties"]


@pytest.mark.parametrize(
    ("text", "words"), [("1 / 0", "ZeroDivisionError"), ("EVALUATIONS = 3", "no attribute 'EVALUATION'")]
)
def test_one_that_cannot_be_imported_or_declares_nothing_is_named(
    text: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = f"broken_{len(words)}"
    (tmp_path / f"{module}.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UserError, match=f"strongest = {module} .*{words}.*sae_lens_classif.evals"):
        load(EntryPoint("strongest", module, "sae_lens_classif.evals"), "EVALUATION")
