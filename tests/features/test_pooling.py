"""Pooling of token activations against a slow loop over texts and tokens, to the last bit."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from scipy.sparse import csr_array, vstack

from sae_lens_classif.errors import UserError
from sae_lens_classif.features.pooling import Pooling, binarised, pool, pool_dense

Floats = npt.NDArray[np.float32]
POOLINGS = ("last", "mean", "max", "sum", "counts", "counts1", "counts3", "counts50")


def drawn(seed: int, n_texts: int = 12, n_features: int = 9) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Activations of tokens with ties, negative ones and tokens and texts on which nothing is active."""
    random = np.random.default_rng(seed)
    lengths = random.integers(0, 6, n_texts)
    tokens = random.normal(size=(int(lengths.sum()), n_features)).astype(np.float32)
    tokens[random.random(tokens.shape) < 0.6] = 0
    tokens[random.random(tokens.shape) < 0.1] = 0.5
    tokens[random.random(len(tokens)) < 0.1] = 0
    return tokens, lengths


def slowly(tokens: Floats, lengths: Sequence[int], how: str, top: int | None) -> Floats:
    rows, start = np.zeros((len(lengths), tokens.shape[1]), np.float32), 0
    for text, length in enumerate(lengths):
        for feature in range(tokens.shape[1]):
            own = tokens[start : start + length, feature]
            if not length:
                continue
            if how == "last":
                rows[text, feature] = own[-1]
            elif how == "max":
                rows[text, feature] = max(own)
            elif how == "counts":
                for number in range(start, start + length):
                    before = sorted(range(tokens.shape[1]), key=lambda f: (-tokens[number, f], f))
                    most = before[: top if top is not None else len(before)]
                    rows[text, feature] += feature in most and tokens[number, feature] > 0
            else:
                total = np.float32(0)
                for value in own:
                    total += value
                rows[text, feature] = total / np.float32(length) if how == "mean" else total
        start += length
    return rows


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", POOLINGS)
def test_each_pooling_is_what_a_loop_over_texts_and_tokens_gives(name: str, seed: int) -> None:
    tokens, lengths = drawn(seed)
    pooling = Pooling.of(name)
    found = pool(csr_array(tokens), lengths, pooling)
    expected = slowly(tokens, lengths.tolist(), pooling.how, pooling.top)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found.toarray(), expected)
    if pooling.how != "counts":
        np.testing.assert_array_equal(pool_dense(tokens, lengths, pooling), expected)
    assert found.has_sorted_indices and (found.data != 0).all()
    for threshold in (0.0, 1.0):
        ones = binarised(found, threshold)
        np.testing.assert_array_equal(ones.toarray(), (expected > threshold).astype(np.float32))
        assert (ones.data == 1).all()


@pytest.mark.parametrize("name", POOLINGS)
def test_texts_pooled_one_by_one_or_in_another_order_give_the_same_bits(name: str) -> None:
    tokens, lengths = drawn(seed=7)
    whole = pool(csr_array(tokens), lengths, Pooling.of(name))
    starts = np.cumsum(lengths) - lengths
    order = np.random.default_rng(0).permutation(len(lengths))
    alone = [
        pool(csr_array(tokens[starts[text] : starts[text] + lengths[text]]), lengths[[text]], Pooling.of(name))
        for text in order
    ]
    np.testing.assert_array_equal(vstack(alone).toarray(), whole.toarray()[order])


@pytest.mark.parametrize("name", POOLINGS)
def test_no_text_no_token_and_nothing_active_are_pooled_as_well(name: str) -> None:
    empty = csr_array((0, 4), dtype=np.float32)
    assert pool(empty, np.zeros(0, np.int64), Pooling.of(name)).shape == (0, 4)
    assert pool(empty, np.zeros(2, np.int64), Pooling.of(name)).nnz == 0
    silent = csr_array((3, 4), dtype=np.float32)
    assert pool(silent, np.array([3]), Pooling.of(name)).nnz == 0


def test_hidden_states_are_not_counted() -> None:
    with pytest.raises(UserError, match="counts are of an SAE's features"):
        pool_dense(np.zeros((1, 2), np.float32), np.array([1]), Pooling("counts", 3))


def test_wide_features_need_no_dense_matrix() -> None:
    tokens = csr_array((np.ones(4, np.float32), ([0, 1, 1, 2], [5, 5, 10**9, 0])), shape=(3, 10**9 + 1))
    for name in POOLINGS:
        rows = pool(tokens, np.array([2, 1]), Pooling.of(name))
        assert rows.shape == (2, 10**9 + 1) and 1 <= rows.nnz <= 3


def test_a_pooling_is_known_by_its_name() -> None:
    for name in POOLINGS:
        assert str(Pooling.of(name)) == name
    for wrong in ("median", "mean20", "counts0", "counts-1", "", "counts20.5"):
        with pytest.raises(UserError, match=r"pooling .*counts20"):
            Pooling.of(wrong)
    for threshold in (-0.5, float("nan")):
        with pytest.raises(UserError, match="it must be 0 or more"):
            binarised(csr_array((1, 1), dtype=np.float32), threshold)
