"""A share of what ``make robust`` gives the command line: whatever a user gets wrong ends in words."""

import os
import subprocess
import sys
from pathlib import Path

from tests.robustness.fuzzing import Ended, draw_inputs

_N_INPUTS = 40


def test_whatever_is_given_ends_well_or_with_one_line_that_says_what_is_wrong(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "tests.robustness.fuzzing", "--inputs", str(_N_INPUTS)]
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    counts = {outcome: int(count) for count, outcome in map(str.split, done.stdout.splitlines())}
    assert sum(counts.values()) == _N_INPUTS and set(counts) == {"0", "2"}


def test_the_same_seed_draws_the_same_inputs() -> None:
    def drawn(seed: int) -> list[object]:
        return [
            (one.words, one.stdin, [(file.path, file.about) for file in one.files]) for one in draw_inputs(30, seed)
        ]

    assert drawn(1) == drawn(1) != drawn(2)


def test_what_is_no_word_to_the_user_is_counted_as_bad() -> None:
    def outcome(code: int, stderr: str = "", is_stopped: bool = False) -> str:
        return Ended(code, stderr, 1.0, is_stopped).outcome

    assert [outcome(0), outcome(130), outcome(2, "Loading ...\nerror: no such file\n")] == ["0", "130", "2"]
    assert outcome(1, "error of sae-lens-classif itself: KeyError\n") == "bad: exit 1"
    assert outcome(2, "error: one\nerror: two\n") == outcome(2, "error: one\ntwo\n") == outcome(2) == "bad: exit 2"
    assert outcome(2, "Traceback (most recent call last):\nerror: one\n") == "bad: traceback"
    assert outcome(-11) == "bad: signal SIGSEGV" and outcome(-9, is_stopped=True) == "bad: over 20 s"
