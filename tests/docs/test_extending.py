"""What docs/extending.md shows works as it stands there, and what it says is refused is refused."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from sae_lens_classif import ActivationStore, load_config
from sae_lens_classif.hooks.classifier import TextClassifier
from sae_lens_classif.methods.base import REGISTRY, FitTask
from sae_lens_classif.methods.tuning import check_grid, drawn_settings
from sae_lens_classif.plugins import built_in

_TEXT = (Path(__file__).parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")
_METHOD, _CLASSIFIER, _EVALUATION, _ = re.findall(r"```python\n(.*?)```", _TEXT, re.DOTALL)
(_SETTINGS,) = re.findall(r"```yaml\n(.*?)```", _TEXT, re.DOTALL)
(_COMMAND,) = re.findall(r"```sh\n(.*?)```", _TEXT, re.DOTALL)


@pytest.fixture
def copy(demo_run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the demo's run, from whose folder everything is run."""
    monkeypatch.chdir(demo_run.parents[1])
    return demo_run


def test_the_method_is_short_and_is_compared_with_its_note(copy: Path) -> None:
    assert len(_METHOD.splitlines()) <= 30
    Path("pca_method.py").write_text(_METHOD, encoding="utf-8")
    program, *arguments = shlex.split(_COMMAND)
    assert program == "sae-lens-classif"
    command = [sys.executable, "-W", "ignore", "-m", "sae_lens_classif", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    row = json.loads((copy / "comparison.json").read_text(encoding="utf-8"))["methods"]["pca"]
    assert row["estimates"]["recovery_accuracy"]["mean"] > 0.5
    assert re.fullmatch(r"the components hold \d+% of the variance", row["notes"][0])
    assert row["notes"][0] in (copy / "comparison.md").read_text(encoding="utf-8")
    assert (copy / "methods" / "pca" / "seed-0").is_dir()


def test_the_grid_that_is_shown_is_tried(train_store: ActivationStore, classifier: TextClassifier) -> None:
    (declared,) = re.findall(r"```py\n(.*?)```", _TEXT, re.DOTALL)
    header = declared[declared.index("@dataclass") :]
    with mock.patch.dict(REGISTRY):
        exec(re.sub(r"@dataclass\nclass PCAConcepts\(.*?\):\n", lambda _: header, _METHOD, flags=re.DOTALL), {})
        spec = REGISTRY["pca"]
        check_grid(spec)
        task = FitTask(train_store, classifier, settings=spec.own_settings({}))
        assert drawn_settings(spec, task, 8) == [{"center": True}, {"center": False}]


def test_the_settings_of_another_model_are_settings(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(_SETTINGS, encoding="utf-8")
    cfg = load_config(tmp_path / "mine.yaml")
    assert cfg.prompt.label_words == (" yes", " no") and cfg.classifier.hook == "blocks.10.hook_resid_pre"


def test_two_functions_are_a_classifier(capsys: pytest.CaptureFixture[str]) -> None:
    shown: dict[str, Any] = {}
    exec(_CLASSIFIER, shown)
    assert capsys.readouterr().out == "tensor([[ 4., -4.]])\n"
    assert isinstance(shown["classifier"], TextClassifier)


def test_the_backends_that_are_shown_are_those_that_there_are() -> None:
    assert set(re.findall(r"^\| `(\w+)` \|", _TEXT, re.MULTILINE)) == built_in("hooks.backends").keys()


def test_the_evaluation_of_one_s_own_runs(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (copy / "methods" / "ica").is_dir()
    exec(_EVALUATION, {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["ica", "topk_sae"]
    for line in lines:
        share, low, high = map(float, re.findall(r"([\d.]+)%", line))
        assert 0 <= low <= share <= high <= 100
