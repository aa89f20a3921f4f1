"""``compare.tune``: the same number of settings is tried for every method, on training texts that are held out.

Kept in ``methods/<name>/seed-<s>.trials.json`` after each trial, and in the fitted method's folder in the end.
"""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, Field

from sae_lens_classif.artifacts import settings_that_matter
from sae_lens_classif.checksums import sha256_of_json, write_json
from sae_lens_classif.data.texts import TextData
from sae_lens_classif.errors import UserError
from sae_lens_classif.evals.base import TestPass, interval_settings
from sae_lens_classif.evals.causality import conditional_causality
from sae_lens_classif.evals.completeness import completeness
from sae_lens_classif.methods.base import ConceptMethod, FitTask, MethodSpec
from sae_lens_classif.methods.tuning import drawn_settings, with_settings
from sae_lens_classif.runs.folder import RunFolder
from sae_lens_classif.shapes import read_shape
from sae_lens_classif.store.shuffle import Rows
from sae_lens_classif.store.store import ActivationStore

logger = logging.getLogger(__name__)
TRIALS_FILE = "trials.json"
HELD_OUT, MOST_HELD_OUT = 0.2, 2000  # share of the training texts, and number
_OF_OTHER_MEASURES = {"sentence_encoder", "n_bootstrap", "top_texts", "seed"}  # settings of evaluate
CLOSE = 0.01  # of the best scaled recovery: what so many texts can hardly tell apart


@dataclass(frozen=True)
class Trial:
    """A fit with some settings, measured on the held-out texts.

    Attributes:
        settings: Values by the names that the method's grid has.
        scaled_recovery: See ``docs/metrics.md``; None where it is not known.
        influence: Likewise.
        seconds: How long fitting and measuring took.
        failed: Why it failed; empty where it did not.
    """

    settings: dict[str, Any]
    scaled_recovery: float | None
    influence: float | None
    seconds: float
    failed: str = ""


class _Trials(BaseModel, extra="forbid"):
    """A file of trials: while they are made, and with the chosen one in the end."""

    made_from: str = ""
    chosen: dict[str, Any] = Field({})
    trials: list[Trial]


def best_trial(trials: Sequence[Trial]) -> Trial:
    """The most influential of those whose concepts recover as much of the decisions as the best do, to a point.

    Args:
        trials: At least one; of equal ones the first is taken, and the very first where all failed.
    """
    known = [trial for trial in trials if trial.scaled_recovery is not None]
    if not known:
        return trials[0]
    most = max(trial.scaled_recovery or 0.0 for trial in known)
    close = [trial for trial in known if (trial.scaled_recovery or 0.0) >= most - CLOSE]
    return max(close, key=lambda trial: trial.influence or 0.0)


def tuned_by(run: RunFolder, spec: MethodSpec) -> dict[str, Any] | None:
    """What the choice of a method's settings depends on, as JSON can hold it; None where they are not chosen."""
    if not run.cfg.compare.tune or not spec.tune:
        return None
    grid = {name: list(values) for name, values in spec.tune.items()}
    return {"tune": run.cfg.compare.tune, "grid": grid, "evaluate": _protocol(run)}


def missing_trials(run: RunFolder, spec: MethodSpec, task: FitTask) -> int:
    """How many trials of a method are still to be made.

    Raises:
        UserError: If there are too few training texts to hold out some.
    """
    if tuned_by(run, spec) is None:
        return 0
    _rows(task.store, task.seed)
    done = _kept(run, spec, task)
    return sum(_key(settings) not in done for settings in drawn_settings(spec, task, run.cfg.compare.tune))


def run_trials(run: RunFolder, spec: MethodSpec, task: FitTask) -> list[Trial]:
    """Try settings of a method; trials that are kept are not made again. None where the method is not tuned."""
    if tuned_by(run, spec) is None:
        return []
    cells, done = drawn_settings(spec, task, run.cfg.compare.tune), _kept(run, spec, task)
    parts = _parts(run, task)
    for number, settings in enumerate(cells, start=1):
        if _key(settings) in done:
            continue
        logger.info("%s, seed %d, trial %d of %d: %s", spec.title, task.seed, number, len(cells), words(settings))
        done[_key(settings)] = _try(run, spec, task, settings, parts)
        content = {"made_from": _made_from(run, spec, task), "trials": list(map(asdict, done.values()))}
        write_json(trials_file(run, spec, task), content)
    return [done[_key(settings)] for settings in cells]


def trials_file(run: RunFolder, spec: MethodSpec, task: FitTask) -> Path:
    """Where trials are kept until the method is fitted."""
    return run.method(spec.name, task.seed).with_suffix(f".{TRIALS_FILE}")


def write_trials(file: Path, trials: Sequence[Trial]) -> None:
    """Write all trials and the one that was chosen.

    Args:
        file: JSON.
        trials: All of them.
    """
    write_json(file, {"chosen": best_trial(trials).settings, "trials": list(map(asdict, trials))})


def tuning_note(run: RunFolder, spec: MethodSpec, seed: int) -> tuple[str, ...]:
    """What a reader of a fitted method's numbers must know of its settings."""
    if not run.cfg.compare.tune:
        return ()
    file = run.method(spec.name, seed) / TRIALS_FILE
    if not file.is_file():
        return ("not tuned: no setting of it is declared for that",)
    made: _Trials = read_shape(_Trials, file, "`compare`", f"delete {file.parent} and run `compare` again")
    failed = sum(bool(trial.failed) for trial in made.trials)
    of = f"best of {len(made.trials)} settings" + (f", of which {failed} failed" if failed else "")
    return (f"tuned: {words(made.chosen)} ({of})",)


def words(settings: Mapping[str, Any]) -> str:
    """Settings in one line."""
    return ", ".join(f"{name} = {value}" for name, value in settings.items())


def _made_from(run: RunFolder, spec: MethodSpec, task: FitTask) -> str:
    """Fingerprint of what a trial depends on beside its own settings; how many there are does not matter to one."""
    return sha256_of_json([spec.made_from(task), _protocol(run)])


def _protocol(run: RunFolder) -> dict[str, Any]:
    """The settings by which recovery and influence are measured."""
    settings = settings_that_matter(run.cfg.evaluate)
    return {name: value for name, value in settings.items() if name not in _OF_OTHER_MEASURES}


def _kept(run: RunFolder, spec: MethodSpec, task: FitTask) -> dict[str, Trial]:
    """Trials that were made before a command was stopped; those with other settings of the run are forgotten."""
    file = trials_file(run, spec, task)
    if not file.is_file():
        return {}
    made: _Trials = read_shape(_Trials, file, "`compare`", "delete it and run `compare` again")
    if made.made_from != _made_from(run, spec, task):
        return {}
    return {_key(trial.settings): trial for trial in made.trials}


def _key(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True)


@dataclass(frozen=True)
class _Parts:
    """Training texts to learn from, and those held out to choose by."""

    learned: ActivationStore
    held_out: ActivationStore
    texts: TextData  # held out


def _parts(run: RunFolder, task: FitTask) -> _Parts:
    learned, held_out = _rows(task.store, task.seed)
    data = run.texts("train")
    texts = replace(data, texts=tuple(data.texts[row] for row in held_out), labels=data.labels[held_out])
    return _Parts(task.store.subset(learned), task.store.subset(held_out), texts)


def _rows(store: ActivationStore, seed: int) -> tuple[Rows, Rows]:
    split = store.training_rows(min(HELD_OUT, MOST_HELD_OUT / len(store)), seed)
    if not split.n_held_out:
        raise UserError(
            f"compare.tune holds out a fifth of the training texts, which of {len(store)} is none; use more texts, or "
            "set compare.tune to 0"
        )
    learned, held_out = np.arange(split.n_training), np.arange(split.n_held_out)
    return np.sort(split.training(learned)), np.sort(split.held_out(held_out))


def _try(run: RunFolder, spec: MethodSpec, task: FitTask, settings: Mapping[str, Any], parts: _Parts) -> Trial:
    start = time.perf_counter()
    scaled, influence, failed = None, None, ""
    try:
        method = spec.fit(replace(with_settings(spec, task, settings), store=parts.learned))
        scaled, influence = _measured(run, method, task, parts)
    except Exception as error:  # as a method's own code raises it: others of its settings may do
        logger.warning("%s, seed %d: %s failed", spec.title, task.seed, words(settings), exc_info=error)
        failed = f"{type(error).__name__}: {error}"
    return Trial(dict(settings), scaled, influence, time.perf_counter() - start, failed)


def _measured(run: RunFolder, method: ConceptMethod, task: FitTask, parts: _Parts) -> tuple[float | None, float | None]:
    """Scaled recovery and influence on the held-out texts."""
    cfg = replace(run.cfg.evaluate, n_bootstrap=1)  # nobody looks at the intervals
    texts = TestPass(method, task.classifier, parts.held_out, parts.texts, cfg)
    if texts.is_finite:
        texts.run_model(with_ablations=True)
    if not texts.is_finite:
        raise ValueError("gave numbers that are not finite (NaN or infinity)")
    settings = interval_settings(texts)
    kept = completeness(texts.predicted, texts.logits, texts.labels, texts.concepts, **settings)
    moved = conditional_causality(texts.logits, texts.labels, texts.concepts.shape[1], **settings)
    return kept.metrics["scaled_recovery"], moved.metrics["influence"]
