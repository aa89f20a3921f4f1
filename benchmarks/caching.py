"""Hidden states and predicted classes against the bare model: ``python benchmarks/caching.py``.

A GPT-NeoX of pythia-70m's shape with random weights reads prompts as long as AG News' with the paper's template
(mean 82, deviation 18 tokens), in the same batches on every side.
"""

import warnings
from collections.abc import Callable
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from synthetic_classifier import new_classifier
from timing import medians_in_turn, start
from transformer_lens.model_bridge import TransformerBridge

from sae_lens_classif.config.classifier import CacheConfig
from sae_lens_classif.hooks.batching import batches_by_length, pad_right

_N_TEXTS = 256

start()
rng = np.random.default_rng(0)
torch.manual_seed(0)
model, classifier = new_classifier(50304, d_model=512, n_layers=6, n_heads=8, max_tokens=256)
with TemporaryDirectory() as folder, warnings.catch_warnings():
    warnings.simplefilter("ignore")
    model.save_pretrained(folder)
    classifier.inputs.tokenizer.save_pretrained(folder)
    bridge = TransformerBridge.boot_transformers(folder)
lengths = np.clip(rng.normal(82, 18, _N_TEXTS).round(), 46, 255).astype(int)
prompts = [rng.integers(0, 50304, length).tolist() for length in lengths]


def _row(max_batch_tokens: int) -> str:
    batches = [[prompts[row] for row in rows] for rows in batches_by_length(lengths.tolist(), max_batch_tokens)]
    padded = [pad_right(batch, pad_token_id=0)[0] for batch in batches]

    def each(inputs: list[Any], run: Callable[[Any], object]) -> Callable[[], None]:
        @torch.no_grad()
        def all_batches() -> None:
            for batch in inputs:
                run(batch)

        return all_batches

    seconds = medians_in_turn(
        {
            "ours": each(batches, classifier.states_and_logits),
            "bare": each(padded, lambda tokens: model.gpt_neox(tokens, use_cache=False)),
            "bridge": each(padded, lambda tokens: bridge(tokens, stop_at_layer=5)),
        },
        repeats=5,
    )
    per_second = " | ".join(f"{_N_TEXTS / value:.0f}" for value in seconds.values())
    return f"| {max_batch_tokens} | {per_second} | {seconds['bare'] / seconds['ours']:.2f} |"


print("| tokens a batch | ours, texts/s | bare gpt_neox | TransformerBridge to the hook | ours / bare |")
print("|---:|---:|---:|---:|---:|")
for size in (2048, CacheConfig().max_batch_tokens, 16384):
    print(_row(size), flush=True)
