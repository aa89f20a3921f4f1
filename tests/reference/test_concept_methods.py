"""ConceptSHAP and HI-Concept through a real GPT-NeoX against ``concept_methods.*``, relative 1e-5."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sae_lens_classif.hooks.classifier import TextClassifier
from sae_lens_classif.methods.concept_vectors import Batch, ConceptSHAP, ConceptVectors, HIConcept, weighted_sum
from tests.reference.tiny_neox import load_tiny_neox

RELATIVE = 1e-5


@pytest.fixture(scope="module")
def model(reference_dir: Path, reference: Callable[[str], Any]) -> TextClassifier:
    settings, _ = reference("concept_methods")
    hook_name = f"blocks.{settings['layer']}.hook_resid_pre"
    return load_tiny_neox(reference_dir / settings["model"], settings["label_token_ids"], hook_name)


def _concept_shap(settings: dict[str, Any], tensors: dict[str, torch.Tensor]) -> ConceptSHAP:
    return ConceptSHAP(
        tensors["concept_shap.concept"],
        tensors["concept_shap.rec_vector_1"],
        tensors["concept_shap.rec_vector_2"],
        threshold=settings["concept_shap"]["threshold"],
    )


@pytest.fixture(params=["concept_shap", "hi_concept"])
def method(request: pytest.FixtureRequest, reference: Callable[[str], Any]) -> ConceptVectors:
    settings, tensors = reference("concept_methods")
    if request.param == "concept_shap":
        return _concept_shap(settings, tensors)
    return HIConcept(*(tensors[f"hi_concept.{name}"] for name in ("concept", "rec_vector_1", "rec_vector_2")))


def _terms(tensors: dict[str, torch.Tensor], model: TextClassifier, method: ConceptVectors) -> dict[str, torch.Tensor]:
    return method.loss_terms(model, Batch(tensors["hidden"], tensors["y_pred"], False, torch.Generator()))


def _assert_close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    scale = float(theirs.abs().max())
    torch.testing.assert_close(ours, theirs, rtol=RELATIVE, atol=RELATIVE * scale)


def test_scores_and_reconstructions_equal_the_reference(
    reference: Callable[[str], Any], method: ConceptVectors
) -> None:
    _, tensors = reference("concept_methods")
    concepts = method.encode(tensors["hidden"])
    _assert_close(concepts, tensors[f"{method.name}.scores"])
    _assert_close(method.decode(concepts), tensors[f"{method.name}.reconstruction"])


def test_every_loss_term_equals_the_reference(
    reference: Callable[[str], Any], model: TextClassifier, method: ConceptVectors
) -> None:
    settings, tensors = reference("concept_methods")
    theirs = settings[method.name]
    names = {"prediction": "prediction_loss", "reconstruction": "autoencoder_loss"}
    for name, ours in _terms(tensors, model, method).items():
        assert ours.item() == pytest.approx(theirs[names.get(name, name)], rel=RELATIVE), name


def test_the_loss_of_concept_shap_equals_the_reference(reference: Callable[[str], Any], model: TextClassifier) -> None:
    settings, tensors = reference("concept_methods")
    theirs = settings["concept_shap"]
    terms = _terms(tensors, model, _concept_shap(settings, tensors))
    assert ConceptSHAP.weights == {"prediction": 1, "R1": theirs["r1"], "R2": theirs["r2"]}
    assert weighted_sum(terms, ConceptSHAP.weights).item() == pytest.approx(theirs["loss"], rel=RELATIVE)
