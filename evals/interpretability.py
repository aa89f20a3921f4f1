"""Interpretability: do the texts of a concept belong together?"""

import math
from typing import Any

import torch
from pydantic import Field

from sae_lens_classif.evals.base import EvaluationSpec, Exact, TestPass, interval_settings
from sae_lens_classif.evals.bootstrap import interval, mean_of, resample
from sae_lens_classif.evals.measures import FLOOR, Cosine, Count, Measure
from sae_lens_classif.evals.overlap import Twins, jaccard, share_with_twin, twins
from sae_lens_classif.evals.results import Measures, finite
from sae_lens_classif.evals.topic_coherence import key_words, topic_coherence

TOP_CONCEPTS = 5
SHARED = (1, 2, 3, 4)
_N_COHERENCE_WORDS = 10
_N_CLOUD_WORDS = 40
_CELLS = 2**25  # numbers held at once


def jenks_break(values: torch.Tensor) -> float | None:
    """Two-class natural break: the largest value of the lower class (Jenks 1967).

    Args:
        values: float (N,).

    Returns:
        The break, or None where all values are equal.
    """
    ordered = values.double().sort().values
    if len(ordered) < 2 or ordered[0] == ordered[-1]:
        return None
    count = torch.arange(1, len(ordered), dtype=torch.float64)
    centred = ordered - ordered.mean()  # the sums of squares then lose no digits
    lower = centred.cumsum(dim=0)[:-1]
    upper = centred.sum() - lower
    # Least variance within the two classes = greatest between them.
    between = lower.pow(2) / count + upper.pow(2) / (len(ordered) - count)
    between[ordered[1:] == ordered[:-1]] = -math.inf  # equal values stay together
    return float(ordered[int(between.argmax())])


def activating_sets(concepts: torch.Tensor) -> torch.Tensor:
    """Texts on which each concept is clearly active: strictly above its two-class Jenks break.

    Args:
        concepts: float (N, n).

    Returns:
        bool (N, n).
    """
    breaks = [jenks_break(column) for column in concepts.T]
    limits = [math.inf if limit is None else limit for limit in breaks]
    return concepts.double() > torch.tensor(limits, dtype=torch.float64)


def interpretability(
    concepts: torch.Tensor, embeddings: torch.Tensor, *, n_bootstrap: int = 1000, seed: int = 0
) -> Measures:
    """ConceptSim, SentenceSim(1..4) and the sets of activating texts.

    Args:
        concepts: float (N, n), activations.
        embeddings: float (N, e), sentence embeddings; normalised here.
        n_bootstrap: Resamplings behind each interval.
        seed: Seed of the resampling.

    Returns:
        Metrics ``concept_sim`` (weighted by pairs; cosines, -1..1), ``concept_sim_unweighted``,
        ``dataset_mean_cosine``, ``sentence_sim`` (4), ``mean_jaccard``, ``redundancy``, ``coverage``; the first
        and ``sentence_sim`` with ``_ci95``; details a concept.
    """
    unit = torch.nn.functional.normalize(embeddings.double(), dim=-1)
    member = activating_sets(concepts)
    ones = torch.ones(1, len(unit))
    scores, pairs = (value[0] for value in _set_cosines(ones, member, unit))
    of_data, _ = _set_cosines(ones, torch.ones(len(unit), 1, dtype=torch.bool), unit)
    sentence = sentence_similarities(concepts, unit)

    def statistic(weights: torch.Tensor) -> torch.Tensor:
        weighted = _weighted(*_set_cosines(weights, member, unit))
        return torch.stack([weighted, *(mean_of(column)(weights) for column in sentence.T)], dim=1)

    resampled = resample(statistic, len(unit), n_bootstrap, seed)
    metrics: dict[str, Any] = {
        "concept_sim": float(_weighted(scores[None], pairs[None])),
        "concept_sim_unweighted": float(scores.mean()),
        "dataset_mean_cosine": float(of_data),
        # None where no text shares so many concepts with another.
        "sentence_sim": finite(sentence.nanmean(dim=0).tolist()),
        "sentence_sim_ci95": finite([interval(column) for column in resampled[:, 1:].T]),
        **set_measures(member),
    }
    details = {
        "concept_sim": scores.tolist(),
        "activating_texts": member.sum(dim=0).tolist(),
        "jenks_break": [jenks_break(column) for column in concepts.T],
    }
    measures = Measures(metrics, details)
    measures.add_intervals(("concept_sim",), resampled[:, :1])
    return measures


def _weighted(scores: torch.Tensor, pairs: torch.Tensor) -> torch.Tensor:
    return (scores * pairs).sum(dim=1) / pairs.sum(dim=1).clamp(min=1e-12)


def _set_cosines(weights: torch.Tensor, member: torch.Tensor, unit: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean cosine over the pairs of different texts in each set, and the number of pairs.

    A sum over pairs is the squared length of the sum of unit vectors, less the texts with themselves. Copies of
    a text that a resampling drew twice are no pair: they would only say that a text is like itself.

    Args:
        weights: float (r, N), how often each text counts.
        member: bool (N, n), the sets.
        unit: float64 (N, e), unit vectors.

    Returns:
        float64 (r, n) each; the mean cosine is 0 where there is no pair.
    """
    weights = weights.double()
    cosines, pairs = [], []
    for column in member.T:
        counts, vectors = weights[:, column], unit[column]
        selves = counts.pow(2).sum(dim=1)
        n_pairs = counts.sum(dim=1).pow(2) - selves
        total = (counts @ vectors).pow(2).sum(dim=1) - selves
        cosines.append(torch.where(n_pairs > 0, total / n_pairs.clamp(min=1), 0.0))
        pairs.append(n_pairs / 2)
    return torch.stack(cosines, dim=1), torch.stack(pairs, dim=1)


def sentence_similarities(concepts: torch.Tensor, unit: torch.Tensor) -> torch.Tensor:
    """Mean cosine of each text with the texts that share exactly k of its 5 most active concepts.

    A text's top concepts have at most 31 subsets. The texts that have all concepts of a subset are counted and summed
    once for all texts; those that share exactly k concepts with a text follow by inclusion and exclusion. So the work
    grows with the number of texts, not with its square.

    Args:
        concepts: float (N, n), activations.
        unit: float64 (N, e), unit vectors.

    Returns:
        float64 (N, 4) for k = 1..4; NaN where a text has no such neighbour.
    """
    kinds, kind_of = _top_concepts(concepts).unique(dim=0, return_inverse=True)
    vectors = torch.zeros(len(kinds), unit.shape[1], dtype=torch.float64).index_add_(0, kind_of, unit)
    vectors = torch.cat([vectors, torch.bincount(kind_of, minlength=len(kinds))[:, None]], dim=1)
    n_concepts = concepts.shape[1]
    neighbours = [_sharing_subsets(kinds, n_concepts, vectors, size) for size in range(1, kinds.shape[1] + 1)]
    n_own = (kinds < n_concepts).sum(dim=1)
    columns = []
    for k in SHARED:
        exactly = torch.zeros_like(vectors)
        for size in range(k, len(neighbours) + 1):
            exactly += (-1) ** (size - k) * math.comb(size, k) * neighbours[size - 1]
        # A text shares all of its own concepts with itself.
        itself = (n_own == k).double()[kind_of]
        number = exactly[kind_of, -1] - itself
        total = (exactly[kind_of, :-1] * unit).sum(dim=1) - itself * unit.pow(2).sum(dim=1)
        columns.append(torch.where(number > 0, total / number.clamp(min=1), torch.nan))
    return torch.stack(columns, dim=1)


def _top_concepts(concepts: torch.Tensor) -> torch.Tensor:
    """The 5 most active concepts of each text in order of their numbers, int64 (N, 5); n for those that are zero."""
    magnitude = concepts.abs()
    top = magnitude.topk(min(TOP_CONCEPTS, concepts.shape[1]), dim=1).indices
    return torch.where(magnitude.gather(1, top) > 0, top, concepts.shape[1]).sort(dim=1).values


def _sharing_subsets(kinds: torch.Tensor, n_concepts: int, vectors: torch.Tensor, size: int) -> torch.Tensor:
    """For each kind of texts, over the subsets of so many of its concepts: the sum of the vectors of all kinds that
    have the whole subset.

    Args:
        kinds: int64 (m, 5), concepts of each kind; n stands for none.
        n_concepts: Number of concepts n.
        vectors: float64 (m, e).
        size: Concepts of a subset.

    Returns:
        float64 (m, e).
    """
    places = torch.combinations(torch.arange(kinds.shape[1]), size)
    subsets = kinds[:, places]
    owner, place = (subsets < n_concepts).all(dim=2).nonzero(as_tuple=True)
    keys = (subsets[owner, place] * n_concepts ** torch.arange(size)).sum(dim=1)
    distinct, subset = keys.unique(return_inverse=True)
    of_subset, of_owner = torch.bincount(subset, minlength=len(distinct)), torch.bincount(owner, minlength=len(kinds))
    by_subset = owner[subset.argsort(stable=True)]
    parts = []
    for part in vectors.split(max(1, _CELLS // max(len(distinct), 1)), dim=1):
        sums = _sums_of_groups(part.contiguous(), by_subset, of_subset)
        parts.append(_sums_of_groups(sums, subset, of_owner))
    return torch.cat(parts, dim=1)


def _sums_of_groups(rows: torch.Tensor, members: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
    """Sum of the rows (m, e) of each group, (g, e); members are the groups' row numbers, one group after another."""
    return torch.nn.functional.embedding_bag(members, rows, sizes.cumsum(0) - sizes, mode="sum")


def set_measures(member: torch.Tensor) -> dict[str, float]:
    """How the sets of activating texts overlap.

    Args:
        member: bool (N, n).

    Returns:
        ``mean_jaccard`` over pairs of concepts (an empty pair counts 0), ``redundancy`` (memberships a distinct
        text) and ``coverage`` (share of texts in some set).
    """
    n = member.shape[1]
    upper = torch.ones(n, n, dtype=torch.bool).triu(diagonal=1)
    distinct = int(member.any(dim=1).sum())
    return {
        "mean_jaccard": float(jaccard(member, member)[upper].mean()) if n > 1 else 0.0,
        "redundancy": int(member.sum()) / max(distinct, 1),
        "coverage": distinct / len(member),
    }


def measure(texts: TestPass) -> Measures:
    """All of it for one method, with the key words of its concepts and their coherence."""
    measures = interpretability(texts.concepts, texts.embeddings, **interval_settings(texts))
    member = activating_sets(texts.concepts)
    words = key_words(texts.data.texts, member, _N_CLOUD_WORDS)
    coherence = topic_coherence([list(weights)[:_N_COHERENCE_WORDS] for weights in words], texts.data.texts)
    alike = twins(member, texts.method.directions())
    measures.metrics["twin_concepts"] = share_with_twin(alike, int(member.any(dim=0).sum()))
    measures.details["twins"] = [pair.model_dump(mode="json") for pair in alike]
    measures.metrics.update(coherence.metrics)
    measures.details.update(coherence.details, key_words=words)
    return measures


class Coherence(Exact):
    """Of one concept's key words."""

    concept: Count
    c_v: float | None
    c_uci: float | None
    c_npmi: float | None


class InterpretabilityDetails(Exact):
    """A concept's own numbers."""

    concept_sim: list[Cosine | None]
    activating_texts: list[Count]
    jenks_break: list[float | None]
    topic_coherence: list[Coherence]
    twins: list[Twins] = Field(description="Pairs of concepts with Jaccard of at least 0.5 or cosine of at least 0.7.")
    key_words: list[dict[str, float]] = Field(description="TF-IDF weight of each word, the highest first.")


EVALUATION = EvaluationSpec(
    about="How alike the texts of a concept are.",
    measure=measure,
    details=InterpretabilityDetails,
    needs=frozenset({"embeddings"}),
    measures=(
        Measure(
            "concept_sim", "Likeness of a concept's texts (ConceptSim)",
            "Mean cosine of texts within a concept, weighted by pairs.", "cosine",
            better=1, column="ConceptSim", headline=28, has_interval=True, is_essential=True,
        ),
        Measure(
            "concept_sim_unweighted", "Likeness of a concept's texts, unweighted", "The same, all concepts alike.",
            "cosine",
        ),
        Measure(FLOOR, "  the same over all texts, the floor", "The same over all texts: the floor.", "cosine"),
        Measure(
            "sentence_sim", about="Mean cosine of texts that share 1, 2, 3, 4 of their 5 strongest concepts.",
            unit="cosine", has_interval=True, n_values=len(SHARED),
        ),
        Measure(
            "mean_jaccard", "Overlap of the concepts' texts (Jaccard)",
            "Overlap of two concepts' activating texts, mean over pairs.",
        ),
        Measure(
            "twin_concepts", "Concepts with a twin: on the same texts, or of the same direction",
            "Concepts with a twin, of those with an activating text: Jaccard of these texts at least 0.5, or cosine of "
            "directions at least 0.7.",
            "share", headline=27,
        ),
        Measure(
            "redundancy", "Concepts a text belongs to (redundancy)",
            "Activating sets that a covered text is in, mean.",
        ),
        Measure(
            "coverage", "Texts that belong to a concept (coverage)", "Texts in at least one activating set.", "share",
            presence="always",
        ),
        Measure(
            "c_v", about="Topic coherence of the key words, mean over concepts.",
            better=1, column="C_V",
        ),
        Measure("c_uci", better=1),
        Measure(
            "c_npmi", about="Topic coherence by normalised pointwise mutual information, mean over concepts.",
            better=1, column="C_NPMI",
        ),
    ),
)  # fmt: skip
