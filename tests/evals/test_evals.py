"""The metrics against values computed by hand or by plain loops over texts."""

import itertools
import json
import math

import pytest
import torch

from sae_lens_classif.evals.bootstrap import interval, mean_of, resample
from sae_lens_classif.evals.causality import conditional_causality, effects
from sae_lens_classif.evals.completeness import class_scores, completeness, reconstruction_quality
from sae_lens_classif.evals.interpretability import (
    activating_sets,
    interpretability,
    jenks_break,
    sentence_similarities,
    set_measures,
)
from sae_lens_classif.evals.measures import all_measures, context_warning, short_warnings, warnings_about
from sae_lens_classif.evals.results import finite
from sae_lens_classif.evals.segments import leading_concepts, segments
from sae_lens_classif.evals.topic_coherence import key_words
from sae_lens_classif.hooks.interventions import InterventionLogits


def _logits(*classes: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.tensor(classes), 3).float() * 5


_NO_PAIR = torch.zeros(0, dtype=torch.int64)


def _ran(
    bottleneck: torch.Tensor,
    untouched: torch.Tensor | None = None,
    nothing: torch.Tensor | None = None,
    pairs: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None = None,
) -> InterventionLogits:
    """What a model says, without groups; where it is not given, the same as through all concepts."""
    text, concept, pair = pairs or (_NO_PAIR, _NO_PAIR, torch.zeros(0, bottleneck.shape[1]))
    groups = torch.zeros(0, *bottleneck.shape)
    untouched, nothing = (bottleneck if logits is None else logits for logits in (untouched, nothing))
    return InterventionLogits(bottleneck, text, concept, pair, groups, untouched, nothing)


def test_completeness_of_four_texts() -> None:
    predicted, labels = torch.tensor([0, 1, 2, 0]), torch.tensor([0, 1, 1, 1])
    concepts = torch.tensor([[1.0, 0.0], [2.0, 0.0], [1e-7, 1e-7], [0.0, -3.0]])
    logits = _ran(_logits(0, 1, 1, 2), untouched=_logits(0, 1, 2, 1), nothing=_logits(1, 1, 1, 1))
    measures = completeness(predicted, logits, labels, concepts)
    metrics = measures.metrics
    assert metrics["recovery_accuracy"] == 0.5
    assert (metrics["recovery_floor"], metrics["recovery_ceiling"], metrics["scaled_recovery"]) == (0.25, 0.75, 0.5)
    assert metrics["worst_class_recovery"] == 0, "the one text of the last class"
    assert metrics["rarest_class_recovery"] == 1, "of two that are rarest the first"
    assert metrics["unexplained_texts"] == 0.25
    assert measures.details["recovery_by_class"][0] == {"n_texts": 2, "recovery": 0.5, "ceiling": 0.5, "floor": 0.0}
    assert metrics["original_accuracy"] == 0.5
    assert metrics["bottleneck_accuracy"] == 0.75
    assert metrics["mean_activation_rate"] == 0.375  # 2 of 4 and 1 of 4: 1e-7 does not count, -3 does
    assert metrics["max_activation_rate"] == 0.5
    for name in ("recovery_accuracy", "max_activation_rate"):
        low, high = metrics[f"{name}_ci95"]
        assert 0 <= low <= metrics[name] <= high <= 1


def test_between_floor_and_ceiling_nothing_is_scaled_where_there_is_no_way() -> None:
    predicted = torch.tensor([0, 1, 0, 1])
    same = _ran(_logits(0, 0, 0, 0))
    metrics = completeness(predicted, same, predicted, torch.ones(4, 1)).metrics
    assert metrics["recovery_floor"] == metrics["recovery_ceiling"] == 0.5
    assert metrics["scaled_recovery"] is None and metrics["scaled_recovery_ci95"] is None
    silent = _ran(_logits(0, 1, 0, 0), nothing=torch.full((4, 3), torch.nan))
    metrics = completeness(predicted, silent, predicted, torch.ones(4, 1)).metrics
    assert metrics["recovery_accuracy"] == 0.75
    assert metrics["recovery_floor"] is None and metrics["scaled_recovery"] is None, "no number with no concept"


def test_recall_precision_and_f1_of_each_class() -> None:
    scores = class_scores(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 1, 1]), 3)
    assert scores[0] == {"recall": 1.0, "precision": 0.5, "f1": pytest.approx(2 / 3), "n_texts": 1}
    assert scores[1] == {
        "recall": pytest.approx(2 / 3),
        "precision": 1.0,
        "f1": pytest.approx(0.8),
        "n_texts": 3,
    }
    assert scores[2] == {"recall": 0.0, "precision": 0.0, "f1": 0.0, "n_texts": 0}


def test_reconstruction_quality_does_not_depend_on_the_batches() -> None:
    torch.manual_seed(0)
    hidden = torch.randn(50, 6) + 3
    latents = torch.relu(torch.randn(50, 9) - 1)
    latents[:, 4] = 0
    lookup = {tuple(row.tolist()): number for number, row in enumerate(hidden)}

    def rows(batch: torch.Tensor) -> list[int]:
        return [lookup[tuple(row.tolist())] for row in batch]

    reconstruction = hidden + 0.1
    found = [
        reconstruction_quality(
            iter(hidden.split(size)),
            lambda batch: latents[rows(batch)],
            lambda batch: reconstruction[rows(batch)],
        )
        for size in (50, 7)
    ]
    variance = (hidden - hidden.mean(dim=0)).pow(2).sum().item()
    expected = {
        "explained_variance": 1 - 0.01 * 300 / variance,
        "mse": 0.01,
        "l0": (latents > 0).sum().item() / 50,
        "dead_latents": (~(latents > 0).any(dim=0)).float().mean().item(),
    }
    for quality in found:
        assert quality == pytest.approx(expected, rel=1e-4)


def test_effects_of_one_ablation() -> None:
    before = torch.log(torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]]))
    after = torch.log(torch.tensor([[0.2, 0.7, 0.1], [0.1, 0.5, 0.4]]))
    tvd, flip, accuracy_change = effects(before, after, labels=torch.tensor([0, 1]))
    torch.testing.assert_close(tvd, torch.tensor([0.5, 0.1]))
    assert flip.tolist() == [1, 0]
    assert accuracy_change.tolist() == [-1, 0]


def test_conditional_effects_are_means_over_living_concepts_of_means_over_their_texts() -> None:
    bottleneck = _logits(0, 0, 1)
    pair_text, pair_concept = torch.tensor([0, 1, 2]), torch.tensor([0, 0, 2])
    pair = _logits(1, 0, 2)
    logits = _ran(bottleneck, pairs=(pair_text, pair_concept, pair))
    measures = conditional_causality(logits, torch.tensor([0, 0, 1]), 4)
    # Concept 0: one of two texts flips; concept 2: its one text flips; 1 and 3 are dead.
    assert measures.metrics["conditional_label_flip_rate"] == pytest.approx(0.75)
    assert measures.metrics["conditional_accuracy_change"] == pytest.approx(-0.75)
    assert [concept["n_texts"] for concept in measures.details["concepts"]] == [2, 0, 1, 0]
    # A flip moves e⁵/(e⁵+2) - 1/(e⁵+2) of the probability; over all four concepts the dead ones count 0.
    moved = (math.exp(5) - 1) / (math.exp(5) + 2)
    assert measures.metrics["conditional_tvd"] == pytest.approx((moved / 2 + moved) / 2)
    assert measures.metrics["median_tvd"] == pytest.approx((0 + moved / 2) / 2)
    assert measures.metrics["influence"] == pytest.approx((moved / 3 + moved / 3) / 4)


def test_conditional_effects_without_any_active_concept_are_none_and_null_in_json() -> None:
    measures = conditional_causality(_ran(_logits(0, 1)), torch.tensor([0, 1]), 2)
    assert measures.metrics["influence"] == measures.metrics["median_tvd"] == 0
    assert measures.metrics["conditional_tvd"] is None and measures.metrics["conditional_tvd_ci95"] is None
    assert json.loads(json.dumps(finite(measures.metrics), allow_nan=False))["conditional_tvd"] is None


def test_a_concept_belongs_to_the_class_of_its_largest_mean() -> None:
    concepts = torch.tensor([[5.0, 0.0, 1.0, 0.0], [0.0, 2.0, 1.5, 0.0], [0.0, 4.0, 0.0, 0.0]])
    found = segments(concepts, torch.tensor([0, 1, 1]), 3)
    # Means of class 0: 5, 0, 1; of class 1: 0, 3, 0.75; concept 3 is dead.
    assert found.by_class == ((0, 2), (1,), ())
    assert [found.class_of(concept) for concept in range(4)] == [0, 1, 0, None]
    assert leading_concepts(found.by_class) == [(50, 0, (0,)), (75, 0, (0,)), (100, 0, (0, 2)), (100, 1, (1,))]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 2.0, 10.0, 11.0], 2.0),
        ([0.0, 0.0, 0.0, 5.0], 0.0),
        ([3.0, 3.0], None),
        ([3.0], None),
        ([1.0, 1.0, 1.0, 1.1, 9.0], 1.1),
        ([1e8, 1e8 + 1, 1e8 + 50], 1e8 + 1),
    ],
)
def test_the_jenks_break_is_the_top_of_the_lower_class(values: list[float], expected: float | None) -> None:
    shuffled = torch.tensor(values, dtype=torch.float64).flip(0)
    assert jenks_break(shuffled) == expected


def test_the_jenks_break_has_the_least_variance_within_the_two_classes() -> None:
    values = torch.randn(60, generator=torch.Generator().manual_seed(0)).exp()
    ordered = values.sort().values.double()

    def within(split: int) -> float:
        return float(sum(part.var(correction=0) * len(part) for part in (ordered[:split], ordered[split:])))

    best = min(range(1, 60), key=within)
    assert jenks_break(values) == ordered[best - 1].item()


def _cosine(unit: torch.Tensor, pairs: list[tuple[int, int]]) -> float:
    return sum(float(unit[i] @ unit[j]) for i, j in pairs) / len(pairs)


def _random_concepts(n_texts: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    concepts = torch.relu(torch.randn(n_texts, 7, generator=generator) - 0.3)
    concepts[:, 6] = 0
    return concepts, torch.randn(n_texts, 5, generator=generator)


def test_concept_sim_equals_a_loop_over_pairs() -> None:
    concepts, embeddings = _random_concepts()
    unit = torch.nn.functional.normalize(embeddings.double(), dim=-1)
    measures = interpretability(concepts, embeddings, n_bootstrap=50)
    sets = [column.nonzero()[:, 0].tolist() for column in activating_sets(concepts).T]
    pairs = [list(itertools.combinations(own, 2)) for own in sets]
    scores = [_cosine(unit, own) if own else 0.0 for own in pairs]
    assert measures.details["concept_sim"] == pytest.approx(scores)
    n_pairs = [len(own) for own in pairs]
    weighted = sum(s * n for s, n in zip(scores, n_pairs, strict=True)) / sum(n_pairs)
    assert measures.metrics["concept_sim"] == pytest.approx(weighted)
    assert measures.metrics["concept_sim_unweighted"] == pytest.approx(sum(scores) / 7)
    everything = list(itertools.combinations(range(40), 2))
    assert measures.metrics["dataset_mean_cosine"] == pytest.approx(_cosine(unit, everything))


@pytest.mark.parametrize(
    ("n_concepts", "share_active"), [(20, 0.2), (20, 1.0), (7, 0.5), (5, 1.0), (3, 1.0), (3, 0.5), (1, 0.5), (4, 0.0)]
)
def test_sentence_similarities_are_those_of_comparing_every_two_texts(n_concepts: int, share_active: float) -> None:
    torch.manual_seed(0)
    concepts = torch.randn(60, n_concepts) * (torch.rand(60, n_concepts) < share_active)
    unit = torch.nn.functional.normalize(torch.randn(60, 8, dtype=torch.float64), dim=1)
    found = sentence_similarities(concepts, unit)
    tops = [
        {int(concept) for concept in row.abs().argsort(descending=True)[:5] if row[concept] != 0} for row in concepts
    ]
    for text, own in enumerate(tops):
        for k in (1, 2, 3, 4):
            others = [row for row, top in enumerate(tops) if row != text and len(top & own) == k]
            expected = float((unit[others] @ unit[text]).mean()) if others else math.nan
            assert float(found[text, k - 1]) == pytest.approx(expected, abs=1e-9, nan_ok=True)


def test_measures_of_overlapping_sets() -> None:
    member = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0]], dtype=torch.bool)
    found = set_measures(member)
    assert found["mean_jaccard"] == pytest.approx((1 / 3 + 0 + 0) / 3)
    assert found["redundancy"] == pytest.approx(4 / 3)
    assert found["coverage"] == pytest.approx(3 / 4)


def test_interpretability_of_one_concept_that_never_fires_is_zero() -> None:
    metrics = interpretability(torch.zeros(5, 1), torch.randn(5, 3), n_bootstrap=5).metrics
    assert metrics["concept_sim"] == 0 and metrics["coverage"] == 0 and metrics["mean_jaccard"] == 0
    assert metrics["sentence_sim"] == [None] * 4


def test_the_bootstrap_interval_of_a_mean_is_that_of_the_normal_law() -> None:
    values = torch.randn(2000, generator=torch.Generator().manual_seed(0))
    low, high = interval(resample(mean_of(values), 2000, 2000, seed=1))
    error = 1.96 * values.std().item() / 2000**0.5
    assert low == pytest.approx(values.mean().item() - error, abs=0.1 * error)
    assert high == pytest.approx(values.mean().item() + error, abs=0.1 * error)


def test_the_bootstrap_gives_the_same_interval_for_the_same_seed_and_skips_missing_values() -> None:
    values = torch.tensor([1.0, torch.nan, 3.0])
    first, second = (interval(resample(mean_of(values), 3, 100, seed=7)) for _ in range(2))
    assert first == second
    assert 1 <= first[0] <= first[1] <= 3


def test_key_words_set_a_concept_apart() -> None:
    texts = ["the bank raised rates", "a bank loan", "the match was won", "a lost match", "<script> rain"]
    member = torch.tensor([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 0]], dtype=torch.bool)
    bank, match, none = key_words(texts, member, n_words=8)
    assert next(iter(bank)) == "bank" and next(iter(match)) == "match" and none == {}
    assert min(bank.values()) > 0, "a word that is not more frequent here than elsewhere is none"
    assert list(bank.values()) == sorted(bank.values(), reverse=True)


def test_key_words_of_texts_without_words_are_none() -> None:
    assert key_words(["...", "123"], torch.ones(2, 1, dtype=torch.bool), n_words=8) == [{}]


def test_warnings_say_what_to_do() -> None:
    bad = {
        "scaled_recovery": 0.89,
        "unexplained_texts": 0.06,
        "max_activation_rate": 0.51,
        "conditional_tvd": 0.004,
        "dead_latents": 0.6,
    }
    assert [warning.split(".")[0][:20] for warning in warnings_about(bad)] == [
        "The concepts go only",
        "No concept is active",
        "One concept is activ",
        "Removing a concept m",
        "60",
    ]
    good = {
        "scaled_recovery": 0.90,
        "unexplained_texts": 0.05,
        "max_activation_rate": 0.5,
        "conditional_tvd": 0.005,
        "dead_latents": 0.5,
    }
    assert warnings_about(good) == []
    assert "cannot be said" in warnings_about({"scaled_recovery": None, "recovery_accuracy": 0.1})[0]
    assert short_warnings({"scaled_recovery": None}) == ["the untouched state decides no more than none does"]
    assert short_warnings({}) == []
    assert "No concept fires" in warnings_about({"max_activation_rate": 0.0})[0]


def test_other_methods_are_not_told_to_change_settings_of_the_sae_training() -> None:
    for measure in all_measures():
        for limit in measure.limits:
            value = {"below": limit.value - 0.001, "above": limit.value + 0.001, "at": limit.value}[limit.side]
            (own,), (other,) = (
                warnings_about({measure.name: value}, of_classif_sae=is_own) for is_own in (True, False)
            )
            assert own.startswith(limit.words(limit.finding, value)) and own != limit.words(limit.finding, value)
            assert other.startswith(limit.words(limit.finding, value)) and other != limit.words(limit.finding, value)
            # The number of concepts is every method's.
            assert "sae." not in other.replace("sae.n_concepts", "") and "train." not in other


@pytest.mark.parametrize(
    ("here", "there", "warned"),
    [
        (0.95, 0.5, True),
        (0.5, 0.95, True),
        (0.95, 0.9, False),
        (0.5, 0.2, False),
        (0.95, None, False),
        (None, 1, False),
    ],
)
def test_contexts_disagree_where_the_limit_lies_between_them(
    here: float | None, there: float | None, warned: bool
) -> None:
    metrics = {"scaled_recovery": here, "scaled_recovery_other_context": there}
    for context, other in (("alone", "in_context"), ("in_context", "alone")):
        words = context_warning(metrics, context)
        assert (words is not None) == warned
        if words is not None and here is not None and there is not None:
            assert f"{100 * here:.1f} % {context} and {100 * there:.1f} % {other}" in words
    assert context_warning({"scaled_recovery": 0.5}, "alone") is None, "the other was not measured"
