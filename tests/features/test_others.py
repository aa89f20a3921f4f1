"""Results in the shapes of other packages: their names, our numbers, and nothing that means something else."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score

from sae_lens_classif.data.texts import TextData
from sae_lens_classif.features.classifiers import ClassifierSettings
from sae_lens_classif.features.others import sae_probes_results, saebench_results
from sae_lens_classif.features.pooling import Pooling
from sae_lens_classif.features.scores import Score, score_all
from sae_lens_classif.features.store import FeaturePlan, column_of
from sae_lens_classif.features.study import Approach, Study, StudyRow

SETTINGS = ClassifierSettings()
LABELS = np.arange(10) % 2
TEST = TextData(tuple(map(str, range(10))), LABELS, ("no", "yes"))
SAE, HIDDEN_STATE = "release:layer/width", "hidden:blocks.1.hook_resid_post"
HOOK = "blocks.1.hook_resid_post"
COLUMNS = tuple(
    column_of(source, HOOK, Pooling.of(pooling), 20, source == SAE, "f")
    for source in (SAE, HIDDEN_STATE)
    for pooling in ("last", "mean")
)
READING = {"max_tokens": 64, "special_tokens": False, "dtype": "float32"}
PLAN = FeaturePlan("org/model", "m", "d", READING, COLUMNS, 10, 10)


def predicted(n_wrong: int) -> Any:
    return np.where(np.arange(10) < n_wrong, 1 - LABELS, LABELS)


def scored(n_wrong: int, gold: Any = LABELS) -> Score:
    return score_all({"x": predicted(n_wrong)}, gold, 2, "x", 10)["x"]


def studied() -> Study:
    rows = {}
    for place, column in enumerate(COLUMNS):
        for n_features in (1, 5, 7, None):
            for threshold in (None, 1.0):
                approach = Approach(column.name, threshold, n_features, not column.is_sparse)
                n_wrong = place + (n_features or 4) % 4 + (threshold is not None)
                rows[approach.name] = StudyRow(
                    features=column.name, threshold=threshold, n_features=n_features, is_baseline=not column.is_sparse,
                    picked={}, cv_macro_f1=0.5, cv_range=(0.5, 0.5), score=scored(n_wrong),
                )  # fmt: skip
    return Study(rows=rows, best=f"{SAE}/last", best_baseline=f"{HIDDEN_STATE}/last", n_texts=(30, 10), n_duplicates=0)


def test_sae_probes_entries_are_of_the_last_token_s_best_features_as_they_are() -> None:
    found = sae_probes_results(studied(), PLAN, TEST, "texts", SETTINGS)
    assert list(found) == [SAE] and [entry["k"] for entry in found[SAE]] == [1, 5, 7]
    for entry, n_wrong in zip(found[SAE], (1, 1, 3), strict=True):
        assert entry == {
            "test_f1": pytest.approx(f1_score(LABELS, predicted(n_wrong), average="weighted")),
            "test_acc": pytest.approx(1 - n_wrong / 10),
            "k": entry["k"],
            "dataset": "texts",
            "hook_name": HOOK,
            "reg_type": "l2",
            "binarize": False,
        }


def test_saebench_s_accuracies_are_of_means_for_each_of_its_k() -> None:
    found = saebench_results(studied(), PLAN, TEST, "texts", SETTINGS, "org/model")
    result = found[SAE]
    assert list(found) == [SAE]
    assert result["eval_result_metrics"] == {
        "llm": pytest.approx({"llm_top_1_test_accuracy": 0.6, "llm_top_5_test_accuracy": 0.6}),
        "sae": pytest.approx({"sae_top_1_test_accuracy": 0.8, "sae_top_5_test_accuracy": 0.8}),
    }
    (details,) = result["eval_result_details"]
    assert details == {
        "dataset_name": "texts",
        **result["eval_result_metrics"]["llm"],
        **result["eval_result_metrics"]["sae"],
    }
    assert result["eval_type_id"] == "sparse_probing" and result["eval_config"]["k_values"] == [1, 5]
    assert (result["sae_lens_release_id"], result["sae_lens_id"]) == ("release", "layer/width")


@pytest.mark.parametrize(
    ("plan", "test", "settings"),
    [
        (PLAN, TEST, replace(SETTINGS, kind="tree")),
        (PLAN, TEST, replace(SETTINGS, selection="l1")),
        (replace(PLAN, reading={**READING, "special_tokens": True}), TEST, SETTINGS),
        (PLAN, TextData(TEST.texts, LABELS, ("a", "b", "c")), SETTINGS),
    ],
    ids=("tree", "l1", "special tokens", "three classes"),
)
def test_what_is_something_else_there_is_left_out(
    plan: FeaturePlan, test: TextData, settings: ClassifierSettings
) -> None:
    assert sae_probes_results(studied(), plan, test, "texts", settings) == {}
    assert saebench_results(studied(), plan, test, "texts", settings, "m") == {}


def test_saebench_is_asked_of_as_many_texts_of_each_class_alone() -> None:
    uneven = TextData(TEST.texts, (np.arange(10) < 7).astype(np.int64), TEST.class_names)
    assert saebench_results(studied(), PLAN, uneven, "texts", SETTINGS, "m") == {}
    assert sae_probes_results(studied(), PLAN, uneven, "texts", SETTINGS) != {}
