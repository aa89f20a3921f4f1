"""One text explained, as HTML: for notebooks and for the report."""

from collections.abc import Iterator
from functools import partial
from itertools import groupby

from markupsafe import Markup

from sae_lens_classif.explaining.explain import ActiveConcept, Explanation
from sae_lens_classif.templates import template

_PALEST = 0.08  # a word that drives less is left white
_STRONGEST = 0.6  # opacity of the strongest, on which black and white letters can both be read
_MOST_CLASSES = 6
_MOST_CONCEPTS = 8


def to_html(explanation: Explanation) -> str:
    """A fragment of a page with its own styles; it needs no script and no network.

    Args:
        explanation: What is shown.
    """
    return template("explanation.html").render(explanation=explanation, body=explanation_body(explanation))


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
    rendered = template("explanation_body.html").render(
        explanation=explanation,
        predicted=explanation.class_names[explanation.predicted],
        classes=_most_probable(explanation),
        most_concepts=_MOST_CONCEPTS,
        shaded=partial(shaded_words, part=part),
    )
    return Markup(rendered)  # escaped by the template


def shaded_words(
    explanation: Explanation, concept: ActiveConcept, part: slice = slice(None)
) -> Iterator[tuple[str, float, float]]:
    """The text in pieces: words that are shaded alike, how strongly (-0.6..0.6, 0 for hardly any effect), and what the
    first of them adds to the concept's activation.

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
        pieces = list(alike)
        if share:
            yield from ((word, share, driven) for word, _, driven in pieces)
        else:
            yield " ".join(word for word, _, _ in pieces), 0.0, 0.0


def _most_probable(explanation: Explanation) -> list[int]:
    """Classes that are listed: all of them, or where there are many those with some probability."""
    numbers = range(len(explanation.class_names))
    if len(numbers) <= _MOST_CLASSES:
        return list(numbers)

    def rank(number: int) -> float:
        columns = (explanation.probabilities, explanation.through_concepts, explanation.with_none)
        return -max(column[number] for column in columns)

    return sorted(sorted(numbers, key=rank)[: _MOST_CLASSES - 1])
