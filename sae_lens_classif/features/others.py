"""What a study found as sae-probes and SAEBench write it: only what means the same there.

Field names are those of ``sae-probes`` (0.4, ``run_sae_evals``) and of SAEBench's ``sparse_probing`` (0.6).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sae_lens import __version__ as sae_lens_version

from sae_lens_classif.data.texts import TextData
from sae_lens_classif.features.classifiers import ClassifierSettings
from sae_lens_classif.features.store import Column, FeaturePlan
from sae_lens_classif.features.study import Study, StudyRow

_KS = (1, 2, 5, 10, 20, 50, 100)  # those that SAEBench has fields for


def sae_probes_results(
    study: Study, plan: FeaturePlan, test: TextData, dataset: str, settings: ClassifierSettings
) -> dict[str, list[dict[str, Any]]]:
    """For each SAE the entries of sae-probes' ``normal_setting/..._l2.json``.

    It probes the last token's features for one of two classes, by logistic regression on the k of the largest mean
    difference.

    Args:
        study: What was found.
        plan: What the features are.
        test: The test texts.
        dataset: What they are called.
        settings: What was fitted.

    Returns:
        By the source's name; none where something else was done.
    """
    if len(test.class_names) != 2 or not _is_k_sparse(settings) or plan.reading["special_tokens"]:
        return {}
    found = dict[str, list[dict[str, Any]]]()
    for column, row in _rows(study, plan, "last"):
        if column.is_sparse and row.n_features is not None:
            found.setdefault(column.source, []).append(
                {
                    "test_f1": _weighted_f1(row, test),
                    "test_acc": row.score.accuracy,
                    "k": row.n_features,
                    "dataset": dataset,
                    "hook_name": column.hook,
                    "reg_type": "l2",
                    "binarize": False,
                }
            )
    return found


def saebench_results(
    study: Study, plan: FeaturePlan, test: TextData, dataset: str, settings: ClassifierSettings, model: str
) -> dict[str, dict[str, Any]]:
    """For each SAE a result of SAEBench's ``sparse_probing``.

    It probes features that are means over tokens, without special ones, for each class against as many other texts;
    with two classes, equally many texts of each, that is what was done here. Its accuracies on all features are left
    out: there the probe is kept that is best on the test texts.

    Args:
        study: What was found.
        plan: What the features are.
        test: The test texts.
        dataset: What they are called.
        settings: What was fitted.
        model: What the language model is called.

    Returns:
        By the source's name; none where something else was done.
    """
    if not _is_balanced(test) or not _is_k_sparse(settings) or plan.reading["special_tokens"]:
        return {}
    rows = [pair for pair in _rows(study, plan, "mean") if pair[1].n_features in _KS]
    of_hidden = {column.hook: _accuracies(rows, column.source, "llm") for column, _ in rows if not column.is_sparse}
    found = dict[str, dict[str, Any]]()
    for column in dict.fromkeys(column for column, _ in rows if column.is_sparse):
        llm, sae = of_hidden.get(column.hook, {}), _accuracies(rows, column.source, "sae")
        release, _, sae_id = column.source.rpartition(":")  # of a folder its own name alone
        found[column.source] = {
            "eval_type_id": "sparse_probing",
            "eval_config": {
                "dataset_names": [dataset],
                "context_length": plan.reading["max_tokens"],
                "llm_dtype": plan.reading["dtype"],
                "model_name": model,
                "k_values": sorted({row.n_features for one, row in rows if one == column}),
            },
            "eval_result_metrics": {"llm": llm, "sae": sae},
            "eval_result_details": [{"dataset_name": dataset, **llm, **sae}],
            "eval_result_unstructured": {"n_train_texts": study.n_texts[0], "n_test_texts": study.n_texts[1]},
            "sae_lens_id": sae_id if release else Path(sae_id).name,
            "sae_lens_release_id": release or None,
            "sae_lens_version": sae_lens_version,
        }
    return found


def _is_k_sparse(settings: ClassifierSettings) -> bool:
    return settings.kind == "logistic" and settings.selection == "mean_difference"


def _is_balanced(test: TextData) -> bool:
    counts = np.bincount(test.labels, minlength=len(test.class_names))
    return len(counts) == 2 and bool(np.ptp(counts) <= 1)


def _rows(study: Study, plan: FeaturePlan, pooling: str) -> list[tuple[Column, StudyRow]]:
    """What was fitted on features as they are, pooled so."""
    columns = {column.name: column for column in plan.columns if column.pooling == pooling}
    return [
        (columns[row.features], row) for row in study.rows.values() if row.features in columns and row.threshold is None
    ]


def _accuracies(rows: Sequence[tuple[Column, StudyRow]], source: str, of: str) -> Mapping[str, float]:
    own = [row for column, row in rows if column.source == source]
    return {f"{of}_top_{row.n_features}_test_accuracy": row.score.accuracy for row in own}


def _weighted_f1(row: StudyRow, test: TextData) -> float:
    counts = np.bincount(test.labels, minlength=len(test.class_names))
    return float(np.average([f1 or 0.0 for f1 in row.score.f1_by_class], weights=counts))
