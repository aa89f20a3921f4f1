"""Products that touch only the active latents, against the dense ones in double precision."""

import pytest
import torch

from sae_lens_classif.saes.losses import activation_rate_loss
from sae_lens_classif.saes.sparse import ActiveLatents, Places, decode, encode

_B, _D_IN, _D_SAE, _K = 13, 6, 20, 4
_NONE = torch.empty(0, dtype=torch.int64)
_DEAD = torch.tensor([1, 7, 19])


def _weights(d_sae: int = _D_SAE) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {
        "sae_in": torch.randn(_B, _D_IN, dtype=torch.float64, requires_grad=True),
        "W_enc": torch.randn(_D_IN, d_sae, dtype=torch.float64, requires_grad=True),
        "b_enc": torch.randn(d_sae, dtype=torch.float64, requires_grad=True),
        "W_dec": torch.randn(d_sae, _D_IN, dtype=torch.float64, requires_grad=True),
    }


def _dense(w: dict[str, torch.Tensor], k: int) -> tuple[torch.Tensor, torch.Tensor]:
    pre = w["sae_in"] @ w["W_enc"] + w["b_enc"]
    top = pre.topk(k, dim=1)
    return torch.zeros_like(pre).scatter(1, top.indices, top.values.relu()), pre


@pytest.mark.parametrize("dead", [_NONE, _DEAD])
@pytest.mark.parametrize("k", [1, _K, _D_SAE])
def test_values_and_gradients_are_those_of_dense_products(k: int, dead: torch.Tensor) -> None:
    def total(acts: torch.Tensor, out: torch.Tensor, of_dead: torch.Tensor) -> torch.Tensor:
        return (out**2).sum() + acts.sin().sum() + of_dead.exp().sum()

    ours, dense = _weights(), _weights()
    active, of_dead, hidden_pre = encode(ours["sae_in"], ours["W_enc"], ours["b_enc"], Places(k), dead)
    out = decode(active, ours["W_dec"])
    acts, pre = _dense(dense, k)
    torch.testing.assert_close(active.dense(), acts)
    torch.testing.assert_close(hidden_pre, pre)
    torch.testing.assert_close(of_dead, pre[:, dead])
    torch.testing.assert_close(out, acts @ dense["W_dec"])
    total(active.first(_D_SAE), out, of_dead).backward()
    total(acts, acts @ dense["W_dec"], pre[:, dead]).backward()
    for name in ours:
        torch.testing.assert_close(ours[name].grad, dense[name].grad)


def test_the_gradients_agree_with_finite_differences() -> None:
    w = _weights()

    def out(*leaves: torch.Tensor) -> torch.Tensor:
        active, of_dead, _ = encode(leaves[0], leaves[1], leaves[2], Places(_K), _DEAD)
        return torch.cat([decode(active, leaves[3]), of_dead], dim=1)

    assert torch.autograd.gradcheck(out, tuple(w.values()))


def test_more_latents_than_16_bits_count_are_grouped_alike() -> None:
    w = _weights(d_sae=2**15 + 100)
    active, _, _ = encode(w["sae_in"], w["W_enc"], w["b_enc"], Places(_K), _NONE)
    grouped = active.latents.flatten()[active.order]
    assert torch.equal(grouped, active.latents.flatten().sort().values)
    out = decode(active, w["W_dec"])
    out.sum().backward()
    expected = active.dense().T @ torch.ones_like(out)
    torch.testing.assert_close(w["W_dec"].grad, expected)


def test_the_encoder_s_gradient_lies_in_memory_as_its_transpose() -> None:
    w = _weights()
    active, _, _ = encode(w["sae_in"], w["W_enc"], w["b_enc"], Places(_K), _NONE)
    (gradient,) = torch.autograd.grad(active.values.sum(), w["W_enc"])
    assert gradient.T.is_contiguous()


@pytest.mark.parametrize("gamma", [0.01, 0.1, 0.31, 0.5, 1.0])
@pytest.mark.parametrize("k", [1, _K, _D_SAE])
def test_the_activation_rate_loss_of_active_latents_is_that_of_all(gamma: float, k: int) -> None:
    ours, dense = _weights(), _weights()
    active, _, _ = encode(ours["sae_in"], ours["W_enc"], ours["b_enc"], Places(k), _NONE)
    acts, _ = _dense(dense, k)
    loss, expected = activation_rate_loss(active, gamma), activation_rate_loss(acts, gamma)
    torch.testing.assert_close(loss, expected)
    if loss.requires_grad and loss > 0:  # with gamma = 1 it is nothing, where the dense one may be a rounding error
        loss.backward()
        expected.backward()
        for name in ("sae_in", "W_enc", "b_enc"):
            torch.testing.assert_close(ours[name].grad, dense[name].grad)


def test_no_gradient_flows_through_the_detached_latents() -> None:
    values = torch.tensor([[1.0, 2.0, 3.0]], requires_grad=True)
    active = ActiveLatents(values, torch.tensor([[0, 5, 2]]), torch.tensor([0, 2, 1]), torch.tensor([1, 0, 1, 0, 0, 1]))
    active.detached_below(2).values.sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == [[0.0, 1.0, 1.0]]


def test_only_latents_above_zero_count_as_firing() -> None:
    active = ActiveLatents(
        torch.tensor([[1.0, 0.0], [2.0, 3.0]]),
        torch.tensor([[0, 1], [0, 2]]),
        torch.tensor([0, 2, 1, 3]),
        torch.tensor([2, 1, 1]),
    )
    assert active.firing_counts().tolist() == [2, 0, 1]
