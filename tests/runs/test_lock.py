"""One writer a run folder: a second one waits or is told so, and death gives the lock back."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sae_lens_classif.errors import UserError
from sae_lens_classif.runs import lock
from sae_lens_classif.runs.lock import only_writer

_WRITER = """
import sys
from pathlib import Path
from sae_lens_classif.runs import lock
lock.SECONDS = 0.1
with lock.only_writer(Path(sys.argv[1]), "train"):
    print("writing", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def _another_writer(folder: Path) -> "Iterator[subprocess.Popen[str]]":
    """A process that writes in a folder until it is told to end."""
    command = [sys.executable, "-c", _WRITER, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        yield process
        process.kill()


def test_a_second_writer_is_told_who_the_first_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "SECONDS", 0.2)
    with _another_writer(tmp_path) as process:
        words = rf"written to by process {process.pid} on .* \(`train`\); wait until that has ended"
        with pytest.raises(UserError, match=words), only_writer(tmp_path, "compare"):
            pytest.fail("two wrote at once")


def test_a_second_writer_waits_for_the_first(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with _another_writer(tmp_path) as process:
        assert process.stdin is not None
        process.stdin.write("end\n")
        process.stdin.flush()
        with only_writer(tmp_path, "compare"):
            assert f"process {os.getpid()} on" in (tmp_path / ".writer").read_text(encoding="utf-8")
        assert process.wait() == 0


def test_a_killed_writer_leaves_no_lock_and_what_it_left_is_cleared(tmp_path: Path) -> None:
    with _another_writer(tmp_path) as process:
        (tmp_path / f"summary.json.{process.pid}.partial").write_text("half")
        process.send_signal(signal.SIGKILL)
        process.wait()
        with only_writer(tmp_path, "compare"):
            assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", ".writer"]


def test_what_a_writer_does_may_write_in_the_same_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with only_writer(tmp_path / "run", "demo"):
        with only_writer(Path("run"), "report"):
            pass
        command = [sys.executable, "-c", _WRITER, str(tmp_path / "run")]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ended.returncode == 1 and f"is written to by process {os.getpid()} on" in ended.stderr
    with _another_writer(tmp_path / "run"):
        pass


def _link_nowhere(path: Path) -> None:
    path.symlink_to("nowhere")


@pytest.mark.parametrize("name", [".lock", ".writer"])
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, _link_nowhere])
def test_something_else_in_the_place_of_its_files_is_told_and_not_waited_for(
    tmp_path: Path, make: Callable[[Path], object], name: str
) -> None:
    make(tmp_path / name)
    words = rf"\{name} is a folder, a link, a pipe or a device"
    with pytest.raises(UserError, match=words), only_writer(tmp_path, "name"):
        pytest.fail("it was written to")
    assert not (tmp_path / "nowhere").exists()
