"""Figures of ``evaluate`` and ``compare``: there when asked for, drawn again when what they show has changed."""

import shutil
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from sae_lens_classif.checksums import read_json
from sae_lens_classif.data.texts import TextData
from sae_lens_classif.methods import base
from tests.tiny_run import Snapshot, Tiny, assert_refused_at_once, change_sae, cli, contents, make_tiny, snapshot

_OF_ALL = ("activation_rates", "sentence_sim", "ablation")
_OF_A_METHOD = ("concept_map", "word_clouds", *_OF_ALL)
_DRAWN = ("--evaluate.figures", "true")
_ALL = ("--evaluate.evals", "[completeness, causality, interpretability]")
_FIGURES = ("figures/**/*.png", "figures/**/*.svg")


@pytest.fixture(scope="module")
def tiny(
    tmp_path_factory: pytest.TempPathFactory, classifier_folder: Path, train_data: TextData, test_data: TextData
) -> Tiny:
    """A folder with the run ``plain``: trained, measured, nothing drawn."""
    tiny = make_tiny(tmp_path_factory.mktemp("drawing") / "tiny", classifier_folder, train_data, test_data)
    tiny.command("run", "plain", "--evaluate.figures", "false", *_ALL)
    return tiny


@pytest.fixture(scope="module")
def drawn(tiny: Tiny) -> Path:
    """A run that was measured and drawn."""
    _copy(tiny, tiny.run("plain"), "drawn")
    tiny.command("evaluate", "drawn", *_DRAWN, *_ALL)
    return tiny.run("drawn")


def _copy(tiny: Tiny, run: Path, name: str) -> Path:
    shutil.copytree(run, tiny.run(name))
    return tiny.run(name)


def _names(run: Path) -> set[str]:
    """Figures that are there as PNG and SVG, none of them broken."""
    files = contents(snapshot(run / "figures", "**/*.png", "**/*.svg"))
    for name, content in files.items():
        if name.endswith(".png"):
            assert content.startswith(b"\x89PNG\r\n\x1a\n") and content.endswith(b"IEND\xaeB`\x82"), name
        else:
            assert ElementTree.fromstring(content).tag == "{http://www.w3.org/2000/svg}svg", name
    names = {name.rsplit(".", 1)[0] for name in files}
    assert sorted(files) == sorted(f"{name}.{suffix}" for name in names for suffix in ("png", "svg"))
    return names


def _expected(*methods: str) -> set[str]:
    together = (*_OF_ALL, "tradeoffs") if len(methods) > 1 else ()
    return {*together, *(f"{method}/{name}" for method in methods for name in _OF_A_METHOD)}


def _changed(before: Snapshot, after: Snapshot) -> set[str]:
    """Figures whose bytes differ, as a path below ``figures`` without suffix."""
    assert sorted(before) == sorted(after)
    found = {name for name in before if before[name][1] != after[name][1]}
    return {name.removeprefix("figures/").rsplit(".", 1)[0] for name in found}


# --- evaluate


def test_without_figures_none_is_drawn(tiny: Tiny) -> None:
    assert (tiny.run("plain") / "summary.json").is_file()
    assert not (tiny.run("plain") / "figures").exists()


def test_evaluate_draws_what_is_known_of_the_run_s_own_sae(drawn: Path) -> None:
    assert _names(drawn) == _expected("classifsae")
    assert not [path for path in (drawn / "figures").rglob("*") if "partial" in path.name]


def test_drawing_changes_no_result(tiny: Tiny, drawn: Path) -> None:
    patterns = ("evals/**/*", "summary.json", "saes/**/*")
    assert contents(snapshot(drawn, *patterns)) == contents(snapshot(tiny.run("plain"), *patterns))


def test_nothing_new_leaves_the_figures_as_they_are(tiny: Tiny, drawn: Path) -> None:
    before = snapshot(drawn, *_FIGURES)
    tiny.command("evaluate", "drawn", *_DRAWN, *_ALL)
    after = snapshot(drawn, *_FIGURES)
    assert contents(after) == contents(before)
    of_the_method = {name for name in before if "classifsae/" in name}
    assert {name: after[name] for name in of_the_method} == {name: before[name] for name in of_the_method}


def test_two_runs_of_the_same_are_drawn_alike_byte_by_byte(tiny: Tiny, drawn: Path) -> None:
    run = _copy(tiny, tiny.run("plain"), "again")
    tiny.command("evaluate", "again", *_DRAWN, *_ALL)
    assert contents(snapshot(run, *_FIGURES)) == contents(snapshot(drawn, *_FIGURES))


def test_another_sae_is_drawn_anew(tiny: Tiny, drawn: Path) -> None:
    run = _copy(tiny, drawn, "retrained")
    before = snapshot(run, *_FIGURES)
    tiny.command("run", "retrained", *_DRAWN, *_ALL, "--train.seed", 1, "--overwrite")
    assert _changed(before, snapshot(run, *_FIGURES)) == _expected("classifsae")


def test_weights_that_were_changed_by_hand_are_drawn_anew(tiny: Tiny, drawn: Path) -> None:
    run = _copy(tiny, drawn, "by_hand")
    before = snapshot(run, *_FIGURES)
    change_sae(run, lambda sae: sae.W_enc[:, 0].neg_())
    tiny.command("evaluate", "by_hand", *_DRAWN, *_ALL)
    changed = _changed(before, snapshot(run, *_FIGURES))
    assert {"classifsae/concept_map", "classifsae/activation_rates"} <= changed


@pytest.mark.parametrize("name", ["classifsae/concept_map.png", "classifsae/word_clouds.svg"])
def test_a_figure_that_was_deleted_is_drawn_again(tiny: Tiny, drawn: Path, name: str) -> None:
    run = _copy(tiny, drawn, name.replace("/", "-"))
    (run / "figures" / name).unlink()
    tiny.command("evaluate", run.name, *_DRAWN, *_ALL)
    assert contents(snapshot(run, *_FIGURES)) == contents(snapshot(drawn, *_FIGURES))


@pytest.mark.parametrize(
    ("evaluation", "expected"),
    [
        ("completeness", {"classifsae/concept_map", "classifsae/activation_rates"}),
        ("causality", {"classifsae/concept_map", "classifsae/ablation"}),
        ("interpretability", {"classifsae/concept_map", "classifsae/word_clouds", "classifsae/sentence_sim"}),
    ],
)
def test_one_evaluation_alone_draws_what_it_knows(tiny: Tiny, evaluation: str, expected: set[str]) -> None:
    run = _copy(tiny, tiny.run("plain"), f"only_{evaluation}")
    for part in ("evals", "summary.json"):
        path = run / part
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    tiny.command("evaluate", run.name, *_DRAWN, "--evaluate.evals", f"[{evaluation}]")
    assert _names(run) == expected


def test_the_others_are_drawn_when_they_are_measured(tiny: Tiny) -> None:
    run = _copy(tiny, tiny.run("plain"), "one_by_one")
    tiny.command("evaluate", run.name, *_DRAWN, "--evaluate.evals", "[completeness]", "--evaluate.n_bootstrap", 10)
    assert _names(run) == {"classifsae/concept_map", "classifsae/activation_rates"}
    tiny.command("evaluate", run.name, *_DRAWN, *_ALL, "--evaluate.n_bootstrap", 10)
    assert _names(run) == _expected("classifsae")


def test_no_figure_of_an_sae_that_is_gone_is_left(tiny: Tiny, drawn: Path) -> None:
    run = _copy(tiny, drawn, "stale")
    tiny.command("run", "stale", *_DRAWN, "--train.seed", 2, "--overwrite", "--evaluate.evals", "[completeness]")
    assert _names(run) == {"classifsae/concept_map", "classifsae/activation_rates"}


def test_concepts_that_never_fire_are_drawn_too(tiny: Tiny) -> None:
    run = _copy(tiny, tiny.run("plain"), "silent")
    change_sae(run, lambda sae: sae.b_enc[:6].fill_(-1e6))
    tiny.command("evaluate", "silent", *_DRAWN, *_ALL)
    assert _names(run) == _expected("classifsae")


def test_an_sae_of_nan_is_refused_and_draws_nothing(tiny: Tiny) -> None:
    run = _copy(tiny, tiny.run("plain"), "nan")
    change_sae(run, lambda sae: sae.b_enc[0].fill_(torch.nan))
    assert_refused_at_once(tiny.ended("evaluate", "nan", *_DRAWN, *_ALL), "b_enc is not finite")
    assert _names(run) == set()


# --- compare


_COMPARED = ("--compare.methods", "[classifsae, random_directions]")


@pytest.fixture(scope="module")
def compared(tiny: Tiny) -> Path:
    _copy(tiny, tiny.run("plain"), "compared")
    tiny.command("compare", "compared", *_DRAWN, *_ALL, *_COMPARED)
    return tiny.run("compared")


def test_compare_draws_every_method_and_all_of_them_together(compared: Path, drawn: Path) -> None:
    assert _names(compared) == _expected("classifsae", "random_directions")
    own, of_one = (contents(snapshot(run, *_FIGURES)) for run in (compared, drawn))
    for name in _OF_A_METHOD:
        path = f"figures/classifsae/{name}.png"
        assert own[path] == of_one[path], "the same method is drawn alike by both commands"
    for name in _OF_ALL:
        assert own[f"figures/{name}.png"] != of_one[f"figures/classifsae/{name}.png"], "these show both methods"


def test_a_second_comparison_leaves_the_figures_as_they_are(tiny: Tiny, compared: Path) -> None:
    before = snapshot(compared, *_FIGURES)
    tiny.command("compare", "compared", *_DRAWN, *_ALL, *_COMPARED)
    after = snapshot(compared, *_FIGURES)
    assert contents(after) == contents(before)
    of_methods = {name for name in before if name.count("/") == 2}
    assert len(of_methods) == 2 * 2 * len(_OF_A_METHOD)
    assert {name: after[name] for name in of_methods} == {name: before[name] for name in of_methods}


def test_a_method_more_leaves_the_figures_of_the_others_as_they_are(tiny: Tiny, compared: Path) -> None:
    run = _copy(tiny, compared, "more")
    before = snapshot(run, *_FIGURES)
    tiny.command("compare", "more", *_DRAWN, *_ALL, "--compare.methods", "[classifsae, random_directions, ica]")
    after = snapshot(run, *_FIGURES)
    assert _names(run) == _expected("classifsae", "random_directions", "ica")
    assert _changed(before, {name: after[name] for name in before}) == {*_OF_ALL, "tradeoffs"}


def test_compare_without_figures_draws_none(tiny: Tiny) -> None:
    run = _copy(tiny, tiny.run("plain"), "undrawn")
    tiny.command("compare", "undrawn", "--evaluate.figures", "false", "--compare.methods", "[random_directions]")
    assert (run / "comparison.json").is_file()
    assert not (run / "figures").exists()


def test_compare_without_the_run_s_own_sae_draws_the_others(tiny: Tiny) -> None:
    run = _copy(tiny, tiny.run("plain"), "others")
    tiny.command("compare", "others", *_DRAWN, "--compare.methods", "[random_directions]", "--compare.seeds", "[3, 4]")
    assert _names(run) == {f"random_directions/{name}" for name in ("concept_map", "activation_rates", "ablation")} | {
        "activation_rates",
        "ablation",
        "tradeoffs",
    }


_OWN_METHODS = """
from dataclasses import dataclass

import torch

from sae_lens_classif import ConceptMethod


@dataclass
class Blind(ConceptMethod, name="drawn_blind"):
    "Has concepts without a direction, one of which is active nowhere."

    n_concepts: int

    @classmethod
    def fit(cls, task):
        return cls(task.n_concepts)

    def encode(self, hidden):
        concepts = hidden[:, : self.n_concepts].clone()
        concepts[:, 0] = 0
        return concepts

    def decode(self, concepts):
        return torch.nn.functional.pad(concepts, (0, 32 - self.n_concepts))


@dataclass
class Nan(Blind, name="drawn_nan"):
    def encode(self, hidden):
        return super().encode(hidden) * float("nan")


@dataclass
class Failing(Blind, name="drawn_failing"):
    @classmethod
    def fit(cls, task):
        raise RuntimeError("no concepts today")
"""


def test_a_method_without_directions_and_those_that_fail_do_not_stop_the_figures(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "own_methods.py").write_text(_OWN_METHODS, encoding="utf-8")
    run = _copy(tiny, tiny.run("plain"), "own")
    methods = "[classifsae, 'own_methods:Failing', 'own_methods:Nan', 'own_methods:Blind']"
    try:
        tiny.command("compare", "own", *_DRAWN, "--evaluate.evals", "[completeness]", "--compare.methods", methods)
    finally:
        for name in ("drawn_blind", "drawn_nan", "drawn_failing"):
            base.REGISTRY.pop(name, None)
        sys.modules.pop("own_methods", None)
    assert _names(run) >= {"activation_rates", "classifsae/concept_map", "drawn_blind/concept_map"}
    assert not {figure for figure in _names(run) if figure.startswith(("drawn_nan", "drawn_failing"))}
    rows = read_json(run / "comparison.json")["methods"]
    assert sorted(rows) == ["classifsae", "drawn_blind", "drawn_failing", "drawn_nan"], "they are said in the table"


def test_a_killed_drawing_is_made_good(tiny: Tiny, drawn: Path) -> None:
    """What is left of it: half a file under a temporary name, and no note of what was drawn."""
    run = _copy(tiny, drawn, "half")
    before = contents(snapshot(run, *_FIGURES))
    folder = run / "figures" / "classifsae"
    (folder / "concept_map.svg").rename(folder / "concept_map.svg.partial")
    (folder / "made_from.json").unlink()
    ended = cli("evaluate", "--run", run, *_DRAWN, *_ALL)
    assert ended.code == 0, ended.stderr
    assert contents(snapshot(run, *_FIGURES)) == before
    assert not list(run.glob("figures/**/*.partial"))
