"""The paper's other models: their presets, on small random models of the same class and depth."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sae_lens_classif.cli.parser import parse
from sae_lens_classif.config.classifier import PromptConfig
from sae_lens_classif.data.texts import TextData
from sae_lens_classif.hooks.load import load_classifier, save_classifier
from sae_lens_classif.hooks.tuning.finetune import finetune
from tests.conftest import CLASS_NAMES
from tests.fakes.models import write_model

_PROMPT = PromptConfig(template="{text} price ", label_words=("fox", "rain", "loan"))


@pytest.mark.parametrize(
    ("presets", "base", "family", "head", "n_layers", "hook", "d_sae"),
    [
        ("bert_base", "google-bert/bert-base-uncased", "Bert", "ForMaskedLM", 12, "11.hook_resid_post", 1536),
        ("deberta_v3_large", "microsoft/deberta-v3-large", "DebertaV2", "Model", 24, "23.hook_resid_post", 2048),
        ("gpt_j", "EleutherAI/gpt-j-6b", "GPTJ", "ForCausalLM", 28, "27.hook_resid_pre", 8192),
        (
            "soft_prompt,llama_3_1_8b", "meta-llama/Llama-3.1-8B-Instruct", "Llama", "ForCausalLM", 32,
            "31.hook_resid_pre", 8192,
        ),
        (
            "soft_prompt,mistral_7b", "mistralai/Mistral-7B-Instruct-v0.3", "Mistral", "ForCausalLM", 32,
            "31.hook_resid_pre", 8192,
        ),
    ],
)  # fmt: skip
def test_a_preset_of_the_paper_s_models(
    presets: str, base: str, family: str, head: str, n_layers: int, hook: str, d_sae: int, train_data: TextData,
    tmp_path: Path,
) -> None:  # fmt: skip
    cfg = parse(["run", "--preset", f"ag_news,{presets}"]).cfg
    assert (cfg.finetune.base_model, cfg.sae.d_sae, cfg.classifier.hook) == (base, d_sae, None)
    write_model(tmp_path / "base", family, head, num_hidden_layers=n_layers, n_layer=n_layers)
    small = replace(cfg.finetune, base_model=str(tmp_path / "base"), max_steps=2)
    prompt = PromptConfig() if family in ("Bert", "DebertaV2") else _PROMPT
    model, tokenizer = finetune(small, prompt, train_data, torch.device("cpu"))
    save_classifier(tmp_path / "tuned", model, tokenizer, prompt, CLASS_NAMES)
    classifier = load_classifier(tmp_path / "tuned")
    assert classifier.hook_name == f"blocks.{hook}", "the paper's"
    hidden, logits = classifier.states_and_logits(classifier.inputs(train_data.texts[:4]))
    assert hidden.shape == (4, 32) and logits.isfinite().all()


def test_soft_prompts_are_tuned_as_in_the_paper() -> None:
    cfg = parse(["run", "--preset", "soft_prompt"]).cfg.finetune
    assert (cfg.max_steps, cfg.lr, cfg.lr_end, cfg.warmup_share, cfg.virtual_tokens) == (2000, 5e-3, 1e-4, 0, 10)
