"""The one interface between a language model that classifies and everything that explains it."""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import NamedTuple

import torch

from sae_lens_classif.files import sha256_of_json
from sae_lens_classif.hooks.inputs import PromptTokenizer


class StatesAndLogits(NamedTuple):
    """What one pass over some prompts gives.

    Attributes:
        hidden: float32 (B, d_model), the hidden state at the hook, at each prompt's last token.
        logits: float32 (B, C), next-token logits there, restricted to the label tokens.
    """

    hidden: torch.Tensor
    logits: torch.Tensor


@dataclass(frozen=True)
class Context:
    """The residual stream at the hook of some prompts, kept to change the last token's state in place.

    Attributes:
        residual: float (B, T, d_model), padded on the right.
        last: int64 (B,), position of each prompt's last token.
    """

    residual: torch.Tensor
    last: torch.Tensor

    def select(self, rows: torch.Tensor) -> "Context":
        """The same for some prompts, int64 (m,), in any order and as often as wanted."""
        return Context(self.residual[rows], self.last[rows])


class TextClassifier(ABC):
    """A language model that classifies texts, opened at one hidden state a text.

    Attributes:
        name: How the model is called.
        class_names: Names of the C classes.
        hook_name: Residual stream that is read and replaced.
        d_model: Width of a hidden state.
        prompts: From texts to token ids.
        model_fingerprint: SHA-256 of weights, configuration and tokenizer.
        device: Where the model is.
    """

    name: str
    class_names: tuple[str, ...]
    hook_name: str
    d_model: int
    prompts: PromptTokenizer
    model_fingerprint: str
    device: torch.device

    @abstractmethod
    def states_and_logits(self, prompts: list[list[int]]) -> StatesAndLogits:
        """Hidden states and class logits of some prompts, in one pass.

        Args:
            prompts: Token ids of B prompts, without padding.
        """

    @abstractmethod
    def context(self, prompts: list[list[int]]) -> Context:
        """The residual stream at the hook of some prompts, up to which nothing is changed."""

    @abstractmethod
    def logits_from(self, hidden: torch.Tensor, context: Context | None = None) -> torch.Tensor:
        """Run the rest of the model from replaced hidden states.

        Args:
            hidden: float (B, d_model), in place of the last token's states; gradients flow back to it.
            context: Earlier tokens of the B prompts. Default: each state is a sequence of one token.

        Returns:
            float32 (B, C), logits of the label tokens.
        """

    def prompt_fingerprint(self) -> str:
        """SHA-256 of everything between a text and its hidden state but the model."""
        return sha256_of_json(
            {
                "prompt": {**asdict(self.prompts.cfg), "label_words": self.prompts.label_words},
                "max_tokens": self.prompts.max_tokens,
                "class_names": self.class_names,
                "hook_name": self.hook_name,
            }
        )
