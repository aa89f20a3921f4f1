"""ConceptSHAP and HI-Concept: scores and losses against values computed by hand, training, saving."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sae_lens_classif.config.methods import BaselineConfig
from sae_lens_classif.errors import UserError
from sae_lens_classif.hooks.classifier import TextClassifier
from sae_lens_classif.methods.base import FitTask, load_method
from sae_lens_classif.methods.concept_vectors import (
    Batch,
    ConceptSHAP,
    ConceptVectors,
    HIConcept,
    causal_loss,
    closeness_loss,
    concept_scores,
    distinctness_loss,
    draw_kept,
    drop_scores,
    reconstruct,
    threshold_scores,
    weighted_sum,
)
from sae_lens_classif.store.store import ActivationStore

QUICK = BaselineConfig(epochs=4, batch_size=32, hidden_dim=16)
both = pytest.mark.parametrize("kind", [ConceptSHAP, HIConcept])
# Concepts that are the axes, twice as long as they need be, and a decoder that changes nothing.
AXES = (2 * torch.eye(3), torch.eye(3), torch.eye(3))
TENSORS = ("concept", "rec_vector_1", "rec_vector_2")


@pytest.fixture
def task(train_store: ActivationStore, classifier: TextClassifier) -> FitTask:
    return FitTask(train_store, classifier, n_concepts=6, baselines=QUICK)


def _same(one: ConceptVectors, other: ConceptVectors) -> bool:
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in TENSORS)


def _loss(method: ConceptVectors, task: FitTask, second_half: bool) -> float:
    batch = Batch(task.hidden, task.predicted, second_half, torch.Generator().manual_seed(0))
    return weighted_sum(method.loss_terms(task.classifier, batch), method.weights).item()


def test_scores_are_projections_on_unit_vectors_and_cosines_with_them() -> None:
    concept = torch.tensor([[3.0, 0.0], [4.0, 0.5]])  # (d_in, n): unit vectors (0.6, 0.8) and (0, 1)
    raw, cosine = concept_scores(torch.tensor([[10.0, 0.0]]), concept)
    torch.testing.assert_close(raw, torch.tensor([[6.0, 0.0]]))
    torch.testing.assert_close(cosine, torch.tensor([[0.6, 0.0]]))


def test_only_scores_above_the_threshold_are_kept_as_shares_of_their_sum() -> None:
    raw, normalized = torch.tensor([[3.0, 1.0, 2.0, -5.0]]), torch.tensor([[0.6, 0.31, 0.3, -0.7]])
    expected = torch.tensor([[3 / 4.001, 1 / 4.001, 0.0, 0.0]])
    torch.testing.assert_close(threshold_scores(raw, normalized, 0.3), expected)


def test_a_text_without_a_score_above_the_threshold_has_no_concepts() -> None:
    scores = threshold_scores(torch.tensor([[1.0, -2.0]]), torch.tensor([[0.1, -0.2]]), 0.3)
    assert torch.equal(scores, torch.zeros(1, 2))


def test_concept_shap_compares_the_cosine_with_its_threshold() -> None:
    hidden = torch.tensor([[4.0, 3.0, 0.0]])  # cosines 0.8, 0.6, 0
    torch.testing.assert_close(ConceptSHAP(*AXES).encode(hidden), torch.tensor([[4 / 7.001, 3 / 7.001, 0.0]]))
    strict = ConceptSHAP(*AXES, threshold=0.7)
    torch.testing.assert_close(strict.encode(hidden), torch.tensor([[4 / 4.001, 0.0, 0.0]]))


def test_hi_concept_compares_the_softmax_of_the_cosines_with_one_nth() -> None:
    hidden = torch.tensor([[4.0, 0.0, -3.0], [0.0, -5.0, -5.0]])
    # Softmax of (0.8, 0, -0.6) is above 1/3 for the first alone, as is that of (0, -0.7, -0.7), whose score is 0.
    expected = torch.tensor([[4 / 4.001, 0.0, 0.0], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(HIConcept(*AXES).encode(hidden), expected)


@both
def test_a_hidden_state_of_zeros_has_no_concepts_and_finite_gradients(
    kind: type[ConceptVectors], task: FitTask
) -> None:
    weights = [values.requires_grad_() for values in (torch.eye(32)[:, :6], torch.eye(6, 8), torch.eye(8, 32))]
    method = kind(*weights)
    hidden = torch.zeros(3, 32)
    assert torch.equal(method.encode(hidden), torch.zeros(3, 6))
    batch = Batch(hidden, torch.tensor([0, 1, 2]), True, torch.Generator().manual_seed(0))
    weighted_sum(method.loss_terms(task.classifier, batch), method.weights).backward()
    assert all(values.grad is not None and values.grad.isfinite().all() for values in weights)


def test_the_decoder_has_a_relu_between_its_layers() -> None:
    first, second = torch.tensor([[1.0, -1.0]]), torch.tensor([[2.0, 3.0], [5.0, 7.0]])
    decoded = reconstruct(torch.tensor([[1.0], [-1.0]]), first, second)
    torch.testing.assert_close(decoded, torch.tensor([[2.0, 3.0], [5.0, 7.0]]))


def test_r1_is_minus_the_mean_of_a_quarter_of_the_texts() -> None:
    normalized = torch.tensor([[1.0, 0.0], [2.0, 9.0], [3.0, 0.0], [4.0, 1.0]])
    assert closeness_loss(normalized).item() == pytest.approx(-(4 + 9) / 2)
    assert closeness_loss(normalized.repeat(2, 1)).item() == pytest.approx(-(4 + 4 + 9 + 9) / 4)
    assert closeness_loss(normalized[:3]).item() == pytest.approx(-(3 + 9) / 2)  # at least one text


def test_r2_is_the_mean_cosine_between_concepts_with_zeros_on_the_diagonal() -> None:
    concept = torch.tensor([[2.0, 3.0], [0.0, 4.0]])  # the cosine is 0.6
    assert distinctness_loss(concept).item() == pytest.approx(2 * 0.6 / 4)


def test_dropped_scores_are_left_out_of_the_sum_and_the_last_is_never_dropped() -> None:
    raw = torch.tensor([[1.0, 2.0, -4.0], [1.0, 2.0, 5.0]])
    kept = torch.tensor([[True, False], [False, False]])
    expected = torch.tensor([[1 / -2.999, 0.0, -4 / -2.999], [0.0, 0.0, 5 / 5.001]])
    torch.testing.assert_close(drop_scores(raw, kept), expected)


def test_the_causal_term_is_minus_the_mean_distance_of_the_class_distributions() -> None:
    whole, perturbed = torch.tensor([[0.8, 0.2], [0.5, 0.5]]), torch.tensor([[0.3, 0.7], [0.5, 0.5]])
    assert causal_loss(whole, perturbed).item() == pytest.approx(-(0.5 + 0.5) / 2)


def test_the_causal_term_of_a_batch_is_the_one_of_its_fixed_drops(
    monkeypatch: pytest.MonkeyPatch, task: FitTask
) -> None:
    kept = torch.tensor([[True, False, True, True, True], [False] * 5, [True] * 5])
    method = HIConcept.fit(task)
    monkeypatch.setattr("sae_lens_classif.methods.concept_vectors.draw_kept", lambda *_: kept)
    hidden = task.hidden[:3]
    raw = hidden @ method.directions().T
    raw_left = raw * torch.cat([kept, torch.ones(3, 1)], dim=1)
    left = raw_left / (raw_left.sum(dim=1, keepdim=True) + 1e-3)
    whole, perturbed = (
        task.classifier.logits_from(method.decode(shares)).softmax(dim=1) for shares in (method.encode(hidden), left)
    )
    expected = -(whole - perturbed).abs().sum(dim=1).mean().item()
    terms = method.loss_terms(task.classifier, Batch(hidden, task.predicted[:3], True, torch.Generator()))
    assert terms["causal"].item() == pytest.approx(expected, rel=1e-5)


def test_a_fifth_of_the_scores_is_dropped() -> None:
    kept = draw_kept(1000, 21, torch.Generator().manual_seed(0))
    assert kept.shape == (1000, 20)
    assert kept.float().mean().item() == pytest.approx(0.8, abs=0.01)


@both
def test_a_training_lowers_its_loss(kind: type[ConceptVectors], task: FitTask) -> None:
    start = kind.fit(replace(task, baselines=replace(QUICK, lr=1e-12)))
    fitted = kind.fit(replace(task, baselines=replace(QUICK, lr=3e-3)))
    for second_half in (False, True):
        assert _loss(fitted, task, second_half) < _loss(start, task, second_half) - 0.1


def test_the_causal_term_counts_in_the_second_half_of_the_epochs_alone(
    monkeypatch: pytest.MonkeyPatch, task: FitTask
) -> None:
    halves: list[bool] = []
    original = HIConcept.loss_terms

    def spy(self: HIConcept, classifier: TextClassifier, batch: Batch) -> dict[str, torch.Tensor]:
        terms = original(self, classifier, batch)
        halves.append("causal" in terms)
        return terms

    monkeypatch.setattr(HIConcept, "loss_terms", spy)
    HIConcept.fit(replace(task, baselines=replace(QUICK, batch_size=120)))
    assert halves == [False] * 4 + [True] * 4


@both
def test_fitting_twice_with_one_seed_gives_the_same_bytes_and_another_seed_differs(
    kind: type[ConceptVectors], task: FitTask
) -> None:
    fitted = kind.fit(task)
    assert _same(fitted, kind.fit(task))
    assert not _same(fitted, kind.fit(replace(task, seed=1)))


@both
def test_a_saved_method_is_loaded_bit_for_bit(kind: type[ConceptVectors], task: FitTask, tmp_path: Path) -> None:
    fitted = kind.fit(task)
    fitted.save(tmp_path / "method")
    loaded = load_method(tmp_path / "method")
    assert isinstance(loaded, kind)
    assert _same(loaded, fitted)
    assert torch.equal(loaded.encode(task.hidden), fitted.encode(task.hidden))


def test_another_threshold_of_concept_shap_is_saved(tmp_path: Path) -> None:
    ConceptSHAP(*AXES, threshold=0.7).save(tmp_path / "method")
    loaded = load_method(tmp_path / "method")
    assert isinstance(loaded, ConceptSHAP)
    assert loaded.threshold == 0.7


@both
def test_shapes_are_those_of_the_settings_and_directions_have_unit_norm(
    kind: type[ConceptVectors], task: FitTask
) -> None:
    fitted = kind.fit(task)
    assert fitted.rec_vector_1.shape == (6, 16)
    assert fitted.decode(fitted.encode(task.hidden)).shape == task.hidden.shape
    assert fitted.directions().shape == (6, 32)
    torch.testing.assert_close(fitted.directions().norm(dim=1), torch.ones(6))
    assert not any(getattr(fitted, name).requires_grad for name in TENSORS)


@both
def test_fewer_texts_than_a_batch_are_enough(kind: type[ConceptVectors], task: FitTask) -> None:
    few = replace(task)
    few.__dict__.update(hidden=task.hidden[:3], predicted=task.predicted[:3])  # in place of the cached properties
    fitted = kind.fit(few)
    assert fitted.encode(task.hidden).isfinite().all()


def test_hi_concept_with_a_single_concept_is_refused(task: FitTask) -> None:
    with pytest.raises(UserError, match=r"n_concepts is 1; .* 2 "):
        HIConcept.fit(replace(task, n_concepts=1))


@both
def test_a_training_that_diverges_is_an_error(kind: type[ConceptVectors], task: FitTask) -> None:
    endless = replace(QUICK)
    object.__setattr__(endless, "lr", math.inf)  # which the settings refuse
    with pytest.raises(UserError, match=rf"{kind.name} .* not finite.*baselines\.lr"):
        kind.fit(replace(task, baselines=endless))
