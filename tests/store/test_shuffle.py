"""The shuffled order that needs no memory."""

import tracemalloc

import numpy as np
import pytest

from sae_lens_classif.store.shuffle import permute


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 1000, 65_535, 65_536, 65_537])
def test_all_positions_together_give_every_row_once(n: int) -> None:
    rows = permute(np.arange(n), n, 0, 1)
    assert rows.dtype == np.int64
    np.testing.assert_array_equal(np.sort(rows), np.arange(n))


def test_rows_do_not_depend_on_which_positions_are_asked_for_together() -> None:
    whole = permute(np.arange(1000), 1000, 5)
    some = np.array([999, 0, 7, 7, 500])
    np.testing.assert_array_equal(permute(some, 1000, 5), whole[some])
    np.testing.assert_array_equal(some, [999, 0, 7, 7, 500])


def test_the_same_key_gives_the_same_order_and_another_key_another() -> None:
    keys = [(0,), (1,), (0, 1), (0, 2), (1, 1), (1, 2), (2**40, 3)]
    orders = [permute(np.arange(1000), 1000, *key) for key in keys]
    for number, (order, key) in enumerate(zip(orders, keys, strict=True)):
        np.testing.assert_array_equal(order, permute(np.arange(1000), 1000, *key))
        for other in orders[:number]:
            # Two random orders of 1000 rows agree at one position on average; at 10 by a chance of 1e-7.
            assert (order == other).sum() < 10


@pytest.mark.parametrize("n", [2, 3, 5, 7, 10])
def test_over_keys_every_row_is_as_likely_at_every_position(n: int) -> None:
    n_keys = 4000
    orders = np.stack([permute(np.arange(n), n, 7, key) for key in range(n_keys)])
    for position in range(n):
        counts = np.bincount(orders[:, position], minlength=n)
        expected = n_keys / n
        chi_square = ((counts - expected) ** 2 / expected).sum()
        # Mean n-1, standard deviation sqrt(2(n-1)); five of them are passed by a chance below 1e-4.
        assert chi_square < (n - 1) + 5 * np.sqrt(2 * (n - 1)), (position, counts)


def test_one_order_is_as_irregular_as_a_random_one() -> None:
    n = 100_000
    rows = permute(np.arange(n), n, 3, 1)
    # Where the first tenth of the positions goes: the ten tenths of the rows, 1000 +- 30 each.
    counts = np.bincount(rows[: n // 10] // (n // 10), minlength=10)
    assert (abs(counts - 1000) < 150).all(), counts
    # Correlations of random orders have a standard deviation of 1/sqrt(n) = 0.003.
    assert abs(np.corrcoef(rows, np.arange(n))[0, 1]) < 0.016
    assert abs(np.corrcoef(rows[1:], rows[:-1])[0, 1]) < 0.016
    # Rows that follow each other in the order, as they do in the file: one on average.
    assert (np.diff(rows) == 1).sum() < 10


def test_a_batch_of_ten_million_rows_costs_no_more_memory_than_one_of_a_thousand() -> None:
    n = 10_000_000
    positions = np.arange(n - 500, n)
    tracemalloc.start()
    rows = permute(positions, n, 0, 1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(np.unique(rows)) == 500 and rows.min() >= 0 and rows.max() < n
    assert peak < 500 * 8 * 20, f"{peak} bytes for 500 positions"
