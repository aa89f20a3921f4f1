"""Which trial is taken: the most influential of those that recover as much as the best, by hand."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sae_lens_classif.config.methods import CompareConfig
from sae_lens_classif.config.run import EvaluateConfig, RunConfig
from sae_lens_classif.errors import UserError
from sae_lens_classif.hooks.classifier import TextClassifier
from sae_lens_classif.methods.base import FitTask, built_in_methods
from sae_lens_classif.runs.folder import RunFolder
from sae_lens_classif.runs.tuning import Trial, best_trial, missing_trials, tuned_by
from sae_lens_classif.store.store import ActivationStore


def _trial(number: int, recovery: float | None, influence: float | None) -> Trial:
    return Trial({"lr": number}, recovery, influence, 1.0, "" if recovery is not None else "RuntimeError: no luck")


@pytest.mark.parametrize(
    ("results", "best"),
    [
        ([(0.90, 0.5), (0.95, 0.1)], 1),  # five points less recovered: its influence does not help it
        ([(0.95, 0.1), (0.945, 0.2), (0.93, 0.9)], 1),
        ([(0.945, 0.2), (0.95, 0.2)], 0),  # of equal ones the first
        ([(None, None), (0.1, 0.0)], 1),
        ([(-0.2, 0.3), (-0.5, 0.9)], 0),
        ([(0.95, None), (0.95, 0.01)], 1),
        ([(None, None), (None, None)], 0),
        ([(1.02, 0.1)], 0),
    ],
)
def test_the_most_influential_of_those_that_recover_most(
    results: list[tuple[float | None, float | None]], best: int
) -> None:
    trials = [_trial(number, *result) for number, result in enumerate(results)]
    assert best_trial(trials) is trials[best]


def test_texts_too_few_to_hold_some_out_are_refused(
    train_store: ActivationStore, classifier: TextClassifier, tmp_path: Path
) -> None:
    run = RunFolder(tmp_path, RunConfig(compare=CompareConfig(tune=3)))
    spec = built_in_methods()["hi_concept"]
    task = FitTask(train_store, classifier)
    assert missing_trials(run, spec, task) == 3
    assert missing_trials(run, built_in_methods()["ica"], task) == 0
    few = replace(task, store=train_store.subset(np.arange(4)))
    with pytest.raises(UserError, match=r"which of 4 is none; use more texts, or set compare\.tune to 0"):
        missing_trials(run, spec, few)


def test_a_choice_depends_on_how_recovery_is_measured_and_not_on_what_else_is(tmp_path: Path) -> None:
    spec, compare = built_in_methods()["topk_sae"], CompareConfig(tune=3)

    def key(**settings: Any) -> Any:
        return tuned_by(RunFolder(tmp_path, RunConfig(compare=compare, evaluate=EvaluateConfig(**settings))), spec)

    assert key() == key(top_texts=3, n_bootstrap=7, seed=5, sentence_encoder="mine", batch_size=9)
    assert key() != key(context="in_context")
