"""What a model decides about a text: one of C classes, or which of C labels are right.

A decision is one integer, so that stores, losses and evaluations treat both alike: the number of the class, or the set
of labels as bits, of which bit c is label c.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from typing_extensions import override

NO_LABEL = "no label"


class DecisionRule(ABC):
    """From class logits to decisions, and what is counted of them."""

    @abstractmethod
    def decide(self, logits: torch.Tensor) -> torch.Tensor:
        """Decisions, int64 (...), of logits, float (..., C)."""

    @abstractmethod
    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """Of each class or label, float (..., C), from logits of the same shape."""

    @abstractmethod
    def distance(self, before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
        """Total variation distance, float (...), 0..1, of probabilities, float (..., C)."""

    @abstractmethod
    def loss(self, logits: torch.Tensor, decisions: torch.Tensor, label_smoothing: float = 0.0) -> torch.Tensor:
        """Cross-entropy, a scalar: mean over texts (and labels).

        Args:
            logits: float (B, C).
            decisions: int64 (B,).
            label_smoothing: Share of the target that is spread over all classes.
        """

    @abstractmethod
    def holds(self, decisions: torch.Tensor, n_classes: int) -> torch.Tensor:
        """Whether each class is the decided one, or each label among the decided ones: bool (N, C)."""

    @abstractmethod
    def groups(self, decisions: torch.Tensor, n_classes: int) -> torch.Tensor:
        """One class a text, int64 (N,), for what knows no sets: of several labels the rarest; C where there is none."""

    @abstractmethod
    def columns(self, decisions: torch.Tensor, n_classes: int) -> torch.Tensor:
        """Decisions, int64 (N,), as float32 (N, m), whole in its 24 bits."""

    @abstractmethod
    def from_columns(self, columns: torch.Tensor) -> torch.Tensor:
        """What ``columns`` was given."""

    @abstractmethod
    def n_columns(self, n_classes: int) -> int:
        """How many columns m there are."""

    @abstractmethod
    def n_decisions(self, n_classes: int) -> int:
        """How many decisions are possible; each is 0 .. one less."""

    @abstractmethod
    def most_probable(self, probabilities: Sequence[float]) -> int:
        """The decision on a text, from the C probabilities."""

    @abstractmethod
    def sureness(self, probabilities: torch.Tensor) -> torch.Tensor:
        """Probability of the decided class, or of the least sure of the decisions on labels: float (N,) from (N, C)."""

    @abstractmethod
    def moved(self, change: torch.Tensor, decisions: torch.Tensor) -> torch.Tensor:
        """Class that an effect is told of, int64 (P,): the decided one, int64 (P,); of labels that which changes most.

        Args:
            change: float (P, C), of the probabilities.
            decisions: int64 (P,).
        """

    @abstractmethod
    def members(self, decision: int, n_classes: int) -> tuple[int, ...]:
        """The class of a decision, or the labels of a set."""

    def in_words(self, decision: int, class_names: Sequence[str]) -> str:
        """Name of a decision."""
        return ", ".join(class_names[number] for number in self.members(decision, len(class_names))) or NO_LABEL


class _OneClass(DecisionRule):
    @override
    def decide(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.argmax(dim=-1)

    @override
    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.softmax(dim=-1)

    @override
    def distance(self, before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
        return (before - after).abs().sum(dim=-1) / 2

    @override
    def loss(self, logits: torch.Tensor, decisions: torch.Tensor, label_smoothing: float = 0.0) -> torch.Tensor:
        return F.cross_entropy(logits, decisions, label_smoothing=label_smoothing)

    @override
    def holds(self, decisions: torch.Tensor, n_classes: int) -> torch.Tensor:
        return F.one_hot(decisions, n_classes).bool()

    @override
    def groups(self, decisions: torch.Tensor, n_classes: int) -> torch.Tensor:
        return decisions

    @override
    def columns(self, decisions: torch.Tensor, n_classes: int) -> torch.Tensor:
        return decisions.float()[:, None]

    @override
    def from_columns(self, columns: torch.Tensor) -> torch.Tensor:
        return columns[:, 0].long()

    @override
    def n_columns(self, n_classes: int) -> int:
        return 1

    @override
    def n_decisions(self, n_classes: int) -> int:
        return n_classes

    @override
    def most_probable(self, probabilities: Sequence[float]) -> int:
        return max(range(len(probabilities)), key=probabilities.__getitem__)

    @override
    def sureness(self, probabilities: torch.Tensor) -> torch.Tensor:
        return probabilities.amax(dim=1)

    @override
    def moved(self, change: torch.Tensor, decisions: torch.Tensor) -> torch.Tensor:
        return decisions

    @override
    def members(self, decision: int, n_classes: int) -> tuple[int, ...]:
        return (decision,)


class _LabelSets(DecisionRule):
    """Each label by itself, right where its probability, a sigmoid, is above 0.5."""

    @override
    def decide(self, logits: torch.Tensor) -> torch.Tensor:
        return self.from_columns((logits > 0).float())

    @override
    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.sigmoid()

    @override
    def distance(self, before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
        return (before - after).abs().mean(dim=-1)

    @override
    def loss(self, logits: torch.Tensor, decisions: torch.Tensor, label_smoothing: float = 0.0) -> torch.Tensor:
        target = self.holds(decisions, logits.shape[-1]).to(logits.dtype)
        return F.binary_cross_entropy_with_logits(logits, target * (1 - label_smoothing) + label_smoothing / 2)

    @override
    def holds(self, decisions: torch.Tensor, n_classes: int) -> torch.Tensor:
        bits = torch.arange(n_classes, device=decisions.device)
        return (decisions[..., None] >> bits & 1).bool()

    @override
    def groups(self, decisions: torch.Tensor, n_classes: int) -> torch.Tensor:
        holds = self.holds(decisions, n_classes)
        n_texts = holds.sum(dim=0).where(holds, len(decisions) + 1)
        return n_texts.argmin(dim=-1).where(holds.any(dim=-1), n_classes)

    @override
    def columns(self, decisions: torch.Tensor, n_classes: int) -> torch.Tensor:
        return self.holds(decisions, n_classes).float()

    @override
    def from_columns(self, columns: torch.Tensor) -> torch.Tensor:
        bits = torch.arange(columns.shape[-1], device=columns.device)
        return (columns.long() << bits).sum(dim=-1)

    @override
    def n_columns(self, n_classes: int) -> int:
        return n_classes

    @override
    def n_decisions(self, n_classes: int) -> int:
        return 1 << n_classes

    @override
    def most_probable(self, probabilities: Sequence[float]) -> int:
        return sum(1 << bit for bit, probability in enumerate(probabilities) if probability > 0.5)

    @override
    def sureness(self, probabilities: torch.Tensor) -> torch.Tensor:
        return torch.maximum(probabilities, 1 - probabilities).amin(dim=1)

    @override
    def moved(self, change: torch.Tensor, decisions: torch.Tensor) -> torch.Tensor:
        return change.abs().argmax(dim=1)

    @override
    def members(self, decision: int, n_classes: int) -> tuple[int, ...]:
        return tuple(bit for bit in range(n_classes) if decision >> bit & 1)


ONE_CLASS: DecisionRule = _OneClass()
LABEL_SETS: DecisionRule = _LabelSets()


def decision_rule(multi_label: bool) -> DecisionRule:
    """The rule of a model that may give a text several labels at once, or of one that gives it a single class."""
    return LABEL_SETS if multi_label else ONE_CLASS
