"""A study of features: what tells the classes wins, nothing is picked on the test texts, and a killed one goes on."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.metrics import f1_score
from sklearn.model_selection import StratifiedKFold

from sae_lens_classif.data.texts import TextData
from sae_lens_classif.errors import UserError
from sae_lens_classif.features import study as module
from sae_lens_classif.features.classifiers import ClassifierSettings
from sae_lens_classif.features.pooling import Pooling
from sae_lens_classif.features.store import FeaturePlan, FeatureStore, FeatureWriter, column_of
from sae_lens_classif.features.study import CLASSIFIER, OtherFeatures, Stores, Study, StudySettings, study
from tests.tiny_run import contents, snapshot

WIDTH = 30
SETTINGS = StudySettings(ClassifierSettings("prototype"), thresholds=(1.0,), n_features=(2,), n_bootstrap=100)


def texts_of(n: int, seed: int) -> TextData:
    random = np.random.default_rng(seed)
    texts = tuple(" ".join(random.choice(["dog", "cat", "rain", "bank"], 5)) + f" {seed} {row}" for row in range(n))
    return TextData(texts, np.arange(n) % 2, ("a", "b"))


def write_store(folder: Path, data: TextData, seed: int, *, is_permuted: bool = False) -> FeatureStore:
    """Features: some that tell the classes, some that do not, and hidden states that tell a little."""
    random, labels = np.random.default_rng(seed), data.labels
    told = random.permutation(labels) if is_permuted else labels
    telling = (random.random((len(data), WIDTH)) < 0.2) * random.uniform(0.5, 2, (len(data), WIDTH))
    telling[:, 3] = 2 * told * (random.random(len(data)) < 0.9)
    nothing = (random.random((len(data), WIDTH)) < 0.2) * 1.5
    hidden = (random.normal(size=(len(data), 4)) + told[:, None]).astype(np.float32)
    columns = (
        column_of("telling", "h", Pooling("max"), WIDTH, True, "1"),
        column_of("untrained", "h", Pooling("max"), WIDTH, True, "2"),
        column_of("hidden:h", "h", Pooling("last"), 4, False, "3"),
    )
    plan = FeaturePlan("m", "model", data.fingerprint(), {}, columns, len(data), 1000)
    writer = FeatureWriter(folder, plan)
    rows = [csr_array(telling.astype(np.float32)), csr_array(nothing.astype(np.float32)), hidden]
    writer.write(0, rows, np.ones(len(data), np.int64))
    writer.finish()
    return FeatureStore(folder)


def made(tmp_path: Path, **options: Any) -> tuple[dict[str, Stores], tuple[TextData, TextData]]:
    train, test = texts_of(120, 0), texts_of(80, 1)
    stores = write_store(tmp_path / "train", train, 0, **options), write_store(tmp_path / "test", test, 1, **options)
    return {"m": stores}, (train, test)


def test_what_tells_the_classes_is_best_and_beats_the_best_baseline(tmp_path: Path) -> None:
    stores, data = made(tmp_path)
    found = study(stores, data, tmp_path / "fits", SETTINGS, baselines=["untrained"])
    assert found.best.startswith("telling/max") and found.best_baseline == "hidden:h/last"
    best = found.rows[found.best]
    assert best.score.macro_f1 > 0.9
    assert best.score.difference is not None and best.score.difference.is_real
    assert found.rows["the commonest class"].score.accuracy == 0.5
    assert found.rows["the commonest class"].cv_macro_f1 is None
    random = next(row for name, row in found.rows.items() if name.startswith("random features as many as telling"))
    assert abs(random.score.macro_f1 - 0.5) < 0.2 and random.is_baseline
    assert {name for name, row in found.rows.items() if row.is_baseline} > {"words (TF-IDF)", "untrained/max"}
    for row in found.rows.values():
        assert row.cv_range is None or row.cv_range[0] <= row.cv_macro_f1 == row.cv_range[1]  # type: ignore[operator]
    assert found.n_texts == (120, 80) and found.n_duplicates == 0
    assert Study.model_validate(found.model_dump()) == found


def test_features_that_tell_nothing_of_the_classes_give_chance_in_every_approach(tmp_path: Path) -> None:
    stores, data = made(tmp_path, is_permuted=True)
    found = study(stores, data, tmp_path / "fits", SETTINGS)
    assert all(abs(row.score.accuracy - 0.5) < 0.2 for row in found.rows.values())
    assert all(row.cv_macro_f1 is None or row.cv_macro_f1 < 0.65 for row in found.rows.values())


def test_what_is_picked_does_not_depend_on_the_test_texts(tmp_path: Path) -> None:
    stores, data = made(tmp_path)
    one = study(stores, data, tmp_path / "one", SETTINGS)
    turned = TextData(data[1].texts, 1 - data[1].labels, data[1].class_names)
    other_test = write_store(tmp_path / "other", turned, 7)
    other = study({"m": (stores["m"][0], other_test)}, (data[0], turned), tmp_path / "two", SETTINGS)
    assert (one.best, one.best_baseline) == (other.best, other.best_baseline)
    assert {n: (r.picked, r.cv_range) for n, r in one.rows.items()} == {
        n: (r.picked, r.cv_range) for n, r in other.rows.items()
    }


def test_a_killed_study_goes_on_and_ends_with_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stores, data = made(tmp_path)
    whole = study(stores, data, tmp_path / "whole", SETTINGS)
    fit, n_fitted = getattr(module, "fit_classifier"), 0  # noqa: B009  (an import of another)

    def watched(*given: Any) -> Any:
        nonlocal n_fitted
        n_fitted += 1
        if n_fitted == 4:
            raise KeyboardInterrupt
        return fit(*given)

    monkeypatch.setattr(module, "fit_classifier", watched)
    with pytest.raises(KeyboardInterrupt):
        study(stores, data, tmp_path / "killed", SETTINGS)
    assert study(stores, data, tmp_path / "killed", SETTINGS) == whole
    n_all = n_fitted
    assert study(stores, data, tmp_path / "killed", SETTINGS) == whole and n_fitted == n_all
    assert contents(snapshot(tmp_path / "whole", "*")) == contents(snapshot(tmp_path / "killed", "*"))
    damaged = next((tmp_path / "killed").glob("*.json"))
    damaged.write_text(damaged.read_text(encoding="utf-8").replace("0", "1", 1), encoding="utf-8")
    assert study(stores, data, tmp_path / "killed", SETTINGS) == whole


def test_texts_of_both_splits_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train = texts_of(60, 0)
    test = TextData((*texts_of(40, 1).texts[:38], *train.texts[:2]), np.arange(40) % 2, ("a", "b"))
    stores = {"m": (write_store(tmp_path / "train", train, 0), write_store(tmp_path / "test", test, 1))}
    assert study(stores, (train, test), tmp_path / "fits", SETTINGS).n_duplicates == 2
    assert "2 test texts are training texts, too" in caplog.text


def test_what_does_not_belong_together_is_refused(tmp_path: Path) -> None:
    stores, data = made(tmp_path)
    with pytest.raises(UserError, match="features of other texts"):
        study(stores, (data[0], texts_of(80, 5)), tmp_path / "fits", SETTINGS)
    with pytest.raises(UserError, match="no features but baselines"):
        study(stores, data, tmp_path / "fits", SETTINGS, baselines=["untrained", "telling"])
    of_train, of_test = stores["m"]
    other = copied(of_test, tmp_path / "other", model="another")
    with pytest.raises(UserError, match="other models or SAEs"):
        study({"m": (of_train, other)}, data, tmp_path / "fits", SETTINGS)


def copied(store: FeatureStore, folder: Path, **changes: Any) -> FeatureStore:
    """The same features with another plan."""
    plan = replace(store.plan, **changes)
    writer = FeatureWriter(folder, plan)
    writer.write(0, [store.read(column.name) for column in plan.columns], np.ones(len(store), np.int64))
    writer.finish()
    return FeatureStore(folder)


def test_what_is_within_a_standard_error_is_known_from_the_folds(tmp_path: Path) -> None:
    stores, data = made(tmp_path)
    row = study(stores, data, tmp_path / "fits", SETTINGS).rows["telling/max"]
    rows: Any = stores["m"][0].read("telling/max")
    scores = []
    for train, test in StratifiedKFold(5, shuffle=True, random_state=42).split(data[0].labels, data[0].labels):
        scale = np.maximum(np.abs(rows[train].toarray()).max(axis=0), 1e-12)
        unit = [one / np.maximum(np.linalg.norm(one, axis=1, keepdims=True), 1e-12)
                for one in (rows[train].toarray() / scale, rows[test].toarray() / scale)]  # fmt: skip
        of_class = [unit[0][data[0].labels[train] == label].mean(axis=0) for label in (0, 1)]
        said = np.stack([unit[1] @ (one / np.linalg.norm(one)) for one in of_class], axis=1).argmax(axis=1)
        scores.append(f1_score(data[0].labels[test], said, average="macro"))
    assert row.cv_macro_f1 == pytest.approx(np.mean(scores), abs=1e-6)
    assert row.cv_standard_error == pytest.approx(np.std(scores, ddof=1) / 5**0.5, abs=1e-6)
    assert (row.source, row.hook, row.width, row.pooling, row.model) == ("telling", "h", WIDTH, "max", None)


def test_features_of_several_models_meet_in_one_table_and_are_told_apart(tmp_path: Path) -> None:
    stores, data = made(tmp_path)
    alone = study(stores, data, tmp_path / "fits", SETTINGS, baselines=["untrained"])
    n_fits = len(list((tmp_path / "fits").glob("*.json")))
    worse = [texts_store(tmp_path / name, of, seed) for name, of, seed in (("w0", data[0], 0), ("w1", data[1], 1))]
    found = study(stores | {"worse": (worse[0], worse[1])}, data, tmp_path / "fits", SETTINGS, baselines=["untrained"])
    assert found.best == f"m: {alone.best}" and found.best_baseline == f"m: {alone.best_baseline}"
    assert found.rows["worse: telling/max"].model == "worse" and found.rows["worse: telling/max"].source == "telling"
    assert found.rows["worse: telling/max"].score.macro_f1 < 0.7 < found.rows["m: telling/max"].score.macro_f1
    assert found.rows["worse: untrained/max"].is_baseline and found.rows["worse: hidden:h/last"].is_baseline
    assert found.rows["words (TF-IDF)"].model is None
    shared = {name: row for name, row in alone.rows.items() if row.source is not None}
    assert all(found.rows[f"m: {name}"].cv_range == row.cv_range for name, row in shared.items())
    n_of_model = len(shared)
    assert len(list((tmp_path / "fits").glob("*.json"))) == n_fits + n_of_model, (
        "what was fitted of m is not fitted again"
    )


def texts_store(folder: Path, data: TextData, seed: int) -> FeatureStore:
    return copied(write_store(folder / "as_m", data, seed, is_permuted=True), folder / "f", model="other")


def test_baselines_of_no_language_model_stand_in_the_table(tmp_path: Path) -> None:
    stores, data = made(tmp_path)
    random = np.random.default_rng(0)
    rows = [np.stack([of.labels, random.normal(size=len(of))], axis=1).astype(np.float32) for of in data]
    given = [OtherFeatures("sentence embeddings (all)", (rows[0], rows[1]), "1")]
    found = study(stores, data, tmp_path / "fits", SETTINGS, others=given)
    row = found.rows["sentence embeddings (all)"]
    assert row.score.macro_f1 == 1 and row.is_baseline and row.pooling is None
    assert found.best_baseline == "sentence embeddings (all)"
    other = [OtherFeatures("sentence embeddings (all)", (rows[0][:, 1:], rows[1][:, 1:]), "2")]
    again = study(stores, data, tmp_path / "fits", SETTINGS, others=other)
    assert again.rows["sentence embeddings (all)"].score.macro_f1 < 0.7, "of others another fit"


def test_the_classifier_itself_is_scored_and_competes_with_nothing(tmp_path: Path) -> None:
    stores, data = made(tmp_path)
    without = study(stores, data, tmp_path / "fits", SETTINGS)
    assert without.ceiling is None
    decided = data[1].labels.copy()
    decided[:8] = 1 - decided[:8]
    found = study(stores, data, tmp_path / "fits", SETTINGS, decided=decided)
    assert (
        found.ceiling is not None and found.ceiling.accuracy == pytest.approx(0.9) and found.ceiling.difference is None
    )
    assert found.ceiling.macro_f1_ci95[0] < 0.9 < found.ceiling.macro_f1_ci95[1]
    assert found.model_copy(update={"ceiling": None}) == without, "nothing else depends on it"
    assert CLASSIFIER not in found.rows
