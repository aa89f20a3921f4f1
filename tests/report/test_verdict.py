"""What stands first in a report: one verdict, the worst weakness."""

import dataclasses
from typing import Any

import pytest

from sae_lens_classif.evals.classifier_scores import ClassifierScores, ClassScores
from sae_lens_classif.evals.slices import Slice
from sae_lens_classif.report.findings import About, Finding, Verdict
from sae_lens_classif.report.verdict import trust, weakness
from sae_lens_classif.report.view import Mistakes, Report

GOOD = ClassScores(100, 0.9, (0.85, 0.95), 0.9, 0.9)


def report(**changes: Any) -> Report:
    values: dict[str, Any] = {
        **dict.fromkeys([field.name for field in dataclasses.fields(Report)]),
        "class_names": ("calm", "hate"),
        "scores": ClassifierScores(0.9, 0.9, 0.9, (GOOD, GOOD), None, None),
        "entry": {"recovery_accuracy": 0.98, "recovery_floor": 0.51, "conditional_tvd": 0.4},
        "summary": {"n_test_texts": 200},
        "n_concepts": 20,
        "comparison": (),
        "method": "classifsae",
        "concepts": (),
        "mistakes": Mistakes(20, 0, 0, ()),
        "slices": {},
        "words": {},
        "multi_label": False,
    }
    return Report(**{**values, **changes})


def found(**verdicts: Verdict) -> list[Finding]:
    abouts: tuple[About, ...] = ("classifier", "sufficiency", "cause", "frequency", "chance")
    return [Finding(about, verdicts.get(about, "yes"), f"answer of {about}", "") for about in abouts]


def test_where_all_holds_the_reason_is_the_numbers_with_their_floor() -> None:
    said = trust(report(), found())
    assert (said.verdict, said.answer) == ("yes", "Yes")
    for part in ("20 concepts", "98.0 %", "51.0 %", "40.0 %"):
        assert part in said.reason


@pytest.mark.parametrize(
    ("verdicts", "verdict", "answer", "reason"),
    [
        ({"chance": "no", "classifier": "partly"}, "no", "No", "Is it more than chance? answer of chance."),
        ({"chance": "unknown", "classifier": "partly"}, "unknown", "Not known yet", "answer of chance"),
        ({"classifier": "partly"}, "partly", "In part", "Is the classifier worth explaining? answer of classifier."),
        ({"frequency": "no"}, "yes", "Yes", "20 concepts"),
    ],
)
def test_the_worst_answer_on_which_all_hangs_decides(
    verdicts: dict[str, Verdict], verdict: Verdict, answer: str, reason: str
) -> None:
    said = trust(report(), found(**verdicts))
    assert (said.verdict, said.answer) == (verdict, answer) and reason in said.reason


def test_nothing_is_said_of_what_was_not_measured() -> None:
    assert trust(report(entry={}), found(sufficiency="unknown")).reason.endswith("answer of sufficiency.")


def test_a_class_that_is_hardly_found_is_the_worst_weakness() -> None:
    missed = ClassScores(40, 0.2, (0.105, 0.348), 0.6, 0.3)
    scores = ClassifierScores(0.87, 0.6, 0.6, (GOOD, missed), None, None)
    said = weakness(report(scores=scores), found(frequency="no"))
    assert said.class_number == 1
    for part in ("40 texts of hate", "20.0 %", "10.5 % to 34.8 %"):
        assert part in said.said


def test_then_what_fails_then_where_it_errs_more_then_the_class_that_is_found_least() -> None:
    parts = {"lang": (Slice("de", 50, 20, 0.6, (0.46, 0.72), True), Slice("en", 150, 0, 1.0, (0.97, 1.0), True))}
    assert weakness(report(slices=parts), found(frequency="no")).said == "Are they specific? answer of frequency."
    said = weakness(report(slices=parts), found()).said
    for part in ("lang is de", "60.0 % of 50", "90.0 %"):
        assert part in said
    chance = {"lang": (dataclasses.replace(parts["lang"][0], differs=False),)}
    last = weakness(report(slices=chance, scores=dataclasses.replace(report().scores, by_class=(GOOD, GOOD))), found())
    assert last.class_number is not None, "no class is raised by a concept here"
    raised = report(class_names=("calm",), scores=dataclasses.replace(report().scores, by_class=(GOOD,)))
    assert weakness(raised, found(classifier="partly")).said.startswith("No concept clearly speaks")
    nothing = ClassScores(0, None, None, None, None)
    empty = dataclasses.replace(report().scores, by_class=(nothing, nothing))
    assert weakness(report(scores=empty), found()).said == "Nothing was measured."
