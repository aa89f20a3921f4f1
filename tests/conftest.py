"""A tiny classifier, its texts and hidden states, and whole runs, each made once, whatever the number of workers."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from filelock import FileLock

from sae_lens_classif.cli.parser import main
from sae_lens_classif.config.classifier import CacheConfig, FinetuneConfig, PromptConfig
from sae_lens_classif.data.texts import TextData
from sae_lens_classif.hooks.classifier import TextClassifier
from sae_lens_classif.hooks.load import load_classifier, save_classifier
from sae_lens_classif.hooks.tuning.finetune import finetune
from sae_lens_classif.store.caching import cache_states
from sae_lens_classif.store.store import ActivationStore
from tests.tiny_run import make_strange_run, snapshot

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# Everything here is tiny: more threads only wait for each other, unless it is they that are tested.
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))

MakeOnce = Callable[[str, Callable[[Path], object]], Path]

CLASS_NAMES = ("animals", "weather", "money")
_WORDS = (
    ["dog", "cat", "horse", "bird", "fish", "wolf", "mouse", "sheep"],
    ["rain", "snow", "wind", "storm", "cloud", "sun", "hail", "fog"],
    ["bank", "loan", "price", "market", "share", "profit", "tax", "debt"],
)
_FILLERS = ["the", "a", "some", "old", "new", "big", "near", "under", "with", "and", "of", "very"]


def make_data(n_texts: int, seed: int) -> TextData:
    """Short texts whose class shows in two of their words."""
    random = np.random.default_rng(seed)
    texts, labels = [], []
    for number in range(n_texts):
        label = number % len(CLASS_NAMES)
        words = [*random.choice(_WORDS[label], 2), *random.choice(_FILLERS, random.integers(3, 12))]
        texts.append(" ".join(random.permutation(words)))
        labels.append(label)
    return TextData(tuple(texts), np.array(labels, dtype=np.int64), CLASS_NAMES)


@pytest.fixture(scope="session")
def make_once(tmp_path_factory: pytest.TempPathFactory) -> MakeOnce:
    """Fills a folder of a name by a function: in the first worker that asks, while the others that ask wait for it."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent  # of all workers

    def made(name: str, make: Callable[[Path], object]) -> Path:
        folder, whole = shared / f"made_once_{name}", shared / f"made_once_{name}.whole"
        with FileLock(shared / f"made_once_{name}.lock"):
            if not whole.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
                whole.touch()
        return folder

    return made


@pytest.fixture(scope="session")
def train_data() -> TextData:
    return make_data(240, seed=0)


@pytest.fixture(scope="session")
def test_data() -> TextData:
    return make_data(90, seed=1)


@pytest.fixture(scope="session")
def prompt() -> PromptConfig:
    return PromptConfig(template="{text}\n\nTopic:", label_word="<|{id}|>")


@pytest.fixture(scope="session")
def classifier_folder(make_once: MakeOnce, train_data: TextData, prompt: PromptConfig) -> Path:
    cfg = FinetuneConfig(
        base_model="scratch", n_layers=3, d_model=32, n_heads=4, vocab_size=400, context=64,
        max_steps=60, batch_size=16, lr=5e-3,
    )  # fmt: skip

    def make(folder: Path) -> None:
        model, tokenizer = finetune(cfg, prompt, train_data, torch.device("cpu"))
        save_classifier(folder / "classifier", model, tokenizer, prompt, train_data.class_names)

    return make_once("run", make) / "classifier"


@pytest.fixture(scope="session")
def bare_folder(make_once: MakeOnce, classifier_folder: Path) -> Path:
    """The same model as anyone else would save it: without a note of its prompt and classes."""

    def make(folder: Path) -> None:
        shutil.copytree(classifier_folder, folder / "model", ignore=shutil.ignore_patterns("classifier.json"))

    return make_once("bare", make) / "model"


@pytest.fixture(scope="session")
def classifier(classifier_folder: Path) -> TextClassifier:
    return load_classifier(classifier_folder)


@pytest.fixture(scope="session")
def train_store(make_once: MakeOnce, classifier: TextClassifier, train_data: TextData) -> ActivationStore:
    cfg = CacheConfig(shard_size=64)
    folder = make_once("activations", lambda folder: cache_states(classifier, train_data, folder / "train", cfg))
    return ActivationStore(folder / "train")


@pytest.fixture(scope="session")
def test_store(make_once: MakeOnce, classifier: TextClassifier, test_data: TextData) -> ActivationStore:
    cfg = CacheConfig(shard_size=64)
    folder = make_once("test_activations", lambda folder: cache_states(classifier, test_data, folder / "test", cfg))
    return ActivationStore(folder / "test")


@pytest.fixture(scope="session")
def demo_folder(make_once: MakeOnce) -> Iterator[Path]:
    """A folder with ``runs/demo``, made by the demo's own command on a tenth of its texts and a smaller model.

    It is everybody's: copy the run before you change it or write into it.
    """
    options = [
        "--data.max_train_texts", "600", "--data.max_test_texts", "150",
        "--finetune.n_layers", "2", "--finetune.d_model", "32", "--finetune.epochs", "4", "--finetune.lr", "3e-3",
        "--prompt.max_tokens", "48",
        "--sae.d_sae", "64", "--train.total_samples", "50000", "--train.n_checkpoints", "0",
        "--evaluate.n_bootstrap", "120",  # as many as a difference needs
    ]  # fmt: skip
    folder = make_once("demo", lambda folder: main(["demo", "--run", str(folder / "runs" / "demo"), *options]))
    before = snapshot(folder)
    yield folder
    assert snapshot(folder) == before, "a test changed what others read"


@pytest.fixture
def demo_run(demo_folder: Path, tmp_path: Path) -> Path:
    """A copy of the demo's run, ``runs/demo`` in a folder of its own, to be changed."""
    return Path(shutil.copytree(demo_folder / "runs" / "demo", tmp_path / "runs" / "demo"))


@pytest.fixture(scope="session")
def few_strange(make_once: MakeOnce) -> Path:
    """A run on texts that a page may stumble over, of two classes and 5 concepts; copy it before you change it."""
    return make_once("few", lambda folder: make_strange_run(folder, n_classes=2, n_concepts=5)) / "run"


@pytest.fixture(scope="session")
def many_strange(make_once: MakeOnce) -> Path:
    """The same of 77 classes and 200 concepts."""
    return make_once("many", lambda folder: make_strange_run(folder, n_classes=77, n_concepts=200)) / "run"


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    from tests.fakes.browser import chromium  # which needs playwright

    with chromium() as opened:
        yield opened
