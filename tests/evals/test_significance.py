"""p-values of resampled differences and Holm's correction, by hand and by the closed testing it stands for."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

from sae_lens_classif.evals.significance import ALPHA, holm, p_value, resamplings_needed


def of(*values: float) -> float:
    return p_value(torch.tensor(values, dtype=torch.float64))


def test_a_p_value_is_twice_the_smaller_share_beyond_zero_with_one_more_on_both_sides_of_the_division() -> None:
    assert of(*[1.0] * 38, -1.0) == pytest.approx(2 * (1 + 1) / 40)
    assert of(*[-1.0] * 37, 2.0, 3.0) == pytest.approx(2 * (2 + 1) / 40)


def test_it_is_never_0_and_never_more_than_1() -> None:
    assert of(*[0.2] * 999) == pytest.approx(0.002)
    assert of(1.0) == of(1.0, -1.0) == 1
    assert of(*[0.0] * 999) == 1, "a difference of nothing lies on both sides"


def test_resamplings_that_are_exactly_zero_speak_against_a_difference() -> None:
    assert of(*[1.0] * 18, 0.0) == pytest.approx(2 * 2 / 20)


def test_resamplings_without_a_value_are_none() -> None:
    assert of(*[1.0] * 38, -1.0, math.nan, math.nan) == pytest.approx(0.1)
    assert of(math.nan) == 1


def test_for_normal_differences_it_is_that_of_the_z_test() -> None:
    # 40,000 resampled means of a sample whose mean lies 2 standard errors from 0.
    values = torch.from_numpy(np.random.default_rng(0).normal(2, 1, size=40_000))
    assert p_value(values) == pytest.approx(2 * stats.norm.sf(2), abs=0.003)


def test_holm_by_hand() -> None:
    # Sorted 0.01, 0.02, 0.03, 0.2: times 4, 3, 2, 1 are 0.04, 0.06, 0.06, 0.2.
    assert holm([0.03, 0.01, 0.2, 0.02]) == pytest.approx([0.06, 0.04, 0.2, 0.06])
    # The second must not be less than the first: 0.02 times 2 is 0.04, 0.03 times 1 is 0.03.
    assert holm([0.03, 0.02]) == pytest.approx([0.04, 0.04])
    assert holm([0.6, 0.7]) == [1, 1]
    assert holm([0.04]) == [0.04]
    assert holm([]) == []


def test_holm_refuses_what_the_closed_test_of_all_intersections_with_bonferroni_refuses() -> None:
    random = np.random.default_rng(0)
    for n in (1, 2, 3, 5):
        for _ in range(30):
            p = (random.uniform(size=n) ** 3).tolist()
            for adjusted, place in zip(holm(p), range(n), strict=True):
                # A hypothesis falls where every set of hypotheses that holds it falls by Bonferroni.
                sets = (each for size in range(1, n + 1) for each in itertools.combinations(range(n), size))
                closed = max(len(each) * min(p[one] for one in each) for each in sets if place in each)
                assert adjusted == pytest.approx(min(1, closed))


@pytest.mark.parametrize("n_methods", range(1, 60))
def test_so_many_resamplings_are_needed_for_one_of_the_methods_to_differ(n_methods: int) -> None:
    enough = resamplings_needed(n_methods)
    for n, can_differ in ((enough, True), (enough - 1, False)):
        p = p_value(torch.ones(n, dtype=torch.float64))
        assert (holm([p] + [1.0] * (n_methods - 1))[0] <= ALPHA) == can_differ
