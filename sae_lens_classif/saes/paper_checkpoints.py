"""Read checkpoints of the paper's own code, which built on SAELens 3 (github.com/orailix/ClassifSAE).

``SAE.load_from_disk(folder, converter=paper_disk_loader)`` gives a ``ClassifSAE``; for a repository of the Hub
``SAE.from_pretrained(repo, folder, converter=paper_huggingface_loader)``.
"""

import json
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from sae_lens import __version__ as sae_lens_version
from sae_lens.constants import SAE_CFG_FILENAME, SAE_WEIGHTS_FILENAME
from sae_lens.loading.pretrained_sae_loaders import load_safetensors_weights

from sae_lens_classif.errors import UserError
from sae_lens_classif.saes.classif_sae import ARCHITECTURE
from sae_lens_classif.saes.saving import explain_loading

_METADATA = ("model_name", "hook_name", "hook_layer", "prepend_bos", "context_size", "dataset_path")
_KEYS = ("d_in", "d_sae", "activation_fn_str", "num_classifier_features", "nb_classes")


def paper_disk_loader(
    path: str | Path, device: str = "cpu", cfg_overrides: dict[str, Any] | None = None
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Read a folder that the paper's code wrote, for the ``converter`` of ``SAE.load_from_disk``.

    Args:
        path: Holds ``cfg.json`` and ``sae_weights.safetensors``.
        device: Where the weights go.
        cfg_overrides: Settings that replace those of the file, such as ``dtype``.

    Returns:
        Configuration and weights of a ``ClassifSAE``.

    Raises:
        UserError: If it is no ClassifSAE of the paper's code, or another kind than TopK.
    """
    folder = Path(path)
    with explain_loading(folder):
        content = json.loads((folder / SAE_CFG_FILENAME).read_text(encoding="utf-8"))
        cfg = {**_converted(content, str(folder)), "device": device, **(cfg_overrides or {})}
        weights = load_safetensors_weights(folder / SAE_WEIGHTS_FILENAME, device, cfg["dtype"])
    return cfg, weights


def paper_huggingface_loader(
    repo_id: str,
    folder_name: str,
    device: str = "cpu",
    force_download: bool = False,
    cfg_overrides: dict[str, Any] | None = None,
) -> tuple[dict[str, Any], dict[str, torch.Tensor], None]:
    """Read a folder of a Hub repository that the paper's code wrote, for the ``converter`` of ``SAE.from_pretrained``.

    Args:
        repo_id: ``owner/name``.
        folder_name: Folder in the repository; empty for its root.
        device: Where the weights go.
        force_download: Whether to download what is in the cache already.
        cfg_overrides: Settings that replace those of the file.

    Returns:
        Configuration and weights of a ``ClassifSAE``, and no sparsity.

    Raises:
        UserError: As ``paper_disk_loader``.
    """
    for name in (SAE_CFG_FILENAME, SAE_WEIGHTS_FILENAME):
        file = hf_hub_download(repo_id, name, subfolder=folder_name.strip("/") or None, force_download=force_download)
    return *paper_disk_loader(Path(file).parent, device, cfg_overrides), None


def _converted(cfg: dict[str, Any], where: str) -> dict[str, Any]:
    missing = [key for key in _KEYS if key not in cfg]
    if missing:
        raise UserError(
            f"{where} is no ClassifSAE of the paper's code: its cfg.json has no {', '.join(missing)}; "
            "load it without converter="
        )
    k = (cfg.get("activation_fn_kwargs") or {}).get("k")
    if cfg.get("architecture", "standard") != "standard" or cfg["activation_fn_str"] != "topk" or k is None:
        raise UserError(
            f"{where} has architecture {cfg.get('architecture')!r} and activation {cfg['activation_fn_str']!r}; only "
            "the paper's TopK can be read (architecture standard, activation_fn_str topk with its k)"
        )
    return {
        "architecture": ARCHITECTURE,
        "d_in": cfg["d_in"],
        "d_sae": cfg["d_sae"],
        "k": k,
        "n_concepts": cfg["num_classifier_features"],
        "n_classes": cfg["nb_classes"],
        "dtype": str(cfg.get("dtype", "float32")).removeprefix("torch."),
        "apply_b_dec_to_input": cfg.get("apply_b_dec_to_input", True),
        "normalize_activations": cfg.get("normalize_activations", "none"),
        "metadata": {
            **{key: cfg[key] for key in _METADATA if key in cfg},
            "sae_lens_version": sae_lens_version,  # else SAELens converts it once more
            "sae_lens_training_version": cfg.get("sae_lens_training_version", "3"),
        },
    }
