"""What each section of the page shows, ready for the template."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, groupby
from typing import Any

from markupsafe import Markup

from sae_lens_classif.decisions import decision_rule
from sae_lens_classif.evals.concept_effects import MisledText
from sae_lens_classif.evals.measures import columns
from sae_lens_classif.explaining.explanation import Explanation, Words, explanation_body, shaded_words
from sae_lens_classif.report.findings import (
    Finding,
    Reliance,
    clear_default,
    reliances,
    telling_mistake,
    unraised_classes,
)
from sae_lens_classif.report.verdict import Trust, Weakness, trust, weakness
from sae_lens_classif.report.view import DefaultClass, Report, ShownConcept
from sae_lens_classif.runs.tables import Cell, best_methods, cell_of, fit_time, intervals, marks

_N_BARS = 5
_N_CLOUD_WORDS = 24
N_FIRST_CLASSES, _N_FIRST_TEXTS = 8, 3  # that are shown before the others are asked for
_LONGEST, _LONGEST_EXAMPLE = 600, 240  # characters of a text in a list, and on the first page
_MOST_IN_MATRIX, _N_CONFUSED = 12, 12  # classes; pairs of classes where there are more
_N_TYPICAL = 2  # texts on the first page, beside a mistake


@dataclass(frozen=True)
class ListedText:
    """A test text in a list.

    Attributes:
        row: Its number.
        excerpt: The text, or of a long one the part that the model reads.
        predicted: Number of the class that the model predicts, or numbers of the labels.
        gold: Number of its own class, or numbers of its labels.
        words: The excerpt's words as they drive the concept that the list is about; None where that is not known.
        explanation: Why it got its class; None where that is not known, or is told elsewhere.
        is_explained_elsewhere: Whether another list has its explanation.
        misled: What misled the model; None where the list is not about that.
        misled_by: The concept of ``misled``.
    """

    row: int
    excerpt: str
    predicted: tuple[int, ...]
    gold: tuple[int, ...]
    words: Sequence[Words] | None = None
    explanation: Markup | None = None
    is_explained_elsewhere: bool = False
    misled: MisledText | None = None
    misled_by: ShownConcept | None = None

    @property
    def is_wrong(self) -> bool:
        """Whether the model predicts another class than its own."""
        return self.predicted != self.gold

    @property
    def wrong(self) -> tuple[int, ...]:
        """What the model predicts and is not so."""
        return tuple(number for number in self.predicted if number not in self.gold)

    @property
    def missing(self) -> tuple[int, ...]:
        """What is so and the model does not predict."""
        return tuple(number for number in self.gold if number not in self.predicted)


class ListedTexts:
    """Makes a report's texts ready for lists, in the order of the page: a text is explained where it comes first."""

    def __init__(self, report: Report, longest: int = _LONGEST) -> None:
        """
        Args:
            report: Whose texts.
            longest: At most so many characters of a text are shown.
        """
        self._longest = longest
        self.keeps_end = report.summary["prompt"]["cut"] == "beginning"
        self._report = report
        self._explained: set[int] = set()

    def plain(self, row: int) -> ListedText:
        """A text without explanation.

        Args:
            row: Its number.
        """
        text = self._report.texts[row]
        return ListedText(row, self._cut(text.text), self._numbers(text.predicted), self._numbers(text.gold))

    def shaded(self, row: int, index: int) -> ListedText:
        """A text with the words shaded that drive a concept, where that is known; its explanation stands elsewhere.

        Args:
            row: Number of the text.
            index: Number of the concept.
        """
        plain, explanation = self.plain(row), self._report.texts[row].explanation
        if explanation is None:
            return plain
        return replace(plain, words=self._words(explanation, index), is_explained_elsewhere=True)

    def of_concept(self, row: int, index: int) -> ListedText:
        """A text in a list that is about a concept.

        Args:
            row: Number of the text.
            index: Number of the concept.
        """
        shaded, explanation = self.shaded(row, index), self._report.texts[row].explanation
        if explanation is None or row in self._explained:
            return shaded
        self._explained.add(row)
        body = explanation_body(explanation, self._part(explanation))
        return replace(shaded, explanation=body, is_explained_elsewhere=False)

    def misled(self, misled: MisledText) -> ListedText:
        """A wrong decision with the concept behind it.

        Args:
            misled: The decision.
        """
        text = self.of_concept(misled.row, misled.concept)
        return replace(text, misled=misled, misled_by=self._report.by_index[misled.concept])

    def _numbers(self, decision: int) -> tuple[int, ...]:
        """The class of a decision, or the labels of a set."""
        return decision_rule(self._report.multi_label).members(decision, len(self._report.class_names))

    def _cut(self, text: str) -> str:
        if len(text) <= self._longest:
            return text
        return f"… {text[-self._longest :].lstrip()}" if self.keeps_end else f"{text[: self._longest].rstrip()} …"

    def _words(self, explanation: Explanation, index: int) -> list[Words] | None:
        """The excerpt's words as they drive a concept."""
        concept = next((concept for concept in explanation.concepts if concept.index == index), None)
        if concept is None:
            return None
        part = self._part(explanation)
        pieces, dropped = list(shaded_words(explanation, concept, part)), Words("…")
        if sum(len(piece.text) for piece in pieces) < min(self._longest, len(explanation.text)) / 2:
            return None  # a word that is long by itself: better cut than left out
        return [*[dropped][: part.start], *pieces, *([dropped] if part.stop < len(explanation.words) else [])]

    def _part(self, explanation: Explanation) -> slice:
        """The words that are shown."""
        lengths = [len(word) + 1 for word in (reversed(explanation.words) if self.keeps_end else explanation.words)]
        n_words = sum(total <= self._longest + 1 for total in accumulate(lengths))
        return slice(len(lengths) - n_words, len(lengths)) if self.keeps_end else slice(0, n_words)


@dataclass(frozen=True)
class Example:
    """A text on the first page.

    Attributes:
        heading: What it is an example of.
        text: The text.
        concept: The concept that it is about.
    """

    heading: str
    text: ListedText
    concept: ShownConcept


@dataclass(frozen=True)
class Glance:
    """The first page.

    Attributes:
        trust: Whether the concepts can be trusted.
        weakness: What is weakest.
        reliances: What the first classes rely on.
        more_reliances: What the others do.
        default: The class that the model says with no concept; None where that is not nearly always the same.
        unraised: Some of the classes that no concept raises.
        n_more_unraised: How many others.
        examples: Two decisions that concepts made, and a mistake; fewer where there are none.
    """

    trust: Trust
    weakness: Weakness
    reliances: Sequence[Reliance]
    more_reliances: Sequence[Reliance]
    default: DefaultClass | None
    unraised: Sequence[int]
    n_more_unraised: int
    examples: Sequence[Example]


def glance(report: Report, found: Sequence[Finding]) -> Glance:
    """The first page.

    Args:
        report: What the page shows.
        found: The answers to the questions that decide whether the concepts can be trusted.
    """
    relied, unraised = reliances(report), unraised_classes(report)
    return Glance(
        trust=trust(report, found),
        weakness=weakness(report, found),
        reliances=relied[:N_FIRST_CLASSES],
        more_reliances=relied[N_FIRST_CLASSES:],
        default=clear_default(report),
        unraised=unraised[:N_FIRST_CLASSES],
        n_more_unraised=max(0, len(unraised) - N_FIRST_CLASSES),
        examples=_examples(report, relied),
    )


def _examples(report: Report, relied: Sequence[Reliance]) -> list[Example]:
    """A typical text of each of two concepts that decide most, and a mistake."""
    texts, mistake = ListedTexts(report, _LONGEST_EXAMPLE), telling_mistake(report)
    found: list[Example] = []
    for reliance in sorted(relied, key=lambda reliance: -reliance.adds):
        row = _typical(report, reliance)
        if row is not None and len(found) < _N_TYPICAL:
            found.append(Example("A right decision", texts.shaded(row, reliance.concept.index), reliance.concept))
    if mistake is not None:
        text = replace(texts.shaded(mistake.row, mistake.concept), misled=mistake)
        found.append(Example("A mistake", text, report.by_index[mistake.concept]))
    return found


def _typical(report: Report, reliance: Reliance) -> int | None:
    """A rightly decided text of a class among those that activate its concept most, a short one if there is one."""
    rows = [
        row
        for row in reliance.concept.top_texts
        if not (text := report.texts[row]).is_wrong
        and reliance.class_number in decision_rule(report.multi_label).members(text.gold, len(report.class_names))
    ]
    short = [row for row in rows if len(report.texts[row].text) <= _LONGEST_EXAMPLE]
    return next(iter([*short, *rows]), None)


@dataclass(frozen=True)
class Card:
    """A concept.

    Attributes:
        concept: The concept.
        cloud: Its key words, with the size of their letters in rem.
        bars: The classes whose probability it changes most, and by how much.
        n_other_classes: How many others.
        slopes: The class logits that its direction by itself moves fastest, and how fast.
        first_texts: Texts that activate it most.
        more_texts: The next ones.
    """

    concept: ShownConcept
    cloud: Sequence[tuple[str, float]]
    bars: Sequence[tuple[int, float]]
    n_other_classes: int
    slopes: Sequence[tuple[int, float]]
    first_texts: Sequence[ListedText]
    more_texts: Sequence[ListedText]


def concept_groups(report: Report, texts: ListedTexts) -> list[tuple[int, list[Card]]]:
    """The cards of all concepts, by class.

    Args:
        report: What the page shows.
        texts: Its texts.
    """
    ordered = sorted(report.concepts, key=lambda concept: concept.class_number)
    return [
        (class_number, [_card(concept, texts) for concept in group])
        for class_number, group in groupby(ordered, key=lambda concept: concept.class_number)
    ]


def _card(concept: ShownConcept, texts: ListedTexts) -> Card:
    strongest, steepest = _largest(concept.effects), _largest(concept.slopes)
    listed = [texts.of_concept(row, concept.index) for row in concept.top_texts]
    return Card(
        concept=concept,
        cloud=_cloud(concept),
        bars=strongest,
        n_other_classes=len(concept.effects) - len(strongest),
        slopes=steepest,
        first_texts=listed[:_N_FIRST_TEXTS],
        more_texts=listed[_N_FIRST_TEXTS:],
    )


def _largest(values: Sequence[float]) -> list[tuple[int, float]]:
    """Numbers of the classes with the largest values, whatever their sign, and these."""
    numbers = sorted(range(len(values)), key=lambda number: -abs(values[number]))[:_N_BARS]
    return [(number, values[number]) for number in numbers]


def _cloud(concept: ShownConcept) -> list[tuple[str, float]]:
    """Key words with the size of their letters: the area goes with the weight."""
    words = list(concept.weights.items())[:_N_CLOUD_WORDS]
    largest = max((weight for _, weight in words), default=1.0)
    return [(word, round(0.75 + 1.05 * math.sqrt(weight / largest), 2)) for word, weight in words]


@dataclass(frozen=True)
class SuspectConcept:
    """A concept that fires more often on wrong decisions than on right ones.

    Attributes:
        concept: The concept.
        n_wrong: Number of the wrongly decided texts on which it fires.
        texts: Some of them.
    """

    concept: ShownConcept
    n_wrong: int
    texts: Sequence[ListedText]


def suspect_concepts(report: Report, texts: ListedTexts) -> list[SuspectConcept]:
    """Concepts that fire more often on wrong decisions than on right ones beyond chance, the largest difference first.

    Args:
        report: What the page shows.
        texts: Its texts.
    """
    more = [concept for concept in report.concepts if concept.is_more_on_wrong]
    return [
        SuspectConcept(
            concept,
            round(concept.rate_on_wrong * report.mistakes.n_wrong),
            [texts.plain(row) for row in concept.wrong_texts],
        )
        for concept in sorted(more, key=lambda concept: concept.rate_on_right - concept.rate_on_wrong)
    ]


@dataclass(frozen=True)
class Confusion:
    """Which classes are taken for which.

    Attributes:
        rows: Of each class its texts by what is decided, with the share of its texts; empty of many classes.
        pairs: The most frequent wrong decisions: the class, what is decided, how many texts, their share of the class.
    """

    rows: Sequence[Sequence[tuple[int, float]]]
    pairs: Sequence[tuple[int, int, int, float]]


def confusion(report: Report) -> Confusion | None:
    """Which classes are taken for which; None where a text may have several labels.

    Args:
        report: What the page shows.
    """
    if report.scores.confusion is None:
        return None
    counts = report.scores.confusion.tolist()
    shares = [[(count, count / max(sum(row), 1)) for count in row] for row in counts]
    pairs = [
        (own, other, count, share)
        for own, row in enumerate(shares)
        for other, (count, share) in enumerate(row)
        if own != other and count
    ]
    pairs.sort(key=lambda pair: (-pair[2], pair[:2]))
    return Confusion(shares if len(shares) <= _MOST_IN_MATRIX else (), pairs[:_N_CONFUSED])


def word_index(report: Report) -> dict[str, list[Any]]:
    """For the script: of each frequent word the texts, the wrong ones, and the class that most get, with their number.

    Args:
        report: What the page shows.
    """
    found: dict[str, list[Any]] = {}
    for word, counts in report.words.items():
        number = max(counts.n_decided, key=counts.n_decided.__getitem__, default=None)
        most = [report.class_names[number], counts.n_decided[number]] if number is not None else []
        found[word] = [counts.n_texts, counts.n_wrong, *most]
    return found


@dataclass(frozen=True)
class MethodsTable:
    """Methods side by side.

    Attributes:
        headings: One a column.
        rows: For each method its title, its cells, and how long the fit took.
        how_to_read: What intervals and marks mean.
        meanings: For each column its name, and what it says.
        notes: What a reader must know of single methods.
    """

    headings: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Cell], str]]
    how_to_read: str
    meanings: Sequence[tuple[str, str]]
    notes: Sequence[str]


def methods_table(report: Report) -> MethodsTable | None:
    """Methods side by side; None where none were compared.

    Args:
        report: What the page shows.
    """
    methods = report.comparison
    if not methods:
        return None
    best = best_methods(methods)
    return MethodsTable(
        headings=[measure.heading for measure in columns()],
        rows=[
            (method.title, [cell_of(method, measure, best) for measure in columns()], fit_time(method))
            for method in methods
        ],
        how_to_read=f"{intervals(methods, report.summary['n_test_texts'], 'Below each number')} {marks(methods)}",
        meanings=[*((measure.column, measure.about) for measure in columns()), ("fit", "Time to find the concepts.")],
        notes=[f"{method.title}: {note}" for method in methods for note in method.notes],
    )
