"""What a manager reads first: can the concepts be trusted, and what is weakest about model and concepts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sae_lens_classif.evals.classifier_scores import ClassScores
from sae_lens_classif.report.findings import ESSENTIAL, Finding, Verdict, findings, unraised_classes
from sae_lens_classif.report.view import LENGTH, Report
from sae_lens_classif.runs.tables import CONTROLS
from sae_lens_classif.wording import number

_ANSWERS: dict[Verdict, str] = {"yes": "Yes", "partly": "In part", "no": "No", "unknown": "Not known yet"}
_WORST_FIRST: tuple[Verdict, ...] = ("no", "unknown", "partly")
_WELL_KNOWN = 0.8  # recall of a class


@dataclass(frozen=True)
class Trust:
    """Whether the concepts can be trusted.

    Attributes:
        verdict: In one word.
        answer: In a word or two.
        reason: Why.
    """

    verdict: Verdict
    answer: str
    reason: str


def trust(report: Report, found: Sequence[Finding]) -> Trust:
    """One verdict: that of the worst answer to a question on which all else hangs.

    Args:
        report: What the page shows.
        found: The answers.
    """
    essential = [finding for finding in found if finding.about in ESSENTIAL]
    for verdict in _WORST_FIRST:
        failed = next((finding for finding in essential if finding.verdict == verdict), None)
        if failed is not None:
            return Trust(verdict, _ANSWERS[verdict], f"{failed.question} {failed.answer}. {_in_short(report)}".strip())
    return Trust("yes", _ANSWERS["yes"], _in_short(report))


def _in_short(report: Report) -> str:
    """The three numbers that count most, as far as they were measured."""
    entry, said = report.entry, []
    if entry.get("recovery_accuracy") is not None:
        said.append(
            f"Seeing nothing but the {report.n_concepts} concepts, the model decides "
            f"{number(entry['recovery_accuracy'], True)} of the texts as before; with no concept at all it would be "
            f"{number(entry['recovery_floor'], True)}."
        )
        said += [f"Concepts that can mean nothing come to {shares}." for shares in [_of_controls(report)] if shares]
    if entry.get("conditional_tvd") is not None:
        said.append(
            f"Where a concept is active, taking it away moves {number(entry['conditional_tvd'], True)} of the "
            "probability to other classes on average."
        )
    return " ".join(said)


def _of_controls(report: Report) -> str:
    """What the controls recover; nothing where none was measured."""
    recovered = {
        row.title: row.estimate("recovery_accuracy").mean
        for row in report.comparison
        if row.name in CONTROLS and row.name != report.method
    }
    return ", ".join(f"{number(share, True)} ({title})" for title, share in recovered.items() if share is not None)


@dataclass(frozen=True)
class Weakness:
    """What is weakest.

    Attributes:
        said: In a sentence or two.
        class_number: The class that it is about; None where it is about none alone.
    """

    said: str
    class_number: int | None = None


def weakness(report: Report, found: Sequence[Finding]) -> Weakness:
    """What is weakest about the classifier and its concepts; there is always something.

    Args:
        report: What the page shows.
        found: The answers.
    """
    return next(_weaknesses(report, found))


def _weaknesses(report: Report, found: Sequence[Finding]) -> Iterator[Weakness]:
    """The worst first; the last of them every classifier has."""
    known = {place: scores.recall for place, scores in enumerate(report.class_scores) if scores.recall is not None}
    least = min(known, key=known.__getitem__, default=None)
    if least is not None and known[least] < _WELL_KNOWN:
        yield Weakness(_hardly_found(report.class_names[least], report.class_scores[least]), least)
    for finding in found:
        if finding.verdict == "no":
            yield Weakness(f"{finding.question} {finding.answer}.")
    yield from _errs_more(report)
    if unraised := unraised_classes(report):
        yield Weakness("No concept clearly speaks for this class.", unraised[0])
    yield from (Weakness(f"{finding.question} {finding.answer}.") for finding in found if finding.verdict == "partly")
    if least is not None and known[least] < 1:
        yield Weakness(_hardly_found(report.class_names[least], report.class_scores[least]), least)
    yield from (Weakness(f"{finding.question} {finding.answer}.") for finding in found if finding.verdict == "unknown")
    yield Weakness("Nothing was measured.")


def _errs_more(report: Report) -> Iterator[Weakness]:
    """Of each way to part the texts the part with the lowest accuracy, if it differs beyond chance."""
    for name, parts in report.slices.items():
        worse = [part for part in parts if part.differs and part.accuracy < report.scores.accuracy]
        for part in sorted(worse, key=lambda part: part.accuracy)[:1]:
            where = f"texts of {part.name}" if name == LENGTH else f"texts whose {name} is {part.name}"
            yield Weakness(
                f"It errs more often on {where}: {number(part.accuracy, True)} of {part.n_texts:,} are decided "
                f"rightly, of all {number(report.scores.accuracy, True)}."
            )


def concerns(report: Report) -> Iterator[str]:
    """What fails, in sentences, for whoever does not open the page.

    Args:
        report: What the page shows.
    """
    found = list(findings(report))
    said = trust(report, found)
    if said.verdict == "no":
        yield f"Can the concepts be trusted? {said.answer}. {said.reason}"
    yield from (f"{finding.question} {finding.answer}." for finding in found if finding.verdict == "no")
    yield from (weak.said for weak in _errs_more(report))


def _hardly_found(name: str, scores: ClassScores) -> str:
    low, high = scores.recall_ci95 or (None, None)
    return (
        f"Of the {scores.n_texts:,} texts of {name} it finds {number(scores.recall, True)} (95 % interval "
        f"{number(low, True)} to {number(high, True)}); no class is found less often."
    )
