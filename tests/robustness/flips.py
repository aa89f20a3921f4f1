"""Damage to every kind of file of a run: a bit, the end, a block, two files that changed places, an old version.

After each the commands that read the file are run. They may refuse it in words, make it good, or give what they give of
the whole file, byte for byte.

    python -m tests.robustness.flips --seed 0 [--trials N] [--kind X] [--command Y] [--only N]
"""

import argparse
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.robustness.damage import DAMAGES, OLD
from tests.robustness.forking import Ended
from tests.robustness.outcomes import Outcomes, fault_of, say, some
from tests.robustness.workshop import COMMANDS, READERS, STOPPED, Reader, Trials, Workshop, differences

_TRIALS = 1000
_READERS_A_TRIAL = 2
# By where a file lies in a run folder; the first that fits counts.
_KINDS = {
    "unfinished classifier": r"classifier\.tuning/",
    "unfinished states": r"activations/.*unfinished/",
    "unfinished training": r"saes/classifsae\.training/",
    "unfinished tuning": r"trials",
    "hub": r"^hub/",
    "sweep": r"^sweep/sweep\.",
    "features of texts": r"^features/.*safetensors$",
    "study of features": r"^features/",
    "transfer": r"^transfer/[^/]*/transfer\.",
    "classifier's weights": r"classifier/.*safetensors$",
    "classifier's words": r"classifier/",
    "states": r"activations/.*safetensors$",
    "manifest of states": r"activations/.*json$",
    "SAE's weights": r"sae_weights\.safetensors$",
    "SAE's settings": r"(saes/.*|classif_sae/cfg)\.json$",
    "training log": r"training_log\.jsonl$",
    "method's weights": r"methods/.*safetensors$",
    "method's settings": r"methods/.*json$",
    "evaluations": r"evals/.*json$",
    "resampled values": r"evals/.*safetensors$",
    "embeddings": r"embeddings/",
    "summary": r"summary\.json$",
    "comparison": r"comparison\.",
    "figures": r"figures/",
    "names": r"names\.json$",
    "stability": r"stability\.json$",
    "diff": r"diff/",
    "report": r"report\.html$",
    "settings": r"config\.yaml$",
}
_REMEDY = re.compile(r"again|anew|delete|first|`|--overwrite|copy|download|did you mean|expected")

_REPORT_GONE = re.compile(r"\w+/report\S*\.html is missing")


def kind_of(path: str) -> str | None:
    """The kind of a file below ``here``; None for what no run made."""
    run, _, inside = path.partition("/")
    if run not in ("run", "other"):
        return None
    return next((kind for kind, pattern in _KINDS.items() if re.search(pattern, inside)), "others")


@dataclass(frozen=True)
class _Whole:
    """What a reader does where nothing is damaged."""

    reader: Reader
    reads: tuple[str, ...]
    stdout: str
    contents: Mapping[str, bytes]


@dataclass(frozen=True)
class _Trial:
    """A damaged file, and who reads it."""

    number: int
    kind: str
    path: str
    damage: str
    whole: _Whole


class Flips(Trials):
    """Tries readers of a workshop."""

    def __init__(self, workshop: Workshop, outcomes: Outcomes) -> None:
        super().__init__(workshop, outcomes)
        self._read_by = dict[str, dict[str, list[_Whole]]]()  # kind, then file

    @property
    def kinds(self) -> Sequence[str]:
        """Kinds of files that some reader reads."""
        return [kind for kind in (*_KINDS, "others") if kind in self._read_by]

    def find_out(self, readers: Sequence[Reader]) -> None:
        """Run each reader on what is whole, and note what it reads and gives."""
        for reader in readers:
            whole = self._whole(reader)
            for path in whole.reads:
                kind = kind_of(path)
                if kind is not None:
                    self._read_by.setdefault(kind, {}).setdefault(path, []).append(whole)
        for kind in self.kinds:
            files = self._read_by[kind]
            by = sorted({whole.reader.name for found in files.values() for whole in found})
            say(f"{kind}: {len(files)} files, read by {', '.join(by)}")

    def _whole(self, reader: Reader) -> _Whole:
        workshop = self._workshop
        workshop.begin(reader.stage)
        files = [path for path in workshop.here.rglob("*") if path.is_file()]
        for path in files:
            os.utime(path, ns=(0, path.stat().st_mtime_ns))
        ended = workshop.read(reader)
        reads = [path for path in files if path.is_file() and path.stat().st_atime_ns]
        replaced = [path for path in files if not path.is_file()]
        assert ended.code == 0, f"{reader.name}: {ended}"
        contents = workshop.contents()
        workshop.begin(reader.stage)
        again = workshop.read(reader)
        unlike = differences(workshop.contents(), contents)
        if unlike or again.stdout != ended.stdout:
            self._outcomes.failed("undamaged", "twice is not the same", f"{reader.name}: {some(unlike)}", "")
        names = [path.relative_to(workshop.here).as_posix() for path in (*reads, *replaced)]
        return _Whole(reader, tuple(sorted(names)), ended.stdout, contents)

    def draw(
        self, number: int, random: np.random.Generator, kind: str | None = None, damage: str | None = None
    ) -> list[_Trial]:
        """A kind, then a file of it, then what happens to it, then who reads it; each at random, unless it is given."""
        kind = kind or str(random.choice(self.kinds))
        path = str(random.choice(sorted(self._read_by[kind])))
        every = [*DAMAGES, OLD]
        damage = damage or ("flip" if random.random() < 0.5 else str(random.choice(every)))
        readers = self._read_by[kind][path]
        chosen = random.permutation(len(readers))[:_READERS_A_TRIAL]
        return [_Trial(number, kind, path, damage, readers[place]) for place in sorted(chosen)]

    def try_all(self, trials: Sequence[_Trial], seed: int, only: str | None = None) -> None:
        """Damage one file for each of its readers, which find it as it was left."""
        for trial in trials:
            if only is not None and trial.whole.reader.name != only:
                continue
            self._workshop.begin(trial.whole.reader.stage)
            before = self._workshop.contents()
            self._damage(trial, np.random.default_rng([seed, trial.number]))
            damaged = self._workshop.contents()
            changed = {name: damaged.get(name) for name in before if damaged.get(name) != before[name]}
            if not changed:
                continue
            ended = self._workshop.read(trial.whole.reader)
            self._judge(trial, changed, ended, seed)

    def _damage(self, trial: _Trial, random: np.random.Generator) -> None:
        here = self._workshop.here
        if trial.damage == OLD:
            inside = trial.path.partition("/")[2]
            for old in (self._workshop.earlier / trial.path, here / "other" / inside):
                if old.is_file() and old.read_bytes() != (here / trial.path).read_bytes():
                    shutil.copyfile(old, here / trial.path)
                    return
            return
        same_kind = [here / path for path in self._read_by[trial.kind] if (here / path).is_file()]
        DAMAGES[trial.damage](here / trial.path, same_kind, random)

    def _judge(self, trial: _Trial, changed: Mapping[str, bytes | None], ended: Ended, seed: int) -> None:
        what = f"{trial.damage} of {trial.path}, then {trial.whole.reader.name}"
        repeat = f"--seed {seed} --only {trial.number} --command '{trial.whole.reader.name}'"
        fault = fault_of(ended)
        if fault:
            self._outcomes.failed(trial.kind, fault, f"{what}: {ended.last_line}", repeat)
        elif ended.code == 2 and not _is_named(changed, ended.last_line):
            self._outcomes.failed(trial.kind, "refused without its name", f"{what}: {ended.last_line}", repeat)
        elif ended.code == 2 and not _REMEDY.search(ended.last_line):
            self._outcomes.failed(trial.kind, "refused without advice", f"{what}: {ended.last_line}", repeat)
        elif ended.code == 2:
            self._outcomes.passed(trial.kind, "refused")
        else:
            self._judge_result(trial, changed, ended, what, repeat)

    def _judge_result(
        self, trial: _Trial, changed: Mapping[str, bytes | None], ended: Ended, what: str, repeat: str
    ) -> None:
        found, whole = self._workshop.contents(), trial.whole
        # What is damaged still, and has changed nothing else.
        left = [name for name, content in changed.items() if found.get(name) == content != whole.contents.get(name)]
        unlike = [line for line in differences(found, whole.contents) if not line.startswith(tuple(left) or ("\0",))]
        if _is_named(changed, ended.stderr):  # measured again; a report of what was there before is taken away
            unlike = [line for line in unlike if not _REPORT_GONE.fullmatch(line)]
        if ended.stdout != whole.stdout:
            unlike.append("other words were printed")
        if unlike:
            self._outcomes.failed(trial.kind, "silent", f"{what}: {some(unlike)}", repeat)
        else:
            self._outcomes.passed(trial.kind, "the same result" if left else "made good")


def _is_named(changed: Mapping[str, bytes | None], said: str) -> bool:
    """Whether words name a file that is damaged, or the folder that is to be made anew for it."""
    for name in changed:
        path = Path(name)
        folders = [folder.as_posix() for folder in path.parents if len(folder.parts) >= 3]
        if any(word in said for word in (path.name, path.stem, *folders, path.parent.as_posix())):
            return True
    return False


def main(arguments: Sequence[str] | None = None) -> int:
    """Try what is asked for; returns 1 where something failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="Of what is drawn.")
    parser.add_argument("--trials", type=int, default=_TRIALS, help="Damaged files.")
    parser.add_argument("--kind", choices=[*_KINDS, "others"], help="Files of this kind alone.")
    parser.add_argument("--damage", choices=[*DAMAGES, OLD], help="This damage alone.")
    parser.add_argument("--command", choices=[reader.name for reader in READERS], help="This reader alone.")
    parser.add_argument("--only", type=int, help="The trial of this number alone.")
    asked = parser.parse_args(arguments)
    outcomes = Outcomes("damaged")
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        workshop = Workshop(Path(folder))
        workshop.make()
        workshop.make_stopped([COMMANDS[name] for name in STOPPED])
        workshop.make_earlier()
        flips = Flips(workshop, outcomes)
        flips.find_out(READERS)
        random = np.random.default_rng(asked.seed)
        for number in range(asked.trials):
            trials = flips.draw(number, random, asked.kind, asked.damage)
            if asked.only in (None, number):
                flips.try_all(trials, asked.seed, asked.command)
    say(f"{outcomes.n_trials} readings in {time.monotonic() - started:,.0f} s, seed {asked.seed}")
    return outcomes.finish()


if __name__ == "__main__":
    sys.exit(main())
