"""Mean ranks by hand."""

import pytest

from sae_lens_classif.evals.ranking import mean_ranks


def test_the_best_has_rank_1_and_equal_values_share_their_ranks() -> None:
    values = {"a": [0.9, 0.5, 0.3], "b": [0.8, 0.5, 0.4], "c": [0.1, 0.6, 0.3]}
    (more, n_more), (less, n_less) = mean_ranks(values, 1), mean_ranks(values, -1)
    # a: 1, 2.5, 2.5; b: 2, 2.5, 1; c: 3, 1, 2.5.
    assert more == pytest.approx({"a": 2, "b": 5.5 / 3, "c": 6.5 / 3})
    # Less is better: a: 3, 1.5, 1.5; b: 2, 1.5, 3; c: 1, 3, 1.5.
    assert less == pytest.approx({"a": 2, "b": 6.5 / 3, "c": 5.5 / 3})
    assert n_more == n_less == 3


def test_a_data_set_on_which_one_has_no_value_counts_for_none() -> None:
    values: dict[str, list[float | None]] = {"a": [0.9, 0.5, None], "b": [0.8, 0.7, 0.9]}
    assert mean_ranks(values, 1) == ({"a": 1.5, "b": 1.5}, 2)


def test_there_are_no_ranks_of_one_method_of_none_or_on_no_data_set() -> None:
    assert mean_ranks({"a": [0.5]}, 1) == mean_ranks({}, 1) == ({}, 0)
    assert mean_ranks({"a": [None], "b": [0.1]}, 1) == ({}, 0)
