"""Names of concepts from the phrases of their texts."""

import torch

from sae_lens_classif.evals.phrases import phrases


def members(*concepts: list[int], n: int) -> torch.Tensor:
    found = torch.zeros(n, len(concepts), dtype=torch.bool)
    for number, rows in enumerate(concepts):
        found[rows, number] = True
    return found


TEXTS = [
    "The stock market fell, said the minister", "Fears for the stock market, said the bank",
    "A stock market record, said the coach", "Oil prices rise, said the bank", "Oil prices, said the minister",
    "Oil prices again, said the coach", "The match ended in a draw, said the coach", "A late match, said the coach",
]  # fmt: skip


def test_a_name_is_what_the_other_texts_of_the_class_have_not() -> None:
    own = members([0, 1, 2], [3, 4, 5], [6, 7], n=8)
    of_class = members([0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5], [6, 7], n=8)
    first, second, third = phrases(TEXTS, own, of_class)
    assert first.startswith("stock market") and second.startswith("oil prices") and "match" in third
    assert "said" not in {*first.split(", "), *second.split(", ")}, "it stands in all texts of the class alike"


def test_a_name_has_five_words_at_most_and_none_of_them_twice() -> None:
    texts = ["user user user loves green apples very much indeed today"] * 3 + ["nothing else here"] * 3
    (name,) = phrases(texts, members([0, 1, 2], n=6), members(range(6), n=6))  # type: ignore[arg-type]
    words = name.replace(",", "").split()
    assert 1 <= len(words) <= 5 and len(set(words)) == len(words)


def test_concepts_without_texts_or_words_have_no_name() -> None:
    assert phrases(TEXTS, members([], [0], n=8), members([], [0, 1], n=8)) == ["", ""]
    assert phrases(["the", "a"], members([0, 1], n=2), members([0, 1], n=2)) == [""]
    assert phrases(["مال", "مال", "طقس", "طقس"], members([0, 1], n=4), members([0, 1, 2, 3], n=4)) == ["مال"]
