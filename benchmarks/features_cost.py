"""What features cost beside the model that they are of: ``python benchmarks/features_cost.py MODEL SAES DATA [N]``.

MODEL and SAES are what ``real_models.py`` and ``language_model_saes.py`` write, DATA a folder with ``test.parquet``.
First N (2,000) texts through all of ``cache_features`` with two SAEs of different layers and every default pooling,
against the model's own forward pass over the same batches up to the deeper layer; then the memory of a random SAE
65,536 wide.
"""

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from datasets import Dataset
from sae_lens import TopKSAE, TopKSAEConfig
from sae_lens.saes.sae import SAEMetadata
from timing import medians_in_turn, peak_memory, start
from transformers import AutoModel

from sae_lens_classif.config.features import FeaturesConfig
from sae_lens_classif.data.texts import TextData
from sae_lens_classif.features.caching import cache_features
from sae_lens_classif.features.pooling import Pooling
from sae_lens_classif.features.sources import FeatureSource, SAESource, open_source
from sae_lens_classif.hooks.batching import batch_tokens, batches_by_length, mask_of, pad_right
from sae_lens_classif.hooks.token_states import TokenReader, open_reader

_POOLINGS = [Pooling.of(words) for words in FeaturesConfig().poolings]
_WIDE = 65_536


def main() -> None:
    start()
    model, saes, folder = (Path(one) for one in sys.argv[1:4])
    n_texts = int(sys.argv[4]) if len(sys.argv) > 4 else 2000
    if len(sys.argv) > 5:  # in a process of its own, whose memory is this alone
        print(f"{_gib_of_wide(model, folder, n_texts):.2f}")
        return
    print("| model | SAEs | texts | ours, texts/s | bare model to the deeper layer | ours / bare, time |")
    print("|---|---|---:|---:|---:|---:|")
    for backend in ("transformers", "hooked_transformer"):
        _row(model, saes, _texts(folder, n_texts), backend)
    memory = subprocess.run(
        [sys.executable, *sys.argv[:4], "200", "wide"], capture_output=True, text=True, check=True
    ).stdout.split()[-1]
    print(f"\nA TopK SAE {_WIDE:,} wide, 200 texts, all default poolings: {memory} GiB at most.")


def _texts(folder: Path, n: int) -> TextData:
    texts = Dataset.from_parquet(str(folder / "test.parquet")).select(range(n))["text"]
    return TextData(tuple(texts), torch.zeros(n, dtype=torch.int64).numpy(), ("a", "b"))


def _row(model: Path, saes: Path, data: TextData, backend: str) -> None:
    reader = open_reader(str(model), backend=backend)
    found = sorted(saes.iterdir(), key=lambda one: [int(part) for part in one.name.split("-")])
    names = [str(found[0]), str(found[-1])]  # the narrowest of the first layer, the widest of the last
    sources = [open_source(name, reader) for name in names]
    deepest = max(reader.layer_of(source.hook) for source in sources)
    bare: Any = AutoModel.from_pretrained(model).eval()
    bare.layers = bare.layers[:deepest]
    ids = reader.inputs(data.texts)
    batches = []
    for rows in batches_by_length([len(one) for one in ids], batch_tokens(reader.device)):
        tokens, last = pad_right([ids[row] for row in rows], pad_token_id=0)
        batches.append((tokens, mask_of(last + 1, tokens.shape[1])))

    @torch.no_grad()
    def forward() -> None:
        for tokens, mask in batches:
            bare(tokens, attention_mask=mask, use_cache=False)

    seconds = medians_in_turn({"ours": lambda: _cache(reader, data, sources), "bare": forward}, repeats=3)
    of = " and ".join(f"{source.width:,} at {source.hook}" for source in sources)
    rates = " | ".join(f"{len(data) / seconds[side]:.1f}" for side in ("ours", "bare"))
    print(f"| {model.name}, {backend} | {of} | {len(data):,} | {rates} | {seconds['ours'] / seconds['bare']:.2f} |")


def _cache(reader: TokenReader, data: TextData, sources: list[FeatureSource]) -> None:
    with TemporaryDirectory() as folder:
        cache_features(reader, data, sources, _POOLINGS, Path(folder) / "features")


def _gib_of_wide(model: Path, folder: Path, n_texts: int) -> float:
    reader = open_reader(str(model), backend="transformers")
    hook = f"blocks.{reader.n_layers // 2}.hook_resid_post"
    torch.manual_seed(0)
    cfg = TopKSAEConfig(d_in=reader.d_model, d_sae=_WIDE, k=32, metadata=SAEMetadata(hook_name=hook))
    sae = TopKSAE(cfg)
    torch.nn.init.normal_(sae.W_enc)
    _cache(reader, _texts(folder, n_texts), [SAESource("random", sae, reader)])
    return peak_memory()


if __name__ == "__main__":
    main()
