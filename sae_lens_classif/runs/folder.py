"""The folder of a run: where each step puts its result, and whether what is there is what is asked for."""

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from sae_lens_classif.artifacts import Artifact, settings_that_matter
from sae_lens_classif.checksums import sha256_of_json
from sae_lens_classif.config.run import RunConfig
from sae_lens_classif.config.yaml import config_of, read_noted, read_settings, with_checksum, write_settings
from sae_lens_classif.data.texts import Split, TextData, load_text_data
from sae_lens_classif.errors import UserError
from sae_lens_classif.files import folder_is_writable, write_text
from sae_lens_classif.plugins import names_code
from sae_lens_classif.runs.lock import only_writer
from sae_lens_classif.runs.places import PLACES, found_places, is_gone, note_places, was_moved

METHOD = "classifsae"
SETTINGS_FILE = "runner_cfg.json"  # the name under which SAELens' uploader takes a training's settings along


@dataclass(frozen=True)
class _Made:
    """What a result of a run depends on.

    Attributes:
        sections: Sections of the settings.
        inputs: Other results; where one of them goes, this one goes too.
        no_matter: Settings of those sections that it does not depend on.
    """

    sections: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    no_matter: frozenset[str] = frozenset()


_OF_TESTING = frozenset({"data.test", "data.max_test_texts"})
_OF_TRAINING = frozenset({"data.train", "data.max_train_texts"})
_STATES = ("data", "prompt", "classifier", "cache")
_EVALUATIONS = ("evals", f"evals/{METHOD}")
_RESULTS = {
    "classifier": _Made(("data", "prompt", "finetune"), no_matter=_OF_TESTING),
    "activations/train": _Made(_STATES, ("classifier",), _OF_TESTING),
    "activations/test": _Made(_STATES, ("classifier",), _OF_TRAINING),
    f"saes/{METHOD}": _Made(("sae", "train"), ("activations/train",)),
    f"saes/{METHOD}.training": _Made(inputs=("activations/train", f"saes/{METHOD}")),
    "methods": _Made(inputs=("activations/train",)),
    "evals": _Made(inputs=("activations/test", "methods")),
    f"evals/{METHOD}": _Made(inputs=("activations/test", f"saes/{METHOD}")),
    "summary.json": _Made(inputs=_EVALUATIONS),
    "figures": _Made(inputs=_EVALUATIONS),
    "comparison.*": _Made(inputs=_EVALUATIONS),
    "transfer/*/transfer.*": _Made(inputs=_EVALUATIONS),
    "transfer/*/concepts.*": _Made(inputs=_EVALUATIONS),
    "stability*.json": _Made(inputs=_EVALUATIONS),
    "diff/*/diff.*": _Made(inputs=_EVALUATIONS),
    "report.*html": _Made(inputs=_EVALUATIONS),
}


class RunFolder:
    """Paths of a run.

    Attributes:
        folder: The run folder.
        cfg: Its settings.
        overwrite: Whether results of other settings or texts are made anew.
        allow_code: Names of code, ``module:attribute``, that the user asked for.
    """

    def __init__(
        self,
        folder: str | Path,
        cfg: RunConfig,
        overwrite: bool = False,
        base: "RunFolder | None" = None,
        allow_code: str | Iterable[str] = (),
    ) -> None:
        """
        Args:
            folder: The run folder; need not exist.
            cfg: The settings asked for.
            overwrite: Whether results of other settings or texts are made anew.
            base: Another run, whose classifier and hidden states are shared where the settings are the same, and what
                code it may run.
            allow_code: A name of code that the settings may name, ``module:attribute``, or several.
        """
        self.folder = Path(folder)
        self.cfg = found_places(self.folder, cfg)
        self.overwrite = overwrite
        self.allow_code = frozenset([allow_code] if isinstance(allow_code, str) else allow_code)
        if base is not None:
            self.allow_code |= base.allow_code
        self._base = base

    def texts(self, split: Split) -> TextData:
        """The texts of a split, whose classes are called as a model with a head calls them, unless the data do."""
        if was_moved(self.folder, "data.source", self.cfg.data.source):
            raise UserError(
                f"the texts of {self.folder} are no longer in {self.cfg.data.source}; say once where they are now: "
                f"sae-lens-classif cache --run {self.folder} --data.source WHERE"
            )
        return load_text_data(self.cfg.data, split, self.names_of_model)

    @cached_property
    def names_of_model(self) -> tuple[str, ...] | None:
        """How the user's own model with a head calls its classes, if it says so."""
        if self.cfg.classifier.model is None:
            return None
        from sae_lens_classif.hooks.load import names_of_model  # which takes seconds, and the help needs none of it

        return names_of_model(self.cfg.classifier.model)

    @classmethod
    def open(cls, folder: str | Path, overwrite: bool = False, allow_code: str | Iterable[str] = ()) -> "RunFolder":
        """A run that was made before, with its own settings.

        Args:
            folder: The run folder.
            overwrite: Whether results of other settings or texts are made anew.
            allow_code: A name of code that the folder's settings may name, ``module:attribute``, or several.

        Raises:
            UserError: If the folder holds no run.
        """
        if not (Path(folder) / "config.yaml").is_file():
            raise UserError(f"{folder} is no run folder (it has no config.yaml); give one that `run` made")
        file = Path(folder) / "config.yaml"
        return cls(folder, config_of((str(file), read_noted(file))), overwrite, allow_code=allow_code)

    def allowed(self, name: str) -> str:
        """A name out of the run's settings, of a model or a method.

        Raises:
            UserError: If it is of code that the user did not ask for: whoever made the folder may have written it.
        """
        if names_code(name) and name not in self.allow_code:
            raise UserError(
                f"the settings of {self.folder} name the code {name!r}, which is not run unless you ask for it; where "
                f"you trust it, add --allow-code {name} (in Python: allow_code={name!r})"
            )
        return name

    def _shared(self, result: str) -> Path:
        """Where a result lies that cells of a sweep have in common: all those with the same settings for it."""
        if self._base is None:
            return self.folder / result
        settings = _settings_for(result, self.cfg)
        if settings == _settings_for(result, self._base.cfg):
            return self._base.folder / result
        return self.folder.parent / f"shared-{sha256_of_json(settings)[:12]}" / result

    @property
    def config_file(self) -> Path:
        """Settings of the run, YAML."""
        return self.folder / "config.yaml"

    @property
    def classifier(self) -> Path:
        """The fine-tuned model."""
        return self._shared("classifier")

    @property
    def tuning(self) -> Path:
        """Checkpoints of an unfinished classifier."""
        return self.classifier.with_name("classifier.tuning")

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
        """Results of a method: of the run's ClassifSAE, or of a method that ``compare`` fitted with a seed."""
        folder = self.folder / "evals" / name
        return folder if seed is None else folder / f"seed-{seed}"

    @property
    def figures(self) -> Path:
        """Figures, PNG and SVG."""
        return self.folder / "figures"

    @property
    def sweep(self) -> Path:
        """What a sweep found in its cells, JSON."""
        return self.folder / "sweep" / "sweep.json"

    @property
    def hub(self) -> Path:
        """What is put on the Hugging Face Hub."""
        return self.folder / "hub"

    def report(self, method: str = METHOD) -> Path:
        """One page about the concepts of a method."""
        return self.folder / ("report.html" if method == METHOD else f"report.{method}.html")

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
        for result in _RESULTS:
            concerns = [entry for entry in changed if _concerns(entry[0], result)]
            if concerns and self.overwrite:
                self.remove(result)
            elif concerns and (self.folder / result).exists():
                name, old, new = concerns[0]
                raise UserError(
                    f"{self.folder / result} was made with {name} = {old!r}, now {name} = {new!r} is asked for; "
                    "use another --run folder, or --overwrite to make it anew"
                )

    def is_current(self, artifact: Artifact) -> bool:
        """Whether a result is there and was made from what is asked for now.

        Returns:
            False where it is absent, or was made from something else and has been deleted since that was asked for
            (``overwrite``).

        Raises:
            UserError: Where it was made from something else, or is damaged.
        """
        is_ours = artifact.path.is_relative_to(self.folder)
        if self.overwrite and is_ours and artifact.status().state == "stale":
            self.remove(str(artifact.path.relative_to(self.folder)))
            return False
        return artifact.is_current("use another --run folder, or --overwrite to make it anew")

    def remove(self, result: str) -> None:
        """Delete a result and everything that is built on it."""
        for path in self.folder.glob(result):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()
        for other, made in _RESULTS.items():
            if result in made.inputs:
                self.remove(other)

    def note(self) -> None:
        """Write the settings into the folder, for the steps that come after the one that just ended."""
        settings = to_plain(self.cfg)
        del settings["evaluate"]["evals"]  # which to run is a matter of one command
        write_text(self.config_file, with_checksum(write_settings(settings)))
        note_places(self.folder, self.cfg)

    def _changed(self) -> list[tuple[str, Any, Any]]:
        """Settings that matter and are not what the folder's results were made with: name, old and new value."""
        noted, defaults = read_settings(self.config_file), to_plain(RunConfig())
        return [
            (f"{section}.{name}", old, value)
            for section, settings in _that_matter(self.cfg).items()
            for name, value in settings.items()
            # A setting that the folder does not know came later; it was made with its default.
            if (old := noted.get(section, {}).get(name, defaults[section][name])) != value
            # What was moved is known by its fingerprint.
            and not (f"{section}.{name}" in PLACES and is_gone(old) and not is_gone(value))
        ]


@contextmanager
def opened_to_write(
    run: str | Path | RunFolder, what: str, overwrite: bool = False, allow_code: str | Iterable[str] = ()
) -> Iterator[RunFolder]:
    """Open a run as the only one who writes there; its settings are read when nobody else does any more.

    Args:
        run: The run folder; a ``RunFolder`` is taken as it is.
        what: What is done, for whoever comes second.
        overwrite: See ``RunFolder.open``.
        allow_code: As well.

    Raises:
        UserError: If the folder holds no run, or another process writes there.
    """
    files = run if isinstance(run, RunFolder) else RunFolder.open(run, overwrite, allow_code)
    with only_writer(files.folder, what):
        yield run if isinstance(run, RunFolder) else RunFolder.open(run, overwrite, allow_code)


def _concerns(setting: str, result: str) -> bool:
    """Whether a result depends on a setting."""
    made = _RESULTS[result]
    return setting.split(".")[0] in made.sections and setting not in made.no_matter


def _settings_for(result: str, cfg: RunConfig) -> dict[str, Any]:
    """The settings that a result depends on, those of the classifier included."""
    sections = dict.fromkeys((*_RESULTS["classifier"].sections, *_RESULTS[result].sections))
    settings = _that_matter(cfg)
    return {f"{section}.{name}": value for section in sections for name, value in settings[section].items()}


def to_plain(cfg: RunConfig) -> dict[str, dict[str, Any]]:
    """Settings as YAML and JSON can hold them."""
    return {section: _plain(settings) for section, settings in asdict(cfg).items()}


def _that_matter(cfg: RunConfig) -> dict[str, dict[str, Any]]:
    """The same without those that change no result."""
    return {section.name: _plain(settings_that_matter(getattr(cfg, section.name))) for section in fields(cfg)}


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}
