"""The shape that SAEBench and sae-probes expect, and what they do with it, in the order in which they do."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from sae_lens import SAE, StandardSAE, StandardSAEConfig
from transformer_lens import HookedTransformer, HookedTransformerConfig

from sae_lens_classif import SAEBenchAdapter
from sae_lens_classif.errors import UserError
from tests.saes.test_sae import new_sae


def saved_and_loaded(folder: Path) -> SAE[Any]:
    trained = new_sae()
    trained.cfg.metadata.hook_name, trained.cfg.metadata.model_name = "blocks.1.hook_resid_pre", "a-model"
    trained.save(folder)
    return SAE.load_from_disk(folder)


@pytest.fixture
def sae(tmp_path: Path) -> SAE[Any]:
    return saved_and_loaded(tmp_path)


@pytest.fixture
def states() -> torch.Tensor:
    return torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(1)) * 7


def test_it_gives_what_the_sae_gives(sae: SAE[Any], states: torch.Tensor) -> None:
    adapter = SAEBenchAdapter(sae)
    z = sae.encode(states)
    assert torch.equal(adapter.encode(states), z)
    torch.testing.assert_close(adapter.decode(z), sae.decode(z))
    torch.testing.assert_close(adapter(states), sae(states))


def test_padding_of_zeros_stays_finite_and_changes_nothing_else(sae: SAE[Any], states: torch.Tensor) -> None:
    adapter = SAEBenchAdapter(sae)
    padded = states.clone()
    padded[0, 3:] = 0
    z = adapter.encode(padded)
    assert z.isfinite().all() and adapter.decode(z).isfinite().all()
    assert torch.equal(z[0, :3], sae.encode(states)[0, :3]) and torch.equal(z[1], sae.encode(states)[1])


def test_latents_may_be_changed_and_decoded_as_often_as_one_likes(sae: SAE[Any], states: torch.Tensor) -> None:
    adapter = SAEBenchAdapter(sae)
    z = adapter.encode(states)
    whole = adapter.decode(z)
    without = z.clone()
    without[..., 3] = 0
    scale = 16**0.5 / states.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(whole - adapter.decode(without), z[..., 3:4] * sae.W_dec[3] / scale)
    assert torch.equal(adapter.decode(z), whole)


def test_latents_of_another_batch_are_refused(sae: SAE[Any], states: torch.Tensor) -> None:
    adapter = SAEBenchAdapter(sae)
    with pytest.raises(ValueError, match=r"\(2, 5\), .*None"):
        adapter.decode(torch.zeros(2, 5, 40))
    adapter.encode(states[:1])
    with pytest.raises(ValueError, match=r"\(2, 5\), .*\(1, 5\)"):
        adapter.decode(torch.zeros(2, 5, 40))


def test_its_configuration_is_a_dataclass_that_json_can_hold(sae: SAE[Any]) -> None:
    adapter = SAEBenchAdapter(sae)
    assert dataclasses.is_dataclass(adapter.cfg)
    noted = json.loads(json.dumps(adapter.cfg.to_dict()))
    assert noted["model_name"] == "a-model" and noted["d_in"] == 16 and noted["d_sae"] == 40
    assert noted["architecture"] == "classifsae" and noted["normalize_activations"] == "none"
    adapter.cfg.hook_name = "changed by SAEBench"
    assert sae.cfg.metadata.hook_name == "blocks.1.hook_resid_pre", "the given SAE stays as it is"


def test_the_state_that_it_names_is_the_one_that_the_sae_was_trained_on(sae: SAE[Any]) -> None:
    adapter = SAEBenchAdapter(sae)
    assert (adapter.cfg.hook_name, adapter.cfg.hook_layer) == ("blocks.0.hook_resid_post", 0)
    model = HookedTransformer(
        HookedTransformerConfig(n_layers=2, d_model=16, d_head=8, n_heads=2, n_ctx=8, d_vocab=11, act_fn="gelu", seed=0)
    )
    _, cache = model.run_with_cache(torch.tensor([[1, 2, 3]]))
    assert torch.equal(cache[adapter.cfg.hook_name], cache["blocks.1.hook_resid_pre"])


def test_decoder_rows_have_the_norm_that_saebench_checks(sae: SAE[Any]) -> None:
    norms = SAEBenchAdapter(sae).W_dec.norm(dim=1)
    torch.testing.assert_close(norms, torch.ones(40), atol=1e-5, rtol=0)


def test_it_goes_to_another_precision(sae: SAE[Any], states: torch.Tensor) -> None:
    adapter = SAEBenchAdapter(sae).to(device="cpu", dtype=torch.bfloat16)
    assert adapter.dtype == torch.bfloat16 and adapter.cfg.dtype == "bfloat16"
    assert adapter.encode(states.bfloat16()).dtype == torch.bfloat16
    assert sae.W_dec.dtype == torch.float32


def test_an_sae_that_rescales_nothing_goes_through_unchanged(states: torch.Tensor) -> None:
    sae = StandardSAE(StandardSAEConfig(d_in=16, d_sae=40))
    sae.cfg.metadata.hook_name, sae.cfg.metadata.model_name = "blocks.0.hook_resid_pre", "a-model"
    adapter = SAEBenchAdapter(sae)
    assert adapter.cfg.hook_name == "blocks.0.hook_resid_pre"
    assert torch.equal(adapter(states), sae(states))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("hook_name", None, "no hook_name; set sae.cfg.metadata.hook_name"),
        ("model_name", None, "no model_name"),
        ("hook_name", "somewhere", r"'somewhere'.*blocks\.L\.hook_resid_pre"),
    ],
)
def test_an_sae_that_does_not_say_where_it_belongs_is_refused(
    sae: SAE[Any], name: str, value: str | None, message: str
) -> None:
    sae.cfg.metadata[name] = value
    with pytest.raises(UserError, match=message):
        SAEBenchAdapter(sae)
