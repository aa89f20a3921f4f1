"""The JSON files of a run are what the committed schemas say, and these are what ``docs/result_schemas.py`` writes."""

import copy
import json
import runpy
from pathlib import Path
from typing import Any

import jsonschema
import pytest

_SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "result_schemas.py"))
FOLDER, SCHEMAS = _SCRIPT["FOLDER"], _SCRIPT["SCHEMAS"]
_EVALUATIONS = ("completeness", "causality", "interpretability")


def validator(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8")))


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_committed_schemas_are_what_the_script_writes(name: str) -> None:
    assert (FOLDER / f"{name}.json").read_text(encoding="utf-8") == SCHEMAS[name], "run: python docs/result_schemas.py"
    jsonschema.Draft202012Validator.check_schema(json.loads(SCHEMAS[name]))


@pytest.mark.parametrize("name", _EVALUATIONS)
def test_every_evaluation_of_every_method_of_a_run_is_as_its_schema_says(demo_folder: Path, name: str) -> None:
    files = sorted((demo_folder / "runs" / "demo" / "evals").rglob(f"{name}.json"))
    assert len(files) >= 3, "of ClassifSAE and of two methods it is compared with"
    for file in files:
        validator(name).validate(read(file))


def test_comparison_summary_and_concepts_are_as_their_schemas_say(demo_folder: Path) -> None:
    run = demo_folder / "runs" / "demo"
    validator("comparison").validate(read(run / "comparison.json"))
    validator("summary").validate(read(run / "summary.json"))
    concepts = read(run / "summary.json")["methods"]["classifsae"]["concepts"]
    assert concepts
    validator("concepts").validate(concepts)


@pytest.mark.parametrize("name", _EVALUATIONS)
def test_what_a_schema_does_not_know_misses_or_forbids_is_refused(demo_folder: Path, name: str) -> None:
    result = read(demo_folder / "runs" / "demo" / "evals" / "classifsae" / f"{name}.json")
    metric = next(iter(result["eval_result_metrics"]))
    unknown, missing, wrong, far = (copy.deepcopy(result) for _ in range(4))
    unknown["eval_result_metrics"]["unheard_of"] = 1.0
    del missing["eval_result_metrics"][metric]
    wrong["eval_result_metrics"][metric] = "high"
    far["eval_result_metrics"][metric] = 1.5
    for spoiled in (unknown, missing, wrong, far):
        assert not validator(name).is_valid(spoiled)
