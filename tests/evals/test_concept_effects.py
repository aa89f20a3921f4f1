"""Effects of concepts class by class, by hand on a classifier that is a sum."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from sae_lens_classif.errors import UserError
from sae_lens_classif.evals.concept_effects import ConceptEffects, MisledText, concept_effects
from sae_lens_classif.hooks.interventions import InterventionLogits

# Two concepts, two classes: the first speaks for class 0, the second for class 1, and nothing else counts.
_CONCEPTS = torch.tensor([[3.0, 0.0], [0.0, 1.0], [2.0, 1.0], [0.0, 0.0]])


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def _logits(concepts: torch.Tensor) -> InterventionLogits:
    text, concept = concepts.nonzero(as_tuple=True)
    ablated = concepts[text].clone()
    ablated[torch.arange(len(text)), concept] = 0
    return InterventionLogits(concepts, text, concept, ablated, torch.zeros(0, len(concepts), 2), concepts, concepts)


def test_the_effect_by_class_is_the_mean_change_where_a_concept_is_active() -> None:
    predicted = _CONCEPTS.argmax(dim=1)
    found = concept_effects(_CONCEPTS, _logits(_CONCEPTS), predicted, predicted)
    # Class 0 has the probability sigmoid(z0 - z1).
    first = ((_sigmoid(3) - 0.5) + (_sigmoid(1) - _sigmoid(-1))) / 2
    second = ((_sigmoid(-1) - 0.5) + (_sigmoid(1) - _sigmoid(2))) / 2
    expected = torch.tensor([[first, -first], [second, -second]])
    torch.testing.assert_close(found.by_class, expected)
    assert found.misled == (), "nothing is wrong"


def test_rates_are_told_apart_by_whether_the_decision_was_right() -> None:
    labels = torch.tensor([1, 1, 1, 0])  # texts 0 and 2 are decided wrongly
    found = concept_effects(_CONCEPTS, _logits(_CONCEPTS), torch.tensor([0, 1, 0, 0]), labels)
    assert found.rate_on_wrong.tolist() == [1.0, 0.5]
    assert found.rate_on_right.tolist() == [0.0, 0.5]


def test_a_mistake_is_put_down_to_the_concept_that_pushes_most_towards_it() -> None:
    labels = torch.tensor([1, 1, 1, 0])
    found = concept_effects(_CONCEPTS, _logits(_CONCEPTS), torch.tensor([0, 1, 0, 0]), labels)
    assert [own.row for own in found.misled] == [2, 0], "the strongest push first"
    strong, weak = found.misled
    assert strong == _misled(2, _sigmoid(1) - _sigmoid(-1), True)
    # Without its one concept text 0 is a tie, which falls to the first class: still wrong.
    assert weak == _misled(0, _sigmoid(3) - 0.5, False)


def _misled(row: int, for_wrong: float, is_righted: bool) -> MisledText:
    """By the first concept; what one of two classes gains the other loses."""
    approximately: Callable[[float], Any] = pytest.approx
    return MisledText(row, 0, approximately(for_wrong), approximately(-for_wrong), is_righted)


def test_a_text_that_is_right_with_the_concept_is_not_righted_without_it() -> None:
    # The model itself is wrong (class 0), but through the concepts the class is right with and without the first.
    concepts = torch.tensor([[1.0, 3.0]])
    found = concept_effects(concepts, _logits(concepts), torch.tensor([0]), torch.tensor([1]))
    assert [(own.concept, own.is_righted) for own in found.misled] == [(0, False)]


def test_a_concept_that_takes_from_the_wrong_class_or_adds_next_to_nothing_misleads_nobody() -> None:
    # Three classes: the text is given the first, is of the second, and its concept speaks for the third or for none.
    for speaks, is_misled in (((0.0, -1.0, 1.0), False), ((0.001, 0.0, 0.0), False), ((1.0, 0.0, 0.0), True)):
        bottleneck, without = torch.tensor([speaks]), torch.zeros(1, 3)
        pair = torch.zeros(1, dtype=torch.int64)
        logits = InterventionLogits(bottleneck, pair, pair, without, torch.zeros(0, 1, 3), bottleneck, without)
        found = concept_effects(torch.ones(1, 1), logits, torch.tensor([0]), torch.tensor([1]))
        assert bool(found.misled) == is_misled
        if is_misled:
            (own,) = found.misled
            assert own.for_wrong == pytest.approx(math.e / (math.e + 2) - 1 / 3)
            assert own.for_right == pytest.approx(1 / (math.e + 2) - 1 / 3)


@pytest.mark.parametrize("concepts", [torch.zeros(3, 2), torch.zeros(0, 2)])
def test_where_nothing_is_active_nothing_is_changed(concepts: torch.Tensor) -> None:
    labels = torch.zeros(len(concepts), dtype=torch.int64)
    found = concept_effects(concepts, _logits(concepts), labels, labels)
    assert not found.by_class.any() and not found.rate_on_wrong.any() and found.misled == ()


def test_wrong_texts_are_those_a_concept_pushes_then_those_on_which_it_is_most_active() -> None:
    labels = torch.tensor([1, 1, 1, 0])
    found = concept_effects(_CONCEPTS, _logits(_CONCEPTS), torch.tensor([0, 1, 0, 0]), labels)
    assert found.n_texts.tolist() == [2, 2]
    # The first pushes text 2 most, though it is most active on text 0; the second is active on text 2.
    assert found.wrong_texts.tolist() == [[2, 0, -1, -1, -1], [2, -1, -1, -1, -1]]


def test_with_no_concept_at_all_each_class_has_its_share_and_its_mean_probability() -> None:
    predicted = _CONCEPTS.argmax(dim=1)
    without_any = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    found = concept_effects(_CONCEPTS, _logits(_CONCEPTS), predicted, predicted, without_any)
    first = (3 * _sigmoid(1) + _sigmoid(-1)) / 4
    torch.testing.assert_close(found.default, torch.tensor([[0.75, 0.25], [first, 1 - first]]))


@pytest.mark.parametrize("is_wrong", [True, False])
def test_effects_are_kept_as_tensors_and_come_back_as_they_were(is_wrong: bool) -> None:
    labels, predicted = torch.tensor([1, 1, 1, 0]), torch.tensor([0, 1, 0, 0])
    made = concept_effects(_CONCEPTS, _logits(_CONCEPTS), predicted, labels if is_wrong else predicted, _CONCEPTS)
    back = ConceptEffects.from_tensors(made.to_tensors())
    assert back.misled == made.misled and bool(made.misled) == is_wrong
    for name in ("by_class", "rate_on_wrong", "rate_on_right", "n_texts", "wrong_texts", "default"):
        assert torch.equal(getattr(back, name), getattr(made, name))


@pytest.mark.parametrize("change", ["missing", "unknown"])
def test_other_tensors_than_those_kept_are_refused_in_words(change: str) -> None:
    predicted = _CONCEPTS.argmax(dim=1)
    tensors = concept_effects(_CONCEPTS, _logits(_CONCEPTS), predicted, predicted).to_tensors()
    if change == "missing":
        del tensors["pushes"]
    else:
        tensors["by_text"] = torch.zeros(2)
    with pytest.raises(UserError, match=r"by_class, by_strength, default, .*misled.*not as"):
        ConceptEffects.from_tensors(tensors)


def test_activations_are_counted_in_twelve_steps_up_to_the_largest() -> None:
    concepts = torch.tensor([[12.0, 0.0], [6.5, 0.0], [0.5, 0.0], [0.0, 0.0], [11.5, 0.0]])
    predicted = torch.zeros(5, dtype=torch.int64)
    found = concept_effects(concepts, _logits(concepts), predicted, predicted)
    assert found.histogram.tolist() == [[1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 2], [0] * 12]
    assert found.largest.tolist() == [12.0, 0.0]


def test_the_effect_grows_with_the_activation_where_the_model_s_answer_does() -> None:
    concepts = torch.zeros(9, 2)
    concepts[:8, 0] = torch.tensor([4.0, 0.5, 1.0, 3.5, 1.5, 2.0, 2.5, 3.0])
    concepts[:3, 1] = 1.0  # on three texts only
    predicted = torch.zeros(9, dtype=torch.int64)
    found = concept_effects(concepts, _logits(concepts), predicted, predicted)
    # Class 0 has the probability sigmoid(z0 - z1); where it is taken away, sigmoid(-z1).
    effect = [(value, _sigmoid(value - other) - _sigmoid(-other)) for value, other in concepts[:8].tolist()]
    ordered = [change for _, change in sorted(effect)]
    expected = [(ordered[place] + ordered[place + 1]) / 2 for place in range(0, 8, 2)]
    torch.testing.assert_close(found.by_strength[0], torch.tensor(expected))
    assert found.by_strength[1].isnan().all()
