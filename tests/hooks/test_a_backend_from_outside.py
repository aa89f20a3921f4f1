"""Another package's model, of one module and an entry point, goes the whole way of a run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sae_lens_classif.checksums import read_json
from sae_lens_classif.data.texts import TextData
from sae_lens_classif.errors import UserError
from sae_lens_classif.hooks.backends import backend_names
from sae_lens_classif.hooks.load import load_classifier
from tests.conftest import CLASS_NAMES
from tests.fakes.packages import install
from tests.tiny_run import Tiny, cli, make_tiny

# A bag of words: a word's vector points to its class; no token decides, no prompt is asked.
MODULE = """
import json
import zlib
from pathlib import Path

import torch

from sae_lens_classif.checksums import sha256_of_json
from sae_lens_classif.hooks.classifier import Context, StatesAndLogits, TextClassifier

ARCHITECTURES = ("DummyForClassification",)


class Words:
    cut, max_tokens, prepends_bos = "end", 12, False

    def __call__(self, texts):
        return [[zlib.crc32(word.encode()) % 997 for word in text.split()[: self.max_tokens]] for text in texts]

    def described(self):
        return {"cut": self.cut, "max_tokens": self.max_tokens}

    def made_from(self):
        return {"words": self.max_tokens}


class Dummy(TextClassifier):
    def __init__(self, config, request):
        self.inputs, self.name, self.class_names = Words(), request.name, request.class_names
        self.hook_name, self.d_model, self.device = "pooled", config["d_model"], torch.device("cpu")
        self.model_fingerprint = sha256_of_json(config)
        self._embedding = 0.3 * torch.randn(997, self.d_model, generator=torch.Generator().manual_seed(0))
        self._head = torch.eye(len(self.class_names), self.d_model)
        for word, label in config["words"].items():
            self._embedding[zlib.crc32(word.encode()) % 997, label] += 4

    def context(self, inputs):
        pooled = torch.stack([self._embedding[ids].mean(dim=0) for ids in inputs])
        return Context(pooled[:, None], torch.zeros(len(inputs), dtype=torch.int64))

    def states_and_logits(self, inputs):
        hidden = self.context(inputs).residual[:, 0]
        return StatesAndLogits(hidden, self.logits_from(hidden))

    def logits_from(self, hidden, context=None):
        return 3 * torch.tanh(hidden) @ self._head.T


def open_model(request):
    return Dummy(json.loads((Path(request.model) / "config.json").read_text(encoding="utf-8")), request)
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is installed, as far as Python can tell."""
    modules, points = {"dummy_backend.py": MODULE}, {"dummy": "dummy_backend"}
    folder = install(tmp_path / "installed", "dummy_backend", modules, "sae_lens_classif.backends", points)
    monkeypatch.syspath_prepend(str(folder))
    return folder


@pytest.fixture
def model(tmp_path: Path, train_data: TextData) -> Path:
    """A model of the made-up architecture, which knows words that occur in one class alone."""
    classes: dict[str, set[int]] = {}
    for text, label in zip(train_data.texts, train_data.labels.tolist(), strict=True):
        for word in text.split():
            classes.setdefault(word, set()).add(label)
    words = {word: next(iter(found)) for word, found in classes.items() if len(found) == 1}
    assert len(words) == 24
    config = {"architectures": ["DummyForClassification"], "d_model": 16, "words": words}
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return tmp_path / "model"


@pytest.fixture
def tiny(tmp_path: Path, model: Path, train_data: TextData, test_data: TextData) -> Tiny:
    return make_tiny(tmp_path / "runs", model, train_data, test_data)


def test_help_names_it_without_opening_it(package: Path) -> None:
    (package / "dummy_backend.py").write_text("raise SystemExit('imported')", encoding="utf-8")
    found = os.pathsep.join([str(package), *sys.path])
    command = [sys.executable, "-W", "ignore", "-m", "sae_lens_classif", "cache", "--help-all"]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": found}, capture_output=True, text=True, check=True)
    assert "There are: encoder, hooked_transformer, sequence_head, transformers, dummy." in " ".join(
        done.stdout.split()
    )


@pytest.mark.usefixtures("package")
def test_it_goes_the_whole_way_of_a_run(tiny: Tiny) -> None:
    for step in ("cache", "train", "evaluate"):
        tiny.command(step, "run")
    shown = tiny.command("compare", "run", "--compare.methods", "classifsae,ica")
    assert "ClassifSAE" in shown and "ICA" in shown
    summary = read_json(tiny.run("run") / "summary.json")
    assert summary["hook"] == "pooled"
    assert summary["prompt"] == {"cut": "end", "max_tokens": 12}
    assert summary["methods"]["classifsae"]["original_accuracy"] > 0.8
    rows = read_json(tiny.run("run") / "comparison.json")["methods"]
    assert all(0 <= rows[name]["estimates"]["recovery_accuracy"]["mean"] <= 1 for name in ("classifsae", "ica"))
    reported = cli("report", tiny.run("run"), "--explained", "3")
    assert reported.code == 0, reported.stderr
    page = (tiny.run("run") / "report.html").read_text(encoding="utf-8")
    assert "pooled" in page and "The prompt" not in page
    for method in ("classifsae", "ica"):
        assert cli("explain", tiny.run("run"), "the dog and the cat", "--method", method).code == 0
    published = cli("publish", tiny.run("run"), "owner/name", "--dry-run")
    assert published.code == 0, published.stderr


@pytest.mark.usefixtures("package")
def test_its_name_may_be_asked_for_and_another_s_model_is_refused(model: Path, bare_folder: Path) -> None:
    assert backend_names() == ["encoder", "hooked_transformer", "sequence_head", "transformers", "dummy"]
    assert load_classifier(model, CLASS_NAMES, backend="dummy").hook_name == "pooled"
    assert load_classifier(bare_folder, CLASS_NAMES).hook_name.startswith("blocks.")
    with pytest.raises(
        UserError, match=r"classifier\.backend is 'dumy'; did you mean 'dummy'\? Valid: encoder, hooked_tr"
    ):
        load_classifier(model, CLASS_NAMES, backend="dumy")


def test_an_architecture_that_nothing_opens_is_refused_with_those_that_can_be_opened(model: Path) -> None:
    with pytest.raises(UserError, match=r"is DummyForClassification, those that open: .*GPTNeoXForCausalLM.*\(hooked_"):
        load_classifier(model, CLASS_NAMES)


def test_a_package_that_cannot_be_imported_is_named(package: Path, model: Path) -> None:
    (package / "dummy_backend.py").write_text("import nothing_like_this", encoding="utf-8")
    sys.modules.pop("dummy_backend", None)
    with pytest.raises(
        UserError, match=r"dummy = dummy_backend cannot be loaded.*nothing_like.*sae_lens_classif\.backends"
    ):
        load_classifier(model, CLASS_NAMES)
