"""Models, data sets and encoders by their names on the Hub, from a server of this machine that speaks as it does."""

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree
from typing import Any
from urllib.parse import urlsplit

import datasets
import pytest
import torch
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file

from sae_lens_classif.checksums import read_json
from sae_lens_classif.config.classifier import DataConfig, PromptConfig
from sae_lens_classif.data.texts import TextData, load_text_data
from sae_lens_classif.evals.embeddings import embed_texts
from sae_lens_classif.hooks.batching import states_of_inputs
from sae_lens_classif.hooks.classifier import TextClassifier
from sae_lens_classif.hooks.load import load_classifier
from sae_lens_classif.hub import hub_is_reachable, hub_name
from tests.conftest import CLASS_NAMES
from tests.fakes.hub_client import Job, Outcome
from tests.fakes.hub_repository import BAD_TOKEN, GATED
from tests.fakes.hub_server import HubServer, Request
from tests.fakes.models import write_model

CLIENT = Path(__file__).parents[1] / "fakes" / "hub_client.py"
TEXTS = ("the old dog", "rain and snow near the bank", "profit 🎉")
SECONDS = 10.0  # for anything here; the libraries would retry for half a minute and more
MOODS = ("bad", "good")
CLOSED = {"someone/gated": GATED, "someone/expired": BAD_TOKEN}
# A pattern of the message, by what is loaded.
REFUSALS = {
    "no such model": "nobody/no-model .*cannot be loaded from the Hub.*not a valid model identifier",
    "no such data": "data set nobody/no-data .*doesn't exist on the Hub",
    "no such encoder": "(?i)sentence encoder nobody/no-encoder .*(not found|no such|not exist|not a valid)",
    "gated model": "someone/gated .*gated",
    "gated data": "data set someone/gated .*is a gated",
    "gated encoder": "sentence encoder someone/gated .*(gated repo|is gated)",
    "bad token model": "someone/expired .*Invalid credentials",
    "bad token data": "data set someone/expired .*Invalid credentials",
    "bad token encoder": "sentence encoder someone/expired .*Invalid credentials",
    "adapter without base": "someone/baseless is an adapter, and its base cannot be opened: .*someone/gone",
    "pickled adapter": r"weights of the adapter someone/pickled cannot be read from adapter_model\.safetensors",
    "pickled encoder": "sentence encoder someone/pickled-encoder .*only safetensors are read.*Could not find",
    "no weights": "model someone/weightless has no weights as safetensors on the Hub.*write it with save_pretrained",
    "no tokenizer": "tokenizer someone/wordless .*vocabulary is empty",
    "no such split": r"someone/topics .*tarin.*'train', 'test'",
    "no such subset": "someone/several .*modo.*'rows', 'mood'",
    "no subset": r"(?=.*data\.subset)someone/several .*'rows', 'mood'",
    "no texts": "someone/empty .*doesn't contain any data files",
}


def write_table(file: Path, texts: Sequence[str], labels: Sequence[int], names: Sequence[str] | None = None) -> None:
    """Write a parquet file that holds the names of its classes, or none."""
    label = datasets.ClassLabel(names=list(names)) if names else datasets.Value("int64")
    features = datasets.Features({"text": datasets.Value("string"), "label": label})
    file.parent.mkdir(parents=True, exist_ok=True)
    table = datasets.Dataset.from_dict({"text": list(texts), "label": list(labels)}, features=features)
    table.to_parquet(file)


def card(*sections: str) -> str:
    """A README as the Hub reads it."""
    return "---\n" + "".join(sections) + "---\n# Data\n"


def features_of(names: Sequence[str], indent: str) -> str:
    """The features of a README's ``dataset_info``."""
    lines = ["features:", "- name: text", "  dtype: string", "- name: label", "  dtype:", "    class_label:"]
    lines += ["      names:", *(f"        '{number}': {name}" for number, name in enumerate(names))]
    return "".join(f"{indent}{line}\n" for line in lines)


def write_data_sets(root: Path, train: TextData, test: TextData) -> None:
    """The data sets: with names in the README, with two subsets, with no README, with no texts, and closed ones."""
    for split, data in (("train", train), ("test", test)):
        write_table(root / "topics" / "data" / f"{split}-00000-of-00001.parquet", data.texts, data.labels.tolist())
    readme = card("dataset_info:\n", features_of(train.class_names, "  "))
    (root / "topics" / "README.md").write_text(readme, encoding="utf-8")

    write_table(root / "several" / "mood" / "train.parquet", ["sad", "glad", "happy"], [0, 1, 1])
    write_table(root / "several" / "rows" / "train.parquet", ["one", "two"], [1, 0])
    for name in CLOSED:
        write_table(root / name.removeprefix("someone/") / "train.parquet", ["one", "two"], [1, 0])
    configs = "".join(
        f"- config_name: {name}\n  data_files:\n  - split: train\n    path: {name}/train.parquet\n"
        for name in ("rows", "mood")
    )
    infos = "".join(f"- config_name: {name}\n{features_of(MOODS, '  ')}" for name in ("rows", "mood"))
    readme = card("configs:\n", configs, "dataset_info:\n", infos)
    (root / "several" / "README.md").write_text(readme, encoding="utf-8")

    write_table(root / "plain" / "train.parquet", ["sad", "glad"], [0, 1], MOODS)
    (root / "empty").mkdir()
    (root / "empty" / "README.md").write_text("# Nothing yet\n", encoding="utf-8")


def write_encoder(folder: Path) -> None:
    """A sentence encoder with random weights and one token a letter."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizer

    bert = folder.parent / "bert"
    bert.mkdir()
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    (bert / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    BertTokenizer(str(bert / "vocab.txt")).save_pretrained(bert)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64,
    )  # fmt: skip
    BertModel(config).save_pretrained(bert)
    transformer = Transformer(str(bert))
    SentenceTransformer(modules=[transformer, Pooling(16)], device="cpu").save(str(folder))


def write_pickled_encoder(encoder: Path, folder: Path) -> None:
    """The same with a last part whose weights are a pickle alone, which torch would open."""
    copytree(encoder, folder)
    modules = [*read_json(folder / "modules.json"), {"path": "2_Dense", "type": "sentence_transformers.models.Dense"}]
    modules[-1] |= {"idx": len(modules) - 1, "name": str(len(modules) - 1)}
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    (folder / "2_Dense").mkdir()
    of_part = {
        "in_features": 16,
        "out_features": 8,
        "bias": False,
        "activation_function": "torch.nn.modules.linear.Identity",
    }
    (folder / "2_Dense" / "config.json").write_text(json.dumps(of_part), encoding="utf-8")
    torch.save({"linear.weight": torch.ones(8, 16)}, folder / "2_Dense" / "pytorch_model.bin")


def write_adapters(models: Path) -> None:
    """A model with a head, an adapter of it, a soft prompt, an adapter whose base is not there, and a pickled one."""
    head = write_model(models / "bert-head", "Bert", id2label=dict(enumerate(CLASS_NAMES)))
    decoder = write_model(models / "llama", "Llama", "ForCausalLM")
    lora = LoraConfig(task_type="SEQ_CLS", target_modules=["query", "value"], r=2, init_lora_weights=False)
    soft = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    for base, of, name, settings in ((head, "bert-head", "bert-lora", lora), (decoder, "llama", "llama-soft", soft)):
        torch.manual_seed(1)
        get_peft_model(base, settings).save_pretrained(str(models / name))
        config = models / name / "adapter_config.json"
        content = read_json(config)
        config.write_text(json.dumps(content | {"base_model_name_or_path": f"someone/{of}"}), encoding="utf-8")
    for name in ("baseless", "pickled"):
        copytree(models / "bert-lora", models / name)
    config = models / "baseless" / "adapter_config.json"
    config.write_text(config.read_text(encoding="utf-8").replace("bert-head", "gone"), encoding="utf-8")
    weights = models / "pickled" / "adapter_model.safetensors"
    torch.save(load_file(weights), weights.with_suffix(".bin"))
    weights.unlink()


@pytest.fixture(scope="module")
def hub(
    tmp_path_factory: pytest.TempPathFactory, classifier_folder: Path, train_data: TextData, test_data: TextData
) -> Path:
    """Folder of everything the server holds."""
    root = tmp_path_factory.mktemp("hub")
    models = root / "models" / "someone"
    for name in ("tiny-neox", *(name.removeprefix("someone/") for name in CLOSED)):
        copytree(classifier_folder, models / name)
    for name, missing in (("weightless", "model.safetensors"), ("wordless", "tokenizer*")):
        copytree(classifier_folder, models / name)
        for file in (models / name).glob(missing):
            file.unlink()
    write_encoder(models / "tiny-encoder")
    write_pickled_encoder(models / "tiny-encoder", models / "pickled-encoder")
    write_adapters(models)
    write_data_sets(root / "datasets" / "someone", train_data, test_data)
    return root


@dataclass(frozen=True, repr=False)
class Process:
    """What one process loaded, and what it asked for beyond the Hub."""

    outcomes: Mapping[str, Outcome]
    refused: Sequence[Request]

    def value(self, name: str) -> Any:
        """What a loading gave, in good time."""
        outcome = self.outcomes[name]
        assert outcome["error"] is None, outcome["error"]
        assert outcome["seconds"] < SECONDS
        return outcome["value"]

    def error(self, name: str) -> str:
        """The message of the UserError a loading ended with, in good time."""
        outcome = self.outcomes[name]
        assert outcome["error"] is not None
        assert "Traceback" not in outcome["error"], outcome["error"]
        assert outcome["seconds"] < SECONDS
        return outcome["error"]


def run_client(server: HubServer, folder: Path, prompt: PromptConfig) -> Process:
    """Load in a process of its own, with the server in the Hub's place and its caches in a folder."""
    environment = server.environment(folder / "home") | {"OMP_NUM_THREADS": "1"}
    asked, answered = folder / "job.json", folder / "outcomes.json"
    job = Job(template=prompt.template, label_word=prompt.label_word, class_names=list(CLASS_NAMES), texts=list(TEXTS))
    asked.write_text(json.dumps(job), encoding="utf-8")
    command = [sys.executable, str(CLIENT), str(asked), str(answered)]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    return Process(read_json(answered), tuple(server.refused))


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory, hub: Path, prompt: PromptConfig) -> tuple[Process, Process]:
    """One process while the server is there, and one with the same caches after it was stopped."""
    folder = tmp_path_factory.mktemp("client")
    with HubServer(hub, CLOSED) as server:
        online = run_client(server, folder, prompt)
    return online, run_client(server, folder, prompt)


@pytest.fixture(scope="module")
def online(processes: tuple[Process, Process]) -> Process:
    return processes[0]


@pytest.fixture(scope="module")
def offline(processes: tuple[Process, Process]) -> Process:
    return processes[1]


@pytest.fixture(params=["online", "offline"])
def either(request: pytest.FixtureRequest) -> Process:
    """The process with the server, then the one without it, from its caches."""
    process: Process = request.getfixturevalue(request.param)
    return process


def test_a_model_of_the_hub_gives_the_hidden_states_of_its_folder(either: Process, classifier: TextClassifier) -> None:
    expected = states_of_inputs(classifier, classifier.inputs(TEXTS), 4096).hidden
    torch.testing.assert_close(torch.tensor(either.value("states")), expected)


@pytest.mark.parametrize(
    ("name", "model", "base"), [("head", "bert-head", None), ("adapter", "bert-lora", "bert-head"),
                                ("soft prompt", "llama-soft", "llama")],
)  # fmt: skip
def test_a_head_an_adapter_and_a_soft_prompt_of_the_hub_give_what_their_folders_give(
    either: Process, name: str, model: str, base: str | None, hub: Path, tmp_path: Path
) -> None:
    folder = Path(copytree(hub / "models" / "someone" / model, tmp_path / model))
    if base is not None:
        config = folder / "adapter_config.json"
        of_base = str(hub / "models" / "someone" / base)
        config.write_text(config.read_text(encoding="utf-8").replace(f"someone/{base}", of_base), encoding="utf-8")
    prompt = PromptConfig(template="{text} price ", label_words=("fox", "rain", "loan")) if "soft" in name else None
    classifier = load_classifier(folder, CLASS_NAMES, prompt)
    expected = states_of_inputs(classifier, classifier.inputs(TEXTS), 4096).logits
    torch.testing.assert_close(torch.tensor(either.value(name)), expected)
    assert expected.std() > 1e-3


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_data_set_of_the_hub_gives_the_texts_labels_and_class_names_of_its_card(
    either: Process, split: str, request: pytest.FixtureRequest
) -> None:
    expected: TextData = request.getfixturevalue(f"{split}_data")
    found = either.value(f"topics {split}")
    assert found["texts"] == list(expected.texts)
    assert found["labels"] == expected.labels.tolist()
    assert found["class_names"] == list(expected.class_names)


def test_a_data_set_of_the_hub_gives_what_its_downloaded_files_give(
    online: Process, hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "datasets_cache"))
    folder = hub / "datasets" / "someone" / "topics" / "data"
    cfg = DataConfig(str(folder), train="train-00000-of-00001.parquet", class_names=CLASS_NAMES)
    local = load_text_data(cfg, "train")
    found = online.value("topics train")
    assert found == {
        "texts": list(local.texts), "labels": local.labels.tolist(), "class_names": list(local.class_names)
    }  # fmt: skip


def test_a_subset_is_the_one_that_is_named(either: Process) -> None:
    found = either.value("subset")
    assert found == {"texts": ["sad", "glad", "happy"], "labels": [0, 1, 1], "class_names": list(MOODS)}


def test_a_data_set_without_a_card_has_the_class_names_of_its_parquet_file(either: Process) -> None:
    assert either.value("plain") == {"texts": ["sad", "glad"], "labels": [0, 1], "class_names": list(MOODS)}


def test_an_encoder_of_the_hub_gives_the_embeddings_of_its_folder(either: Process, hub: Path) -> None:
    expected = embed_texts(TEXTS, str(hub / "models" / "someone" / "tiny-encoder"), "cpu")
    torch.testing.assert_close(torch.tensor(either.value("embeddings")), expected)


@pytest.mark.parametrize("name", REFUSALS)
def test_what_the_hub_does_not_have_or_does_not_give_is_refused_with_its_name_and_the_reason(
    online: Process, name: str
) -> None:
    assert re.search(REFUSALS[name], " ".join(online.error(name).split())), online.error(name)


@pytest.mark.parametrize(
    ("name", "asked_for"),
    [
        ("no such model", "nobody/no-model"),
        ("no such data", "the data set nobody/no-data"),
        ("no such encoder", "the sentence encoder nobody/no-encoder"),
        ("no weights", "the model someone/weightless"),
    ],
)
def test_without_the_hub_what_is_not_cached_is_refused_with_its_name(
    offline: Process, name: str, asked_for: str
) -> None:
    assert re.search(rf"{asked_for}\b.*\bcache\b.*\bHub\b", offline.error(name)), offline.error(name)


@pytest.mark.parametrize(("name", "wrong"), [("no such split", "tarin"), ("no such subset", "modo")])
def test_without_the_hub_a_cached_data_set_is_not_called_missing_where_the_split_or_subset_is(
    offline: Process, name: str, wrong: str
) -> None:
    assert wrong in offline.error(name)
    assert "not in the local" not in offline.error(name)


def test_loading_by_name_asks_no_other_machine_but_what_the_library_datasets_asks(online: Process) -> None:
    hosts = {urlsplit(f"//{request.target.split('//')[-1]}").hostname for request in online.refused}
    assert hosts <= {"datasets-server.127.0.0.1", "s3.amazonaws.com"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("someone/model", "someone/model"), ("some.one/a-model_2", "some.one/a-model_2"), ("models/mine", None),
        ("../b", None), ("gpt2", None), ("a/b/c", None), ("/a/b", None), ("./b", None), ("", None), (None, None),
    ],
)  # fmt: skip
def test_a_name_is_the_hub_s_where_no_local_folder_has_it(
    name: str | None, expected: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models" / "mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert hub_name(name) == expected


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Put an address in the place of the Hub's, for the question whether it is there."""
    hub_is_reachable.cache_clear()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    yield lambda address: monkeypatch.setenv("HF_ENDPOINT", address)
    hub_is_reachable.cache_clear()


def test_the_hub_is_there_where_it_answers(endpoint: Callable[[str], None], tmp_path: Path) -> None:
    with HubServer(tmp_path) as server:
        endpoint(server.endpoint)
        assert hub_is_reachable()
    assert server.requests == [Request("HEAD", "/")]


def test_the_hub_counts_as_away_while_it_has_an_outage_so_that_caches_are_used_at_once(
    endpoint: Callable[[str], None], tmp_path: Path
) -> None:
    with HubServer(tmp_path) as server:
        server.failing = True
        endpoint(server.endpoint)
        assert not hub_is_reachable()


def test_the_hub_counts_as_away_where_a_connection_is_taken_and_nothing_answered(
    endpoint: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sae_lens_classif.hub._SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint(f"http://127.0.0.1:{silent.getsockname()[1]}")
        start = time.perf_counter()
        assert not hub_is_reachable()
    assert time.perf_counter() - start < SECONDS
