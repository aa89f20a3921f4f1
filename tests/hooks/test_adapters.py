"""Adapters of PEFT over models of all families: opened, they are the tuned model."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from sae_lens_classif.checksums import read_json
from sae_lens_classif.errors import UserError
from sae_lens_classif.hooks.load import load_classifier
from tests.fakes.models import NAMES, new_tokenizer, write_model
from tests.hooks.test_families import ANSWERS, TEXTS


def write_adapter(folder: Path, family: str, head: str, task: str, **settings: Any) -> Any:
    """Write a base and an adapter with weights of some size, and give the adapted model."""
    base = write_model(folder / "base", family, head)
    base.name_or_path = str(folder / "base")
    targets = [name for name, part in base.base_model.named_modules() if isinstance(part, torch.nn.Linear)]
    adapted = get_peft_model(base, LoraConfig(task_type=task, target_modules=targets[:6], r=2, **settings))
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                weight.copy_(0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(len(name))))
    adapted.eval().save_pretrained(str(folder / "adapter"))
    new_tokenizer(int(base.config.pad_token_id)).save_pretrained(folder / "adapter")
    return adapted


@pytest.mark.parametrize("family", ["Bert", "Roberta", "DebertaV2", "Llama"])
def test_an_adapter_with_a_head_is_the_tuned_model(family: str, tmp_path: Path) -> None:
    adapted = write_adapter(tmp_path, family, "ForSequenceClassification", "SEQ_CLS")
    classifier = load_classifier(tmp_path / "adapter", NAMES)
    ids = classifier.inputs(TEXTS)
    with torch.no_grad():
        expected = torch.cat([adapted(input_ids=torch.tensor([one])).logits for one in ids])
    torch.testing.assert_close(classifier.states_and_logits(ids).logits, expected, rtol=1e-4, atol=1e-4)
    other = load_classifier(tmp_path / "base", NAMES)
    assert classifier.model_fingerprint != other.model_fingerprint
    assert classifier.hook_name == other.hook_name


@pytest.mark.parametrize("backend", [None, "transformers"])
def test_an_adapter_of_a_decoder_is_the_tuned_model(backend: str | None, tmp_path: Path) -> None:
    adapted = write_adapter(tmp_path, "GPTNeoX", "ForCausalLM", "CAUSAL_LM")
    classifier = load_classifier(tmp_path / "adapter", NAMES, ANSWERS, backend=backend)
    ids = classifier.inputs(TEXTS)
    answers = new_tokenizer(0).convert_tokens_to_ids(["fox", "rain", "loan"])
    with torch.no_grad():
        expected = torch.stack([adapted(input_ids=torch.tensor([one])).logits[0, -1, answers] for one in ids])
    torch.testing.assert_close(classifier.states_and_logits(ids).logits, expected, rtol=1e-4, atol=1e-4)


@pytest.fixture
def soft(tmp_path: Path) -> Path:
    """A soft prompt of four virtual tokens over a decoder."""
    base = write_model(tmp_path / "base", "Llama", "ForCausalLM")
    base.name_or_path = str(tmp_path / "base")
    prompt: Any = get_peft_model(base, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4))
    with torch.no_grad():
        prompt.prompt_encoder["default"].embedding.weight.mul_(3)
    prompt.eval().save_pretrained(str(tmp_path / "soft"))
    new_tokenizer(0).save_pretrained(tmp_path / "soft")
    return tmp_path / "soft"


def test_a_soft_prompt_is_read_as_peft_reads_it(soft: Path, tmp_path: Path) -> None:
    classifier = load_classifier(soft, NAMES, ANSWERS)
    base = load_classifier(tmp_path / "base", NAMES, ANSWERS, backend="transformers")
    peft = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tmp_path / "base"), str(soft)).eval()
    ids = classifier.inputs(TEXTS)
    answers = new_tokenizer(0).convert_tokens_to_ids(["fox", "rain", "loan"])
    hidden, logits = classifier.states_and_logits(ids)
    for one, state, said in zip(ids, hidden, logits, strict=True):
        with torch.no_grad():
            given = peft(input_ids=torch.tensor([one]), output_hidden_states=True)
        torch.testing.assert_close(said, given.logits[0, -1, answers], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(state, given.hidden_states[2][0, -1], rtol=1e-4, atol=1e-5)
    assert (logits - base.states_and_logits(ids).logits).abs().max() > 0.01
    hidden.requires_grad_()
    back = classifier.logits_from(hidden, classifier.context(ids))
    torch.testing.assert_close(back, logits, rtol=1e-4, atol=1e-5)
    assert torch.autograd.grad(back.sum(), hidden)[0].norm(dim=1).min() > 0
    torch.testing.assert_close(classifier.logits_from(hidden), base.logits_from(hidden))
    assert classifier.model_fingerprint != base.model_fingerprint


def test_a_model_whose_soft_prompt_is_missing_is_refused(soft: Path) -> None:
    (soft / "adapter_model.safetensors").unlink()
    with pytest.raises(UserError, match=r"weights of the adapter .*soft cannot be read.*another model"):
        load_classifier(soft, NAMES, ANSWERS)


def test_a_soft_prompt_of_another_width_or_backend_is_refused(soft: Path) -> None:
    with pytest.raises(UserError, match="soft prompt, which HookedTransformer cannot read"):
        load_classifier(soft, NAMES, ANSWERS, backend="hooked_transformer")
    save_file({"prompt_embeddings": torch.ones(4, 16)}, soft / "adapter_model.safetensors")
    with pytest.raises(UserError, match="soft prompt is 16 wide, its base 32"):
        load_classifier(soft, NAMES, ANSWERS)


def test_the_base_s_tokenizer_will_do(tmp_path: Path) -> None:
    write_adapter(tmp_path, "Bert", "ForSequenceClassification", "SEQ_CLS")
    expected = load_classifier(tmp_path / "adapter", NAMES).inputs(TEXTS)
    for file in (tmp_path / "adapter").glob("tokenizer*"):
        file.unlink()
    assert load_classifier(tmp_path / "adapter", NAMES).inputs(TEXTS) == expected


def refused(folder: Path, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_classifier(folder, NAMES)


def test_an_adapter_without_its_base_is_refused(tmp_path: Path) -> None:
    write_adapter(tmp_path, "Bert", "ForSequenceClassification", "SEQ_CLS")
    shutil.rmtree(tmp_path / "base")
    refused(tmp_path / "adapter", r"adapter is an adapter, and its base cannot be opened: .*base.*does not exist")
    file = tmp_path / "adapter" / "adapter_config.json"
    file.write_text(json.dumps({**read_json(file), "base_model_name_or_path": None}))
    refused(tmp_path / "adapter", r"does not say of which model it is an adapter")


def test_an_adapter_of_another_model_is_refused(tmp_path: Path) -> None:
    write_adapter(tmp_path, "Bert", "ForSequenceClassification", "SEQ_CLS")
    shutil.rmtree(tmp_path / "base")
    write_model(tmp_path / "base", "Bert", hidden_size=16)
    refused(tmp_path / "adapter", r"does not go with its base .*base: RuntimeError.*size mismatch")


def test_an_adapter_of_a_classifier_without_its_head_is_refused(tmp_path: Path) -> None:
    write_adapter(tmp_path, "Bert", "ForSequenceClassification", "SEQ_CLS")
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    save_file({name: value for name, value in load_file(file).items() if ".classifier." not in name}, file)
    refused(tmp_path / "adapter", "brings no head")


@pytest.mark.parametrize("whole", [False, True])
def test_a_head_of_which_a_part_is_nowhere_is_refused(whole: bool, tmp_path: Path) -> None:
    """PEFT saves what is called ``classifier``; a DeBERTa's pooler was as new, where its base had no head."""
    write_model(tmp_path / "base", "DebertaV2", "Model")
    base = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base", num_labels=3)
    base.name_or_path = str(tmp_path / "base")
    saved = ["pooler", "classifier"] if whole else None
    settings = LoraConfig(task_type="SEQ_CLS", target_modules=["query_proj"], modules_to_save=saved)
    adapted: Any = get_peft_model(base, settings).eval()
    adapted.save_pretrained(str(tmp_path / "adapter"))
    if not whole:
        refused(tmp_path / "adapter", r"a part of its head alone: pooler\.dense\.bias is neither")
        return
    classifier = load_classifier(tmp_path / "adapter", NAMES)
    ids = classifier.inputs(TEXTS)
    with torch.no_grad():
        expected = torch.cat([adapted(input_ids=torch.tensor([one])).logits for one in ids])
    torch.testing.assert_close(classifier.states_and_logits(ids).logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("a", "b"), r"has 3 classes, asked for are 2 \(a, b\)"),
        (("weather", "animals", "money"), "calls its classes animals, weather, money"),
    ],
)
def test_an_adapter_that_brings_no_head_has_its_base_s(names: tuple[str, ...], message: str, tmp_path: Path) -> None:
    write_adapter(tmp_path, "Bert", "ForSequenceClassification", "FEATURE_EXTRACTION")
    assert load_classifier(tmp_path / "adapter").class_names == NAMES
    with pytest.raises(UserError, match=message):
        load_classifier(tmp_path / "adapter", names)


@pytest.mark.parametrize("task", ["SEQ_CLS", "soft prompt"])
def test_an_adapter_that_is_a_pickle_is_refused(task: str, tmp_path: Path, soft: Path) -> None:
    adapter = soft
    if task == "SEQ_CLS":
        write_adapter(tmp_path, "Bert", "ForSequenceClassification", task)
        adapter = tmp_path / "adapter"
    file = adapter / "adapter_model.safetensors"
    torch.save(load_file(file), adapter / "adapter_model.bin")
    file.unlink()
    refused(adapter, r"are a pickle \(adapter_model.bin\).*only safetensors are read")
