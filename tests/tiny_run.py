"""Runs of a few seconds on the tiny classifier of conftest.py: their texts, settings and files."""

import contextlib
import csv
import io
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import datasets
import torch
import yaml

from sae_lens_classif.artifacts import note_files
from sae_lens_classif.checksums import read_json
from sae_lens_classif.cli.parser import main
from sae_lens_classif.data.texts import TextData
from sae_lens_classif.saes.classif_sae import ClassifSAE


class Ended(NamedTuple):
    """How a command ended."""

    code: int | str | None
    stdout: str
    stderr: str


Snapshot = dict[str, tuple[int, bytes]]


# Texts and class names that a page may stumble over.
STRANGE = (
    "<script>document.title = 'taken over'</script>",
    "أخبار الطقس والمال",
    "🎉🐕‍🦺 party & <b>dogs</b>",
    "--> </style></script><img src=x onerror=\"document.title='taken over'\">",
    "{{ 7 * 7 }} 'quoted' \"twice\"",
    "חדשות היום",
)


@dataclass(frozen=True)
class Tiny:
    """A folder with ``texts/{train.parquet,test.csv}`` and ``settings.yaml``, in which runs are made.

    Attributes:
        folder: The folder.
    """

    folder: Path

    @property
    def settings(self) -> Path:
        """Settings of every run."""
        return self.folder / "settings.yaml"

    def run(self, name: str) -> Path:
        """The folder of a run."""
        return self.folder / name

    def command(self, step: str, name: str, *options: object) -> str:
        """Run a step that ends well; returns what it printed."""
        ended = self.ended(step, name, *options)
        assert ended.code == 0, ended.stderr
        return ended.stdout

    def ended(self, step: str, name: str, *options: object) -> Ended:
        """Run a step."""
        return cli(step, "--run", self.run(name), "--config", self.settings, *options)


def cli(*arguments: object) -> Ended:
    """Run a command in this process."""
    stdout, stderr = io.StringIO(), io.StringIO()
    code: int | str | None = 0
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as ended:
            code = ended.code
    return Ended(code, stdout.getvalue(), stderr.getvalue())


def assert_refused_at_once(ended: Ended, *words: str) -> None:
    """The user's mistake, told in one line; no bar of a step's progress came before it."""
    assert ended.code == 2, ended.stderr
    assert ended.stdout == ""
    assert ended.stderr.startswith("error: ") and ended.stderr.count("\n") == 1, ended.stderr
    assert [word for word in words if word not in ended.stderr] == [], ended.stderr


def make_tiny(folder: Path, classifier_folder: Path, train: TextData, test: TextData) -> Tiny:
    """Write the texts and the settings."""
    (folder / "texts").mkdir(parents=True)
    table = datasets.Dataset.from_dict({"text": list(train.texts), "label": train.labels.tolist()})
    table.to_parquet(str(folder / "texts" / "train.parquet"))
    write_csv(folder / "texts" / "test.csv", test.texts, test.labels.tolist())
    settings = {
        "data": {"source": str(folder / "texts"), "class_names": list(train.class_names)},
        "classifier": {"model": str(classifier_folder), "device": "cpu"},
        "sae": {"d_sae": 48, "k": 4, "n_concepts": 6},
        "train": {"total_samples": 1280, "batch_size": 32, "lr": 1e-2, "n_checkpoints": 0, "device": "cpu"},
        # Without sentence embeddings, which take longer than all the rest.
        "evaluate": {"evals": ["completeness", "causality"], "n_bootstrap": 20, "figures": False, "device": "cpu"},
    }
    tiny = Tiny(folder)
    tiny.settings.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return tiny


def make_strange_run(folder: Path, n_classes: int, n_concepts: int) -> Path:
    """A whole run on texts that a page may stumble over: markup, right-to-left scripts, emoji, one without an end.

    Args:
        folder: Where texts and run are made.
        n_classes: Number of classes; each shows in a word of its own.
        n_concepts: Number of concepts.

    Returns:
        The run folder.
    """
    names = [STRANGE[number] if number < len(STRANGE) else f"class {number}" for number in range(n_classes)]
    for split, n_texts in (("train", 8 * n_classes + 100), ("test", 2 * n_classes + 30)):
        labels = [number % n_classes for number in range(n_texts)]
        texts = [f"{STRANGE[number % len(STRANGE)]} word{label}" for number, label in enumerate(labels)]
        texts[0] = "endless " * 400 + "word0"
        write_csv(folder / "texts" / f"{split}.csv", texts, labels)
    settings = {
        "data": {"source": str(folder / "texts"), "class_names": names},
        "prompt": {"template": "{text}\n\nTopic:", "label_word": "<|{id}|>", "max_tokens": 48},
        "finetune": {"base_model": "scratch", "n_layers": 2, "d_model": 32, "n_heads": 4, "vocab_size": 600,
                     "context": 64, "epochs": 8, "max_steps": None, "batch_size": 16, "lr": 5e-3},
        # Many concepts on each text.
        "sae": {"recipe": "reference", "d_sae": 3 * n_concepts, "k": 3 + n_concepts // 4, "n_concepts": n_concepts},
        "train": {"total_samples": 6400, "batch_size": 64, "lr": 1e-3, "n_checkpoints": 0},
        "evaluate": {"evals": ["completeness", "causality"], "n_bootstrap": 20, "figures": False},
    }  # fmt: skip
    (folder / "settings.yaml").write_text(yaml.safe_dump(settings, allow_unicode=True), encoding="utf-8")
    ended = cli("run", "--run", folder / "run", "--config", folder / "settings.yaml")
    assert ended.code == 0, ended.stderr
    return folder / "run"


def write_csv(
    path: Path, texts: Sequence[str], labels: Sequence[int | str], columns: tuple[str, str] = ("text", "label")
) -> Path:
    """Write a table of labelled texts; returns its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([columns, *zip(texts, labels, strict=True)])
    return path.parent


def change_sae(run: Path, change: Callable[[ClassifSAE], object]) -> None:
    """Change a run's trained SAE by hand, and save it as its owner would: with its new checksum."""
    folder = run / "saes" / "classifsae"
    sae = ClassifSAE.load_from_disk(folder)
    with torch.no_grad():
        change(sae)
    sae.save_model(folder)
    sign(folder, "runner_cfg.json")


def take_over(sae: ClassifSAE, other: ClassifSAE) -> None:
    """Give an SAE the first half of the concepts of another, in another order and each turned a little."""
    order = torch.arange(other.cfg.n_concepts // 2).roll(1)
    n_concepts = len(order)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        sae.W_enc[:, :n_concepts], sae.b_enc[:n_concepts] = other.W_enc[:, order], other.b_enc[order]
        turned = other.W_dec[order] + 0.05 * torch.randn(n_concepts, sae.cfg.d_in, generator=generator)
        sae.W_dec[:n_concepts] = torch.nn.functional.normalize(turned, dim=1)


def snapshot(folder: Path, *patterns: str) -> Snapshot:
    """When each file was written, and its bytes.

    Args:
        folder: Where.
        *patterns: Which files below it; default: all.
    """
    found = {path for pattern in patterns or ("**/*",) for path in folder.glob(pattern) if path.is_file()}
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) for path in sorted(found)}


def contents(files: Snapshot) -> dict[str, bytes]:
    """The bytes alone."""
    return {name: content for name, (_, content) in files.items()}


def ended_process() -> int:
    """Number of a process that ran and is no more."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def change_settings(run: Path, old: str, new: str) -> None:
    """Change the words of a run's settings by hand, as its owner would who means it."""
    file = run / "config.yaml"
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = "".join(line for line in lines if not line.startswith("#"))
    assert old in kept
    file.write_text(kept.replace(old, new), encoding="utf-8")


def sign(folder: Path, note: str) -> None:
    """Note the checksums of a folder's files anew, as whoever changes something in it can."""
    note_files(folder / note, read_json(folder / note))
