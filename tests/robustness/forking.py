"""Commands in forked children of one process that has imported everything: each starts in milliseconds, and may die."""

import contextlib
import importlib
import json
import os
import select
import signal
import sys
import time
import types
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

HANGS_AFTER = 20.0  # seconds of work, or of none; no command of these takes more than a few
_LEAST_WORK = 0.1
HUNG = None
_RAISED = 70  # an error that went through `main`
_FROZEN = 1_700_000_000.0


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: Exit code; minus a signal's number; None where it was still at work after ``HANGS_AFTER``.
        stdout: What it printed.
        stderr: What it said.
        seconds: How long it took.
    """

    code: int | None
    stdout: str
    stderr: str
    seconds: float

    @property
    def last_line(self) -> str:
        """The error that it told, or else what it said last."""
        lines = self.stderr.strip().splitlines() or [""]
        return next((line for line in reversed(lines) if line.startswith("error")), lines[-1])


@dataclass(frozen=True)
class Child:
    """A command at work in a forked process."""

    pid: int
    started: float
    stdout: Path
    stderr: Path

    def has_ended(self, seconds: float) -> bool:
        """Wait so long at most; whether it has ended."""
        descriptor = os.pidfd_open(self.pid)
        try:
            return bool(select.select([descriptor], [], [], seconds)[0])
        finally:
            os.close(descriptor)

    def ended(self) -> Ended:
        """Wait for its end; one that hangs is killed."""
        worked, is_hung = 0.0, False
        while not is_hung and not self.has_ended(HANGS_AFTER):
            before, worked = worked, self._worked()
            # On a busy machine a command that is well waits for its turn, too.
            is_hung = worked > HANGS_AFTER or worked - before < _LEAST_WORK
        if is_hung:
            os.kill(self.pid, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        stdout, stderr = (file.read_text(encoding="utf-8", errors="replace") for file in (self.stdout, self.stderr))
        return Ended(HUNG if is_hung else code, stdout, stderr, time.monotonic() - self.started)

    def kill(self) -> Ended:
        """Kill it, unless it has ended."""
        os.kill(self.pid, signal.SIGKILL)
        return self.ended()

    def _worked(self) -> float:
        """Seconds of a processor that it had so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Launcher:
    """Forks commands, each with a folder as its working folder, and no clock that goes on in what they write."""

    def __init__(self, folder: Path) -> None:
        """
        Args:
            folder: For what they print, and the caches of libraries.
        """
        self._folder = folder
        self._count = 0
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tmp").mkdir(exist_ok=True)
        os.environ |= environment(folder)

    def start(self, words: Sequence[str], cwd: Path, before: Callable[[], object] = lambda: None) -> Child:
        """Start a command.

        Args:
            words: The command line.
            cwd: Its working folder.
            before: What the child does first.
        """
        return self.call(lambda: _main(words), cwd, before)

    def run(self, words: Sequence[str], cwd: Path) -> Ended:
        """Run a command to its end."""
        return self.start(words, cwd).ended()

    def call(self, work: Callable[[], object], cwd: Path, before: Callable[[], object] = lambda: None) -> Child:
        """Do anything in a forked child."""
        self._count = (self._count + 1) % 8  # two may be at work at once
        stdout, stderr = (self._folder / f"{name}.{self._count}" for name in ("stdout", "stderr"))
        sys.stdout.flush()  # or the child prints again what still waits here
        sys.stderr.flush()
        started = time.monotonic()
        pid = os.fork()
        if not pid:
            _child(work, cwd, before, stdout, stderr)
        return Child(pid, started, stdout, stderr)

    def warm_up(self, commands: Sequence[tuple[Sequence[str], Path]]) -> None:
        """Import here what commands import as they go, so that no child needs to.

        Args:
            commands: The words of each, and its working folder.
        """
        known = self._folder / "modules.json"
        for words, cwd in commands:
            self.call(lambda words=words: _note_modules(words, known), cwd).ended()  # type: ignore[misc]  # bound now
            for name in json.loads(known.read_text(encoding="utf-8")):
                with contextlib.suppress(Exception):  # what only a parent package makes
                    importlib.import_module(name)


def environment(folder: Path) -> dict[str, str]:
    """What the commands see: one thread, for the same bytes; no network; caches of their own; a terminal's width."""
    return {
        "COLUMNS": "120",
        "HF_HOME": str(folder / "huggingface"),
        "HF_HUB_OFFLINE": "1",
        "MPLBACKEND": "Agg",
        "MPLCONFIGDIR": str(folder / "matplotlib"),
        "OMP_NUM_THREADS": "1",
        "TMPDIR": str(folder / "tmp"),
        "TOKENIZERS_PARALLELISM": "false",
        "TRANSFORMERS_VERBOSITY": "error",
    }


def _main(words: Sequence[str]) -> None:
    from sae_lens_classif.cli.parser import main

    main(list(words))


def _note_modules(words: Sequence[str], known: Path) -> None:
    try:
        _main(words)
    finally:
        names = [name for name, module in sys.modules.items() if module is not None and "__main__" not in name]
        known.write_text(json.dumps(names), encoding="utf-8")


def _child(work: Callable[[], object], cwd: Path, before: Callable[[], object], *outputs: Path) -> NoReturn:
    code = _RAISED
    try:
        os.chdir(cwd)
        for descriptor, output in enumerate(outputs, start=1):
            opened = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(opened, descriptor)
        stop_clocks()
        before()
        work()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def stop_clocks() -> None:
    """Let the package write the same times and identifiers whenever it is run.

    These are all that differs between two runs of a command: ``datetime_epoch_millis`` and ``eval_id`` of an
    evaluation, ``seconds`` of a fit and of a trial, and what is made of these (columns of a comparison, checksums).
    The monotonic clock, by which is waited, goes on.
    """
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "sae_lens_classif" and isinstance(module, types.ModuleType):
            if getattr(module, "time", None) is time:
                module.time = _Frozen(time, time=lambda: _FROZEN, perf_counter=lambda: _FROZEN)  # type: ignore[attr-defined]
            if getattr(module, "uuid", None) is uuid:
                module.uuid = _Frozen(uuid, uuid4=lambda: uuid.UUID(int=0))  # type: ignore[attr-defined]


class _Frozen:
    """A module with some of its functions replaced."""

    def __init__(self, module: types.ModuleType, **functions: Callable[[], object]) -> None:
        self._module = module
        self._functions = functions

    def __getattr__(self, name: str) -> Any:
        return self._functions.get(name) or getattr(self._module, name)
