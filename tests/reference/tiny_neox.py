"""The reference's small GPT-NeoX as a classifier; the reference gives token ids and label tokens, no tokenizer."""

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from sae_lens_classif.hooks.backends.hooked_transformer import HookedTransformerClassifier
from sae_lens_classif.hooks.inputs import PromptTokenizer


class _GivenTokens(PromptTokenizer):
    def __init__(self, label_token_ids: list[int], context: int) -> None:
        self.label_token_ids = label_token_ids
        self.class_names = tuple(str(number) for number in range(len(label_token_ids)))
        self.max_tokens = context
        self.tokenizer = _NoVocabulary()

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        return [[7, 8, 9] for _ in texts]


class _NoVocabulary(PreTrainedTokenizerBase):
    def __init__(self) -> None:
        """Nothing to set up."""

    def get_vocab(self) -> dict[str, int]:
        return {}


def load_tiny_neox(folder: Path, label_token_ids: list[int], hook_name: str) -> HookedTransformerClassifier:
    """Open the model in a folder, with the given answers, at the given hook."""
    loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
    prompts = _GivenTokens(label_token_ids, loaded.config.max_position_embeddings)
    return HookedTransformerClassifier(loaded, prompts, name=folder.name, hook_name=hook_name)
