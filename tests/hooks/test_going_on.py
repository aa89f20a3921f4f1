"""A tuning that was stopped goes on: the same weights for every family, wherever in an epoch it stops, from whole files."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import sae_lens_classif.hooks.tuning.trainer as trainer
from sae_lens_classif.config.classifier import FinetuneConfig, PromptConfig
from sae_lens_classif.data.texts import TextData
from sae_lens_classif.hooks.tuning.finetune import finetune
from tests.fakes.models import write_model

_CPU = torch.device("cpu")
_WORDS = ("fox", "rain", "loan")
_SCRATCH = {
    "base_model": "scratch", "n_layers": 2, "d_model": 16, "n_heads": 2, "vocab_size": 300, "context": 32,
    "dropout": 0.2,
}  # fmt: skip
_FAMILIES: dict[str, tuple[dict[str, Any], tuple[str, str] | None]] = {
    "scratch": (_SCRATCH, None),
    "head": ({}, ("Bert", "Model")),
    "tied_head": ({}, ("Albert", "Model")),
    "tied_decoder": ({}, ("GPT2", "LMHeadModel")),
    "train_blocks": ({"train_blocks": 1}, ("Bert", "Model")),
    "lora_head": ({"adapter": "lora"}, ("Bert", "Model")),
    "lora_decoder": ({"adapter": "lora"}, ("GPTNeoX", "ForCausalLM")),
    "soft_prompt": ({"adapter": "soft_prompt", "virtual_tokens": 2}, ("GPTNeoX", "ForCausalLM")),
}

Tune = Callable[..., dict[str, torch.Tensor]]


def _tune(family: str, data: TextData, place: Path, folder: Path | None, **changes: Any) -> dict[str, torch.Tensor]:
    """Weights of a family that was tuned for 18 steps, 7 of them an epoch, with a checkpoint every 5."""
    settings, base = _FAMILIES[family]
    if base is not None and not (place / "base").exists():
        write_model(place / "base", *base)
    given = {"base_model": str(place / "base"), "max_steps": 18, "batch_size": 8, "lr": 1e-2, "n_checkpoints": 3}
    cfg = FinetuneConfig(**{**given, **settings, **changes})
    is_decoder = base is not None and base[1] != "Model"
    prompt = PromptConfig(template="{text} price ", label_words=_WORDS) if is_decoder else PromptConfig(max_tokens=30)
    if family == "scratch":
        prompt = PromptConfig(template="{text}:", max_tokens=20)
    model, _ = finetune(cfg, prompt, data, _CPU, folder)
    return dict(model.state_dict())


@pytest.fixture(scope="module")
def data(train_data: TextData) -> TextData:
    return replace(train_data, texts=train_data.texts[:50], labels=train_data.labels[:50])


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], None]:
    """Stops every tuning after so many steps as Ctrl-C does, or, after None, no longer."""
    undisturbed = trainer.QuietProgress.on_step_end

    def stop(step: int | None) -> None:
        def on_step_end(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            undisturbed(self, args, state, control, **kwargs)
            if state.global_step == step:
                raise KeyboardInterrupt

        monkeypatch.setattr(trainer.QuietProgress, "on_step_end", on_step_end)

    return stop


def _differing(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> list[str]:
    assert found.keys() == expected.keys()
    return [name for name in expected if not torch.equal(found[name], expected[name])]


@pytest.mark.parametrize("family", _FAMILIES)
def test_a_stopped_tuning_ends_with_the_weights_of_one_that_was_not(
    family: str, data: TextData, tmp_path: Path, stop_after: Callable[[int | None], None]
) -> None:
    expected = _tune(family, data, tmp_path, None)
    for step in (7, 12, 17):
        stop_after(step)
        with pytest.raises(KeyboardInterrupt):
            _tune(family, data, tmp_path, tmp_path / "kept")
    stop_after(None)
    assert _differing(_tune(family, data, tmp_path, tmp_path / "kept"), expected) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"max_steps": 15, "n_checkpoints": 1, "batch_size": 8},  # the checkpoint, after 8 steps, in the second epoch
        {"max_steps": 14, "n_checkpoints": 1, "batch_size": 8},  # at the end of the first
        {"max_steps": 28, "n_checkpoints": 3, "batch_size": 8},  # at the end of each
        {"max_steps": 5, "n_checkpoints": 4, "batch_size": 64},  # every epoch is one step
        {"max_steps": None, "epochs": 2.5, "n_checkpoints": 3, "lr_end": 1e-3, "label_smoothing": 0.1},
    ],
)
def test_wherever_in_an_epoch_it_stops(
    changes: dict[str, Any], data: TextData, tmp_path: Path, stop_after: Callable[[int | None], None]
) -> None:
    expected = _tune("scratch", data, tmp_path, None, **changes)
    steps = changes["max_steps"] or 16  # of 50 texts in eights
    for step in range(steps // 2, steps, 3):
        stop_after(step)
        with pytest.raises(KeyboardInterrupt):
            _tune("scratch", data, tmp_path, tmp_path / "kept", **changes)
    stop_after(None)
    assert _differing(_tune("scratch", data, tmp_path, tmp_path / "kept", **changes), expected) == []
