"""Bottleneck, segments and ablations through a real GPT-NeoX against ``completeness.*``."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sae_lens_classif import ClassifSAE, ClassifSAEConcepts, ClassifSAEConfig
from sae_lens_classif.evals.causality import conditional_causality, global_causality
from sae_lens_classif.evals.completeness import completeness
from sae_lens_classif.evals.segments import leading_concepts, segments
from sae_lens_classif.hooks.backends.hooked_transformer import HookedTransformerClassifier
from sae_lens_classif.hooks.interventions import InterventionLogits, replace_states, run_interventions
from tests.reference.tiny_neox import load_tiny_neox

LOGITS = 1e-4
# A rate of single precision in the reference has about seven digits.
EXACTLY = 1e-6


@pytest.fixture(scope="module")
def model(reference_dir: Path, reference: Callable[[str], Any]) -> HookedTransformerClassifier:
    settings, _ = reference("completeness")
    return load_tiny_neox(reference_dir / "tiny_neox", settings["label_token_ids"], settings["hook_name"])


@pytest.fixture(scope="module")
def sae(reference: Callable[[str], Any]) -> ClassifSAE:
    settings, tensors = reference("completeness")
    weights = {name.removeprefix("sae."): value for name, value in tensors.items() if name.startswith("sae.")}
    d_in, d_sae = weights["W_enc"].shape
    loaded = ClassifSAE(
        ClassifSAEConfig(
            dtype="float64",
            d_in=d_in,
            d_sae=d_sae,
            k=settings["k"],
            n_concepts=settings["n_class_features"],
            n_classes=len(settings["label_token_ids"]),
            normalize_activations=settings["normalize_activations"],
        )
    )
    loaded.load_state_dict(weights)
    return loaded


@pytest.fixture(scope="module")
def prompts(reference: Callable[[str], Any]) -> list[list[int]]:
    _, tensors = reference("completeness")
    pairs = zip(tensors["input_ids"], tensors["attention_mask"].bool(), strict=True)
    return [ids[mask].tolist() for ids, mask in pairs]


@pytest.fixture(scope="module")
def logits(reference: Callable[[str], Any], model: HookedTransformerClassifier, sae: ClassifSAE) -> InterventionLogits:
    settings, tensors = reference("completeness")
    method = ClassifSAEConcepts(sae)
    concepts = method.encode(tensors["hidden"])
    by_class = tuple(tuple(own) for own in settings["segments_by_class"])
    groups = torch.zeros(len(leading_concepts(by_class)), concepts.shape[1], dtype=torch.bool)
    for row, (_, _, own) in enumerate(leading_concepts(by_class)):
        groups[row, list(own)] = True
    return run_interventions(model, method.decode, tensors["hidden"], concepts.detach(), groups=groups, batch_size=64)


def test_hidden_states_and_logits_of_the_prompts_equal_the_reference(
    reference: Callable[[str], Any], model: HookedTransformerClassifier, prompts: list[list[int]]
) -> None:
    _, tensors = reference("completeness")
    states = model.states_and_logits(prompts)
    torch.testing.assert_close(states.hidden.double(), tensors["hidden"], rtol=0, atol=1e-4)
    torch.testing.assert_close(states.logits.double(), tensors["class_logits"], rtol=0, atol=LOGITS)


def test_latents_and_bottleneck_logits_equal_the_reference(
    reference: Callable[[str], Any],
    model: HookedTransformerClassifier,
    sae: ClassifSAE,
    logits: InterventionLogits,
) -> None:
    _, tensors = reference("completeness")
    torch.testing.assert_close(sae.encode(tensors["hidden"]), tensors["z"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(logits.bottleneck.double(), tensors["logits_reconstruction"], rtol=0, atol=LOGITS)
    torch.testing.assert_close(
        logits.bottleneck.double().softmax(dim=-1), tensors["probs_no_ablation"], rtol=0, atol=LOGITS
    )


def test_the_decoded_state_has_the_norm_of_the_original(reference: Callable[[str], Any], sae: ClassifSAE) -> None:
    _, tensors = reference("completeness")
    method = ClassifSAEConcepts(sae)
    replaced = replace_states(method.decode, method.encode(tensors["hidden"]), tensors["hidden"])
    torch.testing.assert_close(replaced.norm(dim=-1), tensors["hidden"].norm(dim=-1))


def test_rates_of_completeness_equal_the_reference(reference: Callable[[str], Any], logits: InterventionLogits) -> None:
    settings, tensors = reference("completeness")
    metrics = completeness(
        tensors["class_logits"].argmax(dim=-1),
        logits,
        tensors["y_true"],
        tensors["z"][:, : settings["n_class_features"]],
    ).metrics
    assert metrics["recovery_accuracy"] == pytest.approx(settings["recovery_accuracy"], abs=EXACTLY)
    assert metrics["original_accuracy"] == pytest.approx(settings["original_accuracy"], abs=EXACTLY)
    assert metrics["bottleneck_accuracy"] == pytest.approx(settings["reconstruction_accuracy"], abs=EXACTLY)
    mean, maximum = settings["mean_activation_rate_percent"], settings["max_activation_rate_percent"]
    assert metrics["mean_activation_rate"] == pytest.approx(mean / 100, abs=EXACTLY)
    assert metrics["max_activation_rate"] == pytest.approx(maximum / 100, abs=EXACTLY)


def test_conditional_effects_equal_the_reference(reference: Callable[[str], Any], logits: InterventionLogits) -> None:
    settings, tensors = reference("completeness")
    measures = conditional_causality(logits, tensors["y_true"], settings["n_class_features"])
    for expected, ours in zip(settings["conditional"], measures.details["concepts"], strict=True):
        assert ours["n_texts"] == expected["n"]
        if expected["n"]:
            assert ours["tvd"] == pytest.approx(expected["tvd"], abs=LOGITS)
            assert ours["label_flip_rate"] == pytest.approx(expected["label_flip_rate"], abs=EXACTLY)
            assert ours["accuracy_change"] == pytest.approx(expected["accuracy_change"], abs=EXACTLY)
    for name in ("tvd", "label_flip_rate", "accuracy_change"):
        ours_mean, theirs = measures.metrics[f"conditional_{name}"], settings[f"mean_conditional_{name}"]
        assert ours_mean == pytest.approx(theirs, abs=LOGITS if name == "tvd" else EXACTLY)


def test_segments_and_global_ablations_equal_the_reference(
    reference: Callable[[str], Any], logits: InterventionLogits
) -> None:
    settings, tensors = reference("completeness")
    concepts = tensors["z"][:, : settings["n_class_features"]]
    found = segments(concepts, tensors["y_true"], len(settings["label_token_ids"]))
    assert [list(own) for own in found.by_class] == settings["segments_by_class"]
    entries = global_causality(logits, tensors["y_true"], found)
    for expected, ours in zip(settings["global_ablation"], entries, strict=True):
        assert (ours["percent"], ours["class"]) == (expected["size"], expected["class_"])
        assert ours["concepts"] == expected["features"]
        assert ours["tvd"] == pytest.approx(expected["tvd"], abs=LOGITS)
        assert ours["label_flip_rate"] == pytest.approx(expected["label_flip_rate"], abs=EXACTLY)
        assert ours["accuracy_change"] == pytest.approx(expected["accuracy_change"], abs=EXACTLY)
