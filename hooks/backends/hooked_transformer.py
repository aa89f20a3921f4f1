"""A ``TextClassifier`` on TransformerLens' ``HookedTransformer``, loaded with no network."""

import contextlib
import copy
import tempfile
from typing import cast

import torch
from transformer_lens import HookedTransformer, HookedTransformerConfig
from transformer_lens.loading_from_pretrained import get_pretrained_model_config, get_pretrained_state_dict
from transformers import PreTrainedConfig, PreTrainedModel
from typing_extensions import override

from sae_lens_classif.config.classifier import PromptConfig
from sae_lens_classif.errors import UserError, fault_of_the_machine
from sae_lens_classif.hooks.backends import ModelRequest, RunsOtherwiseError
from sae_lens_classif.hooks.batching import pad_right
from sae_lens_classif.hooks.blocks import hook_layer, hook_of_layer
from sae_lens_classif.hooks.classifier import Context, StatesAndLogits, TextClassifier
from sae_lens_classif.hooks.huggingface import (
    check_tokens,
    is_soft_prompt,
    load_causal_lm,
    load_tokenizer,
    model_context,
    model_fingerprint,
)
from sae_lens_classif.hooks.inputs import LAST_OF_PROMPT, PromptTokenizer

# Decoders that TransformerLens 3 converts. Another one is tried all the same: a later version may know it.
ARCHITECTURES = (
    "ApertusForCausalLM", "BloomForCausalLM", "GPT2LMHeadModel", "GPTJForCausalLM",
    "GPTNeoForCausalLM", "GPTNeoXForCausalLM", "Gemma2ForCausalLM", "Gemma3ForCausalLM",
    "GemmaForCausalLM", "GptOssForCausalLM", "LlamaForCausalLM", "MistralForCausalLM",
    "MixtralForCausalLM", "OPTForCausalLM", "Olmo2ForCausalLM", "Olmo3ForCausalLM",
    "OlmoForCausalLM", "OlmoeForCausalLM", "Phi3ForCausalLM", "PhiForCausalLM",
    "Qwen2ForCausalLM", "Qwen3ForCausalLM",
)  # fmt: skip
_TOLERANCE = 1e-3
_REMEDY = "classifier.backend transformers runs it by its own code"


def open_model(request: ModelRequest) -> "HookedTransformerClassifier":
    """Open a decoder that answers a prompt with one token a class.

    Raises:
        UserError: If the model or its tokenizer cannot be loaded, a label is not one token, the hook does not exist, or
            TransformerLens does not know the architecture (``RunsOtherwiseError``).
    """
    if is_soft_prompt(request.model):
        raise UserError(
            f"{request.name} is a soft prompt, which HookedTransformer cannot read; leave classifier.backend out"
        )
    tokenizer = load_tokenizer(request.model)
    model = load_causal_lm(request.model, request.dtype)
    prompts = PromptTokenizer(tokenizer, request.prompt or PromptConfig(), request.class_names, model_context(model))
    check_tokens(model, tokenizer, prompts.label_token_ids)
    return HookedTransformerClassifier(model, prompts, name=request.name, hook_name=request.hook, device=request.device)


def to_hooked_transformer(model: PreTrainedModel, context: int, device: torch.device) -> HookedTransformer:
    """Bring a Hugging Face decoder into a ``HookedTransformer`` with unchanged weights.

    Args:
        model: A decoder that TransformerLens knows.
        context: Longest sequence it will read.
        device: Where to put it.

    Raises:
        RunsOtherwiseError: If TransformerLens does not know the architecture, or what its configuration asks for.
    """
    # TransformerLens guesses the architecture from names with "llama" or "gemma" in them and asks the Hub
    # for others: a folder of no name that holds the configuration keeps both from happening.
    config = copy.deepcopy(model.config)
    config.architectures = config.architectures or [type(model).__name__]  # a model that was never saved has none
    if not hasattr(config, "n_ctx"):
        config.n_ctx = model_context(model)  # TransformerLens reads it for GPT-2; transformers writes it no more
    with tempfile.TemporaryDirectory(prefix="tl_") as folder:
        config.save_pretrained(folder)
        try:
            cfg = get_pretrained_model_config(
                folder, hf_cfg=config.to_dict(), n_ctx=context, device=str(device), dtype=model.dtype
            )
            state_dict = get_pretrained_state_dict(folder, cfg, hf_model=model, dtype=model.dtype)
            cfg.tokenizer_name = None  # the classifier has its own; the folder named here is gone
            hooked = HookedTransformer(cfg, tokenizer=None, move_to_device=True)
            hooked.load_and_process_state_dict(
                state_dict, fold_ln=False, center_writing_weights=False, center_unembed=False, fold_value_biases=False
            )
        except Exception as error:  # of all kinds where a configuration is another than TransformerLens expects
            if fault_of_the_machine(error):
                raise
            raise RunsOtherwiseError(
                f"TransformerLens does not know the architecture {config.architectures} as it is configured here "
                f"({' '.join(str(error).split())[:200]}); {_REMEDY}"
            ) from error
    _check_windows(config, hooked.cfg, context)
    _lay_out_as_multiplied(hooked)
    return hooked.eval().requires_grad_(False)


def _check_windows(config: PreTrainedConfig, cfg: HookedTransformerConfig, context: int) -> None:
    """Compare how far back each block looks: a prompt that is shorter than the window would not show a difference."""
    window = getattr(config, "sliding_window", None)
    if window is None or window >= context:
        return
    n = int(cfg.n_layers)
    own = [kind == "sliding_attention" for kind in getattr(config, "layer_types", None) or ["sliding_attention"] * n]
    theirs = [cfg.use_local_attn and kind == "local" for kind in cfg.attn_types or ["global"] * n]
    if own != theirs or (any(own) and window != cfg.window_size):
        raise RunsOtherwiseError(
            f"TransformerLens does not look back the {window} tokens (sliding_window) in the {sum(own)} blocks that do "
            f"so by themselves; {_REMEDY}"
        )


def _lay_out_as_multiplied(model: HookedTransformer) -> None:
    """Store weights in the order in which the model multiplies by them; else each pass copies every one."""
    for module in model.modules():
        for name, weight in module.named_parameters(recurse=False):
            if name.endswith(("W_Q", "W_K", "W_V")):  # (head, d_model, d_head), used as (head d_head, d_model)
                weight.data = weight.data.transpose(1, 2).contiguous().transpose(1, 2)
            elif name == "W_O":  # (head, d_head, d_model), used as (d_model, head d_head)
                weight.data = weight.data.permute(2, 0, 1).contiguous().permute(1, 2, 0)
            elif hasattr(module, "W_gate") and name in ("W_gate", "W_in", "W_out"):  # used transposed
                weight.data = weight.data.T.contiguous().T


class HookedTransformerClassifier(TextClassifier):
    """A decoder whose next token after the prompt is the class."""

    inputs: PromptTokenizer
    read_at = LAST_OF_PROMPT

    def __init__(
        self,
        model: PreTrainedModel,
        prompts: PromptTokenizer,
        *,
        name: str,
        hook_name: str | None = None,
        device: torch.device | None = None,
    ) -> None:
        """
        Args:
            model: Hugging Face decoder; it is not kept.
            prompts: From texts to token ids, with the model's tokenizer.
            name: How the model is called.
            hook_name: See ``hook_layer``. Default: the last block's input.
            device: Default: the CPU.

        Raises:
            RunsOtherwiseError: If TransformerLens does not know the architecture, or computes other logits than the
                model itself.
            UserError: If the hook does not exist.
        """
        self.device = device or torch.device("cpu")
        self.name = name
        self.inputs = prompts
        self.class_names = prompts.class_names
        self.model_fingerprint = model_fingerprint(model, prompts.tokenizer)
        self._model = to_hooked_transformer(model, prompts.max_tokens, self.device)
        self._n_layers = int(self._model.cfg.n_layers)
        self._layer = hook_layer(hook_name, self._n_layers)
        self.hook_name = hook_of_layer(self._layer, self._n_layers)
        self.n_blocks_after_hook = self._n_layers - self._layer
        self.d_model = int(self._model.cfg.d_model)
        label_ids = torch.tensor(prompts.label_token_ids, device=self.device)
        self._W_label = self._model.W_U[:, label_ids]
        self._b_label = self._model.b_U[label_ids]
        self._check_against(model)

    @torch.no_grad()
    def _check_against(self, model: PreTrainedModel) -> None:
        """Compare with the model's own logits on one prompt: a wrong conversion must not pass unseen."""
        prompt = self.inputs(["The quick brown fox jumps over the lazy dog."])
        expected = model(input_ids=torch.tensor(prompt, device=model.device)).logits[0, -1]
        expected = expected[self.inputs.label_token_ids].float().cpu()
        computed = self.states_and_logits(prompt).logits[0]
        tolerance = _TOLERANCE if model.dtype == torch.float32 else 0.1
        if not torch.allclose(computed, expected, atol=tolerance * float(expected.abs().max() + 1)):
            raise RunsOtherwiseError(
                f"TransformerLens computes other logits than {self.name} itself ({computed.tolist()} instead of "
                f"{expected.tolist()}); {_REMEDY}"
            )

    @override
    @torch.no_grad()
    def states_and_logits(self, inputs: list[list[int]]) -> StatesAndLogits:
        context = self.context(inputs)
        rows = torch.arange(len(inputs), device=self.device)
        hidden = context.residual[rows, context.last]
        return StatesAndLogits(hidden.float().cpu(), self._finish(context.residual, context.last))

    @override
    @torch.no_grad()
    def context(self, inputs: list[list[int]]) -> Context:
        # Token 0 fills up on the right, where causal attention never looks; so no mask is needed and
        # positions count from each prompt's own first token.
        tokens, last = pad_right(inputs, pad_token_id=0)
        residual = self._model(tokens.to(self.device), stop_at_layer=self._layer)
        return Context(cast(torch.Tensor, residual), last.to(self.device))

    @override
    def logits_from(self, hidden: torch.Tensor, context: Context | None = None) -> torch.Tensor:
        hidden = hidden.to(self.device, self._W_label.dtype)
        if context is None:
            last = torch.zeros(len(hidden), dtype=torch.int64, device=self.device)
            return self._finish(hidden[:, None, :], last)
        return self._finish(context.replaced(hidden), context.last)

    def _last_mlp_at(self, rows: torch.Tensor, positions: torch.Tensor) -> contextlib.AbstractContextManager[object]:
        """Compute the last block's MLP at one position of each prompt alone.

        What it gives is added to the stream at every position, of which only that one is right; no other is read.
        """
        mlp: torch.nn.Module | None = getattr(self._model.blocks[-1], "mlp", None)
        if mlp is None:
            return contextlib.nullcontext()
        return mlp.register_forward_pre_hook(lambda _, stream: (stream[0][rows, positions][:, None], *stream[1:]))

    def _finish(self, residual: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
        """Run the blocks from the hook on, then unembed the label tokens at the last position alone."""
        rows = torch.arange(len(last), device=self.device)
        with self._last_mlp_at(rows, last):
            residual = self._model(residual, start_at_layer=self._layer, stop_at_layer=self._n_layers)
        final = self._model.ln_final(residual[rows, last][:, None])[:, 0]
        logits = (final @ self._W_label + self._b_label).float()
        cap = float(self._model.cfg.output_logits_soft_cap or 0)
        return (cap * torch.tanh(logits / cap) if cap > 0 else logits).cpu()
