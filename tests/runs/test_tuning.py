"""Which trial is taken: the most influential of those that recover as much as the best, by hand."""

import pytest

from sae_lens_classif.runs.tuning import Trial, best_trial


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
