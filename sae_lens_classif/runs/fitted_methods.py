"""Fitted concept methods of a run: fitted once, then read from ``methods/<name>/seed-<s>``."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from sae_lens_classif.artifacts import Artifact
from sae_lens_classif.checksums import sha256_of_file, write_json
from sae_lens_classif.errors import UserError
from sae_lens_classif.files import new_folder
from sae_lens_classif.methods.base import METHOD_FILE, ConceptMethod, FitTask, MethodSpec, load_method
from sae_lens_classif.methods.tuning import with_settings
from sae_lens_classif.runs.folder import METHOD, RunFolder
from sae_lens_classif.runs.run_method import FIT_FILE, load_trained
from sae_lens_classif.runs.steps import train_step
from sae_lens_classif.runs.tuning import TRIALS_FILE, best_trial, run_trials, trials_file, tuned_by, write_trials
from sae_lens_classif.shapes import read_shape


class MethodError(Exception):
    """A method could not be fitted, saved or measured."""


@contextlib.contextmanager
def as_method_error() -> Iterator[None]:
    """What a method's own code raises is noted; what the user can put right (a full disk, changed texts) stops all."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise MethodError(f"{type(error).__name__}: {error}") from error


class _Fit(BaseModel):
    """What is noted with a fitted method."""

    made_from: dict[str, Any]
    seconds: float


@dataclass(frozen=True)
class Fitted:
    """A fitted method, the SHA-256 of what it learned, and how long that took if it is known."""

    method: ConceptMethod
    weights: str
    seconds: float | None


def is_trained_by_run(run: RunFolder, spec: MethodSpec, seed: int) -> bool:
    """Whether this is the ClassifSAE that the step ``train`` makes, with the run's own settings."""
    return spec.name == METHOD and seed == run.cfg.train.seed and tuned_by(run, spec) is None


def fit_or_load(run: RunFolder, spec: MethodSpec, task: FitTask) -> Fitted:
    """Fit a method, or read it where it was fitted to the same before.

    Raises:
        MethodError: If it cannot be fitted or saved.
        UserError: If it was fitted to something else.
    """
    if is_trained_by_run(run, spec, task.seed):
        train_step(run)
        method, weights = load_trained(run)
        return Fitted(method, weights, None)
    folder = run.method(spec.name, task.seed)
    if not is_fitted(run, spec, task):
        trials = run_trials(run, spec, task)
        best = with_settings(spec, task, best_trial(trials).settings) if trials else task
        start = time.perf_counter()
        try:
            fitted = spec.fit(best)
        except Exception as error:
            raise MethodError(f"{type(error).__name__}: {error}") from error
        with new_folder(folder) as temporary:
            with as_method_error():
                fitted.save(temporary)
            if trials:
                write_trials(temporary / TRIALS_FILE, trials)
            made_from = spec.made_from(task, tuned_by(run, spec))
            write_json(temporary / FIT_FILE, {"made_from": made_from, "seconds": time.perf_counter() - start})
        trials_file(run, spec, task).unlink(missing_ok=True)
    noted: _Fit = read_shape(_Fit, folder / FIT_FILE, "`compare`", f"delete {folder} and run `compare` again")
    return Fitted(load_method(folder), sha256_of_file(folder / METHOD_FILE), noted.seconds)


def is_done(run: RunFolder, spec: MethodSpec, task: FitTask) -> bool:
    """Whether a method is there, fitted for a comparison or trained by the run itself.

    Raises:
        UserError: If it was fitted to something else, and ``overwrite`` was not asked for.
    """
    return run.sae.exists() if is_trained_by_run(run, spec, task.seed) else is_fitted(run, spec, task)


def is_fitted(run: RunFolder, spec: MethodSpec, task: FitTask) -> bool:
    """Whether a method was fitted before.

    Raises:
        UserError: If it was fitted to something else, and ``overwrite`` was not asked for.
    """
    folder = run.method(spec.name, task.seed)
    made_from = spec.made_from(task, tuned_by(run, spec))
    return run.is_current(Artifact(folder, folder / FIT_FILE, made_from, ("made_from",)))
