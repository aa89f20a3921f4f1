"""``finetune``, ``cache`` and ``train`` as processes that are killed while they work, and started again.

The environment variable KILLS is how many times each of them is killed (default 2).
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml

from sae_lens_classif.config.classifier import PromptConfig
from sae_lens_classif.data.texts import TextData
from tests.fakes.models import write_model

_KILLS = int(os.environ.get("KILLS", "2"))
_PATIENCE = 180.0  # seconds that a process may take on a busy machine
_REPEATS = 8  # so that the little data set takes a few seconds
_RESULTS = {"finetune": "classifier", "cache": "activations", "train": "saes"}
_BEGINS = {"finetune": "Training classifier", "cache": "Caching train", "train": "Training SAE"}  # the progress bars
_TUNED: dict[str, dict[str, object]] = {
    "scratch": {"base_model": "scratch", "n_layers": 2, "d_model": 32, "vocab_size": 400, "context": 64},
    "Bert": {"train_blocks": 2},
    "GPT2": {"head": "classification", "adapter": "lora", "lr_end": 1e-3},
    "GPTNeoX": {"adapter": "soft_prompt"},
}


@dataclass
class _Process:
    """One run of a step.

    Attributes:
        returncode: As ``subprocess`` has it: minus the signal's number where one ended it.
        seconds: Time from the first sign of its work, if there was one, to its end.
        stderr: What it said.
    """

    returncode: int
    seconds: float
    stderr: str


def _run(step: str, run: Path, settings: Path, kill_after: float | None = None) -> _Process:
    """Run a step, and kill it so many seconds after it began to work."""
    log = settings.parent / "stderr.txt"
    environment = {
        **{name: value for name, value in os.environ.items() if name != "TQDM_DISABLE"},  # its bars are waited for
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(settings.parent / "hugging_face"),
        "OMP_NUM_THREADS": "1",  # several threads for so little work are slow on a busy machine
    }
    command = [sys.executable, "-m", "sae_lens_classif", step, "--run", str(run), "--config", str(settings)]
    with log.open("w") as stderr:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr, env=environment)
    try:
        _wait_until_it_works(process, log, _BEGINS[step])
        begun = time.monotonic()
        process.wait(_PATIENCE if kill_after is None else kill_after)
    except subprocess.TimeoutExpired:
        if kill_after is None:
            raise
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    return _Process(process.returncode, time.monotonic() - begun, log.read_text(errors="replace"))


def _wait_until_it_works(process: "subprocess.Popen[bytes]", log: Path, sign: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while process.poll() is None and sign not in log.read_text(errors="replace"):
        assert time.monotonic() < deadline, log.read_text(errors="replace")
        time.sleep(0.01)


def _finish(step: str, run: Path, settings: Path) -> _Process:
    process = _run(step, run, settings)
    assert process.returncode == 0, process.stderr
    return process


def _kill_and_finish(step: str, run: Path, settings: Path, seconds: float, seed: int) -> tuple[int, str]:
    """Kill a step at random moments, each in a later part of its work, then let it end.

    Returns:
        How many times it was killed, and what it said in the end.
    """
    random = np.random.default_rng(seed)
    killed = 0
    for _ in range(_KILLS):
        process = _run(step, run, settings, kill_after=random.uniform(0, 0.9 * seconds / _KILLS))
        if process.returncode == 0:  # quicker than the undisturbed one: there is nothing left to kill
            break
        assert process.returncode == -signal.SIGKILL, process.stderr
        killed += 1
    return killed, _finish(step, run, settings).stderr


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def settings(
    tmp_path_factory: pytest.TempPathFactory, train_data: TextData, test_data: TextData,
    classifier_folder: Path, prompt: PromptConfig,
) -> Path:  # fmt: skip
    """Settings of a run on local files, as YAML."""
    folder = tmp_path_factory.mktemp("resume")
    for split, data, repeats in (("train", train_data, _REPEATS), ("test", test_data, 2)):
        rows = zip(data.texts, data.labels.tolist(), strict=True)
        lines = [json.dumps({"text": text, "label": label}) for text, label in rows]
        (folder / f"{split}.jsonl").write_text("\n".join(lines * repeats) + "\n")
    content = {
        "data": {"source": str(folder), "class_names": list(train_data.class_names)},
        "prompt": asdict(prompt),
        "classifier": {"model": str(classifier_folder), "device": "cpu"},
        "cache": {"shard_size": 50, "max_batch_tokens": 128},
        "sae": {"d_sae": 128, "k": 4, "n_concepts": 8},
        # Of 900 steps a checkpoint every 25 and a validation every 50: now and then both.
        "train": {
            "total_samples": 900 * 32,
            "batch_size": 32,
            "lr": 1e-2,
            "dead_after_steps": 20,
            "keep": "best",
            "n_validations": 18,
            "n_checkpoints": 35,
            "log_every": 10,
            "device": "cpu",
        },
    }
    (folder / "settings.yaml").write_text(yaml.safe_dump(content))
    return folder / "settings.yaml"


@pytest.fixture(scope="module")
def undisturbed(settings: Path) -> tuple[Path, dict[str, float]]:
    """A run that nobody killed, and how many seconds each of its steps worked."""
    run = settings.parent / "undisturbed"
    seconds = {step: _finish(step, run, settings).seconds for step in ("cache", "train")}
    assert len(list(run.glob("activations/*/shard_*.safetensors"))) == 39 + 4
    saved = {"cfg.json", "runner_cfg.json", "sae_weights.safetensors", "training_log.jsonl"}
    assert set(_files(run / "saes")) == {f"classifsae/{name}" for name in saved}
    return run, seconds


@pytest.mark.slow
@pytest.mark.parametrize(("step", "seed"), [("cache", 0), ("train", 1)])
def test_a_step_that_was_killed_ends_with_the_files_of_one_that_was_not(
    settings: Path, undisturbed: tuple[Path, dict[str, float]], step: str, seed: int
) -> None:
    expected, seconds = undisturbed
    run, result = settings.parent / f"killed_{step}", _RESULTS[step]
    if step == "train":
        shutil.copytree(expected / "activations", run / "activations")
    killed, _ = _kill_and_finish(step, run, settings, seconds[step], seed)
    assert killed >= 1, "it ended before it could be killed"
    _assert_same_files(run / result, expected / result)


@pytest.mark.slow
@pytest.mark.parametrize("family", _TUNED)
def test_a_tuning_that_was_killed_ends_with_the_files_of_one_that_was_not(
    settings: Path, tmp_path: Path, family: str
) -> None:
    cfg = yaml.safe_load(settings.read_text())
    if family != "scratch":
        write_model(tmp_path / "base", family, {"Bert": "Model", "GPT2": "LMHeadModel"}.get(family, "ForCausalLM"))
        decoder = {"template": "{text} price ", "label_words": ["fox", "rain", "loan"]}
        cfg["prompt"] = decoder if family == "GPTNeoX" else {"max_tokens": 40}
    cfg["classifier"] = {"device": "cpu"}
    # A checkpoint every 7 of 280 steps, 120 of them an epoch.
    common = {"base_model": str(tmp_path / "base"), "max_steps": 280, "batch_size": 16, "lr": 3e-3, "n_checkpoints": 39}
    cfg["finetune"] = {**common, **_TUNED[family]}
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(cfg))
    seconds = _finish("finetune", tmp_path / "whole", tmp_path / "settings.yaml").seconds
    run = tmp_path / "killed"
    killed, said = _kill_and_finish("finetune", run, tmp_path / "settings.yaml", seconds, seed=0)
    assert killed >= 1, "it ended before it could be killed"
    assert "classifier: going on at step" in said
    _assert_same_files(run, tmp_path / "whole")


def _assert_same_files(found: Path, expected: Path) -> None:
    files, whole = _files(found), _files(expected)
    assert sorted(files) == sorted(whole)
    assert [name for name in whole if files[name] != whole[name]] == []
