"""The one interface between a language model that classifies and everything that explains it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch

from sae_lens_classif.checksums import sha256_of_json
from sae_lens_classif.decisions import DecisionRule, decision_rule
from sae_lens_classif.hooks.inputs import TextInputs


class StatesAndLogits(NamedTuple):
    """What one pass over some inputs gives.

    Attributes:
        hidden: float32 (B, d_model), the hidden state at the hook, at the position that decides.
        logits: float32 (B, C), of the classes.
    """

    hidden: torch.Tensor
    logits: torch.Tensor


@dataclass(frozen=True)
class Context:
    """The residual stream at the hook of some inputs, kept to change one state of each in place.

    Attributes:
        residual: float (B, T, d_model), padded on the right.
        last: int64 (B,), position of each text's state, mostly its last.
        lengths: int64 (B,), tokens of each text. Default: those up to its state.
    """

    residual: torch.Tensor
    last: torch.Tensor
    lengths: torch.Tensor | None = None

    def select(self, rows: torch.Tensor) -> "Context":
        """The same for some inputs, int64 (m,), in any order and as often as wanted."""
        lengths = None if self.lengths is None else self.lengths[rows]
        return Context(self.residual[rows], self.last[rows], lengths)

    def replaced(self, hidden: torch.Tensor) -> torch.Tensor:
        """The stream, float (B, T, d_model), with other states, float (B, d_model), in place of the texts' own."""
        residual = self.residual.clone()
        residual[torch.arange(len(hidden), device=residual.device), self.last] = hidden
        return residual


class TextClassifier(ABC):
    """A language model that classifies texts, opened at one hidden state a text.

    Attributes:
        name: How the model is called.
        class_names: Names of the C classes.
        multi_label: Whether they are labels of which a text may have several, or none.
        hook_name: Residual stream that is read and replaced.
        d_model: Width of a hidden state.
        inputs: From texts to what the model reads.
        model_fingerprint: SHA-256 of weights, configuration and tokenizer.
        device: Where the model is.
        read_at: Whose state it is, in words.
        n_blocks_after_hook: Blocks that run after the hook; None: not known. After a single one it costs little to run
            the earlier tokens on, too, so that both contexts are measured.
    """

    name: str
    class_names: tuple[str, ...]
    hook_name: str
    d_model: int
    inputs: TextInputs
    model_fingerprint: str
    device: torch.device
    multi_label: bool = False
    read_at: str = "what the class follows from"
    n_blocks_after_hook: int | None = None

    def __repr__(self) -> str:
        what = "labels" if self.multi_label else "classes"
        return f"{type(self).__name__}({self.name!r}, {len(self.class_names)} {what}, at {self.hook_name})"

    @property
    def rule(self) -> DecisionRule:
        """What it decides, given its logits."""
        return decision_rule(self.multi_label)

    @abstractmethod
    def states_and_logits(self, inputs: list[list[int]]) -> StatesAndLogits:
        """Hidden states and class logits of some inputs, in one pass.

        Args:
            inputs: Token ids of B inputs, without padding.
        """

    @abstractmethod
    def context(self, inputs: list[list[int]]) -> Context:
        """The residual stream at the hook of some inputs, up to which nothing is changed."""

    @abstractmethod
    def logits_from(self, hidden: torch.Tensor, context: Context | None = None) -> torch.Tensor:
        """Run the rest of the model from replaced hidden states.

        Args:
            hidden: float (B, d_model), in place of the last token's states; gradients flow back to it.
            context: Earlier tokens of the B inputs. Default: each state is a sequence of one token.

        Returns:
            float32 (B, C), logits of the label tokens.
        """

    def prompt_fingerprint(self) -> str:
        """SHA-256 of everything between a text and its hidden state but the model."""
        made_from = {**self.inputs.made_from(), "class_names": self.class_names, "hook_name": self.hook_name}
        return sha256_of_json({**made_from, "multi_label": True} if self.multi_label else made_from)
