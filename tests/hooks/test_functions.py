"""Classifiers of two functions: what they have to give, and the whole way of a run."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

import sae_lens_classif as slc
from sae_lens_classif.checksums import read_json
from sae_lens_classif.data.texts import TextData
from tests.conftest import CLASS_NAMES
from tests.tiny_run import cli

WIDTH = 12
_HEAD = torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(1))
# A state is the sum of its words' vectors, each of which points where its letters say.
MODULE = """
import torch
import sae_lens_classif as slc

def words(texts):
    states = torch.zeros(len(texts), 12)
    for row, text in enumerate(texts):
        for word in text.split():
            states[row] += torch.randn(12, generator=torch.Generator().manual_seed(sum(map(ord, word))))
    return states

HEAD = torch.randn(3, 12, generator=torch.Generator().manual_seed(1))

def bag_of_words():
    return slc.classifier_from(words, lambda h: torch.tanh(h) @ HEAD.T, ("animals", "weather", "money"), name="bag")

def nothing():
    return 7
"""


def letters(texts: Sequence[str]) -> torch.Tensor:
    """How often each of some letters stands in each text."""
    return torch.tensor([[text.count(letter) for letter in "aeiounrstlmd"] for text in texts]).float()


def head(states: torch.Tensor) -> torch.Tensor:
    return torch.tanh(states) @ _HEAD.T


def test_states_and_logits_are_what_the_functions_give_and_gradients_flow() -> None:
    classifier = slc.classifier_from(letters, head, CLASS_NAMES, name="letters")
    texts = ["a dog", "", "snow on the märkets 🐑\n"]
    hidden, logits = classifier.states_and_logits(classifier.inputs(texts))
    assert torch.equal(hidden, letters(texts)) and torch.equal(logits, head(letters(texts)))
    hidden.requires_grad_()
    for context in (None, classifier.context(classifier.inputs(texts))):
        back = classifier.logits_from(hidden, context)
        assert torch.equal(back, logits)
        assert torch.autograd.grad(back.sum(), hidden)[0].norm(dim=1).min() > 0
    assert (classifier.name, classifier.class_names, classifier.d_model) == ("letters", CLASS_NAMES, WIDTH)
    assert classifier.n_blocks_after_hook == 0


def test_arrays_of_any_precision_will_do() -> None:
    classifier = slc.classifier_from(lambda texts: letters(texts).numpy().astype(np.float64), head, CLASS_NAMES)
    hidden, _ = classifier.states_and_logits(classifier.inputs(["a dog"]))
    assert torch.equal(hidden, letters(["a dog"])) and hidden.dtype == torch.float32


def test_another_function_is_another_classifier_unless_the_version_says_otherwise() -> None:
    def fingerprint(head_: Callable[[torch.Tensor], torch.Tensor] = head, version: str | None = None) -> str:
        return slc.classifier_from(letters, head_, CLASS_NAMES, version=version).model_fingerprint

    assert fingerprint() == fingerprint()
    assert fingerprint() != fingerprint(lambda states: 2 * head(states))
    assert fingerprint(version="1") == fingerprint(lambda states: 2 * head(states), version="1") != fingerprint()


@pytest.mark.parametrize(
    ("states", "head_", "message"),
    [
        (lambda texts: letters(texts)[:1], head, r"states gives \(1, 12\) for 3 texts.*\(3, d\)"),
        (lambda texts: list(texts), head, "states gives list for 3 texts"),
        (lambda texts: letters(texts) / 0, head, "not finite"),
        (lambda texts: letters(texts) - letters(texts).mean(dim=0), head, "its own state, whatever is beside it"),
        (letters, lambda states: head(states)[:, :2], r"head gives \(3, 2\).*3 columns.*animals, weather, money"),
        (letters, lambda states: head(states).tolist(), "head gives list"),
        (letters, lambda states: head(states).detach(), "no gradient flows"),
    ],
)
def test_functions_that_give_something_else_are_refused(
    states: Callable[[list[str]], torch.Tensor], head_: Callable[[torch.Tensor], torch.Tensor], message: str
) -> None:
    with pytest.raises(slc.UserError, match=message):
        slc.classifier_from(states, head_, CLASS_NAMES)


@pytest.mark.slow
def test_the_example_explains_sentence_embeddings(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(__file__).parents[2] / "examples"
    assert len((folder / "own_classifier.py").read_text(encoding="utf-8").splitlines()) < 40
    monkeypatch.syspath_prepend(str(folder))
    few = slc.load_text_data(slc.DataConfig(max_train_texts=400), "train")
    monkeypatch.setattr(slc, "load_text_data", lambda *_: few)
    classifier = slc.load_classifier("own_classifier:sentences")
    assert classifier.d_model == 384 and classifier.class_names == few.class_names
    logits = classifier.states_and_logits(classifier.inputs(few.texts[::4])).logits
    assert (logits.argmax(dim=1).numpy() == few.labels[::4]).mean() > 0.9


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module of the user's, where the commands are typed."""
    (tmp_path / "own_bag.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "own_bag", raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path


@pytest.mark.parametrize(
    ("model", "asked", "message"),
    [
        ("own_bag:nothing", {}, "gives int, no TextClassifier"),
        ("own_bag:bag", {}, "no function of this name"),
        ("no_bag:bag", {}, "module of the classifier 'no_bag:bag' cannot be imported"),
        ("own_bag:bag_of_words", {"class_names": ("a", "b", "c")}, r"class_names .*'animals'.*asked for is \('a'"),
        ("own_bag:bag_of_words", {"hook": "blocks.0.hook_resid_pre"}, "hook 'hook_states', asked for is 'blocks"),
    ],
)
@pytest.mark.usefixtures("module")
def test_a_name_of_something_else_is_refused(model: str, asked: dict[str, str], message: str) -> None:
    with pytest.raises(slc.UserError, match=message):
        slc.load_classifier(model, **asked)  # type: ignore[arg-type]  # on purpose anything


def test_the_commands_take_a_function_of_one_s_own(module: Path, train_data: TextData, test_data: TextData) -> None:
    for split, data in (("train", train_data), ("test", test_data)):
        lines = [
            json.dumps({"text": text, "label": data.class_names[label]})
            for text, label in zip(data.texts, data.labels.tolist(), strict=True)
        ]
        (module / f"{split}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    options = (
        "--run", "run", "--data.source", str(module), "--data.class_names", ",".join(CLASS_NAMES),
        "--classifier.model", "own_bag:bag_of_words", "--sae.d_sae", "32", "--sae.n_concepts", "6",
        "--train.total_samples", "3000", "--train.batch_size", "50", "--evaluate.n_bootstrap", "20",
    )  # fmt: skip
    done = cli("run", *options)
    assert done.code == 0, done.stderr
    summary = read_json(module / "run" / "summary.json")
    assert summary["hook"] == "hook_states"
    allow = ("--allow-code", "own_bag:bag_of_words")
    compared = cli("compare", "--run", "run", "--compare.methods", "classifsae,ica", *allow)
    assert compared.code == 0, compared.stderr
    explained = cli("explain", "run", "the dog in the rain", *allow)
    assert explained.code == 0 and "dog" in explained.stdout
