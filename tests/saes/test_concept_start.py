"""Where concepts start: clusters of each class's texts, found without chance."""

import pytest
import torch
import torch.nn.functional as F

from sae_lens_classif.saes.concept_start import cluster_start, shares


@pytest.mark.parametrize(
    ("n_texts", "n_concepts", "expected"),
    [
        ([100, 100, 100, 100], 20, [5, 5, 5, 5]),
        ([900, 100], 20, [15, 5]),  # roots 30 and 10
        ([10**6, 1], 4, [3, 1]),
        ([50, 0, 50], 4, [2, 0, 2]),
        ([7], 3, [3]),
    ],
)
def test_a_class_s_share_goes_by_the_root_of_its_texts_and_none_is_forgotten(
    n_texts: list[int], n_concepts: int, expected: list[int]
) -> None:
    assert shares(torch.tensor(n_texts), n_concepts) == expected


def _planted(n_each: int = 40) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Texts around six centres of three classes, two a class."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(6, 24, generator=generator) * 4
    states = centres.repeat_interleave(n_each, dim=0) + torch.randn(6 * n_each, 24, generator=generator) * 0.3
    return states, torch.arange(6).repeat_interleave(n_each) // 2, centres


def test_concepts_start_at_the_clusters_of_each_class() -> None:
    states, predicted, _ = _planted()
    start = cluster_start(states, predicted, n_concepts=6)
    assert start.groups.tolist() == [0, 0, 1, 1, 2, 2]
    torch.testing.assert_close(start.centre, states.mean(dim=0))
    away = F.normalize(states - states.mean(dim=0), dim=1)
    expected = F.normalize(torch.stack([part.mean(dim=0) for part in away.split(40)]), dim=1)
    cosines = start.directions @ expected.T
    assert sorted(cosines.argmax(dim=1).tolist()) == list(range(6))
    torch.testing.assert_close(cosines.amax(dim=1), torch.ones(6))


def test_other_texts_of_the_same_kind_in_another_order_give_the_same_concepts() -> None:
    states, predicted, _ = _planted()
    rows = torch.randperm(len(states), generator=torch.Generator().manual_seed(1))[:200]
    one = cluster_start(states, predicted, 6).directions
    other = cluster_start(states[rows], predicted[rows], 6).directions
    assert ((one @ other.T).amax(dim=1) > 0.99).all()


def test_fewer_concepts_than_classes_start_at_clusters_of_all_texts() -> None:
    states, predicted, _ = _planted()
    start = cluster_start(states, predicted, n_concepts=2)
    assert len(start.directions) == 2
    assert set(start.groups.tolist()) <= {0, 1, 2}


def test_texts_that_are_all_alike_have_fewer_clusters_or_none() -> None:
    same = torch.ones(10, 4)
    assert len(cluster_start(same, torch.zeros(10, dtype=torch.int64), 5).directions) == 0
    two = torch.cat([torch.ones(5, 4), torch.zeros(5, 4)])
    start = cluster_start(two, torch.zeros(10, dtype=torch.int64), 5)
    assert len(start.directions) == 2
    torch.testing.assert_close(start.directions.norm(dim=1), torch.ones(2))


def test_a_single_text_of_a_class_is_a_concept_of_its_own() -> None:
    states, predicted, _ = _planted()
    alone = torch.cat([states, torch.full((1, 24), 9.0)])
    start = cluster_start(alone, torch.cat([predicted, torch.tensor([3])]), n_concepts=8)
    assert start.groups.tolist().count(3) == 1
