"""Places kept for concepts, and the model in the loss: against dense computations of the same."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from sae_lens import SAE, TopKSAE

from sae_lens_classif import ClassifSAE, ClassifTrainingSAE, ClassifTrainingSAEConfig, export_topk
from sae_lens_classif.saes.classif_sae import ClassifTrainStepInput
from sae_lens_classif.saes.concept_start import ConceptStart
from sae_lens_classif.saes.sparse import Places

_D_IN, _D_SAE, _K, _N, _KEPT, _C = 16, 40, 5, 8, 2, 3


def _sae(**changes: float) -> ClassifTrainingSAE:
    torch.manual_seed(0)
    cfg = ClassifTrainingSAEConfig(
        d_in=_D_IN, d_sae=_D_SAE, k=_K, n_classes=_C, n_concepts=_N, k_concepts=_KEPT, total_training_steps=10,
        dead_latent_loss="none", dtype="float64",
    )  # fmt: skip
    for name, value in changes.items():
        setattr(cfg, name, value)
    sae = ClassifTrainingSAE(cfg)
    with torch.no_grad():
        sae.b_enc.normal_(std=0.1)
        sae.b_dec.normal_(std=0.1)
    return sae


def _states(n_texts: int = 12) -> torch.Tensor:
    return torch.randn(n_texts, _D_IN, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 7


def _dense(sae: ClassifTrainingSAE, hidden: torch.Tensor) -> torch.Tensor:
    """All activations, by a mask over sorted pre-activations."""
    pre = hidden * (_D_IN**0.5 / hidden.norm(dim=1, keepdim=True)) @ sae.W_enc + sae.b_enc
    concepts, others = pre[:, :_N], pre[:, _N:]
    kept = concepts >= concepts.sort(dim=1, descending=True).values[:, _KEPT - 1, None]
    rest = others >= others.sort(dim=1, descending=True).values[:, _K - _KEPT - 1, None]
    return torch.cat([concepts.relu() * kept, others.relu() * rest], dim=1)


def test_concepts_and_other_latents_each_have_their_places() -> None:
    pre = torch.tensor([[5.0, 1.0, 3.0, 9.0, 8.0, 7.0], [1.0, 2.0, 3.0, -1.0, -2.0, -3.0]])
    values, latents = Places(k=3, of_concepts=1, n_concepts=3).largest(pre)
    assert [sorted(row) for row in latents.tolist()] == [[0, 3, 4], [2, 3, 4]]
    assert torch.equal(values, pre.gather(1, latents))


def test_without_kept_places_all_latents_compete() -> None:
    pre = torch.randn(7, _D_SAE)
    assert torch.equal(Places(k=_K).largest(pre)[0].sort().values, pre.topk(_K, dim=1).values.sort().values)


def test_saelens_loads_it_and_gives_every_text_its_concepts(tmp_path: Path) -> None:
    sae, hidden = _sae(), _states()
    sae.save(tmp_path / "sae")
    loaded: SAE[Any] = SAE.load_from_disk(tmp_path / "sae", dtype="float64")
    assert isinstance(loaded, ClassifSAE)
    assert loaded.cfg.k_concepts == _KEPT
    torch.testing.assert_close(loaded.encode(hidden), _dense(sae, hidden))


def test_its_concepts_alone_are_exported_as_saelens_own_topk(tmp_path: Path) -> None:
    sae, hidden = _sae(), _states()
    sae.save(tmp_path / "sae")
    export_topk(ClassifSAE.load_from_disk(tmp_path / "sae", dtype="float64"), tmp_path / "topk")
    exported: SAE[Any] = SAE.load_from_disk(tmp_path / "topk", dtype="float64")
    assert type(exported) is TopKSAE
    z_class = _dense(sae, hidden)[:, :_N]
    torch.testing.assert_close(exported.encode(hidden), z_class)
    norms = hidden.norm(dim=1, keepdim=True) / _D_IN**0.5
    torch.testing.assert_close(exported(hidden), (z_class @ sae.W_dec[:_N] + sae.b_dec) * norms)


def _step_input(n_texts: int, step: int = 3) -> ClassifTrainStepInput:
    unembed = torch.randn(_D_IN, _C, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def run_model(decoded: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = F.normalize(decoded, dim=1) * hidden.norm(dim=1, keepdim=True) @ unembed
        return logits

    return ClassifTrainStepInput(
        sae_in=_states(n_texts),
        coefficients={},
        dead_neuron_mask=None,
        n_training_steps=step,
        is_logging_step=False,
        predicted=torch.arange(n_texts) % _C,
        run_model=run_model,
    )


def test_the_robust_recipe_s_terms_are_those_of_a_dense_computation() -> None:
    sae, given = _sae(model_coefficient=2.0, balance_coefficient=0.5, model_rows=10), _step_input(12)
    output = sae.training_forward_pass(given)
    assert given.run_model is not None
    z_class = _dense(sae, given.sae_in)[:, :_N]
    logits = given.run_model(z_class[:10] @ sae.W_dec[:_N] + sae.b_dec, given.sae_in[:10])
    model = -logits.log_softmax(dim=1)[torch.arange(10), given.predicted[:10]].mean()
    pre = given.sae_in * (_D_IN**0.5 / given.sae_in.norm(dim=1, keepdim=True)) @ sae.W_enc[:, :_N] + sae.b_enc[:_N]
    active = (z_class > 0).double()
    balance = _N * (active.mean(dim=0) * pre.softmax(dim=1).mean(dim=0)).sum() / active.sum(dim=1).mean()
    torch.testing.assert_close(output.losses["model_loss"], model)
    torch.testing.assert_close(output.losses["balance_loss"], balance)
    others = sum(
        coefficient * output.losses[name]
        for name, coefficient in (("mse_loss", 0.02), ("activation_rate_loss", 0.02), ("classifier_loss", 1.0))
    )
    torch.testing.assert_close(output.loss, others + 2 * model + 0.5 * balance)
    weights = [sae.W_enc, sae.b_enc, sae.W_dec, sae.b_dec]
    ours = torch.autograd.grad(output.losses["model_loss"] + output.losses["balance_loss"], weights)
    for gradient, expected in zip(ours, torch.autograd.grad(model + balance, weights), strict=True):
        torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("n_texts", [1, 2])
def test_a_batch_of_one_text_has_finite_terms(n_texts: int) -> None:
    output = _sae(model_coefficient=1.0, balance_coefficient=1.0).training_forward_pass(_step_input(n_texts))
    assert output.loss.isfinite()


def test_concepts_that_start_somewhere_measure_from_the_centre_and_speak_for_their_class() -> None:
    sae = _sae()
    directions = F.normalize(torch.randn(3, _D_IN, dtype=torch.float64), dim=1)
    centre = torch.randn(_D_IN, dtype=torch.float64)
    before = sae.W_dec[3:].clone()
    sae.start_concepts_at(ConceptStart(directions, torch.tensor([2, 2, 0]), centre))
    torch.testing.assert_close(sae.W_dec[:3], directions)
    torch.testing.assert_close(sae.W_dec[3:], before)
    assert torch.equal(sae.b_dec, centre)
    torch.testing.assert_close(centre @ sae.W_enc + sae.b_enc, torch.zeros(_D_SAE, dtype=torch.float64))
    assert sae.classifier_weight.argmax(dim=0).tolist() == [2, 2, 0, 0, 1, 2, 0, 1]


def test_the_model_may_be_run_on_in_some_steps_alone() -> None:
    sae = _sae(model_coefficient=2.0, model_every=2)
    at_step = [sae.training_forward_pass(_step_input(12, step=step)).losses for step in range(4)]
    assert ["model_loss" in losses for losses in at_step] == [True, False, True, False]
