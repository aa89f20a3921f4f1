"""``diff`` end to end: the same classifier, one trained on other texts, another width, and what is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
import yaml

from sae_lens_classif import ActivationStore, Diff, TextData, UserError, diff, open_run
from sae_lens_classif.audit.diff import _states_cosine, alone_rows, kept_rows, to_markdown
from sae_lens_classif.checksums import read_json
from sae_lens_classif.evals.interpretability import activating_sets
from tests.audit.test_stability import concepts_of, matched, sae_of
from tests.conftest import MakeOnce, make_data
from tests.tiny_run import Ended, Tiny, assert_refused_at_once, change_sae, cli, make_tiny, take_over, write_csv

SCHEMA = Path(__file__).parents[2] / "docs" / "schemas" / "diff.json"


@pytest.fixture(scope="module")
def made(make_once: MakeOnce, classifier_folder: Path, train_data: TextData, test_data: TextData) -> Tiny:
    """Runs ``a``; ``b``, of another seed; and two whose classifier is their own, on other texts in other words for the
    classes: ``wide`` as wide as that of ``a``, and ``narrow``.
    """

    def make(folder: Path) -> None:
        tiny = make_tiny(folder / "tiny", classifier_folder, train_data, test_data)
        tiny.command("run", "a")
        tiny.command("run", "b", "--train.seed", "1")
        change_sae(tiny.run("b"), lambda sae: take_over(sae, sae_of(tiny.run("a"), 0)))
        tiny.command("evaluate", "b", "--train.seed", "1")
        for name, n_texts, seed in (("train", 240, 5), ("test", 60, 6)):
            data = make_data(n_texts, seed)
            # 0, 1, 2 are money, animals and climate here.
            labels = [(label + 1) % 3 for label in data.labels.tolist()]
            write_csv(tiny.folder / "others" / f"{name}.csv", data.texts, labels)
        settings = yaml.safe_load(tiny.settings.read_text(encoding="utf-8"))
        settings["data"] = {"source": str(tiny.folder / "others"), "class_names": ["money", "animals", "climate"]}
        settings["classifier"] = {"device": "cpu"}
        settings["prompt"] = {"template": "{text}\n\nTopic:", "label_word": "<|{id}|>"}
        settings["finetune"] = {
            "base_model": "scratch", "n_layers": 3, "d_model": 32, "n_heads": 4, "vocab_size": 400, "context": 64,
            "max_steps": 60, "batch_size": 16, "lr": 5e-3, "seed": 3,
        }  # fmt: skip
        (tiny.folder / "others.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
        for name, width in (("wide", 32), ("narrow", 16)):
            options = (
                "--config",
                tiny.folder / "others.yaml",
                "--finetune.d_model",
                width,
                "--finetune.n_heads",
                width // 8,
            )
            ended = cli("run", "--run", tiny.run(name), *options)
            assert ended.code == 0, ended.stderr

    return Tiny(make_once("diff", make) / "tiny")


@pytest.fixture
def tiny(made: Tiny, tmp_path: Path) -> Tiny:
    """Copies of the runs; they read the same texts and classifier."""
    for name in ("a", "b", "wide", "narrow"):
        shutil.copytree(made.run(name), tmp_path / name)
    return Tiny(tmp_path)


def command(tiny: Tiny, one: str, other: str, *options: object) -> Ended:
    return cli("diff", tiny.run(one), tiny.run(other), *options)


def result_of(run: Path) -> Any:
    (file,) = run.glob("diff/*/diff.json")
    return read_json(file)


def entries(run: Path) -> dict[int, Any]:
    concepts = read_json(run / "summary.json")["methods"]["classifsae"]["concepts"]
    return {concept["index"]: concept for concept in concepts}


# --- what is found ---


def test_a_run_and_its_copy_have_the_same_concepts_to_the_same_effect(tiny: Tiny) -> None:
    shutil.copytree(tiny.run("a"), tiny.run("copy"))
    result = diff(tiny.run("a"), tiny.run("copy"))
    known = entries(tiny.run("a"))
    assert [pair.a.index for pair in result.kept] == [pair.b.index for pair in result.kept] == list(known)
    assert (result.gone, result.new) == ([], [])
    assert all(pair.cosine == pytest.approx(1) and pair.jaccard == 1 and pair.changed == [] for pair in result.kept)
    assert result.matched_by == "both"
    assert [result.states_cosine, result.kept_influence_a, result.kept_influence_b] == pytest.approx([1, 1, 1])


def test_two_trainings_on_the_same_states_are_matched_by_direction_and_texts(tiny: Tiny) -> None:
    assert command(tiny, "a", "b").code == 0
    result, of_a, of_b = result_of(tiny.run("b")), entries(tiny.run("a")), entries(tiny.run("b"))
    own, other = (concepts_of(sae_of(tiny.run(name), 0), tiny.run("a")) for name in ("a", "b"))
    expected = {i: found for i, found in matched(own, other).items() if i in of_a and found[0] in of_b}
    assert 1 < len(expected) < len(of_a), "some must be kept, and some not"
    assert [pair["a"]["index"] for pair in result["kept"]] == [i for i in of_a if i in expected]
    for pair in result["kept"]:
        a, b = pair["a"]["index"], pair["b"]["index"]
        assert (b, pair["cosine"], pair["jaccard"]) == pytest.approx(expected[a], abs=1e-5)
        assert pair["a"]["influence"] == of_a[a]["influence"] and pair["b"]["influence"] == of_b[b]["influence"]
        assert pair["a"]["class_name"] == of_a[a]["class_name"] and pair["b"]["class_name"] == of_b[b]["class_name"]
    kept_b = {found[0] for found in expected.values()}
    assert [entry["concept"]["index"] for entry in result["gone"]] == [i for i in of_a if i not in expected]
    assert [entry["concept"]["index"] for entry in result["new"]] == [i for i in of_b if i not in kept_b]
    total = sum(concept["influence"] for concept in of_a.values())
    assert result["kept_influence_a"] == pytest.approx(sum(of_a[i]["influence"] for i in expected) / total)
    assert not list(tiny.run("b").glob("transfer")), "the texts are the same: nothing need be cached"


@pytest.mark.parametrize("name", ["wide", "narrow"])
def test_another_classifier_reads_the_texts_of_the_first_and_texts_alone_decide(tiny: Tiny, name: str) -> None:
    ended = command(tiny, "a", name)
    assert ended.code == 0, ended.stderr
    result = result_of(tiny.run(name))
    assert result["matched_by"] == "texts" and result["n_texts"] == 90
    if name == "narrow":
        assert result["states_cosine"] is None and "different widths" in " ".join(ended.stdout.split())
    else:
        assert abs(result["states_cosine"]) < 0.5 and "do not point alike" in " ".join(ended.stdout.split())
    (folder,) = tiny.run(name).glob("transfer/*/activations")
    first = ActivationStore(tiny.run("a") / "activations" / "test")
    read = ActivationStore(folder)
    assert len(read) == len(first) and (tiny.run(name) / "activations/test").is_dir()
    overlaps = {}
    for run, store in (("a", first), (name, read)):
        sae = sae_of(tiny.run(run), 0)
        with torch.no_grad():
            overlaps[run] = sae.encode(store.read("hidden").float())[:, : sae.cfg.n_concepts]
    own, other = (activating_sets(activations) for activations in overlaps.values())
    for pair in result["kept"]:
        ours, theirs = own[:, pair["a"]["index"]], other[:, pair["b"]["index"]]
        assert pair["cosine"] is None
        assert (
            pair["jaccard"] == pytest.approx(float((ours & theirs).sum() / (ours | theirs).sum()))
            and pair["jaccard"] >= 0.5
        )
    assert result["kept"] or name == "narrow", "two classifiers of the same classes have some concept in common"
    assert (result["classes_gone"], result["classes_new"]) == (["weather"], ["climate"])
    of_animals = [pair for pair in result["kept"] if {pair["a"]["class_name"], pair["b"]["class_name"]} == {"animals"}]
    assert all("class" not in pair["changed"] for pair in of_animals), "classes are known by name, not by number"


def test_what_changed_in_effect_is_named(tiny: Tiny) -> None:
    shutil.copytree(tiny.run("a"), tiny.run("copy"))
    summary = read_json(tiny.run("copy") / "summary.json")
    first, second, third, *_ = summary["methods"]["classifsae"]["concepts"]
    first["influence"] *= 2.001
    second["influence"] *= 1.999
    third["influence"] /= 2.001
    third["class_name"] = next(name for name in summary["class_names"] if name != third["class_name"])
    (tiny.run("copy") / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    changed = {pair.a.index: pair.changed for pair in diff(tiny.run("a"), tiny.run("copy")).kept}
    assert changed[first["index"]] == ["influence"]
    assert changed[second["index"]] == []
    assert changed[third["index"]] == ["class", "influence"]


def test_without_an_influence_the_class_alone_may_change(tiny: Tiny) -> None:
    for name in ("a", "b"):
        summary = read_json(tiny.run(name) / "summary.json")
        for concept in summary["methods"]["classifsae"]["concepts"]:
            concept["influence"] = None
        (tiny.run(name) / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    result = diff(tiny.run("a"), tiny.run("b"))
    assert (result.kept_influence_a, result.kept_influence_b) == (None, None)
    assert all("influence" not in pair.changed for pair in result.kept)


def test_states_are_alike_where_they_point_the_same_way_less_their_mean() -> None:
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(50, 64, generator=generator)
    turn, _ = torch.linalg.qr(torch.randn(64, 64, generator=generator))
    assert _states_cosine(states, 2 * states + 100) == pytest.approx(1)
    far = _states_cosine(100 + states, 100 + states @ turn)
    assert far is not None and abs(far) < 0.1
    assert _states_cosine(states, states[:, :32]) is None


# --- files and words ---


def test_files_and_terminal_hold_all_concepts(tiny: Tiny) -> None:
    ended = command(tiny, "a", "b")
    result = Diff.model_validate(result_of(tiny.run("b")))
    jsonschema.Draft202012Validator(read_json(SCHEMA)).validate(result_of(tiny.run("b")))
    (markdown,) = tiny.run("b").glob("diff/*/diff.md")
    text = markdown.read_text(encoding="utf-8")
    assert text == to_markdown(result)
    for pair in result.kept:
        assert f"| {pair.a.index} → {pair.b.index} |" in text and f"{pair.a.index} → {pair.b.index}" in ended.stdout
    for entry in (*result.gone, *result.new):
        assert f"| {entry.concept.index} | {entry.concept.class_name}" in text
    assert f"{len(result.kept)} concepts are kept" in " ".join(ended.stdout.split())


def test_concepts_have_their_names_in_both_runs(tiny: Tiny) -> None:
    before = diff(tiny.run("a"), tiny.run("b"))
    pair, alone = before.kept[0], before.new[0].concept
    assert pair.a.name == entries(tiny.run("a"))[pair.a.index]["name"]
    open_run(tiny.run("a")).name(pair.a.index, "farm <b>")
    open_run(tiny.run("b")).name(pair.b.index, "stable")
    open_run(tiny.run("b")).name(alone.index, "fog | hail")
    ended = command(tiny, "a", "b")
    result = Diff.model_validate(result_of(tiny.run("b")))
    assert (result.kept[0].a.name, result.kept[0].b.name, result.new[0].concept.name) == (
        "farm <b>",
        "stable",
        "fog | hail",
    )
    assert kept_rows(result)[0][2] == "farm <b> → stable" and alone_rows(result.new)[0][2] == "fog | hail"
    open_run(tiny.run("b")).name(pair.b.index, "farm <b>")
    assert kept_rows(diff(tiny.run("a"), tiny.run("b")))[0][2] == "farm <b>", "one name is said once"
    assert "fog | hail" in ended.stdout
    text = to_markdown(result)
    assert "<b>" not in text and "stable" in text


def test_run_again_it_gives_the_same_and_reads_no_text_anew(tiny: Tiny) -> None:
    first = diff(tiny.run("a"), tiny.run("narrow"))
    (folder,) = tiny.run("narrow").glob("transfer/*/activations")
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*.safetensors")}
    assert diff(tiny.run("a"), tiny.run("narrow")) == first
    assert before and {path: path.stat().st_mtime_ns for path in folder.glob("*.safetensors")} == before


def test_two_runs_of_one_name_do_not_take_each_other_s_place(tiny: Tiny) -> None:
    shutil.copytree(tiny.run("a"), tiny.folder / "elsewhere" / "a")
    diff(tiny.run("a"), tiny.run("b"))
    diff(tiny.folder / "elsewhere" / "a", tiny.run("b"))
    assert len(list(tiny.run("b").glob("diff/*/diff.json"))) == 2


# --- what is refused ---


def test_a_run_against_itself_is_refused(tiny: Tiny) -> None:
    assert_refused_at_once(command(tiny, "a", "a"), "is given twice")
    assert_refused_at_once(cli("diff", tiny.run("a"), tiny.folder / "b" / ".." / "a"), "is given twice")


def test_a_run_that_is_missing_or_not_evaluated_is_refused(tiny: Tiny) -> None:
    assert_refused_at_once(command(tiny, "a", "nothing"), "is no run folder")
    (tiny.run("b") / "summary.json").unlink()
    assert_refused_at_once(command(tiny, "a", "b"), "no evaluation of classifsae", "`evaluate`")


def test_a_method_that_one_of_them_lacks_is_refused(tiny: Tiny) -> None:
    assert_refused_at_once(command(tiny, "a", "b", "--method", "ica"), "'ica'", "classifsae", "`compare`")


def test_texts_that_are_not_there_any_more_are_refused(tiny: Tiny) -> None:
    config = yaml.safe_load((tiny.run("a") / "config.yaml").read_text(encoding="utf-8"))
    config["data"]["source"] = str(tiny.folder / "gone")
    (tiny.run("a") / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    with pytest.raises(UserError, match="gone"):
        diff(tiny.run("a"), tiny.run("narrow"))
    config["data"]["source"] = str(write_csv(tiny.folder / "changed" / "test.csv", ["dog cat"] * 9, [0, 1, 2] * 3))
    (tiny.run("a") / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    with pytest.raises(UserError, match="are not those from which"):
        diff(tiny.run("a"), tiny.run("narrow"))
