"""ConceptSim, SentenceSim and the sets against ``interpretability.*``, to 1e-5."""

from collections.abc import Callable
from typing import Any

import pytest

from sae_lens_classif.evals.interpretability import interpretability

TOLERANCE = 1e-5


def test_every_measure_of_interpretability_equals_the_reference(reference: Callable[[str], Any]) -> None:
    settings, tensors = reference("interpretability")
    measures = interpretability(tensors["activations"], tensors["embeddings"], n_bootstrap=20)
    metrics, details = measures.metrics, measures.details
    for concept, expected in settings["jenks_threshold"].items():
        assert details["jenks_break"][int(concept)] == (
            None if expected is None else pytest.approx(expected, abs=TOLERANCE)
        )
    assert details["activating_texts"] == settings["activating_cluster_size"]
    assert details["concept_sim"] == pytest.approx(settings["concept_sim"], abs=TOLERANCE)
    names = {
        "concept_sim": "concept_sim_weighted",
        "concept_sim_unweighted": "concept_sim_unweighted",
        "dataset_mean_cosine": "dataset_mean_cosine",
        "sentence_sim": "sentence_sim_k1_to_k4",
        "mean_jaccard": "mean_jaccard",
        "redundancy": "redundancy",
        "coverage": "coverage",
    }
    for ours, theirs in names.items():
        assert metrics[ours] == pytest.approx(settings[theirs], abs=TOLERANCE), ours
