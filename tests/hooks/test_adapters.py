"""Adapters of PEFT over models of all families: opened, they are the tuned model."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

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
    file.write_text(json.dumps({**json.loads(file.read_text()), "base_model_name_or_path": None}))
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
