"""A short name for each concept: phrases that its texts have and the other texts of its class have not."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from sae_lens_classif.evals.topic_coherence import TOKEN_PATTERN

_LONGEST = 5  # words of a name
_N_GRAMS = (1, 3)
_MOST_PHRASES = 200_000
_N_TRIED = 30  # of a concept, the best first
_LEAST = 0.2  # of what the best phrase says, or it is left out


def phrases(texts: Sequence[str], member: torch.Tensor, of_class: torch.Tensor) -> list[str]:
    """Name each concept by one to three phrases, five words in all at most.

    Class-based TF-IDF (Grootendorst 2022, BERTopic, arXiv 2203.05794) over phrases of one to three words: the share
    that a phrase has of all that stand in the concept's texts, less its share in the other texts of the concept's class
    (in all other texts, where it has none), times ``log(1 + A / f)``; f is how often it stands in the two, A how many
    phrases they have on average. Stop words do not count.

    Args:
        texts: N texts.
        member: bool (N, n), the texts of each concept.
        of_class: bool (N, n), the texts of its class.

    Returns:
        A name a concept; empty where no phrase stands in two of its texts.
    """
    counts, names = _counts(tuple(texts))
    if not len(names):
        return [""] * member.shape[1]
    words = [name.split() for name in names]
    # A long phrase is as telling as its words are together, so that it is not beaten by each of them.
    weights = np.array([len(own) if len(set(own)) == len(own) else 0 for own in words])
    found = []
    for own, others in zip(member.T.numpy(), (of_class & ~member).T.numpy(), strict=True):
        others = others if others.any() else ~own
        if own.sum() < 2:
            found.append("")
            continue
        here, elsewhere = (np.asarray(counts[np.flatnonzero(rows)].sum(axis=0)).ravel() for rows in (own, others))
        in_texts = np.asarray((counts[np.flatnonzero(own)] > 0).sum(axis=0)).ravel()
        excess = here / max(here.sum(), 1) - elsewhere / max(elsewhere.sum(), 1)
        mean, total = (here.sum() + elsewhere.sum()) / 2, here + elsewhere
        score = excess * np.log1p(mean / np.maximum(total, 1)) * weights
        score[in_texts < 2] = 0
        best = np.argsort(-score, kind="stable")[:_N_TRIED]
        telling = best[score[best] > max(_LEAST * score[best[0]], 0)]
        found.append(", ".join(_first_apart([str(names[number]) for number in telling])))
    return found


@lru_cache(maxsize=1)  # of the texts that all methods and seeds of a comparison are measured on
def _counts(texts: tuple[str, ...]) -> tuple[Any, Any]:
    """How often each phrase stands in each text, sparse (N, p), and the p phrases; none where none stands in two."""
    from sklearn.feature_extraction.text import CountVectorizer

    vectorizer = CountVectorizer(
        stop_words="english", token_pattern=TOKEN_PATTERN, ngram_range=_N_GRAMS, min_df=2, max_features=_MOST_PHRASES
    )
    try:
        counts = vectorizer.fit_transform(texts)
    except ValueError:
        return None, ()
    return counts, vectorizer.get_feature_names_out()


def _first_apart(ranked: Sequence[str]) -> list[str]:
    """The first phrases that share no word, five words in all at most."""
    kept: list[str] = []
    for phrase in ranked:
        words = [word for one in kept for word in one.split()]
        own = phrase.split()
        if len(words) + len(own) <= _LONGEST and not set(map(_stem, own)) & set(map(_stem, words)):
            kept.append(phrase)
    return kept


def _stem(word: str) -> str:
    """A word without its plural."""
    return word.removesuffix("s")
