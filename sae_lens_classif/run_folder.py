"""The folder of a run: where each step puts its result, and whether what is there is what is asked for."""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sae_lens_classif.config import RunConfig
from sae_lens_classif.config_file import read_settings, write_settings
from sae_lens_classif.errors import UserError
from sae_lens_classif.files import folder_is_writable, write_text

METHOD = "classifsae"
# Which settings each finished result depends on, in the order of the steps.
_DEPENDS = {
    "classifier": ("data", "prompt", "finetune"),
    "activations": ("data", "prompt", "classifier", "cache"),
    f"saes/{METHOD}": ("sae", "train"),
}
# Settings that change how fast a result comes, not the result.
_FREE = {"classifier.device", "cache.max_batch_tokens", "train.device"}


class RunFolder:
    """Paths of a run.

    Attributes:
        folder: The run folder.
        cfg: Its settings.
    """

    def __init__(self, folder: str | Path, cfg: RunConfig) -> None:
        """
        Args:
            folder: The run folder; need not exist.
            cfg: The settings asked for.
        """
        self.folder = Path(folder)
        self.cfg = cfg

    @property
    def config_file(self) -> Path:
        """Settings of the run, YAML."""
        return self.folder / "config.yaml"

    @property
    def classifier(self) -> Path:
        """The fine-tuned model."""
        return self.folder / "classifier"

    def activations(self, split: str) -> Path:
        """Hidden states of one split."""
        return self.folder / "activations" / split

    @property
    def sae(self) -> Path:
        """What ``SAE.load_from_disk`` reads."""
        return self.folder / "saes" / METHOD

    @property
    def training(self) -> Path:
        """Log and checkpoints of an unfinished training."""
        return self.folder / "saes" / f"{METHOD}.training"

    @property
    def embeddings(self) -> Path:
        """Sentence embeddings of the test texts."""
        return self.folder / "embeddings"

    def evaluation(self, name: str) -> Path:
        """Result of one evaluation."""
        return self.folder / "evals" / METHOD / f"{name}.json"

    @property
    def summary(self) -> Path:
        """Headline numbers of every method."""
        return self.folder / "summary.json"

    def claim(self, overwrite: bool = False) -> None:
        """Refuse a folder whose results were made with other settings, or make room for new ones.

        Args:
            overwrite: Delete the results that the changed settings concern, and what builds on them.

        Raises:
            UserError: Naming the first setting that differs.
        """
        folder_is_writable(self.folder)
        changed = self._changed() if self.config_file.is_file() else []
        for number, (result, sections) in enumerate(_DEPENDS.items()):
            concerns = [entry for entry in changed if entry[0].split(".")[0] in sections]
            if not concerns or not (self.folder / result).exists():
                continue
            if not overwrite:
                name, old, new = concerns[0]
                raise UserError(
                    f"{self.folder / result} was made with {name} = {old!r}, now {name} = {new!r} is asked for; "
                    "use another --run folder, or --overwrite to make it anew"
                )
            self._remove(list(_DEPENDS)[number:])
            break
        if overwrite and any(entry[0].split(".")[0] in ("sae", "train") for entry in changed):
            shutil.rmtree(self.training, ignore_errors=True)

    def note(self) -> None:
        """Write the settings into the folder, for the steps that come after the one that just ended."""
        write_text(self.config_file, write_settings(to_plain(self.cfg)))

    def _remove(self, results: list[str]) -> None:
        for result in results:
            shutil.rmtree(self.folder / result, ignore_errors=True)
        for built in (self.training, self.folder / "evals" / METHOD):
            shutil.rmtree(built, ignore_errors=True)
        self.summary.unlink(missing_ok=True)

    def _changed(self) -> list[tuple[str, Any, Any]]:
        noted = read_settings(self.config_file)
        asked = to_plain(self.cfg)
        return [
            (f"{section}.{name}", noted[section].get(name), value)
            for section, settings in asked.items()
            for name, value in settings.items()
            if section in noted and noted[section].get(name) != value and f"{section}.{name}" not in _FREE
        ]


def to_plain(cfg: RunConfig) -> dict[str, dict[str, Any]]:
    """Settings as YAML and JSON can hold them."""
    return {
        section: {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}
        for section, settings in asdict(cfg).items()
    }
