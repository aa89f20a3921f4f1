"""What each section of the page shows, ready for the template."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, groupby

from markupsafe import Markup

from sae_lens_classif.decisions import decision_rule
from sae_lens_classif.evals.concept_effects import MisledText
from sae_lens_classif.evals.measures import columns
from sae_lens_classif.explaining.explanation import Explanation, Words, explanation_body, shaded_words
from sae_lens_classif.report.findings import Reliance, clear_default, reliances, telling_mistake, unraised_classes
from sae_lens_classif.report.view import DefaultClass, Report, ShownConcept
from sae_lens_classif.runs.tables import Cell, best_methods, cell_of, fit_time, intervals, marks

_N_BARS = 5
_N_CLOUD_WORDS = 24
N_FIRST_CLASSES, _N_FIRST_TEXTS = 10, 3  # that are shown before the others are asked for
_LONGEST = 600  # characters of a text in a list
_GLANCE = {
    "original_accuracy": "of the test texts rightly decided by the model",
    "recovery_accuracy": "of its decisions stay the same when it sees nothing but the concepts",
    "conditional_label_flip_rate": "of the decisions change when a concept that is active is taken away, mean over "
    "concepts",
}


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

    def __init__(self, report: Report) -> None:
        """
        Args:
            report: Whose texts.
        """
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

    def of_concept(self, row: int, index: int) -> ListedText:
        """A text in a list that is about a concept.

        Args:
            row: Number of the text.
            index: Number of the concept.
        """
        plain, explanation = self.plain(row), self._report.texts[row].explanation
        if explanation is None:
            return plain
        words = self._words(explanation, index)
        if row in self._explained:
            return replace(plain, words=words, is_explained_elsewhere=True)
        self._explained.add(row)
        return replace(plain, words=words, explanation=explanation_body(explanation, self._part(explanation)))

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
        if len(text) <= _LONGEST:
            return text
        return f"… {text[-_LONGEST:].lstrip()}" if self.keeps_end else f"{text[:_LONGEST].rstrip()} …"

    def _words(self, explanation: Explanation, index: int) -> list[Words] | None:
        """The excerpt's words as they drive a concept."""
        concept = next((concept for concept in explanation.concepts if concept.index == index), None)
        if concept is None:
            return None
        part = self._part(explanation)
        pieces, dropped = list(shaded_words(explanation, concept, part)), Words("…")
        if sum(len(piece.text) for piece in pieces) < min(_LONGEST, len(explanation.text)) / 2:
            return None  # a word that is long by itself: better cut than left out
        return [*[dropped][: part.start], *pieces, *([dropped] if part.stop < len(explanation.words) else [])]

    def _part(self, explanation: Explanation) -> slice:
        """The words that are shown."""
        lengths = [len(word) + 1 for word in (reversed(explanation.words) if self.keeps_end else explanation.words)]
        n_words = sum(total <= _LONGEST + 1 for total in accumulate(lengths))
        return slice(len(lengths) - n_words, len(lengths)) if self.keeps_end else slice(0, n_words)


@dataclass(frozen=True)
class Glance:
    """The first section.

    Attributes:
        figures: The most telling numbers, each a share and what it is of.
        reliances: What the first classes rely on.
        more_reliances: What the others do.
        default: The class that the model says with no concept; None where that is not nearly always the same.
        unraised: Some of the classes that no concept raises.
        n_more_unraised: How many others.
        example: A mistake; None where none tells something.
    """

    figures: Sequence[tuple[float, str]]
    reliances: Sequence[Reliance]
    more_reliances: Sequence[Reliance]
    default: DefaultClass | None
    unraised: Sequence[int]
    n_more_unraised: int
    example: ListedText | None


def glance(report: Report) -> Glance:
    """The first section.

    Args:
        report: What the page shows.
    """
    relied, unraised, mistake = reliances(report), unraised_classes(report), telling_mistake(report)
    return Glance(
        figures=[(share, said) for name, said in _GLANCE.items() if (share := report.entry.get(name)) is not None],
        reliances=relied[:N_FIRST_CLASSES],
        more_reliances=relied[N_FIRST_CLASSES:],
        default=clear_default(report),
        unraised=unraised[:N_FIRST_CLASSES],
        n_more_unraised=max(0, len(unraised) - N_FIRST_CLASSES),
        example=_example(report, mistake) if mistake is not None else None,
    )


def _example(report: Report, mistake: MisledText) -> ListedText:
    is_explained = report.texts[mistake.row].explanation is not None
    plain, concept = ListedTexts(report).plain(mistake.row), report.by_index[mistake.concept]
    return replace(plain, is_explained_elsewhere=is_explained, misled=mistake, misled_by=concept)


@dataclass(frozen=True)
class Card:
    """A concept.

    Attributes:
        concept: The concept.
        cloud: Its key words, with the size of their letters in rem.
        bars: The classes whose probability it changes most, and by how much.
        n_other_classes: How many others.
        first_texts: Texts that activate it most.
        more_texts: The next ones.
    """

    concept: ShownConcept
    cloud: Sequence[tuple[str, float]]
    bars: Sequence[tuple[int, float]]
    n_other_classes: int
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
    strongest = sorted(range(len(concept.effects)), key=lambda number: -abs(concept.effects[number]))[:_N_BARS]
    listed = [texts.of_concept(row, concept.index) for row in concept.top_texts]
    return Card(
        concept=concept,
        cloud=_cloud(concept),
        bars=[(class_number, concept.effects[class_number]) for class_number in strongest],
        n_other_classes=len(concept.effects) - len(strongest),
        first_texts=listed[:_N_FIRST_TEXTS],
        more_texts=listed[_N_FIRST_TEXTS:],
    )


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
    """Concepts that fire more often on wrong decisions than on right ones, the largest difference first.

    Args:
        report: What the page shows.
        texts: Its texts.
    """
    more = [concept for concept in report.concepts if concept.rate_on_wrong > concept.rate_on_right]
    return [
        SuspectConcept(
            concept,
            round(concept.rate_on_wrong * report.mistakes.n_wrong),
            [texts.plain(row) for row in concept.wrong_texts],
        )
        for concept in sorted(more, key=lambda concept: concept.rate_on_right - concept.rate_on_wrong)
    ]


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
