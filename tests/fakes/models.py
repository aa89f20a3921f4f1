"""Small random classifiers of transformers' architectures, with a tokenizer of a few words."""

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedModel, PreTrainedTokenizerFast

NAMES = ("animals", "weather", "money")
WIDTH, N_LAYERS = 32, 3
_WORDS = (
    "the", "a", "of", "quick", "brown", "fox", "jumps", "over", "lazy", "dog", "cat", "bank", "loan", "rain", "storm",
    "price", "wind", "horse", "market", "snow", ".",
)  # fmt: skip
_SIZES: dict[str, Any] = {
    "vocab_size": 60, "hidden_size": WIDTH, "num_hidden_layers": N_LAYERS, "num_attention_heads": 4,
    "intermediate_size": 40, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2,
    "sep_token_id": 3,
}  # fmt: skip
_GROUPED = {"num_key_value_heads": 2}
_RELATIVE = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}
_GPT = {"n_embd": WIDTH, "n_layer": N_LAYERS, "n_head": 4}

# What each architecture's configuration needs beside the common sizes.
ENCODERS: dict[str, dict[str, Any]] = {
    "Albert": {"embedding_size": 16},
    "Bert": {},
    "Deberta": _RELATIVE,
    "DebertaV2": {**_RELATIVE, "position_buckets": 8, "conv_kernel_size": 3, "conv_act": "gelu"},
    "DistilBert": {"dim": WIDTH, "hidden_dim": 40, "n_layers": N_LAYERS, "n_heads": 4},
    "Electra": {"embedding_size": 16},
    "MPNet": {"pad_token_id": 1},
    "ModernBert": {"global_attn_every_n_layers": 2, "local_attention": 4},
    "Roberta": {"pad_token_id": 1},
    "XLMRoberta": {"pad_token_id": 1},
}
DECODERS: dict[str, dict[str, Any]] = {
    "Bloom": _GPT,
    "Falcon": {},
    "GPT2": _GPT,
    "GPTJ": {**_GPT, "rotary_dim": 4},
    "GPTNeo": {"attention_types": [[["global", "local", "global"], 1]], "num_layers": N_LAYERS, "num_heads": 4},
    "GPTNeoX": {},
    "Gemma": {**_GROUPED, "head_dim": 8},
    "Gemma2": {**_GROUPED, "head_dim": 8},
    "Llama": _GROUPED,
    "Mistral": _GROUPED,
    "OPT": {"word_embed_proj_dim": WIDTH, "ffn_dim": 40},
    "Phi": {},
    "Phi3": _GROUPED,
    "Qwen2": _GROUPED,
    "Qwen3": {**_GROUPED, "head_dim": 8},
}


def new_model(family: str, head: str, seed: int = 0, **changes: Any) -> PreTrainedModel:
    """A random model with weights as large as trained ones.

    Args:
        family: As above.
        head: ``ForSequenceClassification``, ``ForCausalLM``, ``LMHeadModel`` ...
        seed: Of its weights.
        **changes: Of its configuration.
    """
    settings = {**_SIZES, **(ENCODERS | DECODERS).get(family, {}), **changes}
    config = getattr(transformers, f"{family}Config")(**settings)
    if head == "ForSequenceClassification" and "num_labels" not in changes and "id2label" not in changes:
        config.id2label = dict(enumerate(NAMES))
    torch.manual_seed(seed)
    model: PreTrainedModel = getattr(transformers, f"{family}{head}")(config).eval()
    with torch.no_grad():
        for values in model.parameters():
            if values.dim() > 1:
                values.mul_(5)
    return model


def new_tokenizer(pad_token_id: int, **settings: Any) -> PreTrainedTokenizerFast:
    """A tokenizer of whole words that frames a text as BERT's does.

    Args:
        pad_token_id: Where its padding token is.
        **settings: Others of a ``PreTrainedTokenizerFast``.
    """
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    special.remove("[PAD]")
    special.insert(pad_token_id, "[PAD]")
    numbers = {word: number for number, word in enumerate([*special, *_WORDS])}
    words = Tokenizer(models.WordLevel(numbers, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, numbers[name]) for name in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", **settings
    )


def write_model(folder: Path, family: str, head: str = "ForSequenceClassification", **changes: Any) -> PreTrainedModel:
    """Write a new model and its tokenizer as anybody would save them, and give the model."""
    model = new_model(family, head, **changes)
    model.save_pretrained(folder)
    new_tokenizer(int(model.config.pad_token_id or 0)).save_pretrained(folder)
    return model
