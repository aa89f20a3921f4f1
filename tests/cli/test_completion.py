"""What TAB offers, asked as a shell asks."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sae_lens_classif.config.presets import preset_names
from sae_lens_classif.config.yaml import SETTINGS
from sae_lens_classif.methods.listing import titles

Tab = Callable[[str], list[str]]

_PRESS = """
eval "$("$PYTHON" -c 'import argcomplete; print(argcomplete.shellcode(["sae-lens-classif"]))')"
COMP_LINE="$1" COMP_POINT=${#1} COMP_TYPE=9
_python_argcomplete sae-lens-classif
printf '%s\\n' "${COMPREPLY[@]}"
"""

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")


@pytest.fixture
def tab(tmp_path: Path) -> Tab:
    """Types a line and presses TAB in a bash that has switched completion on; in an empty folder."""
    program = tmp_path / "bin" / "sae-lens-classif"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m sae_lens_classif "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    (tmp_path / "here").mkdir()
    environment = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}", "PYTHON": sys.executable}

    def press(line: str) -> list[str]:
        command = ["bash", "-c", _PRESS, "bash", line]
        done = subprocess.run(
            command, cwd=tmp_path / "here", env=environment, capture_output=True, text=True, check=False
        )
        assert done.stderr == ""
        return sorted(filter(None, map(str.strip, done.stdout.splitlines())))

    return press


def test_the_beginning_of_a_command_becomes_the_command(tab: Tab) -> None:
    assert tab("sae-lens-classif ru") == ["run"]
    assert tab("sae-lens-classif s") == ["score", "stability", "sweep"]


def test_the_beginning_of_a_setting_becomes_the_settings(tab: Tab) -> None:
    expected = sorted(f"--{name}" for name in SETTINGS if name.startswith("train.l"))
    assert len(expected) > 1
    assert tab("sae-lens-classif run --train.l") == expected
    assert tab("sae-lens-classif explain --train.l") == [], "it takes no settings"
    assert "--grid" in tab("sae-lens-classif sweep --g")


def test_presets_are_offered_also_after_a_comma(tab: Tab) -> None:
    assert tab("sae-lens-classif run --preset ") == preset_names()
    assert tab("sae-lens-classif run --preset ag_news,sm") == ["ag_news,small"]
    assert tab("sae-lens-classif run --preset=sm") == ["small"], "what stands before = stays"


def test_methods_and_evaluations_are_offered(tab: Tab) -> None:
    assert tab("sae-lens-classif compare --compare.methods ") == sorted(titles())
    assert tab("sae-lens-classif compare --compare.methods ica,hi") == ["ica,hi_concept"]
    assert tab("sae-lens-classif report runs/mine --method i") == ["ica"]
    assert tab("sae-lens-classif run --evaluate.evals comp") == ["completeness"]


def test_the_words_of_a_settings_type_are_offered(tab: Tab) -> None:
    assert tab("sae-lens-classif run --sae.recipe ") == ["reference", "robust"]
    assert tab("sae-lens-classif run --sae.n_concepts ") == ["auto"]
    assert tab("sae-lens-classif run --evaluate.figures f") == ["false"]
    assert tab("sae-lens-classif sweep --grid sae.gam") == ["sae.gamma="]


def test_run_folders_are_offered_and_files_are_not(tab: Tab, tmp_path: Path) -> None:
    (tmp_path / "here" / "runs" / "mine").mkdir(parents=True)
    (tmp_path / "here" / "runs" / "notes.txt").touch()
    assert tab("sae-lens-classif explain runs/") == ["runs/mine/"]
    assert tab("sae-lens-classif run --config runs/no") == ["runs/notes.txt"]


def test_it_makes_no_run(tab: Tab, tmp_path: Path) -> None:
    tab("sae-lens-classif demo ")
    assert list((tmp_path / "here").iterdir()) == []


def test_nothing_heavy_is_imported_so_that_it_is_quick() -> None:
    asks = "import sys, sae_lens_classif.cli.parser as p; p._with_settings(p._build_parser()); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", asks], capture_output=True, text=True, check=True)
    assert {"torch", "transformers", "pandas"} & set(done.stdout.split()) == set()


def test_where_argcomplete_is_missing_the_shell_gets_no_words_and_nothing_runs(tmp_path: Path) -> None:
    asks = (
        "import sys; sys.modules['argcomplete'] = None; sys.argv = ['sae-lens-classif']; "
        "import sae_lens_classif.cli; sae_lens_classif.cli.main()"
    )
    environment = {**os.environ, "_ARGCOMPLETE": "1", "COMP_LINE": "sae-lens-classif ", "COMP_POINT": "17"}
    command = [sys.executable, "-c", asks]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
