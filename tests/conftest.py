"""A tiny real classifier, its texts and its hidden states, made once a session in a few seconds."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from sae_lens_classif.cli.parser import main
from sae_lens_classif.config.run import CacheConfig, FinetuneConfig, PromptConfig
from sae_lens_classif.data.texts import TextData
from sae_lens_classif.hooks.classifier import TextClassifier
from sae_lens_classif.hooks.load import load_classifier, save_classifier
from sae_lens_classif.hooks.tuning.finetune import finetune
from sae_lens_classif.store.caching import cache_states
from sae_lens_classif.store.store import ActivationStore

# Everything here is tiny: more threads only wait for each other.
torch.set_num_threads(1)

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
def train_data() -> TextData:
    return make_data(240, seed=0)


@pytest.fixture(scope="session")
def test_data() -> TextData:
    return make_data(90, seed=1)


@pytest.fixture(scope="session")
def prompt() -> PromptConfig:
    return PromptConfig(template="{text}\n\nTopic:", label_word="<|{id}|>")


@pytest.fixture(scope="session")
def classifier_folder(tmp_path_factory: pytest.TempPathFactory, train_data: TextData, prompt: PromptConfig) -> Path:
    cfg = FinetuneConfig(
        base_model="scratch", n_layers=3, d_model=32, n_heads=4, vocab_size=400, context=64,
        max_steps=60, batch_size=16, lr=5e-3,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("run") / "classifier"
    model, tokenizer = finetune(cfg, prompt, train_data, torch.device("cpu"))
    save_classifier(folder, model, tokenizer, prompt, train_data.class_names)
    return folder


@pytest.fixture(scope="session")
def bare_folder(tmp_path_factory: pytest.TempPathFactory, classifier_folder: Path) -> Path:
    """The same model as anyone else would save it: without a note of its prompt and classes."""
    folder = tmp_path_factory.mktemp("bare") / "model"
    shutil.copytree(classifier_folder, folder, ignore=shutil.ignore_patterns("classifier.json"))
    return folder


@pytest.fixture(scope="session")
def classifier(classifier_folder: Path) -> TextClassifier:
    return load_classifier(classifier_folder)


@pytest.fixture(scope="session")
def train_store(
    tmp_path_factory: pytest.TempPathFactory, classifier: TextClassifier, train_data: TextData
) -> ActivationStore:
    folder = tmp_path_factory.mktemp("activations") / "train"
    return cache_states(classifier, train_data, folder, CacheConfig(shard_size=64))


@pytest.fixture(scope="session")
def test_store(
    tmp_path_factory: pytest.TempPathFactory, classifier: TextClassifier, test_data: TextData
) -> ActivationStore:
    folder = tmp_path_factory.mktemp("activations") / "test"
    return cache_states(classifier, test_data, folder, CacheConfig(shard_size=64))


@pytest.fixture(scope="session")
def demo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``runs/demo``, made by the demo's own command on a tenth of its texts and a smaller model."""
    folder = tmp_path_factory.mktemp("demo")
    arguments = [
        "demo", "--run", str(folder / "runs" / "demo"),
        "--data.max_train_texts", "600", "--data.max_test_texts", "150",
        "--finetune.n_layers", "2", "--finetune.d_model", "32", "--finetune.epochs", "4", "--finetune.lr", "3e-3",
        "--prompt.max_tokens", "48",
        "--sae.d_sae", "64", "--train.total_samples", "50000", "--train.n_checkpoints", "0",
        "--evaluate.n_bootstrap", "50",
    ]  # fmt: skip
    main(arguments)
    return folder
