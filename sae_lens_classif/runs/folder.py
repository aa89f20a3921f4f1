"""The folder of a run: where each step puts its result, and whether what is there is what is asked for."""

import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sae_lens_classif.config.run import FREE, RunConfig
from sae_lens_classif.config.yaml import load_config, read_settings, write_settings
from sae_lens_classif.errors import UserError
from sae_lens_classif.files import folder_is_writable, sha256_of_json, write_text

METHOD = "classifsae"
# Which settings each finished result was made with, and which results are built on it.
_DEPENDS: dict[str, tuple[str, ...]] = {
    "classifier": ("data", "prompt", "finetune"),
    "activations/train": ("data", "prompt", "classifier", "cache"),
    "activations/test": ("data", "prompt", "classifier", "cache"),
    f"saes/{METHOD}": ("sae", "train"),
}
_BUILT_ON = {
    "classifier": ("activations/train", "activations/test", f"saes/{METHOD}", "methods", "evals"),
    "activations/train": (f"saes/{METHOD}", "methods", "evals"),
    "activations/test": ("evals",),
    f"saes/{METHOD}": (f"evals/{METHOD}",),
}
_ONLY_FOR_TRAINING = {"data.train", "data.max_train_texts"}
_ONLY_FOR_TESTING = {"data.test", "data.max_test_texts"}


class RunFolder:
    """Paths of a run.

    Attributes:
        folder: The run folder.
        cfg: Its settings.
        overwrite: Whether results of other settings or texts are made anew.
    """

    def __init__(
        self, folder: str | Path, cfg: RunConfig, overwrite: bool = False, base: "RunFolder | None" = None
    ) -> None:
        """
        Args:
            folder: The run folder; need not exist.
            cfg: The settings asked for.
            overwrite: Whether results of other settings or texts are made anew.
            base: Another run, whose classifier and hidden states are shared where the settings are the same.
        """
        self.folder = Path(folder)
        self.cfg = cfg
        self.overwrite = overwrite
        self._base = base

    @classmethod
    def open(cls, folder: str | Path) -> "RunFolder":
        """A run that was made before, with its own settings.

        Raises:
            UserError: If the folder holds no run.
        """
        if not (Path(folder) / "config.yaml").is_file():
            raise UserError(f"{folder} is no run folder (it has no config.yaml); give one that `run` made")
        return cls(folder, load_config(Path(folder) / "config.yaml"))

    def _shared(self, result: str) -> Path:
        """Where a result lies that cells of a sweep have in common: all those with the same settings for it."""
        if self._base is None:
            return self.folder / result
        own, of_base = (_settings_for(result, cfg) for cfg in (self.cfg, self._base.cfg))
        if own == of_base:
            return self._base.folder / result
        return self.folder.parent / f"shared-{sha256_of_json(own)[:12]}" / result

    @property
    def config_file(self) -> Path:
        """Settings of the run, YAML."""
        return self.folder / "config.yaml"

    @property
    def classifier(self) -> Path:
        """The fine-tuned model."""
        return self._shared("classifier")

    def activations(self, split: str) -> Path:
        """Hidden states of one split."""
        return self._shared(f"activations/{split}")

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
        return (self._base or self).folder / "embeddings"

    def method(self, name: str, seed: int) -> Path:
        """A concept method that ``compare`` fitted."""
        return self.folder / "methods" / name / f"seed-{seed}"

    def evaluations(self, name: str, seed: int | None = None) -> Path:
        """Results of a method: of the run's own ClassifSAE, or of a method that ``compare`` fitted with a seed."""
        folder = self.folder / "evals" / name
        return folder if seed is None else folder / f"seed-{seed}"

    @property
    def figures(self) -> Path:
        """Figures, PNG and SVG."""
        return self.folder / "figures"

    @property
    def hub(self) -> Path:
        """What is put on the Hugging Face Hub."""
        return self.folder / "hub"

    @property
    def report(self) -> Path:
        """One page about the run."""
        return self.folder / "report.html"

    @property
    def summary(self) -> Path:
        """Headline numbers of every method."""
        return self.folder / "summary.json"

    def claim(self) -> None:
        """Refuse a folder whose results were made with other settings, or make room for new ones.

        With ``overwrite`` the results that changed settings concern are deleted, and what is built on them.

        Raises:
            UserError: Naming the first setting that differs.
        """
        folder_is_writable(self.folder)
        changed = self._changed() if self.config_file.is_file() else []
        for result in _DEPENDS:
            concerns = [entry for entry in changed if _concerns(entry[0], result)]
            if concerns and self.overwrite:
                self.remove(result)
            elif concerns and (self.folder / result).exists():
                name, old, new = concerns[0]
                raise UserError(
                    f"{self.folder / result} was made with {name} = {old!r}, now {name} = {new!r} is asked for; "
                    "use another --run folder, or --overwrite to make it anew"
                )

    def check_made_from(self, result: Path, noted: dict[str, Any], asked: dict[str, Any]) -> bool:
        """Whether a finished result was made from what is asked for now.

        Args:
            result: Path of the result.
            noted: What it was made from, as was written beside it.
            asked: What it is to be made from.

        Returns:
            False where it was not, and has been deleted since that was asked for (``overwrite``).

        Raises:
            UserError: Where it was not.
        """
        different = list(_different(noted, asked))
        if not different:
            return True
        if not self.overwrite or not result.is_relative_to(self.folder):
            raise UserError(
                f"{result} was made with another {different[0]} than is asked for now (settings or texts); "
                "use another --run folder, or --overwrite to make it anew"
            )
        self.remove(str(result.relative_to(self.folder)))
        return False

    def remove(self, result: str) -> None:
        """Delete a result, what is built on it, and the evaluations."""
        built_on = _BUILT_ON.get(result, ())
        for path in (result, *built_on):
            shutil.rmtree(self.folder / path, ignore_errors=True)
        if built_on:
            self.summary.unlink(missing_ok=True)
            self.report.unlink(missing_ok=True)
            shutil.rmtree(self.figures, ignore_errors=True)
            for shown in (*self.folder.glob("comparison.*"), *self.folder.glob("transfer/*/transfer.*")):
                shown.unlink()
        if built_on and result != "activations/test":
            shutil.rmtree(self.training, ignore_errors=True)

    def note(self) -> None:
        """Write the settings into the folder, for the steps that come after the one that just ended."""
        settings = to_plain(self.cfg)
        del settings["evaluate"]["evals"]  # which to run is a matter of one command
        write_text(self.config_file, write_settings(settings))

    def _changed(self) -> list[tuple[str, Any, Any]]:
        noted, defaults = read_settings(self.config_file), to_plain(RunConfig())
        return [
            (f"{section}.{name}", old, value)
            for section, settings in to_plain(self.cfg).items()
            for name, value in settings.items()
            # A setting that the folder does not know came later; it was made with its default.
            if (old := noted.get(section, {}).get(name, defaults[section][name])) != value
            and f"{section}.{name}" not in FREE
        ]


def _different(noted: dict[str, Any], asked: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Names of what is asked for otherwise than was noted, ``baselines.epochs`` for one that is in a section."""
    for name, value in asked.items():
        old = noted.get(name)
        if isinstance(old, dict) and isinstance(value, dict):
            yield from _different(old, value, f"{prefix}{name}.".removeprefix("settings."))
        elif sha256_of_json(old) != sha256_of_json(value):
            yield f"{prefix}{name}"


def _concerns(setting: str, result: str) -> bool:
    """Whether a result depends on a setting; that of one split is no matter to the other's."""
    others = _ONLY_FOR_TRAINING if result == "activations/test" else _ONLY_FOR_TESTING
    return setting.split(".")[0] in _DEPENDS[result] and setting not in others


def _settings_for(result: str, cfg: RunConfig) -> dict[str, Any]:
    """The settings that a result depends on, those of what it is built on included."""
    sections = dict.fromkeys((*_DEPENDS["classifier"], *_DEPENDS[result]))
    return {
        f"{section}.{name}": value
        for section in sections
        for name, value in to_plain(cfg)[section].items()
        if f"{section}.{name}" not in FREE
    }


def to_plain(cfg: RunConfig) -> dict[str, dict[str, Any]]:
    """Settings as YAML and JSON can hold them."""
    return {
        section: {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}
        for section, settings in asdict(cfg).items()
    }
