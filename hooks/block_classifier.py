"""A ``TextClassifier`` on a model of transformers, run by its own code: what all its families share."""

from abc import abstractmethod

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from typing_extensions import override

from sae_lens_classif.config.classifier import PAIR_MARK
from sae_lens_classif.errors import UserError, fault_of_the_machine
from sae_lens_classif.hooks.backends import ModelRequest
from sae_lens_classif.hooks.batching import pad_right
from sae_lens_classif.hooks.blocks import Blocks, hook_layer, hook_of_layer
from sae_lens_classif.hooks.classifier import Context, StatesAndLogits, TextClassifier
from sae_lens_classif.hooks.heads import is_multi_label
from sae_lens_classif.hooks.huggingface import model_fingerprint
from sae_lens_classif.hooks.inputs import PlainTexts, TextInputs

_TOLERANCE = 1e-4


class ModelClassifier(TextClassifier):
    """A ``TextClassifier`` that holds a model of transformers."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        inputs: TextInputs,
        request: ModelRequest,
    ) -> None:
        """
        Args:
            model: The model, which is changed: it is put on the device and its weights need no gradients any more.
            tokenizer: Its tokenizer.
            inputs: From texts to token ids.
            request: Which hook, which device, how the classifier is called, and its classes.
        """
        self.name, self.class_names, self.device = request.name, request.class_names, request.device
        self.inputs = inputs
        self.model_fingerprint = model_fingerprint(model, tokenizer)
        self._model = model.to(request.device).eval().requires_grad_(False)  # type: ignore[arg-type]  # takes a device
        self.multi_label = is_multi_label(model.config)
        self.d_model = int(model.config.get_text_config().hidden_size)

    def _padded(self, inputs: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids, int64 (B, T), padded on the right, and how many each input has, int64 (B,)."""
        pad = self._model.config.get_text_config().pad_token_id
        n_tokens = len(self._model.get_input_embeddings().weight)
        # A model may name a token it has not: Llama's first ones -1, others one that only their tokenizer got.
        tokens, last = pad_right(inputs, pad if pad is not None and 0 <= pad < n_tokens else 0)
        return tokens.to(self.device), last.to(self.device) + 1


class BlockClassifier(ModelClassifier):
    """A model whose classes follow from the residual stream at one position, mostly the last; a family says how."""

    n_before = 0  # tokens that the model puts before each text

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        inputs: TextInputs,
        request: ModelRequest,
    ) -> None:
        """See ``ModelClassifier``.

        Raises:
            UserError: If the hook does not exist, or the model gives other logits when run on from its own states.
        """
        super().__init__(model, tokenizer, inputs, request)
        self._blocks = Blocks(self._model)
        self._layer = hook_layer(request.hook, self._blocks.n, self.default_layer(self._blocks.n))
        self.hook_name = hook_of_layer(self._layer, self._blocks.n)
        self.n_blocks_after_hook = self._blocks.n - self._layer
        self._check()

    def default_layer(self, n_layers: int) -> int:
        """Block whose input is explained if no hook is asked for; the number of blocks for the output of the last."""
        return n_layers - 1

    def positions(self, lengths: torch.Tensor) -> torch.Tensor:
        """Where the state is from which a text's class follows, int64 (B,), given its number of tokens, int64 (B,)."""
        return lengths - 1

    @abstractmethod
    def class_logits(self, tokens: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Run the model.

        Args:
            tokens: int64 (B, T), padded on the right.
            lengths: int64 (B,), tokens of each text.

        Returns:
            float (B, C).
        """

    def text_logits(self, tokens: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """The same of texts; where the model puts something before each, ``n_before`` says how many tokens."""
        return self.class_logits(tokens, lengths)

    @override
    @torch.no_grad()
    def states_and_logits(self, inputs: list[list[int]]) -> StatesAndLogits:
        tokens, lengths = self._padded(inputs)
        residual, logits = self._blocks.read(self._layer, lambda: self.text_logits(tokens, lengths))
        places = self.positions(lengths + self.n_before)
        hidden = residual[torch.arange(len(inputs), device=self.device), places]
        return StatesAndLogits(hidden.float().cpu(), logits.float().cpu())

    @override
    @torch.no_grad()
    def context(self, inputs: list[list[int]]) -> Context:
        tokens, lengths = self._padded(inputs)
        residual, _ = self._blocks.read(self._layer, lambda: self.text_logits(tokens, lengths), stop=True)
        return Context(residual, self.positions(lengths + self.n_before), lengths + self.n_before)

    @override
    def logits_from(self, hidden: torch.Tensor, context: Context | None = None) -> torch.Tensor:
        if len(hidden) == 0:  # no model of transformers runs on no texts
            return torch.empty(0, len(self.class_names))
        hidden = hidden.to(self.device, self._model.dtype)
        if context is None or context.lengths is None:
            residual, lengths = hidden[:, None], torch.ones(len(hidden), dtype=torch.int64, device=self.device)
        else:
            residual, lengths = context.replaced(hidden), context.lengths
        # Which tokens they are is of no interest: what the blocks before the hook would make of them is replaced.
        tokens = torch.zeros(residual.shape[:2], dtype=torch.int64, device=self.device)
        return self._blocks.go_on(self._layer, residual, lambda: self.class_logits(tokens, lengths)).float().cpu()

    @torch.no_grad()
    def _check(self) -> None:
        """Put a text's own state back: a model that gives other logits then is run otherwise than believed."""
        is_pair = isinstance(self.inputs, PlainTexts) and self.inputs.pairs
        text = self.inputs([f"The quick brown fox{f' {PAIR_MARK}' if is_pair else ''} jumps over the lazy dog."])
        try:
            hidden, own = self.states_and_logits(text)
            again = self.logits_from(hidden, self.context(text))
        except Exception as error:  # of all kinds where blocks are called otherwise than those of most models
            if fault_of_the_machine(error):
                raise
            raise UserError(
                f"{self.name}: the blocks of a {type(self._model).__name__} do not take and give one residual stream "
                f"({type(error).__name__}: {' '.join(str(error).split())[:200]}); open it in a function of your own, "
                "module:function"
            ) from error
        tolerance = _TOLERANCE if self._model.dtype == torch.float32 else 0.1
        if torch.equal(self.logits_from(-hidden, self.context(text)), again):
            raise UserError(
                f"in {self.name}, a {type(self._model).__name__}, no logit follows from the state at {self.hook_name} "
                f"of {self.read_at}; its head reads something else: leave classifier.backend out, or take another"
            )
        if not torch.allclose(again, own, atol=tolerance * float(own.abs().max() + 1)):
            raise UserError(
                f"{self.name} gives other logits ({again[0].tolist()}) when it is run on from its own state than by "
                f"itself ({own[0].tolist()}); this architecture cannot be explained at {self.hook_name}"
            )
