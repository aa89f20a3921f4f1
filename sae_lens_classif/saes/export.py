"""Export a ClassifSAE as SAELens' own TopK SAE, which loads where this package is not installed."""

import json
from dataclasses import fields
from pathlib import Path

from sae_lens import TopKSAEConfig
from sae_lens.constants import SAE_CFG_FILENAME, SAE_WEIGHTS_FILENAME
from safetensors.torch import save_file

from sae_lens_classif.errors import UserError
from sae_lens_classif.files import new_folder
from sae_lens_classif.saes.classif_sae import ClassifSAE
from sae_lens_classif.saes.saving import NOTED

_HEAD = ("classifier_weight", "classifier_bias")


def export_topk(sae: ClassifSAE, folder: str | Path) -> None:
    """Write the sparse autoencoder without its head, as the architecture ``topk``.

    Args:
        sae: A ClassifSAE.
        folder: Gets ``cfg.json`` and ``sae_weights.safetensors``; the folder is whole or absent.

    Raises:
        UserError: If places are kept for its concepts: ``topk`` would choose other latents.
    """
    if sae.cfg.k_concepts:
        raise UserError(
            f"{sae.cfg.k_concepts} of the {sae.cfg.k} places of this SAE are kept for concepts, which topk does "
            "not know: it would choose other latents. Save it as it is (architecture classifsae), or train one with "
            "sae.k_concepts 0"
        )
    names = {field.name for field in fields(TopKSAEConfig)}
    cfg = {name: value for name, value in sae.cfg.to_dict().items() if name in names}
    cfg["metadata"] = {name: value for name, value in cfg["metadata"].items() if name not in NOTED}
    with new_folder(Path(folder)) as temporary:
        weights = {name: value for name, value in sae.state_dict().items() if name not in _HEAD}
        save_file(weights, temporary / SAE_WEIGHTS_FILENAME)
        (temporary / SAE_CFG_FILENAME).write_text(json.dumps({**cfg, "architecture": "topk"}))
