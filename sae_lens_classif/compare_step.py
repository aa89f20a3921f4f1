"""``compare``: fit every chosen concept method on one store with every seed, measure all of them alike."""

import contextlib
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from sae_lens_classif.comparing import ComparedMethod, SeedResult, compare_results
from sae_lens_classif.data import load_text_data
from sae_lens_classif.drawing import draw_curves_of_methods, draw_method
from sae_lens_classif.errors import UserError
from sae_lens_classif.evals.advice import short_warnings
from sae_lens_classif.evals.results import Measures
from sae_lens_classif.files import new_folder, read_json, sha256_of_file, write_json
from sae_lens_classif.hooks.classifier import TextClassifier
from sae_lens_classif.methods.base import METHOD_FILE, ConceptMethod, FitTask, load_method
from sae_lens_classif.methods.registry import MethodSpec, find_method
from sae_lens_classif.pipeline import (
    TestSplit,
    cache_step,
    evaluate_method,
    finetune_step,
    load_trained,
    open_run_classifier,
    train_step,
)
from sae_lens_classif.run_folder import METHOD, RunFolder
from sae_lens_classif.store import ActivationStore
from sae_lens_classif.tables import write_comparison

logger = logging.getLogger(__name__)
_FIT_FILE = "fit.json"
_NAN = "gave numbers that are not finite (NaN or infinity); nothing was measured"


class _MethodError(Exception):
    """A method could not be fitted, saved or measured."""


@contextlib.contextmanager
def _blame_the_method() -> Iterator[None]:
    """What a method's own code raises is noted; what the user can put right (a full disk, changed texts) stops all."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise _MethodError(f"{type(error).__name__}: {error}") from error


@dataclass(frozen=True)
class _Fitted:
    """A fitted method, the SHA-256 of what it learned, and how long that took if it is known."""

    method: ConceptMethod
    weights: str
    seconds: float | None


def compare_step(run: RunFolder) -> tuple[ComparedMethod, ...]:
    """Fit and measure the methods that ``cfg.compare`` names; what is done is reused.

    Makes the classifier and its hidden states where they are missing, ``methods/<name>/seed-<s>/``,
    ``evals/<name>/seed-<s>/``, ``figures/``, ``comparison.{json,md,tex}``, and in ``summary.json`` an entry a method:
    that of the first seed.

    Raises:
        UserError: If a method does not exist or cannot be fitted to this model and these texts; before any is fitted.
    """
    cfg = run.cfg
    specs = [find_method(name) for name in cfg.compare.methods]
    _check_names(specs)
    check_number_of_texts(len(load_text_data(cfg.data, "train")), cfg.sae.n_concepts)
    finetune_step(run)
    classifier = open_run_classifier(run)
    for spec in specs:
        spec.check(classifier.d_model, cfg.sae.n_concepts)
    cache_step(run, classifier)
    store = ActivationStore(run.activations("train"))
    check_classes(store)
    for spec in specs:
        for seed in cfg.compare.seeds:
            _is_fitted(run, run.method(spec.name, seed), spec.made_from(_task(run, store, classifier, seed)))
    split = TestSplit(run, classifier)
    results: dict[str, list[SeedResult]] = {}
    drawn: dict[str, dict[str, Measures]] = {}
    for spec in specs:
        for seed in cfg.compare.seeds:
            logger.info("%s, seed %d", spec.title, seed)
            result, measures = _fit_and_measure(run, spec, _task(run, store, classifier, seed), split)
            results.setdefault(spec.name, []).append(result)
            drawn.setdefault(spec.title, measures)  # of the first seed
    compared = compare_results(results, {spec.name: spec.title for spec in specs})
    write_comparison(run.folder, compared, len(split.store))
    if cfg.evaluate.figures:
        about = f"95 % intervals over texts, seed {cfg.compare.seeds[0]}"
        draw_curves_of_methods(run.figures, drawn, split.store.class_names, cfg.sae.gamma, about)
    return compared


def _check_names(specs: Sequence[MethodSpec]) -> None:
    for number, spec in enumerate(specs):
        if any(spec.name == other.name for other in specs[:number]):
            raise UserError(
                f"two of compare.methods are called {spec.name!r} and would take each other's place; rename the class "
                "or the folder of one"
            )


def _task(run: RunFolder, store: ActivationStore, classifier: TextClassifier, seed: int) -> FitTask:
    cfg = run.cfg
    return FitTask(store, classifier, cfg.sae.n_concepts, seed, cfg.sae, replace(cfg.train, seed=seed), cfg.baselines)


def check_number_of_texts(n_texts: int, n_concepts: int) -> None:
    """Refuse fewer training texts than concepts.

    Raises:
        UserError: If there are fewer.
    """
    if n_texts < n_concepts:
        raise UserError(
            f"{n_texts} training texts are fewer than the {n_concepts} concepts asked for; use more texts, or lower "
            "sae.n_concepts"
        )


def check_classes(store: ActivationStore) -> None:
    """Refuse training texts from which not every method can learn.

    Raises:
        UserError: If a class is never predicted.
    """
    counts = torch.bincount(store.read("predicted"), minlength=store.n_classes).tolist()
    for name, count in zip(store.class_names, counts, strict=True):
        if count == 0:
            raise UserError(
                f"the model predicts {name!r} for none of the {len(store)} training texts, so no concept of it can be "
                "found; use a classifier that tells this class apart, or data without it"
            )


def _fit_and_measure(
    run: RunFolder, spec: MethodSpec, task: FitTask, split: TestSplit
) -> tuple[SeedResult, dict[str, Measures]]:
    """One method with one seed; what fails is noted, so that the others are not lost."""
    try:
        return _fit_and_measure_whole(run, spec, task, split)
    except _MethodError as failed:
        logger.warning("%s, seed %d failed", spec.title, task.seed, exc_info=failed.__cause__)
        return SeedResult(task.seed, {}, {}, (f"failed: {failed}",), None), {}


def _fit_and_measure_whole(
    run: RunFolder, spec: MethodSpec, task: FitTask, split: TestSplit
) -> tuple[SeedResult, dict[str, Measures]]:
    is_run_s_own = spec.name == METHOD and task.seed == run.cfg.train.seed
    fitted = _run_s_own(run) if is_run_s_own else _fit_or_load(run, spec, task)
    is_first = task.seed == run.cfg.compare.seeds[0]
    in_summary = is_run_s_own or (is_first and (spec.name != METHOD or not run.sae.exists()))
    with _blame_the_method():
        measures = evaluate_method(
            run,
            fitted.method,
            fitted.weights,
            spec.name,
            run.evaluations(spec.name, None if is_run_s_own else task.seed),
            split,
            in_summary,
        )
    if in_summary and run.cfg.evaluate.figures:
        draw_method(run, spec.name, spec.title, fitted.method, measures, split.store)
    metrics = {name: value for own in measures.values() for name, value in own.metrics.items()}
    resamples = {name: value for own in measures.values() for name, value in own.resamples.items()}
    notes = _notes(fitted.method, measures, metrics)
    return SeedResult(task.seed, metrics, resamples, notes, fitted.seconds), measures


def _notes(method: ConceptMethod, measures: dict[str, Measures], metrics: dict[str, Any]) -> tuple[str, ...]:
    if not measures:
        return (*method.notes, _NAN)
    dead = 0
    if "completeness" in measures:
        dead = sum(rate == 0 for rate in measures["completeness"].details["activation_rate"])
    silent = (f"{dead} concept{'s' if dead > 1 else ''} never active on a test text",) if dead else ()
    return (*method.notes, *silent, *short_warnings(metrics))


def _run_s_own(run: RunFolder) -> _Fitted:
    train_step(run)
    method, weights = load_trained(run)
    return _Fitted(method, weights, None)


def _fit_or_load(run: RunFolder, spec: MethodSpec, task: FitTask) -> _Fitted:
    folder = run.method(spec.name, task.seed)
    made_from = spec.made_from(task)
    if not _is_fitted(run, folder, made_from):
        start = time.perf_counter()
        try:
            method = spec.fit(task)
        except Exception as error:
            raise _MethodError(f"{type(error).__name__}: {error}") from error
        with new_folder(folder) as temporary:
            with _blame_the_method():
                method.save(temporary)
            content = {"made_from": made_from, "seconds": time.perf_counter() - start}
            write_json(temporary / _FIT_FILE, content)
    fit = read_json(folder / _FIT_FILE)
    return _Fitted(load_method(folder), sha256_of_file(folder / METHOD_FILE), fit["seconds"])


def _is_fitted(run: RunFolder, folder: Path, made_from: dict[str, Any]) -> bool:
    if not (folder / _FIT_FILE).is_file():
        return False
    return run.check_made_from(folder, read_json(folder / _FIT_FILE)["made_from"], made_from)
