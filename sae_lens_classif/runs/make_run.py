"""A run from Python: as the command ``run``, on texts as they are at hand."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sae_lens_classif.config.classifier import check_source
from sae_lens_classif.config.code import settings_of_run
from sae_lens_classif.config.presets import preset_file
from sae_lens_classif.config.run import RunConfig
from sae_lens_classif.config.yaml import read_yaml
from sae_lens_classif.data.given import write_given
from sae_lens_classif.errors import UserError, nearest
from sae_lens_classif.runs.folder import RunFolder
from sae_lens_classif.runs.lock import only_writer
from sae_lens_classif.runs.open_run import Run, open_run
from sae_lens_classif.runs.steps import MAKING, evaluate_step


def make_run(
    folder: str | Path,
    data: Any = None,
    *,
    preset: str | Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Run:
    """Tune or open a classifier, store its states, train a ClassifSAE, measure its concepts; what is done is reused.

    Args:
        folder: The run folder.
        data: A DataFrame, a ``datasets.Dataset`` or ``DatasetDict``, a pair ``(texts, labels)``, a list of dicts, a
            ``TextData``, a dict of such for ``train`` and ``test``, or a path or a name on the Hub. One table is split
            into training and test texts (``data.test_share``). Default: what the settings name.
        preset: Settings to begin with, one name or several, as ``"small"``.
        settings: By their names, as ``{"classifier.model": "path/or/name", "train.total_samples": 2_000_000}``.
        overwrite: Whether results of other settings or texts are made anew.

    Returns:
        The run, opened.

    Raises:
        UserError: If the data are something else, or a setting does not exist or does not fit.
    """
    steps = (*MAKING, evaluate_step)
    run, _ = with_steps(folder, data, "make_run", steps, preset=preset, settings=settings, overwrite=overwrite)
    return open_run(run.folder, allow_code=run.allow_code)


def with_steps(
    folder: str | Path,
    data: Any,
    what: str,
    steps: Sequence[Callable[[RunFolder], Any]],
    *,
    preset: str | Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> tuple[RunFolder, Any]:
    """Do steps of a run as the command line does, the settings noted after each; see ``make_run``.

    Args:
        folder: The run folder.
        data: The texts, as of ``make_run``; so are the preset and the settings.
        what: What is done, for whoever comes second.
        steps: What is done.
        preset: Settings to begin with.
        settings: By their names.
        overwrite: Whether results of other settings or texts are made anew.

    Returns:
        The run folder, and what the last step gave.
    """
    folder, result = Path(folder), None
    cfg, code = _settings(folder, [preset] if isinstance(preset, str) else preset, settings or {})
    with only_writer(folder, what):
        if data is not None:
            cfg.data = write_given(data, folder / "data", cfg.data)
        run = RunFolder(folder, cfg, overwrite, allow_code=code)
        run.claim()
        for step in steps:
            result = step(run)
            run.note()
    return run, result


def _settings(folder: Path, presets: Sequence[str], settings: Mapping[str, Any]) -> tuple[RunConfig, frozenset[str]]:
    layers = [(str(file), read_yaml(file)) for file in map(preset_file, presets)]
    by_section: dict[str, dict[str, Any]] = {}
    for name, value in settings.items():
        value = check_source(value) if name == "data.source" else value
        section, dot, setting = name.partition(".")
        if not dot:
            near = nearest(name, list(RunConfig.__dataclass_fields__))
            raise UserError(f"there is no setting {name!r}; write section.setting, as train.lr; {near}")
        by_section.setdefault(section, {})[setting] = list(value) if isinstance(value, tuple) else value
    return settings_of_run(folder, *layers, ("settings", by_section))
