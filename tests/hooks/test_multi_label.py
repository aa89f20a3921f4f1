"""Classifiers that give a text any number of labels: what they decide, what is measured, the way from texts to page."""

import csv
import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import precision_recall_fscore_support

import sae_lens_classif as slc
from sae_lens_classif.checksums import read_json
from sae_lens_classif.config.classifier import MOST_LABELS, DataConfig
from sae_lens_classif.data.texts import load_text_data
from sae_lens_classif.decisions import LABEL_SETS, ONE_CLASS, DecisionRule
from sae_lens_classif.errors import UserError
from sae_lens_classif.evals.causality import conditional_causality, effects
from sae_lens_classif.evals.completeness import class_scores, completeness
from sae_lens_classif.evals.concept_effects import concept_effects
from sae_lens_classif.evals.segments import segments
from sae_lens_classif.explaining.explain import explain
from sae_lens_classif.hooks.interventions import InterventionLogits
from sae_lens_classif.hooks.load import load_classifier
from tests.fakes.models import NAMES, write_model
from tests.tiny_run import cli

LABELS = ("animal", "weather", "money")
SEVERAL = "multi_label_classification"


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


# --- decisions ---


@pytest.mark.parametrize("n_labels", [2, 3, 28, MOST_LABELS])
def test_a_set_of_labels_is_one_number(n_labels: int) -> None:
    logits = torch.randn(50, n_labels, generator=generator())
    decided = LABEL_SETS.decide(logits)
    assert torch.equal(LABEL_SETS.holds(decided, n_labels), logits.sigmoid() > 0.5)
    columns = LABEL_SETS.columns(decided, n_labels)
    assert columns.shape == (50, LABEL_SETS.n_columns(n_labels)) and torch.equal(
        LABEL_SETS.from_columns(columns), decided
    )
    assert 0 <= int(decided.min()) <= int(decided.max()) < LABEL_SETS.n_decisions(n_labels)
    expected = F.binary_cross_entropy(logits.double().sigmoid(), (logits > 0).double())
    assert LABEL_SETS.loss(logits, decided).item() == pytest.approx(float(expected), rel=1e-5)


def test_decisions_in_words_and_one_class_a_text() -> None:
    assert [LABEL_SETS.in_words(number, LABELS) for number in (0, 1, 6)] == ["no label", "animal", "weather, money"]
    assert ONE_CLASS.in_words(2, LABELS) == "money"
    sets = torch.tensor([0b000, 0b011, 0b001, 0b111, 0b001])  # label 2 is rarest, then 1
    assert LABEL_SETS.groups(sets, 3).tolist() == [3, 1, 0, 2, 0]
    numbers = torch.tensor([2, 0])
    assert torch.equal(ONE_CLASS.groups(numbers, 3), numbers)


@pytest.mark.parametrize("rule", [ONE_CLASS, LABEL_SETS])
def test_the_distance_of_decisions_is_0_for_the_same_and_1_for_certain_opposites(rule: DecisionRule) -> None:
    certain = torch.tensor([[50.0, -50.0], [-50.0, 50.0]])
    before, after = rule.probabilities(certain), rule.probabilities(certain.flip(0))
    assert rule.distance(before, before).tolist() == [0, 0]
    torch.testing.assert_close(rule.distance(before, after), torch.ones(2))
    assert rule.loss(certain, rule.decide(certain)).item() == pytest.approx(0)
    assert rule.loss(certain, rule.decide(certain), 0.2).item() > 1


# --- what is measured ---


@pytest.fixture
def said() -> InterventionLogits:
    """Random logits for 40 texts, 3 labels and 2 concepts, each active on half of the texts."""
    draw = generator()
    untouched, nothing, bottleneck = torch.randn(3, 40, 3, generator=draw)
    text = torch.arange(40)
    pair = torch.randn(40, 3, generator=draw)
    return InterventionLogits(bottleneck, text, text % 2, pair, torch.zeros(0, 40, 3), untouched, nothing, LABEL_SETS)


def as_sets(logits: torch.Tensor) -> list[frozenset[int]]:
    """Slow and by hand."""
    return [frozenset(number for number, value in enumerate(row) if value > 0.5) for row in logits.sigmoid().tolist()]


def test_recovery_is_of_whole_sets_and_beside_it_of_each_label(said: InterventionLogits) -> None:
    own = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))
    predicted, labels = LABEL_SETS.decide(own), LABEL_SETS.decide(said.untouched)
    concepts = F.one_hot(said.pair_concept, 2).float()
    found = completeness(predicted, said, labels, concepts, n_bootstrap=5)
    before, after = as_sets(own), as_sets(said.bottleneck)
    kept = [one == other for one, other in zip(before, after, strict=True)]
    assert found.metrics["recovery_accuracy"] == pytest.approx(sum(kept) / 40)
    assert found.metrics["bottleneck_accuracy"] == pytest.approx(
        sum(one == other for one, other in zip(after, as_sets(said.untouched), strict=True)) / 40
    )
    shares = []
    for number in range(3):
        having = [place for place in range(40) if number in before[place]]
        shares.append(sum(number in after[place] for place in having) / len(having))
        assert found.details["recovery_by_class"][number]["n_texts"] == len(having)
        assert found.details["recovery_by_class"][number]["recovery"] == pytest.approx(shares[-1])
    assert found.metrics["worst_class_recovery"] == pytest.approx(min(shares))
    scores = class_scores(predicted, labels, 3, LABEL_SETS)
    expected = precision_recall_fscore_support(said.untouched > 0, own > 0, zero_division=0.0)
    assert [entry["recall"] for entry in scores] == pytest.approx(expected[1].tolist())


def test_effects_are_means_over_labels_and_a_flip_is_another_set(said: InterventionLogits) -> None:
    labels = LABEL_SETS.decide(said.untouched)
    tvd, flips, accuracy = effects(said.bottleneck, said.pair, labels, LABEL_SETS)
    before, after = said.bottleneck.sigmoid(), said.pair.sigmoid()
    torch.testing.assert_close(tvd, (before - after).abs().sum(dim=1) / 3)
    assert flips.tolist() == [
        one != other for one, other in zip(as_sets(said.bottleneck), as_sets(said.pair), strict=True)
    ]
    assert set(accuracy.tolist()) <= {-1, 0, 1}
    found = conditional_causality(said, labels, 2, n_bootstrap=5)
    assert found.details["concepts"][0]["tvd"] == pytest.approx(float(tvd[::2].mean()))


def test_a_concept_belongs_to_the_label_on_whose_texts_it_is_most_active() -> None:
    concepts = torch.tensor([[1.0, 0.0], [1.0, 3.0], [0.0, 3.0], [0.0, 0.0]])
    assert segments(concepts, torch.tensor([0b01, 0b11, 0b10, 0b00]), 2, LABEL_SETS).by_class == ((0,), (1,))


def test_a_concept_misleads_by_a_label_it_adds_or_one_it_takes() -> None:
    predicted, labels = torch.tensor([0b01, 0b00]), torch.tensor([0b00, 0b10])
    with_it, without = torch.tensor([[2.0, -2.0], [-2.0, -2.0]]), torch.tensor([[-2.0, -2.0], [-2.0, 2.0]])
    several = InterventionLogits(
        with_it, torch.tensor([0, 1]), torch.tensor([0, 0]), without, torch.zeros(0, 2, 2), with_it, with_it, LABEL_SETS
    )
    misled = concept_effects(torch.ones(2, 1), several, predicted, labels).misled
    assert {(text.row, text.is_righted) for text in misled} == {(0, True), (1, True)}
    added, taken = sorted(misled, key=lambda text: text.row)
    push = float(torch.tensor(2.0).sigmoid() - torch.tensor(-2.0).sigmoid())
    assert (added.for_wrong, added.for_right) == pytest.approx((push, 0))
    assert (taken.for_wrong, taken.for_right) == pytest.approx((0, -push))


# --- texts with several labels ---


def write_csv(folder: Path, header: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    for split in ("train", "test"):
        with (folder / f"{split}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([header, *rows])


def lists(folder: Path, *labels: object) -> DataConfig:
    lines = [json.dumps({"text": f"text {number}", "label": label}) for number, label in enumerate(labels)]
    (folder / "train.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return DataConfig(str(folder))


def test_labels_may_be_columns_lists_or_vectors(tmp_path: Path) -> None:
    write_csv(tmp_path, ("text", *LABELS), [("a", 1, 0, 1), ("b", 0, 0, 0), ("c", 0, 1, 0)])
    data = load_text_data(DataConfig(str(tmp_path), label_columns=LABELS), "train")
    assert (data.labels.tolist(), data.class_names, data.multi_label) == ([0b101, 0, 0b010], LABELS, True)
    (tmp_path / "train.csv").unlink()
    names = load_text_data(lists(tmp_path, ["money", "animal"], [], ["weather"]), "train", LABELS)
    assert np.array_equal(names.labels, data.labels) and names.class_names == LABELS
    numbers = load_text_data(lists(tmp_path, [2, 0], [], [1]), "train")
    assert np.array_equal(numbers.labels, data.labels) and numbers.class_names == ("0", "1", "2")
    vectors = load_text_data(lists(tmp_path, [1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0]), "train", LABELS)
    assert np.array_equal(vectors.labels, data.labels) and vectors.class_names == LABELS
    assert names.fingerprint() != numbers.fingerprint()


def test_a_column_that_is_not_0_or_1_is_refused(tmp_path: Path) -> None:
    write_csv(tmp_path, ("text", *LABELS), [("a", 1, 0, 1), ("b", 0, 2, 0)])
    with pytest.raises(UserError, match=r"row 1 of the column 'weather' .*holds 2; .*must hold 0 or 1"):
        load_text_data(DataConfig(str(tmp_path), label_columns=LABELS), "train")
    with pytest.raises(UserError, match=r"no column 'wheather'.*'weather'"):
        load_text_data(DataConfig(str(tmp_path), label_columns=("animal", "wheather")), "train")


# --- models ---


def test_a_head_says_whether_it_gives_several_or_the_data_do(tmp_path: Path) -> None:
    write_model(tmp_path / "several", "Bert", num_labels=3, problem_type=SEVERAL)
    write_model(tmp_path / "one", "Bert", num_labels=3, problem_type="single_label_classification")
    write_model(tmp_path / "silent", "Bert", num_labels=3)
    assert load_classifier(tmp_path / "several", NAMES).multi_label
    assert not load_classifier(tmp_path / "one", NAMES, multi_label=True).multi_label
    silent, asked = (load_classifier(tmp_path / "silent", NAMES, multi_label=asked) for asked in (False, True))
    assert (silent.multi_label, asked.multi_label) == (False, True)
    assert silent.prompt_fingerprint() != asked.prompt_fingerprint()
    write_model(tmp_path / "many", "Bert", num_labels=63, problem_type=SEVERAL)
    with pytest.raises(UserError, match="has 63 labels; at most 62"):
        load_classifier(tmp_path / "many", tuple(map(str, range(63))))


def test_texts_and_model_must_agree(tmp_path: Path) -> None:
    write_model(tmp_path / "model", "Bert", num_labels=3, problem_type=SEVERAL)
    data = slc.TextData(("the fox", "rain", "loan"), np.arange(3), NAMES)
    with pytest.raises(UserError, match=r"gives any number of labels a text, the texts have one class a text; let "):
        slc.cache_states(load_classifier(tmp_path / "model", NAMES), data, tmp_path / "store")


# --- the whole way ---

WORDS = {
    "animal": ("fox", "dog", "cat", "horse"),
    "weather": ("rain", "storm", "snow"),
    "money": ("bank", "loan", "price"),
}


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts with a word of each of their labels."""
    folder, draw = tmp_path_factory.mktemp("texts"), random.Random(0)
    rows: list[tuple[object, ...]] = []
    for _ in range(300):
        own = [draw.random() < 0.4 for _ in LABELS]
        words = [draw.choice(WORDS[label]) for label, has in zip(LABELS, own, strict=True) if has]
        rows.append((" ".join(["the", *words, "quick"]), *map(int, own)))
    write_csv(folder, ("text", *LABELS), rows)
    return folder


@pytest.fixture(scope="module")
def run(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a BERT that was tuned to give each label."""
    folder = tmp_path_factory.mktemp("several")
    write_model(folder / "base", "Bert")
    done = cli(
        "run", "--run", folder / "run", "--data.source", texts, "--data.label_columns", ",".join(LABELS),
        "--finetune.base_model", folder / "base", "--finetune.max_steps", "300", "--finetune.batch_size", "24",
        "--finetune.lr", "2e-3", "--train.total_samples", "20000", "--train.batch_size", "50", "--sae.n_concepts", "8",
        "--evaluate.n_bootstrap", "20",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    return folder / "run"


def test_the_run_knows_that_there_are_several(run: Path) -> None:
    summary = read_json(run / "summary.json")
    entry = summary["methods"]["classifsae"]
    assert entry["original_accuracy"] > 0.9 and entry["recovery_accuracy"] > 0.8
    assert 0.0 <= entry["conditional_tvd"] <= 1 and entry["scaled_recovery"] > 0.7
    assert slc.ActivationStore(run / "activations" / "train").multi_label
    sae = slc.ClassifSAE.load_from_disk(run / "saes" / "classifsae")
    assert sae.cfg.multi_label and sae.cfg.n_classes == 3
    assert {concept["class_name"] for concept in entry["concepts"]} <= set(LABELS)


def test_a_text_is_explained_label_by_label(run: Path) -> None:
    explained = explain(
        slc.ClassifSAE.load_from_disk(run / "saes" / "classifsae"), load_classifier(run / "classifier"), "the fox rain"
    )
    assert explained.in_words(explained.predicted) == "animal, weather"
    assert explained.is_decided(0) and explained.is_decided(1) and not explained.is_decided(2)
    assert sum(explained.probabilities) > 1.5, "each label has a probability of its own"
    for concept in explained.concepts:
        without = concept.probabilities_without[concept.class_number]
        assert concept.effect == pytest.approx(explained.through_concepts[concept.class_number] - without, abs=1e-6)
    shown = cli("explain", run, "the fox rain")
    assert shown.code == 0 and "animal" in shown.stdout, shown.stderr


def test_every_method_and_control_is_compared_on_it(run: Path) -> None:
    methods = (
        "classifsae", "classifsae_reference", "topk_sae", "ica", "concept_shap", "hi_concept", "clusters",
        "random_directions", "permuted_labels",
    )  # fmt: skip
    done = cli("compare", "--run", run, "--compare.methods", ",".join(methods), "--baselines.epochs", "2")
    assert done.code == 0, done.stderr
    comparison = read_json(run / "comparison.json")["methods"]
    scaled = {name: entry["estimates"]["scaled_recovery"]["mean"] for name, entry in comparison.items()}
    assert scaled["classifsae"] > max(scaled["random_directions"], scaled["permuted_labels"])


def test_a_set_that_hardly_ever_occurs_is_no_class_for_the_probe(run: Path) -> None:
    store = slc.ActivationStore(run / "activations" / "train")
    predicted = store.read("predicted").where(store.read("predicted") > 0, 1)
    predicted[0] = 0  # the only text without a label
    task = slc.FitTask(store.relabelled(predicted), load_classifier(run / "classifier"), 4)
    sae = slc.ClassifSAE.load_from_disk(run / "saes" / "classifsae")
    assert len(slc.SAEProbeConcepts.from_sae(sae, task).latents) == 4


def test_the_report_and_the_card_are_written(run: Path) -> None:
    done = cli("report", run)
    assert done.code == 0, done.stderr
    page = " ".join((run / "report.html").read_text(encoding="utf-8").split())
    assert "It gives a text any of 3 labels, or none." in page and "no label" in page
    assert "any of 3 labels, or none." in page and "into 3 classes" not in page
    done = cli("publish", run, "me/mine", "--dry-run")
    assert done.code == 0, done.stderr
    card = (run / "hub" / "README.md").read_text(encoding="utf-8")
    assert "any of the labels animal, weather and money?" in card
