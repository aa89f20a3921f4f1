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
import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    PreTrainedModel,
)

from sae_lens_classif import ActivationStore, PromptConfig, UserError, load_classifier, load_config, load_text_data
from sae_lens_classif.hooks.backends import ModelRequest
from sae_lens_classif.hooks.classifier import TextClassifier
from sae_lens_classif.hooks.huggingface import load_tokenizer
from sae_lens_classif.methods.base import REGISTRY, FitTask
from sae_lens_classif.methods.tuning import check_grid, drawn_settings
from tests.conftest import CLASS_NAMES

_TEXT = (Path(__file__).parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")
_METHOD, _CLASSIFIER, _CLASSIFIER_USED, _EVALUATION, _ = re.findall(r"```python\n(.*?)```", _TEXT, re.DOTALL)
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


def test_the_classifier_of_one_s_own_computes_what_the_built_in_one_does(copy: Path) -> None:
    shown: dict[str, Any] = {}
    exec(_CLASSIFIER + _CLASSIFIER_USED, shown)
    wrapped, built_in = shown["classifier"], load_classifier(copy / "classifier", device="cpu")
    states, expected = shown["states"], ActivationStore(copy / "activations" / "test")
    assert wrapped.hook_name == built_in.hook_name
    assert states.fingerprints == expected.fingerprints, "so that it can be evaluated on the run's own states, too"
    torch.testing.assert_close(states.read("hidden"), expected.read("hidden"), rtol=0, atol=1e-4)
    assert torch.equal(states.read("predicted"), expected.read("predicted"))
    prompts = built_in.inputs(load_text_data(load_config(copy / "config.yaml").data, "test").texts[:20])
    context = wrapped.context(prompts)
    hidden = torch.randn(20, wrapped.d_model, generator=torch.Generator().manual_seed(0))
    prompt = load_config(copy / "config.yaml").prompt
    request = ModelRequest(wrapped.name, "mine", built_in.class_names, prompt, None, torch.float32, wrapped.device)
    assert shown["open_model"](request).prompt_fingerprint() == built_in.prompt_fingerprint()
    for mine, theirs in ((None, None), (context, built_in.context(prompts))):
        torch.testing.assert_close(wrapped.logits_from(hidden, mine), built_in.logits_from(hidden, theirs))


def test_the_evaluation_of_one_s_own_runs(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (copy / "methods" / "ica").is_dir()
    exec(_EVALUATION, {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["ica", "topk_sae"]
    for line in lines:
        share, low, high = map(float, re.findall(r"([\d.]+)%", line))
        assert 0 <= low <= share <= high <= 100


def _bert(n_tokens: int) -> BertConfig:
    return BertConfig(
        vocab_size=n_tokens, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )


@pytest.mark.parametrize("kind", ["BERT with a classification head", "masked BERT", "GPT-2 with a classification head"])
def test_encoders_and_classification_heads_are_refused(kind: str, classifier_folder: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(str(classifier_folder))
    n_tokens = len(tokenizer)
    models: dict[str, PreTrainedModel] = {
        "BERT with a classification head": BertForSequenceClassification(_bert(n_tokens)),
        "masked BERT": BertForMaskedLM(_bert(n_tokens)),
        "GPT-2 with a classification head": GPT2ForSequenceClassification(
            GPT2Config(vocab_size=n_tokens, n_embd=16, n_layer=1, n_head=2)
        ),
    }
    models[kind].save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"one with a language-model head|does not know the architecture"):
        load_classifier(tmp_path, CLASS_NAMES, PromptConfig(template="{text}\n\nTopic:", label_word="<|{id}|>"))
