"""A report as one HTML file that asks no other machine for anything."""

import base64
import hashlib
import math
from itertools import accumulate

from markupsafe import Markup

from sae_lens_classif.evals.measures import FLOOR, columns, find_measure, headlines
from sae_lens_classif.explaining.explain import Explanation
from sae_lens_classif.explaining.html import explanation_body, shaded_words
from sae_lens_classif.figures.style import class_colour, darken, lighten
from sae_lens_classif.report.findings import (
    clear_default,
    findings,
    reliances,
    telling_mistake,
    unraised_classes,
)
from sae_lens_classif.report.view import Report, ShownConcept
from sae_lens_classif.runs.tables import best_methods, cell_of, fit_time, intervals, marks
from sae_lens_classif.templates import template

_DARK = "#24282f"  # the background of a card on the dark page, as in report_style.html
_CONTRAST = 5.0  # with white; with a card on the light page a little less
_N_BARS = 5
_N_CLOUD_WORDS = 24
_N_FIRST_CLASSES, _N_FIRST_TEXTS = 10, 3  # that are shown before the others are asked for
_LONGEST = 600  # characters of a text in a list


def report_page(report: Report) -> str:
    """The whole page.

    Args:
        report: What it shows.
    """
    script = template("report_script.html").render()
    best = best_methods(report.comparison)
    return template("report.html").render(
        report=report,
        colours=[_colours(number, len(report.class_names)) for number in range(len(report.class_names))],
        script=Markup(script),  # ours alone
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        findings=list(findings(report)),
        reliances=reliances(report),
        default=clear_default(report),
        unraised=unraised_classes(report),
        first_classes=_N_FIRST_CLASSES,
        example=telling_mistake(report),
        headlines=[(own.name, own.title, own.in_percent) for own in (*headlines(), find_measure(FLOOR))],
        bars=_bars,
        first_texts=_N_FIRST_TEXTS,
        cloud=_cloud,
        cut=_Cut(report.summary.get("prompt", {}).get("cut", "beginning")),
        more_on_wrong=_more_on_wrong(report),
        explained=explanation_body,
        explained_above=set(),  # of a text that is shown twice, the second leads to the first
        concept_map=Markup(report.concept_map) if report.concept_map else None,  # matplotlib escapes what it writes
        columns=[(own.name, own.column, own.in_percent) for own in columns()],
        cells={own.name: [cell_of(own, column, best) for column in columns()] for own in report.comparison},
        fit_time=fit_time,
        how_to_read=_how_to_read(report),
    )


def _colours(number: int, n_classes: int) -> tuple[str, str]:
    """Of a class, on a light and on a dark page."""
    colour = class_colour(number, n_classes)
    return darken(colour, _CONTRAST), lighten(colour, _DARK)


def _bars(concept: ShownConcept) -> list[tuple[int, float]]:
    """The classes whose probability a concept changes most, and by how much."""
    order = sorted(range(len(concept.effects)), key=lambda number: -abs(concept.effects[number]))
    return [(number, concept.effects[number]) for number in order[:_N_BARS]]


def _cloud(concept: ShownConcept) -> list[tuple[str, float]]:
    """Key words with the size of their letters: the area goes with the weight."""
    words = list(concept.weights.items())[:_N_CLOUD_WORDS]
    largest = max((weight for _, weight in words), default=1.0)
    return [(word, round(0.75 + 1.05 * math.sqrt(weight / largest), 2)) for word, weight in words]


class _Cut:
    """Cuts long texts where the model's prompt does."""

    def __init__(self, cut_at: str) -> None:
        """
        Args:
            cut_at: The side that is dropped, ``beginning`` or ``end``.
        """
        self.keeps_end = cut_at == "beginning"

    def text(self, text: str) -> str:
        """What is shown of a text."""
        if len(text) <= _LONGEST:
            return text
        return f"… {text[-_LONGEST:].lstrip()}" if self.keeps_end else f"{text[:_LONGEST].rstrip()} …"

    def shaded(self, explanation: Explanation | None, index: int) -> list[tuple[str, float, float]] | None:
        """The same words as they drive a concept; None where that is not known."""
        own = next((own for own in explanation.concepts if own.index == index), None) if explanation else None
        if explanation is None or own is None:
            return None
        part = self.part(explanation)
        pieces, dropped = list(shaded_words(explanation, own, part)), ("…", 0.0, 0.0)
        if sum(len(words) for words, _, _ in pieces) < min(_LONGEST, len(explanation.text)) / 2:
            return None  # a word that is long by itself: better cut than left out
        return [*[dropped][: part.start], *pieces, *([dropped] if part.stop < len(explanation.words) else [])]

    def part(self, explanation: Explanation) -> slice:
        """The words that are shown."""
        lengths = [len(word) + 1 for word in (reversed(explanation.words) if self.keeps_end else explanation.words)]
        n_words = sum(total <= _LONGEST + 1 for total in accumulate(lengths))
        return slice(len(lengths) - n_words, len(lengths)) if self.keeps_end else slice(0, n_words)


def _more_on_wrong(report: Report) -> list[ShownConcept]:
    """Concepts that fire more often on wrong decisions than on right ones, the largest difference first."""
    more = [own for own in report.concepts if own.rate_on_wrong > own.rate_on_right]
    return sorted(more, key=lambda own: own.rate_on_right - own.rate_on_wrong)


def _how_to_read(report: Report) -> str:
    if not report.comparison:
        return ""
    over = intervals(report.comparison, report.summary["n_test_texts"], "Below each number")
    return f"{over} {marks(report.comparison)}"
