"""One text explained, as HTML: for notebooks and for the report."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from markupsafe import Markup

from sae_lens_classif.explaining.explain import ActiveConcept, Explanation
from sae_lens_classif.templates import template

_PALEST = 0.08  # a word that drives less is left white
_STRONGEST = 0.6  # opacity of the strongest, on which black and white letters can both be read
_MOST_CLASSES = 6
_MOST_CONCEPTS = 8


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


@dataclass(frozen=True)
class Bar:
    """What a concept adds to a probability, as a bar from the middle of its track.

    Attributes:
        effect: What it adds, -1..1.
    """

    effect: float

    @property
    def is_right(self) -> bool:
        """Whether it goes to the right."""
        return self.effect >= 0

    @property
    def width(self) -> str:
        """Its width, as CSS has it."""
        return f"{50 * abs(self.effect):.1f}%"


@dataclass(frozen=True)
class _ClassRow:
    """A class with its probability by the model, through the concepts, and with no concept."""

    name: str
    is_predicted: bool
    probabilities: tuple[float, float, float]


@dataclass(frozen=True)
class _Concept:
    """An active concept; ``without`` is the class without it, where that is another."""

    heading: str
    key_words: str
    activation: float
    bar: Bar
    without: str | None
    words: Sequence[Words]


def to_html(explanation: Explanation) -> str:
    """A fragment of a page with its own styles; it needs no script and no network.

    Args:
        explanation: What is shown.
    """
    return template("explanation.html").render(text=explanation.text, body=explanation_body(explanation))


def to_page(explanation: Explanation) -> str:
    """The same as a whole page.

    Args:
        explanation: What is shown.
    """
    fragment = Markup(to_html(explanation))  # escaped already
    return template("explanation_page.html").render(fragment=fragment)


def explanation_body(explanation: Explanation, part: slice = slice(None)) -> Markup:
    """All but the text itself, without styles: for a page that has those of ``explanation_style.html``.

    Args:
        explanation: What is shown.
        part: Which of the words. Default: all.
    """
    names, through = explanation.class_names, explanation.class_through_concepts
    classes = _class_rows(explanation)
    rendered = template("explanation_body.html").render(
        predicted=names[explanation.predicted],
        through=names[through] if through != explanation.predicted else None,
        classes=classes,
        n_other_classes=len(names) - len(classes),
        concepts=[_concept(explanation, concept, part) for concept in explanation.concepts[:_MOST_CONCEPTS]],
        n_other_concepts=max(0, len(explanation.concepts) - _MOST_CONCEPTS),
    )
    return Markup(rendered)  # escaped by the template


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


def _concept(explanation: Explanation, concept: ActiveConcept, part: slice) -> _Concept:
    without = explanation.class_without(concept)
    return _Concept(
        heading=f"{concept.index}, {concept.class_name}" if concept.class_name else str(concept.index),
        key_words=", ".join(concept.key_words),
        activation=concept.activation,
        bar=Bar(concept.effect),
        without=explanation.class_names[without] if without != explanation.class_through_concepts else None,
        words=list(shaded_words(explanation, concept, part)),
    )


def _class_rows(explanation: Explanation) -> list[_ClassRow]:
    """All classes, or where there are many those with some probability."""
    columns = (explanation.probabilities, explanation.through_concepts, explanation.with_none)
    rows = list(zip(*columns, strict=True))
    numbers = list(range(len(rows)))
    if len(rows) > _MOST_CLASSES:
        numbers = sorted(sorted(numbers, key=lambda number: -max(rows[number]))[: _MOST_CLASSES - 1])
    return [
        _ClassRow(explanation.class_names[number], number == explanation.predicted, rows[number]) for number in numbers
    ]
