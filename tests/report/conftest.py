"""Reports of several runs, made once."""

import dataclasses
from pathlib import Path

import pytest

from sae_lens_classif import write_report
from sae_lens_classif.report.build import Choices, gather_report
from sae_lens_classif.report.page import report_page
from sae_lens_classif.runs.folder import RunFolder
from tests.conftest import MakeOnce

REPORTS = ("demo", "few", "many")


@pytest.fixture(scope="session")
def reports(make_once: MakeOnce, demo_folder: Path, few_strange: Path, many_strange: Path) -> dict[str, Path]:
    """Reports of three runs: the demo's, one of two classes and 5 concepts, one of 77 classes and 200 concepts.

    And ``suspects``: the demo's, were every concept that is active more often on wrong decisions so beyond chance.
    """
    runs = {"demo": demo_folder / "runs" / "demo", "few": few_strange, "many": many_strange}

    def make(folder: Path) -> None:
        for name, run in runs.items():
            write_report(run, folder / name / "report.html", explained=30)
        report = gather_report(RunFolder.open(runs["demo"]), Choices(30))
        concepts = tuple(
            dataclasses.replace(concept, is_more_on_wrong=concept.rate_on_wrong > concept.rate_on_right)
            for concept in report.concepts
        )
        (folder / "suspects").mkdir()
        page = report_page(dataclasses.replace(report, concepts=concepts))
        (folder / "suspects" / "report.html").write_text(page, encoding="utf-8")

    folder = make_once("reports", make)
    return {name: folder / name / "report.html" for name in (*REPORTS, "suspects")}
