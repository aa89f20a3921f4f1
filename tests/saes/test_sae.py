"""``ClassifSAE`` as SAELens' users know an SAE."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from sae_lens import SAE, HookedSAETransformer, TopKSAE, TrainingSAE
from sae_lens.analysis.sae_transformer_bridge import SAETransformerBridge
from transformer_lens import HookedTransformerConfig

from sae_lens_classif import (
    ClassifSAE,
    ClassifSAEConfig,
    ClassifTrainingSAE,
    ClassifTrainingSAEConfig,
    export_topk,
)
from sae_lens_classif.errors import UserError
from sae_lens_classif.saes.classif_sae import initialize_head


def new_sae(d_in: int = 16, d_sae: int = 40, seed: int = 0) -> ClassifTrainingSAE:
    torch.manual_seed(seed)
    sae = ClassifTrainingSAE(
        ClassifTrainingSAEConfig(d_in=d_in, d_sae=d_sae, k=5, n_classes=3, n_concepts=8, total_training_steps=10)
    )
    with torch.no_grad():
        for weight in (sae.b_enc, sae.b_dec):
            weight.normal_(std=0.1)
    sae.set_decoder_norm_to_unit_norm()
    return sae


@pytest.fixture
def states() -> torch.Tensor:
    return torch.randn(12, 16, generator=torch.Generator().manual_seed(1)) * 7


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    new_sae().save(tmp_path / "sae")
    return tmp_path / "sae"


def test_the_forward_pass_is_the_formula(states: torch.Tensor, folder: Path) -> None:
    sae = ClassifSAE.load_from_disk(folder)
    scale = 16**0.5 / states.norm(dim=-1, keepdim=True)
    pre = (scale * states) @ sae.W_enc + sae.b_enc
    threshold = pre.sort(dim=-1, descending=True).values[:, 4:5]
    expected = torch.where(pre >= threshold, pre, torch.zeros(())).relu()
    torch.testing.assert_close(sae.encode(states), expected)
    torch.testing.assert_close(sae(states), (expected @ sae.W_dec + sae.b_dec) / scale)


def test_saelens_loads_what_was_saved_as_a_classifsae_with_equal_outputs(states: torch.Tensor, folder: Path) -> None:
    trained = new_sae()
    loaded: SAE[Any] = SAE.load_from_disk(folder)
    assert isinstance(loaded, ClassifSAE)
    z = trained.encode(states)
    assert torch.equal(loaded.encode(states), z)
    assert torch.equal(loaded.classify(z), trained.classify(z))
    assert torch.equal(loaded(states), trained(states))
    assert loaded.cfg.n_concepts == 8 and loaded.cfg.n_classes == 3


def test_the_head_reads_the_first_latents_and_nothing_else(states: torch.Tensor, folder: Path) -> None:
    sae = ClassifSAE.load_from_disk(folder)
    z = sae.encode(states)
    expected = z[:, :8] @ sae.classifier_weight.T + sae.classifier_bias
    torch.testing.assert_close(sae.classify(z), expected)
    torch.testing.assert_close(sae.classify(z[:, :8]), expected)


def test_concepts_decode_to_the_reconstruction_without_the_other_latents(states: torch.Tensor, folder: Path) -> None:
    sae = ClassifSAE.load_from_disk(folder)
    z = sae.encode(states)
    alone = z.clone()
    alone[:, 8:] = 0
    reconstruction = sae.decode(alone)
    direction = sae.decode_concepts(z[:, :8])
    cosine = torch.cosine_similarity(reconstruction, direction)
    torch.testing.assert_close(cosine, torch.ones(12))


def test_a_training_checkpoint_loads_as_a_training_sae(tmp_path: Path, states: torch.Tensor) -> None:
    trained = new_sae()
    trained.save_model(tmp_path)
    loaded: TrainingSAE[Any] = TrainingSAE.load_from_disk(tmp_path)
    assert isinstance(loaded, ClassifTrainingSAE)
    assert loaded.cfg == trained.cfg
    assert torch.equal(loaded.encode(states), trained.encode(states))


def test_folding_the_decoder_norm_keeps_latents_and_head(folder: Path, states: torch.Tensor) -> None:
    plain = ClassifSAE.load_from_disk(folder)
    folded = ClassifSAE.load_from_disk(folder, fold_W_dec_norm=True)
    torch.testing.assert_close(folded.classify(folded.encode(states)), plain.classify(plain.encode(states)))


def test_folding_norms_that_would_change_the_top_k_is_refused(folder: Path) -> None:
    sae = ClassifSAE.load_from_disk(folder)
    with torch.no_grad():
        sae.W_dec.mul_(3)
    with pytest.raises(UserError, match=r"norms 3\.\.3"):
        sae.fold_W_dec_norm()


def test_folding_an_activation_scale_keeps_the_logits_of_the_head(tmp_path: Path, states: torch.Tensor) -> None:
    cfg = ClassifSAEConfig(d_in=16, d_sae=40, k=5, n_classes=3, n_concepts=8, normalize_activations="none")
    sae = ClassifSAE(cfg)
    before = sae.classify(sae.encode(states * 0.25))
    sae.fold_activation_norm_scaling_factor(0.25)
    torch.testing.assert_close(sae.classify(sae.encode(states)), before)


def test_the_decoder_norm_folded_at_saving_keeps_the_logits_of_the_head(tmp_path: Path, states: torch.Tensor) -> None:
    cfg = ClassifTrainingSAEConfig(
        d_in=16, d_sae=40, k=5, n_classes=3, n_concepts=8, total_training_steps=10,
        unit_norm_decoder=False, rescale_acts_by_decoder_norm=True, decoder_init_norm=0.1,
    )  # fmt: skip
    trained = ClassifTrainingSAE(cfg)
    trained.save(tmp_path)
    loaded = ClassifSAE.load_from_disk(tmp_path)
    torch.testing.assert_close(loaded.classify(loaded.encode(states)), trained.classify(trained.encode(states)))


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_an_sae_loads_in_another_precision(folder: Path, states: torch.Tensor, dtype: str) -> None:
    sae = ClassifSAE.load_from_disk(folder, dtype=dtype)
    logits = sae.classify(sae.encode(states))
    assert logits.dtype == getattr(torch, dtype) and logits.isfinite().all()


def test_a_topk_export_gives_the_same_latents_where_this_package_is_missing(
    folder: Path, tmp_path: Path, states: torch.Tensor
) -> None:
    sae = ClassifSAE.load_from_disk(folder)
    export_topk(sae, tmp_path / "topk")
    assert type(SAE.load_from_disk(tmp_path / "topk")) is TopKSAE
    torch.save(states, tmp_path / "states.pt")
    code = (
        "import sys, torch; sys.modules['sae_lens_classif'] = None\n"
        "from sae_lens import SAE\n"
        f"sae = SAE.load_from_disk({str(tmp_path / 'topk')!r})\n"
        f"torch.save(sae.encode(torch.load({str(tmp_path / 'states.pt')!r})), {str(tmp_path / 'z.pt')!r})"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)
    assert torch.equal(torch.load(tmp_path / "z.pt"), sae.encode(states))
    assert json.loads((tmp_path / "topk" / "cfg.json").read_text())["architecture"] == "topk"


def test_it_can_be_hung_into_a_hooked_sae_transformer(folder: Path) -> None:
    sae = ClassifSAE.load_from_disk(folder)
    hook = "blocks.1.hook_resid_pre"
    sae.cfg.metadata.hook_name = hook
    model = HookedSAETransformer(
        HookedTransformerConfig(n_layers=2, d_model=16, d_head=8, n_heads=2, n_ctx=8, d_vocab=11, act_fn="gelu", seed=0)
    )
    tokens = torch.tensor([[1, 2, 3, 4]])
    logits, cache = model.run_with_cache_with_saes(tokens, saes=[sae])
    _, plain = model.run_with_cache(tokens)
    z = cache[f"{hook}.hook_sae_acts_post"]
    torch.testing.assert_close(z, sae.encode(plain[hook]))
    expected = model.run_with_hooks(tokens, fwd_hooks=[(hook, lambda state, hook: sae(state))])
    torch.testing.assert_close(logits, expected)
    model.add_sae(sae)
    torch.testing.assert_close(model(tokens), expected)
    model.reset_saes()
    assert torch.equal(model(tokens), model.run_with_hooks(tokens))


# transformer_lens' bridge is made of deprecated parts of its own.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_it_can_be_hung_into_an_sae_transformer_bridge(classifier_folder: Path) -> None:
    model = SAETransformerBridge.boot_transformers(str(classifier_folder), device="cpu")
    torch.manual_seed(0)
    sae = ClassifSAE(ClassifSAEConfig(d_in=32, d_sae=40, k=5, n_classes=3, n_concepts=8))
    sae.cfg.metadata.hook_name = "blocks.2.hook_resid_pre"
    tokens = torch.tensor([[1, 2, 3, 4]])
    _, plain = model.run_with_cache(tokens)
    _, cache = model.run_with_cache_with_saes(tokens, saes=[sae])
    name = model.get_sae_hook_name(sae)  # the bridge has names of its own for the hooks
    torch.testing.assert_close(cache[name], sae.encode(plain[name.removesuffix(".hook_sae_acts_post")]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_concepts": 41}, r"n_concepts is 41; .*1\.\.40"),
        ({"k": 41}, r"k is 41; .*1\.\.40"),
        ({"k": 0}, "k is 0; it must be above 0"),
        ({"k": 5, "k_concepts": 6}, r"k_concepts is 6; .*0\.\.5"),
        ({"n_concepts": 8, "k_concepts": 9}, r"k_concepts is 9; .*0\.\.8"),
        ({"k_concepts": -1}, "k_concepts is -1"),
        ({"k": 40, "k_concepts": 2}, "leave 38 .* 20 other latents"),
        ({"gamma": 0.0}, "gamma is 0.0; .* 0 .* 1"),
        ({"gamma": 1.5}, "gamma is 1.5"),
        ({"gamma": float("nan")}, "gamma is nan"),
        ({"n_classes": 1}, "n_classes is 1; .* 2"),
        ({"d_in": 0}, "d_in is 0"),
        ({"classifier_coefficient": -1.0}, "classifier_coefficient is -1.0"),
        ({"dead_latent_loss": "aux"}, "normalize_activations none"),
    ],
)
def test_sizes_that_cannot_go_together_are_refused(changes: dict[str, Any], message: str) -> None:
    settings = {"d_in": 16, "d_sae": 40, "n_classes": 3, "total_training_steps": 10, **changes}
    with pytest.raises(UserError, match=message):
        ClassifTrainingSAEConfig(**settings)


def test_an_untrained_sae_starts_as_the_paper_s() -> None:
    torch.manual_seed(0)
    cfg = ClassifTrainingSAEConfig(
        d_in=64, d_sae=400, n_classes=5, n_concepts=50, total_training_steps=1, head_init="kaiming"
    )
    sae = ClassifTrainingSAE(cfg)
    assert torch.equal(sae.W_enc, sae.W_dec.T)
    for bias in (sae.b_enc, sae.b_dec, sae.classifier_bias):
        assert not bias.any()
    # Kaiming-uniform: within sqrt(6 / fan_in), with a variance of 2 / fan_in.
    for weight, fan_in in ((sae.W_dec, 64), (sae.classifier_weight, 50)):
        assert 0.9 * (6 / fan_in) ** 0.5 < weight.abs().max() <= (6 / fan_in) ** 0.5
        assert weight.var().item() == pytest.approx(2 / fan_in, rel=0.15)


@pytest.mark.parametrize(("n_classes", "n_concepts"), [(2, 20), (4, 20), (5, 5)])
def test_a_head_that_starts_by_class_gives_every_concept_one_class_and_has_kaimings_size(
    n_classes: int, n_concepts: int
) -> None:
    cfg = ClassifSAEConfig(d_in=8, d_sae=32, n_classes=n_classes, n_concepts=n_concepts)
    sae = ClassifSAE(cfg)
    initialize_head(sae, "by_class")
    weight = sae.classifier_weight.detach()
    assert weight.argmax(dim=0).tolist() == [concept % n_classes for concept in range(n_concepts)]
    assert torch.allclose(weight.sum(dim=0), torch.zeros(n_concepts), atol=1e-6), "it says nothing but its class"
    assert weight.pow(2).mean().item() == pytest.approx(2 / n_concepts), "Kaiming's variance"
    assert torch.equal(sae.classifier_bias, torch.zeros(n_classes))


def test_a_head_with_fewer_concepts_than_classes_starts_at_random() -> None:
    sae = ClassifSAE(ClassifSAEConfig(d_in=8, d_sae=32, n_classes=7, n_concepts=3))
    initialize_head(sae, "by_class")
    assert len(sae.classifier_weight.unique()) == 21
