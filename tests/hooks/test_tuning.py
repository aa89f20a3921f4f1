"""Tuning a head: which weights move, what is written, and that the classifier is what was tuned."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import PreTrainedModel, Trainer

from sae_lens_classif.config.classifier import FinetuneConfig, PromptConfig
from sae_lens_classif.data.texts import TextData
from sae_lens_classif.errors import UserError
from sae_lens_classif.hooks.load import load_classifier, save_classifier
from sae_lens_classif.hooks.tuning.finetune import finetune
from sae_lens_classif.hooks.tuning.parts import freeze_below
from sae_lens_classif.hooks.tuning.task import has_head
from sae_lens_classif.hooks.tuning.trainer import training_arguments
from tests.conftest import CLASS_NAMES
from tests.fakes.models import new_model, write_model

_CPU = torch.device("cpu")


def settings(base: Path, **changes: object) -> FinetuneConfig:
    given = {"max_steps": 60, "batch_size": 16, "lr": 3e-3, "base_model": str(base), **changes}
    return FinetuneConfig(**given)  # type: ignore[arg-type]  # whatever a test changes


@pytest.mark.parametrize(
    ("family", "head", "asked"),
    [("Bert", "Model", None), ("Roberta", "ForMaskedLM", None), ("GPT2", "LMHeadModel", "classification")],
)
def test_a_head_is_tuned_and_opened_again(
    family: str, head: str, asked: str | None, train_data: TextData, test_data: TextData, tmp_path: Path
) -> None:
    write_model(tmp_path / "base", family, head)
    cfg = settings(tmp_path / "base", head=asked)
    prompt = PromptConfig(max_tokens=20)
    model, tokenizer = finetune(cfg, prompt, train_data, _CPU)
    save_classifier(tmp_path / "tuned", model, tokenizer, prompt, train_data.class_names)
    classifier = load_classifier(tmp_path / "tuned")
    assert classifier.class_names == CLASS_NAMES
    logits = classifier.states_and_logits(classifier.inputs(test_data.texts)).logits
    said = (logits.argmax(dim=1).numpy() == test_data.labels).mean()
    assert said > 0.5, "a third by chance; its tokenizer knows a few of the words alone"
    again, _ = finetune(cfg, prompt, train_data, _CPU)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize("family", ["Bert", "DebertaV2", "ModernBert", "Llama", "GPT2"])
def test_the_last_blocks_and_what_stands_above_them_are_tuned_alone(family: str) -> None:
    model = new_model(family, "ForSequenceClassification")
    freeze_below(model, 1)
    tuned = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert tuned and not [name for name in tuned if "embed" in name and "rel_" not in name]
    blocks = {name for name in tuned if ".0." in name or ".1." in name}
    assert not {name for name in blocks if "layer" in name or ".h." in name}
    assert [name for name in tuned if ".2." in name]
    assert [name for name in tuned if name.startswith(("classifier", "score"))]
    freeze_below(model, 0)
    assert {name for name, weight in model.named_parameters() if weight.requires_grad} < tuned


def test_frozen_weights_stay_as_they_were(train_data: TextData, tmp_path: Path) -> None:
    base: PreTrainedModel = write_model(tmp_path / "base", "Bert", "Model")
    tuned, _ = finetune(settings(tmp_path / "base", train_blocks=1), PromptConfig(), train_data, _CPU)
    moved = {
        name for name, weight in base.named_parameters() if not torch.equal(weight, tuned.get_parameter(f"bert.{name}"))
    }
    assert moved and all(name.startswith(("encoder.layer.2.", "pooler.")) for name in moved)
    assert all(weight.requires_grad for weight in tuned.parameters()), "whoever gets the model may go on"


@pytest.mark.parametrize(("family", "head", "asked"), [("Bert", "Model", None), ("GPTNeoX", "ForCausalLM", None)])
def test_an_adapter_is_tuned_written_alone_and_opened_with_its_base(
    family: str, head: str, asked: str | None, train_data: TextData, test_data: TextData, tmp_path: Path
) -> None:
    write_model(tmp_path / "base", family, head)
    is_decoder = head == "ForCausalLM"
    prompt = (
        PromptConfig(template="{text} price ", label_words=("fox", "rain", "loan")) if is_decoder else PromptConfig()
    )
    cfg = settings(tmp_path / "base", head=asked, adapter="lora", lora_rank=4, lr=1e-2)
    model, tokenizer = finetune(cfg, prompt, train_data, _CPU)
    save_classifier(tmp_path / "tuned", model, tokenizer, prompt, train_data.class_names)
    assert not (tmp_path / "tuned" / "model.safetensors").exists()
    assert (tmp_path / "tuned" / "adapter_model.safetensors").stat().st_size < 40_000
    classifier = load_classifier(tmp_path / "tuned")
    logits = classifier.states_and_logits(classifier.inputs(test_data.texts)).logits
    assert (logits.argmax(dim=1).numpy() == test_data.labels).mean() > 0.45, "a third by chance"


@pytest.mark.parametrize("family", ["Albert", "Bert", "DebertaV2", "DistilBert", "ModernBert"])
def test_an_adapter_brings_all_of_the_head_that_its_base_has_not(
    family: str, train_data: TextData, tmp_path: Path
) -> None:
    base = "ForMaskedLM" if family in ("Albert", "Bert") else "Model"  # without a pooler
    write_model(tmp_path / "base", family, base)
    cfg = settings(tmp_path / "base", adapter="lora", max_steps=2, seed=1)
    model, tokenizer = finetune(cfg, PromptConfig(), train_data, _CPU)
    save_classifier(tmp_path / "tuned", model, tokenizer, PromptConfig(), train_data.class_names)
    classifier = load_classifier(tmp_path / "tuned")
    ids = classifier.inputs(train_data.texts[:3])
    with torch.no_grad():
        expected = torch.cat([model(input_ids=torch.tensor([one])).logits for one in ids])
    torch.testing.assert_close(classifier.states_and_logits(ids).logits, expected, rtol=1e-4, atol=1e-5)


def test_a_soft_prompt_is_tuned_written_alone_and_its_base_stays_as_it_is(
    train_data: TextData, test_data: TextData, tmp_path: Path
) -> None:
    write_model(tmp_path / "base", "GPTNeoX", "ForCausalLM")
    prompt = PromptConfig(template="{text} price ", label_words=("fox", "rain", "loan"))
    cfg = settings(tmp_path / "base", adapter="soft_prompt", virtual_tokens=3, lr=3e-2, max_steps=100)
    model, tokenizer = finetune(cfg, prompt, train_data, _CPU)
    save_classifier(tmp_path / "tuned", model, tokenizer, prompt, train_data.class_names)
    (weights,) = load_file(tmp_path / "tuned" / "adapter_model.safetensors").values()
    assert weights.shape == (3, 32)
    classifier = load_classifier(tmp_path / "tuned")
    before = load_classifier(tmp_path / "base", train_data.class_names, prompt)
    ids, labels = classifier.inputs(test_data.texts), torch.from_numpy(test_data.labels)
    losses = [
        torch.nn.functional.cross_entropy(one.states_and_logits(ids).logits, labels) for one in (classifier, before)
    ]
    assert losses[0] < 0.95 * losses[1], "three tokens before a random model do not do much"


@pytest.mark.parametrize("family", ["GPT2", "OPT"])
def test_a_soft_prompt_leaves_room_for_itself(family: str, train_data: TextData, tmp_path: Path) -> None:
    """Where positions are learned, there is none for what stands after the last."""
    base = tmp_path / "base"
    write_model(base, family, {"GPT2": "LMHeadModel"}.get(family, "ForCausalLM"), max_position_embeddings=12)
    long = replace(train_data, texts=tuple("the lazy dog . " * 5 for _ in train_data.texts))
    prompt = PromptConfig(template="{text} price ", label_words=("fox", "rain", "loan"))
    cfg = settings(base, adapter="soft_prompt", max_steps=1, virtual_tokens=3)
    model, tokenizer = finetune(cfg, prompt, long, _CPU)
    save_classifier(tmp_path / "tuned", model, tokenizer, prompt, long.class_names)
    classifier = load_classifier(tmp_path / "tuned")
    ids = classifier.inputs(long.texts[:2])
    assert len(ids[0]) == 12 - 3
    assert classifier.states_and_logits(ids).logits.isfinite().all()


def test_which_models_get_a_head(tmp_path: Path) -> None:
    write_model(tmp_path / "bert", "Bert", "ForMaskedLM")
    write_model(tmp_path / "gpt2", "GPT2", "LMHeadModel")
    assert has_head(settings(tmp_path / "bert")) and not has_head(settings(tmp_path / "gpt2"))
    assert has_head(settings(tmp_path / "gpt2", head="classification"))
    assert not has_head(FinetuneConfig(base_model="scratch"))


def test_what_cannot_be_tuned_is_refused(train_data: TextData, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"finetune\.head is classification, but a model from scratch"):
        finetune(FinetuneConfig(base_model="scratch", head="classification"), PromptConfig(), train_data, _CPU)
    write_model(tmp_path / "base", "Bert", "Model")
    with pytest.raises(UserError, match=r"prompt\.template is set"):
        finetune(settings(tmp_path / "base"), PromptConfig(template="{text}:"), train_data, _CPU)
    model = write_model(tmp_path / "nan", "Bert", "Model")
    torch.nn.init.constant_(model.get_parameter("embeddings.word_embeddings.weight"), torch.nan)
    model.save_pretrained(tmp_path / "nan")
    with pytest.raises(UserError, match=r"not finite in bert\.embeddings\.word_embeddings"):
        finetune(settings(tmp_path / "nan"), PromptConfig(), train_data, _CPU)


@pytest.mark.parametrize(("lr_end", "expected"), [(None, [1e-2, 7.5e-3, 2.5e-3, 0]), (1e-3, [1e-2, 7e-3, 4e-3, 1e-3])])
def test_the_learning_rate_falls_along_a_cosine_or_a_line(lr_end: float | None, expected: list[float]) -> None:
    cfg = FinetuneConfig(max_steps=3, lr=1e-2, lr_end=lr_end, warmup_share=0)
    args = training_arguments(cfg, 10, "unused", _CPU)
    trainer = Trainer(model=torch.nn.Linear(1, 1), args=args)
    schedule = trainer.create_scheduler(3, trainer.create_optimizer())
    rates = []
    for _ in range(4):
        rates += schedule.get_last_lr()[:1]
        schedule.optimizer.step()
        schedule.step()
    assert rates == pytest.approx(expected)
