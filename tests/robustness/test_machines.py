"""Machines that are set up otherwise: names of files that are not UTF-8, a clock that goes backwards."""

import itertools
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sae_lens_classif.checksums import read_json
from sae_lens_classif.data.texts import TextData
from tests.tiny_run import make_tiny

_POSIX = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}


def _command(*words: str, folder: Path, **environ: str) -> subprocess.CompletedProcess[bytes]:
    known = {name: value for name, value in os.environ.items() if name not in ("LANG", "LC_CTYPE", "PYTHONIOENCODING")}
    root = str(Path(__file__).parents[2])
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "sae_lens_classif", *words], cwd=folder,
        env={**known, "PYTHONPATH": root, **environ}, capture_output=True, check=False,
    )  # fmt: skip


def test_in_the_posix_locale_paths_may_hold_any_letter(tmp_path: Path) -> None:
    (tmp_path / "données.yaml").write_text("classifier: {model: modèle}\n", encoding="utf-8")
    done = _command("finetune", "--run", "résultat", "--config", "données.yaml", folder=tmp_path, **_POSIX)
    assert done.returncode == 0, done.stderr
    assert "modèle" in (tmp_path / "résultat" / "config.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("words", [("--run", "résultat"), ("--run", "run", "--config", "settings.yaml")])
def test_where_names_of_files_are_ascii_others_are_refused_in_words(words: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("data: {source: données}\n", encoding="utf-8")
    done = _command("cache", *words, folder=tmp_path, PYTHONUTF8="0", **_POSIX)
    told = done.stderr.decode()
    assert done.returncode == 2 and told.startswith("error: ") and told.count("\n") == 1, told
    assert "PYTHONUTF8=1" in told


def test_a_clock_that_goes_backwards_and_files_of_the_future_change_no_result(
    tmp_path: Path,
    classifier_folder: Path,
    train_data: TextData,
    test_data: TextData,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tiny = make_tiny(tmp_path, classifier_folder, train_data, test_data)
    tiny.command("run", "plain")
    for path in tmp_path.rglob("*"):
        os.utime(path, (2**33, 2**33))
    ticks = itertools.count()
    monkeypatch.setattr(time, "time", lambda: 1000.0 - 100.0 * next(ticks))
    tiny.command("run", "backwards")
    tiny.command("evaluate", "backwards")
    for name in ("summary.json", "evals/classifsae/completeness.json", "saes/classifsae/sae_weights.safetensors"):
        plain, backwards = (_without_times(tiny.run(run) / name) for run in ("plain", "backwards"))
        assert plain == backwards, name
    assert next(ticks) > 1, "nothing asked for the time"


def _without_times(file: Path) -> object:
    """The content of a file, without when and where it was made."""
    if file.suffix != ".json":
        return file.read_bytes()
    content = read_json(file)
    return {name: value for name, value in content.items() if name not in _OF_ITS_MAKING}


_OF_ITS_MAKING = {"datetime_epoch_millis", "eval_id", "run", "sae_lens_release_id"}
