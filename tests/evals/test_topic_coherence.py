"""Topic coherence against values computed by hand and by gensim."""

import itertools
import random
from math import log, sqrt
from typing import Any

import pytest
import torch

from sae_lens_classif.evals import topic_coherence as module
from sae_lens_classif.evals.topic_coherence import EPSILON, key_words, topic_coherence

NOTHING = {"c_v": None, "c_uci": None, "c_npmi": None}
PETS = ["cat dog", "Cat, dog!", "the cat", "a fish"]  # four windows, whatever their size


def _scores(words: list[str], texts: list[str]) -> dict[str, Any]:
    (entry,) = topic_coherence([words], texts).details["topic_coherence"]
    return {name: entry[name] for name in NOTHING}


def _c_v(npmi: float) -> float:
    """Two words, each of NPMI 1 with itself: cosine of (1, n) with the sum (1 + n, 1 + n)."""
    return (1 + npmi) / sqrt(2 * (1 + npmi**2))


def test_texts_shorter_than_a_window_are_one_window() -> None:
    # P(cat) = 3/4, P(dog) = 1/2, P(cat, dog) = 1/2: PMI = log(1/2 / 3/8) = log 4/3, and -log P(cat, dog) = log 2.
    npmi = log(4 / 3) / log(2)
    expected = {"c_v": _c_v(npmi), "c_uci": log(4 / 3), "c_npmi": npmi}
    assert _scores(["cat", "dog"], PETS) == pytest.approx(expected, rel=1e-9)


def test_three_words_take_the_mean_over_pairs_and_over_words() -> None:
    # P = 1/2 each; aa and bb always together (PMI log 2, NPMI 1), cc with them in half of its windows (PMI 0).
    texts = ["aa bb cc", "aa bb", "cc", "zz"]
    # Contexts (1, 1, 0) twice and (0, 0, 1), their sum (2, 2, 1).
    c_v = (2 * 4 / (sqrt(2) * 3) + 1 / 3) / 3
    expected = {"c_v": c_v, "c_uci": log(2) / 3, "c_npmi": 1 / 3}
    assert _scores(["aa", "bb", "cc"], texts) == pytest.approx(expected, rel=1e-9)


def test_windows_of_10_tokens_slide_by_one_for_c_uci_and_c_npmi() -> None:
    # 12 tokens are 3 windows: sun is in the first, moon in the last two: together in none.
    scores = _scores(["sun", "moon"], ["sun" + " sky" * 9 + " moon sky"])
    pmi = log(EPSILON / (1 / 3 * 2 / 3))
    assert scores["c_uci"] == pytest.approx(pmi, rel=1e-9)
    assert scores["c_npmi"] == pytest.approx(pmi / -log(EPSILON), rel=1e-9)


def test_windows_of_110_tokens_slide_by_one_for_c_v() -> None:
    # 112 tokens are 3 windows: sun is in the first, moon in all: NPMI(sun, moon) = 0, NPMI(moon, moon) = -1.
    # Contexts (1, 0) and (0, -1), their sum (1, -1).
    scores = _scores(["sun", "moon"], ["sun" + " sky" * 99 + " moon" + " sky" * 11])
    assert scores["c_v"] == pytest.approx(1 / sqrt(2), rel=1e-9)


def test_a_repeated_word_is_forgotten_with_its_first_departure_as_in_gensim() -> None:
    # 11 tokens are 2 windows. The second still holds one sun, but the other has just left: P(sun, moon) is 0, not 1/2.
    scores = _scores(["sun", "moon"], ["sun sun" + " sky" * 8 + " moon"])
    assert scores["c_uci"] == pytest.approx(log(EPSILON / (1 / 2 * 1 / 2)), rel=1e-9)


def test_words_in_every_window_have_npmi_minus_one_as_in_gensim() -> None:
    # PMI = log(1 + 1e-12) and NPMI = PMI / -PMI; both contexts are (-1, -1).
    scores = _scores(["cat", "dog"], ["cat dog", "dog or cat"])
    assert scores == pytest.approx({"c_v": 1.0, "c_uci": 0.0, "c_npmi": -1.0}, abs=1e-9)


def _news() -> tuple[list[list[str]], list[str]]:
    """150 texts of 0 to 299 tokens on four themes, stop words and common words between their words."""
    themes = [
        ["film", "naïve", "actor", "don't", "scene", "plot"],
        ["goal", "team", "half-time", "coach", "league", "match"],
        ["bank", "profit", "shares", "market", "œuvre", "trade"],
        ["virus", "patient", "doctor", "trial", "drug", "vaccine"],
    ]
    common = ["the", "of", "and", "to", "in", "is", "it", "was", "for", "that", "on", "with", "as", "his", "they"]
    common += [f"word{first}{second}" for first in "abcdefghij" for second in "abcdefghij"]
    draw = random.Random(0).random  # the one method whose sequence Python promises to keep
    texts = []
    for number in range(150):
        theme = themes[number % 4]
        tokens = []
        for _ in range(int(300 * draw() * draw()) if number % 30 else 0):
            pool = theme if draw() < 0.15 else common if draw() < 0.97 else themes[int(4 * draw())]
            tokens.append(pool[int(len(pool) * min(draw(), draw()))])  # the first of a list more often
        texts.append(" ".join(tokens).capitalize())
    mixed = ["film", "goal", "the", "wordaa", "vaccine", "œuvre"]
    return [*themes, mixed, ["the", "of"], ["coach", "absent", "trade", "nowhere"]], texts


# tokens = [re.findall(TOKEN_PATTERN, text.lower()) for text in texts]
# model = CoherenceModel(topics=words, texts=tokens, dictionary=Dictionary(tokens), coherence=name)  # gensim 4.4.0
# model.get_coherence_per_topic()
GENSIM = {
    "c_v": [0.861857618, 0.810677277, 0.810983981, 0.849958174, 0.276422948, 0.655402386, 0.860499432],
    "c_uci": [1.33636592, 0.74968541, -1.52318498, 0.784475429, -4.52132847, 0.00071003784, -19.8208574],
    "c_npmi": [0.26558984, 0.160871899, 0.112567483, 0.169978479, -0.203639428, 0.000175151758, -0.717340749],
}


def test_a_corpus_of_four_themes_gives_what_gensim_gives() -> None:
    measures = topic_coherence(*_news())
    for name, expected in GENSIM.items():
        values = [entry[name] for entry in measures.details["topic_coherence"]]
        assert values == pytest.approx(expected, rel=1e-8)
        assert measures.metrics[name] == pytest.approx(sum(expected) / len(expected), rel=1e-8)


def test_the_size_of_a_batch_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    words, texts = _news()
    at_once = topic_coherence(words, texts)
    monkeypatch.setattr(module, "TEXTS_AT_ONCE", 7)
    assert topic_coherence(words, texts) == at_once


def test_copies_of_the_texts_and_their_order_change_nothing() -> None:
    words, texts = _news()
    once, thrice = topic_coherence(words, texts), topic_coherence(words, texts[::-1] + texts + texts)
    for entry, copied in zip(once.details["topic_coherence"], thrice.details["topic_coherence"], strict=True):
        assert copied == pytest.approx(entry, rel=1e-12)


def test_concepts_of_fewer_than_two_words_have_no_coherence_and_no_part_in_the_means() -> None:
    measures = topic_coherence([[], ["cat"], ["cat", "dog"], ["dog", "dog"]], PETS)
    entries = measures.details["topic_coherence"]
    assert [entry["concept"] for entry in entries] == [0, 1, 2, 3]
    for number in (0, 1, 3):
        assert entries[number] == {"concept": number, **NOTHING}
    assert entries[2] == {"concept": 2, **measures.metrics}


def test_without_concepts_or_words_or_texts_there_is_no_coherence() -> None:
    concepts: list[list[list[str]]] = [[], [[]], [["cat", "dog"]]]
    corpora: list[list[str]] = [[], ["", ""], ["?!", "1 2 3"]]
    for words, texts in itertools.product(concepts, corpora):
        measures = topic_coherence(words, texts)
        assert measures.metrics == NOTHING
        assert measures.details["topic_coherence"] == [{"concept": 0, **NOTHING}] * len(words)


def test_an_empty_text_is_a_window_without_words() -> None:
    assert _scores(["cat", "dog"], [*PETS[:3], ""]) == _scores(["cat", "dog"], PETS)
    assert _scores(["cat", "dog"], PETS[:3]) != _scores(["cat", "dog"], PETS)


def test_an_absent_word_is_left_out_of_its_concept() -> None:
    assert _scores(["cat", "unicorn", "dog"], PETS) == _scores(["cat", "dog"], PETS)
    assert _scores(["cat", "unicorn"], PETS) == NOTHING
    assert _scores(["unicorn", "griffin"], PETS) == NOTHING


def test_a_word_counts_once_a_concept() -> None:
    assert _scores(["cat", "dog", "cat"], PETS) == _scores(["cat", "dog"], PETS)


def test_words_beyond_ascii_are_found_whatever_their_case() -> None:
    renamed = ["ÉTÉ l'œuvre", "Été, l'Œuvre!", "the été", "кит"]
    assert _scores(["été", "l'œuvre"], renamed) == _scores(["cat", "dog"], PETS)


def test_key_words_are_tokens_of_the_corpus() -> None:
    texts = ["Half-time: the coach's team leads", "half-time and the coach's speech", "naïve films", "naïve films!"]
    member = torch.tensor([[True, False]] * 2 + [[False, True]] * 2)
    words = [list(concept) for concept in key_words(texts, member, n_words=2)]
    assert [sorted(concept) for concept in words] == [["coach's", "half-time"], ["films", "naïve"]]
    # Each pair of words shares two windows of four, and no window is without the other: NPMI = 1.
    assert topic_coherence(words, texts).metrics == pytest.approx({"c_v": 1.0, "c_uci": log(2), "c_npmi": 1.0})
