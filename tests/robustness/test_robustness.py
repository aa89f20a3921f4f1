"""A quick share of ``make robust``, in a process of its own: what it forks must not have done anything before.

The environment variable ROBUSTNESS_SEED is the seed of what is drawn (default 0).
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.robustness.damage import DAMAGES
from tests.robustness.flips import kind_of
from tests.robustness.forking import Ended, Launcher
from tests.robustness.operations import Operation, count, die_at, read_counted
from tests.robustness.outcomes import Outcomes, fault_of
from tests.robustness.workshop import differences

_ROOT = Path(__file__).parents[2]
_PATIENCE = 600  # seconds


def test_a_share_of_the_kills_flips_and_pairs_does_no_harm() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.robustness", "--seed", os.environ.get("ROBUSTNESS_SEED", "0")],
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": str(_ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=_PATIENCE,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert done.stdout.count("| together |") == 3


# --- The harness itself: what it must not overlook


def _write_two(folder: Path) -> None:
    with (folder / "one.partial").open("w", encoding="utf-8") as file:
        file.write("all of it")
    (folder / "one.partial").rename(folder / "one")
    (folder / "two").mkdir()


@pytest.fixture
def launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Launcher:
    for name in ("COLUMNS", "HF_HOME", "TMPDIR"):  # which it sets
        monkeypatch.setenv(name, os.environ.get(name, ""))
    (tmp_path / "here").mkdir()
    return Launcher(tmp_path / "launcher")


def test_every_change_below_the_folder_is_counted_and_none_elsewhere(tmp_path: Path, launcher: Launcher) -> None:
    here, note = tmp_path / "here", tmp_path / "note"

    def work() -> None:
        _write_two(here)
        (tmp_path / "elsewhere").write_text("", encoding="utf-8")
        (here / "two").mkdir(exist_ok=True)  # changes nothing

    assert launcher.call(work, here, count(here, note)).ended().code == 0
    expected = [Operation("write", "one.partial"), Operation("rename", "one.partial"), Operation("mkdir", "two")]
    assert read_counted(note) == expected


@pytest.mark.parametrize(
    ("number", "how", "left"),
    [
        (0, "before", {}),
        (1, "before", {"one.partial": b"all of it"}),
        (1, "cut", {"one.partial": b"all "}),
        (2, "before", {"one": b"all of it"}),
    ],
)
def test_a_kill_leaves_what_was_done_before_that_operation(
    tmp_path: Path, launcher: Launcher, number: int, how: str, left: dict[str, bytes]
) -> None:
    here = tmp_path / "here"
    ended = launcher.call(lambda: _write_two(here), here, die_at(here, number, how)).ended()  # type: ignore[arg-type]  # a literal
    assert ended.code == -9
    assert {path.name: path.read_bytes() for path in here.iterdir()} == left


def test_of_what_is_added_to_a_file_a_cut_takes_the_half_alone(tmp_path: Path, launcher: Launcher) -> None:
    here, log = tmp_path / "here", tmp_path / "here" / "log"

    def work() -> None:
        for line in ("first\n", "second\n"):
            with log.open("a", encoding="utf-8") as file:
                file.write(line)
        (here / "end").mkdir()

    launcher.call(work, here, die_at(here, 2, "cut")).ended()
    assert log.read_text(encoding="utf-8") == "first\nsec"


def test_what_is_missing_left_over_and_different_is_told() -> None:
    found, expected = {"a": b"1", "b": b"2", "c.partial": b""}, {"a": b"1", "b": b"3", "d": b""}
    assert differences(found, expected) == ["d is missing", "c.partial is left over", "b has other bytes"]


@pytest.mark.parametrize(
    ("code", "stderr", "fault"),
    [
        (0, "", None),
        (2, "Loading ...\nerror: it is damaged; run `train` again\n", None),
        (2, "", "exit 2 without words"),
        (1, "error of sae-lens-classif itself: KeyError", "exit 1"),
        (0, "Traceback (most recent call last):\n", "traceback"),
        (-11, "", "signal 11"),
        (None, "", "hang"),
    ],
)
def test_only_success_and_a_refusal_in_words_are_no_fault(code: int | None, stderr: str, fault: str | None) -> None:
    assert fault_of(Ended(code, "", stderr, 0.0)) == fault


@pytest.mark.parametrize("name", DAMAGES)
def test_each_damage_leaves_other_bytes(tmp_path: Path, name: str) -> None:
    import numpy as np

    path, other = tmp_path / "one.bin", tmp_path / "other.bin"
    path.write_bytes(bytes(range(1, 256)) * 40)
    other.write_bytes(b"other")
    before = path.read_bytes()
    DAMAGES[name](path, [path, other], np.random.default_rng(0))
    assert not path.exists() or path.read_bytes() != before


def test_every_file_of_a_run_is_of_a_kind_and_texts_are_none() -> None:
    assert kind_of("run/sweep/train.seed=0/saes/classifsae/sae_weights.safetensors") == "SAE's weights"
    assert kind_of("other/activations/test/manifest.json") == "manifest of states"
    assert kind_of("run/of_a_later_version.bin") == "others"
    assert kind_of("texts/train.csv") is None


def test_one_failure_among_many_trials_fails_them_all(capsys: pytest.CaptureFixture[str]) -> None:
    outcomes = Outcomes("tried")
    outcomes.passed("this", "well")
    assert outcomes.finish() == 0
    outcomes.failed("that", "silent", "other bytes", "--only 7")
    assert outcomes.finish() == 1
    assert "that: silent: other bytes [--only 7]" in capsys.readouterr().out
