"""How much comes back, against shares counted by hand, and the floor and ceiling it is held against."""

import pytest
import torch

from sae_lens_classif.evals.coming_back import comes_back, shares_of
from sae_lens_classif.evals.matching import ConceptSet

INFLUENCE = torch.tensor([0.5, 0.3, 0.2, 0.0])


def concepts(n_concepts: int, *, rate: float = 0.2, seed: int = 0) -> ConceptSet:
    generator = torch.Generator().manual_seed(seed)
    member = torch.rand(200, n_concepts, generator=generator) < rate
    return ConceptSet(member, torch.randn(n_concepts, 64, generator=generator))


def without(of: ConceptSet, *dead: int) -> ConceptSet:
    member = of.member.clone()
    member[:, list(dead)] = False
    return ConceptSet(member, of.directions)


def test_shares_are_means_over_trainings_and_over_concepts() -> None:
    found = torch.tensor([[True, True, False, False], [True, False, True, False]])
    shares = shares_of(found, INFLUENCE)
    assert shares.mean == pytest.approx((1 + 0.5 + 0.5 + 0) / 4)
    assert shares.mean_by_influence == pytest.approx(0.5 * 1 + 0.3 * 0.5 + 0.2 * 0.5)
    assert shares.every == pytest.approx(1 / 4)
    assert shares.every_by_influence == pytest.approx(0.5)


def test_shares_by_influence_need_an_influence() -> None:
    shares = shares_of(torch.ones(2, 4, dtype=torch.bool), torch.zeros(4))
    assert (shares.mean, shares.every) == (1, 1)
    assert shares.mean_by_influence is None and shares.every_by_influence is None


def test_a_copy_comes_back_entirely_and_half_of_a_half_copy() -> None:
    own = concepts(4)
    both = comes_back(own, [own, without(own, 0, 3)], "both", INFLUENCE, seed=0)
    assert both.measured.mean == pytest.approx((1 + 1 / 2) / 2)
    assert both.measured.every == pytest.approx(2 / 4)
    assert both.measured.every_by_influence == pytest.approx(0.3 + 0.2)


def test_the_ceiling_is_as_many_as_the_other_trainings_have_alive_the_most_influential_first() -> None:
    own = concepts(4)
    both = comes_back(own, [own, without(own, 0, 3)], "both", INFLUENCE, seed=0)
    assert both.ceiling.mean == pytest.approx((4 + 2) / 8)
    assert both.ceiling.every_by_influence == pytest.approx(0.5 + 0.3)


def test_concepts_without_a_text_are_not_counted() -> None:
    own = without(concepts(4), 3)
    result = comes_back(own, [own], "both", INFLUENCE, seed=0)
    assert result.measured.mean == result.ceiling.mean == 1


def test_chance_gives_nothing_by_direction_but_much_by_texts_where_concepts_fire_nearly_everywhere() -> None:
    rare, frequent = concepts(4), concepts(4, rate=0.9)
    assert comes_back(rare, [rare], "texts", INFLUENCE, seed=0).floor.mean == 0
    assert comes_back(frequent, [frequent], "texts", INFLUENCE, seed=0).floor.mean > 0.9
    assert comes_back(frequent, [frequent], "direction", INFLUENCE, seed=0).floor.mean == 0
    assert comes_back(frequent, [frequent], "both", INFLUENCE, seed=0).floor.mean == 0


def test_without_directions_texts_alone_are_permuted() -> None:
    own = ConceptSet(concepts(4).member, None)
    result = comes_back(own, [own], "texts", INFLUENCE, seed=0)
    assert (result.measured.mean, result.floor.mean) == (1, 0)


def test_the_same_seed_gives_the_same_floor() -> None:
    own = concepts(6, rate=0.66)
    influence = torch.ones(6)
    first, again, other = (
        comes_back(own, [concepts(6, rate=0.66, seed=1)], "texts", influence, seed) for seed in (0, 0, 1)
    )
    assert first == again
    assert 0 < first.floor.mean < 1 and first.floor != other.floor
