"""The tables of a report as files that the page itself holds: CSV for a spreadsheet, JSON for a program."""

import base64
import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sae_lens_classif.evals.concept_effects import MisledText
from sae_lens_classif.evals.measures import columns
from sae_lens_classif.evals.results import finite
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
    found: dict[str, list[Row]] = {
        "concepts": [_concept(report, concept) for concept in report.concepts],
        "classes": [
            {"class": name, **{key: value for key, value in vars(scores).items() if key != "recall_ci95"}}
            for name, scores in zip(report.class_names, report.class_scores, strict=True)
        ],
        "mistakes": [_mistake(report, mistake) for mistake in report.mistakes.shown],
        "slices": [
            {
                "by": kind or "words",
                "part": part.name,
                "texts": part.n_texts,
                "wrong": part.n_wrong,
                "differs": part.differs,
            }
            for kind, parts in report.slices.items()
            for part in parts
        ],
        "methods": [
            {"method": row.title, **{measure.name: row.estimate(measure.name).mean for measure in columns()}}
            for row in report.comparison
        ],
    }
    if report.scores.confusion is not None:
        counts = report.scores.confusion.tolist()
        found["confusion"] = [
            {"class": name, **{f"decided {said}": n for said, n in zip(report.class_names, row, strict=True)}}
            for name, row in zip(report.class_names, counts, strict=True)
        ]
    found["activations"] = [
        {"concept": concept.index, "up_to": concept.largest * (step + 1) / len(concept.histogram), "texts": n_texts}
        for concept in report.concepts
        for step, n_texts in enumerate(concept.histogram)
    ]
    return {name: rows for name, rows in found.items() if rows}


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
        "concept_sim": concept.concept_sim,
        "on_wrong_decisions": concept.rate_on_wrong,
        "on_right_decisions": concept.rate_on_right,
        "largest_activation": concept.largest,
        **{f"adds {name}": value for name, value in zip(names, concept.effects, strict=True)},
        **{f"slope {name}": value for name, value in zip(names, concept.slopes, strict=False)},
    }


def _mistake(report: Report, mistake: MisledText) -> Row:
    text = report.texts[mistake.row]
    return {
        "text": mistake.row,
        "decided": report.decision_in_words(text.predicted),
        "labelled": report.decision_in_words(text.gold),
        "concept": mistake.concept,
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
