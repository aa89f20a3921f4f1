"""``stability`` end to end: its numbers against matrices and an assignment of the test's own, and what it keeps."""

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
import yaml
from scipy.optimize import linear_sum_assignment

import sae_lens_classif as slc
from sae_lens_classif import ActivationStore, ClassifSAE, TextData, UserError, load_method, stability, write_report
from sae_lens_classif.audit.stable_concepts import Stability, read_stability
from sae_lens_classif.checksums import read_json, write_json
from sae_lens_classif.evals.coming_back import ComesBack, Shares
from sae_lens_classif.evals.interpretability import jenks_break
from sae_lens_classif.methods.classif_sae import ClassifSAEConcepts
from sae_lens_classif.methods.ica import ICAConcepts
from sae_lens_classif.report.build import Choices, gather_report
from sae_lens_classif.report.findings import Finding, findings
from sae_lens_classif.runs.folder import RunFolder
from tests.conftest import MakeOnce
from tests.html_page import ParsedPage
from tests.tiny_run import Ended, assert_refused_at_once, change_sae, cli, make_tiny, snapshot, take_over

SCHEMA = Path(__file__).parents[2] / "docs" / "schemas" / "stability.json"


def command(run: Path, *options: object) -> Ended:
    return cli("stability", run, *options)


def result_of(run: Path, name: str = "stability.json") -> Any:
    return read_json(run / name)


@pytest.fixture(scope="module")
def made(make_once: MakeOnce, classifier_folder: Path, train_data: TextData, test_data: TextData) -> Path:
    """A run with its concepts in two other trainings; copy it before you change it."""

    def make(folder: Path) -> None:
        tiny = make_tiny(folder / "tiny", classifier_folder, train_data, test_data)
        tiny.command("run", "run")
        tiny.command("compare", "run", "--compare.methods", "classifsae,ica")
        assert command(tiny.run("run"), "--seeds", 3).code == 0
        # So short a training finds little again: one of the others gets concepts of the run's own.
        sae = sae_of(tiny.run("run"), 1)
        take_over(sae, sae_of(tiny.run("run"), 0))
        put_in_place(sae, tiny.run("run") / "methods" / "classifsae" / "seed-1")
        ended = command(tiny.run("run"), "--seeds", 3)
        assert ended.code == 0, ended.stderr
        (folder / "stdout.txt").write_text(ended.stdout, encoding="utf-8")

    return make_once("stability", make) / "tiny" / "run"


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "run"))


def concepts_of(sae: ClassifSAE, run: Path) -> tuple[np.ndarray, np.ndarray]:
    """Directions of norm 1, and the activating texts as rows of 0 and 1."""
    hidden = ActivationStore(run / "activations" / "test").read("hidden").float()
    n_concepts = sae.cfg.n_concepts
    with torch.no_grad():
        activations = sae.encode(hidden)[:, :n_concepts]
    limits = [jenks_break(column) for column in activations.T]
    texts = [
        (column > (np.inf if limit is None else limit)).numpy()
        for column, limit in zip(activations.T, limits, strict=True)
    ]
    directions = sae.W_dec[:n_concepts].detach().double().numpy()
    return directions / np.linalg.norm(directions, axis=1, keepdims=True), np.array(texts)


def matched(
    own: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray], texts_alone: bool = False
) -> dict[int, tuple[int, float, float]]:
    """For each concept that comes back its match, the cosine and the Jaccard."""
    cosine = own[0] @ other[0].T
    overlap = np.array([[(a & b).sum() / max(1, (a | b).sum()) for b in other[1]] for a in own[1]])
    score = np.where((cosine >= 0.7) & (overlap >= 0.5), cosine + overlap, 0)
    score = np.where(overlap >= 0.5, overlap, 0) if texts_alone else score
    rows, columns = linear_sum_assignment(-score)
    return {
        int(i): (int(j), float(cosine[i, j]), float(overlap[i, j]))
        for i, j in zip(rows, columns, strict=True)
        if score[i, j]
    }


def sae_of(run: Path, seed: int) -> ClassifSAE:
    folder = (
        run / "saes" / "classifsae" if seed == 0 else run / "methods" / "classifsae" / f"seed-{seed}" / "classif_sae"
    )
    return ClassifSAE.load_from_disk(folder)


def put_in_place(sae: ClassifSAE, folder: Path) -> None:
    """Save an SAE as what was fitted into a folder."""
    note = (folder / "fit.json").read_bytes()
    ClassifSAEConcepts(sae).save(folder)
    (folder / "fit.json").write_bytes(note)


# --- the numbers ---


def test_every_number_is_that_of_the_two_trainings(made: Path) -> None:
    result = result_of(made)
    own, *others = (concepts_of(sae_of(made, seed), made) for seed in (0, 1, 2))
    expected = [matched(own, other) for other in others]
    on_texts = [matched(own, other, texts_alone=True) for other in others]
    assert result["other_seeds"] == [1, 2] and result["matched_by"] == "both"
    influence = {
        concept["index"]: concept["influence"]
        for concept in read_json(made / "summary.json")["methods"]["classifsae"]["concepts"]
    }
    assert [concept["index"] for concept in result["concepts"]] == list(influence)
    times = {}
    for concept in result["concepts"]:
        index = concept["index"]
        assert [meeting["comes_back"] for meeting in concept["meetings"]] == [index in found for found in expected]
        times[index] = sum(index in found for found in expected)
        assert concept["comes_back"] == times[index] / 2
        assert concept["same_texts"] == sum(index in found for found in on_texts) / 2
        for meeting, found in zip(concept["meetings"], expected, strict=True):
            if index in found:
                numbers = (meeting["concept"], meeting["cosine"], meeting["jaccard"])
                assert numbers == pytest.approx(found[index], abs=1e-5)
    assert 0 < sum(times.values()) < 2 * len(times), "some must come back, and some must not"
    measured, total = result["shares"]["both"]["measured"], sum(influence.values())
    assert measured["mean"] == pytest.approx(sum(times.values()) / 2 / len(times))
    assert measured["mean_by_influence"] == pytest.approx(
        sum(influence[index] * count / 2 for index, count in times.items()) / total, abs=1e-5
    )
    assert measured["every"] == pytest.approx(sum(count == 2 for count in times.values()) / len(times))
    assert measured["every_by_influence"] == pytest.approx(
        sum(influence[index] for index, count in times.items() if count == 2) / total, abs=1e-5
    )


def test_all_pairs_of_trainings_are_held_against_each_other(made: Path) -> None:
    sets = {seed: concepts_of(sae_of(made, seed), made) for seed in (0, 1, 2)}
    for pair in result_of(made)["pairs"]:
        one, other = (sets[seed] for seed in pair["seeds"])
        assert pair["n_shared"] == len(matched(one, other)) == len(matched(other, one))
        assert pair["n_concepts"] == [int(texts.any(axis=1).sum()) for _, texts in (one, other)]
    assert [pair["seeds"] for pair in result_of(made)["pairs"]] == [[0, 1], [0, 2], [1, 2]]


def test_what_is_measured_lies_between_floor_and_ceiling(made: Path) -> None:
    shares = result_of(made)["shares"]
    assert list(shares) == ["both", "direction", "texts"]
    for of in shares.values():
        for name, value in of["measured"].items():
            assert of["floor"][name] <= value <= of["ceiling"][name]
    both = shares["both"]["measured"]["mean"]
    assert both <= min(shares["direction"]["measured"]["mean"], shares["texts"]["measured"]["mean"])


def test_the_file_is_as_its_schema_says(made: Path) -> None:
    jsonschema.Draft202012Validator(read_json(SCHEMA)).validate(result_of(made))


def test_the_terminal_names_every_concept_with_how_often_it_comes_back(made: Path) -> None:
    printed = " ".join((made.parents[1] / "stdout.txt").read_text(encoding="utf-8").split())
    result = Stability.model_validate(result_of(made))
    assert printed.count(" of 2 ") >= 2 * len(result.concepts)
    best = result.concepts[0]
    assert best.class_name in printed and best.called.split()[0] in printed
    for words in ("measured", "floor", "ceiling", "in every other training", "by texts alone"):
        assert words in printed


def test_concepts_have_the_names_that_were_given_else_phrases(run: Path) -> None:
    first, second, *_ = result_of(run)["concepts"]
    assert [concept["name"] for concept in (first, second)] == [
        slc.open_run(run).concepts[concept["index"]].name for concept in (first, second)
    ]
    slc.open_run(run).name(first["index"], "farm [b]yard")
    ended = command(run, "--seeds", 3)
    named = {concept["index"]: concept["name"] for concept in result_of(run)["concepts"]}
    assert named[first["index"]] == "farm [b]yard" and named[second["index"]] == second["name"]
    assert "farm [b]yard" in ended.stdout and "Name" in ended.stdout


def test_a_concept_without_a_name_is_called_by_its_words_as_in_files_of_before(made: Path) -> None:
    content = result_of(made)
    for concept in content["concepts"]:
        del concept["name"]
        concept["key_words"] = list("abcdefgh")
    assert {concept.called for concept in Stability.model_validate(content).concepts} == {"a, b, c, d, e, f"}


# --- what it keeps, and when that is used ---


def test_run_again_trains_nothing_and_gives_the_same_file(run: Path) -> None:
    before = snapshot(run)
    assert command(run, "--seeds", 3).code == 0
    after = snapshot(run)
    assert {name for name in before if after[name][1] != before[name][1]} == set()
    assert {name for name in after if name.startswith("methods/") and after[name] != before.get(name)} == set()


def test_killed_between_trainings_it_goes_on_with_those_that_are_done(run: Path) -> None:
    before = snapshot(run)
    shutil.rmtree(run / "methods" / "classifsae" / "seed-2")
    (run / "methods" / "classifsae" / "seed-2.partial").mkdir()
    (run / "stability.json").unlink()
    assert command(run, "--seeds", 3).code == 0
    after = snapshot(run)
    weights = "methods/classifsae/seed-{}/classif_sae/sae_weights.safetensors"
    assert after[weights.format(1)] == before[weights.format(1)], "trained a second time"
    assert after[weights.format(2)][1] == before[weights.format(2)][1]
    assert after["stability.json"][1] == before["stability.json"][1]


def test_trainings_of_compare_are_reused_and_compare_reuses_these(run: Path) -> None:
    kept = snapshot(run, "methods/classifsae/seed-1/**/*")
    options = ("--compare.methods", "classifsae", "--compare.seeds", "0,1", "--evaluate.evals", "completeness")
    ended = cli("compare", "--run", run, *options)
    assert ended.code == 0, ended.stderr
    assert kept and snapshot(run, "methods/classifsae/seed-1/**/*") == kept


def test_other_settings_are_told_and_overwrite_trains_anew(run: Path) -> None:
    note = run / "methods" / "classifsae" / "seed-1" / "fit.json"
    content = read_json(note)
    content["made_from"]["settings"]["train"]["lr"] = 0.123
    note.write_text(json.dumps(content), encoding="utf-8")
    kept = snapshot(run, "methods/classifsae/seed-2/**/*")
    ended = command(run, "--seeds", 3)
    assert ended.code == 2 and "lr = 0.123" in ended.stderr and "--overwrite" in ended.stderr
    assert command(run, "--seeds", 3, "--overwrite").code == 0
    assert read_json(note)["made_from"]["settings"]["train"]["lr"] != 0.123
    assert snapshot(run, "methods/classifsae/seed-2/**/*") == kept


def test_after_another_training_the_old_result_is_not_shown(run: Path) -> None:
    assert gather_report(RunFolder.open(run), Choices(explained=0)).stability is not None
    change_sae(run, lambda sae: sae.W_enc.mul_(1.5))
    assert cli("evaluate", "--run", run).code == 0
    report = gather_report(RunFolder.open(run), Choices(explained=0))
    assert report.stability is None
    assert "Comes back" not in write_report(run, explained=0).read_text(encoding="utf-8")


def test_a_run_made_anew_with_other_settings_loses_it(run: Path) -> None:
    assert cli("train", "--run", run, "--overwrite", "--sae.gamma", "0.2", "--train.total_samples", "1000").code == 0
    assert not (run / "stability.json").exists()


def test_a_file_of_another_version_is_left_out_and_a_damaged_one_is_told(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files, settings = RunFolder.open(run), result_of(run)["settings_sha256"]
    assert read_stability(files, "classifsae", settings) is not None
    caplog.clear()
    content = read_json(run / "stability.json")
    write_json(run / "stability.json", {**content, "concepts": content["concepts"][1:]})
    assert read_stability(files, "classifsae", settings) is None
    assert "lacks some of the run's concepts" in caplog.text
    (run / "stability.json").write_text('{"method": "classifsae"}', encoding="utf-8")
    assert read_stability(files, "classifsae", settings) is None
    assert "run `stability` again" in caplog.text
    (run / "stability.json").write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match=re.escape("stability.json is not valid JSON")):
        read_stability(files, "classifsae", settings)


# --- other methods ---


def test_ica_is_found_again_whatever_the_signs_of_its_components(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted = load_method(run / "methods" / "ica" / "seed-0")
    assert isinstance(fitted, ICAConcepts)
    signs = torch.ones(len(fitted.unmixing), dtype=torch.float64)
    signs[::2] = -1
    turned = ICAConcepts(fitted.unmixing * signs[:, None], fitted.mixing * signs, fitted.mean)
    monkeypatch.setattr(ICAConcepts, "fit", classmethod(lambda _, task: turned))
    monkeypatch.setattr("sae_lens_classif.methods.base.MethodSpec.fit", lambda _, task: turned)
    result = stability(run, 2, "ica")
    assert result.main.measured.mean == 1
    assert (run / "stability.ica.json").is_file()


def test_a_method_without_directions_is_matched_by_texts_alone(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ICAConcepts, "directions", lambda _: None)
    result = stability(run, 2, "ica")
    assert result.matched_by == "texts" and list(result.shares) == ["texts"]
    assert all(meeting.cosine is None for concept in result.concepts for meeting in concept.meetings)


# --- what is refused ---


def test_one_training_is_not_enough(run: Path) -> None:
    assert_refused_at_once(command(run, "--seeds", 1), "seeds is 1", "at least 2")


def test_a_method_that_was_not_fitted_and_a_folder_without_a_run_are_refused(run: Path, tmp_path: Path) -> None:
    assert_refused_at_once(command(run, "--method", "icaa"), "'icaa'", "ica")
    assert_refused_at_once(command(tmp_path / "nothing"), "is no run folder")


def test_a_run_that_is_not_evaluated_is_refused_before_anything_is_trained(run: Path) -> None:
    (run / "summary.json").unlink()
    shutil.rmtree(run / "methods" / "classifsae")
    assert_refused_at_once(command(run), "no evaluation of classifsae", "`evaluate`")
    assert not (run / "methods" / "classifsae").exists()


def test_a_training_that_gave_nan_is_named(run: Path) -> None:
    fitted, folder = load_method(run / "methods" / "ica" / "seed-0"), run / "methods" / "ica" / "seed-1"
    assert isinstance(fitted, ICAConcepts)
    ICAConcepts(fitted.unmixing, fitted.mixing, fitted.mean * torch.nan).save(folder)
    note = read_json(run / "methods" / "ica" / "seed-0" / "fit.json")
    note["made_from"]["seed"] = 1
    (folder / "fit.json").write_text(json.dumps(note), encoding="utf-8")
    ended = command(run, "--seeds", 2, "--method", "ica")
    assert ended.code == 2 and "seed 1" in ended.stderr and "NaN" in ended.stderr


def test_a_training_that_fails_is_named(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("no luck")

    monkeypatch.setattr("sae_lens_classif.methods.base.MethodSpec.fit", fails)
    ended = command(run, "--seeds", 4)
    assert ended.code == 2 and "seed 3" in ended.stderr and "no luck" in ended.stderr


# --- where it is shown ---


def test_report_and_card_say_in_how_many_trainings_each_concept_comes_back(run: Path) -> None:
    result = Stability.model_validate(result_of(run))
    page = ParsedPage(write_report(run, explained=0).read_text(encoding="utf-8"))
    words = " ".join(page.words.split())
    for concept in result.concepts:
        card = words.split(f"Concept {concept.index}:")[1].split("What it adds to each class")[0]
        told = f"{concept.times} (by texts alone {concept.times_on_texts})"
        assert f"Comes back in other trainings {told}" in card
    assert "Does another training find the same concepts?" in words
    ended = cli("publish", run, "someone/concepts", "--dry-run")
    assert ended.code == 0, ended.stderr
    text = (run / "hub" / "README.md").read_text(encoding="utf-8")
    table = [line for line in text.split("## The concepts")[1].splitlines() if line.startswith("|")]
    assert (
        table[0].endswith("| comes back in | same texts in |")
        and len({line.count(" | ") for line in table if "---" not in line}) == 1
    )
    assert [[cell.strip() for cell in line.split("|")[-3:-1]] for line in table[2:]] == [
        [concept.times, concept.times_on_texts] for concept in result.concepts
    ]
    assert read_json(run / "hub" / "evals" / "classifsae" / "stability.json") == result_of(run)


@pytest.mark.parametrize(
    ("every", "mean", "on_texts", "verdict"),
    [(0.6, 0.7, 0.7, "yes"), (0.59, 0.6, 0.7, "partly"), (0.1, 0.59, 0.6, "partly"), (0.1, 0.59, 0.59, "no")],
)
def test_the_answer_turns_where_the_influence_that_comes_back_does(
    made: Path, every: float, mean: float, on_texts: float, verdict: str
) -> None:
    found = _finding(made, mean, every, on_texts)
    assert found.verdict == verdict and not found.command
    assert all(f"{100 * share:.1f} %" in found.evidence for share in (every, mean, on_texts))


def test_without_an_influence_the_answer_goes_by_the_number_of_concepts(made: Path) -> None:
    found = _finding(made, None, None, None)
    assert found.verdict == "no" and "50.0 %" in found.evidence and "40.0 %" in found.evidence


def _finding(run: Path, mean: float | None, every: float | None, on_texts: float | None) -> Finding:
    """The answer where these shares of the influence come back, and 50 and 40 % of the concepts."""
    report = gather_report(RunFolder.open(run), Choices(explained=0))
    assert report.stability is not None

    def changed(of: ComesBack, mean: float | None) -> ComesBack:
        measured = Shares(mean=0.5, mean_by_influence=mean, every=0.4, every_by_influence=every)
        return of.model_copy(update={"measured": measured})

    shares = report.stability.shares
    shares = {"both": changed(shares["both"], mean), "texts": changed(shares["texts"], on_texts)}
    stability = report.stability.model_copy(update={"shares": shares})
    found = findings(dataclasses.replace(report, stability=stability))
    return next(one for one in found if one.question == "Does another training find the same concepts?")


def test_without_it_report_and_card_hold_no_column_and_say_how_to_find_out(run: Path) -> None:
    (run / "stability.json").unlink()
    page = write_report(run, explained=0).read_text(encoding="utf-8")
    assert "Comes back" not in page and "sae-lens-classif stability RUN --seeds 5" in page
    assert cli("publish", run, "someone/concepts", "--dry-run").code == 0
    assert "comes back" not in (run / "hub" / "README.md").read_text(encoding="utf-8").lower()


def test_the_settings_of_a_run_may_have_another_seed(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def noted(_: object, method: object, seeds: list[int], split: object) -> dict[int, object]:
        asked.extend(seeds)
        raise UserError("enough")

    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    config["train"]["seed"] = 7
    (run / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    monkeypatch.setattr("sae_lens_classif.audit.stability._train_others", noted)
    with pytest.raises(UserError, match="enough"):
        stability(run, 4)
    assert asked == [8, 9, 10]
