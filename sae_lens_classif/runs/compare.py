"""``compare``: fit every chosen concept method on one store with every seed, measure all of them alike."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sae_lens_classif.errors import UserError
from sae_lens_classif.evals.comparison import ComparedMethod, SeedResult, compare_results
from sae_lens_classif.evals.evaluate import silent_concepts
from sae_lens_classif.evals.measures import short_warnings
from sae_lens_classif.evals.results import Measures, merged_metrics
from sae_lens_classif.hooks.classifier import TextClassifier
from sae_lens_classif.methods.base import ConceptMethod, FitTask, MethodSpec
from sae_lens_classif.methods.find import find_method
from sae_lens_classif.methods.tuning import check_grid
from sae_lens_classif.runs.figures import (
    draw_curves_of_methods,
    draw_method,
    draw_tradeoffs,
    tradeoffs_of_seeds,
)
from sae_lens_classif.runs.fitted_methods import (
    MethodError,
    as_method_error,
    fit_or_load,
    is_done,
    is_fitted,
    is_trained_by_run,
)
from sae_lens_classif.runs.folder import METHOD, RunFolder
from sae_lens_classif.runs.pace import Pace
from sae_lens_classif.runs.pictures import note_figures
from sae_lens_classif.runs.run_classifier import open_run_classifier
from sae_lens_classif.runs.run_method import evaluation_settings
from sae_lens_classif.runs.steps import TestSplit, cache_step, check_sizes, evaluate_method, finetune_step
from sae_lens_classif.runs.tables import write_comparison
from sae_lens_classif.runs.tuning import missing_trials, tuning_note
from sae_lens_classif.store.store import ActivationStore

logger = logging.getLogger(__name__)
_NAN = "gave numbers that are not finite (NaN or infinity); nothing was measured"


def compare_step(run: RunFolder) -> tuple[ComparedMethod, ...]:
    """Fit and measure the methods that ``cfg.compare`` names; what is done is reused.

    Makes the classifier and its hidden states where they are missing, ``methods/<name>/seed-<s>/``,
    ``evals/<name>/seed-<s>/``, ``figures/``, ``comparison.{json,md,tex}``, and in ``summary.json`` an entry a method:
    that of the first seed.

    Raises:
        UserError: If a method does not exist, is code that the user did not ask for, or cannot be fitted to this model
            and these texts; before any is fitted.
    """
    cfg = run.cfg
    specs = [find_method(run.allowed(name)) for name in cfg.compare.methods]
    _check_names(specs)
    _check_settings(specs, cfg.compare.settings)
    for spec in specs if cfg.compare.tune else ():
        check_grid(spec)
    check_sizes(run)
    data = run.texts("train")
    n_concepts = cfg.sae.concepts_for(len(data.class_names))
    check_number_of_texts(len(data), n_concepts)
    finetune_step(run)
    classifier = open_run_classifier(run)
    for spec in specs:
        spec.check(classifier.d_model, n_concepts)
    cache_step(run, classifier)
    store = ActivationStore(run.activations("train"))
    _warn_of_classes(store)
    fits = [(spec, fit_task(run, spec, store, classifier, seed)) for spec in specs for seed in cfg.compare.seeds]
    missing = {(spec.name, task.seed) for spec, task in fits if not is_done(run, spec, task)}
    _announce_trials(run, fits)
    run.note()  # should this be killed, what is made already is known to be of these settings
    split = TestSplit(run, classifier)
    results: dict[str, list[SeedResult]] = {}
    drawn: dict[str, dict[str, Measures]] = {}
    pace = Pace(len(missing), "fits", len(fits) - len(missing))
    for spec, seed in ((spec, task.seed) for spec, task in fits):
        logger.info("%s, seed %d", spec.title, seed)
        task = fit_task(run, spec, store, classifier, seed)  # anew: one that was used holds all hidden states
        with pace.piece((spec.name, seed) in missing):
            result, measures = _fit_and_measure(run, spec, task, split)
        results.setdefault(spec.name, []).append(result)
        drawn.setdefault(spec.title, measures)  # of the first seed
    compared = compare_results(results, {spec.name: spec.title for spec in specs})
    write_comparison(run.folder, compared, len(split.store))
    if cfg.evaluate.figures:
        about = f"95 % intervals over texts, seed {cfg.compare.seeds[0]}"
        draw_curves_of_methods(run.figures, drawn, split.store.class_names, cfg.sae.gamma, about)
        draw_tradeoffs(run.figures, tradeoffs_of_seeds(compared))
        note_figures(run.figures)
    return compared


def _check_names(specs: Sequence[MethodSpec]) -> None:
    names = [spec.name for spec in specs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(
            f"two of compare.methods are called {twice!r} and would take each other's place; rename the class or the "
            "folder of one"
        )


def _check_settings(specs: Sequence[MethodSpec], settings: Mapping[str, Mapping[str, Any]]) -> None:
    for spec in specs:
        spec.own_settings(settings)
    for name in sorted(settings.keys() - {spec.name for spec in specs}):
        logger.warning("compare.settings are also given for %r, which is not among the compared methods", name)


def _announce_trials(run: RunFolder, fits: Sequence[tuple[MethodSpec, FitTask]]) -> None:
    """Refuse fits that were made otherwise; say what tuning is going to cost."""
    missing = [(spec, task) for spec, task in fits if not is_fitted(run, spec, task)]
    n_trials = sum(missing_trials(run, spec, task) for spec, task in missing)
    if n_trials:
        logger.info("compare.tune: %d trials first, then %d fits with the best settings", n_trials, len(missing))


def fit_task(
    run: RunFolder, spec: MethodSpec, store: ActivationStore, classifier: TextClassifier, seed: int
) -> FitTask:
    """What a method is fitted to, with the run's settings.

    Args:
        run: The run folder.
        spec: The method.
        store: Hidden states of the training texts.
        classifier: The model that is explained.
        seed: Seed of the fit.
    """
    cfg = run.cfg
    sae = cfg.sae.sized(store.n_classes, store.d_in, store.multi_label)
    return FitTask(
        store,
        classifier,
        cfg.sae.concepts_for(store.n_classes),
        seed,
        sae,
        replace(cfg.train, seed=seed),
        cfg.baselines,
        spec.own_settings(cfg.compare.settings),
    )


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


def _warn_of_classes(store: ActivationStore) -> None:
    """Say which classes no method can find a concept of, since the model never predicts them."""
    counts = store.rule.holds(store.read("predicted"), store.n_classes).sum(dim=0).tolist()
    never = [repr(name) for name, count in zip(store.class_names, counts, strict=True) if count == 0]
    if never:
        logger.warning(
            "the model predicts %s for none of the %d training texts, so no concept of it can be found",
            " or ".join(never), len(store),
        )  # fmt: skip


def _fit_and_measure(
    run: RunFolder, spec: MethodSpec, task: FitTask, split: TestSplit
) -> tuple[SeedResult, dict[str, Measures]]:
    """One method with one seed; what fails is noted, so that the others are not lost."""
    try:
        return _fit_and_measure_whole(run, spec, task, split)
    except MethodError as failed:
        logger.warning("%s, seed %d failed", spec.title, task.seed, exc_info=failed.__cause__)
        return SeedResult.of(task.seed, {}, (f"failed: {failed}",)), {}


def _fit_and_measure_whole(
    run: RunFolder, spec: MethodSpec, task: FitTask, split: TestSplit
) -> tuple[SeedResult, dict[str, Measures]]:
    fitted = fit_or_load(run, spec, task)
    is_own, is_first = is_trained_by_run(run, spec, task.seed), task.seed == run.cfg.compare.seeds[0]
    in_summary = is_own or (is_first and (spec.name != METHOD or not run.sae.exists()))
    with as_method_error():
        measures = evaluate_method(
            run,
            fitted.method,
            fitted.weights,
            spec.name,
            run.evaluations(spec.name, None if is_own else task.seed),
            split,
            in_summary,
        )
    if in_summary and run.cfg.evaluate.figures:
        draw_method(run, spec.name, spec.title, fitted.method, measures, split.store)
    settings = evaluation_settings(run, fitted.weights, split.store)
    notes = (*tuning_note(run, spec, task.seed), *_notes(fitted.method, measures))
    return SeedResult.of(task.seed, measures, notes, fitted.seconds, settings), measures


def _notes(method: ConceptMethod, measures: dict[str, Measures]) -> tuple[str, ...]:
    if not measures:
        return (*method.notes, _NAN)
    dead = silent_concepts(measures)
    silent = (f"{dead} concept{'s' if dead > 1 else ''} never active on a test text",) if dead else ()
    return (*method.notes, *silent, *short_warnings(merged_metrics(measures)))
