"""What takes a concept's place, and the controls at the same activation rates, by hand and by brute force."""

from collections.abc import Iterable

import pytest
import torch

from sae_lens_classif import ActivationStore, EvaluateConfig, TextClassifier, TextData
from sae_lens_classif.evals.ablation import at_same_rates, permuted, replacements
from sae_lens_classif.evals.base import TestPass
from sae_lens_classif.evals.causality import measure as causality
from sae_lens_classif.evals.completeness import measure as completeness
from sae_lens_classif.evals.sufficiency import measure as sufficiency
from sae_lens_classif.hooks.interventions import ACTIVE
from sae_lens_classif.methods.base import ConceptMethod, FitTask
from sae_lens_classif.methods.random_directions import RandomDirections

_N = 5


class Coordinates(ConceptMethod):
    """The first coordinates where they are positive; the others are always those of one direction."""

    @classmethod
    def fit(cls, task: FitTask) -> "Coordinates":
        raise NotImplementedError

    def encode(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden[:, :_N].relu()

    def decode(self, concepts: torch.Tensor) -> torch.Tensor:
        rest = torch.linspace(-1, 1, 32 - _N).expand(len(concepts), -1)
        return torch.cat([4 * concepts, rest], dim=1)

    def in_own_norm(self, decoded: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        return decoded * hidden.abs().sum(dim=1, keepdim=True)  # of this method alone


def passed(
    method: ConceptMethod, classifier: TextClassifier, store: ActivationStore, data: TextData, **settings: object
) -> TestPass:
    cfg = EvaluateConfig(n_bootstrap=20, device="cpu", **settings)  # type: ignore[arg-type]
    texts = TestPass(method, classifier, store, data, cfg)
    texts.run_model(with_ablations=True)
    return texts


def test_what_takes_the_place_of_a_concept() -> None:
    concepts = torch.tensor([[1.0, -2.0], [0.0, 4.0], [1e-9, 1.0], [3.0, 5.0]])
    assert not replacements(concepts, "zero", 0).any()
    mean = replacements(concepts, "mean", 0)
    # The first is silent on two texts, the second nowhere: its mean is that of all texts.
    assert mean.tolist() == [[pytest.approx(5e-10), 2.0]] * 4
    assert torch.equal(replacements(concepts, "resample", 3), permuted(concepts, 3))


@pytest.mark.parametrize("n_texts", [1, 2, 3, 50])
def test_permuted_concepts_have_the_same_activations_on_other_texts(n_texts: int) -> None:
    concepts = torch.arange(3.0 * n_texts).reshape(n_texts, 3)
    found = permuted(concepts, seed=1)
    assert torch.equal(found.sort(dim=0).values, concepts), "no activation is lost"
    assert bool((found != concepts).all()) == (n_texts > 1), "each on another text"
    assert torch.equal(found, permuted(concepts, seed=1))
    if n_texts == 50:
        assert not torch.equal(found, permuted(concepts, seed=2))
        assert ((found - found[:, :1]) != (concepts - concepts[:, :1])).any(), "each concept by itself"


@pytest.mark.parametrize("n_texts", [1, 40])
def test_the_control_is_active_on_as_many_texts_as_each_concept(n_texts: int) -> None:
    generator = torch.Generator().manual_seed(0)
    hidden, concepts = torch.randn(n_texts, 6, generator=generator), torch.randn(n_texts, 4, generator=generator)
    concepts[concepts < 0.5] = 0
    concepts[:, 0], concepts[:, 1] = 0, 1
    found, control = at_same_rates(hidden, concepts, seed=0)
    assert (control.vectors.norm(dim=1) - 1).abs().max() < 1e-6
    for direction, own, activations in zip(control.vectors, concepts.T, found.T, strict=True):
        projections = [float((state - hidden.mean(dim=0)) @ direction) for state in hidden]
        n_active = int((own != 0).sum())
        least = sorted(projections, reverse=True)[:n_active]
        expected = [value if value in least else 0.0 for value in projections]
        torch.testing.assert_close(activations, torch.tensor(expected), rtol=0, atol=1e-5)
    torch.testing.assert_close(control.decode(found), hidden.mean(dim=0) + found @ control.vectors)
    assert not torch.equal(control.vectors, at_same_rates(hidden, concepts, seed=1)[1].vectors)
    plain = torch.nn.functional.normalize(torch.randn(4, 6, generator=torch.Generator().manual_seed(0)), dim=1)
    assert not torch.equal(control.vectors, plain), "those of the method of random directions"


@pytest.mark.parametrize("norm", ["original", "own"])
@pytest.mark.parametrize("ablation", ["zero", "mean", "resample"])
@pytest.mark.parametrize("context", ["alone", "in_context"])
def test_every_intervention_equals_a_loop_over_texts_and_concepts(
    classifier: TextClassifier,
    test_store: ActivationStore,
    test_data: TextData,
    ablation: str,
    norm: str,
    context: str,
) -> None:
    method, settings = Coordinates(), {"ablation": ablation, "norm": norm, "context": context, "batch_size": 64}
    texts = passed(method, classifier, test_store, test_data, **settings)
    prompts = classifier.inputs(test_data.texts)
    fill = replacements(texts.concepts, ablation, 0)  # type: ignore[arg-type]

    def one(row: int, concepts: torch.Tensor, other_norm: bool = False, other_context: bool = False) -> torch.Tensor:
        hidden, state = texts.hidden[row], method.decode(concepts[None])[0]
        is_own, is_alone = (norm == "own") != other_norm, (context == "alone") != other_context
        state = state * (hidden.abs().sum() if is_own else hidden.norm() / (state.norm() + 1e-9))
        return classifier.logits_from(state[None], None if is_alone else classifier.context([prompts[row]]))[0]

    assert texts.in_other_context is not None
    for row in range(0, len(texts.concepts), 7):
        own = texts.concepts[row]
        found = (texts.logits.bottleneck, texts.in_other_norm.bottleneck, texts.in_other_context.bottleneck)
        for of_all, otherwise in zip(found, ((False, False), (True, False), (False, True)), strict=True):
            torch.testing.assert_close(of_all[row], one(row, own, *otherwise), rtol=0, atol=1e-4)
        for pair in (texts.logits.pair_text == row).nonzero()[:, 0]:
            concept = texts.logits.pair_concept[pair]
            ablated = own.clone()
            ablated[concept] = fill[row, concept]
            torch.testing.assert_close(texts.logits.pair[pair], one(row, ablated), rtol=0, atol=1e-4)
            there = texts.in_other_context.pair[pair]
            torch.testing.assert_close(there, one(row, ablated, other_context=True), rtol=0, atol=1e-4)


@pytest.mark.parametrize("ablation", ["mean", "resample"])
def test_few_concepts_kept_leave_the_others_what_takes_their_place(
    classifier: TextClassifier, test_store: ActivationStore, test_data: TextData, ablation: str
) -> None:
    texts = passed(Coordinates(), classifier, test_store, test_data, ablation=ablation)
    found, fill = sufficiency(texts).details, texts.bottleneck.replacements
    active = texts.concepts.abs() > ACTIVE
    nothing_kept = texts.method.decode(fill.where(active, texts.concepts))
    nothing_kept *= texts.hidden.norm(dim=1, keepdim=True) / nothing_kept.norm(dim=1, keepdim=True)
    stays = (classifier.logits_from(nothing_kept).argmax(dim=1) == texts.predicted).double().mean()
    assert found["sufficiency_curve"][0] == pytest.approx(float(stays))
    assert found["necessity_curve"][-1] == pytest.approx(1 - float(stays))
    complete = completeness(texts).metrics["recovery_accuracy"]
    assert found["sufficiency_curve"][-1] == pytest.approx(complete)


class _Classes(ConceptMethod):
    """A concept a class, active where the model says it, that stands for the mean state of the class's texts.

    With none it is the first class.
    """

    def __init__(self, store: ActivationStore) -> None:
        hidden, predicted = store.read("hidden").float(), store.read("predicted")
        self.means = torch.stack([hidden[predicted == number].mean(dim=0) for number in range(store.n_classes)])

    @classmethod
    def fit(cls, task: FitTask) -> "_Classes":
        raise NotImplementedError

    def encode(self, hidden: torch.Tensor) -> torch.Tensor:
        nearest = torch.cdist(hidden, self.means).argmin(dim=1)
        return torch.nn.functional.one_hot(nearest, len(self.means)).float()

    def decode(self, concepts: torch.Tensor) -> torch.Tensor:
        decoded: torch.Tensor = concepts @ self.means + 0.1 * self.means[0]
        return decoded


_CONTROLLED = ("scaled_recovery", "sufficiency", "influence", "conditional_tvd")


def _numbers(texts: TestPass) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the method, and of chance at the same rates."""
    found = {**completeness(texts).metrics, **causality(texts).metrics, **sufficiency(texts).metrics}
    own, chance = ([found[f"{name}{suffix}"] for name in _CONTROLLED] for suffix in ("", "_random_directions"))
    return torch.tensor(own), torch.tensor(chance)


def test_informative_concepts_beat_chance_at_the_same_rates_and_random_directions_do_not(
    classifier: TextClassifier, train_store: ActivationStore, test_store: ActivationStore, test_data: TextData
) -> None:
    mean = train_store.read("hidden").float().mean(dim=0)

    def numbers(methods: Iterable[ConceptMethod]) -> tuple[torch.Tensor, torch.Tensor]:
        """Means over directions: of the methods, of the controls."""
        ran = [
            _numbers(passed(method, classifier, test_store, test_data, seed=seed))
            for seed, method in enumerate(methods)
        ]
        own, chance = (torch.stack(of_all).mean(dim=0) for of_all in zip(*ran, strict=True))
        return own, chance

    informative, chance = numbers([_Classes(train_store)] * 6)
    assert (informative - chance > 0.15).all(), (informative, chance)
    drawn = [torch.randn(3, 32, generator=torch.Generator().manual_seed(seed)) for seed in range(6)]
    random = [RandomDirections(torch.nn.functional.normalize(vectors, dim=1), mean) for vectors in drawn]
    own, its_chance = numbers(random)
    assert ((own - its_chance).abs() < 0.5 * (informative - chance)).all(), (own, its_chance)


def test_influence_over_chance_is_what_is_left_of_it_and_its_interval_pairs_the_texts(
    classifier: TextClassifier, train_store: ActivationStore, test_store: ActivationStore, test_data: TextData
) -> None:
    found = causality(passed(_Classes(train_store), classifier, test_store, test_data))
    own, chance = found.metrics["influence"], found.metrics["influence_random_directions"]
    assert found.metrics["influence_over_chance"] == pytest.approx(own - chance, abs=1e-12)
    draws = found.resamples["influence"] - found.resamples["influence_random_directions"]
    assert torch.equal(found.resamples["influence_over_chance"], draws)
    low, high = found.metrics["influence_over_chance_ci95"]
    assert 0 < low <= own - chance <= high
    mean = train_store.read("hidden").float().mean(dim=0)
    vectors = torch.nn.functional.normalize(torch.randn(3, 32, generator=torch.Generator().manual_seed(0)), dim=1)
    random = causality(passed(RandomDirections(vectors, mean), classifier, test_store, test_data))
    assert abs(random.metrics["influence_over_chance"]) < 0.5 * (own - chance)


def test_of_many_texts_few_are_read_in_the_other_context(
    classifier: TextClassifier, test_store: ActivationStore, test_data: TextData, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = passed(Coordinates(), classifier, test_store, test_data).in_other_context
    monkeypatch.setattr("sae_lens_classif.evals.base._FEW", 8)
    texts = passed(Coordinates(), classifier, test_store, test_data)
    assert texts.few.tolist() == [number * len(test_data) // 8 for number in range(8)]
    assert whole is not None and texts.in_other_context is not None
    torch.testing.assert_close(texts.in_other_context.bottleneck, whole.bottleneck[texts.few], rtol=0, atol=1e-4)
    recovered = (texts.in_other_context.bottleneck.argmax(dim=1) == texts.predicted[texts.few]).double().mean()
    found = completeness(texts).metrics["recovery_accuracy_other_context"]
    assert found == pytest.approx(float(recovered))
