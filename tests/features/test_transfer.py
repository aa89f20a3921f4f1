"""Transfer of features: the matrix is what a plain loop finds, test labels touch no fit, few texts are drawn fairly."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.metrics import f1_score

from sae_lens_classif.data.texts import TextData
from sae_lens_classif.errors import UserError
from sae_lens_classif.features import domains as module
from sae_lens_classif.features.classifiers import ClassifierSettings, fit_classifier
from sae_lens_classif.features.domains import Domain, domains_by_value, draw, whole_domain
from sae_lens_classif.features.pooling import Pooling
from sae_lens_classif.features.store import FeaturePlan, FeatureStore, FeatureWriter, column_of
from sae_lens_classif.features.study import WORDS, Approach
from sae_lens_classif.features.transfer import ALL, ALL_BUT, TransferSettings, TransferStudy, transfer_study
from tests.tiny_run import contents, snapshot

LANGUAGES = ("de", "en", "fr")
WIDTH = 12
PROTOTYPE = ClassifierSettings("prototype")
SETTINGS = TransferSettings(PROTOTYPE, shots=(8,), n_draws=2, n_bootstrap=100)
APPROACHES = {
    "features": Approach("sae/max"),
    "hidden": Approach("hidden:h/last", is_baseline=True),
    "words": Approach(WORDS, is_baseline=True),
}


def texts_of(n: int, seed: int) -> tuple[TextData, list[str]]:
    """Texts whose words tell the class, other words in each language."""
    languages = [LANGUAGES[row % 3] for row in range(n)]
    labels = np.arange(n) // 3 % 2
    texts = tuple(f"{lang}{label} text {seed} {row}" for row, (lang, label) in enumerate(zip(languages, labels)))  # noqa: B905
    return TextData(texts, labels, ("a", "b")), languages


def write_store(folder: Path, data: TextData, languages: list[str], seed: int, told: Any = None) -> FeatureStore:
    """Feature 3 tells the class in every language; of the hidden state another place in each."""
    random, told = np.random.default_rng(seed), data.labels if told is None else told
    rows = (random.random((len(data), WIDTH)) < 0.2) * random.uniform(0.5, 1, (len(data), WIDTH))
    rows[:, 3] = 2 * told * (random.random(len(data)) < 0.9)
    hidden = random.normal(size=(len(data), 3), scale=0.3)
    hidden[np.arange(len(data)), [LANGUAGES.index(one) for one in languages]] += 4 * told - 2
    columns = (
        column_of("sae", "h", Pooling("max"), WIDTH, True, "1"),
        column_of("hidden:h", "h", Pooling("last"), 3, False, "2"),
    )
    writer = FeatureWriter(folder, FeaturePlan("m", "model", data.fingerprint(), {}, columns, len(data), 1000))
    writer.write(0, [csr_array(rows.astype(np.float32)), hidden.astype(np.float32)], np.ones(len(data), np.int64))
    writer.finish()
    return FeatureStore(folder)


def made(folder: Path, permuted_by: int | None = None, turned_test: bool = False) -> list[Domain]:
    (train, of_train), (test, of_test) = texts_of(180, 0), texts_of(120, 1)
    told = train.labels
    if permuted_by is not None:  # the features tell the labels that the texts had before
        train = replace(train, labels=np.random.default_rng(permuted_by).permutation(train.labels))
    of_train_texts = write_store(folder / "train", train, of_train, 0, told)
    told = test.labels
    if turned_test:
        test = replace(test, labels=1 - test.labels)
    of_test_texts = write_store(folder / "test", test, of_test, 1, told)
    return domains_by_value((train, test), (of_train_texts, of_test_texts), (of_train, of_test))


def test_the_matrix_is_what_a_plain_loop_finds(tmp_path: Path) -> None:
    domains = made(tmp_path)
    found = transfer_study("languages", domains, APPROACHES, tmp_path / "fits", SETTINGS)
    assert found.sources == found.targets == list(LANGUAGES)
    rows = [store.read("sae/max") for store in domains[0].stores]
    of_train, of_test = (np.arange(n) % 3 for n in (180, 120))
    labels = np.arange(180) // 3 % 2, np.arange(120) // 3 % 2
    for source, name in enumerate(LANGUAGES):
        own = of_train == source
        fitted = fit_classifier(rows[0][own], labels[0][own], PROTOTYPE)
        for target, other in enumerate(LANGUAGES):
            tested = of_test == target
            expected = f1_score(labels[1][tested], fitted.predict(rows[1][tested]), average="macro")
            cell = found.matrices["features"].cells[name][other]
            assert cell.macro_f1.value == pytest.approx(expected, abs=1e-6)
            low, high = cell.macro_f1.ci95
            assert low <= cell.macro_f1.value <= high
    others = of_train != 1
    fitted = fit_classifier(rows[0][others][np.argsort(of_train[others], kind="stable")],
                            labels[0][others][np.argsort(of_train[others], kind="stable")], PROTOTYPE)  # fmt: skip
    expected = f1_score(labels[1][of_test == 1], fitted.predict(rows[1][of_test == 1]), average="macro")
    assert found.matrices["features"].cells[ALL_BUT]["en"].macro_f1.value == pytest.approx(expected, abs=1e-6)
    assert set(found.matrices["features"].cells) == {*LANGUAGES, ALL, ALL_BUT}
    assert found.n_texts == dict.fromkeys(LANGUAGES, (60, 40)) and found.n_duplicates == {}
    assert TransferStudy.model_validate(found.model_dump(mode="json")).model_dump() == found.model_dump()


def test_means_are_over_the_cells_and_features_that_hold_elsewhere_beat_those_that_do_not(tmp_path: Path) -> None:
    found = transfer_study("languages", made(tmp_path), APPROACHES, tmp_path / "fits", SETTINGS)
    for matrix in found.matrices.values():
        own = [matrix.cells[name][name].macro_f1.value for name in LANGUAGES]
        other = [matrix.cells[one][two].macro_f1.value for one in LANGUAGES for two in LANGUAGES if one != two]
        assert matrix.own is not None and matrix.own.value == pytest.approx(np.mean(own))
        assert matrix.other is not None and matrix.other.value == pytest.approx(np.mean(other))
        assert matrix.kept is not None and matrix.kept.value == pytest.approx(np.mean(other) / np.mean(own))
    features, hidden, words = found.matrices.values()
    assert features.own and hidden.own and words.own and min(features.own.value, hidden.own.value) > 0.9
    assert features.kept and hidden.kept and words.other
    assert features.kept.value > 0.95 and hidden.kept.value < 0.75 and words.other.value < 0.6
    assert found.differences["hidden"].is_real and found.differences["hidden"].mean > 0.2
    assert found.differences["words"].is_real and found.loss is not None and not found.loss.is_real
    cell = features.cells["de"]["en"]
    assert cell.differences["words"].is_real and hidden.cells["de"]["en"].differences == {}
    # All test texts are called "a": F1 of it 2/3, of "b" 0.
    assert found.floor["de"]["en"] == pytest.approx(1 / 3)


def test_labels_permuted_on_the_training_side_give_chance_on_the_test_side(tmp_path: Path) -> None:
    # What tells the classes so well is right or wrong on all texts, as chance has it: chance is the mean of several.
    accuracy = dict[str, list[float]]()
    settings = replace(SETTINGS, shots=(), n_bootstrap=1)
    for seed in range(10):
        domains = made(tmp_path / str(seed), permuted_by=seed)
        found = transfer_study("languages", domains, APPROACHES, tmp_path / "fits", settings)
        for name, matrix in found.matrices.items():
            cells = [cell for of_source in matrix.cells.values() for cell in of_source.values()]
            accuracy.setdefault(name, []).append(float(np.mean([cell.accuracy for cell in cells])))
    assert {name: abs(np.mean(values) - 0.5) < 0.15 for name, values in accuracy.items()} == dict.fromkeys(
        APPROACHES, True
    ), accuracy


def test_no_label_of_a_test_text_changes_a_byte_of_any_fit(tmp_path: Path) -> None:
    one = transfer_study("languages", made(tmp_path / "1"), APPROACHES, tmp_path / "one", SETTINGS)
    other = transfer_study("languages", made(tmp_path / "2", turned_test=True), APPROACHES, tmp_path / "two", SETTINGS)
    assert contents(snapshot(tmp_path / "one", "*")) == contents(snapshot(tmp_path / "two", "*"))
    cells = one.matrices["features"].cells["de"]["en"], other.matrices["features"].cells["de"]["en"]
    assert cells[0].accuracy == pytest.approx(1 - cells[1].accuracy)


def test_a_killed_transfer_goes_on_and_ends_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    domains = made(tmp_path)
    expected = transfer_study("languages", domains, APPROACHES, tmp_path / "whole", SETTINGS)
    fit, n_fitted = getattr(module, "fit_classifier"), 0  # noqa: B009  (an import of another)

    def watched(*given: Any) -> Any:
        nonlocal n_fitted
        n_fitted += 1
        if n_fitted == 5:
            raise KeyboardInterrupt
        return fit(*given)

    monkeypatch.setattr(module, "fit_classifier", watched)
    with pytest.raises(KeyboardInterrupt):
        transfer_study("languages", domains, APPROACHES, tmp_path / "killed", SETTINGS)
    assert transfer_study("languages", domains, APPROACHES, tmp_path / "killed", SETTINGS) == expected
    n_all = n_fitted
    assert transfer_study("languages", domains, APPROACHES, tmp_path / "killed", SETTINGS) == expected
    assert n_fitted == n_all
    assert contents(snapshot(tmp_path / "whole", "*")) == contents(snapshot(tmp_path / "killed", "*"))


def test_few_texts_of_the_target_help_what_does_not_hold_elsewhere(tmp_path: Path) -> None:
    settings = replace(SETTINGS, shots=(8, 32, 1000), few_shot_from=(ALL_BUT, "de"), n_draws=3)
    found = transfer_study("languages", made(tmp_path), APPROACHES, tmp_path / "fits", settings)
    hidden = {(one.source, one.n): one for one in found.few_shot if (one.approach, one.target) == ("hidden", "en")}
    assert set(hidden) == {(source, n) for source in (ALL_BUT, "de", None) for n in (0, 8, 32)} - {(None, 0)}
    zero = found.matrices["hidden"].cells["de"]["en"].macro_f1.value
    assert hidden["de", 0].macro_f1 == [pytest.approx(zero, abs=1e-6)]
    assert len(hidden["de", 32].macro_f1) == 3
    assert np.mean(hidden["de", 32].macro_f1) > zero + 0.1
    assert np.mean(hidden[None, 8].macro_f1) > 0.9, "a prototype of a dimension that tells all"
    of_de = [one for one in found.few_shot if one.target == "de"]
    assert "de" not in {one.source for one in of_de}, "its own texts are there already"


def test_a_draw_takes_of_each_class_alike_as_far_as_there_are_any() -> None:
    labels = np.array([0] * 50 + [1] * 3 + [2] * 10)
    drawn = {n: draw(labels, n, (0, 1)) for n in (6, 12, 40)}
    assert np.bincount(labels[drawn[6]]).tolist() == [2, 2, 2]
    assert sorted(np.bincount(labels[drawn[12]]).tolist()) == [3, 4, 5] and (labels[drawn[12]] == 1).sum() == 3
    assert np.bincount(labels[drawn[40]]).tolist() == [27, 3, 10]
    assert set(drawn[6]) < set(drawn[12]) < set(drawn[40])
    assert np.array_equal(draw(labels, 6, (0, 1)), drawn[6])
    assert not np.array_equal(draw(labels, 6, (0, 2)), drawn[6])


def test_texts_of_a_source_and_of_another_target_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (train, of_train), (test, of_test) = texts_of(60, 0), texts_of(30, 1)
    test = replace(test, texts=(*test.texts[:28], train.texts[0], train.texts[3]))  # of de, called en and fr
    stores = write_store(tmp_path / "a", train, of_train, 0), write_store(tmp_path / "b", test, of_test, 1)
    domains = domains_by_value((train, test), stores, (of_train, of_test))
    found = transfer_study("languages", domains, APPROACHES, tmp_path / "fits", SETTINGS)
    assert found.n_duplicates["de"] == {"en": 1, "fr": 1}
    assert found.n_duplicates[ALL_BUT] == {"en": 1, "fr": 1}
    assert "training texts of de, too: 1 of en, 1 of fr" in caplog.text


def test_what_cannot_be_trained_on_is_a_target_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (train, of_train), (test, of_test) = texts_of(60, 0), texts_of(30, 1)
    of_train = ["en" if one == "fr" else one for one in of_train]
    stores = write_store(tmp_path / "a", train, of_train, 0), write_store(tmp_path / "b", test, of_test, 1)
    domains = domains_by_value((train, test), stores, (of_train, of_test))
    found = transfer_study("languages", domains, APPROACHES, tmp_path / "fits", SETTINGS)
    assert (found.sources, found.targets) == (["de", "en"], ["de", "en", "fr"])
    assert "fr has too few training texts" in caplog.text
    assert {one.target for one in found.few_shot if one.source is None} == {"de", "en"}


def test_mistakes_are_told(tmp_path: Path) -> None:
    domains = made(tmp_path)
    with pytest.raises(UserError, match=r"one of the languages alone .*\(de\)"):
        transfer_study("languages", domains[:1], APPROACHES, tmp_path / "fits", SETTINGS)
    with pytest.raises(UserError, match=r"few_shot_from holds 'english'; Valid: de, en, fr"):
        transfer_study(
            "languages", domains, APPROACHES, tmp_path / "fits", replace(SETTINGS, few_shot_from=("english",))
        )
    (store, _), plan = domains[0].stores, domains[0].stores[0].plan
    writer = FeatureWriter(tmp_path / "other", replace(plan, model="another"))
    writer.write(0, [store.read(column.name) for column in plan.columns], np.ones(len(store), np.int64))
    writer.finish()
    of_another = replace(domains[0], stores=(FeatureStore(tmp_path / "other"), domains[0].stores[1]))
    with pytest.raises(UserError, match="features of other models or SAEs"):
        transfer_study("data", [of_another, *domains[1:]], APPROACHES, tmp_path / "fits", SETTINGS)
    data, languages = texts_of(180, 0)
    with pytest.raises(UserError, match="1 training texts say nothing of their language"):
        domains_by_value((data, data), domains[0].stores, ([None, *languages[1:]], languages))
    with pytest.raises(UserError, match="features of other texts"):
        whole_domain("x", (data, data), (domains[0].stores[1], domains[0].stores[1]))
