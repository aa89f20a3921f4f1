"""A classifier that was never trained, as large as asked for."""

from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from sae_lens_classif.config.classifier import PromptConfig
from sae_lens_classif.hooks.backends.hooked_transformer import HookedTransformerClassifier
from sae_lens_classif.hooks.inputs import PromptTokenizer
from sae_lens_classif.hooks.tuning.scratch import train_tokenizer

_LABELS = ("<|0|>", "<|1|>", "<|2|>", "<|3|>")


def new_classifier(
    vocab_size: int, d_model: int, n_layers: int, n_heads: int, max_tokens: int
) -> tuple[GPTNeoXForCausalLM, HookedTransformerClassifier]:
    """A GPT-NeoX with random weights, and the same as a classifier of four classes.

    Args:
        vocab_size: Tokens of the model.
        d_model: Width of its hidden states.
        n_layers: Its blocks.
        n_heads: Attention heads of each.
        max_tokens: Longest prompt.
    """
    cfg = GPTNeoXConfig(
        vocab_size=vocab_size,
        hidden_size=d_model,
        num_hidden_layers=n_layers,
        num_attention_heads=n_heads,
        intermediate_size=4 * d_model,
    )
    model = GPTNeoXForCausalLM(cfg).eval()
    tokenizer = train_tokenizer(["some words to begin with"], 300, _LABELS)
    prompt = PromptConfig(template="{text}\n\n", label_word="<|{id}|>")
    prompts = PromptTokenizer(tokenizer, prompt, ("a", "b", "c", "d"), max_tokens)
    return model, HookedTransformerClassifier(model, prompts, name="benchmark")
