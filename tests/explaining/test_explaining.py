"""One text explained: the numbers against the interventions' own definitions, and the page it is shown on."""

import io
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from sae_lens_classif import ActivationStore, ClassifSAE, explain, load_classifier, load_method, open_run
from sae_lens_classif.checksums import read_json
from sae_lens_classif.cli.display import show_explanation
from sae_lens_classif.config.run import SAESettings, TrainConfig
from sae_lens_classif.errors import UserError
from sae_lens_classif.explaining.explanation import ActiveConcept, Explanation, to_html
from sae_lens_classif.hooks.batching import states_of_inputs
from sae_lens_classif.hooks.classifier import TextClassifier
from sae_lens_classif.hooks.inputs import PromptTokenizer
from sae_lens_classif.training.train import train_classifsae
from tests.html_page import ParsedPage
from tests.tiny_run import assert_refused_at_once, cli

TEXT = "the old dog and some rain near the bank"


@pytest.fixture(scope="module")
def sae(train_store: ActivationStore, tmp_path_factory: pytest.TempPathFactory) -> ClassifSAE:
    cfg = TrainConfig(total_samples=6400, batch_size=32, lr=1e-2, n_checkpoints=0, device="cpu")
    folder = tmp_path_factory.mktemp("explaining") / "sae"
    train_classifsae(train_store, SAESettings(recipe="reference", d_sae=48, k=4, n_concepts=6), cfg).save(folder)
    return ClassifSAE.load_from_disk(folder)


@pytest.fixture(scope="module")
def explanation(sae: ClassifSAE, classifier: TextClassifier) -> Explanation:
    return explain(sae, classifier, TEXT)


def concepts_of(sae: ClassifSAE, classifier: TextClassifier, text: str) -> torch.Tensor:
    """The definition, one text at a time."""
    with torch.no_grad():
        return sae.encode(states_of_inputs(classifier, classifier.inputs([text]), 4096).hidden)[0, :6]


def probabilities_of(sae: ClassifSAE, classifier: TextClassifier, text: str, concepts: torch.Tensor) -> torch.Tensor:
    """Through these concepts alone: decoded, brought to the norm of the model's state, run to the end."""
    hidden = states_of_inputs(classifier, classifier.inputs([text]), 4096).hidden
    with torch.no_grad():
        decoded = concepts[None] @ sae.W_dec[:6] + sae.b_dec
        return classifier.logits_from(decoded * hidden.norm() / decoded.norm())[0].softmax(dim=0)


def test_the_model_s_own_probabilities_come_first(explanation: Explanation, classifier: TextClassifier) -> None:
    expected = states_of_inputs(classifier, classifier.inputs([TEXT]), 4096).logits[0].softmax(dim=0)
    assert explanation.probabilities == pytest.approx(expected.tolist(), abs=1e-6)
    assert explanation.predicted == int(expected.argmax())
    assert explanation.text == TEXT and list(explanation.words) == TEXT.split()


def test_every_active_concept_is_there_with_what_it_does_to_the_class(
    explanation: Explanation, sae: ClassifSAE, classifier: TextClassifier
) -> None:
    z = concepts_of(sae, classifier, TEXT)
    whole = probabilities_of(sae, classifier, TEXT, z)
    assert explanation.through_concepts == pytest.approx(whole.tolist(), abs=1e-5)
    default = probabilities_of(sae, classifier, TEXT, torch.zeros_like(z))
    assert explanation.with_none == pytest.approx(default.tolist(), abs=1e-5)
    assert {concept.index for concept in explanation.concepts} == set(z.nonzero()[:, 0].tolist()) != set()
    for concept in explanation.concepts:
        without = z.clone()
        without[concept.index] = 0
        expected = probabilities_of(sae, classifier, TEXT, without)
        assert concept.activation == pytest.approx(float(z[concept.index]), abs=1e-5)
        assert concept.probabilities_without == pytest.approx(expected.tolist(), abs=1e-5)
        change = float(whole[explanation.predicted] - expected[explanation.predicted])
        assert concept.effect == pytest.approx(change, abs=1e-5)
        assert explanation.class_without(concept) == int(expected.argmax())
    effects = [abs(concept.effect) for concept in explanation.concepts]
    assert effects == sorted(effects, reverse=True)


def test_a_word_drives_a_concept_by_what_is_lost_without_it(
    explanation: Explanation, sae: ClassifSAE, classifier: TextClassifier
) -> None:
    words = TEXT.split()
    whole = concepts_of(sae, classifier, TEXT)
    for place in range(len(words)):
        without = concepts_of(sae, classifier, " ".join(words[:place] + words[place + 1 :]))
        for concept in explanation.concepts:
            assert concept.words[place] == pytest.approx(float(whole[concept.index] - without[concept.index]), abs=1e-4)


def test_words_that_the_prompt_has_no_room_for_add_nothing(sae: ClassifSAE, classifier: TextClassifier) -> None:
    text = "dog " * 100 + TEXT
    found = explain(sae, classifier, text)
    assert found.concepts
    for concept in found.concepts:
        assert concept.words[:30] == (0.0,) * 30
        place = len(found.words) - 1
        without = concepts_of(sae, classifier, text.rsplit(" ", 1)[0])
        whole = concepts_of(sae, classifier, text)
        assert concept.words[place] == pytest.approx(float(whole[concept.index] - without[concept.index]), abs=1e-4)


def test_a_long_text_is_run_without_words_of_its_prompt_alone(
    sae: ClassifSAE, classifier: TextClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    prompts = type(classifier.inputs).__call__

    def counting(self: PromptTokenizer, texts: Sequence[str]) -> list[list[int]]:
        asked.append(len(texts))
        return prompts(self, texts)

    monkeypatch.setattr(PromptTokenizer, "__call__", counting)
    explain(sae, classifier, "dog " * 3000)
    assert sum(asked) < 100, "3,000 words, of which the prompt has room for some fifty"


def test_concepts_get_the_class_and_key_words_that_a_run_noted(sae: ClassifSAE, classifier: TextClassifier) -> None:
    noted = [{"index": index, "class_name": f"class of {index}", "key_words": ["some", "words"]} for index in range(6)]
    for concept in explain(sae, classifier, TEXT, noted).concepts:
        assert concept.class_name == f"class of {concept.index}" and concept.key_words == ("some", "words")


def test_in_context_the_earlier_tokens_are_kept(sae: ClassifSAE, classifier: TextClassifier) -> None:
    alone, in_context = (explain(sae, classifier, TEXT, context=context) for context in ("alone", "in_context"))
    assert in_context.probabilities == alone.probabilities
    assert in_context.through_concepts != pytest.approx(alone.through_concepts, abs=1e-6)


@pytest.mark.parametrize("text", ["dog", "  dog\n", "🎉 كلب dog", "dog " * 300, "<|0|>"])
def test_any_text_with_a_word_can_be_explained(sae: ClassifSAE, classifier: TextClassifier, text: str) -> None:
    found = explain(sae, classifier, text)
    assert len(found.words) == len(text.split())
    assert math.isclose(sum(found.probabilities), 1, abs_tol=1e-5)
    assert all(len(concept.words) == len(found.words) for concept in found.concepts)


@pytest.mark.parametrize(
    ("text", "context", "message"),
    [
        ("", "alone", "no word"),
        (" \n", "alone", "no word"),
        ("dog", "elsewhere", "context is 'elsewhere'; valid: alone, in_context"),
    ],
)
def test_what_cannot_be_explained_is_refused(
    sae: ClassifSAE, classifier: TextClassifier, text: str, context: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        explain(sae, classifier, text, context=context)


def test_several_texts_are_explained_as_each_by_itself_and_run_together(
    sae: ClassifSAE, classifier: TextClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [TEXT, "dog", "dog " * 100 + TEXT, "🎉 كلب dog", *(f"{word} rain" for word in TEXT.split() * 2)]
    for context in ("alone", "in_context"):
        alone = [explain(sae, classifier, text, context=context) for text in texts]
        together = explain(sae, classifier, iter(texts), context=context)
        assert [found.text for found in together] == texts
        for one, other in zip(alone, together, strict=True):
            assert one.words == other.words and one.class_names == other.class_names
            for name in ("probabilities", "through_concepts", "with_none"):
                assert getattr(one, name) == pytest.approx(getattr(other, name), abs=1e-5)
            assert_alike(one.concepts, other.concepts)
    passes: list[int] = []
    run = type(classifier).states_and_logits

    def counting(self: TextClassifier, inputs: list[list[int]]) -> object:
        passes.append(len(inputs))
        return run(self, inputs)

    monkeypatch.setattr(type(classifier), "states_and_logits", counting)
    explain(sae, classifier, ["the old dog", "some rain", "the bank"])
    assert passes == [3 + 3 + 2 + 2], "the three, and those without a word, in one pass"


def assert_alike(ours: Sequence[ActiveConcept], theirs: Sequence[ActiveConcept]) -> None:
    some, others = ({concept.index: concept for concept in concepts} for concepts in (ours, theirs))
    assert some.keys() == others.keys()
    for index, concept in some.items():
        for name in ("activation", "effect", "probabilities_without", "words"):
            assert getattr(concept, name) == pytest.approx(getattr(others[index], name), abs=1e-4)


@pytest.mark.parametrize(
    ("texts", "message"),
    [(["dog", " "], "text 1 .*no word"), (["dog", "cat", 5], "text 2 is of type int; texts must be strings")],
)
def test_of_several_texts_the_one_that_cannot_be_explained_is_named(
    sae: ClassifSAE, classifier: TextClassifier, texts: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        explain(sae, classifier, texts)


def test_of_no_texts_there_are_no_explanations(sae: ClassifSAE, classifier: TextClassifier) -> None:
    assert explain(sae, classifier, []) == []


def test_the_words_that_drive_a_concept_are_the_strongest_for_it() -> None:
    concept = ActiveConcept(0, None, (), 1.0, 0, 0.1, (0.5, 0.5), (0.05, 1.2, -0.9, 0.3, 1.2))
    shown = made_up("some dog of cat dog", concepts=(concept,))
    assert shown.driving_words(concept) == ("dog", "cat")
    idle = ActiveConcept(0, None, (), 1.0, 0, 0.1, (0.5, 0.5), (-0.5, 0.0))
    assert made_up(concepts=(idle,)).driving_words(idle) == ()


def test_the_command_explains_a_text_by_the_run_s_own_concepts(demo_folder: Path, tmp_path: Path) -> None:
    run = demo_folder / "runs" / "demo"
    page = tmp_path / "page.html"
    ended = cli("explain", run, "the minister said his party would win the election", "--html", page)
    assert ended.code == 0, ended.stderr
    noted = read_json(run / "summary.json")["methods"]["classifsae"]["concepts"]
    assert "business" in ended.stdout and "points with it" in ended.stdout
    shown = [concept for concept in noted if f"Concept {concept['index']}, {concept['class_name']}" in ended.stdout]
    assert shown and all(concept["key_words"][0] in ended.stdout for concept in shown)
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert "Ablating" not in ended.stderr, "no bar for one text"


def test_the_command_explains_several_texts_on_one_page(demo_folder: Path, tmp_path: Path) -> None:
    run, page = demo_folder / "runs" / "demo", tmp_path / "page.html"
    texts = ["the minister said his party would win", "the match <ended> in a draw", "film"]
    ended = cli("explain", run, *texts, "--html", page)
    assert ended.code == 0, ended.stderr
    found = open_run(run).explain(texts)
    assert ended.stdout.startswith(f"{found[0].headline}\n{texts[0]}\n")
    places = [ended.stdout.index(f"{one.headline}\n{one.text}\n") for one in found]
    assert places == sorted(places)
    parsed = ParsedPage(page.read_text(encoding="utf-8"))
    words = " ".join(parsed.words.split())
    assert all(f"{one.headline} {one.text}" in words for one in found)
    assert page.read_text(encoding="utf-8").count("<style>") == 2 and "3 texts explained" in words


def test_a_text_without_quotes_is_not_taken_for_many(demo_folder: Path) -> None:
    ended = cli("explain", demo_folder / "runs" / "demo", "the", "match", "ended")
    assert_refused_at_once(ended, "3 texts", "quotes")


def test_the_concepts_may_be_those_of_any_method_that_was_compared(demo_folder: Path) -> None:
    run, text = demo_folder / "runs" / "demo", "the minister said his party would win the election"
    ended = cli("explain", run, text, "--method", "ica")
    assert ended.code == 0, ended.stderr
    described = read_json(run / "summary.json")["methods"]["ica"]["concepts"]
    fitted, classifier = load_method(run / "methods" / "ica" / "seed-0"), load_classifier(run / "classifier")
    strongest = explain(fitted, classifier, text, described).concepts[0]
    assert f"concept {strongest.index}" in ended.stdout.lower()
    assert strongest.key_words[0] in ended.stdout


def test_a_method_that_was_not_fitted_is_refused_with_those_that_were(demo_folder: Path) -> None:
    ended = cli("explain", demo_folder / "runs" / "demo", "some text", "--method", "icaa")
    assert_refused_at_once(ended, "'icaa'", "did you mean 'ica'?", "classifsae, ", "topk_sae", "`compare`")


def test_the_command_refuses_what_it_cannot_explain(tmp_path: Path, demo_folder: Path) -> None:
    assert_refused_at_once(cli("explain", tmp_path, "some text"), "is no run folder")
    ended = cli("explain", demo_folder / "runs" / "demo", "  ")
    assert ended.code == 2 and "no word" in ended.stderr


# --- the page ---


def made_up(text: str = "one two", classes: tuple[str, ...] = ("animals", "money"), **changes: Any) -> Explanation:
    concept = ActiveConcept(
        index=3, class_name="animals", key_words=("dog", "cat"), activation=1.5, class_number=0,
        effect=0.25, probabilities_without=(0.4, 0.6), words=(1.2, -0.4),
    )  # fmt: skip
    values: dict[str, Any] = {
        "text": text, "class_names": classes, "probabilities": (0.7, 0.3), "through_concepts": (0.65, 0.35),
        "with_none": (0.45, 0.55), "words": tuple(text.split()), "concepts": (concept,),
    }  # fmt: skip
    return Explanation(**{**values, **changes})


def test_the_page_says_in_words_what_the_numbers_are() -> None:
    words = " ".join(ParsedPage(to_html(made_up())).words.split())
    for said in (
        "animals (predicted) 70.0 % 65.0 % 45.0 %", "money 30.0 % 35.0 % 55.0 %", "Concept 3, animals", "dog, cat",
        "animals: +25.0 points with it", "without it the class would be money",
    ):  # fmt: skip
        assert said in words, said
    assert "they do not tell all" not in words


def test_what_is_predicted_and_how_probable_it_is_come_before_anything_else() -> None:
    assert " ".join(ParsedPage(to_html(made_up())).words.split()).startswith("animals, 70.0 % one two")
    file = io.StringIO()
    show_explanation(Console(width=120, file=file), made_up())
    assert file.getvalue().startswith("animals, 70.0 %\n")
    labels = made_up(probabilities=(0.7, 0.6), multi_label=True)
    assert labels.headline == "animals, money, 60.0 %", "the least sure of the decisions"
    assert made_up(probabilities=(0.1, 0.2), multi_label=True).headline == "no label, 80.0 %"


def test_where_the_concepts_say_another_class_than_the_model_the_page_says_so() -> None:
    words = " ".join(ParsedPage(to_html(made_up(through_concepts=(0.4, 0.6)))).words.split())
    assert "Through the concepts alone the class would be money, not animals: they do not tell all" in words


def test_where_none_is_active_the_concepts_are_not_said_to_say_another_class() -> None:
    words = " ".join(ParsedPage(to_html(made_up(through_concepts=(0.4, 0.6), concepts=()))).words.split())
    assert "No concept is active" in words and "they do not tell all" not in words


def test_the_terminal_says_the_same() -> None:
    def printed(explanation: Explanation) -> str:
        file = io.StringIO()
        show_explanation(Console(width=120, file=file), explanation)
        return " ".join(file.getvalue().replace("│", " ").split())

    agreed = printed(made_up())
    assert "with no concept" in agreed and "animals 70.0 65.0 45.0" in agreed and "they do not tell all" not in agreed
    said = "Through the concepts alone the class is money, not animals: they do not tell all"
    assert said in printed(made_up(through_concepts=(0.4, 0.6)))
    assert said not in printed(made_up(through_concepts=(0.4, 0.6), concepts=()))


def test_of_many_classes_and_concepts_those_that_matter_are_shown_and_the_others_counted() -> None:
    classes = tuple(f"class {number}" for number in range(20))
    probabilities = tuple(0.5 if number == 13 else 0.5 / 19 for number in range(20))
    concepts = tuple(
        ActiveConcept(index, None, (), 1.0, 0, 0.2 - index / 100, probabilities, (1.0, 0.5)) for index in range(10)
    )
    by_default = tuple(0.62 if number == 17 else 0.02 for number in range(20))
    found = made_up(
        classes=classes,
        probabilities=probabilities,
        through_concepts=probabilities,
        with_none=by_default,
        concepts=concepts,
    )
    words = " ".join(ParsedPage(to_html(found)).words.split())
    assert "class 17 2.6 % 2.6 % 62.0 %" in words, "what the class is with no concept is there too"
    assert "class 13 (predicted) 50.0 % 50.0 % 2.0 %" in words and "15 other classes, each less" in words
    assert "Concept 7" in words and "Concept 8" not in words and "2 other concepts are active" in words


def test_a_notebook_shows_the_same() -> None:
    assert made_up()._repr_html_() == to_html(made_up())


def test_words_are_shaded_by_what_they_add_for_and_against() -> None:
    shades = re.findall(r"rgb\(([\d ]+) / ([\d.]+)\)", to_html(made_up()))
    assert shades == [("42 120 194", "0.60"), ("194 88 42", "0.20")]


def test_a_text_without_active_concepts_is_told_so() -> None:
    assert "No concept is active on this text" in to_html(made_up(concepts=()))


def test_text_class_and_key_words_stay_text() -> None:
    evil = "<script>alert(1)</script> <img/src=x>"
    concept = ActiveConcept(0, evil, (evil,), 1.0, 0, -0.1, (1.0, 0.0), (1.0, 0.5))
    page = ParsedPage(to_html(made_up(evil, (evil, "money"), concepts=(concept,))))
    assert {"script", "img", "link", "iframe"}.isdisjoint(page.tags)
    assert page.words.count("<script>alert(1)</script>") >= 4


def test_the_page_asks_no_other_machine() -> None:
    assert "http" not in to_html(made_up()) and "url(" not in to_html(made_up())
