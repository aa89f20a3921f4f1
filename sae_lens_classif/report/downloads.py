"""The tables of a report as files that the page itself holds: CSV for a spreadsheet, JSON for a program."""

import base64
import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sae_lens_classif.evals.comparison import ComparedMethod
from sae_lens_classif.evals.concept_effects import MisledText
from sae_lens_classif.evals.measures import FLOOR, columns, find_measure, headlines
from sae_lens_classif.evals.results import finite
from sae_lens_classif.evals.slices import Slice
from sae_lens_classif.report.view import Report, ShownConcept

Row = Mapping[str, Any]
_UNSAFE = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would take for a formula


@dataclass(frozen=True)
class Download:
    """A file that a link holds.

    Attributes:
        file: Its name.
        address: A ``data:`` address with its content.
    """

    file: str
    address: str


def tables(report: Report) -> dict[str, list[Row]]:
    """The tables of a page as rows of plain values; texts are told by their numbers.

    Args:
        report: What the page shows.
    """
    found = {
        "numbers": _numbers(report),
        "concepts": [_concept(report, concept) for concept in report.concepts],
        "activations": [row for concept in report.concepts for row in _histogram(concept)],
        "effect_by_activation": [row for concept in report.concepts for row in _effect_by_activation(report, concept)],
        "alike": [row for concept in report.concepts for row in _alike(concept)],
        "classes": [_class(report, number) for number in range(len(report.class_names))],
        "confusion": _confusion(report),
        "calibration": _calibration(report),
        "slices": [_slice(kind, part) for kind, parts in report.slices.items() for part in parts],
        "mistakes": [_mistake(report, mistake) for mistake in report.mistakes.shown],
        "methods": [_method(method) for method in report.comparison],
    }
    return {name: rows for name, rows in found.items() if rows}


def _interval(limits: Sequence[float | None] | None, name: str = "") -> Row:
    low, high = limits or (None, None)
    return {f"{name}low": low, f"{name}high": high}


def _numbers(report: Report) -> list[Row]:
    values = {**report.summary, **report.entry}
    return [
        {
            "measure": measure.name,
            "title": measure.title,
            "value": values[measure.name],
            **_interval(values.get(f"{measure.name}_ci95")),
        }
        for measure in (*headlines(), find_measure(FLOOR))
        if measure.name in values
    ]


def _class(report: Report, number: int) -> Row:
    scores, names = report.class_scores[number], report.class_names
    other, share = report.taken_for(number) or (None, None)
    return {
        "class": names[number],
        "n_texts": scores.n_texts,
        "recall": scores.recall,
        **_interval(scores.recall_ci95, "recall_"),
        "precision": scores.precision,
        "f1": scores.f1,
        "most_taken_for": None if other is None else names[other],
        "taken_for_share": share,
    }


def _confusion(report: Report) -> list[Row]:
    if report.scores.confusion is None:
        return []
    return [
        {"class": name, **{f"decided {said}": n for said, n in zip(report.class_names, row, strict=True)}}
        for name, row in zip(report.class_names, report.scores.confusion.tolist(), strict=True)
    ]


def _calibration(report: Report) -> list[Row]:
    bins = report.scores.calibration.bins if report.scores.calibration else ()
    return [
        {"sureness": one.sureness, "texts": one.n_texts, "right": one.accuracy, **_interval(one.accuracy_ci95)}
        for one in bins
    ]


def _slice(kind: str, part: Slice) -> Row:
    return {
        "by": kind or "words",
        "part": part.name,
        "texts": part.n_texts,
        "wrong": part.n_wrong,
        "right": part.accuracy,
        **_interval(part.accuracy_ci95),
        "differs": part.differs,
    }


def _method(method: ComparedMethod) -> Row:
    row: dict[str, Any] = {"method": method.title, "fit_seconds": method.fit_seconds}
    for measure in columns():
        estimate, difference = method.estimate(measure.name), method.differences.get(measure.name)
        row |= {measure.name: estimate.mean, **_interval(estimate.ci95, f"{measure.name}_")}
        row[f"{measure.name}_differs"] = None if difference is None else difference.is_real
    return row


def _histogram(concept: ShownConcept) -> list[Row]:
    steps = len(concept.histogram)
    return [
        {"concept": concept.index, "up_to": concept.largest * (step + 1) / steps, "texts": n_texts}
        for step, n_texts in enumerate(concept.histogram)
    ]


def _effect_by_activation(report: Report, concept: ShownConcept) -> list[Row]:
    raised = report.class_names[concept.raised]
    return [
        {"concept": concept.index, "quarter": quarter, "class": raised, "adds": value}
        for quarter, value in enumerate(concept.by_strength, 1)
    ]


def _alike(concept: ShownConcept) -> list[Row]:
    """Other concepts that are like it, in what, and where that is a number how much."""
    found: list[tuple[str, int, float | None]] = [
        *(("nearest direction", other, cosine) for other, cosine in concept.nearest),
        *(("same direction", other, None) for other in concept.points_with),
        *(("same texts", other, None) for other in concept.fires_with),
        *(("same words", other, None) for other in concept.same_words),
    ]
    return [{"concept": concept.index, "other": other, "in": way, "cosine": cosine} for way, other, cosine in found]


def _concept(report: Report, concept: ShownConcept) -> Row:
    names = report.class_names
    return {
        "concept": concept.index,
        "name": concept.name,
        "class": names[concept.class_number],
        "most_active_on": names[concept.active_class_number],
        "key_words": " ".join(concept.weights),
        "activation_rate": concept.activation_rate,
        "tvd": concept.tvd,
        "influence": concept.influence,
        "flips": concept.flips,
        "concept_sim": concept.concept_sim,
        "on_wrong_decisions": concept.rate_on_wrong,
        "on_right_decisions": concept.rate_on_right,
        "largest_activation": concept.largest,
        **_comes_back(report, concept),
        **{f"adds {name}": value for name, value in zip(names, concept.effects, strict=True)},
        **{f"slope {name}": value for name, value in zip(names, concept.slopes, strict=False)},
    }


def _comes_back(report: Report, concept: ShownConcept) -> Row:
    if report.stability is None:
        return {}
    found, n_others = report.stability.by_index[concept.index], len(report.stability.other_seeds)
    return {"comes_back": found.comes_back, "comes_back_on_texts": found.same_texts, "other_trainings": n_others}


def _mistake(report: Report, mistake: MisledText) -> Row:
    text = report.texts[mistake.row]
    return {
        "text": mistake.row,
        "decided": report.decision_in_words(text.predicted),
        "labelled": report.decision_in_words(text.gold),
        "concept": mistake.concept,
        "name": report.by_index[mistake.concept].name,
        "for_wrong": mistake.for_wrong,
        "for_right": mistake.for_right,
        "right_without_it": mistake.is_righted,
    }


def downloads(report: Report) -> list[Download]:
    """A CSV file of each table, and all of them in one JSON file.

    Args:
        report: What the page shows.
    """
    found = tables(report)
    whole = json.dumps(finite({"run": report.run, **found}), ensure_ascii=False, indent=1, allow_nan=False)
    files = {f"{name}.csv": ("text/csv", _csv(rows)) for name, rows in found.items()}
    files[f"{report.method}.json"] = ("application/json", whole)
    return [
        Download(name, f"data:{kind};charset=utf-8;base64,{base64.b64encode(content.encode()).decode()}")
        for name, (kind, content) in files.items()
    ]


def _csv(rows: Sequence[Row]) -> str:
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(map(_as_text, rows[0]))
    writer.writerows([_as_text(value) for value in row.values()] for row in rows)
    return written.getvalue()


def _as_text(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula, whatever a class is called."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_UNSAFE) else value
