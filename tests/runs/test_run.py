"""The demo's command end to end, on fewer texts: what a user finds in the folder afterwards."""

import copy
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from sae_lens_classif import ActivationStore, ClassifSAE, load_config
from sae_lens_classif.checksums import read_json
from sae_lens_classif.cli.parser import main

_HEADLINES = (
    "recovery_accuracy",
    "original_accuracy",
    "bottleneck_accuracy",
    "mean_activation_rate",
    "max_activation_rate",
    "conditional_tvd",
    "conditional_label_flip_rate",
    "conditional_accuracy_change",
    "concept_sim",
)
_ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(demo_run: Path) -> Path:
    return demo_run


def _summary(run: Path) -> dict[str, Any]:
    summary: dict[str, Any] = read_json(run / "summary.json")
    return summary


def test_the_run_folder_holds_what_each_step_made(run: Path) -> None:
    assert load_config(run / "config.yaml").data.source == "bbc_news"
    assert (run / "classifier" / "model.safetensors").is_file()
    assert len(ActivationStore(run / "activations" / "train")) == 600
    assert len(ActivationStore(run / "activations" / "test")) == 150
    assert ClassifSAE.load_from_disk(run / "saes" / "classifsae").cfg.d_sae == 64
    names = ("causality", "completeness", "interpretability", "sufficiency")
    evaluated = {f"{name}.{suffix}" for name in names for suffix in ("json", "safetensors")}
    assert {path.name for path in (run / "evals" / "classifsae").iterdir()} == {*evaluated, "effects.safetensors"}
    methods = ["classifsae", "ica", "random_directions", "topk_sae"]
    assert sorted(path.name for path in (run / "figures").iterdir() if path.is_dir()) == methods
    assert sorted(read_json(run / "comparison.json")["methods"]) == methods
    assert sorted(_summary(run)["methods"]) == methods
    leftovers = [path for path in run.rglob("*") if "partial" in path.name or "unfinished" in path.name]
    assert not leftovers and not (run / "saes" / "classifsae.training").exists()


def test_the_summary_has_the_headline_numbers_with_intervals(run: Path) -> None:
    entry = _summary(run)["methods"]["classifsae"]
    for name in _HEADLINES:
        low, high = entry[f"{name}_ci95"]
        assert low <= high and math.isfinite(entry[name]), name
    for name in _HEADLINES[:7]:
        assert 0 <= entry[name] <= 1, name
    assert len(entry["sentence_sim"]) == len(entry["sentence_sim_ci95"]) == 4
    influences = [concept["influence"] for concept in entry["concepts"]]
    assert influences == sorted(influences, reverse=True)
    assert all(concept["class_name"] in _summary(run)["class_names"] for concept in entry["concepts"])


def test_no_text_is_in_any_result(run: Path) -> None:
    from sae_lens_classif import load_text_data

    texts = load_text_data(load_config(run / "config.yaml").data, "test").texts
    results = [*run.glob("evals/**/*.json"), run / "summary.json", *run.glob("saes/**/*.json*")]
    written = "".join(path.read_text() for path in results)
    assert not [text for text in texts if text in written]


def test_a_second_run_reuses_everything_and_shows_the_same(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*.safetensors")}
    evaluations = {path: path.read_bytes() for path in run.glob("evals/**/*.json")}
    main(["run", "--run", str(run)])
    shown = capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*.safetensors")} == before
    assert {path: path.read_bytes() for path in run.glob("evals/**/*.json")} == evaluations
    top = _summary(run)["methods"]["classifsae"]["concepts"][0]
    assert "RAcc" in shown and f"Concept {top['index']}, {top['class_name']}" in shown
    assert str(run) in shown.replace("\n", "")


def test_other_settings_for_the_same_folder_are_refused_by_name(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["train", "--run", str(run), "--train.lr", "1e-3"])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert "train.lr = 5e-05, now train.lr = 0.001" in error and error.count("\n") == 1
    assert yaml.safe_load((run / "config.yaml").read_text())["train"]["lr"] == 5e-5


def test_one_evaluation_is_made_anew_by_itself(run: Path) -> None:
    before = _summary(run)
    (run / "evals" / "classifsae" / "causality.json").unlink()
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "sae_lens_classif",
            "evaluate",
            "--run",
            run,
            "--evaluate.evals",
            "causality",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = read_json(run / "evals" / "classifsae" / "causality.json")
    assert result["eval_type_id"] == "classif_causality"
    # What the other evaluations found with the same settings is still there, in the descriptions too.
    assert _summary(run) == before
    assert _summary(run)["methods"]["classifsae"]["conditional_tvd"] == result["eval_result_metrics"]["conditional_tvd"]


def test_other_settings_of_the_evaluation_replace_all_numbers_of_the_summary(run: Path) -> None:
    asked = ["--run", str(run), "--evaluate.evals", "[causality]", "--evaluate.n_bootstrap", "20"]
    before = _summary(run)["methods"]["classifsae"]
    main(["evaluate", *asked, "--evaluate.context", "in_context"])
    inside = _summary(run)["methods"]["classifsae"]
    assert inside["context"] == "in_context" and inside["conditional_tvd"] != before["conditional_tvd"]
    assert "concept_sim" not in inside and inside["concepts"][0]["concept_sim"] is None
    main(["evaluate", "--run", str(run), "--evaluate.context", "alone", "--evaluate.n_bootstrap", "120"])
    assert _summary(run)["methods"]["classifsae"] == before


@pytest.mark.parametrize("which", ["own", "other", "both", "about", "methods"])
def test_what_another_version_left_in_the_summary_is_dropped_and_the_rest_kept(
    run: Path, which: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = _summary(run)
    old = copy.deepcopy(before)
    for name in {"own": ["classifsae"], "other": ["ica"], "both": ["classifsae", "ica"]}.get(which, []):
        for concept in old["methods"][name]["concepts"]:
            del concept["active_class_name"]
    if which == "about":
        del old["prompt"]
    if which == "methods":
        old["methods"] = [old["methods"]]
    (run / "summary.json").write_text(json.dumps(old))
    with pytest.raises(SystemExit) as refused:
        main(["report", str(run)])
    assert refused.value.code == 2
    main(["evaluate", "--run", str(run)])
    others = ["random_directions", "topk_sae"]
    left = {"own": ["ica", *others], "other": others, "both": others}.get(which, [])
    assert _summary(run)["methods"] == {name: before["methods"][name] for name in ["classifsae", *left]}
    assert "another version" in caplog.text and str(run / "summary.json") in caplog.text
    assert {**_summary(run), "methods": {}} == {**before, "methods": {}}


def _printed(code: str, folder: Path) -> list[str]:
    """Lines that Python code prints in a folder."""
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()


def test_the_quickstart_runs(demo_run: Path) -> None:
    lines = _printed((_ROOT / "examples" / "quickstart.py").read_text(encoding="utf-8"), demo_run.parents[1])
    assert 1 <= len(lines) <= 5 and all("TVD" in line for line in lines)


def test_the_readme_s_first_lines_of_python_run(demo_run: Path) -> None:
    block = (_ROOT / "README.md").read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    assert "open_run" in block
    lines = _printed(block, demo_run.parents[1])
    assert lines[0].startswith("Evaluation(") and sum(line.startswith("Concept(") for line in lines) > 3
    assert any("misled_by" in line for line in lines) and any(line.startswith("text") for line in lines)
