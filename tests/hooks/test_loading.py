"""Opening a classifier: models that are not there, not whole, or not numbers."""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sae_lens_classif.checksums import read_json
from sae_lens_classif.config.classifier import CacheConfig, PromptConfig
from sae_lens_classif.data.texts import TextData
from sae_lens_classif.errors import UserError
from sae_lens_classif.hooks.backends.hooked_transformer import HookedTransformerClassifier
from sae_lens_classif.hooks.blocks import hook_layer
from sae_lens_classif.hooks.classifier import TextClassifier
from sae_lens_classif.hooks.huggingface import load_causal_lm, load_tokenizer, model_context, pick_device
from sae_lens_classif.hooks.inputs import PromptTokenizer
from sae_lens_classif.hooks.load import CLASSIFIER_FILE, load_classifier
from sae_lens_classif.hub import hub_is_reachable
from sae_lens_classif.store.caching import cache_states
from tests.conftest import CLASS_NAMES

WEIGHTS = "model.safetensors"


@pytest.fixture
def copy(classifier_folder: Path, tmp_path: Path) -> Path:
    """A copy of the classifier that may be broken."""
    return Path(shutil.copytree(classifier_folder, tmp_path / "model"))


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    hub_is_reachable.cache_clear()
    yield
    hub_is_reachable.cache_clear()


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def drop_a_block(tensors: dict[str, torch.Tensor]) -> None:
    for name in [name for name in tensors if ".layers.1." in name]:
        del tensors[name]


def put_nan(tensors: dict[str, torch.Tensor]) -> None:
    name = next(name for name in tensors if "layers.0.mlp" in name and name.endswith("weight"))
    tensors[name][0, 0] = torch.nan


def pickle_weights(folder: Path) -> None:
    torch.save(load_file(folder / WEIGHTS), folder / "pytorch_model.bin")
    (folder / WEIGHTS).unlink()


def halve(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def test_a_folder_that_finetune_made_opens_with_its_classes_and_last_hook(
    classifier: TextClassifier, classifier_folder: Path
) -> None:
    noted = read_json(classifier_folder / CLASSIFIER_FILE)
    assert list(classifier.class_names) == noted["class_names"]
    assert classifier.hook_name == "blocks.2.hook_resid_pre"
    assert classifier.inputs.described()["template"] == noted["prompt"]["template"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / WEIGHTS).unlink(), r"no model .*it holds: .*config\.json.*model\.safetensors"),
        (lambda folder: (folder / WEIGHTS).write_bytes(b""), "model"),
        (lambda folder: halve(folder / WEIGHTS), "model"),
        (lambda folder: change_weights(folder, drop_a_block), r"weights|missing|layers\.1"),
        (lambda folder: change_weights(folder, put_nan), "(?i)nan|not finite"),
        (pickle_weights, r"are a pickle \(pytorch_model.bin\): .*write it as safetensors"),
        (lambda folder: (folder / "config.json").unlink(), "no model"),
        (lambda folder: (folder / "config.json").write_text("{", encoding="utf-8"), "JSON"),
        (lambda folder: (folder / "config.json").write_text('{"model_type": "zork"}', encoding="utf-8"), "zork"),
        (lambda folder: [file.unlink() for file in folder.glob("tokenizer*")], "no tokenizer"),
        (lambda folder: (folder / CLASSIFIER_FILE).write_text("{", encoding="utf-8"), "not valid JSON"),
        (lambda folder: (folder / CLASSIFIER_FILE).write_text("{}", encoding="utf-8"), r"classifier\.json"),
        (
            lambda folder: (folder / CLASSIFIER_FILE).write_text(
                '{"prompt": {"templt": "{text}"}, "class_names": ["a", "b"]}', encoding="utf-8"
            ),
            "templt",
        ),
    ],
    ids=[
        "no weights", "empty weights", "half of the weights", "weights of a block missing", "weights are NaN",
        "pickled weights", "no config", "broken config", "unknown model type", "no tokenizer", "broken classifier.json",
        "empty classifier.json", "unknown key in classifier.json",
    ],
)  # fmt: skip
def test_a_folder_that_is_not_whole_is_refused_by_name(
    copy: Path, damage: Callable[[Path], object], message: str
) -> None:
    damage(copy)
    with pytest.raises(UserError, match=message) as refused:
        load_classifier(copy)
    assert str(copy) in str(refused.value) or copy.name in str(refused.value)


def test_a_folder_without_class_names_asks_for_them(copy: Path, prompt: PromptConfig) -> None:
    (copy / CLASSIFIER_FILE).unlink()
    with pytest.raises(UserError, match="give class_names"):
        load_classifier(copy)
    assert load_classifier(copy, ("a", "b", "c"), prompt).class_names == ("a", "b", "c")


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("class_names", [None, ("a", "b")])
@pytest.mark.parametrize("model", ["{tmp}/nowhere", "./nowhere", "../a/nowhere", "a/b/nowhere"])
def test_a_folder_that_does_not_exist_is_called_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, class_names: tuple[str, ...] | None
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="nowhere'"):
        load_classifier(model.format(tmp=tmp_path), class_names)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("load", [load_tokenizer, lambda name: load_causal_lm(name, torch.float32)])
def test_a_model_of_the_hub_without_a_network_is_refused_within_seconds(load: Callable[[str], object]) -> None:
    start = time.perf_counter()
    with pytest.raises(UserError, match=r"nobody/nothing .*Hub .*local folder"):
        load("nobody/nothing")
    assert time.perf_counter() - start < 5


@pytest.mark.usefixtures("no_network")
def test_a_classifier_of_the_hub_without_a_network_is_refused() -> None:
    with pytest.raises(UserError, match=r"nobody/nothing .*Hub"):
        load_classifier("nobody/nothing", ("a", "b"))


@pytest.mark.usefixtures("no_network")
def test_the_hub_is_asked_once() -> None:
    assert not hub_is_reachable()
    assert not hub_is_reachable()
    assert (hub_is_reachable.cache_info().misses, hub_is_reachable.cache_info().hits) == (1, 1)


@pytest.mark.parametrize(
    "hook",
    [
        "blocks.3.hook_resid_pre",
        "blocks.-1.hook_resid_pre",
        "blocks.0.hook_mlp_out",
        "",
        f"blocks.{'9' * 5000}.hook_resid_pre",  # more digits than Python reads
    ],
)
def test_a_hook_that_does_not_exist_is_refused_with_those_that_do(classifier_folder: Path, hook: str) -> None:
    message = rf"there is no hook '{hook}'.*valid: blocks\.L\.hook_resid_pre with L = 0\.\.2"
    with pytest.raises(UserError, match=message):
        load_classifier(classifier_folder, hook=hook)


def test_a_model_without_a_block_is_refused_and_one_of_an_odd_activation_is_run_by_transformers(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    (copy / "config.json").write_text(json.dumps({**config, "hidden_act": "mish"}))
    assert type(load_classifier(copy)).__name__ == "PromptClassifier"
    (copy / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 0}))
    with pytest.raises(UserError, match="the model has 0 blocks"):
        load_classifier(copy)


@pytest.mark.parametrize("backend", [None, "transformers"])
def test_a_tokenizer_of_another_model_is_refused(copy: Path, backend: str | None) -> None:
    tokenizer = json.loads((copy / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary[max(vocabulary, key=vocabulary.__getitem__)] = 5000
    (copy / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    with pytest.raises(UserError, match=r"has a token 5000, and the model embeddings of .* that of another model"):
        load_classifier(copy, backend=backend)


@pytest.mark.parametrize("number", ["negative", "9" * 5000])
def test_class_names_without_a_number_are_told(copy: Path, number: str) -> None:
    (copy / CLASSIFIER_FILE).unlink()
    config = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    (copy / "config.json").write_text(json.dumps({**config, "id2label": {number: "negative", "1": "positive"}}))
    with pytest.raises(UserError, match=r"config\.json is not what transformers writes \(id2label"):
        load_classifier(copy)


def test_a_hook_says_which_block_and_the_last_is_the_default() -> None:
    assert hook_layer("blocks.0.hook_resid_pre", 3) == 0
    assert hook_layer("blocks.11.hook_resid_pre", 12) == 11
    assert hook_layer(None, 24) == 23
    assert hook_layer(None, 12, default=12) == 12
    assert hook_layer("blocks.11.hook_resid_post", 12) == 12, "what the last one gives"


@pytest.mark.parametrize("device", ["zork", "cuda:77"])
def test_a_device_that_is_not_here_is_refused(device: str) -> None:
    with pytest.raises(UserError, match=f"device '{device}'"):
        pick_device(device)


@pytest.mark.parametrize("block", [0, 2], ids=["before the hook", "after the hook"])
def test_states_or_logits_that_are_not_numbers_are_refused_and_no_store_is_left(
    classifier_folder: Path, train_data: TextData, tmp_path: Path, block: int
) -> None:
    classifier = load_classifier(classifier_folder)
    assert isinstance(classifier, HookedTransformerClassifier)
    weights = dict(classifier._model.named_parameters())
    weights[f"blocks.{block}.mlp.b_out"].fill_(torch.nan)  # after the check that loading makes
    with pytest.raises(UserError, match="not finite"):
        cache_states(classifier, train_data, tmp_path / "train", CacheConfig(shard_size=64))
    assert not (tmp_path / "train").exists()


def test_a_label_that_is_not_one_token_of_the_model_is_refused(bare_folder: Path) -> None:
    prompt = PromptConfig(template="{text}\n\nTopic:", label_word="antidisestablishment{id}")
    with pytest.raises(UserError, match="'antidisestablishment0' is not one token"):
        load_classifier(bare_folder, CLASS_NAMES, prompt)


def test_a_prompt_or_classes_that_the_model_was_not_tuned_with_are_refused(classifier_folder: Path) -> None:
    with pytest.raises(UserError, match=r"classifier\.json .*prompt = .*Topic.*OPTIONS"):
        load_classifier(classifier_folder, prompt=PromptConfig())
    with pytest.raises(UserError, match=r"classifier\.json .*class_names = .*\('a', 'b'\)"):
        load_classifier(classifier_folder, ("a", "b"))


def test_run_folders_made_before_know_the_prompt_by_its_fingerprint(bare_folder: Path) -> None:
    prompt = PromptConfig(template="{text}\n\nTopic:", label_words=("<|0|>", "<|1|>", "<|2|>"))
    opened = load_classifier(bare_folder, CLASS_NAMES, prompt)
    noted = {  # as the first stores had it, by hand
        "prompt": {"template": "{text}\n\nTopic:", "option": "{label}({name})", "label_word": "{id}",
                   "label_words": ["<|0|>", "<|1|>", "<|2|>"], "cut": "beginning", "max_tokens": None},
        "max_tokens": 64,
        "class_names": ["animals", "weather", "money"],
        "hook_name": "blocks.2.hook_resid_pre",
    }  # fmt: skip
    text = json.dumps(noted, sort_keys=True)
    assert opened.prompt_fingerprint() == hashlib.sha256(text.encode()).hexdigest()


def test_the_context_of_a_model_limits_its_prompts(classifier: TextClassifier, classifier_folder: Path) -> None:
    model = load_causal_lm(str(classifier_folder), torch.float32)
    assert model_context(model) == 64
    prompts = classifier.inputs
    assert isinstance(prompts, PromptTokenizer)
    assert prompts.max_tokens == 64
    assert len(prompts(["dog " * 500])[0]) == 64
