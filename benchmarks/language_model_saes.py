"""SAEs of a language model, by SAELens' own runner: ``python benchmarks/language_model_saes.py MODEL OUT DATA ...``.

MODEL is a folder (``real_models.py`` writes SmolLM2), DATA are folders with a ``train.parquet`` of texts, which are
read in turn. For each layer and width a TopK SAE is trained on the residual stream and written to ``OUT/LAYER-WIDTH``.
"""

import argparse
from pathlib import Path

import torch
from datasets import Dataset, interleave_datasets
from sae_lens import LanguageModelSAERunnerConfig, LanguageModelSAETrainingRunner, LoggingConfig, TopKTrainingSAEConfig
from timing import start
from transformer_lens import HookedTransformer

from sae_lens_classif.hooks.backends.hooked_transformer import to_hooked_transformer
from sae_lens_classif.hooks.huggingface import load_causal_lm, load_tokenizer

_CONTEXT = 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--tokens", type=int, default=500_000, help="Of each SAE.")
    parser.add_argument("--layers", default="10,20")
    parser.add_argument("--widths", default="1152,4608")
    parser.add_argument("--k", type=int, default=32)
    asked = parser.parse_args()
    start()
    model = open_model(asked.model)
    parts = [Dataset.from_parquet(str(folder / "train.parquet")).select_columns("text") for folder in asked.data]
    texts = interleave_datasets([part.shuffle(seed=0) for part in parts])
    for layer in asked.layers.split(","):
        for width in asked.widths.split(","):
            folder = asked.out / f"{layer}-{width}"
            if not (folder / "cfg.json").is_file():
                train(model, asked.model.name, texts, f"blocks.{layer}.hook_resid_post", int(width), asked, folder)


def open_model(folder: Path) -> HookedTransformer:
    """The model as SAELens' runner wants it."""
    model = to_hooked_transformer(load_causal_lm(str(folder), torch.float32), 2 * _CONTEXT, torch.device("cpu"))
    model.set_tokenizer(load_tokenizer(str(folder)))  # type: ignore[no-untyped-call]
    return model


def train(
    model: HookedTransformer,
    name: str,
    texts: Dataset,
    hook: str,
    width: int,
    asked: argparse.Namespace,
    folder: Path,
) -> None:
    """Train one SAE."""
    n_steps = asked.tokens // 1024
    cfg = LanguageModelSAERunnerConfig(
        sae=TopKTrainingSAEConfig(
            d_in=int(model.cfg.d_model), d_sae=width, k=asked.k, normalize_activations="expected_average_only_in"
        ),
        model_name=name,
        hook_name=hook,
        is_dataset_tokenized=False,
        streaming=False,
        context_size=_CONTEXT,
        training_tokens=asked.tokens,
        store_batch_size_prompts=16,
        n_batches_in_buffer=16,
        n_batches_for_norm_estimate=20,
        train_batch_size_tokens=1024,
        lr=4e-4,
        lr_warm_up_steps=n_steps // 20,
        lr_decay_steps=n_steps // 5,
        feature_sampling_window=max(1, n_steps // 4),
        dead_feature_window=max(1, n_steps // 10),
        exclude_special_tokens=True,
        logger=LoggingConfig(log_to_wandb=False),
        checkpoint_path=None,
        output_path=str(folder),
    )
    LanguageModelSAETrainingRunner(cfg, override_dataset=texts, override_model=model).run()


if __name__ == "__main__":
    main()
