"""Fitted concept methods of a run: fitted once, then read from ``methods/<name>/seed-<s>``."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sae_lens_classif.artifacts import Artifact
from sae_lens_classif.errors import UserError, nearest
from sae_lens_classif.files import new_folder, read_json, sha256_of_file, write_json
from sae_lens_classif.methods.base import METHOD_FILE, ConceptMethod, FitTask, MethodSpec, load_method
from sae_lens_classif.methods.find import find_method
from sae_lens_classif.methods.listing import titles
from sae_lens_classif.runs.folder import METHOD, RunFolder
from sae_lens_classif.runs.steps import load_trained, train_step
from sae_lens_classif.store.store import ActivationStore

_FIT_FILE = "fit.json"


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


@dataclass(frozen=True)
class Fitted:
    """A fitted method, the SHA-256 of what it learned, and how long that took if it is known."""

    method: ConceptMethod
    weights: str
    seconds: float | None


def is_trained_by_run(run: RunFolder, spec: MethodSpec, seed: int) -> bool:
    """Whether this is the ClassifSAE that the step ``train`` makes."""
    return spec.name == METHOD and seed == run.cfg.train.seed


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
        start = time.perf_counter()
        try:
            fitted = spec.fit(task)
        except Exception as error:
            raise MethodError(f"{type(error).__name__}: {error}") from error
        with new_folder(folder) as temporary:
            with as_method_error():
                fitted.save(temporary)
            content = {"made_from": spec.made_from(task), "seconds": time.perf_counter() - start}
            write_json(temporary / _FIT_FILE, content)
    seconds = read_json(folder / _FIT_FILE)["seconds"]
    return Fitted(load_method(folder), sha256_of_file(folder / METHOD_FILE), seconds)


@dataclass(frozen=True)
class RunMethod:
    """A concept method of a run whose numbers stand in ``summary.json``.

    Attributes:
        name: Its name in the run folder.
        title: How tables call it.
        seed: The seed it was fitted with.
        method: The fitted method.
        weights: SHA-256 of what it learned.
        evaluations: Folder of its evaluations.
    """

    name: str
    title: str
    seed: int
    method: ConceptMethod
    weights: str
    evaluations: Path

    def n_concepts(self, store: ActivationStore) -> int:
        """How many concepts it has, those that are never active included.

        Args:
            store: Hidden states of some texts.
        """
        with torch.no_grad():
            return self.method.encode(store.read("hidden", 0, 1).float()).shape[1]


def load_fitted(run: RunFolder, name: str = METHOD) -> RunMethod:
    """The run's ClassifSAE, or another method that ``compare`` fitted, with the first of its seeds.

    Args:
        run: The run folder.
        name: As ``compare`` takes it, or as the tables have it.

    Raises:
        UserError: If it is not fitted yet, naming those that are.
    """
    known = titles()
    if name == METHOD:
        return RunMethod(name, known[name], run.cfg.train.seed, *load_trained(run), run.evaluations(name))
    seed = run.cfg.compare.seeds[0]
    fitted = sorted(note.parents[1].name for note in run.folder.glob(f"methods/*/seed-{seed}/{_FIT_FILE}"))
    if ":" in name:
        spec = find_method(name)
        found, title = spec.name, spec.title
    else:
        found, title = name, known.get(name, name)
    if found not in fitted:
        others = [METHOD, *(other for other in fitted if other != METHOD)]
        raise UserError(
            f"{run.folder} holds no concept method {name!r} of seed {seed}; {nearest(found, others)}; `compare` "
            "fits more"
        )
    folder = run.method(found, seed)
    weights = sha256_of_file(folder / METHOD_FILE)
    return RunMethod(found, title, seed, load_method(folder), weights, run.evaluations(found, seed))


def measured(run: RunFolder, method: RunMethod, summary: Mapping[str, Any]) -> Mapping[str, Any]:
    """What ``summary.json`` holds of a method.

    Raises:
        UserError: If nothing was measured.
    """
    entry: Mapping[str, Any] | None = summary["methods"].get(method.name)
    if entry is None:
        raise UserError(f"{run.folder} holds no evaluation of {method.name}; run the step `{step_of(method)}` first")
    return entry


def step_of(method: RunMethod) -> str:
    """The step that measures a method."""
    return "evaluate" if method.name == METHOD else "compare"


def is_fitted(run: RunFolder, spec: MethodSpec, task: FitTask) -> bool:
    """Whether a method was fitted before.

    Raises:
        UserError: If it was fitted to something else, and ``overwrite`` was not asked for.
    """
    folder = run.method(spec.name, task.seed)
    return run.is_current(Artifact(folder, folder / _FIT_FILE, spec.made_from(task), ("made_from",)))
