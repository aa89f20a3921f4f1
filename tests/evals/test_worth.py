"""What a reader must know before trusting concepts: the same words on the command line and in the report."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sae_lens_classif import TextData, open_run
from sae_lens_classif.decisions import decision_rule
from sae_lens_classif.evals.concept_effects import ConceptEffects, raised_most, unraised_classes
from sae_lens_classif.evals.measures import warnings_about
from sae_lens_classif.evals.worth import Worth
from tests.html_page import ParsedPage
from tests.tiny_run import Tiny, cli, make_tiny

NAMES = ("red", "green", "blue")


def worth(predicted: list[int], labels: list[int], low: float | None = None, multi_label: bool = False) -> Worth:
    return Worth.of(torch.tensor(predicted), torch.tensor(labels), NAMES, decision_rule(multi_label), low)


def test_a_classifier_is_held_against_always_saying_the_commonest_class() -> None:
    found = worth([0, 0, 1, 0], [0, 1, 1, 1])
    assert (found.accuracy, found.commonest, found.majority, found.never) == (0.5, "green", 0.75, ())
    (warning,) = found.warnings()
    assert "hardly better than always saying the same" in warning
    assert "50.0 %" in warning and "'green'" in warning and "75.0 %" in warning and "finetune" in warning


def test_it_is_better_where_the_whole_interval_is() -> None:
    good = [0, 1, 2, 0], [0, 1, 2, 1]
    assert worth(*good, low=0.51).is_better and not worth(*good, low=0.5).is_better
    assert worth(*good).is_better, "of an accuracy without interval the number itself counts"
    assert list(worth(*good, low=0.51).warnings()) == []


def test_a_class_that_has_texts_and_is_never_said_is_named() -> None:
    (warning,) = worth([0, 1, 0, 1, 1], [0, 1, 0, 1, 2]).warnings()
    assert "It never says 'blue'." in warning
    assert worth([0, 1, 0], [0, 1, 0]).never == (), "there is no text of it to say it of"


def test_a_class_that_is_mostly_missed_is_named_whatever_the_accuracy() -> None:
    labels = [0] * 160 + [1] * 40
    found = worth([0] * 160 + [0] * 32 + [1] * 8, labels)
    assert found.missed == ("green", 0.2) and found.is_better
    (warning,) = found.warnings()
    assert "'green'" in warning and "20.0 %" in warning
    assert worth([0] * 160 + [0] * 18 + [1] * 22, labels).missed is None
    assert worth([0, 0, 0, 1], [0, 0, 1, 1]).missed is None, "of two texts nothing can be said"


def test_sets_of_labels_are_held_against_the_commonest_set() -> None:
    found = worth([0b011, 0b011, 0b001, 0b100], [0b011, 0b011, 0b001, 0b100], multi_label=True)
    assert (found.commonest, found.majority, found.accuracy) == ("red, green", 0.5, 1.0)
    assert worth([0, 0], [0, 0], multi_label=True).commonest == "no label"


def test_a_class_that_no_concept_raises_is_found_unless_it_is_what_is_said_anyway() -> None:
    by_class = torch.tensor([[0.5, -0.5, 0.0], [0.3, -0.3, 0.0]])
    none = torch.zeros(2)
    steps = (torch.zeros(2, 12), none, torch.zeros(2, 4))
    effects = ConceptEffects(by_class, none, none, (), torch.tensor([2, 10]), torch.full((2, 5), -1), *steps)
    assert raised_most(by_class * (effects.n_texts / 10)[:, None]) == [1, None, None], "over all texts, not its own"
    predicted, rule = torch.tensor([0, 1] * 5), decision_rule(False)
    assert unraised_classes(effects, predicted, rule) == [1], "blue is never said"
    default = torch.tensor([[0.0, 0.9, 0.1], [0.3, 0.4, 0.3]])
    effects = ConceptEffects(by_class, none, none, (), torch.tensor([2, 10]), torch.full((2, 5), -1), *steps, default)
    assert unraised_classes(effects, predicted, rule) == []
    assert raised_most(torch.zeros(0, 3)) == [None] * 3


def test_what_takes_two_numbers_to_see_is_warned_of() -> None:
    alike = {"concept_sim": 0.31, "concept_sim_ci95": [0.29, 0.33], "dataset_mean_cosine": 0.3}
    (warning,) = warnings_about(alike)
    assert "0.310" in warning and "0.300" in warning
    assert warnings_about({**alike, "concept_sim_ci95": [0.301, 0.33]}) == []
    (unknown,) = warnings_about({"scaled_recovery": None, "recovery_accuracy": 0.9})
    assert "cannot be said" in unknown
    assert warnings_about({"concept_sim": None, "dataset_mean_cosine": 0.3}) == []


@pytest.fixture(scope="module")
def hardly_better(
    tmp_path_factory: pytest.TempPathFactory, classifier_folder: Path, train_data: TextData, test_data: TextData
) -> Tiny:
    """Test texts two thirds of which are labelled with the same class, whatever they are about."""
    labels = np.where(np.arange(len(test_data)) % 3 < 2, 0, test_data.labels).astype(np.int64)
    folder = tmp_path_factory.mktemp("hardly_better")
    others = TextData(test_data.texts, labels, test_data.class_names)
    return make_tiny(folder / "made", classifier_folder, train_data, others)


def test_the_command_line_warns_of_all_that_the_report_warns_of(hardly_better: Tiny) -> None:
    said = " ".join(hardly_better.command("run", "mine").split())
    run = hardly_better.run("mine")
    warnings = open_run(run).evaluation.warnings
    assert "hardly better than always saying the same" in warnings[0] and "'animals'" in warnings[0]
    assert all(f"Warning: {' '.join(warning.split())}" in said for warning in warnings)
    assert cli("report", run, "--explained", 0).code == 0
    page = " ".join(ParsedPage((run / "report.html").read_text(encoding="utf-8")).words.split())
    assert "No: it is hardly better than always saying the same" in page
    assert all(" ".join(warning.split()) in page for warning in warnings)
