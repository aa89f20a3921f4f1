"""Which settings are tried of a method: its own first, the others of its grid, none twice, none that cannot be."""

from dataclasses import dataclass, replace

import pytest

from sae_lens_classif.config.run import SAESettings
from sae_lens_classif.errors import UserError
from sae_lens_classif.hooks.classifier import TextClassifier
from sae_lens_classif.methods.base import FitTask, built_in_methods
from sae_lens_classif.methods.tuning import check_grid, drawn_settings, with_settings
from sae_lens_classif.runs.tables import CONTROLS
from sae_lens_classif.store.store import ActivationStore

BUILT_IN = built_in_methods()


@pytest.fixture(scope="module")
def task(train_store: ActivationStore, classifier: TextClassifier) -> FitTask:
    return FitTask(train_store, classifier, n_concepts=6, sae=SAESettings(d_sae=64, n_concepts=6))


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_the_settings_of_the_run_come_first_and_all_others_of_a_grid_once(name: str, task: FitTask) -> None:
    spec = BUILT_IN[name]
    drawn = drawn_settings(spec, task, 1000)
    assert with_settings(spec, task, drawn[0]) == task
    number = 1
    for values in spec.tune.values():
        number *= len(values)
    as_words = [str(settings) for settings in drawn]
    assert len(as_words) == len(set(as_words))
    is_in_grid = all(drawn[0][setting] in values for setting, values in spec.tune.items())
    assert len(as_words) == number + (not is_in_grid), "the run's own settings may say `auto`"
    for settings in drawn[1:]:
        assert all(value in spec.tune[name] for name, value in settings.items())
    assert drawn_settings(spec, task, 4) == drawn[:4]


def test_what_cannot_be_tuned_is_not() -> None:
    for spec in BUILT_IN.values():
        check_grid(spec)
    assert {name for name, spec in BUILT_IN.items() if not spec.tune} == {"clusters", "ica", *CONTROLS}


def test_another_seed_draws_others(task: FitTask) -> None:
    spec = BUILT_IN["classifsae"]
    own, *others = drawn_settings(spec, task, 8)
    own_again, *others_again = drawn_settings(spec, replace(task, seed=1), 8)
    assert own == own_again and others != others_again


def test_settings_outside_the_grid_are_tried_first_all_the_same(task: FitTask) -> None:
    spec = BUILT_IN["topk_sae"]
    other = replace(task, train=replace(task.train, lr=0.5))
    drawn = drawn_settings(spec, other, 1000)
    assert drawn[0] == {"sae.k": 10, "train.lr": 0.5} and len(drawn) == 1 + 9


def test_what_the_run_s_other_settings_forbid_is_left_out(task: FitTask) -> None:
    small = replace(task, sae=SAESettings(d_sae=12, n_concepts=6))
    ks = {settings["sae.k"] for settings in drawn_settings(BUILT_IN["topk_sae"], small, 1000)}
    assert ks == {5, 10}, "20 latents cannot be active among 12"


def test_settings_are_put_where_they_belong(task: FitTask) -> None:
    changed = with_settings(BUILT_IN["rate_only"], task, {"sae.gamma": 0.05, "train.lr": 0.5})
    assert changed == replace(task, sae=replace(task.sae, gamma=0.05), train=replace(task.train, lr=0.5))
    changed = with_settings(BUILT_IN["hi_concept"], task, {"hidden_dim": 7})
    assert changed == replace(task, baselines=replace(task.baselines, hidden_dim=7))

    @dataclass
    class Own:
        lr: int = 3

    mine = replace(BUILT_IN["ica"], settings=Own, tune={"lr": (1, 2)})
    own = replace(task, settings=Own())
    assert drawn_settings(mine, own, 1)[0] == {"lr": 3}
    assert with_settings(mine, own, {"lr": 2}) == replace(own, settings=Own(2))


@pytest.mark.parametrize(
    ("tune", "words"),
    [
        ({"ica_max_itre": (1, 2)}, "'ica_max_itre'.*'ica_max_iter'"),
        ({"train.lr": (1, 2)}, "'train.lr'.*ica_max_iter"),  # it does not depend on it
        ({"ica_max_iter": ()}, "ica_max_iter .*a tuple of values"),
        ({"ica_max_iter": "100"}, "ica_max_iter .*a tuple of values"),
        ({"ica_max_iter": 100}, "ica_max_iter .*a tuple of values"),
    ],
)
def test_a_grid_of_what_is_no_setting_is_refused(tune: dict[str, tuple[int, ...]], words: str) -> None:
    with pytest.raises(UserError, match=words):
        check_grid(replace(BUILT_IN["ica"], tune=tune))
