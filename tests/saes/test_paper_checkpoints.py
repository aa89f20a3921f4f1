"""Checkpoints in the form of the paper's own code, which built on SAELens 3.13."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from sae_lens import SAE
from safetensors.torch import save_file

from sae_lens_classif import ClassifSAE, paper_disk_loader, paper_huggingface_loader
from sae_lens_classif.errors import UserError
from tests.fakes.hub_repository import Repository
from tests.fakes.hub_server import HubServer

# Every key that the code's TrainingSAEConfig.to_dict writes.
_CFG: dict[str, Any] = {
    "architecture": "standard", "d_in": 6, "d_sae": 12, "dtype": "torch.float32", "device": "cuda",
    "hook_name": "blocks.11.hook_resid_pre", "hook_layer": 11, "activation_fn_str": "topk",
    "activation_fn_kwargs": {"k": 3}, "apply_b_dec_to_input": False, "prepend_bos": False,
    "normalize_activations": "constant_norm_rescale", "num_classifier_features": 5, "nb_classes": 2,
    "l1_coefficient": 0.0, "lp_norm": 1.0, "use_ghost_grads": True, "lmbda_mse": 0.02, "lmbda_activation_rate": 0.02,
    "lmbda_vcr": 0.0, "lmbda_decoder_columns_similarity": 0.0, "lmbda_classifier": 1.0,
    "feature_activation_rate": 0.1, "normalize_sae_decoder": True, "decoder_orthogonal_init": False,
    "init_encoder_as_decoder_transpose": True, "mse_loss_normalization": "dense_batch",
    "decoder_heuristic_init": False, "scale_sparsity_penalty_by_decoder_norm": False, "seed": 42,
}  # fmt: skip


def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    shapes = {
        "W_enc": (6, 12), "b_enc": (12,), "W_dec": (12, 6), "b_dec": (6,),
        "classifier_weight": (2, 5), "classifier_bias": (2,),
    }  # fmt: skip
    return {name: torch.randn(shape) for name, shape in shapes.items()}


def write(folder: Path, **changes: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "cfg.json").write_text(json.dumps({**_CFG, **changes}), encoding="utf-8")
    save_file(weights(), folder / "sae_weights.safetensors")
    return folder


@pytest.mark.parametrize("subtracts", [False, True])
def test_a_checkpoint_of_the_paper_gives_its_latents_head_and_reconstruction(tmp_path: Path, subtracts: bool) -> None:
    folder = write(tmp_path / "sae", apply_b_dec_to_input=subtracts)
    sae: SAE[Any] = SAE.load_from_disk(folder, converter=paper_disk_loader)
    assert isinstance(sae, ClassifSAE)
    w, h = weights(), torch.randn(7, 6)
    scale = 6**0.5 / h.norm(dim=1, keepdim=True)
    pre = (scale * h - subtracts * w["b_dec"]) @ w["W_enc"] + w["b_enc"]
    z = torch.where(pre >= pre.sort(dim=1, descending=True).values[:, 2:3], pre.relu(), 0)
    torch.testing.assert_close(sae.encode(h), z)
    torch.testing.assert_close(sae.classify(z), z[:, :5] @ w["classifier_weight"].T + w["classifier_bias"])
    torch.testing.assert_close(sae(h), (z @ w["W_dec"] + w["b_dec"]) / scale)
    assert (sae.cfg.n_concepts, sae.cfg.n_classes, sae.cfg.k) == (5, 2, 3)
    assert sae.cfg.metadata.hook_name == "blocks.11.hook_resid_pre"


def test_it_is_saved_and_loaded_again_as_any_other(tmp_path: Path) -> None:
    sae: SAE[Any] = SAE.load_from_disk(write(tmp_path / "sae"), converter=paper_disk_loader)
    sae.save_model(tmp_path / "ours")
    again: SAE[Any] = SAE.load_from_disk(tmp_path / "ours")
    for name, value in sae.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)


def test_the_asked_precision_counts(tmp_path: Path) -> None:
    sae: SAE[Any] = SAE.load_from_disk(write(tmp_path / "sae"), converter=paper_disk_loader, dtype="bfloat16")
    assert sae.W_dec.dtype == torch.bfloat16


def test_a_checkpoint_on_the_hub_loads_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "sae")
    with HubServer(tmp_path / "hub") as server:
        files = {f"final/{path.name}": path.read_bytes() for path in folder.iterdir()}
        server.repositories["models", "someone/paper"] = Repository("someone/paper", files)
        server.stand_in(monkeypatch, tmp_path / "cache")
        sae: SAE[Any] = SAE.from_pretrained("someone/paper", "final", converter=paper_huggingface_loader)
    assert torch.equal(sae.W_dec, weights()["W_dec"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "gated"}, "'gated' .*TopK"),
        ({"activation_fn_str": "relu"}, "'relu'.*TopK"),
        ({"activation_fn_kwargs": {}}, "TopK .* k"),
        ({"num_classifier_features": 4}, r"classifier_weight of shape \(2, 5\)"),
    ],
)
def test_other_checkpoints_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    folder = write(tmp_path / "sae", **changes)
    with pytest.raises(UserError, match=message):
        SAE.load_from_disk(folder, converter=paper_disk_loader)


def test_what_is_no_checkpoint_of_the_paper_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cfg.json").write_text(json.dumps({"architecture": "topk", "d_in": 6}), encoding="utf-8")
    with pytest.raises(UserError, match=r"d_sae, .*num_classifier_features, nb_classes.*converter="):
        SAE.load_from_disk(tmp_path, converter=paper_disk_loader)
