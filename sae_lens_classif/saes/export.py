"""Export a ClassifSAE as SAELens' own TopK SAE, which loads where this package is not installed."""

import json
from dataclasses import fields
from pathlib import Path

from sae_lens import TopKSAEConfig
from sae_lens.constants import SAE_CFG_FILENAME, SAE_WEIGHTS_FILENAME
from safetensors.torch import save_file

from sae_lens_classif.files import new_folder
from sae_lens_classif.saes.classif_sae import ClassifSAE
from sae_lens_classif.saes.saving import NOTED

_HEAD = ("classifier_weight", "classifier_bias")


def export_topk(sae: ClassifSAE, folder: str | Path) -> None:
    """Write the sparse autoencoder without its head, as the architecture ``topk``.

    Where places are kept for its concepts, the concepts alone are written, with as many places: these are the same in
    ``topk``, which would give all latents together other places.

    Args:
        sae: A ClassifSAE.
        folder: Gets ``cfg.json`` and ``sae_weights.safetensors``; the folder is whole or absent.
    """
    names = {field.name for field in fields(TopKSAEConfig)}
    cfg = {name: value for name, value in sae.cfg.to_dict().items() if name in names}
    cfg["metadata"] = {name: value for name, value in cfg["metadata"].items() if name not in NOTED}
    weights = {name: value for name, value in sae.state_dict().items() if name not in _HEAD}
    if sae.cfg.k_concepts:
        n = sae.cfg.n_concepts
        cfg |= {"d_sae": n, "k": sae.cfg.k_concepts}
        weights |= {"W_enc": sae.W_enc[:, :n], "b_enc": sae.b_enc[:n], "W_dec": sae.W_dec[:n]}
    with new_folder(Path(folder)) as temporary:
        save_file({name: value.contiguous() for name, value in weights.items()}, temporary / SAE_WEIGHTS_FILENAME)
        (temporary / SAE_CFG_FILENAME).write_text(json.dumps({**cfg, "architecture": "topk"}))
