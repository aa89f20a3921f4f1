"""Is the classifier worth explaining: does it do better than always saying the same?"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import torch

from sae_lens_classif.decisions import DecisionRule
from sae_lens_classif.evals.classifier_scores import classifier_scores
from sae_lens_classif.wording import number

_N_NAMED = 5
_HALF = 0.5


@dataclass(frozen=True)
class Worth:
    """How well a classifier does beside the simplest one.

    Attributes:
        accuracy: Share of the texts that it decides rightly, 0..1.
        low: Low end of the 95 % interval of that; None where it is not known.
        commonest: The most frequent class of the texts, or set of labels, in words.
        majority: Share of the texts that are of it, 0..1.
        never: Names of the classes that have texts and that it says of none.
        missed: The class of whose texts it finds clearly fewer than half, and fewer than of any other, with that share;
            None where there is none.
    """

    accuracy: float
    low: float | None
    commonest: str
    majority: float
    never: tuple[str, ...]
    missed: tuple[str, float] | None = None

    @classmethod
    def of(
        cls,
        predicted: torch.Tensor,
        labels: torch.Tensor,
        class_names: Sequence[str],
        rule: DecisionRule,
        low: float | None,
    ) -> Self:
        """Count.

        Args:
            predicted: int64 (N,), the model's decisions.
            labels: int64 (N,), gold labels.
            class_names: Names of the C classes.
            rule: What these are.
            low: Low end of the accuracy's interval, where it is known.
        """
        ((decision, count),) = Counter(labels.tolist()).most_common(1)
        is_there, is_said = (rule.holds(of, len(class_names)).any(dim=0) for of in (labels, predicted))
        return cls(
            accuracy=float((predicted == labels).double().mean()),
            low=low,
            commonest=rule.in_words(decision, class_names),
            majority=count / len(labels),
            never=tuple(class_names[missed] for missed in (is_there & ~is_said).nonzero()[:, 0].tolist()),
            missed=_missed(predicted, labels, class_names, rule),
        )

    @property
    def is_better(self) -> bool:
        """Whether it does clearly better than always saying the commonest class."""
        return (self.accuracy if self.low is None else self.low) > self.majority

    @property
    def evidence(self) -> str:
        """The numbers, in sentences."""
        said = (
            f"It decides {number(self.accuracy, True)} of the test texts rightly; always saying {self.commonest!r} "
            f"would be right on {number(self.majority, True)}."
        )
        if self.missed is not None:
            said += f" Of the texts of {self.missed[0]!r} it finds {number(self.missed[1], True)}."
        others = " and others" if len(self.never) > _N_NAMED else ""
        names = ", ".join(map(repr, self.never[:_N_NAMED]))
        return f"{said} It never says {names}{others}." if self.never else said

    def warnings(self) -> Iterator[str]:
        """What is wrong with it, and what can be done."""
        if not self.is_better:
            yield (
                f"The classifier is hardly better than always saying the same. {self.evidence} There is little to "
                "explain: bring it to the task first (more or better labelled texts, finetune.epochs, finetune.lr)."
            )
        elif self.missed is not None:
            yield (
                f"The classifier misses most texts of {self.missed[0]!r}. {self.evidence} Its concepts say little of "
                "these: use more texts of this class, or train it longer (finetune.epochs)."
            )
        elif self.never:
            yield (
                f"Some classes the classifier never says. {self.evidence} No concept can speak for them: use more "
                "texts of these classes, or train it longer (finetune.epochs)."
            )


def _missed(
    predicted: torch.Tensor, labels: torch.Tensor, class_names: Sequence[str], rule: DecisionRule
) -> tuple[str, float] | None:
    scores = classifier_scores(predicted, labels, len(class_names), rule).by_class
    shares = {
        name: of_class.recall
        for name, of_class in zip(class_names, scores, strict=True)
        if of_class.recall is not None and of_class.recall_ci95 is not None and of_class.recall_ci95[1] < _HALF
    }
    return min(shares.items(), key=lambda item: item[1], default=None)
