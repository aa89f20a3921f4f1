"""Hidden states and predicted classes against the bare model: ``python benchmarks/caching.py [FOLDER]``.

Prompts as long as AG News' with the paper's template (mean 82, deviation 18 tokens), of random tokens, in the same
batches on every side: a GPT-NeoX of pythia-70m's shape with random weights, MiniLM with a new head, and SmolLM2 in the
FOLDER that ``real_models.py`` writes, where one is given.
"""

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from synthetic_classifier import new_classifier
from timing import medians_in_turn, start
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoModelForCausalLM

from sae_lens_classif.config.classifier import PromptConfig
from sae_lens_classif.hooks.batching import batch_tokens, batches_by_length, mask_of, pad_right
from sae_lens_classif.hooks.classifier import TextClassifier
from sae_lens_classif.hooks.huggingface import load_tokenizer, new_sequence_classifier
from sae_lens_classif.hooks.load import load_classifier
from sae_lens_classif.hub import packaged_model

_DEFAULT = batch_tokens(torch.device("cpu"))
_CLASSES = ("negative", "positive")
_ANSWERS = PromptConfig(template="{text}\nSentiment:", label_words=tuple(f" {name}" for name in _CLASSES))
_Run = Callable[[torch.Tensor, torch.Tensor], object]  # of tokens, padded on the right, and the mask of the true ones


def main() -> None:
    start()
    print("| model | tokens a batch | ours, texts/s | bare model | TransformerBridge to the hook | ours / bare |")
    print("|---|---:|---:|---:|---:|---:|")
    torch.manual_seed(0)
    model, of_pythia = new_classifier(50304, d_model=512, n_layers=6, n_heads=8, max_tokens=256)
    bridge = _bridge(model, of_pythia)
    for size in (_DEFAULT, 8192, 16384):
        _row("pythia-70m's shape", of_pythia, lambda tokens, _: model.gpt_neox(tokens, use_cache=False), bridge, size)
    encoder, classifier = _minilm()
    _row("MiniLM", classifier, lambda tokens, mask: encoder(tokens, attention_mask=mask))
    if len(sys.argv) > 1:
        folder = str(Path(sys.argv[1]) / "smollm2")
        decoder: Any = AutoModelForCausalLM.from_pretrained(folder).eval()
        for backend in ("hooked_transformer", "transformers"):
            classifier = load_classifier(folder, _CLASSES, _ANSWERS, backend=backend)
            _row(
                f"SmolLM2, {backend}", classifier, lambda tokens, _: decoder.model(tokens, use_cache=False), n_texts=48
            )


def _bridge(model: Any, classifier: Any) -> _Run:
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save_pretrained(folder)
        classifier.inputs.tokenizer.save_pretrained(folder)
        bridge = TransformerBridge.boot_transformers(folder)
    return lambda tokens, _: bridge(tokens, stop_at_layer=5)


def _minilm() -> tuple[Any, TextClassifier]:
    name = packaged_model("all-MiniLM-L6-v2")
    model: Any = new_sequence_classifier(name, _CLASSES, seed=0).eval()
    with TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        load_tokenizer(name).save_pretrained(folder)
        return model.bert, load_classifier(folder)


def _row(
    name: str,
    classifier: TextClassifier,
    bare: _Run,
    bridge: _Run | None = None,
    max_batch_tokens: int = _DEFAULT,
    n_texts: int = 256,
) -> None:
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.normal(82, 18, n_texts).round(), 46, 255).astype(int)
    prompts = [rng.integers(1000, 30000, length).tolist() for length in lengths]
    batches = [[prompts[row] for row in rows] for rows in batches_by_length(lengths.tolist(), max_batch_tokens)]
    padded = []
    for batch in batches:
        tokens, last = pad_right(batch, pad_token_id=0)
        padded.append((tokens, mask_of(last + 1, tokens.shape[1])))

    @torch.no_grad()
    def ours() -> None:
        for batch in batches:
            classifier.states_and_logits(batch)

    def each(run: _Run) -> Callable[[], None]:
        @torch.no_grad()
        def all_batches() -> None:
            for tokens, mask in padded:
                run(tokens, mask)

        return all_batches

    sides = {"ours": ours, "bare": each(bare), **({"bridge": each(bridge)} if bridge is not None else {})}
    seconds = medians_in_turn(sides, repeats=5)
    rates = [f"{n_texts / seconds[side]:.0f}" if side in seconds else "" for side in ("ours", "bare", "bridge")]
    print(
        f"| {name} | {max_batch_tokens} | {' | '.join(rates)} | {seconds['bare'] / seconds['ours']:.2f} |", flush=True
    )


if __name__ == "__main__":
    main()
