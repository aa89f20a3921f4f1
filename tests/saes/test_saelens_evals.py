"""SAELens' own ``run_evals`` on a token stream of the same model."""

import datasets
import pytest
import torch
from sae_lens import ActivationsStore
from sae_lens.evals import EvalConfig, run_evals
from sae_lens.training.activation_scaler import ActivationScaler
from transformer_lens import HookedTransformer, HookedTransformerConfig

from sae_lens_classif import ClassifSAE, ClassifSAEConfig


# SAELens' own ActivationsStore copies its tokens so.
@pytest.mark.filterwarnings("ignore:To copy construct from a tensor:UserWarning")
def test_saelens_run_evals_measures_a_classifsae() -> None:
    model = HookedTransformer(
        HookedTransformerConfig(
            n_layers=2, d_model=16, d_head=8, n_heads=2, n_ctx=16, d_vocab=30, act_fn="gelu", seed=0
        )
    )
    torch.manual_seed(0)
    sae = ClassifSAE(ClassifSAEConfig(d_in=16, d_sae=40, k=5, n_classes=3, n_concepts=8))
    sae.cfg.metadata.hook_name = "blocks.1.hook_resid_pre"
    tokens = torch.randint(1, 30, (64, 16)).tolist()
    store = ActivationsStore(
        model=model,
        dataset=datasets.Dataset.from_dict({"input_ids": tokens}),
        streaming=False,
        hook_name="blocks.1.hook_resid_pre",
        hook_head_index=None,
        context_size=16,
        d_in=16,
        n_batches_in_buffer=2,
        total_training_tokens=64,
        store_batch_size_prompts=4,
        train_batch_size_tokens=32,
        prepend_bos=False,
        normalize_activations="none",
        device=torch.device("cpu"),
        dtype="float32",
    )
    cfg = EvalConfig(
        batch_size_prompts=4, n_eval_reconstruction_batches=2, n_eval_sparsity_variance_batches=2,
        compute_ce_loss=True, compute_sparsity_metrics=True, compute_variance_metrics=True, compute_l2_norms=True,
    )  # fmt: skip
    metrics, _ = run_evals(sae, store, model, ActivationScaler(), cfg, exclude_special_tokens=False)
    # l0 counts positive latents: at most k, and k unless a top latent is negative.
    assert 0 < metrics["sparsity"]["l0"] <= 5
    for group, name in (
        ("reconstruction_quality", "explained_variance"),
        ("model_performance_preservation", "ce_loss_score"),
    ):
        assert torch.tensor(metrics[group][name]).isfinite()
