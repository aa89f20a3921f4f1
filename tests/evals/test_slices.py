"""Parts of the texts on which a model errs more often than on the others."""

import pytest
import torch
from scipy.stats import fisher_exact

from sae_lens_classif.evals.slices import by_length, by_value, differences, slices, words_of_texts


def test_parts_by_length_hold_every_text_once_and_about_a_quarter_each() -> None:
    texts = [" ".join(["word"] * length) for length in range(1, 101)]
    parts = by_length(texts)
    assert torch.stack(list(parts.values())).sum(dim=0).eq(1).all()
    assert all(abs(int(own.sum()) - 25) <= 1 for own in parts.values())
    assert next(iter(parts)).startswith("1 to ") and list(parts)[-1].endswith("to 100 words")


@pytest.mark.parametrize("texts", [["one"], ["same length"] * 9, ["a", "b c"]])
def test_few_or_equal_lengths_make_fewer_parts(texts: list[str]) -> None:
    parts = by_length(texts)
    assert 1 <= len(parts) <= len({len(text.split()) for text in texts})
    assert torch.stack(list(parts.values())).sum(dim=0).eq(1).all()


def test_values_of_a_column_are_parts_the_rare_ones_together() -> None:
    values = ["en"] * 5 + ["de"] * 3 + [None] * 2 + ["fr", "es"]
    assert {name: int(own.sum()) for name, own in by_value(values).items()} == {
        "en": 5, "de": 3, "(none)": 2, "fr": 1, "es": 1
    }  # fmt: skip
    few = {name: int(own.sum()) for name, own in by_value(values, most=3).items()}
    assert few == {"en": 5, "de": 3, "3 others": 4}


def test_a_part_differs_where_fisher_s_test_says_so_after_the_correction() -> None:
    is_right = torch.tensor([True] * 90 + [False] * 10)
    members = {"bad": torch.arange(100) >= 85, "all": torch.ones(100).bool(), "none": torch.zeros(100).bool()}
    bad, everything = slices(members, is_right)
    assert (bad.n_texts, bad.n_wrong, bad.accuracy) == pytest.approx((15, 10, 1 / 3))
    assert bad.differs and not everything.differs
    p = fisher_exact([[10, 5], [0, 85]])[1]
    assert differences([(10, 5, 0, 85)]) == [p <= 0.05]
    assert differences([(2, 3, 1, 6)] * 40) == [False] * 40
    assert differences([]) == []


def test_words_are_counted_once_a_text_whatever_their_case() -> None:
    texts = ["Goal! goal goal", "a GOAL", "no such word", "Straße"]
    found = words_of_texts(texts, [(0,), (0, 1), (1,), ()], torch.tensor([True, False, True, True]), least=1)
    assert (found["goal"].n_texts, found["goal"].n_wrong, found["goal"].n_decided) == (2, 1, {0: 2, 1: 1})
    assert found["straße"].n_decided == {}
    accents = words_of_texts(["résumé", "Resume", "the dogs' dog's"], [(0,)] * 3, torch.ones(3).bool(), least=1)
    assert accents["resume"].n_texts == 2 and accents["dogs"].n_texts == accents["dog's"].n_texts == 1
    assert list(words_of_texts(texts, [(0,)] * 4, torch.ones(4).bool(), least=2)) == ["goal"]
