"""A folder with tiny runs, which any command can be tried on again and again: always at the same place, from a copy.

A command takes a second or so, and all that is on disk depends on nothing but its words and what was there before.
"""

import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.conftest import CLASS_NAMES, make_data
from tests.publishing.test_hub import write_encoder
from tests.robustness.forking import Ended, Launcher
from tests.robustness.operations import count, die_at, read_counted
from tests.robustness.outcomes import Outcomes
from tests.tiny_run import write_csv

_EVALUATIONS = ["completeness", "causality", "interpretability"]
_METHODS = ["classifsae", "ica", "random_directions"]
_OF_RUN = ("--run", "run", "--config", "settings.yaml")
_OF_OTHER = ("--run", "other", "--config", "settings.yaml", "--data.source", "other_texts")


@dataclass(frozen=True)
class Command:
    """A command as it is tried.

    Attributes:
        name: What it is called in tables.
        words: Its command line.
        stage: What is there before it.
        then: Commands that come after it, where a killed one is told by what others make of its remains.
    """

    name: str
    words: tuple[str, ...]
    stage: str
    then: tuple[tuple[str, ...], ...] = ()


_FEATURES = ("features", *_OF_RUN, "--features.saes", "run/saes/classifsae", "--features.poolings", "last,mean",
             "--features.n_features", "2", "--features.classifier", "prototype")  # fmt: skip
_CARRIED = (*_FEATURES, "--transfer", "data", "--features.data_sets", "other_texts", "--features.shots", "8",
            "--features.n_draws", "2")  # fmt: skip


# A stage, and the commands that lead to it from the one before.
_STAGES: dict[str, tuple[tuple[str, ...], ...]] = {
    "nothing": (),
    "finetuned": (("finetune", *_OF_RUN),),
    "cached": (("cache", *_OF_RUN),),
    "trained": (("train", *_OF_RUN),),
    "evaluated": (("evaluate", *_OF_RUN),),
    "compared": (("compare", *_OF_RUN), ("run", *_OF_OTHER), ("compare", *_OF_OTHER)),
    "whole": (
        ("sweep", *_OF_RUN, "--grid", "train.seed=0,1"),
        ("stability", "run", "--seeds", "2"),
        ("diff", "other", "run"),
        ("name", "run", "0", "an old name"),
        ("evaluate", *_OF_RUN, "--data", "other_texts"),
        ("evaluate", *_OF_RUN, "--evaluate.figures", "true"),
        ("across", "run", "other", "--out", "across"),
        _CARRIED,
        ("explain", "run", "the old dog under rain", "--html", "explained.html"),
        ("score", "run", "new.jsonl", "--out", "scored.jsonl"),
        ("report", "run", "--explained", "4"),
        ("publish", "run", "me/concepts", "--dry-run", "--license", "mit"),
    ),
}
STAGES = tuple(_STAGES)
_READERS = (("compare", *_OF_RUN), ("report", "run", "--explained", "2"))

COMMANDS = {
    command.name: command
    for command in (
        Command("finetune", ("finetune", *_OF_RUN), "nothing"),
        Command("cache", ("cache", *_OF_RUN), "finetuned"),
        Command("train", ("train", *_OF_RUN), "cached"),
        Command("evaluate", ("evaluate", *_OF_RUN), "trained"),
        Command("evaluate with figures", ("evaluate", *_OF_RUN, "--evaluate.figures", "true"), "trained"),
        Command("evaluate --data", ("evaluate", *_OF_RUN, "--data", "other_texts"), "compared"),
        Command("run", ("run", *_OF_RUN), "nothing"),
        Command("compare", ("compare", *_OF_RUN), "evaluated"),
        Command("compare with figures", ("compare", *_OF_RUN, "--evaluate.figures", "true"), "evaluated"),
        Command(
            "compare --tune", ("compare", *_OF_RUN, "--compare.tune", "2", "--compare.methods", "topk_sae"), "evaluated"
        ),
        Command("sweep", ("sweep", *_OF_RUN, "--grid", "train.seed=0,1"), "evaluated"),
        Command("stability", ("stability", "run", "--seeds", "2"), "compared"),
        Command("diff", ("diff", "other", "run"), "compared"),
        Command("name", ("name", "run", "0", "a new name"), "whole"),
        Command("report", ("report", "run", "--explained", "4"), "compared"),
        Command("publish", ("publish", "run", "me/concepts", "--dry-run"), "compared"),
        Command("score", ("score", "run", "new.jsonl", "--out", "scored.jsonl"), "compared"),
        Command("explain", ("explain", "run", "the old dog under rain", "--html", "explained.html"), "compared"),
        Command("across", ("across", "run", "other", "--out", "across"), "compared"),
        Command("features", _FEATURES, "compared"),
        Command("features --transfer", _CARRIED, "compared"),
        Command("demo", ("demo", *_OF_RUN, "--compare.methods", "classifsae,ica"), "nothing"),
        # What is there already is made anew, of other settings.
        Command("finetune anew", ("finetune", *_OF_RUN, "--finetune.seed", "1", "--overwrite"), "whole"),
        Command("cache anew", ("cache", *_OF_RUN, "--cache.dtype", "bfloat16", "--overwrite"), "whole"),
        Command("train anew", ("train", *_OF_RUN, "--train.seed", "1", "--overwrite"), "whole"),
        Command("evaluate anew", ("evaluate", *_OF_RUN, "--evaluate.seed", "1"), "whole", _READERS),
        Command("compare anew", ("compare", *_OF_RUN, "--evaluate.seed", "1"), "whole", _READERS[1:]),
        Command("stability anew", ("stability", "run", "--seeds", "3"), "whole", _READERS[1:]),
        Command("sweep anew", ("sweep", *_OF_RUN, "--grid", "train.seed=0,1", "--grid", "sae.gamma=0.1,0.2"), "whole"),
        Command(
            "features anew",
            (*_FEATURES, "--features.thresholds", "0.5", "--features.special_tokens", "true", "--overwrite"),
            "whole",
        ),
        Command("report anew", ("report", "run", "--explained", "2", "--mask"), "whole"),
        Command("publish anew", ("publish", "run", "me/concepts", "--dry-run", "--with-texts"), "whole"),
        Command("score anew", ("score", "run", "new.jsonl", "--out", "scored.csv"), "whole"),
    )
}

# Commands that are killed half-way, for what they leave: before the first change to a file of this name.
STOPPED = {
    "finetune": "run/classifier.partial",
    "cache": "run/activations/train.unfinished/shard_00001.safetensors.partial",
    "train": "run/saes/classifsae.partial",
    "compare --tune": "run/methods/topk_sae/seed-0.partial",
}


@dataclass(frozen=True)
class Reader:
    """What reads the files of a run.

    Attributes:
        name: What it is called in tables.
        words: Its command line; none: it is opened in Python.
        stage: What is there before it.
    """

    name: str
    words: tuple[str, ...]
    stage: str


def _readers() -> tuple[Reader, ...]:
    at_work = [
        Reader(command.name, command.words, command.stage)
        for command in COMMANDS.values()
        if command.stage not in ("nothing", "finetuned") and " anew" not in command.name
    ]
    names = ("finetune", "cache", "train", "evaluate", "evaluate with figures", "evaluate --data", "run", "compare",
             "sweep", "stability", "diff", "report", "publish", "score", "explain", "across", "features",
             "features --transfer")  # fmt: skip
    again = [Reader(f"{name} again", COMMANDS[name].words, "whole") for name in names]
    again += [Reader(name, COMMANDS[name].words, "whole") for name in ("evaluate anew", "compare anew")]
    again.append(Reader("open in Python", (), "whole"))
    again += [Reader(f"{name} goes on", COMMANDS[name].words, f"stopped: {name}") for name in STOPPED]
    return (*at_work, *again)


READERS = _readers()


class Workshop:
    """Tiny runs in each stage, and a place where a copy of one of them lies.

    Attributes:
        here: The place: always the same, so that whatever names it is the same, too.
        launcher: Starts commands there.
    """

    def __init__(self, folder: Path) -> None:
        """
        Args:
            folder: Empty or absent; taken as a whole.
        """
        self.here = folder / "here"
        self._stages = folder / "stages"
        self.launcher = Launcher(folder / "launcher")

    def make(self, until: str = STAGES[-1]) -> None:
        """Make the stages, one after the other, and import what the commands need.

        Args:
            until: The last stage that is asked for.
        """
        _write_inputs(self.here)
        warming = [
            words for stage in STAGES[1:] for words in _STAGES[stage] if words[0] != "sweep" and "other" not in words
        ]
        import sae_lens_classif.cli.commands  # noqa: F401  (what every command needs)

        self.launcher.warm_up([(words, self.here) for words in warming[: 4 if until != STAGES[-1] else None]])
        shutil.rmtree(self.here)
        _write_inputs(self.here)
        for stage in STAGES[: STAGES.index(until) + 1]:
            for words in _STAGES[stage]:
                self._must(words)
            shutil.copytree(self.here, self._stages / stage)

    @property
    def earlier(self) -> Path:
        """An earlier version of the run that is whole: of another seed."""
        return self._stages / "earlier"

    def make_earlier(self) -> None:
        """Make ``earlier``."""
        self.begin("whole")
        for step, *more in (["train", "--overwrite"], ["evaluate"], ["compare"], ["sweep", "--grid", "train.seed=0,1"]):
            self._must((step, *_OF_RUN, "--train.seed", "1", "--evaluate.seed", "1", *more))
        for words in _STAGES["whole"]:
            if words[0] not in ("sweep", "evaluate", "name"):
                self._must(words)
        shutil.copytree(self.here, self.earlier)

    def make_stopped(self, commands: Sequence[Command]) -> None:
        """Make a stage ``stopped: NAME`` of each command that is killed half-way."""
        for command in commands:
            self.begin(command.stage)
            note = self.here.with_name("operations.jsonl")
            self.launcher.start(command.words, self.here, count(self.here, note)).ended()
            # A file that is being written is named after its process.
            paths = [re.sub(r"\.\d+\.partial$", ".partial", operation.path) for operation in read_counted(note)]
            self.begin(command.stage)
            number = paths.index(STOPPED[command.name])
            self.launcher.start(command.words, self.here, die_at(self.here, number, "before")).ended()
            shutil.copytree(self.here, self._stages / f"stopped: {command.name}")

    def _must(self, words: Sequence[str]) -> None:
        ended = self.run(words)
        assert ended.code == 0, f"{' '.join(words)}: {ended}"

    def begin(self, stage: str) -> None:
        """Put a stage into its place."""
        shutil.rmtree(self.here, ignore_errors=True)
        shutil.copytree(self._stages / stage, self.here)

    def run(self, words: Sequence[str]) -> Ended:
        """Run a command there."""
        return self.launcher.run(words, self.here)

    def read(self, reader: Reader) -> Ended:
        """Run a reader there."""
        if reader.words:
            return self.run(reader.words)
        return self.launcher.call(_open_in_python, self.here).ended()

    def contents(self) -> dict[str, bytes]:
        """Every file there, folders without one among them, with its bytes."""
        return {
            path.relative_to(self.here).as_posix() + "/" * path.is_dir(): b"" if path.is_dir() else path.read_bytes()
            for path in sorted(self.here.rglob("*"))
        }


def differences(found: Mapping[str, bytes], expected: Mapping[str, bytes]) -> list[str]:
    """In which files two folders differ, in words."""
    lines = [f"{name} is missing" for name in expected if name not in found]
    lines += [f"{name} is left over" for name in found if name not in expected]
    return lines + [f"{name} has other bytes" for name in expected if name in found and found[name] != expected[name]]


def _open_in_python() -> None:
    """All that can be asked of a run, printed."""
    from sae_lens_classif import UserError, open_run

    try:
        run = open_run("run")
        shown = (
            run, run.summary, run.evaluation, run.concepts.to_pandas().to_dict(), run.comparison.to_pandas().to_dict(),
            run.sweep.to_pandas().to_dict(), run.mistakes.to_pandas().to_dict(), run.activations().to_dict(),
            run.explain("the old dog under rain"), run.score(["a cat"]).to_dict(),
        )  # fmt: skip
        sys.stdout.write("\n".join(map(str, shown)) + "\n")
    except UserError as error:
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        raise SystemExit(2) from error


def _write_inputs(here: Path) -> None:
    for name, seed in (("texts", 0), ("other_texts", 5)):
        for split, n_texts, more in (("train", 96, 0), ("test", 36, 1)):
            data = make_data(n_texts, seed + more)
            write_csv(here / name / f"{split}.csv", data.texts, data.labels.tolist())
    lines = [f'{{"id": {number}, "text": "{text}"}}\n' for number, text in enumerate(make_data(20, 9).texts)]
    (here / "new.jsonl").write_text("".join(lines), encoding="utf-8")
    settings = {
        "data": {"source": "texts", "class_names": list(CLASS_NAMES)},
        "prompt": {"template": "{text}\n\nTopic:", "label_word": "<|{id}|>"},
        "classifier": {"device": "cpu"},
        "finetune": {"base_model": "scratch", "n_layers": 2, "d_model": 16, "n_heads": 2, "vocab_size": 320,
                     "context": 48, "max_steps": 30, "batch_size": 16, "lr": 1e-2, "n_checkpoints": 2},
        "cache": {"shard_size": 48},
        "sae": {"d_sae": 32, "k": 4, "n_concepts": 6},
        "train": {"total_samples": 640, "batch_size": 32, "lr": 1e-2, "n_checkpoints": 2, "log_every": 5,
                  "device": "cpu"},
        "compare": {"methods": _METHODS},
        "evaluate": {"evals": _EVALUATIONS, "n_bootstrap": 10, "figures": False, "device": "cpu",
                     "sentence_encoder": "encoder", "top_texts": 3},
    }  # fmt: skip
    (here / "settings.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    write_encoder(here / "encoder")
    shutil.rmtree(here / "bert")


class Trials:
    """Tries commands of a workshop."""

    def __init__(self, workshop: Workshop, outcomes: Outcomes) -> None:
        """
        Args:
            workshop: With all stages made.
            outcomes: Where it is told how they ended.
        """
        self._workshop = workshop
        self._outcomes = outcomes
