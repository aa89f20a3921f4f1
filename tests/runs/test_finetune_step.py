"""The step ``finetune``, stopped and started again: with the same settings, with others, and with ``--overwrite``."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from sae_lens_classif.data.texts import TextData
from sae_lens_classif.hooks.tuning.trainer import QuietProgress
from tests.tiny_run import Ended, assert_refused_at_once, cli, contents, snapshot, write_csv

_SETTINGS: dict[str, Any] = {
    "prompt": {"template": "{text}:", "max_tokens": 20},
    "classifier": {"device": "cpu"},
    "finetune": {"base_model": "scratch", "n_layers": 2, "d_model": 16, "n_heads": 2, "vocab_size": 300, "context": 32,
                 "max_steps": 24, "batch_size": 8, "lr": 1e-2},
}  # fmt: skip


@pytest.fixture
def settings(train_data: TextData, tmp_path: Path) -> Path:
    write_csv(tmp_path / "texts" / "train.csv", train_data.texts, train_data.labels.tolist())
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump({"data": {"source": str(tmp_path / "texts")}, **_SETTINGS}))
    return tmp_path / "settings.yaml"


def _finetune(settings: Path, run: str, *options: object) -> Ended:
    return cli("finetune", "--run", settings.parent / run, "--config", settings, *options)


def _stopped(settings: Path, run: str, step: int, *options: object) -> Path:
    """Checkpoints of a run that was stopped after so many steps as Ctrl-C does."""

    def stop(_: Any, args: Any, state: Any, *__: Any, **___: Any) -> None:
        if state.global_step == step:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(QuietProgress, "on_step_end", stop)
        ended = _finetune(settings, run, *options)
    assert ended.code == 130, ended.stderr
    return settings.parent / run / "classifier.tuning"


def test_the_same_command_goes_on_and_other_settings_are_refused(
    settings: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = _stopped(settings, "stopped", 20)
    before = snapshot(kept)
    assert any(name.startswith("18/") for name in before)
    for options in (("--finetune.lr", "0.02"), ("--data.max_train_texts", "100")):
        refused = _finetune(settings, "stopped", *options)
        assert_refused_at_once(refused, "classifier.tuning was made with", "another --run folder, or --overwrite")
    assert snapshot(kept) == before
    done = _finetune(settings, "stopped", "--finetune.n_checkpoints", "3")
    assert done.code == 0 and "classifier: going on at step 18 of 24" in caplog.messages
    assert not kept.exists()
    assert _finetune(settings, "whole").code == 0
    whole, gone_on = (contents(snapshot(settings.parent / run / "classifier")) for run in ("whole", "stopped"))
    assert whole == gone_on


def test_overwrite_begins_anew_with_other_settings_and_goes_on_with_the_same(
    settings: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert _finetune(settings, "run").code == 0
    changed = ("--finetune.lr", "0.02", "--overwrite")
    _stopped(settings, "run", 10, *changed)
    assert not (settings.parent / "run" / "classifier").exists()
    _stopped(settings, "run", 14, *changed)
    assert "classifier: going on at step 9 of 24" in caplog.messages
    caplog.clear()
    assert _finetune(settings, "run", "--finetune.lr", "0.03", "--overwrite").code == 0
    assert not [said for said in caplog.messages if "going on" in said]
    assert not (settings.parent / "run" / "classifier.tuning").exists()
