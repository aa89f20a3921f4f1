"""The report of a run: its numbers against their definitions, its words, its safety, and when it is refused."""

import dataclasses
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from html import unescape as html_unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from sae_lens_classif import (
    ActivationStore,
    ClassifSAE,
    UserError,
    explain,
    load_classifier,
    load_method,
    templates,
    write_report,
)
from sae_lens_classif.config.classifier import ClassifierConfig, DataConfig, PromptConfig
from sae_lens_classif.config.methods import CompareConfig
from sae_lens_classif.config.run import RunConfig
from sae_lens_classif.evals.classifier_scores import Calibration, ClassifierScores, ClassScores, SurenessBin
from sae_lens_classif.evals.comparison import ComparedMethod, Difference, Estimate
from sae_lens_classif.evals.concept_effects import MisledText
from sae_lens_classif.evals.slices import Slice
from sae_lens_classif.evals.worth import Worth
from sae_lens_classif.files import read_json
from sae_lens_classif.methods.classif_sae import ClassifSAEConcepts
from sae_lens_classif.report.build import Choices, _more_on_wrong, _same_words, gather_report
from sae_lens_classif.report.findings import Finding, findings, reliances, telling_mistake, unraised_classes
from sae_lens_classif.report.page import report_page
from sae_lens_classif.report.view import LENGTH, DefaultClass, Mistakes, Report, ShownConcept, ShownText
from sae_lens_classif.runs.about import shown_settings
from sae_lens_classif.runs.folder import RunFolder
from sae_lens_classif.runs.results import read_comparison
from tests.html_page import ParsedPage
from tests.tiny_run import STRANGE, assert_refused_at_once, change_sae, change_settings, cli, sign


@pytest.fixture(scope="module")
def run(demo_folder: Path) -> RunFolder:
    return RunFolder.open(demo_folder / "runs" / "demo")


@pytest.fixture(scope="module")
def report(run: RunFolder) -> Report:
    return gather_report(run, Choices(explained=20))


@pytest.fixture
def strange(few_strange: Path, tmp_path: Path) -> Path:
    """A copy, with its texts beside it as in the original."""
    return Path(shutil.copytree(few_strange.parent, tmp_path / "strange")) / "run"


# --- the numbers ---


@pytest.mark.parametrize("name", ["ica", "topk_sae"])
def test_another_method_is_shown_with_its_own_numbers_beside_the_run_s_report(demo_run: Path, name: str) -> None:
    ended = cli("report", demo_run, "--method", name, "--explained", "3")
    assert ended.code == 0, ended.stderr
    page = (demo_run / f"report.{name}.html").read_text(encoding="utf-8")
    run = RunFolder.open(demo_run)
    entry = read_json(run.summary)["methods"][name]
    shown, trained = gather_report(run, Choices(0), name), gather_report(run, Choices(0))
    assert [concept.index for concept in shown.concepts] == [concept["index"] for concept in entry["concepts"]]
    method = load_method(run.method(name, 0))
    activations = method.encode(ActivationStore(run.activations("test")).read("hidden").float())
    for concept in shown.concepts[:3]:
        assert list(concept.top_texts) == activations[:, concept.index].abs().argsort(descending=True)[:10].tolist()
        assert concept.n_texts == int((activations[:, concept.index] != 0).sum())
    assert shown.title in page and f"{100 * entry['recovery_accuracy']:.1f} %" in page
    assert hashlib.sha256((run.method(name, 0) / "method.json").read_bytes()).hexdigest() in page
    assert [row.name for row in shown.comparison] == ["classifsae", "topk_sae", "ica", "random_directions"]
    assert shown.mistakes.n_wrong == trained.mistakes.n_wrong and shown.concepts != trained.concepts
    cli("evaluate", "--run", demo_run, "--evaluate.n_bootstrap", "30")
    assert not (demo_run / f"report.{name}.html").exists(), "of numbers that are gone"


def test_a_method_that_was_not_fitted_or_not_measured_is_refused(demo_run: Path) -> None:
    assert_refused_at_once(cli("report", demo_run, "--method", "icaa"), "'icaa'", "did you mean 'ica'?", "`compare`")
    summary = read_json(demo_run / "summary.json")
    del summary["methods"]["ica"]
    (demo_run / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    assert_refused_at_once(cli("report", demo_run, "--method", "ica"), "no evaluation of ica", "`compare`")


def test_concepts_are_those_of_the_summary_with_the_effects_that_leaving_them_out_has(
    report: Report, run: RunFolder
) -> None:
    entry = read_json(run.summary)["methods"]["classifsae"]
    assert [concept.index for concept in report.concepts] == [concept["index"] for concept in entry["concepts"]]
    classifier = load_classifier(run.classifier, device="cpu")
    method = ClassifSAEConcepts(ClassifSAE.load_from_disk(run.sae))
    hidden = ActivationStore(run.activations("test")).read("hidden").float()
    activations = method.encode(hidden)

    def probabilities(concepts: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        decoded = method.decode(concepts)
        states = decoded * (hidden[rows].norm(dim=1) / decoded.norm(dim=1))[:, None]
        return classifier.logits_from(states).softmax(dim=1)

    for concept in report.concepts[:4]:
        rows = activations[:, concept.index].nonzero()[:, 0]
        assert concept.n_texts == len(rows)
        without = activations[rows].clone()
        without[:, concept.index] = 0
        change = probabilities(activations[rows], rows) - probabilities(without, rows)
        assert concept.effects == pytest.approx(change.mean(dim=0).tolist(), abs=1e-5)
        assert concept.tvd == pytest.approx(float(change.abs().sum(dim=1).mean() / 2), abs=1e-5)
        strongest = activations[:, concept.index].argsort(descending=True)[: min(10, len(rows))]
        assert list(concept.top_texts) == strongest.tolist()


def test_wrong_decisions_are_counted_and_a_misleading_concept_is_what_an_explanation_says(
    report: Report, run: RunFolder
) -> None:
    store = ActivationStore(run.activations("test"))
    predicted, labels = store.read("predicted"), store.read("label")
    mistakes = report.mistakes
    assert mistakes.n_wrong == int((predicted != labels).sum()) > 0
    assert mistakes.n_wrong >= mistakes.n_misled >= mistakes.n_righted > 0
    assert all(report.texts[mistake.row].is_wrong for mistake in mistakes.shown)
    classifier, sae = load_classifier(run.classifier, device="cpu"), ClassifSAE.load_from_disk(run.sae)
    for misled in mistakes.shown[:5]:
        explanation = explain(sae, classifier, report.texts[misled.row].text)
        (concept,) = [active for active in explanation.concepts if active.index == misled.concept]
        is_right = explanation.class_without(concept) == report.texts[misled.row].gold
        was_right = explanation.class_through_concepts == report.texts[misled.row].gold
        assert misled.is_righted == (is_right and not was_right)


def test_the_class_by_default_is_what_the_bias_alone_gives(report: Report, run: RunFolder) -> None:
    classifier, sae = load_classifier(run.classifier, device="cpu"), ClassifSAE.load_from_disk(run.sae)
    hidden = ActivationStore(run.activations("test")).read("hidden").float()
    # The norm of the bias is made that of each state; the model's final LayerNorm leaves little of that difference.
    states = sae.b_dec.detach() / sae.b_dec.detach().norm() * hidden.norm(dim=1, keepdim=True)
    probabilities = classifier.logits_from(states).softmax(dim=1)
    said = probabilities.argmax(dim=1).tolist()
    default = report.default_class
    assert default is not None and default.share == pytest.approx(said.count(default.class_number) / len(said))
    assert all(said.count(other) <= said.count(default.class_number) for other in range(len(report.class_names)))
    assert default.probabilities == pytest.approx(probabilities.mean(dim=0).tolist(), abs=1e-5)


def test_a_class_that_is_hardly_the_default_is_not_called_so(report: Report) -> None:
    shares = tuple(1 / len(report.class_names) for _ in report.class_names)
    silent = _words(report_page(dataclasses.replace(report, default_class=None)), "trust")
    for share, is_said in ((0.9, True), (0.89, False)):
        made = dataclasses.replace(report, default_class=DefaultClass(1, share, shares))
        assert (_words(report_page(made), "trust") != silent) == is_said


def test_the_scores_of_a_class_are_counts(report: Report, run: RunFolder) -> None:
    store = ActivationStore(run.activations("test"))
    predicted, labels = store.read("predicted").tolist(), store.read("label").tolist()
    for number, scores in enumerate(report.class_scores):
        given = [other for other, label in zip(predicted, labels, strict=True) if label == number]
        assert scores.n_texts == len(given)
        assert scores.recall == pytest.approx(given.count(number) / len(given))
        assert scores.precision == pytest.approx(given.count(number) / predicted.count(number))
        wrong = [other for other in given if other != number]
        taken_for = report.taken_for(number)
        if wrong:
            assert taken_for is not None and taken_for[0] != number
            assert taken_for[1] == pytest.approx(max(map(wrong.count, wrong)) / len(given))
        else:
            assert taken_for is None


def test_so_many_texts_are_explained_as_is_asked_for_mistakes_and_every_concept_among_them(report: Report) -> None:
    explained = {row for row, text in report.texts.items() if text.explanation is not None}
    assert len(explained) == 20
    assert report.mistakes.shown[0].row in explained
    assert {concept.top_texts[0] for concept in report.concepts[:5]} <= explained


# --- the words ---


def _words(html: str, section: str) -> str:
    """What a section of the page says."""
    (found,) = re.findall(rf'<section id="{section}".*?\n</section>', html, re.DOTALL)
    return " ".join(ParsedPage(found).words.split())


def _assert_in_order(words: str, *parts: str) -> None:
    """Names and numbers stand behind each other, each as a whole, whatever is between them."""
    place = 0
    for part in parts:
        found = re.compile(rf"(?<![\w.,+-]){re.escape(part)}(?![\w]|[.,]\d)").search(words, place)
        assert found, f"{part!r} is not in {words[place:]!r}"
        place = found.end()


def _concept(index: int, effects: tuple[float, ...], n_texts: int = 100, **changes: Any) -> ShownConcept:
    concept = ShownConcept(
        index=index, class_number=0, active_class_number=0, weights={"some": 1.0, "words": 0.5}, activation_rate=0.1,
        n_texts=n_texts, tvd=0.1, flips=0.1, concept_sim=0.2, effects=effects, rate_on_wrong=0.1, rate_on_right=0.2,
        top_texts=(), wrong_texts=(),
    )  # fmt: skip
    return dataclasses.replace(concept, **changes)


def _found(report: Report, **numbers: Any) -> dict[str, Finding]:
    """Findings by their questions' first two words, with some headline numbers changed."""
    changed = dataclasses.replace(report, entry={**report.entry, **numbers})
    return {" ".join(finding.question.split()[:2]): finding for finding in findings(changed)}


def test_the_answers_turn_where_the_numbers_do(report: Report) -> None:
    for share, verdict in ((0.95, "yes"), (0.94, "partly"), (0.9, "partly"), (0.89, "no")):
        assert _found(report, scaled_recovery=share)["Do the"].verdict == verdict
    assert _found(report, scaled_recovery=None)["Do the"].verdict == "unknown", "no way from the floor to the ceiling"
    for shift, verdict in ((0.005, "yes"), (0.004, "no")):
        assert _found(report, conditional_tvd=shift)["Do they"].verdict == verdict
    for largest, verdict in ((0.5, "yes"), (0.51, "no"), (0.0, "no")):
        assert _found(report, max_activation_rate=largest)["Are they"].verdict == verdict
    floor = report.summary["dataset_mean_cosine"]
    for low, verdict in ((floor + 0.01, "yes"), (floor - 0.01, "no")):
        assert _found(report, concept_sim_ci95=[low, 1])["Do a"].verdict == verdict


def test_the_evidence_is_the_measured_number_with_its_interval(report: Report) -> None:
    low, high = (f"{100 * limit:.1f} %" for limit in report.entry["recovery_accuracy_ci95"])
    share = f"{100 * report.entry['recovery_accuracy']:.1f} %"
    _assert_in_order(_found(report)["Do the"].evidence, share, low, high)


def test_what_was_not_measured_is_not_answered(report: Report) -> None:
    nothing = {name: None for name in report.entry if name not in ("warnings", "concepts")}
    found = _found(dataclasses.replace(report, comparison=()), **nothing)
    assert {question: finding.verdict for question, finding in found.items() if question != "Is the"} == {
        "Do the": "unknown",
        "Do they": "unknown",
        "Is it": "unknown",
        "Do other": "unknown",
        "Does another": "unknown",
    }


def test_a_classifier_that_knows_no_more_than_the_largest_class_is_called_so(report: Report) -> None:
    def found(*worth: Any) -> Finding:
        return next(findings(dataclasses.replace(report, worth=Worth(*worth))))

    lazy = found(0.58, 0.5, "class 0", 0.6, ())
    assert lazy.verdict == "no"
    _assert_in_order(lazy.evidence, "58.0 %", "class 0", "60.0 %")
    silent = found(0.48, 0.4, "class 0", 0.2, ("class 4",))
    assert silent.verdict == "partly" and "class 4" in silent.evidence
    assert found(0.6, 0.5, "class 0", 0.2, ()).verdict == "yes"
    missed = found(0.87, 0.85, "class 0", 0.7, (), ("hate", 0.208))
    assert missed.verdict == "partly" and "'hate'" in missed.answer
    _assert_in_order(missed.evidence, "87.0 %", "hate", "20.8 %")


def _of_class(
    n_texts: int, recall: float | None, precision: float | None, recall_ci95: tuple[float, float] = (0.4, 0.9)
) -> ClassScores:
    return ClassScores(n_texts, recall, None if recall is None else recall_ci95, precision, recall and 0.5)


def _scores(*by_class: ClassScores, confusion: torch.Tensor | None = None) -> ClassifierScores:
    return ClassifierScores(0.9, 0.8, 0.7, by_class, confusion, None)


def test_how_many_concepts_carry_the_most_is_counted(report: Report) -> None:
    concepts = [
        _concept(number, (0.1,), activation_rate=rate, tvd=0.5) for number, rate in enumerate((0.6, 0.32, 0.08))
    ]
    found = _found(dataclasses.replace(report, concepts=concepts))["Are they"]
    _assert_in_order(found.evidence, "2", "90 %")


def _method(name: str, share: float, *, difference: Difference | None = None, n_seeds: int = 1) -> ComparedMethod:
    estimates = {
        measure: Estimate(share, None, (share,) * n_seeds)
        for measure in ("recovery_accuracy", "scaled_recovery", "mean_activation_rate", "conditional_tvd")
    }
    differences = {"recovery_accuracy": difference} if difference else {}
    return ComparedMethod(name, name.title(), tuple(range(n_seeds)), estimates, differences, (), None)


@pytest.mark.parametrize(
    ("difference", "verdict"),
    [
        (Difference(-0.2, (-0.3, -0.1), 0.002, 0.004, 1000, True), "yes"),
        (Difference(-0.2, (-0.5, 0.1), 0.3, 0.6, 1000, False), "no"),
        (Difference(-0.3, (-0.4, -0.2), 0.1, 0.1, 19, False), "unknown"),  # so few resamplings allow no difference
        (Difference(0.1, (0.05, 0.2), 0.002, 0.004, 1000, True), "no"),
        (None, "no"),  # no interval: nothing is clear
    ],
)
def test_a_control_that_is_not_clearly_worse_raises_doubts(
    report: Report, difference: Difference | None, verdict: str
) -> None:
    control = _method("random_directions", 0.7, difference=difference)
    compared = dataclasses.replace(report, comparison=(_method("classifsae", 0.9), control))
    assert _found(compared)["Is it"].verdict == verdict
    _assert_in_order(_found(compared)["Is it"].evidence, "70.0 %", "Random_Directions")


def test_beside_another_method_a_control_is_beaten_where_their_intervals_do_not_overlap(report: Report) -> None:
    def row(name: str, low: float, high: float) -> ComparedMethod:
        method = _method(name, (low + high) / 2)
        return dataclasses.replace(
            method, estimates={**method.estimates, "recovery_accuracy": Estimate((low + high) / 2, (low, high), ())}
        )

    ica = dataclasses.replace(report, method="ica", title="ICA")
    for high, verdict in ((0.79, "yes"), (0.81, "no")):
        compared = dataclasses.replace(ica, comparison=(row("ica", 0.8, 0.9), row("random_directions", 0.6, high)))
        assert _found(compared)["Is it"].verdict == verdict
    control = dataclasses.replace(report, method="random_directions", comparison=(row("random_directions", 0.6, 0.7),))
    assert _found(control)["Is it"].verdict == "unknown", "a control is not held against itself"
    assert "classifsae,ica --compare.seeds" in _found(ica)["Do other"].command
    mine = dataclasses.replace(report, method="sae_runs-mine", title="topk SAE runs-mine + probe", comparison=())
    assert "sae_runs-mine" not in _found(mine)["Do other"].command + _found(mine)["Is it"].command


def test_a_control_that_could_not_be_measured_proves_nothing(report: Report) -> None:
    failed = _method("random_directions", 0.7)
    failed = dataclasses.replace(
        failed, estimates={**failed.estimates, "recovery_accuracy": Estimate(None, None, (None,))}
    )
    compared = dataclasses.replace(report, comparison=(_method("classifsae", 0.9), failed))
    assert _found(compared)["Is it"].verdict == "unknown"


def test_what_was_not_checked_comes_with_the_command_that_does(report: Report) -> None:
    compared = dataclasses.replace(report, seed=7, comparison=(_method("classifsae", 0.9), _method("ica", 0.8)))
    methods = "classifsae,ica,random_directions,permuted_labels"
    assert _found(compared)["Is it"].command.endswith(f"--compare.methods {methods} --compare.seeds 7")
    guest = dataclasses.replace(report, comparison=(_method("classifsae", 0.9), _method("sae_runs-mine", 0.8)))
    assert "sae_runs-mine" not in _found(guest)["Is it"].command, "a name that the command does not know"
    assert _found(compared)["Do other"].command == "sae-lens-classif compare --run RUN --compare.seeds 7,8,9"
    assert _found(report)["Do the"].command == ""


def test_several_trainings_are_told_by_their_range(report: Report) -> None:
    assert _found(report)["Do other"].verdict == "unknown", "the demo trains once"
    trained = _method("classifsae", 0.9, n_seeds=2)
    estimate = Estimate(0.85, None, (0.8, 0.9))
    trained = dataclasses.replace(trained, estimates={**trained.estimates, "recovery_accuracy": estimate})
    found = _found(dataclasses.replace(report, comparison=(trained,)))["Do other"]
    _assert_in_order(found.evidence, "2", "80.0 %", "90.0 %")
    of_one = dict.fromkeys(("recovery_accuracy", "scaled_recovery"), Estimate(None, None, (0.8, None)))
    half = dataclasses.replace(trained, estimates={**trained.estimates, **of_one})
    found = _found(dataclasses.replace(report, comparison=(half,)))["Do other"]
    assert found.verdict == "no"
    _assert_in_order(found.evidence, "80.0 %", "80.0 %", "1")


def test_trainings_that_gave_no_number_are_not_called_failed(report: Report) -> None:
    nothing = _method("classifsae", 0.9, n_seeds=2)
    estimates = {**nothing.estimates, "scaled_recovery": Estimate(None, None, (None, None))}
    for found in (dataclasses.replace(nothing, estimates=estimates), dataclasses.replace(nothing, estimates={})):
        assert _found(dataclasses.replace(report, comparison=(found,)))["Do other"].verdict == "unknown"


def test_the_class_that_is_said_with_no_concept_needs_none(report: Report) -> None:
    said = _of_class(1, 1.0, 1.0)
    made = dataclasses.replace(
        report, class_names=("a", "b"), scores=_scores(said, said), concepts=(_concept(0, (0.3, -0.3), 100),)
    )
    for share, unraised in ((0.95, []), (0.5, [1])):
        default = DefaultClass(1, share, (0.4, 0.6))
        assert unraised_classes(dataclasses.replace(made, default_class=default)) == unraised


def test_a_class_relies_on_the_concept_that_adds_most_over_all_texts(report: Report) -> None:
    n_texts = report.summary["n_test_texts"]
    frequent, strong = _concept(0, (0.3, -0.3), n_texts), _concept(1, (0.9, -0.9), n_texts // 10)
    weak = _concept(2, (0.0, 0.009), n_texts)
    said, never = _of_class(1, 1.0, 1.0), _of_class(1, 1.0, None)
    made = dataclasses.replace(
        report, class_names=("a", "b"), scores=_scores(said, said), concepts=(strong, frequent, weak)
    )
    found = reliances(made)
    assert [(reliance.class_number, reliance.concept.index) for reliance in found] == [(0, 0)]
    assert found[0].adds == pytest.approx(0.3)
    assert reliances(dataclasses.replace(made, scores=_scores(never, said))) == (), "a class that is never decided"


def test_the_telling_mistake_is_one_that_a_concept_alone_explains_and_a_short_one(report: Report) -> None:
    texts = {0: ShownText("short", 0, 1), 1: ShownText("long " * 100, 0, 1), 2: ShownText("short too", 0, 1)}

    def chosen(*righted: bool) -> int:
        shown = tuple(MisledText(row, 0, 0.11, row / 10, is_righted) for row, is_righted in enumerate(righted))
        found = telling_mistake(dataclasses.replace(report, texts=texts, mistakes=Mistakes(3, 3, 2, shown)))
        assert found is not None
        return found.row

    assert chosen(False, True, True) == 2
    assert chosen(False, True, False) == 1
    assert chosen(False, False, False) == 0
    assert telling_mistake(dataclasses.replace(report, mistakes=Mistakes(0, 0, 0, ()))) is None
    weak = Mistakes(1, 1, 0, (MisledText(0, 0, 0.09, -0.09, False),))
    assert telling_mistake(dataclasses.replace(report, mistakes=weak)) is None, "it tells next to nothing"


# --- the page ---


@pytest.fixture(scope="module")
def page(report: Report) -> ParsedPage:
    return ParsedPage(report_page(report))


def test_the_page_leads_to_a_true_sentence_and_to_a_mistake_with_the_concept_behind_it(
    report: Report,
) -> None:
    words = _words(report_page(report), "glance")
    relied = reliances(report)[0]
    name, effect = report.class_names[relied.class_number], relied.concept.effects[relied.class_number]
    _assert_in_order(words, name, f"concept {relied.concept.index}", f"{100 * effect:.1f} points")
    example = telling_mistake(report)
    assert example is not None
    text = report.texts[example.row]
    gold, predicted = report.class_names[text.gold], report.class_names[text.predicted]
    told = words[words.index(" ".join(text.text.split())[-100:]) :]
    _assert_in_order(told, gold, predicted, f"concept {example.concept}")


def test_every_concept_has_a_card_with_its_texts_and_every_link_leads_somewhere(
    page: ParsedPage, report: Report
) -> None:
    ids = page.values("id")
    assert {f"concept-{concept.index}" for concept in report.concepts} <= set(ids)
    ours = [name for name in ids if not re.match(r"[a-zA-Z]+_\d|p[0-9a-f]|m[0-9a-f]|DejaVu|Noto", name)]
    assert len(ours) == len(set(ours))
    links = [value for value in page.values("href") + page.values("xlink:href") if not value.startswith("data:")]
    assert len(links) > 20 and {link[1:] for link in links} <= set(ids)
    assert page.values("data-card").count("concept") == len(report.concepts)
    n_listed = sum(len(concept.top_texts) for concept in report.concepts) + len(report.mistakes.shown)
    n_listed += sum(len(concept.wrong_texts) for concept in report.concepts if concept.is_more_on_wrong)
    assert len(page.values("data-text")) == n_listed


def test_no_line_of_a_template_is_long() -> None:
    for path in Path(templates.__file__).parent.glob("*.html"):
        assert [line for line in path.read_text(encoding="utf-8").splitlines() if len(line) > 150] == [], path.name


def test_a_text_is_explained_once_and_led_to_from_elsewhere(page: ParsedPage, report: Report) -> None:
    explained = [f"why-{row}" for row, text in report.texts.items() if text.explanation is not None]
    assert sorted(name for name in page.values("id") if name.startswith("why-")) == sorted(explained)


_FILES = ("data:text/csv;charset=utf-8;base64,", "data:application/json;charset=utf-8;base64,")


def test_the_page_asks_no_other_machine_and_runs_no_script_but_its_own(page: ParsedPage) -> None:
    loaded = [value for name in ("src", "href", "xlink:href", "srcset", "action") for value in page.values(name)]
    assert [value for value in loaded if not value.startswith(("#", "data:image/png;base64,", *_FILES))] == []
    assert page.tags.count("script") == 2 and page.values("type").count("application/json") == 1, "data, not run"
    assert "link" not in page.tags and "img" not in page.tags
    assert not any(name.startswith("on") for _, name, _ in page.attributes)
    (policy,) = [value for value in page.values("content") if value.startswith("default-src")]
    assert re.fullmatch(
        r"default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'unsafe-inline'; img-src data:; "
        r"script-src 'sha256-[\w+/=]{44}'",
        policy,
    )


def test_each_number_stands_where_it_belongs(report: Report) -> None:
    first = _concept(
        3, (0.31, -0.32, 0.03), n_texts=33, weights={"erstes": 1.0, "zweites": 0.25}, activation_rate=0.341, tvd=0.342,
        flips=0.343, concept_sim=0.344, is_more_on_wrong=True, rate_on_wrong=0.4, rate_on_right=0.35, top_texts=(0,),
        wrong_texts=(1,), histogram=(20, 9, 4), largest=2.34, by_strength=(0.11, 0.21, 0.31, 0.41),
        slopes=(0.512, -0.612, 0.012), nearest=((5, 0.876),), same_words=(5,),
    )  # fmt: skip
    second = _concept(
        5, (0.51, 0.0, 0.0), n_texts=1, weights={"anderes": 1.0}, class_number=1, rate_on_wrong=0.1, rate_on_right=0.2
    )
    texts = {0: ShownText("text of the concept", 0, 0), 1: ShownText("wrong text", 0, 1)}
    made = dataclasses.replace(
        report,
        class_names=("Ah", "Be", "Ce"),
        scores=dataclasses.replace(
            _scores(_of_class(7, 0.61, 0.62), _of_class(0, None, 0.5), _of_class(9, 1, None)),
            confusion=torch.tensor([[2, 5, 0], [0, 0, 0], [0, 0, 9]]), accuracy=0.911,
            balanced_accuracy=0.811, macro_f1=0.711,
            calibration=Calibration((SurenessBin(16, 0.655, 0.755, (0.505, 0.905)),), 0.656, 0.107),
        ),
        slices={
            LENGTH: (
                Slice("1 to 9 words", 40, 4, 0.901, (0.771, 0.961), True),
                Slice("10 words", 60, 6, 0.902, (0.8, 0.96), False),
            )
        },
        words={},
        concepts=(first, second),
        default_class=DefaultClass(2, 0.91, (0.33, 0.31, 0.36)),
        texts=texts,
        mistakes=Mistakes(10, 8, 6, (MisledText(1, 3, 0.61, -0.62, True),)),
        comparison=(),
        summary={**report.summary, "n_test_texts": 100, "dataset_mean_cosine": 0.01},
        entry={
            "original_accuracy": 0.91, "recovery_accuracy": 0.92, "conditional_label_flip_rate": 0.93,
            "bottleneck_accuracy": 0.94, "conditional_tvd": 0.95, "max_activation_rate": 0.46,
            "mean_activation_rate": 0.17, "recovery_floor": 0.18, "recovery_ceiling": 0.97, "scaled_recovery": 0.9367,
            "unexplained_texts": 0.021, "worst_class_recovery": 0.71, "scaled_recovery_other_context": 0.555,
            "scaled_recovery_random_directions": 0.111, "conditional_tvd_random_directions": 0.022,
            "warnings": [], "concepts": [], "context": "alone",
        },
    )  # fmt: skip
    html = report_page(made)
    _assert_in_order(
        _words(html, "glance"),
        "92.0 %", "18.0 %", "95.0 %",
        "Ah", "concept 3", "erstes, zweites", "34.1 %", "31.0 points", "34.3 %",
        "Ah", "7", "61.0 %", "text of the concept", "Ah", "concept 3",
        "wrong text", "Be", "Ah", "concept 3",
    )  # fmt: skip
    scores = (
        "Ah", "7", "61.0 %", "40.0", "90.0", "62.0 %", "50.0 %", "Be", "71.4 %",
        "Be", "0", "–", "50.0 %", "–", "Ce", "9", "100.0 %", "–", "–",
        "Accuracy", "91.1 %", "balanced accuracy", "81.1 %", "macro F1", "71.1 %",
        "What is taken for what", "Ah", "2", "5", "0", "Be", "0", "0", "0", "Ce", "0", "0", "9",
        "65.6 %", "91.1 %", "10.7", "65.5 %", "16", "75.5 %", "50.5", "90.5",
        "By the length of the text", "1 to 9 words", "40", "90.1 %", "77.1", "96.1", "10 words", "60", "90.2 %",
    )  # fmt: skip
    _assert_in_order(_words(html, "classifier"), *scores)
    _assert_in_order(
        _words(html, "trust"),
        "92.0 %", "18.0 %", "97.0 %", "93.7 %", "94.0 %", "91.0 %", "2.1 %", "71.0 %",
        "earlier tokens kept", "55.5 %", "Random directions", "11.1 %", "95.0 %", "93.0 %", "2.2 %", "17.0 %",
        str(report.n_concepts), "46.0 %", "Ce", "91.0 %", "36.0 %", "Ah", "33.0 %", "Be",
    )  # fmt: skip
    concepts = html[html.index('id="concepts"') : html.index('id="mistakes"')]
    cards = [
        " ".join(ParsedPage(card).words.split()) for card in re.findall("<article.*?</article>", concepts, re.DOTALL)
    ]
    _assert_in_order(
        cards[0],
        "Concept 3", "erstes, zweites", "34.1 %", "34.2 %", "34.3 %", "0.010", "0.344",
        "Half of its key words", "5", "Nearest in direction", "5", "0.88",
        "Be", "-32.0 points", "Ah", "+31.0 points", "Ce", "+3.0 points",
        "up to 2.34", "+11.0 points", "+21.0 points", "+31.0 points", "+41.0 points",
        "Be", "-0.612", "Ah", "+0.512", "Ce", "+0.012", "text of the concept",
    )  # fmt: skip
    assert 'aria-label="Texts by activation, least first: 20, 9, 4"' in concepts
    assert "90.1 %*" in _words(html, "classifier") and "90.2 %*" not in _words(html, "classifier")
    _assert_in_order(cards[1], "Concept 5", "anderes", "Ah", "+51.0 points")
    mistakes = _words(html, "mistakes")
    _assert_in_order(
        mistakes, "10", "100", "6", "concept 3", "erstes, zweites", "40.0 %", "35.0 %", "1", "4", "wrong text",
        "concept 3", "Ah", "+61.0 points", "Be", "-62.0 points",
    )  # fmt: skip
    assert "concept 5" not in mistakes, "it fires more often on right decisions"
    wrong_without = dataclasses.replace(made.mistakes, shown=(MisledText(1, 3, 0.61, -0.62, False),))
    other = report_page(dataclasses.replace(made, mistakes=wrong_without))
    assert all(_words(other, section) != _words(html, section) for section in ("glance", "mistakes")), "righted or not"


def test_a_concept_has_its_own_numbers_and_words(report: Report, run: RunFolder) -> None:
    folder = run.evaluations("classifsae")
    causal = read_json(folder / "causality.json")["eval_result_details"][0]["concepts"]
    likeness = read_json(folder / "interpretability.json")["eval_result_details"][0]
    store = ActivationStore(run.activations("test"))
    activations = ClassifSAEConcepts(ClassifSAE.load_from_disk(run.sae)).encode(store.read("hidden").float())
    is_wrong = store.read("predicted") != store.read("label")
    for concept in report.concepts:
        assert (concept.tvd, concept.flips) == (causal[concept.index]["tvd"], causal[concept.index]["label_flip_rate"])
        assert concept.concept_sim == likeness["concept_sim"][concept.index]
        assert dict(concept.weights) == likeness["key_words"][concept.index]
        fires = activations[:, concept.index] > 1e-6
        assert concept.activation_rate == pytest.approx(float(fires.float().mean()))
        assert concept.rate_on_wrong == pytest.approx(float(fires[is_wrong].float().mean()))
        assert concept.rate_on_right == pytest.approx(float(fires[~is_wrong].float().mean()))
        assert all(fires[row] and is_wrong[row] for row in concept.wrong_texts)
        assert len(concept.wrong_texts) == min(5, int((fires & is_wrong).sum()))


def test_the_fingerprint_is_that_of_the_weights(report: Report, run: RunFolder) -> None:
    weights = (run.sae / "sae_weights.safetensors").read_bytes()
    assert report.fingerprints["weights of the SAE, SHA-256"] == hashlib.sha256(weights).hexdigest()


@pytest.mark.parametrize("text", ["字" * 900, "short " + "x" * 700])
def test_a_text_of_one_long_word_is_cut_and_not_left_out(report: Report, text: str) -> None:
    row, found = next((row, shown.explanation) for row, shown in report.texts.items() if shown.explanation is not None)
    concept = dataclasses.replace(found.concepts[0], words=(1.0,) * len(text.split()))
    explained = dataclasses.replace(found, text=text, words=tuple(text.split()), concepts=(concept,))
    card = dataclasses.replace(report.by_index[concept.index], top_texts=(row,), wrong_texts=())
    texts = {row: dataclasses.replace(report.texts[row], text=text, explanation=explained)}
    alone = dataclasses.replace(report, concepts=(card,), texts=texts, mistakes=Mistakes(0, 0, 0, ()))
    assert f"… {text[-600:]}" in ParsedPage(report_page(alone)).words


@pytest.mark.parametrize(("side", "shown"), [("beginning", "… zwei zwei"), ("end", "eins eins")])
def test_of_a_long_text_the_part_is_shown_that_the_prompt_keeps(report: Report, side: str, shown: str) -> None:
    row = report.concepts[0].top_texts[0]
    texts = {**report.texts, row: ShownText("eins " * 200 + "zwei " * 200, 0, 0)}
    summary = {**report.summary, "prompt": {**report.summary["prompt"], "cut": side}}
    words = ParsedPage(report_page(dataclasses.replace(report, texts=texts, summary=summary))).words
    assert shown in words and ("eins" in words) == (side == "end")


def test_the_words_of_a_long_text_are_shaded_where_it_is_shown(report: Report) -> None:
    row, explained = next(
        (concept.top_texts[0], found)
        for concept in report.concepts
        if concept.top_texts
        and (found := report.texts[concept.top_texts[0]].explanation) is not None
        and found.concepts
    )
    strongest = explained.concepts[0]
    words = tuple(f"word{number}" for number in range(300))
    shares = tuple(1.0 if number in (0, 299) else 0.0 for number in range(300))
    concept = dataclasses.replace(strongest, words=shares)
    long = dataclasses.replace(explained, text=" ".join(words), words=words, concepts=(concept,))
    texts = {row: dataclasses.replace(report.texts[row], text=long.text, explanation=long)}
    card = dataclasses.replace(report.by_index[concept.index], top_texts=(row,), wrong_texts=())
    alone = dataclasses.replace(report, concepts=(card,), texts=texts, mistakes=Mistakes(0, 0, 0, ()))
    (shown,) = re.findall(r'<p class="slc-text" dir="auto">(.*?)</p>\n<div class="tag">', report_page(alone), re.DOTALL)
    assert shown.startswith("…") and ">word299</span>" in shown and "word0<" not in shown
    assert 500 < len(re.sub("<.*?>", "", shown)) < 650


def test_no_sentence_says_what_nobody_understands(page: ParsedPage, report: Report) -> None:
    words = " ".join(page.words.split())
    told = words[: words.index("Methods side by side")]
    for phrase in ("of the decisions change", "mean over concepts", "by an active concept", "a concept that is active"):
        assert phrase not in told


def test_the_demo_answers_whether_it_is_more_than_chance(report: Report) -> None:
    assert _found(report)["Is it"].verdict in ("yes", "no")


def test_the_page_says_itself_that_it_holds_test_texts(report: Report) -> None:
    assert "This page holds some of the test texts." in _words_of_first_page(report)
    noted = dataclasses.replace(report, note="Rude words")
    assert "This page holds some of the test texts. Rude words" in _words_of_first_page(noted)


def _words_of_first_page(report: Report) -> str:
    words = " ".join(ParsedPage(report_page(report)).words.split())
    return words[: words.index("Can the concepts be trusted?")]


def test_a_concept_is_more_on_wrong_decisions_only_beyond_chance() -> None:
    # Of 20 wrong and 100 right decisions: all against none; 3 against 8; as often; less often.
    effects = SimpleNamespace(
        rate_on_wrong=torch.tensor([1.0, 0.15, 0.1, 0.0]), rate_on_right=torch.tensor([0.0, 0.08, 0.1, 0.9])
    )
    assert _more_on_wrong(effects, [0, 1, 2, 3], 20, 120) == {0}  # type: ignore[arg-type]
    assert _more_on_wrong(effects, [1, 2, 3], 20, 120) == set()  # type: ignore[arg-type]
    # By itself p is 0.04; as one of three questions it says nothing (Holm).
    weak = SimpleNamespace(rate_on_wrong=torch.tensor([0.25, 0.1, 0.1]), rate_on_right=torch.tensor([0.08, 0.09, 0.09]))
    assert _more_on_wrong(weak, [0], 20, 120) == {0}  # type: ignore[arg-type]
    assert _more_on_wrong(weak, [0, 1, 2], 20, 120) == set()  # type: ignore[arg-type]


def test_concepts_have_the_same_words_where_they_share_half_of_all() -> None:
    def entry(index: int, words: str) -> dict[str, Any]:
        return {"index": index, "key_words": words.split()}

    concepts = [entry(0, "a b c"), entry(1, "a b d"), entry(2, "a e f"), entry(3, ""), entry(4, "c b a")]
    assert _same_words(concepts[0], concepts) == (1, 4), "2 of 4, 1 of 5, none, all"
    assert _same_words(concepts[3], concepts) == ()


def test_settings_are_shown_without_the_folders_of_the_machine() -> None:
    cfg = RunConfig(
        data=DataConfig(source="/home/somebody/texts"),
        classifier=ClassifierConfig(model="../models/mine"),
        prompt=PromptConfig(template="/classify {text}"),
        compare=CompareConfig(
            methods=("classifsae", "sae:/secret/place/sae", "sae:owner/repo:layer"),
            settings={"mine": {"lexicon": "/secret/place/words", "whiten": True}},
        ),
    )
    shown = yaml.safe_load(shown_settings(cfg))
    assert (shown["data"]["source"], shown["classifier"]["model"]) == ("…/texts", "…/mine")
    assert shown["compare"]["methods"] == ["classifsae", "sae:…/sae", "sae:owner/repo:layer"]
    assert shown["compare"]["settings"] == {"mine": {"lexicon": "…/words", "whiten": True}}
    assert shown["prompt"]["template"] == "/classify {text}" and "evals" not in shown["evaluate"]
    assert shown["data"]["train"] == "train" and shown["train"]["lr"] == 5e-5


def test_texts_and_class_names_stay_text(strange: Path) -> None:
    write_report(strange)
    html = (strange / "report.html").read_text(encoding="utf-8")
    parsed = ParsedPage(html)
    assert parsed.tags.count("script") == 2 and "img" not in parsed.tags and "b" not in parsed.tags
    words = " ".join(parsed.words.split())
    assert [text for text in STRANGE[:4] if text not in words] == [], "class names and texts"
    longest = max(re.findall(r"(?:endless ?)+", words), key=len)
    assert 400 < len(longest) <= 600, "a text without an end is cut, where it is explained too"


def test_the_same_run_gives_the_same_bytes(strange: Path, tmp_path: Path) -> None:
    first, second = (write_report(strange, tmp_path / name).read_bytes() for name in ("a.html", "deep/down/b.html"))
    assert first == second and first.startswith(b"<!DOCTYPE html>")


def test_the_page_names_no_folder_of_the_machine(strange: Path) -> None:
    html = write_report(strange).read_text(encoding="utf-8")
    assert str(strange.parent) not in html and str(Path.home()) + "/" not in html
    assert "…/texts" in html, "what is left of the texts' folder"


@pytest.mark.parametrize("explained", [0, 3])
def test_fewer_texts_can_be_explained(strange: Path, tmp_path: Path, explained: int) -> None:
    ended = cli("report", strange, "--out", tmp_path / "page.html", "--explained", explained)
    assert ended.code == 0, ended.stderr
    assert str(tmp_path / "page.html") in ended.stdout and "texts" in ended.stdout
    assert (tmp_path / "page.html").read_text(encoding="utf-8").count('<details class="why"') == explained


# --- runs that are not as they should be ---


@pytest.fixture
def copy(strange: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(strange, tmp_path / "copy"))


def test_a_run_that_is_not_finished_is_refused(copy: Path, tmp_path: Path) -> None:
    assert_refused_at_once(cli("report", tmp_path), str(tmp_path), "config.yaml")
    (copy / "report.html").unlink(missing_ok=True)
    (copy / "summary.json").unlink()
    assert_refused_at_once(cli("report", copy), "classifsae", "`evaluate`")
    (copy / "saes" / "classifsae" / "runner_cfg.json").unlink()
    assert_refused_at_once(cli("report", copy), str(copy), "`train`")
    assert not (copy / "report.html").exists()


def test_texts_or_a_model_other_than_those_that_were_measured_are_refused(copy: Path) -> None:
    texts = copy.parent / "texts"
    shutil.copytree(Path(yaml.safe_load((copy / "config.yaml").read_text())["data"]["source"]), texts)
    change_settings(copy, yaml.safe_load((copy / "config.yaml").read_text())["data"]["source"], str(texts))
    write_report(copy, explained=0)
    lines = (texts / "test.csv").read_text(encoding="utf-8").splitlines()
    (texts / "test.csv").write_text("\n".join([*lines[:-1], "another text,0"]), encoding="utf-8")
    ended = cli("report", copy)
    assert ended.code == 2 and "other texts" in ended.stderr
    (texts / "test.csv").write_text("\n".join(lines), encoding="utf-8")
    weights = load_file(copy / "classifier" / "model.safetensors")
    name = next(name for name in weights if "embed_out" in name or "lm_head" in name)
    save_file({**weights, name: -weights[name]}, copy / "classifier" / "model.safetensors", {"format": "pt"})
    ended = cli("report", copy)
    assert ended.code == 2 and "model.safetensors was altered" in ended.stderr
    sign(copy / "classifier", "runner_cfg.json")
    ended = cli("report", copy)
    assert ended.code == 2 and "another model" in ended.stderr


def test_a_comparison_with_other_settings_is_not_shown(run: RunFolder, report: Report, tmp_path: Path) -> None:
    assert [method.name for method in report.comparison] == ["classifsae", "topk_sae", "ica", "random_directions"]
    assert read_comparison(run, "classifsae", 0, "of another SAE") == ()


def _changed_comparison(run: RunFolder, folder: Path, change: Callable[[dict[str, Any]], object]) -> RunFolder:
    content = read_json(run.folder / "comparison.json")
    change(content["methods"]["classifsae"])
    (folder / "comparison.json").write_text(json.dumps(content), encoding="utf-8")
    return RunFolder(folder, run.cfg)


def test_a_comparison_that_does_not_say_what_it_is_of_is_left_out_with_a_word(
    run: RunFolder, report: Report, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old = _changed_comparison(run, tmp_path, lambda own: own.pop("settings_sha256"))  # as the first versions wrote it
    assert read_comparison(old, "classifsae", 0, report.entry["settings_sha256"]) == ()
    assert "comparison.json" in caplog.text and "`compare`" in caplog.text


def test_a_comparison_of_another_version_is_refused_in_words(run: RunFolder, report: Report, tmp_path: Path) -> None:
    other = _changed_comparison(run, tmp_path, lambda own: own.pop("estimates"))
    with pytest.raises(UserError, match=r"comparison\.json is not .*classifsae\.estimates.*`compare` again"):
        read_comparison(other, "classifsae", 0, report.entry["settings_sha256"])


def test_a_summary_of_another_version_is_refused_in_words(copy: Path) -> None:
    content = read_json(copy / "summary.json")
    (copy / "summary.json").write_text(json.dumps({**content, "methods": [content["methods"]]}), encoding="utf-8")
    assert_refused_at_once(cli("report", copy), "summary.json", "methods", "`evaluate` again")


def test_an_evaluation_of_another_sae_is_refused(copy: Path) -> None:
    change_sae(copy, lambda sae: sae.b_enc.add_(0.1))
    assert_refused_at_once(cli("report", copy), str(copy / "summary.json"), "`evaluate`")


def test_whatever_the_page_warns_of_the_command_line_says_too(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    change_sae(copy, lambda sae: sae.b_enc[:2].fill_(-1e6))
    measured = cli("evaluate", "--run", copy)
    assert measured.code == 0, measured.stderr
    made = gather_report(RunFolder.open(copy), Choices(0))
    trained = _method("classifsae", 0.9, n_seeds=2)
    lost = Estimate(None, None, (0.8, None))
    trained = dataclasses.replace(trained, estimates={**trained.estimates, "scaled_recovery": lost})
    worse = Slice("1 to 9 words", 40, 30, 0.2, (0.1, 0.3), True)
    made = dataclasses.replace(
        made,
        comparison=(trained,),
        slices={LENGTH: (worse, dataclasses.replace(worse, name="10 words", differs=False))},
        scores=dataclasses.replace(made.scores, accuracy=0.7),
    )
    monkeypatch.setattr("sae_lens_classif.report.page.gather_report", lambda *_: made)
    reported = cli("report", copy, "--out", tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    failed = re.findall(
        r'class="(?:warning|verdict no)">(?:<strong>Warning:</strong> )?(.*?)</(?:p|span)>', html, re.DOTALL
    )
    said = [" ".join(html_unescape(one).split()) for one in failed]
    assert len(said) >= 2 and any("not every training recovers" in one for one in said)
    assert reported.code == 0, reported.stderr
    told = " ".join(f"{measured.stdout} {caplog.text}".split())  # the command line shows its log
    assert [one for one in said if one.rstrip(".") not in told] == []
    assert "It errs more often on texts of 1 to 9 words: 20.0 % of 40 are decided rightly, of all 70.0 %." in told


def test_a_place_that_cannot_be_is_refused_before_any_work(copy: Path, tmp_path: Path) -> None:
    assert_refused_at_once(cli("report", copy, "--out", tmp_path), str(tmp_path), "folder")
    (tmp_path / "file").write_text("")
    assert_refused_at_once(cli("report", copy, "--out", tmp_path / "file" / "page.html"), str(tmp_path / "file"))
    assert_refused_at_once(cli("report", copy, "--explained", -1), "explained", "-1")
    assert_refused_at_once(cli("report", copy, "--explained", "many"), "explained")


def test_a_new_evaluation_takes_the_report_of_the_old_one_along(copy: Path) -> None:
    write_report(copy, explained=0)
    assert cli("evaluate", "--run", copy, "--evaluate.evals", "[completeness,causality]").code == 0
    assert (copy / "report.html").exists(), "nothing was measured anew"
    assert cli("evaluate", "--run", copy, "--evaluate.seed", 3).code == 0
    assert not (copy / "report.html").exists()


def test_what_is_made_anew_takes_its_report_along(copy: Path) -> None:
    write_report(copy)
    ended = cli("train", "--run", copy, "--train.seed", 7, "--overwrite")
    assert ended.code == 0, ended.stderr
    assert not (copy / "report.html").exists()


def test_concepts_that_are_never_active_are_reported_as_such(copy: Path) -> None:
    change_sae(copy, lambda sae: sae.b_enc[:5].fill_(-1e6))
    assert cli("evaluate", "--run", copy).code == 0
    html = write_report(copy).read_text(encoding="utf-8")
    assert 'class="warning"' in html and "data-card" not in re.sub("<script>.*</script>", "", html, flags=re.DOTALL)
    _assert_in_order(_words(html, "trust"), "0.0 %", "5", "0.0 %", "5", "5")


def test_numbers_that_are_none_are_reported_as_such(copy: Path) -> None:
    change_sae(copy, lambda sae: sae.W_enc.mul_(3e38))
    assert cli("evaluate", "--run", copy).code == 0
    parsed = ParsedPage(write_report(copy).read_text(encoding="utf-8"))
    assert "warning" in parsed.values("class") and "data-card" not in [name for _, name, _ in parsed.attributes]
    assert "map" not in parsed.values("class") and "nan" not in parsed.words.lower().replace("not all finite (nan", "")


def test_in_context_the_earlier_words_are_kept(copy: Path) -> None:
    assert cli("evaluate", "--run", copy, "--evaluate.context", "in_context").code == 0
    made = gather_report(RunFolder.open(copy), Choices(explained=0))
    assert made.entry["context"] == "in_context" and made.default_class is None, "the earlier words speak too"
    alone = dataclasses.replace(made, entry={**made.entry, "context": "alone"})
    assert len(_words(report_page(made), "trust")) < len(_words(report_page(alone), "trust")), "a limit of `alone`"
