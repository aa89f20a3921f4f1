"""An explanation of one text, and how it is shown as HTML: in notebooks and in the report."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import torch

from sae_lens_classif.decisions import DecisionRule, decision_rule
from sae_lens_classif.wording import number

if TYPE_CHECKING:
    from markupsafe import Markup

_PALEST = 0.08  # a word that drives less is left white
_STRONGEST = 0.6  # opacity of the strongest, on which black and white letters can both be read
_MOST_CLASSES = 6
_MOST_CONCEPTS = 8


@dataclass(frozen=True)
class ActiveConcept:
    """A concept that is active on a text.

    Attributes:
        index: Its number, 0..n-1.
        class_name: Class whose probability it raises most over all texts; None where that is not known.
        key_words: Words that set its texts apart; empty where they are not known.
        activation: How strongly it is active.
        class_number: The text's class; where it may have several labels, the one whose probability the concept moves
            most.
        effect: What it adds to the probability of that class: that through all concepts less that without it, -1..1.
        probabilities_without: Probability of each class without it.
        words: What each word of the text adds to the activation: that of the whole text less that without the word.
        name: A short name; may be empty.
    """

    index: int
    class_name: str | None
    key_words: tuple[str, ...]
    activation: float
    class_number: int
    effect: float
    probabilities_without: tuple[float, ...]
    words: tuple[float, ...]
    name: str = ""

    @property
    def about(self) -> str:
        """Its name, else its key words."""
        return self.name or ", ".join(self.key_words)


@dataclass(frozen=True, repr=False)
class Explanation:
    """Why a text got its class.

    Attributes:
        text: The text.
        class_names: Names of the C classes.
        probabilities: Of each class, as the model gives it.
        through_concepts: The same where the model sees nothing but the concepts.
        with_none: The same where it sees what stands for no concept at all.
        words: The words of the text, in their order: what lies between white space.
        concepts: The active ones, the largest effect first.
        multi_label: Whether the text may have several of the classes, or none.
    """

    text: str
    class_names: tuple[str, ...]
    probabilities: tuple[float, ...]
    through_concepts: tuple[float, ...]
    with_none: tuple[float, ...]
    words: tuple[str, ...]
    concepts: tuple[ActiveConcept, ...]
    multi_label: bool = False

    @property
    def predicted(self) -> int:
        """Number of the class that the model predicts, or the set of labels (see ``decisions``)."""
        return self._rule.most_probable(self.probabilities)

    @property
    def probability(self) -> float:
        """Of the predicted class; where a text may have several labels, of the least sure of these decisions: 0..1."""
        return float(self._rule.sureness(torch.tensor([self.probabilities]))[0])

    @property
    def headline(self) -> str:
        """What is predicted and how probable it is, as ``business, 93.0 %``."""
        return f"{self.in_words(self.predicted)}, {number(self.probability, True)}"

    @property
    def class_through_concepts(self) -> int:
        """The same through the concepts alone."""
        return self._rule.most_probable(self.through_concepts)

    def driving_words(self, concept: ActiveConcept) -> tuple[str, ...]:
        """Words that add to a concept's activation at least a twelfth of what the strongest adds, strongest first."""
        shares = sorted(zip(concept.words, self.words, strict=True), key=lambda entry: -entry[0])
        least = max(shares[0][0] / 12, 0)
        return tuple(dict.fromkeys(word for share, word in shares if share > least))

    def class_without(self, concept: ActiveConcept) -> int:
        """The same through the other concepts."""
        return self._rule.most_probable(concept.probabilities_without)

    def in_words(self, decision: int) -> str:
        """Name of a class, or names of a set of labels."""
        return self._rule.in_words(decision, self.class_names)

    def is_decided(self, class_number: int) -> bool:
        """Whether a class is the one that the model predicts, or a label one of those."""
        return class_number in self._rule.members(self.predicted, len(self.class_names))

    @property
    def _rule(self) -> DecisionRule:
        return decision_rule(self.multi_label)

    def __repr__(self) -> str:
        active = ", ".join(str(concept.index) for concept in self.concepts[:_MOST_CONCEPTS])
        return f"Explanation({self.headline}; active concepts: {active or 'none'}; {shorten(self.text, 60)!r})"

    def _repr_html_(self) -> str:
        return to_html(self)


@dataclass(frozen=True)
class Words:
    """Words of a text that are shaded alike.

    Attributes:
        text: The words.
        colour: ``R G B / opacity``, as CSS has it; empty for words that drive the concept hardly or not.
        driven: What the first of them adds to the concept's activation.
    """

    text: str
    colour: str = ""
    driven: float = 0.0


def to_html(*explanations: Explanation, template: str = "explanation.html") -> str:
    """A fragment of a page with its own styles; it needs no script and no network.

    Args:
        *explanations: What is shown, one below the other.
        template: What it is put into.
    """
    return str(_render(template, bodies=[explanation_body(one, with_text=True) for one in explanations]))


def to_page(*explanations: Explanation) -> str:
    """The same as a whole page.

    Args:
        *explanations: What is shown, one below the other.
    """
    return to_html(*explanations, template="explanation_page.html")


def explanation_body(explanation: Explanation, part: slice = slice(None), with_text: bool = False) -> "Markup":
    """One explanation without styles: for a page that has those of ``explanation_style.html``.

    Args:
        explanation: What is shown.
        part: Which of the words. Default: all.
        with_text: Whether the text is shown, too; a page that shows it elsewhere does without.
    """
    shown = explanation.concepts[:_MOST_CONCEPTS]
    return _render(
        "explanation_body.html",
        explanation=explanation,
        text=explanation.text if with_text else None,
        classes=_shown_classes(explanation),
        concepts=[(concept, list(shaded_words(explanation, concept, part))) for concept in shown],
    )


def shaded_words(explanation: Explanation, concept: ActiveConcept, part: slice = slice(None)) -> Iterator[Words]:
    """The text in pieces, blue where it drives a concept, orange where it holds it back.

    Args:
        explanation: Whose text.
        concept: One of its concepts.
        part: Which of its words. Default: all.
    """
    largest = max(map(abs, concept.words), default=0.0) or 1.0
    shares = [_STRONGEST * driven / largest for driven in concept.words]
    rounded = [round(share, 2) if abs(share) >= _PALEST else 0.0 for share in shares]
    words = list(zip(explanation.words, rounded, concept.words, strict=True))
    for share, alike in groupby(words[part], key=lambda word: word[1]):
        if share:
            colour = f"{'42 120 194' if share > 0 else '194 88 42'} / {abs(share):.2f}"
            yield from (Words(word, colour, driven) for word, _, driven in alike)
        else:
            yield Words(" ".join(word for word, _, _ in alike))


def _shown_classes(explanation: Explanation) -> list[int]:
    """Numbers of all classes, or where there are many of those with some probability."""
    columns = (explanation.probabilities, explanation.through_concepts, explanation.with_none)
    largest = [max(row) for row in zip(*columns, strict=True)]
    numbers = list(range(len(largest)))
    if len(numbers) > _MOST_CLASSES:
        numbers = sorted(sorted(numbers, key=lambda number: -largest[number])[: _MOST_CLASSES - 1])
    return numbers


def _render(name: str, **values: Any) -> "Markup":
    """Fill a template, which escapes; what it needs is asked for when it is, since explaining itself does without."""
    from markupsafe import Markup

    from sae_lens_classif.templates import template

    return Markup(template(name).render(**values))
