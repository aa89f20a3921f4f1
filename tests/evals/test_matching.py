"""Matching of concepts against every possible pairing, tried one by one; twins against sets counted by hand."""

import itertools
import math

import pytest
import torch

from sae_lens_classif.evals.matching import By, ConceptSet, Matching, match
from sae_lens_classif.evals.overlap import Twins, cosines, jaccard, share_with_twin, twins, twins_by_concept

_WAYS: tuple[By, ...] = ("both", "direction", "texts")


def sets_of(*texts: set[int], n_texts: int) -> torch.Tensor:
    return torch.tensor([[row in own for own in texts] for row in range(n_texts)], dtype=torch.bool)


def random_concepts(n_concepts: int, seed: int, *, n_texts: int = 200, d_in: int = 64) -> ConceptSet:
    generator = torch.Generator().manual_seed(seed)
    member = torch.rand(n_texts, n_concepts, generator=generator) < 0.2
    return ConceptSet(member, torch.randn(n_concepts, d_in, generator=generator))


def similar_concepts(seed: int, n_own: int, n_others: int) -> tuple[ConceptSet, ConceptSet]:
    """Sets with many pairs that are alike, and many that only nearly are: each is a changed copy of one of two."""
    generator = torch.Generator().manual_seed(seed)
    bases, texts = torch.randn(2, 6, generator=generator), torch.rand(30, 2, generator=generator) < 0.4

    def changed(n_concepts: int) -> ConceptSet:
        of = torch.randint(2, (n_concepts,), generator=generator)
        member = texts[:, of] ^ (torch.rand(30, n_concepts, generator=generator) < 0.15)
        return ConceptSet(member, bases[of] + 0.6 * torch.randn(n_concepts, 6, generator=generator))

    return changed(n_own), changed(n_others)


def likeness(own: ConceptSet, other: ConceptSet, i: int, j: int) -> tuple[float, float]:
    """Cosine and Jaccard of two concepts, from their definitions, without matrices."""
    assert own.directions is not None and other.directions is not None
    a, b = own.directions[i].tolist(), other.directions[j].tolist()
    length = math.hypot(*a) * math.hypot(*b)
    ours, theirs = ({row for row, is_in in enumerate(of) if is_in} for of in (own.member[:, i], other.member[:, j]))
    union = ours | theirs
    return math.fsum(x * y for x, y in zip(a, b, strict=True)) / length, len(ours & theirs) / max(1, len(union))


def best_by_trying_all(own: ConceptSet, other: ConceptSet, by: By) -> float:
    """The largest sum over the one-to-one pairings of pairs that are alike."""
    n_own, n_others = own.member.shape[1], other.member.shape[1]
    score = {}
    for i, j in itertools.product(range(n_own), range(n_others)):
        cosine, overlap = likeness(own, other, i, j)
        lives = bool(own.member[:, i].any()) and bool(other.member[:, j].any())
        is_alike = lives and (by == "texts" or cosine >= 0.7) and (by == "direction" or overlap >= 0.5)
        score[i, j] = {"both": cosine + overlap, "direction": cosine, "texts": overlap}[by] if is_alike else 0.0
    few, many = sorted((n_own, n_others))
    return max(
        math.fsum(score[(i, j) if n_own <= n_others else (j, i)] for i, j in enumerate(places))
        for places in itertools.permutations(range(many), few)
    )


def total(matching: Matching, own: ConceptSet, other: ConceptSet, by: By) -> float:
    """The sum over the pairs that were found, each looked at for being allowed."""
    pairs = [(i, j) for i, j in enumerate(matching.partner.tolist()) if j >= 0]
    assert len({j for _, j in pairs}) == len(pairs), "a concept was given away twice"
    found = 0.0
    for i, j in pairs:
        cosine, overlap = likeness(own, other, i, j)
        assert by == "texts" or cosine >= 0.7
        assert by == "direction" or overlap >= 0.5
        found += {"both": cosine + overlap, "direction": cosine, "texts": overlap}[by]
    return found


@pytest.mark.parametrize("by", _WAYS)
@pytest.mark.parametrize("sizes", [(5, 5), (3, 6), (6, 3), (1, 4), (4, 1)], ids=str)
@pytest.mark.parametrize("seed", range(6))
def test_no_pairing_is_better_than_the_one_that_is_found(by: By, sizes: tuple[int, int], seed: int) -> None:
    own, other = similar_concepts(seed, *sizes)
    matching = match(own, other, by)
    best = best_by_trying_all(own, other, by)
    assert total(matching, own, other, by) == pytest.approx(best, abs=1e-9)


def test_the_cases_that_were_tried_hold_pairs_that_are_alike_and_pairs_that_are_not() -> None:
    found = torch.cat([match(*similar_concepts(seed, 5, 5)).partner for seed in range(6)])
    assert 0 < int((found >= 0).sum()) < len(found)


@pytest.mark.parametrize("by", _WAYS)
def test_a_permuted_copy_comes_back_entirely(by: By) -> None:
    own = random_concepts(12, seed=0)
    assert own.directions is not None
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    copy = ConceptSet(own.member[:, order], 3.7 * own.directions[order])
    matching = match(own, copy, by)
    assert matching.partner.tolist() == order.argsort().tolist()


@pytest.mark.parametrize("by", _WAYS)
def test_random_concepts_do_not_come_back(by: By) -> None:
    matching = match(random_concepts(12, seed=0), random_concepts(12, seed=1), by)
    assert matching.partner.tolist() == [-1] * 12


def test_both_limits_count_and_a_value_on_the_limit_is_enough() -> None:
    texts = sets_of({0, 1, 2, 3}, n_texts=8)
    half, less = sets_of({0, 1}, n_texts=8), sets_of({0, 1, 4}, n_texts=8)  # Jaccard 2/4 and 2/5
    towards, aside = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.69, math.sqrt(1 - 0.69**2)]])
    own = ConceptSet(texts, towards)
    assert match(own, ConceptSet(half, towards)).partner.tolist() == [0]
    assert match(own, ConceptSet(less, towards)).partner.tolist() == [-1]
    assert match(own, ConceptSet(half, aside)).partner.tolist() == [-1]
    assert match(own, ConceptSet(less, towards), "direction").partner.tolist() == [0]
    assert match(own, ConceptSet(half, aside), "texts").partner.tolist() == [0]


def test_a_pair_that_is_alike_is_not_given_up_for_one_that_is_not() -> None:
    # Concept 0 is alike to 0 alone (cosine 0.8, all texts); the sums would put it with 1 (cosine 1, one text of four).
    own = ConceptSet(sets_of({0, 1}, {6, 7}, n_texts=8), torch.tensor([[1.0, 0.0], [0.6, 0.8]]))
    other = ConceptSet(sets_of({0, 1}, {1, 2, 3}, n_texts=8), torch.tensor([[0.8, 0.6], [1.0, 0.0]]))
    assert match(own, other).partner.tolist() == [0, -1]


@pytest.mark.parametrize("by", _WAYS)
def test_a_dead_concept_never_matches_not_even_itself(by: By) -> None:
    own = random_concepts(4, seed=3)
    own.member[:, 2] = False
    assert match(own, own, by).partner.tolist() == [0, 1, -1, 3]


@pytest.mark.parametrize("value", [0.0, math.nan, math.inf])
def test_a_direction_without_a_length_is_like_none(value: float) -> None:
    own = random_concepts(3, seed=4)
    assert own.directions is not None
    own.directions[1] = value
    matching = match(own, own)
    assert matching.partner.tolist() == [0, -1, 2]
    assert matching.cosine is not None and matching.cosine[1].tolist() == [0.0, 0.0, 0.0]


def test_without_directions_texts_alone_decide_and_directions_cannot_be_asked_for() -> None:
    own = ConceptSet(random_concepts(5, seed=5).member, None)
    matching = match(own, own, "texts")
    assert matching.partner.tolist() == list(range(5)) and matching.cosine is None
    ways: tuple[By, ...] = ("both", "direction")
    for by in ways:
        with pytest.raises(ValueError, match="no directions"):
            match(own, own, by)


def test_concepts_of_other_texts_or_another_width_are_refused() -> None:
    own = random_concepts(3, seed=0)
    with pytest.raises(ValueError, match="200 texts, 201"):
        match(own, random_concepts(3, seed=0, n_texts=201))
    with pytest.raises(ValueError, match=r"64 numbers, .* 65"):
        match(own, random_concepts(3, seed=0, d_in=65))


def test_what_does_not_match_knows_what_it_is_nearest_to() -> None:
    own, other = similar_concepts(0, 5, 4)
    matching = match(own, other)
    for i, nearest in enumerate(matching.nearest.tolist()):
        assert sum(likeness(own, other, i, nearest)) == pytest.approx(
            max(sum(likeness(own, other, i, j)) for j in range(4))
        )


# --- of one training ---


def test_a_concept_is_turned_to_the_side_of_its_strongest_texts() -> None:
    activations = torch.tensor([[0.1, 5.0], [0.2, 0.0], [0.1, 0.0], [-6.0, 4.0], [0.0, 0.1]])
    turned = ConceptSet.of(activations, torch.eye(2))
    assert turned.directions is not None
    assert turned.directions.tolist() == [[-1, 0], [0, 1]]
    assert turned.member.T.tolist() == [[False, False, False, True, False], [True, False, False, True, False]]


def test_a_turned_component_is_the_same_concept() -> None:
    generator = torch.Generator().manual_seed(0)
    activations, directions = torch.randn(200, 6, generator=generator) ** 3, torch.randn(6, 9, generator=generator)
    signs = torch.tensor([1, -1, 1, -1, -1, 1])
    own, turned = (
        ConceptSet.of(activations, directions),
        ConceptSet.of(activations * signs, directions * signs[:, None]),
    )
    assert match(own, turned).partner.tolist() == list(range(6))


def test_jaccard_and_cosines_are_those_of_sets_and_vectors() -> None:
    own, other = random_concepts(4, seed=8), random_concepts(3, seed=9)
    assert own.directions is not None and other.directions is not None
    overlap, cosine = jaccard(own.member, other.member), cosines(own.directions, other.directions)
    for i, j in itertools.product(range(4), range(3)):
        expected = likeness(own, other, i, j)
        assert (float(cosine[i, j]), float(overlap[i, j])) == pytest.approx(expected, abs=1e-6)
    assert jaccard(sets_of(set(), n_texts=3), sets_of(set(), n_texts=3)).tolist() == [[0.0]]


def test_twins_fire_on_the_same_texts_or_point_the_same_way() -> None:
    #                     0          1       2        3         4: dead, and so of no direction either
    member = sets_of({0, 1, 2}, {1, 2}, {5, 6}, {7}, set(), n_texts=8)
    directions = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.8, -0.6], [-1.0, 0.0], [1.0, 0.0]])
    found = twins(member, directions)
    assert [(pair.concepts, pair.fires_with, pair.points_with) for pair in found] == [
        ((0, 1), True, False),  # two of three texts
        ((0, 2), False, True),  # cosine 0.8
    ]
    assert [pair.jaccard for pair in found] == pytest.approx([2 / 3, 0])
    assert [pair.cosine for pair in found] == pytest.approx([0, 0.8])
    (alone,) = twins(member, None)
    assert (alone.concepts, alone.cosine, alone.fires_with, alone.points_with) == ((0, 1), None, True, False)
    assert twins(member[:, :1], directions[:1]) == []


def test_twins_are_told_from_both_sides_and_counted_once() -> None:
    pairs = [
        Twins(concepts=(0, 4), jaccard=0.5, cosine=0.1),
        Twins(concepts=(0, 2), jaccard=0.9, cosine=0.7),
        Twins(concepts=(1, 2), jaccard=0.0, cosine=0.8),
    ]
    assert twins_by_concept(pairs) == {0: ((2, 4), (2,)), 4: ((0,), ()), 2: ((0,), (0, 1)), 1: ((), (2,))}
    assert share_with_twin(pairs, 8) == 4 / 8
    assert share_with_twin([], 8) == 0 and share_with_twin([], 0) is None
