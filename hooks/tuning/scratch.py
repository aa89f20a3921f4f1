"""A small GPT-NeoX and its tokenizer, made from nothing but the training texts."""

from collections.abc import Sequence

import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from sae_lens_classif.config.classifier import FinetuneConfig

END_OF_TEXT = "<|endoftext|>"


def train_tokenizer(texts: Sequence[str], vocab_size: int, label_words: Sequence[str]) -> PreTrainedTokenizerBase:
    """Train a byte-level BPE; every label word becomes one token of its own.

    Args:
        texts: Training texts.
        vocab_size: Number of tokens, the special ones included.
        label_words: The answers of the classes.
    """
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(
        texts, vocab_size=vocab_size, min_frequency=2, special_tokens=[END_OF_TEXT, *label_words], show_progress=False
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer,  # the one way from a trained BPE to transformers without a file
        eos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        additional_special_tokens=list(label_words),
    )


def new_gpt_neox(cfg: FinetuneConfig, tokenizer: PreTrainedTokenizerBase) -> GPTNeoXForCausalLM:
    """A GPT-NeoX with random weights of the seed ``cfg.seed``."""
    torch.manual_seed(cfg.seed)
    config = GPTNeoXConfig(
        vocab_size=len(tokenizer),
        hidden_size=cfg.d_model,
        num_hidden_layers=cfg.n_layers,
        num_attention_heads=cfg.n_heads,
        intermediate_size=4 * cfg.d_model,
        max_position_embeddings=cfg.context,
        hidden_dropout=cfg.dropout,
        attention_dropout=0.0,
        bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return GPTNeoXForCausalLM(config)
