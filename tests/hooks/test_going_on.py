"""A tuning that was stopped goes on: to the same weights, for every family, wherever in an epoch, from whole files."""

import errno
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch

import sae_lens_classif.hooks.tuning.trainer as trainer
from sae_lens_classif.config.classifier import FinetuneConfig, PromptConfig
from sae_lens_classif.data.texts import TextData
from sae_lens_classif.errors import UserError
from sae_lens_classif.hooks.tuning.finetune import finetune
from tests.fakes.models import write_model
from tests.tiny_run import sign

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
    undisturbed: Callable[..., None] = trainer.QuietProgress.on_step_end

    def stop(step: int | None) -> None:
        def on_step_end(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            undisturbed(self, args, state, control, **kwargs)
            if state.global_step == step:
                raise KeyboardInterrupt

        monkeypatch.setattr(trainer.QuietProgress, "on_step_end", on_step_end)

    return stop


@pytest.fixture
def stopped(data: TextData, tmp_path: Path, stop_after: Callable[[int | None], None]) -> Path:
    """Checkpoints of a decoder from scratch that was stopped after 12 of 18 steps."""
    stop_after(12)
    with pytest.raises(KeyboardInterrupt):
        _tune("scratch", data, tmp_path, tmp_path / "kept")
    stop_after(None)
    return tmp_path / "kept"


def _differing(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> list[str]:
    assert found.keys() == expected.keys()
    return [name for name in expected if not torch.equal(found[name], expected[name])]


@pytest.mark.parametrize("family", _FAMILIES)
def test_a_stopped_tuning_ends_with_the_weights_of_one_that_was_not(
    family: str, data: TextData, tmp_path: Path, stop_after: Callable[[int | None], None]
) -> None:
    expected = _tune(family, data, tmp_path, None)
    for step in (7, 14):
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
        {"max_steps": 18, "n_checkpoints": 5, "batch_size": 9},  # at the end of each and in its middle
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


def test_one_checkpoint_is_kept_and_gone_on_from(
    stopped: Path, data: TextData, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sorted(path.name for path in stopped.iterdir()) == ["10", "settings.json"]
    with caplog.at_level(logging.INFO, logger="sae_lens_classif"):
        _tune("scratch", data, stopped.parent, stopped)
    assert "classifier: going on at step 10 of 18" in caplog.messages
    bar = capsys.readouterr().err
    assert "10/18" in bar and "0/18 " not in bar.partition("10/18")[2]
    assert sorted(path.name for path in stopped.iterdir()) == ["15", "settings.json"]


def test_nothing_is_unpickled(stopped: Path, data: TextData, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    files = {path.name for path in (stopped / "10").iterdir()}
    tensors = {"tuned.safetensors", "epoch_start.safetensors"}
    assert files == {*tensors, "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", "files.json"}
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        whole = (stopped / "10" / name).read_bytes()
        torch.save(_Trap(tmp_path / "sprung"), stopped / "10" / name)
        sign(stopped / "10", "files.json")
        with pytest.raises(Exception, match="Weights only load failed"):
            _tune("scratch", data, stopped.parent, stopped)
        (stopped / "10" / name).write_bytes(whole)
        sign(stopped / "10", "files.json")
    assert not (tmp_path / "sprung").exists()
    _tune("scratch", data, stopped.parent, stopped)


class _Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._path,)


def test_only_what_is_tuned_is_kept(data: TextData, tmp_path: Path, stop_after: Callable[[int | None], None]) -> None:
    stop_after(12)
    with pytest.raises(KeyboardInterrupt):
        _tune("soft_prompt", data, tmp_path, tmp_path / "kept")
    assert (tmp_path / "kept" / "10" / "tuned.safetensors").stat().st_size < 1000


def test_what_was_killed_while_it_was_written_is_no_checkpoint(stopped: Path, data: TextData) -> None:
    expected = _tune("scratch", data, stopped.parent, None)
    (stopped / "partial" / "checkpoint-15").mkdir(parents=True)
    (stopped / "partial" / "checkpoint-15" / "tuned.safetensors").write_bytes(b"half")
    (stopped / "5").mkdir()  # half deleted
    assert _differing(_tune("scratch", data, stopped.parent, stopped), expected) == []
    assert sorted(path.name for path in stopped.iterdir()) == ["15", "settings.json"]


def test_a_training_of_something_else_is_refused(stopped: Path, data: TextData) -> None:
    remedy = "it is an unfinished training; delete it, or use another folder"
    with pytest.raises(UserError, match=rf"kept was made with finetune\.lr = 0\.01, now .* = 0\.02 is .*; {remedy}"):
        _tune("scratch", data, stopped.parent, stopped, lr=2e-2)
    others = replace(data, texts=(*data.texts[:-1], "another"))
    with pytest.raises(UserError, match=f"kept was made with another data .*; {remedy}"):
        _tune("scratch", others, stopped.parent, stopped)
    _tune("scratch", data, stopped.parent, stopped, n_checkpoints=1)


def test_settings_may_change_as_long_as_there_is_no_checkpoint(
    data: TextData, tmp_path: Path, stop_after: Callable[[int | None], None]
) -> None:
    stop_after(2)
    for lr in (1e-2, 2e-2):
        with pytest.raises(KeyboardInterrupt):
            _tune("scratch", data, tmp_path, tmp_path / "kept", lr=lr)


def test_a_full_disk_is_told_and_leaves_the_checkpoint_before(
    stopped: Path, data: TextData, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(trainer, "save_file", full)
        with pytest.raises(UserError, match=r"the disk is full while writing .*kept; make room and run the same"):
            _tune("scratch", data, stopped.parent, stopped)
    assert sorted(path.name for path in stopped.iterdir()) == ["10", "settings.json"]


def test_without_checkpoints_nothing_is_left(data: TextData, tmp_path: Path) -> None:
    _tune("scratch", data, tmp_path, tmp_path / "kept", n_checkpoints=0)
    assert not list((tmp_path / "kept").iterdir())
