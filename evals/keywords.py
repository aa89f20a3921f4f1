"""Key words of concepts: words whose TF-IDF weight is higher on the concept's texts than elsewhere."""

from collections.abc import Sequence

import numpy as np
import torch

TOKEN_PATTERN = r"(?u)\b[^\W\d_][\w'-]+\b"


def key_words(texts: Sequence[str], member: torch.Tensor, n_words: int) -> list[dict[str, float]]:
    """Find the words that set each concept's texts apart.

    Args:
        texts: N texts.
        member: bool (N, n), the texts of each concept.
        n_words: Words a concept, at most.

    Returns:
        For each concept its words, the most telling first, each with its mean TF-IDF weight on the concept's texts
        less that on all texts, above 0; none for a concept without texts.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(
        stop_words="english",
        token_pattern=TOKEN_PATTERN,
        min_df=min(2, len(texts)),
        max_features=50_000,
    )
    try:
        weights = vectorizer.fit_transform(texts)
    except ValueError:  # no text holds a word that counts
        return [{} for _ in range(member.shape[1])]
    names = vectorizer.get_feature_names_out()
    everywhere = np.asarray(weights.mean(axis=0)).ravel()
    found: list[dict[str, float]] = []
    for column in member.T.numpy():
        if not column.any():
            found.append({})
            continue
        excess = np.asarray(weights[np.flatnonzero(column)].mean(axis=0)).ravel() - everywhere
        best = np.argsort(-excess, kind="stable")[:n_words]
        found.append({str(names[word]): float(excess[word]) for word in best if excess[word] > 0})
    return found
