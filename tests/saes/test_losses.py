"""Each loss term against a value computed by hand."""

import math
from typing import Any, Literal

import pytest
import torch

from sae_lens_classif import ClassifTrainingSAEConfig
from sae_lens_classif.decisions import LABEL_SETS, ONE_CLASS
from sae_lens_classif.saes.losses import (
    activation_rate_loss,
    balance_loss,
    coefficients,
    detaches_concepts,
    distance_from_mean,
    ghost_gradient_loss,
    reconstruction_loss,
    unnormalised,
)


def test_the_reconstruction_loss_divides_by_the_distance_from_the_batch_mean() -> None:
    target = torch.tensor([[3.0, 4.0], [-3.0, -4.0]])  # the mean is 0, each is 5 away from it
    prediction = target + torch.tensor([[1.0, 2.0], [0.0, 0.0]])
    expected = (1 + 4) / (5 + 1e-6) / 2
    assert reconstruction_loss(prediction, target, distance_from_mean).item() == pytest.approx(expected)


def test_without_a_normaliser_it_is_the_square_of_the_difference() -> None:
    loss = reconstruction_loss(torch.tensor([[1.0, -2.0]]), torch.tensor([[4.0, 0.0]]), unnormalised)
    assert loss.item() == pytest.approx(9 + 4)


@pytest.mark.parametrize(
    ("gamma", "expected"),
    [
        (0.1, (10 + 4) / 4),  # floor(0.4) = 0: nothing is free
        (0.25, (6 + 1) / 4),  # the largest of each latent is free: 4 and 3
        (0.5, (3 + 0) / 4),
        (1.0, 0.0),
    ],
)
def test_the_activation_rate_loss_leaves_the_largest_share_of_each_latent_free(gamma: float, expected: float) -> None:
    acts = torch.tensor([[1.0, 0.0], [2.0, 3.0], [3.0, 0.0], [4.0, 1.0]])
    assert activation_rate_loss(acts, gamma).item() == pytest.approx(expected)


def test_the_activation_rate_loss_pulls_only_on_activations_beyond_the_free_ones() -> None:
    acts = torch.tensor([[1.0], [2.0], [3.0], [4.0]], requires_grad=True)
    activation_rate_loss(acts, 0.5).backward()
    assert acts.grad is not None
    torch.testing.assert_close(acts.grad, torch.tensor([[0.25], [0.25], [0.0], [0.0]]))


def test_the_classifier_loss_is_the_mean_negative_log_probability_of_the_predicted_class() -> None:
    logits = torch.log(torch.tensor([[0.8, 0.2], [0.5, 0.5]]))
    expected = -(math.log(0.8) + math.log(0.5)) / 2
    assert ONE_CLASS.loss(logits, torch.tensor([0, 1])).item() == pytest.approx(expected)


def test_the_loss_of_several_labels_is_the_mean_binary_cross_entropy() -> None:
    logits = torch.logit(torch.tensor([[0.8, 0.3], [0.5, 0.9]]))
    expected = -(math.log(0.8) + math.log(0.7) + math.log(0.5) + math.log(0.9)) / 4
    assert LABEL_SETS.loss(logits, torch.tensor([0b01, 0b10])).item() == pytest.approx(expected)


def test_ghost_gradients_reach_dead_latents_and_nothing_else() -> None:
    torch.manual_seed(0)
    sae_in, sae_out = torch.randn(5, 4), torch.randn(5, 4, requires_grad=True)
    pre, rows = torch.randn(5, 3, requires_grad=True), torch.randn(3, 4, requires_grad=True)
    loss = ghost_gradient_loss(sae_out, sae_in, pre, rows, unnormalised)
    loss.backward()
    assert sae_out.grad is None
    assert pre.grad is not None and pre.grad.abs().sum() > 0
    assert rows.grad is not None and rows.grad.abs().sum() > 0
    # Each element is scaled to the reconstruction's own error, so the mean is nearly that.
    assert loss.item() == pytest.approx((sae_in - sae_out).pow(2).mean().item(), rel=1e-2)


# --- how the weights of the terms change ---


def _cfg(schedule: Literal["reference", "paper"], **changes: Any) -> ClassifTrainingSAEConfig:
    return ClassifTrainingSAEConfig(
        d_in=4,
        d_sae=30,
        n_classes=2,
        total_training_steps=100,
        schedule=schedule,
        **changes,
    )


def test_the_reference_keeps_its_weights_and_detaches_from_half_of_training_on() -> None:
    cfg = _cfg("reference")
    assert {coefficients(cfg, step) for step in (0, 49, 50, 99)} == {(0.02, 0.02, 1.0)}
    assert [detaches_concepts(cfg, step) for step in (0, 49, 50, 99)] == [False, False, True, True]


def test_the_paper_lets_reconstruction_and_rate_fall_linearly_to_zero_and_never_detaches() -> None:
    cfg = _cfg("paper")
    assert coefficients(cfg, 0) == (0.02, 0.02, 1.0)
    assert coefficients(cfg, 50) == (0.01, 0.01, 1.0)
    assert coefficients(cfg, 100) == (0.0, 0.0, 1.0)
    assert not any(detaches_concepts(cfg, step) for step in (0, 50, 99))


def test_concepts_that_nothing_else_trains_are_never_detached() -> None:
    cfg = _cfg("reference", activation_rate_coefficient=0.0, classifier_coefficient=0.0)
    assert not detaches_concepts(cfg, 99)


def test_balance_is_one_where_all_concepts_are_active_alike_and_n_where_one_takes_all() -> None:
    alike = torch.eye(4).repeat(3, 1)
    torch.testing.assert_close(balance_loss(alike * 50, alike), torch.tensor(1.0))
    one = torch.zeros(12, 4)
    one[:, 2] = 1
    torch.testing.assert_close(balance_loss(one * 50, one), torch.tensor(4.0))


def test_balance_of_several_places_by_hand() -> None:
    z_class = torch.tensor([[1.0, 2.0, 0.0], [1.0, 0.0, 3.0]])
    pre = torch.tensor([[0.0, math.log(2), 0.0], [0.0, 0.0, math.log(2)]])
    # f = 1, 1/2, 1/2; P = 1/4, 3/8, 3/8; L0 = 2
    torch.testing.assert_close(balance_loss(pre, z_class), torch.tensor(3 * (1 / 4 + 3 / 16 + 3 / 16) / 2))


def test_balance_pulls_concepts_that_are_active_too_often_down() -> None:
    pre = torch.zeros(6, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(balance_loss(pre, torch.tensor([[1.0, 0.0, 0.0]] * 6)), pre)
    assert (gradient[:, 0] > 0).all()
    assert (gradient[:, 1:] < 0).all()


def test_without_any_active_concept_nothing_is_out_of_balance() -> None:
    assert balance_loss(torch.zeros(5, 3), torch.zeros(5, 3)) == 0
